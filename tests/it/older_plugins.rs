//! A plugin that was built for an older minor version of the boundary.

use serde_json::json;

use crate::harness::project::Project;
use crate::harness::variants::{Variant, library};

#[test]
fn a_plugin_of_an_older_minor_version_runs() {
    let mut host = Project::new()
        .library("older.so", &library(Variant::OlderMinor))
        .config("fixture-minimal", "")
        .start();
    host.wait_until_running("fixture-minimal");
    assert_eq!(host.stop().0, Some(0));
    let log = host.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn a_plugin_that_cannot_say_that_it_is_ready_is_not_waited_for() {
    let project = Project::new()
        .library("older.so", &library(Variant::OlderMinor))
        .config("fixture-minimal", "[exphost]\nready = \"reported\"\n");
    let (code, checked) = project.json(&["check"]);
    assert_eq!(code, 78, "{checked:#}");
    let problem = &checked["problems"][0];
    assert_eq!((&problem["key"], &problem["line"]), (&json!("exphost.ready"), &json!(2)));
    let message = problem["message"].as_str().expect("a message");
    assert!(message.contains("plugin-api 1.3 or later"), "{message}");
}
