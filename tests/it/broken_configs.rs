//! The corpus of broken configurations in `tests/broken_configs`: what `exphost check` says to each.
//!
//! A case is a folder. Its TOML files, `.env` and folders are a project; `given`, where there is one,
//! has lines `NAME=value` for the environment and `--set …` for the command line; `expected` is the
//! output, word for word. `BLESS=1` writes `expected` anew, to be read with the eyes of somebody who
//! has not seen the code: is it plain what to do?

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::project::Project;
use crate::harness::{blesses, repository};

fn cases() -> Vec<PathBuf> {
    let folder = repository().join("tests/broken_configs");
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let mut cases: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    cases
}

/// What `exphost check` prints, without the places that differ from run to run.
fn told(case: &Path, project: &Project) -> String {
    let folder = project.path().join("projects/test");
    let _ = fs::remove_dir_all(&folder);
    copy(case, &folder);
    let given = fs::read_to_string(case.join("given")).unwrap_or_default();
    let (flags, variables): (Vec<_>, Vec<_>) =
        given.lines().partition(|line| line.starts_with("--"));
    let mut command = project.command(["check"]);
    for flag in flags {
        command.args(flag.splitn(2, ' '));
    }
    for (name, value) in variables.iter().filter_map(|line| line.split_once('=')) {
        command.env(name, value);
    }
    let output = command.output().expect("the binary can be started");
    let code = output.status.code();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((code, &*stderr), (Some(78), ""), "{}: {stdout}", case.display());
    stdout.replace(&format!("{}/", project.path().display()), "")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a case is a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("it has a name");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if name != "given" && name != "expected" {
            fs::copy(&path, to.join(name)).expect("it can be copied");
        }
    }
}

#[test]
fn each_of_them_is_told_as_it_was_found_good() {
    let project = Project::new().plugin("fixture-studio").plugin("heartbeat");
    let cases = cases();
    assert!(cases.len() >= 50, "only {} cases", cases.len());
    let mut differing = Vec::new();
    for case in &cases {
        let told = told(case, &project);
        let file = case.join("expected");
        if blesses() {
            fs::write(&file, &told).expect("the corpus can be written");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        // A refusal without an error would be no refusal.
        assert!(told.contains("error: "), "{}: {told}", case.display());
        if told != expected {
            differing.push(format!("{}:\n{told}--- expected:\n{expected}", case.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
