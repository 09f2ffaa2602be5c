//! Services that fail: the host and the other services go on, and the log says what happened.

use serde_json::json;

use crate::harness::free_port;
use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::sockets::{heartbeat, subscriber};

const PLACES: [&str; 6] = ["new", "start", "run", "handler", "task", "stop"];

/// One host with a service for every place that fails there, and a good one beside them.
fn fails_everywhere(fault: &str, said: &str, ends_in_handler: bool) {
    let events = free_port();
    let (mut commands, mut trigger) = (Publisher::bind(), Publisher::bind());
    // Each fails once, and is counted.
    let mut project = Project::new()
        .config("exphost", "[defaults]\nrestart = \"never\"\n")
        .service("good", "heartbeat", heartbeat(events, Some(commands.port())));
    for place in PLACES {
        let mut toml = format!("fault = \"{fault}\"\nplace = \"{place}\"\n");
        let publisher = if place == "handler" { trigger.port() } else { commands.port() };
        toml += &subscriber(publisher, &["fault"]);
        project = project.service(&format!("bad-{place}"), "fixture-faults", toml);
    }
    let mut host = project.start();
    host.wait_until_running("good");
    for place in ["new", "start", "run", "task"] {
        host.wait_for_log(&["ERROR", &format!("bad-{place}"), said]);
    }
    // `new` failed, so there is nothing to stop; the others end as every service ends.
    for place in ["start", "run", "task"] {
        host.wait_for_log(&[&format!("bad-{place}"), "state STOPPED"]);
    }

    host.wait_until_running("bad-handler");
    // Only the handler's own publisher knows when the handler's service listens.
    trigger.wait_for_subscriptions(&["fault"]);
    trigger.send("fault", &json!({}));
    host.wait_for_log(&["ERROR", "bad-handler", said]);
    if ends_in_handler {
        host.wait_for_log(&["bad-handler", "state STOPPED"]);
    }

    let mut subscriber = Subscriber::connect(events, &["heartbeat", "status"]);
    subscriber.wait_for_topic("heartbeat");
    commands.wait_for_subscriptions(&["commands"]);
    commands.send("commands", &json!({"command": "ping", "id": fault}));
    assert_eq!(subscriber.wait_for_topic("status")["reply_to"], fault);

    host.wait_until_running("bad-stop");
    host.stop();
    host.wait_for_log(&["ERROR", "bad-stop", said]);
    assert!(host.log_file("good").contains("state STOPPED"));
    assert!(host.log_file("bad-stop").contains(said));
    let panics = u8::from(fault == "panic");
    for place in PLACES {
        let (service, counted) =
            (format!("service=bad-{place} "), format!("errors=1 panics={panics}"));
        host.wait_for_log(&["counted", &service, &counted]);
    }
}

#[test]
fn a_panic_anywhere_ends_that_service_alone() {
    fails_everywhere("panic", "a panic on purpose", true);
}

#[test]
fn an_error_anywhere_leaves_the_others_alone_and_of_a_handler_even_the_service() {
    fails_everywhere("error", "an error on purpose", false);
}
