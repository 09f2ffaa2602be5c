//! Files in the plugin directory that cannot be loaded: each is named in one clear line, by every
//! command that looks at it, and the rest runs.

use std::fs;

use serde_json::Value;

use crate::harness::artefacts::plugin;
use crate::harness::free_port;
use crate::harness::peers::Subscriber;
use crate::harness::project::Project;
use crate::harness::variants::{Variant, library};
use crate::sockets::heartbeat;

/// Every bad file, and what must be said of it.
const BAD: &[(&str, &str)] = &[
    ("text.so", "not a shared library"),
    ("empty.so", "empty file"),
    ("directory.so", "directory"),
    ("truncated-0.so", "truncated"),
    ("truncated-1.so", "truncated"),
    ("truncated-2.so", "truncated"),
    ("bare.so", "not an exphost plugin"),
    ("abort.so", "panic = "),
    ("other-layout.so", "types differ"),
    ("other-major.so", "2.0.0"),
    ("newer-minor.so", "1.99.0"),
    ("probe-crash.so", "killed by signal"),
];

/// A project whose plugin directory holds all of them beside a good one.
fn project_with_bad_files() -> Project {
    let good = fs::read(plugin("heartbeat")).expect("the plugin has been built");
    let mut project = Project::new()
        .file(
            "text.so",
            b"These are notes, not a library.\nThey are longer than an ELF header is.\n",
        )
        .file("empty.so", b"")
        .library("bare.so", &plugin("fixture-bare"))
        .library("abort.so", &library(Variant::PanicAbort))
        .library("other-layout.so", &library(Variant::OtherLayout))
        .library("other-major.so", &library(Variant::OtherMajor))
        .library("newer-minor.so", &library(Variant::NewerMinor))
        .library("probe-crash.so", &plugin("fixture-probe-crash"));
    for (number, length) in [good.len() / 3, good.len() / 2, good.len() - 1].into_iter().enumerate()
    {
        project = project.file(&format!("truncated-{number}.so"), &good[..length]);
    }
    fs::create_dir(project.plugins().join("directory.so")).expect("a directory");
    project.plugin("heartbeat")
}

#[test]
fn each_is_named_in_one_line_and_the_rest_runs() {
    let events = free_port();
    let mut host = project_with_bad_files().config("heartbeat", heartbeat(events, None)).start();
    host.wait_until_running("heartbeat");
    Subscriber::connect(events, &["heartbeat"]).wait_for_topic("heartbeat");
    for (file, said) in BAD {
        host.wait_for_log(&[file, said]);
    }
    assert_eq!(host.stop().0, Some(0));
    for (file, _) in BAD {
        let log = host.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(file)).collect();
        assert_eq!(lines.len(), 1, "{file} is named in {lines:#?}");
        assert!(lines[0].len() < 600, "the line is long: {}", lines[0]);
    }
}

#[test]
fn list_and_inspect_say_the_same_of_each() {
    let project = project_with_bad_files();
    let (code, list) = project.json(&["list"]);
    assert_eq!(code, 0);
    let list = list.as_array().expect("a list");
    for (file, said) in BAD {
        let listed = list
            .iter()
            .find(|entry| entry["file"].as_str().is_some_and(|path| path.ends_with(file)))
            .unwrap_or_else(|| panic!("{file} is not listed in {list:#?}"));
        assert_eq!(listed["ok"], false, "{file}");
        let error = listed["error"].as_str().unwrap_or_default();
        assert!(error.contains(said), "{file}: {error:?} does not say {said:?}");
        assert!(!error.contains('\n'), "{file}: {error:?} is more than a line");

        let path = project.plugins().join(file);
        let (code, inspected) = project.json(&["inspect", path.to_str().expect("UTF-8")]);
        assert_eq!(code, 78, "{file}");
        assert_eq!(inspected["error"], listed["error"], "{file}");
        assert_eq!(inspected["config_schema"], Value::Null, "{file}");
    }
    let good: Vec<_> = list.iter().filter(|entry| entry["ok"] == true).collect();
    assert_eq!(good.len(), 1, "{good:#?}");
    assert_eq!(good[0]["name"], "heartbeat");
}

#[test]
fn check_refuses_a_project_that_needs_such_a_file_and_no_other() {
    let events = free_port();
    let project = project_with_bad_files().config("heartbeat", heartbeat(events, None));
    let output = project.output(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let project = project.config("needy", "[exphost]\nplugin = \"fixture-probe-crash\"\n");
    let (code, report) = project.json(&["check"]);
    assert_eq!(code, 78);
    assert_eq!(report["ok"], false);
    let problems = report["problems"].as_array().expect("a list");
    assert!(
        problems.iter().any(|problem| {
            let text = problem.to_string();
            text.contains("needy") && text.contains("probe-crash")
        }),
        "{problems:#?}"
    );
    // The host refuses it in the same way, before anything is bound.
    let output = project.output(&[]);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
}
