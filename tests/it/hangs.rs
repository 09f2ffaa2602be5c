//! Services that do not stop: they are named, and do not keep the host.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{DEADLINE, free_port, host::Host};
use crate::sockets::{heartbeat, publisher, subscriber};

/// A host with a service `stuck` that hangs as told, and a `good` one beside it.
struct Stuck {
    host: Host,
    commands: Publisher,
    good_events: u16,
}

fn stuck(fault: &str, place: &str, stop_timeout: f64) -> Stuck {
    let commands = Publisher::bind();
    let good_events = free_port();
    let toml = format!(
        "fault = \"{fault}\"\nplace = \"{place}\"\n{}{}",
        publisher(free_port()),
        subscriber(commands.port(), &["fault"]),
    );
    let host = Project::new()
        .plugin("fixture-faults")
        .config(
            "stuck",
            format!(
                "{toml}[exphost]\nplugin = \"fixture-faults\"\nstop_timeout = {stop_timeout:?}\n"
            ),
        )
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
