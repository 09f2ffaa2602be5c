//! Looking into a running host: what it has counted and logged, what passes its bus, and messages of the
//! operator's own.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::control::{PROMISED, Wire, hanging, said};
use crate::harness::host::Host;
use crate::harness::lines::Lines;
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port};
use crate::sockets::heartbeat;

/// `first` beats; `second` beats too, and listens to `first` within the host.
fn two() -> Host {
    let port = free_port();
    let host = Project::new()
        .service("first", "heartbeat", heartbeat(port, None))
        .service("second", "heartbeat", heartbeat(free_port(), Some(port)))
        .start();
    host.wait_until_running("first");
    host.wait_until_running("second");
    host
}

/// The next message that a service sent, or that arrived for it.
fn passing(wire: &mut Wire, service: &str, direction: &str) -> Value {
    loop {
        let item = wire.line()["item"].clone();
        assert!(item["topic"].is_string(), "nothing else comes: {item}");
        if item["service"] == service && item["direction"] == direction {
            return item;
        }
    }
}

#[test]
fn what_passes_the_bus_is_shown_at_either_end_and_a_message_can_be_added() {
    let mut host = two();
    let mut wire = Wire::connect(host.project());
    let (accepted, _) = wire.first(&json!({"command": "tap", "topic": "commands"}));
    assert_eq!(accepted["accepted"]["command"], "tap");
    let ping = r#"{"command":"ping","id":7}"#;
    let (code, published) = host.project().json(&["publish", "commands", ping, "--as", "first"]);
    assert_eq!(code, 0, "{published}");
    // `first` listens to commands too, by its own port.
    assert_eq!((&published["key"], &published["joined"]), (&json!("zmq.publisher"), &json!(2)));
    let sent = passing(&mut wire, "first", "sent");
    assert_eq!((&sent["key"], &sent["local"]), (&json!("zmq.publisher"), &json!(false)));
    let received = passing(&mut wire, "second", "received");
    assert_eq!((&received["key"], &received["local"]), (&json!("zmq.subscriber"), &json!(true)));
    for item in [&sent, &received] {
        assert_eq!(item["payload"], json!({"command": "ping", "id": 7}), "{item}");
        assert_eq!((&item["size"], &item["text"]), (&json!(ping.len()), &Value::Null));
    }
    // The one who got it answers it: it came as from the service itself.
    let mut status = Wire::connect(host.project());
    status.first(&json!({"command": "tap", "topic": "status"}));
    host.project().json(&["publish", "commands", ping, "--as", "first"]);
    assert_eq!(passing(&mut status, "second", "sent")["payload"]["reply_to"], 7);
    let (code, beats) = host.project().json_lines(&["tap", "heart", "--count", "12"]);
    assert_eq!((code, beats.len()), (0, 12));
    assert!(beats.iter().all(|beat| beat["topic"] == "heartbeat"), "{beats:?}");
    let (code, shown, _) = said(host.project(), &["tap", "heartbeat", "-n", "1"]);
    assert_eq!((code, shown.lines().count()), (Some(0), 1), "{shown}");
    assert!(shown.contains(" heartbeat ("), "{shown}");
    // A tap that is open does not keep the host from stopping.
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn whoever_publishes_must_say_by_which_publisher_unless_there_is_one() {
    let mut host = two();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let (code, stdout, stderr) = said(host.project(), arguments);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{arguments:?}");
        for part in parts {
            assert!(stderr.contains(part), "{arguments:?}: {part:?} is not in {stderr}");
        }
    };
    refused(&["publish", "x", "1"], &["2 services have a publisher", "--as first", "--as second"]);
    refused(&["publish", "x", "1", "--as", "secnd"], &["no service `secnd`", "`second`"]);
    refused(&["publish", "two words", "1", "--as", "first"], &["contains a space"]);
    refused(&["publish", "", "1", "--as", "first"], &["the topic is empty"]);
    let (code, _, stderr) = said(host.project(), &["publish", "x", "{no", "--as", "first"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("the payload is not JSON"), "{stderr}");
    assert_eq!(said(host.project(), &["stop", "second"]).0, Some(0));
    refused(&["publish", "x", "1", "--as", "second"], &["`second` does not run"]);
    // One is left, so nobody need be told which.
    let (code, published) = host.project().json(&["publish", "x", "1"]);
    assert_eq!((code, &published["service"]), (0, &json!("first")));
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn what_is_counted_is_told_with_each_socket() {
    let mut host = two();
    host.project().json_lines(&["tap", "heartbeat", "--count", "3"]);
    let (code, all) = host.project().json(&["stats"]);
    assert_eq!((code, all.as_array().map(Vec::len)), (0, Some(2)));
    let (_, first) = host.project().json(&["stats", "first"]);
    assert_eq!(first[0]["service"], "first");
    assert!(first[0]["statistics"]["messages_sent"].as_u64() >= Some(1), "{first}");
    let (code, shown, _) = said(host.project(), &["stats", "first"]);
    assert_eq!(code, Some(0));
    for part in ["first: up ", "  received ", "zmq.publisher", "bind tcp://127.0.0.1:"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    assert_eq!(said(host.project(), &["stats", "frist"]).0, Some(1));
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn the_level_changes_while_services_run_on_threads_and_in_processes() {
    let mut host = Project::new()
        .service("loud", "fixture-chatter", "")
        .service("other", "fixture-chatter", "")
        .plugin("fixture-chatter")
        .config("apart", "[exphost]\nplugin = \"fixture-chatter\"\nisolation = \"process\"\n")
        .start();
    for service in ["loud", "other", "apart"] {
        host.wait_until_running(service);
    }
    let detail = "goes on in detail";
    let (code, levels) = host.project().json(&["log-level", "debug", "--service", "loud"]);
    assert_eq!((code, &levels["level"]), (0, &json!("INFO")));
    assert_eq!(levels["services"], json!({"loud": "DEBUG"}));
    host.wait_for_log(&["loud", detail]);
    assert!(!host.log_file("other").contains(detail), "nobody asked it for details");
    let (_, shown, _) = said(host.project(), &["log-level", "--service", "other"]);
    assert_eq!(shown, "other: INFO, as the host\n");
    // All others, one of them in a process of its own.
    assert_eq!(said(host.project(), &["log-level", "debug"]).0, Some(0));
    host.wait_for_log(&["other", detail]);
    host.wait_for_log(&["apart", detail]);
    for arguments in [&["log-level", "default"][..], &["log-level", "default", "--service", "loud"]]
    {
        assert_eq!(said(host.project(), arguments).0, Some(0));
    }
    let (_, levels) = host.project().json(&["log-level"]);
    assert_eq!((&levels["level"], &levels["services"]), (&json!("INFO"), &json!({})));
    // Its next instance asks anew, and is told that nobody wants details.
    let before = host.log_file("loud").len();
    assert_eq!(said(host.project(), &["restart", "loud"]).0, Some(0));
    let since = host.log_file("loud").split_off(before);
    let (_, since) = since.split_once("state INITIALIZING").expect("a new instance");
    assert!(
        since.contains("chatter says info") && !since.contains("chatter says debug"),
        "{since}"
    );
    let (code, _, stderr) = said(host.project(), &["log-level", "noisy"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("unknown log level"), "{stderr}");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn the_log_is_shown_in_the_order_of_time_and_without_a_host_too() {
    let mut host = two();
    let (code, lines) = host.project().json_lines(&["logs", "first", "-n", "2"]);
    assert_eq!((code, lines.len()), (0, 2));
    assert!(lines.iter().all(|line| line["service"] == "first"), "{lines:?}");
    let last = host.log_file("first");
    assert_eq!(lines[1]["line"], json!(last.lines().last()));
    let (_, all) = host.project().json_lines(&["logs", "-n", "10000"]);
    let times: Vec<_> = all.iter().filter_map(|line| line["line"].as_str()?.get(..26)).collect();
    assert!(times.len() > 10 && times.is_sorted(), "{times:?}");
    let of = |service: Value| all.iter().filter(|line| line["service"] == service).count();
    assert!(of(Value::Null) > 0 && of(json!("first")) > 0 && of(json!("second")) > 0);
    let (code, _, stderr) = said(host.project(), &["logs", "frist"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no service `frist`") && stderr.contains("`first`"), "{stderr}");
    assert_eq!(host.stop().0, Some(0));
    let (code, shown, stderr) = said(host.project(), &["logs", "-n", "1"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("no host answers"), "{stderr}");
    assert!(shown.contains("exphost ends"), "it is the last that the host said: {shown}");
}

#[test]
fn a_log_that_is_followed_is_followed_over_a_rotation() {
    let mut host = two();
    let mut following = host.project().command(["logs", "-f", "-n", "1", "first"]);
    let mut following = following.stdout(Stdio::piped()).spawn().expect("it starts");
    let lines = Lines::follow(following.stdout.take().expect("a pipe"));
    let next = |from: usize, part: &str| {
        lines.wait_for(from, &[part], DEADLINE).unwrap_or_else(|| panic!("{part:?} never comes")).0
    };
    next(0, "state RUNNING");
    let log = host.project().path().join("logs/first.log");
    fs::rename(&log, log.with_extension("log.1")).expect("it is there");
    assert_eq!(said(host.project(), &["restart", "first"]).0, Some(0));
    next(1, "state RUNNING");
    let rotated = fs::read_to_string(log.with_extension("log.1")).expect("it is there");
    let written = rotated + &fs::read_to_string(&log).expect("there is a new one");
    let seen = lines.so_far();
    let written: Vec<_> = written.lines().collect();
    assert_eq!(seen, written[written.len() - seen.len()..], "each line once, in order");
    following.kill().expect("it can be killed");
    following.wait().expect("it ends");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn looking_in_takes_no_longer_while_a_service_hangs() {
    let mut host = hanging("stop_timeout = 0.5\n");
    let requests = [
        json!({"command": "stats"}),
        json!({"command": "logs"}),
        json!({"command": "log_level", "level": "DEBUG"}),
        json!({"command": "log_level", "level": "DEFAULT", "service": "stuck"}),
        json!({"command": "publish", "topic": "x", "payload": 1, "service": "stuck"}),
        json!({"command": "publish", "topic": "x", "payload": 1, "service": "heartbeat"}),
        json!({"command": "tap", "count": 1}),
    ];
    for request in requests {
        let (line, took) = Wire::connect(host.project()).first(&request);
        assert!(took < PROMISED, "{request}: {took:?}");
        assert!(line.get("error").is_none(), "{request}: {line}");
    }
    assert_eq!(host.stop().0, Some(1), "one of them hangs");
}
