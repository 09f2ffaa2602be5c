//! ARCHITECTURE.md names places in the code; a place that moved must move there too.

use std::fs;

use crate::harness::artefacts::cargo;
use crate::harness::repository;

/// The `path.rs:function` items in backticks, each with its line.
fn places(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Every second piece between backticks is code.
        for code in line.split('`').skip(1).step_by(2) {
            if let Some((file, name)) = code.split_once(".rs:") {
                found.push((number + 1, format!("{file}.rs"), name.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_place_named_in_the_walks_exists() {
    let path = repository().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).expect("ARCHITECTURE.md can be read");
    let places = places(&text);
    assert!(places.len() >= 4, "the four walks name no places: {places:?}");
    let missing: Vec<String> = places
        .into_iter()
        .filter_map(|(line, file, name)| {
            let Ok(code) = fs::read_to_string(repository().join(&file)) else {
                return Some(format!("ARCHITECTURE.md:{line}: there is no file {file}"));
            };
            let function = name.rsplit("::").next().unwrap_or(&name).trim_end_matches("()");
            let defined = ["fn ", "macro_rules! "].iter().any(|keyword| {
                code.match_indices(&format!("{keyword}{function}")).any(|(at, found)| {
                    let next = code[at + found.len()..].chars().next();
                    next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
                })
            });
            (!defined)
                .then(|| format!("ARCHITECTURE.md:{line}: there is no fn {function} in {file}"))
        })
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_place_is_read_out_of_a_line() {
    let places = places("1. `host/src/bus/thread.rs:poll` then `x` and `a/b.rs:Mailbox::push`.");
    let expected = [
        (1, "host/src/bus/thread.rs".to_owned(), "poll".to_owned()),
        (1, "a/b.rs".to_owned(), "Mailbox::push".to_owned()),
    ];
    assert_eq!(places, expected);
}

/// Plugins that are built together with the host share its features of tokio. With `signal` (which
/// `process` and `full` bring along) the runtime of every generation would leave two descriptors and
/// a driver behind.
#[test]
fn nothing_that_runs_brings_tokios_signal_driver() {
    let mut tree = cargo();
    tree.current_dir(repository());
    tree.args(["tree", "--locked", "--offline", "--edges", "features,normal", "--invert", "tokio"]);
    let output = tree.output().expect("cargo can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("tokio feature \"rt\""),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!text.contains("tokio feature \"signal\""), "{text}");
}
