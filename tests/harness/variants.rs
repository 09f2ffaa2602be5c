//! `fixture-minimal`, built in other ways: most of them a host must refuse.
//!
//! Each variant is a small workspace below the target directory: a copy of the fixture beside a
//! copy of plugin-api, which may be changed. They share one target directory, so that their
//! dependencies are compiled once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::artefacts::{Profile, cargo, library_name, succeed};
use super::repository;

/// A way to build the fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As it is, but a panic aborts the process.
    PanicAbort,
    /// Against a plugin-api with another field type in the boundary, under the same version.
    OtherLayout,
    /// Against the next major version of plugin-api.
    OtherMajor,
    /// Against a newer minor version of plugin-api.
    NewerMinor,
    /// Against an older minor version of plugin-api: its table of functions ends where it ended then.
    OlderMinor,
}

/// A change to a file of plugin-api: what stands between two texts, these included, gives way.
struct Change {
    file: &'static str,
    from: &'static str,
    through: &'static str,
    to: &'static str,
}

impl Change {
    const fn version(to: &'static str) -> Self {
        Self { file: "Cargo.toml", from: "\nversion = \"", through: "\"\n", to }
    }

    /// # Panics
    /// When the text is not there, so that a variant cannot silently be no other.
    fn make(&self, text: &str) -> String {
        let missing = |what| panic!("{}: there is no {what:?} to change", self.file);
        let start = text.find(self.from).unwrap_or_else(|| missing(self.from));
        let rest = start + self.from.len();
        let end = if self.through.is_empty() {
            rest
        } else {
            let at = text[rest..].find(self.through).unwrap_or_else(|| missing(self.through));
            rest + at + self.through.len()
        };
        [&text[..start], self.to, &text[end..]].concat()
    }
}

/// The built library of a variant.
pub fn library(variant: Variant) -> PathBuf {
    static BUILT: [OnceLock<PathBuf>; 5] = [const { OnceLock::new() }; 5];
    BUILT[variant as usize].get_or_init(|| build(variant)).clone()
}

impl Variant {
    const fn name(self) -> &'static str {
        match self {
            Self::PanicAbort => "panic-abort",
            Self::OtherLayout => "other-layout",
            Self::OtherMajor => "other-major",
            Self::NewerMinor => "newer-minor",
            Self::OlderMinor => "older-minor",
        }
    }

    fn changes(self) -> Vec<Change> {
        match self {
            Self::PanicAbort => Vec::new(),
            // The plugin's side only reads this struct, so a further field needs no other change.
            Self::OtherLayout => vec![Change {
                file: "src/abi/module.rs",
                from: "pub stop_timeout: f64,",
                through: "",
                to: "pub stop_timeout: f64,\n    /// Unknown to the host.\n    pub surplus: u32,",
            }],
            Self::OtherMajor => vec![Change::version("\nversion = \"2.0.0\"\n")],
            Self::NewerMinor => vec![Change::version("\nversion = \"1.99.0\"\n")],
            Self::OlderMinor => vec![
                Change::version("\nversion = \"1.0.0\"\n"),
                Change {
                    file: "src/abi/module.rs",
                    from: "    // Since 1.1.\n",
                    through: "pub unload: extern \"C\" fn(ByteSink) -> bool,\n",
                    to: "",
                },
                Change {
                    file: "src/abi/runner.rs",
                    from: "        live_threads,\n        unload,\n",
                    through: "",
                    to: "",
                },
            ],
        }
    }
}

fn build(variant: Variant) -> PathBuf {
    // From the build to the copy: the next variant's library has the same name in the same place.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let profile = Profile::of_this_process();
    let variants = directory();
    let workspace = variants.join(variant.name());
    lay_out(&workspace, "tests/fixtures/minimal");
    for change in variant.changes() {
        let file = workspace.join("plugin-api").join(change.file);
        write_if_changed(&file, &change.make(&read(&file)));
    }
    let target = variants.join("target");
    let mut build = cargo();
    // Nobody debugs these libraries.
    build.env("CARGO_PROFILE_DEV_DEBUG", "false").env("CARGO_TARGET_DIR", &target);
    build.current_dir(&workspace).args([
        "rustc",
        "--quiet",
        "--package",
        "fixture-minimal",
        "--profile",
        &profile.name,
    ]);
    if variant == Variant::PanicAbort {
        // Only the last crate needs it; the standard library and the dependencies stay as they are.
        build.args(["--", "-C", "panic=abort"]);
    }
    succeed(&mut build);
    let file_name = library_name("fixture-minimal");
    // Where a target is named for the whole build, as with a sanitizer, there is a directory of it.
    let triple = std::env::var_os("CARGO_BUILD_TARGET").unwrap_or_default();
    let built = target.join(triple);
    let built = built.join(profile.directory.file_name().expect("a profile has a directory"));
    // The next variant overwrites the file in the shared target directory.
    let kept = workspace.join(&file_name);
    fs::copy(built.join(&file_name), &kept).expect("cargo built the library");
    kept
}

/// Where the workspaces are, and beside them the target directory that they share.
pub fn directory() -> PathBuf {
    Profile::of_this_process().directory.join("variants")
}

/// Copies of plugin-api and of a package of the repository to be changed, and a workspace around
/// them.
pub fn lay_out(workspace: &Path, package: &str) {
    let repository = repository();
    let name = package.rsplit('/').next().unwrap_or(package);
    copy_tree(&repository.join("plugin-api"), &workspace.join("plugin-api"));
    copy_tree(&repository.join(package), &workspace.join(name));
    let manifest = read(&repository.join("Cargo.toml"));
    let manifest: String = manifest
        .lines()
        .map(|line| match line.split_once(" = ").map(|(key, _)| key) {
            Some("members") => format!("members = [\"plugin-api\", \"{name}\"]\n"),
            Some("default-members") => String::new(),
            _ => format!("{line}\n"),
        })
        .collect();
    write_if_changed(&workspace.join("Cargo.toml"), &manifest);
    // The same versions of the dependencies; cargo drops the packages that are not here.
    write_if_changed(&workspace.join("Cargo.lock"), &read(&repository.join("Cargo.lock")));
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the target directory can be written");
    for entry in fs::read_dir(from).expect("the repository can be read") {
        let entry = entry.expect("the repository can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            write_if_changed(&to, &read(&from));
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Leaves a file alone that is as it should be, so that cargo has nothing to do in the next run.
pub fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return;
    }
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
