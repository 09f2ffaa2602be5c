//! The binary and the plugins, built once per test run in the profile of the running test.
//!
//! `cargo test` builds neither the binary nor the cdylibs of other packages by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::repository;

/// The plugins of the repository.
pub const PLUGINS: [&str; 4] = ["heartbeat", "core", "chronicle", "health"];

const FIXTURES: &[&str] = &[
    "fixture-bare",
    "fixture-bench",
    "fixture-changeling",
    "fixture-chatter",
    "fixture-controller",
    "fixture-counter",
    "fixture-faults",
    "fixture-flood",
    "fixture-greeter",
    "fixture-leftovers",
    "fixture-minimal",
    "fixture-probe-crash",
    "fixture-relay",
    "fixture-studio",
    "fixture-worker",
];

/// Where cargo puts what it builds, and how it is told to put it there.
#[derive(Debug)]
pub struct Profile {
    /// `target/debug`, `target/release`…
    pub directory: PathBuf,
    /// What to give cargo's `--profile`.
    pub name: String,
}

impl Profile {
    /// The profile of the running test or bench.
    pub fn of_this_process() -> &'static Self {
        static PROFILE: OnceLock<Profile> = OnceLock::new();
        PROFILE.get_or_init(|| {
            let test = std::env::current_exe().expect("a running test has a path");
            let directory = test.ancestors().nth(2).expect("a test is below target/<profile>/deps");
            let name = directory.file_name().expect("a profile has a directory").to_string_lossy();
            let name = if name == "debug" { "dev".into() } else { name.into_owned() };
            Self { directory: directory.to_owned(), name }
        })
    }

    /// `target`, also when there is the name of a target triple in between.
    fn target_directory(&self) -> &Path {
        let above = self.directory.parent().expect("a profile's directory is below the target's");
        let is_triple = std::env::var_os("CARGO_BUILD_TARGET").as_deref() == above.file_name();
        if is_triple { above.parent().expect("there is a target directory") } else { above }
    }
}

/// A cargo command, free of what the outer cargo set for this test alone.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Runs a command to its end.
///
/// # Panics
/// When it fails, with all it said.
pub fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// What is to be built besides the binary, where that is less than everything.
static ONLY: OnceLock<&[&str]> = OnceLock::new();

/// Builds these packages and no others, for a bench that needs few. To be called before anything is
/// built.
pub fn build_only(packages: &'static [&'static str]) {
    // Nobody calls it twice; the first would count.
    let _ = ONLY.set(packages);
}

fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = Profile::of_this_process();
        eprintln!("building the host, the plugins and the fixtures ({} profile)", profile.name);
        let mut build = cargo();
        build
            .current_dir(repository())
            .args(["build", "--quiet", "--locked", "--profile", &profile.name])
            .env("CARGO_TARGET_DIR", profile.target_directory())
            .args(["--package", "exphost"]);
        let everything = || PLUGINS.iter().chain(FIXTURES).copied().collect();
        let packages: Vec<&str> = ONLY.get().map_or_else(everything, |only| only.to_vec());
        for package in packages {
            build.args(["--package", package]);
        }
        succeed(&mut build);
        profile.directory.clone()
    })
}

/// The `exphost` binary.
pub fn exphost() -> PathBuf {
    built().join("exphost")
}

/// File name of a package's cdylib.
pub fn library_name(package: &str) -> String {
    format!("lib{}.so", package.replace('-', "_"))
}

/// The cdylib of one of [`PLUGINS`] or of a fixture.
pub fn plugin(package: &str) -> PathBuf {
    built().join(library_name(package))
}
