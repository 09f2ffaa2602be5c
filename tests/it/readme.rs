//! The README's plugin is a real one.

use std::fs;

use serde_json::json;

use crate::harness::peers::{Publisher, Subscriber};
use crate::harness::project::Project;
use crate::harness::{free_port, repository};
use crate::sockets::{publisher, subscriber};

#[test]
fn the_plugin_of_the_readme_is_the_fixture() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).expect("it can be read");
    let code = read("tests/fixtures/greeter/src/lib.rs");
    assert!(read("README.md").contains(&format!("```rust\n{code}```")), "README.md differs");
}

#[test]
fn the_plugin_of_the_readme_greets() {
    let events = free_port();
    let mut door = Publisher::bind();
    let sockets = publisher(events) + &subscriber(door.port(), &["visitor"]);
    let toml = format!("greeting = \"good evening\"\n{sockets}");
    let host = Project::new().service("greeter", "fixture-greeter", toml).start();
    host.wait_until_running("greeter");
    door.wait_for_subscriptions(&["visitor"]);
    let mut visitor = Subscriber::connect(events, &["greeting"]);
    let greeting =
        door.ask_until_answered(&mut visitor, "visitor", &json!({"who": "Ada"}), "greeting");
    assert_eq!(greeting, json!({"greeting": "good evening", "who": "Ada"}));
}
