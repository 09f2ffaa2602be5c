//! Logs: what a plugin says reaches the right file, at the right level, under its name.

use serde_json::Value;

use crate::harness::host::Host;
use crate::harness::project::Project;

fn chatter(arguments: &[&str], host_config: &str) -> Host {
    let mut host = Project::new()
        .service("chatter", "fixture-chatter", "")
        .service("quiet", "fixture-minimal", "")
        .config("exphost", host_config)
        .start_with(arguments);
    if arguments.contains(&"warning") {
        // The last that is heard of it at this level.
        host.wait_for_log(&["chatter", "chatter says warning"]);
    } else {
        host.wait_until_running("chatter");
        host.wait_until_running("quiet");
    }
    assert_eq!(host.stop().0, Some(0));
    host
}

#[test]
fn each_service_has_a_file_of_its_own_and_the_host_another() {
    let host = chatter(&[], "");
    let (chatter, quiet, own) =
        (host.log_file("chatter"), host.log_file("quiet"), host.log_file("exphost"));
    assert!(chatter.contains("chatter says info"), "{chatter}");
    assert!(chatter.contains("chatter says info through log"), "{chatter}");
    assert!(!quiet.contains("chatter says"), "{quiet}");
    assert!(!own.contains("chatter says"), "{own}");
    assert!(quiet.contains("state STOPPED"), "{quiet}");
    assert!(!own.is_empty());
    // The console shows everything, with the service's name.
    let log = host.log();
    assert!(
        log.lines().any(|line| line.contains("chatter says info") && line.contains("sensor")),
        "{log}"
    );
}

#[test]
fn fields_and_spans_are_kept() {
    let host = chatter(&[], "");
    let log = host.log_file("chatter");
    let line = |text: &str| {
        let found = log.lines().find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("{text:?} is not in the log:\n{log}")).to_owned()
    };
    let info = line("chatter says info");
    for field in ["sensor=7", "ratio=0.5", "ready=true"] {
        assert!(info.contains(field), "{field} is not in {info:?}");
    }
    assert!(line("chatter says in a span").contains("reading"), "the span is lost");
}

#[test]
fn the_level_hides_what_is_below_it() {
    let levels = ["error", "warning", "info", "debug", "trace"];
    for (level, shown) in [("warning", 2), ("info", 3), ("debug", 4), ("TRACE", 5)] {
        let host = chatter(&["--log-level", level], "");
        let log = host.log_file("chatter");
        for (number, name) in levels.iter().enumerate() {
            let says = log.lines().any(|line| line.contains(&format!("chatter says {name}")));
            assert_eq!(says, number < shown, "{name} at level {level}:\n{log}");
        }
        let through_log = log.contains("chatter says debug through log");
        assert_eq!(through_log, shown >= 4, "at level {level}:\n{log}");
    }
}

#[test]
fn libraries_are_heard_from_warning_on() {
    let log = chatter(&[], "").log_file("chatter");
    assert!(!log.contains("a library says info"), "{log}");
    assert!(log.contains("a library says warning"), "{log}");
}

#[test]
fn json_lines_are_json_lines() {
    let host = chatter(&[], "[log]\nformat = \"json\"\n");
    let log = host.log_file("chatter");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}")))
        .collect();
    let info = lines
        .iter()
        .find(|line| {
            line["message"] == "chatter says info"
                || line["fields"]["message"] == "chatter says info"
        })
        .unwrap_or_else(|| panic!("the message is not in {log}"));
    assert!(info.to_string().contains("\"sensor\":7"), "{info:#}");
}
