//! The main job: a project runs, talks to peers, and stops when it is told to.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::artefacts::{self, exphost};
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::python::{self, Peer};
use crate::harness::{DEADLINE, free_port, host::Host, repository};
use crate::sockets::heartbeat;

/// How long a host whose services behave may take to stop.
const SOON: Duration = Duration::from_secs(2);

fn ends_in_stopped(host: &Host, service: &str) {
    let log = host.log_file(service);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("state STOPPED"), "the last line of {service}'s log is {last:?}");
}

/// A running heartbeat, somebody who commands it, and the port of its events.
fn commanded_heartbeat() -> (Host, Publisher, u16) {
    let (events, commands) = (free_port(), Publisher::bind());
    let host = Project::new()
        .plugin("heartbeat")
        .config("heartbeat", heartbeat(events, Some(commands.port())))
        .start();
    host.wait_until_running("heartbeat");
    (host, commands, events)
}

#[test]
fn heartbeats_go_out_commands_come_in_and_sigint_ends_it() {
    let (mut host, mut commands, events) = commanded_heartbeat();
    commands.wait_for_subscriptions(&["heartbeat", "commands"]);

    let mut subscriber = Subscriber::connect(events, &["heartbeat", "status"]);
    let first = subscriber.wait_for_topic("heartbeat");
    assert_eq!(first["type"], "heartbeat");
    assert_eq!(first["service"], "heartbeat");
    assert_eq!(first["state"], "running");
    let second = subscriber.wait_for_topic("heartbeat");
    assert_eq!(second["sequence"].as_u64(), first["sequence"].as_u64().map(|n| n + 1));

    commands.send("commands", &json!({"command": "ping", "id": "first"}));
    commands.send("commands", &json!({"command": "ping", "id": 2}));
    let reply = subscriber.wait_for_topic("status");
    assert_eq!((&reply["reply_to"], &reply["received"]), (&json!("first"), &json!(1)));
    let reply = subscriber.wait_for_topic("status");
    assert_eq!((&reply["reply_to"], &reply["received"]), (&json!(2), &json!(2)));

    let (code, took) = host.stop();
    assert_eq!(code, Some(0));
    assert!(took < SOON, "took {took:?}");
    ends_in_stopped(&host, "heartbeat");
}

#[test]
fn python_peers_hear_heartbeats_and_are_heard() {
    if !python::is_there("python_peers_hear_heartbeats_and_are_heard") {
        return;
    }
    let events = free_port();
    let mut publisher = Peer::start("publish.py", &["heartbeat", "commands"]);
    let port = publisher.next()["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let mut host =
        Project::new().plugin("heartbeat").config("heartbeat", heartbeat(events, port)).start();
    host.wait_until_running("heartbeat");
    for _ in 0..2 {
        assert!(publisher.next()["subscribed"].is_string());
    }
    let mut subscriber = Peer::start("subscribe.py", &[&events.to_string(), "heartbeat", "status"]);
    let heard = subscriber.next();
    assert_eq!((&heard["frames"], &heard["topic"]), (&json!(1), &json!("heartbeat")));
    assert_eq!(heard["payload"]["type"], "heartbeat");

    // As Python's json.dumps writes it: non-ASCII escaped.
    publisher.tell(r#"commands {"command": "ping", "id": "caf\u00e9"}"#);
    let status = std::iter::repeat_with(|| subscriber.next())
        .find(|message| message["topic"] == "status")
        .expect("the peer's messages do not end");
    assert_eq!(status["payload"]["reply_to"], "café");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn sigterm_and_sigtstp_stop_as_sigint_does() {
    for signal in [Signal::TERM, Signal::TSTP] {
        let events = free_port();
        let mut host =
            Project::new().plugin("heartbeat").config("heartbeat", heartbeat(events, None)).start();
        host.wait_until_running("heartbeat");
        host.signal(signal);
        assert_eq!(host.wait_exit(SOON), Some(0), "{signal:?}");
        ends_in_stopped(&host, "heartbeat");
    }
}

#[test]
fn frames_that_are_no_messages_stop_nothing() {
    let (mut host, mut commands, events) = commanded_heartbeat();
    commands.wait_for_subscriptions(&["commands"]);
    let mut subscriber = Subscriber::connect(events, &["heartbeat", "status"]);
    subscriber.wait_for_topic("heartbeat");

    commands.send_frame(b"commands \xff\xfe".to_vec());
    commands.send_frame(b"commands {\"command\":".to_vec());
    commands.send_frame(b"commands".to_vec());
    commands.send_frame(b"commands []".to_vec());
    commands.send_frames(vec![b"commands".to_vec(), b"{\"command\":\"ping\",\"id\":0}".to_vec()]);
    commands.send("commands", &json!({"command": "ping", "id": "after"}));
    assert_eq!(subscriber.wait_for_topic("status")["reply_to"], "after");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_service_that_is_told_to_stop_leaves_the_others_alone() {
    let (first, second) = (free_port(), free_port());
    let mut commands = Publisher::bind();
    let mut host = Project::new()
        .service("leaver", "heartbeat", heartbeat(first, Some(commands.port())))
        .service("stayer", "heartbeat", heartbeat(second, None))
        .start();
    host.wait_until_running("leaver");
    host.wait_until_running("stayer");
    commands.wait_for_subscriptions(&["commands"]);
    commands.send("commands", &json!({"command": "stop"}));
    host.wait_for_log(&["leaver", "state STOPPED"]);
    Subscriber::connect(second, &["heartbeat"]).wait_for_topic("heartbeat");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn the_projects_of_the_repository_are_in_order() {
    for project in ["experimance", "atelier", "atelier/quiet"] {
        let output = std::process::Command::new(exphost())
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env("EXPERIMANCE_ENV", "development")
            .arg("--projects")
            .arg(repository().join("projects"))
            .arg("--plugins")
            .arg(artefacts::plugin("heartbeat").parent().expect("a file has a directory"))
            .args(["--project", project, "check"])
            .output()
            .expect("the binary can be started");
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{project}: {said}");
    }
}

#[test]
fn core_tells_its_story_and_chronicle_hears_it() {
    let (events, updates) = (free_port(), free_port());
    let mut agent = Publisher::bind();
    let topics = ["RequestBiome", "AudiencePresent", "commands"];
    let core = "era_duration = 0.1\n".to_owned()
        + &crate::sockets::publisher(updates)
        + &crate::sockets::subscriber(agent.port(), &topics);
    let listener =
        |table: &str, port: u16| crate::sockets::subscriber(port, &[""]).replace("zmq", table);
    let chronicle = listener("events", events) + &listener("updates", updates);
    let mut host = Project::new()
        .plugin("heartbeat")
        .config("heartbeat", heartbeat(events, None))
        .plugin("core")
        .config("core", core)
        .plugin("chronicle")
        .config("chronicle", format!("summary_interval = 0.1\n{chronicle}"))
        .start();
    for service in ["heartbeat", "core", "chronicle"] {
        host.wait_until_running(service);
    }
    agent.wait_for_subscriptions(&topics);
    host.wait_for_log(&["chronicle", "heard so far", "heartbeat"]);
    agent.send("RequestBiome", &json!({"type": "RequestBiome", "biome": "tundra"}));
    host.wait_for_log(&["core", "the story moves on", "tundra"]);
    // While somebody watches, era follows era: chronicle, which nobody can see subscribe, hears of
    // one as soon as it has.
    agent.send("AudiencePresent", &json!({"type": "AudiencePresent", "person_count": 1}));
    host.wait_for_log(&["chronicle", "heard so far", "SpaceTimeUpdate"]);
    host.signal(Signal::INT);
    assert_eq!(host.wait_exit(DEADLINE), Some(0));
}
