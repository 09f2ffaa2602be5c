//! The running host, as the commands that talk to it find it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::host::Host;
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port};
use crate::sockets::{faulty, heartbeat, publisher};

/// What the host promises for the first line of an answer. What the command's own process takes to
/// start is its own matter.
pub(crate) const PROMISED: Duration = Duration::from_secs(1);

fn beating() -> Project {
    Project::new().plugin("heartbeat").config("heartbeat", heartbeat(free_port(), None))
}

/// A host with a heartbeat, and a service whose thread never comes back from `run`.
pub(crate) fn hanging(directives: &str) -> Host {
    let stuck = faulty("hang", "run", &publisher(free_port()), directives);
    let host = beating().plugin("fixture-faults").config("stuck", stuck).start();
    host.wait_until_running("heartbeat");
    host.wait_for_log(&["stuck", "strikes"]);
    host
}

/// Exit code, standard output and error of a command.
pub(crate) fn said(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = project.output(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A connection of a test's own.
pub(crate) struct Wire(BufReader<UnixStream>);

impl Wire {
    pub(crate) fn connect(project: &Project) -> Self {
        let stream = UnixStream::connect(project.socket()).expect("the host listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let mut wire = Self(BufReader::new(stream));
        assert!(wire.line()["hello"].is_object());
        wire
    }

    fn send(&mut self, request: &Value) {
        writeln!(self.0.get_mut(), "{request}").expect("the host reads");
    }

    pub(crate) fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the host answers in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// The first line of the answer, and how long it took.
    pub(crate) fn first(&mut self, request: &Value) -> (Value, Duration) {
        let asked = Instant::now();
        self.send(request);
        (self.line(), asked.elapsed())
    }
}

#[test]
fn the_socket_is_the_users_alone_and_goes_with_the_host() {
    let mut host = beating().start();
    host.wait_until_running("heartbeat");
    let socket = host.project().socket();
    let mode = |path: &std::path::Path| {
        let metadata = fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("a directory")), 0o700);
    assert_eq!(host.stop().0, Some(0));
    assert!(!socket.exists());
    let (code, _, stderr) = said(host.project(), &["status"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("no host of project `test` is running"), "{stderr}");
    assert!(stderr.contains(&socket.display().to_string()), "{stderr}");
}

#[test]
fn a_second_host_is_refused_and_told_which_process_is_the_first() {
    let mut host = beating().start();
    host.wait_until_running("heartbeat");
    let (code, _, stderr) = said(host.project(), &[]);
    assert_eq!(code, Some(1));
    let pid = host.pid().as_raw_nonzero();
    let expected = format!("a host of project `test` is running already: process {pid}\n");
    assert!(stderr.contains(&expected), "{stderr}");
    assert_eq!(host.project().json(&["status"]).1["pid"], json!(pid.get()));
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn what_a_killed_host_left_is_taken_over() {
    let mut killed = beating().start();
    killed.wait_until_running("heartbeat");
    killed.kill();
    assert!(killed.project().socket().exists(), "it had no chance to clear up");
    let (code, ..) = said(killed.project(), &["status"]);
    assert_eq!(code, Some(1));
    let mut next = killed.restart();
    next.wait_until_running("heartbeat");
    assert_eq!(next.status_of("heartbeat")["state"], "running");
    assert_eq!(next.stop().0, Some(0));
}

#[test]
fn status_has_every_key_of_the_contract() {
    let mut host = beating().start();
    host.wait_until_running("heartbeat");
    let (code, status) = host.project().json(&["status"]);
    assert_eq!(code, 0);
    assert_eq!(status["project"], "test");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let service = &status["services"][0];
    for key in [
        "name",
        "plugin",
        "version",
        "generation",
        "sha256",
        "file",
        "state",
        "health",
        "since",
        "uptime",
        "restarts",
        "messages_sent",
        "messages_received",
        "dropped",
        "queue_depth",
        "pending",
        "last_error",
    ] {
        assert!(service.get(key).is_some(), "{key} is missing: {service:#}");
    }
    assert_eq!((&service["name"], &service["state"]), (&json!("heartbeat"), &json!("running")));
    assert_eq!((&service["generation"], &service["pending"]), (&json!(1), &Value::Null));
    let file = host.project().plugins().join("libheartbeat.so");
    assert_eq!(service["file"], json!(file));
    let (_, inspected) = host.project().json(&["inspect", file.to_str().expect("UTF-8")]);
    assert_eq!(service["sha256"], inspected["sha256"]);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn unknown_services_get_the_nearest_name() {
    let host = beating().start();
    host.wait_until_running("heartbeat");
    for command in ["status", "reload", "start", "stop"] {
        let (code, stdout, stderr) = said(host.project(), &[command, "hartbeat"]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command}");
        assert!(stderr.contains("there is no service `hartbeat`"), "{command}: {stderr}");
        assert!(stderr.contains("did you mean `heartbeat`?"), "{command}: {stderr}");
    }
}

#[test]
fn a_service_is_stopped_and_started_while_the_host_runs() {
    let project = beating().service("other", "heartbeat", heartbeat(free_port(), None));
    let mut host = project.start();
    host.wait_until_running("heartbeat");
    host.wait_until_running("other");
    let state = |host: &Host| host.status_of("other")["state"].clone();
    let (code, stdout, stderr) = said(host.project(), &["stop", "other"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.ends_with("other: stopped\n"), "{stdout}");
    assert_eq!(state(&host), "stopped");
    let (code, reports) = host.project().json_lines(&["start", "other"]);
    assert_eq!(code, 0, "{reports:#?}");
    let last = reports.last().expect("a report");
    assert_eq!((&last["state"], &last["done"]), (&json!("running"), &json!(true)));
    assert_eq!(state(&host), "running");
    let (code, _, stderr) = said(host.project(), &["start", "other"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("runs already"), "{stderr}");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn all_services_are_reloaded_in_turn() {
    let project = beating().service("other", "heartbeat", heartbeat(free_port(), None));
    let mut host = project.start();
    host.wait_until_running("heartbeat");
    host.wait_until_running("other");
    let (code, reports) = host.project().json_lines(&["reload", "--all"]);
    assert_eq!(code, 0, "{reports:#?}");
    let verdicts: Vec<_> = reports.iter().filter(|it| it["verdict"] == "reloaded").collect();
    let services: Vec<_> = verdicts.iter().filter_map(|it| it["service"].as_str()).collect();
    assert_eq!(services, ["heartbeat", "other"]);
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn whoever_waits_for_the_turn_of_a_reload_is_told_when_the_service_is_stopped_instead() {
    let mut host =
        beating().config("exphost", "[reload]\nprobation = 600\nwatch = false\n").start();
    host.wait_until_running("heartbeat");
    let reload = || {
        let mut wire = Wire::connect(host.project());
        let request = json!({"command": "reload", "service": "heartbeat"});
        assert!(wire.first(&request).0["accepted"].is_object());
        wire
    };
    let mut first = reload();
    while first.line()["item"]["step"] != "start" {}
    // The new instance is on probation for longer than the test lasts.
    let mut second = reload();
    assert_eq!(host.project().json_lines(&["stop", "heartbeat"]).0, 0);
    assert_eq!(first.line()["item"]["verdict"], "refused");
    let told = second.line();
    let said = told["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains("stopped by order"), "{told}");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn every_command_is_answered_while_a_service_hangs() {
    let mut host = hanging("stop_timeout = 0.5\n");
    let mut wire = Wire::connect(host.project());
    let (status, took) = wire.first(&json!({"command": "status"}));
    assert!(took < PROMISED, "{took:?}");
    assert_eq!(status["item"]["services"][1]["name"], "stuck");
    assert_eq!(wire.line(), json!({"done": {"ok": true}}));

    let (accepted, took) = wire.first(&json!({"command": "stop", "service": "stuck"}));
    assert!(took < PROMISED, "{took:?}");
    assert_eq!(accepted["accepted"]["services"], json!(["stuck"]));
    let (status, took) = Wire::connect(host.project()).first(&json!({"command": "status"}));
    assert!(took < PROMISED, "{took:?}");
    assert!(status["item"].is_object(), "{status}");
    // It ends when the deadline has passed, and says how.
    let last = loop {
        let line = wire.line();
        if line.get("item").is_none() {
            break line;
        }
    };
    assert_eq!(last, json!({"done": {"ok": false}}));
    host.wait_for_log(&["ERROR", "stuck", "hangs"]);
    let (_, status) = host.project().json(&["status"]);
    assert_eq!(status["services"][1]["state"], "failed", "it is not stopped: its thread hangs");
    host.signal(Signal::TERM);
    assert_eq!(host.wait_exit(DEADLINE), Some(1), "it ends by itself, and names who hangs");
}

#[test]
fn what_is_no_request_does_nothing() {
    let mut host = beating().start();
    host.wait_until_running("heartbeat");
    let mut wire = Wire::connect(host.project());
    for request in [json!(7), json!({"command": "explode"}), json!({"command": "stop"})] {
        assert!(wire.first(&request).0["error"]["code"].is_string(), "{request}");
    }
    let (status, _) = wire.first(&json!({"command": "status"}));
    assert_eq!(status["item"]["services"][0]["state"], "running");
    // Neither a client that stays nor one that left in the middle keeps the host from stopping.
    let mut gone = Wire::connect(host.project());
    gone.send(&json!({"command": "reload", "service": "heartbeat"}));
    drop(gone);
    let (code, took) = host.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}
