//! What the running host is asked and told: `why` and `restart`, also while a service hangs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control::hanging;
use crate::harness::free_port;
use crate::harness::host::Host;
use crate::harness::project::Project;
use crate::sockets::heartbeat;

/// What the host promises, and what a process takes to start on a busy machine.
const PROMISED: Duration = Duration::from_secs(2);

/// A host with a heartbeat, and a service whose thread never comes back from `run`, which it knows.
fn known_to_hang() -> Host {
    let host = hanging("beat_timeout = 1\nstop_timeout = 0.5\n");
    host.wait_for_log(&["stuck", "service does not respond"]);
    host
}

#[test]
fn every_question_is_answered_in_time_while_a_service_hangs() {
    let mut host = known_to_hang();
    for arguments in [&["status"][..], &["why", "stuck"], &["why", "heartbeat"]] {
        let asked = Instant::now();
        let (code, document) = host.project().json(arguments);
        assert!(asked.elapsed() < PROMISED, "{arguments:?}: {:?}", asked.elapsed());
        assert_eq!(code, 0, "{document}");
    }
    let (_, why) = host.project().json(&["why", "stuck"]);
    assert_eq!((&why["well"], &why["causes"][0]["kind"]), (&json!(false), &json!("hangs")));
    assert_eq!(host.project().json(&["why", "heartbeat"]).1["well"], json!(true));
    let nobody = host.project().output(&["why", "hartbeat"]);
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("no service `hartbeat`") && said.contains("`heartbeat`"), "{said}");
    assert_eq!(host.stop().0, Some(1));
}

#[test]
fn a_restarted_service_begins_anew_and_is_not_taken_for_stopped() {
    let project = Project::new().plugin("heartbeat");
    let mut host = project.config("heartbeat", heartbeat(free_port(), None)).start();
    host.wait_until_running("heartbeat");
    let before = host.status_of("heartbeat");
    let (code, told) = host.project().json_lines(&["restart", "heartbeat"]);
    assert_eq!(code, 0, "{told:?}");
    let end = told.last().expect("it has an end");
    assert_eq!((&end["state"], &end["done"]), (&json!("running"), &json!(true)));
    let after = host.status_of("heartbeat");
    assert_ne!(before["thread"], after["thread"], "it is another instance");
    assert_eq!((&after["generation"], &after["stopped_at"]), (&json!(1), &Value::Null));
    // A host that is killed now has no order on its disk that would keep the service from running.
    host.kill();
    let mut host = host.restart();
    host.wait_until_running("heartbeat");
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn a_service_that_hangs_can_be_restarted_and_one_that_is_stopped_is_started() {
    let mut host = known_to_hang();
    let (code, told) = host.project().json_lines(&["restart", "stuck"]);
    // It hangs again at once, but it was started: it is RUNNING before it hangs.
    assert_eq!((code, &told.last().expect("an end")["state"]), (0, &json!("running")), "{told:?}");
    host.wait_for_log(&["ERROR", "stuck", "it did not stop in time; its thread is left behind"]);
    assert_eq!(host.project().json_lines(&["stop", "heartbeat"]).0, 0);
    let why = host.project().json(&["why", "heartbeat"]).1;
    assert_eq!(why["causes"][0]["kind"], json!("stopped"), "{why}");
    assert_eq!(host.project().json_lines(&["restart", "heartbeat"]).0, 0);
    assert_eq!(host.status_of("heartbeat")["stopped_at"], Value::Null);
    assert_eq!(host.stop().0, Some(1));
}

#[test]
fn a_service_that_hangs_is_said_to_however_often_it_is_stopped() {
    let mut host = known_to_hang();
    for attempt in 1..=2 {
        let (code, told) = host.project().json_lines(&["stop", "stuck"]);
        let end = told.last().expect("it has an end");
        let expected = (1, &json!("failed"), &json!(false));
        assert_eq!((code, &end["state"], &end["ok"]), expected, "{attempt}: {told:?}");
    }
    assert_eq!(host.stop().0, Some(1));
}
