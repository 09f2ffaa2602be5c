//! Mistakes in the configuration: all of them are named in one run, and nothing is bound.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::free_port;
use crate::harness::project::Project;
use crate::sockets::{heartbeat, publisher, subscriber};

/// A project with every kind of mistake; two services that are sound by themselves bind `port`.
fn project_with_mistakes(port: u16) -> Project {
    let mistyped = "work_intervall = 2.0\n".to_owned() + &heartbeat(free_port(), None);
    let out_of_range =
        heartbeat(free_port(), None).replace("work_interval = 0.1", "work_interval = -1.0");
    let wrong_type =
        heartbeat(free_port(), None).replace("work_interval = 0.1", "work_interval = \"often\"");
    // Two may publish on one port, but none may listen where another publishes.
    let second = publisher(free_port()) + &subscriber(port, &["commands"]) + "bind = true\n";
    let broken = "work_interval = 1.0\n[zmq.publisher\n";
    let mut project = Project::new();
    for (service, toml) in [
        ("mistyped", mistyped.as_str()),
        ("out-of-range", &out_of_range),
        ("wrong-type", &wrong_type),
        ("first", &heartbeat(port, None)),
        ("second", &second),
    ] {
        project = project.service(service, "heartbeat", toml);
    }
    project.config("heartbeat", broken)
}

/// What must be said: a file, its line and column, the key, and a word of the message or the hint.
const MISTAKES: &[(&str, u64, u64, &str, &str)] = &[
    ("mistyped.toml", 1, 1, "work_intervall", "work_interval"),
    ("out-of-range.toml", 1, 17, "work_interval", "0.01"),
    ("wrong-type.toml", 1, 17, "work_interval", "number"),
];

fn text_of(problem: &Value) -> String {
    ["message", "hint"].map(|part| problem[part].as_str().unwrap_or_default()).join(" ")
}

#[test]
fn check_names_all_of_them_in_one_run() {
    // Taken by the test: whoever tried to bind it would say so.
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let project = project_with_mistakes(port);
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78);
    assert_eq!(report["ok"], false);
    let problems = report["problems"].as_array().expect("a list");
    let in_file = |file: &str| {
        problems
            .iter()
            .find(|problem| problem["file"].as_str().is_some_and(|path| path.ends_with(file)))
            .unwrap_or_else(|| panic!("nothing is said of {file}: {problems:#?}"))
    };
    for (file, line, column, key, said) in MISTAKES {
        let problem = in_file(file);
        assert_eq!(problem["severity"], "error", "{problem:#}");
        assert_eq!(problem["line"], *line, "{problem:#}");
        assert_eq!(problem["column"], *column, "{problem:#}");
        assert!(problem["key"].as_str().is_some_and(|found| found.ends_with(key)), "{problem:#}");
        assert!(text_of(problem).contains(said), "{problem:#}");
        assert!(problem["hint"].is_string(), "{problem:#}");
    }
    let broken = in_file("heartbeat.toml");
    assert_eq!(broken["line"], 2, "{broken:#}");
    let clash = problems
        .iter()
        .find(|problem| text_of(problem).contains(&port.to_string()))
        .unwrap_or_else(|| panic!("nothing is said of port {port}: {problems:#?}"));
    let text = clash.to_string();
    assert!(text.contains("first") && text.contains("second"), "{clash:#}");
    assert_eq!(problems.len(), MISTAKES.len() + 2, "{problems:#?}");
}

#[test]
fn the_host_says_the_same_and_binds_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let project = project_with_mistakes(port);
    let output = project.output(&[]);
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr);
    for (file, line, column, _, _) in MISTAKES {
        let place = format!("{file}:{line}:{column}");
        assert!(said.contains(&place), "{place} is not in:\n{said}");
    }
    assert!(said.contains("heartbeat.toml:2:"), "{said}");
    assert!(!said.contains("in use"), "something was bound:\n{said}");
    assert!(!said.contains("state "), "a service was started:\n{said}");
}

#[test]
fn the_command_line_is_checked_as_the_files_are() {
    let project =
        Project::new().plugin("heartbeat").config("heartbeat", heartbeat(free_port(), None));
    for set in ["heartbeat.work_intervall=1", "heartbeat.work_interval=0", "nobody.key=1"] {
        let output = project.output(&["--set", set, "check"]);
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(78), "{set}: {said}");
    }
    let output = project.output(&["--set", "heartbeat.work_interval=0.5", "check"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_service_whose_plugin_is_missing_is_named_with_what_there_is() {
    let project =
        Project::new().plugin("heartbeat").config("pulse", "[exphost]\nplugin = \"heartbeet\"\n");
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78);
    let problem = &report["problems"][0];
    let text = problem.to_string();
    assert!(text.contains("pulse.toml") && text.contains("`heartbeet`"), "{report:#}");
    assert!(text.contains("heartbeat"), "what was meant is not named: {report:#}");
}

#[test]
fn the_file_of_a_python_service_is_left_alone() {
    let project = Project::new()
        .plugin("heartbeat")
        .config("heartbeat", heartbeat(free_port(), None))
        .config("display", "fullscreen = true\n");
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 0, "{report:#}");
    let problem = &report["problems"][0];
    assert_eq!(problem["severity"], "warning");
    assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("display.toml")));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let project = Project::new();
    for arguments in [&["--no-such-flag"][..], &["no-such-command"], &["inspect"]] {
        assert_eq!(project.output(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
