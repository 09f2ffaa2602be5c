//! The JSON that scripts rely on: names that are always there, null where there is nothing.

use serde_json::{Map, Value};

use crate::harness::free_port;
use crate::harness::project::Project;
use crate::sockets::heartbeat;

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> =
        object.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn project() -> Project {
    Project::new().plugin("heartbeat").config("heartbeat", heartbeat(free_port(), None))
}

#[test]
fn list_has_the_same_keys_for_good_and_bad() {
    let (code, list) = project().file("text.so", b"text").json(&["list"]);
    assert_eq!(code, 0);
    let list = list.as_array().expect("a list");
    assert_eq!(list.len(), 2);
    for entry in list {
        assert_eq!(keys(entry), ["api_version", "error", "file", "name", "ok", "version"]);
        assert_eq!(entry["ok"].as_bool(), Some(entry["error"].is_null()), "{entry:#}");
    }
    let good = list.iter().find(|entry| entry["ok"] == true).expect("a good one");
    assert_eq!(good["name"], "heartbeat");
    assert_eq!(good["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn inspect_adds_the_identity_and_the_schema() {
    let project = project();
    let file = project.plugins().join("libheartbeat.so");
    let (code, inspected) = project.json(&["inspect", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 0);
    for key in ["file", "name", "version", "api_version", "ok", "error"] {
        assert!(keys(&inspected).contains(&key), "{key} is missing: {inspected:#}");
    }
    assert!(inspected["rustc"].as_str().is_some_and(|rustc| rustc.starts_with("rustc ")));
    assert!(inspected["target"].as_str().is_some_and(|target| target.contains("linux")));
    assert_eq!(inspected["unwind"], true);
    assert!(inspected["description"].is_string());
    assert!(inspected["authors"].is_string() || inspected["authors"].is_array());
    let interval = &inspected["config_schema"]["properties"]["work_interval"];
    assert_eq!(interval["minimum"], 0.01, "{interval:#}");
}

#[test]
fn check_of_a_sound_project_is_ok_and_empty() {
    let (code, report) = project().json(&["check"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(keys(&report), ["ok", "problems"]);
    assert_eq!(report["ok"], true);
    assert_eq!(report["problems"], Value::Array(Vec::new()));
}

#[test]
fn a_problem_has_all_its_keys() {
    let project = project().config("heartbeat", "work_intervall = 1.0\n");
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78);
    for problem in report["problems"].as_array().expect("a list") {
        assert_eq!(keys(problem), ["column", "file", "hint", "key", "line", "message", "severity"]);
    }
}
