//! The transport `zeromq` under a real host, with libzmq as the peer where there is Python.

use serde_json::json;

use crate::harness::free_port;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::python::{Peer, is_there};
use crate::sockets::heartbeat;
use crate::workers::{Directed, Ports};

const ZEROMQ: &str = "[bus]\ntransport = \"zeromq\"\n";

#[test]
fn a_host_on_zeromq_publishes_and_listens() {
    let (events, mut commands) = (free_port(), Publisher::bind());
    let toml = heartbeat(events, Some(commands.port()));
    let project = Project::new().config("exphost", ZEROMQ).service("beat", "heartbeat", toml);
    let mut host = project.start();
    host.wait_until_running("beat");
    commands.wait_for_subscriptions(&["commands"]);
    let mut subscriber = Subscriber::connect(events, &["heartbeat"]);
    let first = subscriber.wait_for_topic("heartbeat");
    assert!(first.is_object(), "{first}");
    assert_eq!(host.stop().0, Some(0));
    let log = host.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_python_worker_gets_each_task_once_from_a_host_on_zeromq() {
    if !is_there("a_python_worker_gets_each_task_once_from_a_host_on_zeromq") {
        return;
    }
    const COUNT: u64 = 2000;
    let ports = Ports::free();
    let mut directed =
        Directed::start(&ports.link("image"), |project| project.config("exphost", ZEROMQ));
    let [tasks, results] = [ports.tasks, ports.results].map(|port| port.to_string());
    let _worker = Peer::start("work.py", &[&tasks, &results]);
    directed.push(COUNT);
    let summary = directed.complete(COUNT);
    assert_eq!((&summary["results"], &summary["duplicates"]), (&json!(COUNT), &json!(0)));
    assert_eq!(directed.host.stop().0, Some(0));
}

#[test]
fn zeromq_beyond_loopback_is_refused_before_anything_runs() {
    let toml = heartbeat(free_port(), None).replacen("tcp://127.0.0.1", "tcp://*", 1);
    let project = Project::new().config("exphost", ZEROMQ).service("beat", "heartbeat", toml);
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78);
    let problems = report["problems"].as_array().expect("a list");
    let problem = problems
        .iter()
        .find(|it| it["message"].as_str().is_some_and(|text| text.contains("aborts the process")))
        .unwrap_or_else(|| panic!("{problems:#?}"));
    assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("beat.toml")), "{problem}");
    assert!(
        problem["hint"].as_str().is_some_and(|it| it.contains("zeromq_beyond_loopback = true"))
    );
    let insists = format!("{ZEROMQ}zeromq_beyond_loopback = true\n");
    let (code, report) = project.config("exphost", insists).json(&["check"]);
    assert_eq!(code, 0, "{report:#}");
}
