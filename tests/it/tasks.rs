//! Tasks under trouble: a worker that is killed, on either side; a burst that takes its time.
//!
//! The full figures are commands of their own, see CONTRIBUTING.md: `TASKS` says how many tasks there
//! are with a killed worker, `BURST` how many there are at once for a slow one.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::python::{self, Peer};
use crate::harness::wire::Subscriber;
use crate::harness::{free_port, resident_kib, say, setting};
use crate::sockets::{publisher, subscriber};
use crate::workers::Ports;

/// Tasks that are pushed when another worker has taken the place of the killed one.
const MORE: u64 = 100;

/// What a controller in the host is told, and what it tells.
struct Desk {
    orders: Publisher,
    events: u16,
    ports: Ports,
}

impl Desk {
    fn new() -> Self {
        Self { orders: Publisher::bind(), events: free_port(), ports: Ports::free() }
    }

    fn controller(&self) -> String {
        format!(
            "progress_every = 100\n{}{}{}",
            self.ports.link("only"),
            publisher(self.events),
            subscriber(self.orders.port(), &["push"]),
        )
    }
}

/// The first summary that `wanted` takes.
fn summary(summaries: &mut Subscriber, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let summary = summaries.wait_for_topic("summary");
        if wanted(&summary) {
            return summary;
        }
    }
}

#[test]
fn a_killed_python_worker_loses_only_what_it_was_given() {
    if !python::is_there("a_killed_python_worker_loses_only_what_it_was_given") {
        return;
    }
    let count = setting("TASKS", 5_000);
    let mut desk = Desk::new();
    let project = Project::new().service("controller", "fixture-controller", desk.controller());
    let mut host = project.start();
    host.wait_until_running("controller");
    desk.orders.wait_for_subscriptions(&["push"]);
    let mut summaries = Subscriber::connect(desk.events, &["summary"]);

    let ports = [desk.ports.tasks, desk.ports.results].map(|port| port.to_string());
    let ports = [ports[0].as_str(), ports[1].as_str()];
    let mut first = Peer::start("work.py", &ports);
    assert_eq!(first.next(), json!({"ready": true}));
    desk.orders.send("push", &json!({"count": count}));
    first.wait_for(|line| line["worked"].as_u64().is_some_and(|worked| worked >= count / 5));
    first.signal(Signal::KILL);
    drop(first);
    let _second = Peer::start("work.py", &ports);
    // All may have been given away by now, so there are some more.
    desk.orders.send("push", &json!({"count": MORE}));
    let all = count + MORE;
    let end = summary(&mut summaries, |it| it["pushed"] == all && it["last_is_back"] == true);
    assert_eq!(end["duplicates"], 0, "{end}");
    let missing = end["missing"].as_u64().expect("a number");
    assert_eq!(end["results"], all - missing);
    say(&format!("{count} tasks, the Python worker was killed: {missing} went down with it"));
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_killed_host_loses_only_what_it_was_given() {
    if !python::is_there("a_killed_host_loses_only_what_it_was_given") {
        return;
    }
    let count = setting("TASKS", 5_000);
    let desk = Desk::new();
    let [tasks, results] = [desk.ports.tasks, desk.ports.results].map(|port| port.to_string());
    let mut controller = Peer::start("direct.py", &[&tasks, &results, &count.to_string()]);
    assert_eq!(controller.next(), json!({"ready": true}));
    let mut host = Project::new().service("worker", "fixture-worker", desk.ports.worker()).start();
    controller.wait_for(|line| line["results"].as_u64().is_some_and(|came| came >= count / 5));
    host.kill();
    let mut host = host.restart();
    // All may have been given away by now, so there are some more.
    controller.tell(&MORE.to_string());
    let end = controller.wait_for(|line| line["distinct"].is_u64());
    assert_eq!(end["results"], end["distinct"], "no result came twice: {end}");
    let missing = end["missing"].as_u64().expect("a number");
    say(&format!("{count} tasks, the host was killed: {missing} went down with its worker"));
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_burst_is_worked_off_ten_at_a_time_and_nothing_is_lost() {
    let count = setting("BURST", 100);
    let mut desk = Desk::new();
    let slow = format!("work_time = 0.1\n{}", desk.ports.worker());
    let mut host = Project::new()
        .service("controller", "fixture-controller", desk.controller())
        .service("worker", "fixture-worker", slow)
        .start();
    host.wait_until_running("controller");
    host.wait_until_running("worker");
    desk.orders.wait_for_subscriptions(&["push"]);
    let mut summaries = Subscriber::connect(desk.events, &["summary"]);
    let before = resident_kib(host.pid());
    desk.orders.send("push", &json!({"count": count}));
    let half = summary(&mut summaries, |summary| summary["results"].as_u64() >= Some(count / 2));
    let during = resident_kib(host.pid());
    let end =
        if half["missing"] == 0 { half } else { summary(&mut summaries, |it| it["missing"] == 0) };
    assert_eq!((&end["results"], &end["duplicates"]), (&json!(count), &json!(0)), "{end}");
    assert_eq!(end["most"], 10, "ten at once, and no more");
    let after = resident_kib(host.pid());
    say(&format!(
        "a burst of {count} tasks of 100 ms: RSS {before} KiB before, {during} KiB half way, \
         {after} KiB after"
    ));
    assert!(after < before + 64 * 1024, "the host grew from {before} to {after} KiB");
    assert_eq!(host.stop().0, Some(0));
}
