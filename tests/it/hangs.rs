//! Services that do not stop: they are named, and do not keep the host.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port, host::Host};
use crate::isolation::Flow;
use crate::sockets::{faulty, heartbeat, publisher, subscriber};

/// A host with a service `stuck` that hangs as told, and a `good` one beside it.
struct Stuck {
    host: Host,
    commands: Publisher,
    good_events: u16,
}

fn stuck(fault: &str, place: &str, stop_timeout: f64) -> Stuck {
    let commands = Publisher::bind();
    let good_events = free_port();
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let toml = faulty(fault, place, &sockets, &format!("stop_timeout = {stop_timeout:?}\n"));
    let host = Project::new()
        .plugin("fixture-faults")
        .config("stuck", toml)
        .service("good", "heartbeat", heartbeat(good_events, None))
        .start();
    Stuck { host, commands, good_events }
}

impl Stuck {
    /// Waits until it hangs: until what comes before has certainly happened.
    fn wait_until_it_hangs(&mut self, place: &str) {
        self.host.wait_until_running("good");
        if place == "handler" {
            self.host.wait_until_running("stuck");
            self.commands.wait_for_subscriptions(&["fault"]);
            self.commands.send("fault", &json!({}));
        }
        if place == "stop" {
            self.host.wait_until_running("stuck");
        } else {
            self.host.wait_for_log(&["stuck", "strikes"]);
        }
        // The other service lives on beside it.
        Subscriber::connect(self.good_events, &["heartbeat"]).wait_for_topic("heartbeat");
    }
}

#[test]
fn a_service_that_hangs_in_any_phase_is_named_and_does_not_keep_the_host() {
    for place in ["new", "start", "run", "handler", "task", "stop"] {
        let mut stuck = stuck("hang", place, 0.5);
        stuck.wait_until_it_hangs(place);
        stuck.host.signal(Signal::TERM);
        assert_eq!(stuck.host.wait_exit(DEADLINE), Some(1), "hanging in {place}");
        stuck.host.wait_for_log(&["ERROR", "stuck", "hangs"]);
        assert!(stuck.host.log_file("good").contains("state STOPPED"), "hanging in {place}");
    }
}

#[test]
fn a_service_that_spins_does_not_keep_the_host_either() {
    let mut stuck = stuck("spin", "run", 0.5);
    stuck.wait_until_it_hangs("run");
    stuck.host.signal(Signal::TERM);
    assert_eq!(stuck.host.wait_exit(DEADLINE), Some(1));
    stuck.host.wait_for_log(&["ERROR", "stuck", "hangs"]);
}

#[test]
fn a_service_that_only_waits_for_ever_is_cancelled() {
    for place in ["start", "run", "handler", "task", "stop"] {
        let mut stuck = stuck("pending", place, 0.5);
        stuck.wait_until_it_hangs(place);
        stuck.host.signal(Signal::TERM);
        stuck.host.wait_exit(DEADLINE);
        stuck.host.wait_for_log(&["stuck", "state STOPPED"]);
    }
}

#[test]
fn a_second_sigint_of_an_impatient_person_forces_the_exit() {
    let patience = 600.0;
    let mut stuck = stuck("hang", "stop", patience);
    stuck.wait_until_it_hangs("stop");
    stuck.host.signal(Signal::INT);
    stuck.host.wait_for_log(&["stuck", "state STOPPING"]);
    let asked_again = Instant::now();
    // Two signals in quick succession are one key press, so the person keeps pressing.
    while !stuck.host.ends_within(Duration::from_millis(200)) {
        assert!(asked_again.elapsed() < DEADLINE, "nothing forces it");
        stuck.host.signal(Signal::INT);
    }
    assert_eq!(stuck.host.wait_exit(DEADLINE), Some(1));
    assert!(asked_again.elapsed() < Duration::from_secs(5), "{:?}", asked_again.elapsed());
}

/// A host whose service `stuck` fails when `place` says so, with an impatient beat and what else
/// `directives` say; and the pipe that somebody has to write to before it goes on.
fn impatient(fault: &str, place: &str, directives: &str) -> (Stuck, std::path::PathBuf) {
    let commands = Publisher::bind();
    let good_events = free_port();
    let project = Project::new();
    let pipe = project.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo");
    assert!(made.success());
    let more = format!("until = {pipe:?}\n")
        + &publisher(free_port())
        + &subscriber(commands.port(), &["fault"]);
    let toml = faulty(fault, place, &more, directives);
    let host = project
        .config("exphost", "[defaults]\nbeat_timeout = 1\n")
        .plugin("fixture-faults")
        .config("stuck", toml)
        .service("good", "heartbeat", heartbeat(good_events, None))
        .start();
    (Stuck { host, commands, good_events }, pipe)
}

/// The same with one that blocks its thread.
fn blocked(place: &str, directives: &str) -> (Stuck, std::path::PathBuf) {
    impatient("block", place, directives)
}

#[test]
fn a_service_that_blocks_its_thread_is_named_with_handler_and_topic_until_it_responds_again() {
    let (mut stuck, pipe) = blocked("handler", "");
    stuck.wait_until_it_hangs("handler");
    let said = stuck.host.wait_for_log(&["ERROR", "stuck", "service does not respond"]);
    assert!(said.contains("on_message") && said.contains("topic=fault"), "{said}");
    let status = stuck.host.status_of("stuck");
    let hang = &status["unresponsive"];
    assert_eq!((&hang["phase"], &hang["cause"]), (&json!("run"), &json!("blocked")), "{hang}");
    assert_eq!((&hang["handler"], &hang["topic"]), (&json!("on_message"), &json!("fault")));
    assert_eq!((&status["state"], &status["health"]), (&json!("running"), &json!("error")));
    let good = stuck.host.status_of("good");
    assert_eq!((&good["state"], &good["unresponsive"]), (&json!("running"), &Value::Null));
    // The others can be reloaded beside it.
    let (code, _) = stuck.host.project().json_lines(&["reload", "good"]);
    assert_eq!(code, 0);
    let _end = std::fs::File::options().write(true).open(&pipe).expect("it waits at the other end");
    stuck.host.wait_for_log(&["INFO", "stuck", "service responds again"]);
    let status = stuck.host.status_of("stuck");
    assert_eq!((&status["unresponsive"], &status["health"]), (&Value::Null, &json!("healthy")));
    let log = stuck.host.log();
    assert_eq!(log.matches("service does not respond").count(), 1, "it is told once");
    assert_eq!(stuck.host.stop().0, Some(0));
}

#[test]
fn where_a_service_hangs_is_told_in_every_phase() {
    for (place, phase, handler) in [
        ("new", "new", Value::Null),
        ("start", "start", Value::Null),
        ("run", "run", Value::Null),
        ("task", "run", Value::Null),
        ("handler", "run", json!("on_message")),
        ("tick", "run", json!("on_tick")),
    ] {
        let (mut stuck, _) = blocked(place, "stop_timeout = 0.5\n");
        stuck.wait_until_it_hangs(place);
        stuck.host.wait_for_log(&["stuck", "service does not respond"]);
        let hang = stuck.host.status_of("stuck")["unresponsive"].clone();
        assert_eq!((&hang["phase"], &hang["handler"]), (&json!(phase), &handler), "in {place}");
        stuck.host.signal(Signal::TERM);
        assert_eq!(stuck.host.wait_exit(DEADLINE), Some(1), "hanging in {place}");
    }
}

#[test]
fn a_service_that_hangs_is_started_anew_in_a_process_and_where_its_configuration_says_so() {
    for (directives, what) in [
        ("on_hang = \"restart\"\n", "the hanging service's thread is left behind"),
        ("isolation = \"process\"\n", "the hanging service's process is killed"),
    ] {
        let (mut stuck, _) = blocked("handler", directives);
        stuck.wait_until_it_hangs("handler");
        let (at, _) = stuck.host.wait_for_log_from(0, &["stuck", "service does not respond"]);
        stuck.host.wait_for_log_from(at, &["ERROR", "stuck", what]);
        stuck.host.wait_for_log_from(at, &["stuck", "state RUNNING"]);
        let status = stuck.host.status_of("stuck");
        assert_eq!((&status["restarts"], &status["unresponsive"]), (&json!(1), &Value::Null));
        let reason = status["restart"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("it hung in on_message `fault`"), "{directives}: {status}");
        assert_eq!(stuck.host.stop().0, Some(0), "{directives}");
    }
}

#[test]
fn a_service_in_a_process_that_hangs_is_only_reported_where_its_configuration_says_so() {
    let (mut stuck, pipe) = blocked("handler", "isolation = \"process\"\non_hang = \"report\"\n");
    stuck.wait_until_it_hangs("handler");
    stuck.host.wait_for_log(&["ERROR", "stuck", "service does not respond"]);
    let _end = std::fs::File::options().write(true).open(&pipe).expect("it waits at the other end");
    stuck.host.wait_for_log(&["INFO", "stuck", "service responds again"]);
    assert_eq!(stuck.host.status_of("stuck")["restarts"], 0);
    assert_eq!(stuck.host.stop().0, Some(0));
}

#[test]
fn a_service_that_spins_is_reported_and_neither_the_others_nor_the_commands_wait_for_it() {
    let (toml, begin) = Flow::configured();
    let mut commands = Publisher::bind();
    let sockets = subscriber(commands.port(), &["fault"]);
    let directives = "beat_timeout = 1\nstop_timeout = 0.5\n";
    let spinning = faulty("spin", "handler", &sockets, directives);
    let mut host = Project::new()
        .plugin("fixture-faults")
        .config("spinning", spinning)
        .service("counter", "fixture-counter", toml)
        .start();
    host.wait_until_running("spinning");
    host.wait_until_running("counter");
    let mut flow = begin();
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    host.wait_for_log(&["spinning", "strikes"]);
    flow.send(500);
    host.wait_for_log(&["ERROR", "spinning", "service does not respond"]);
    let asked = Instant::now();
    let status = host.status_of("spinning");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let hang = &status["unresponsive"];
    assert_eq!((&hang["cause"], &hang["topic"]), (&json!("blocked"), &json!("fault")), "{status}");
    flow.send(500);
    flow.missed_nothing();
    host.signal(Signal::TERM);
    assert_eq!(host.wait_exit(DEADLINE), Some(1));
}

#[test]
fn handlers_that_follow_each_other_are_not_taken_for_one_that_hangs() {
    let (mut stuck, _) = impatient("nap", "handler", "");
    stuck.host.wait_until_running("stuck");
    stuck.commands.wait_for_subscriptions(&["fault"]);
    // One burst, twice as long as the beat may take.
    let many = 30;
    (0..many).for_each(|n| stuck.commands.send("fault", &json!({"n": n})));
    let mut from = 0;
    for _ in 0..many {
        from = stuck.host.wait_for_log_from(from, &["stuck", "strikes"]).0 + 1;
    }
    let log = stuck.host.log();
    assert!(!log.contains("does not respond"), "{log}");
    assert_eq!(stuck.host.stop().0, Some(0));
}

#[test]
fn a_handler_that_is_slow_and_then_blocks_is_said_to_be_blocked_and_killed_in_a_process() {
    for isolation in ["thread", "process"] {
        let directives =
            format!("handler_timeout = 1\nisolation = \"{isolation}\"\nstop_timeout = 0.5\n");
        let (mut stuck, pipe) = impatient("linger", "handler", &directives);
        stuck.wait_until_it_hangs("handler");
        let said = ["ERROR", "stuck", "service does not respond", "cause=slow"];
        let (at, _) = stuck.host.wait_for_log_from(0, &said);
        assert_eq!(stuck.host.status_of("stuck")["unresponsive"]["cause"], "slow");
        let _end = std::fs::File::options().write(true).open(&pipe).expect("it waits for it");
        let said = ["ERROR", "stuck", "service does not respond", "cause=blocked"];
        let (at, _) = stuck.host.wait_for_log_from(at + 1, &said);
        if isolation == "process" {
            stuck.host.wait_for_log_from(at, &["stuck", "state RUNNING"]);
            assert_eq!(stuck.host.status_of("stuck")["restarts"], 1);
            assert_eq!(stuck.host.stop().0, Some(0));
        } else {
            assert_eq!(stuck.host.status_of("stuck")["unresponsive"]["cause"], "blocked");
            assert_eq!(stuck.host.stop().0, Some(1));
        }
    }
}

#[test]
fn a_handler_that_awaits_is_not_taken_for_one_that_hangs() {
    for isolation in ["thread", "process"] {
        let directives = format!("isolation = \"{isolation}\"\nstop_timeout = 0.5\n");
        let (mut stuck, _) = impatient("pending", "handler", &directives);
        stuck.wait_until_it_hangs("handler");
        // Beats go on meanwhile, for two and a half times as long as one may be awaited.
        let mut good = Subscriber::connect(stuck.good_events, &["heartbeat"]);
        for _ in 0..25 {
            good.wait_for_topic("heartbeat");
        }
        assert_eq!(stuck.host.status_of("stuck")["unresponsive"], Value::Null);
        let log = stuck.host.log();
        assert!(!log.contains("does not respond"), "{isolation}: {log}");
        stuck.host.stop();
    }
}

#[test]
fn a_host_that_is_suspended_accuses_nobody() {
    for isolation in ["thread", "process"] {
        let directives = format!("isolation = \"{isolation}\"\nbeat_timeout = 3\n");
        let (mut stuck, pipe) = blocked("handler", &directives);
        stuck.wait_until_it_hangs("handler");
        stuck.host.signal(Signal::STOP);
        assert!(!stuck.host.ends_within(Duration::from_secs(4)), "it is suspended for so long");
        stuck.host.signal(Signal::CONT);
        let mut good = Subscriber::connect(stuck.good_events, &["heartbeat"]);
        // Whoever looks is awake again, and the handler goes on only now.
        good.wait_for_topic("heartbeat");
        let _end = std::fs::File::options().write(true).open(&pipe).expect("it waits for it");
        for _ in 0..10 {
            good.wait_for_topic("heartbeat");
        }
        let log = stuck.host.log();
        assert!(!log.contains("does not respond"), "{isolation}: {log}");
        assert_eq!(stuck.host.stop().0, Some(0));
    }
}
