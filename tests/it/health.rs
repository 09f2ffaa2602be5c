//! Health files, as a reader in Python finds them beside `exphost status`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::host::Host;
use crate::harness::peers::Publisher;
use crate::harness::project::Project;
use crate::harness::{free_port, python, repository};
use crate::sockets::{faulty, heartbeat, publisher, subscriber};

/// What our reader, which knows the rules of the Python services, makes of a folder.
fn read(directory: &Path) -> Value {
    let script = repository().join("tests/peers/read_health.py");
    let output = Command::new("python3").arg(script).arg(directory).output();
    let output = output.expect("python3 can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the reader prints JSON")
}

/// Waits until a service's file has this status, among the lines of the log from `from` on: it is
/// written a little later than `status` knows.
fn wait_for_file(host: &Host, from: usize, service: &str, status: &str) -> usize {
    let (service, status) = (format!("service={service}"), format!("status={status}"));
    host.wait_for_log_from(from, &["health status written", &service, &status]).0
}

/// A host with one service of each status, and what belongs to them.
fn all_kinds() -> (Host, Publisher) {
    let mut commands = Publisher::bind();
    let sockets = publisher(free_port());
    let project = Project::new().service("good", "heartbeat", heartbeat(free_port(), None));
    let project = project.service("resting", "heartbeat", heartbeat(free_port(), None));
    let listening = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let once = "restart = \"never\"\n";
    let host = project
        .plugin("fixture-faults")
        .config("dim", faulty("ailing", "start", &sockets, once))
        .config("failing", faulty("error", "handler", &listening, once))
        .config("dead", faulty("fatal", "run", &publisher(free_port()), once))
        .start_with(&["--log-level", "debug"]);
    host.wait_until_running("failing");
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    // Before it began it was unknown as well.
    let line = wait_for_file(&host, 0, "resting", "healthy");
    assert_eq!(host.project().json_lines(&["stop", "resting"]).0, 0);
    wait_for_file(&host, line, "resting", "unknown");
    (host, commands)
}

#[test]
fn a_python_reader_sees_what_status_says() {
    if !python::is_there_alone("a_python_reader_sees_what_status_says") {
        return;
    }
    let (mut host, _commands) = all_kinds();
    let kinds = [
        ("good", "healthy"),
        ("dim", "warning"),
        ("failing", "error"),
        ("dead", "fatal"),
        ("resting", "unknown"),
    ];
    for (service, status) in kinds {
        wait_for_file(&host, 0, service, status);
    }
    let directory = host.project().path().join("logs/health");
    let seen = read(&directory);
    let (_, told) = host.project().json(&["status"]);
    let told = told["services"].as_array().expect("services");
    assert_eq!(told.len(), kinds.len());
    for service in told {
        let name = service["name"].as_str().expect("a name");
        let expected = kinds.iter().find(|(it, _)| *it == name).map(|(_, status)| *status);
        assert_eq!(seen[name]["status"].as_str(), expected, "{name}: {seen:#}");
        assert_eq!(seen[name]["status"], service["health"], "{name}");
        assert_eq!(seen[name]["restarts"], service["restarts"], "{name}");
        assert_eq!(seen[name]["errors"], service["statistics"]["errors"], "{name}");
        assert_eq!(seen[name]["stopped"], service["state"] == "stopped", "{name}");
    }

    host.stop();
    let seen = read(&directory);
    let stopped = |name: &str| (seen[name]["status"].clone(), seen[name]["stopped"].clone());
    assert_eq!(stopped("good"), (json!("unknown"), json!(true)), "the mark of a stop");
    assert_eq!(stopped("failing"), (json!("unknown"), json!(true)));
    assert_eq!(stopped("dead"), (json!("fatal"), json!(false)), "what failed stays failed");
}

#[test]
fn a_service_that_was_restarted_counts_that_and_is_well_again_with_a_new_build() {
    if !python::is_there_alone(
        "a_service_that_was_restarted_counts_that_and_is_well_again_with_a_new_build",
    ) {
        return;
    }
    let mut commands = Publisher::bind();
    let sockets = publisher(free_port()) + &subscriber(commands.port(), &["fault"]);
    let host = Project::new()
        .plugin("fixture-faults")
        .config("shaky", faulty("panic", "handler", &sockets, ""))
        .start_with(&["--log-level", "debug"]);
    wait_for_file(&host, 0, "shaky", "healthy");
    commands.wait_for_subscriptions(&["fault"]);
    commands.send("fault", &json!({}));
    let line = wait_for_file(&host, 0, "shaky", "fatal");
    // It runs again, and is under suspicion for a minute; a new build is not.
    assert_eq!(host.project().json_lines(&["reload", "shaky"]).0, 0);
    wait_for_file(&host, line, "shaky", "healthy");
    let seen = read(&host.project().path().join("logs/health"));
    assert_eq!(
        seen["shaky"],
        json!({"status": "healthy", "restarts": 1, "errors": 1, "stopped": false})
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named_once_and_stops_nothing() {
    let project = Project::new().service("good", "heartbeat", heartbeat(free_port(), None));
    let project = project.config("exphost", "[health]\ndirectory = \"taken\"\n");
    let taken = project.config_path("exphost").with_file_name("taken");
    fs::write(&taken, "a file where the folder should be").expect("the project can be written");
    let mut host = project.start();
    host.wait_until_running("good");
    host.wait_for_log(&["cannot write a health file", "taken"]);
    assert_eq!(host.stop().0, Some(0));
    let complaints = host.log().matches("cannot write a health file").count();
    assert_eq!(complaints, 1, "once a cause, though it was tried at each change");
}

#[test]
fn two_services_with_one_health_file_are_refused_by_name() {
    let shared = "[exphost]\nplugin = \"heartbeat\"\nservice_type = \"beat\"\n";
    let project = Project::new()
        .plugin("heartbeat")
        .config("left", heartbeat(free_port(), None) + shared)
        .config("right", heartbeat(free_port(), None) + shared);
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78, "{report:#}");
    let problem = &report["problems"][0];
    let message = problem["message"].as_str().expect("a message");
    assert!(message.contains("`left` and `right`") && message.contains("beat.json"), "{message}");
    assert_eq!(problem["key"], "exphost.service_type");
    assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("right.toml")));
}

#[test]
fn the_file_has_the_name_and_place_that_were_asked_for_and_others_may_read_it() {
    let directives = "[exphost]\nplugin = \"heartbeat\"\nservice_type = \"beat\"\n";
    let mut host = Project::new()
        .plugin("heartbeat")
        .config("left", heartbeat(free_port(), None) + directives)
        .config("exphost", "[health]\ndirectory = \"here/below\"\n")
        .start();
    host.wait_until_running("left");
    host.stop();
    let directory = host.project().config_path("exphost").with_file_name("here").join("below");
    let names: Vec<_> = fs::read_dir(&directory)
        .expect("the folder was made")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["beat.json"], "and nothing half written beside it");
    let file = directory.join("beat.json");
    let health: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    assert_eq!(health["service_name"], "left");
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o400, 0o400);
}
