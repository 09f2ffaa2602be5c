//! The fixture, patched copies of it, and the steps up to a loaded library.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use exphost::environment::{Env, ProcessEnv};
use exphost::plugin::error::LoadError;
use exphost::plugin::identify::{Identity, identify};
use exphost::plugin::library::Library;
use exphost::plugin::probe::{ProbeReport, probe};
use exphost::plugin::stage::{Staged, Staging};
use plugin_api::abi::identity::{MAGIC, SECTION};

pub(crate) const EXPHOST: &str = env!("CARGO_BIN_EXE_exphost");

/// Generous: it must not be what decides on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The bytes of the fixture that most tests load.
pub(crate) fn good() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| fixture("handmade"))
}

/// A fixture's bytes, stripped of debug information; all are built once, at the first call.
pub(crate) fn fixture(package: &str) -> Vec<u8> {
    const FIXTURES: [&str; 3] = ["handmade", "fixture-companion", "fixture-leftovers"];
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let target = Path::new(EXPHOST).ancestors().nth(2).expect("a target directory");
        let target = target.join("fixtures");
        let mut build = Command::new(env!("CARGO"));
        build.arg("build").args(["--config", "profile.dev.strip=true"]);
        build.arg("--target-dir").arg(&target).current_dir(env!("CARGO_MANIFEST_DIR"));
        build.args(FIXTURES.iter().flat_map(|package| ["--package", package]));
        assert!(build.status().expect("cargo starts").success(), "the fixtures do not build");
        // Where cargo is told to build for a target by name, as it is for a sanitizer, it says so in
        // the path.
        let named = ProcessEnv.get("CARGO_BUILD_TARGET").map(|triple| target.join(triple));
        named.unwrap_or(target).join("debug")
    });
    let file = directory.join(format!("lib{}.so", package.replace('-', "_")));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A plugin directory with the fixture, or something made of it, in it.
pub(crate) struct Workbench {
    directory: tempfile::TempDir,
    pub(crate) staging: Staging,
}

impl Workbench {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let staging = Staging::new(directory.path()).expect("a staging directory");
        Self { directory, staging }
    }

    pub(crate) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join("libx.so");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    pub(crate) fn staged(&self, bytes: &[u8]) -> Staged {
        self.staged_as(bytes, 1)
    }

    pub(crate) fn staged_as(&self, bytes: &[u8], generation: u64) -> Staged {
        let identity = identify(&self.file(bytes)).expect("identified");
        self.staging.stage(&identity, generation).expect("staged")
    }

    pub(crate) fn identified(&self, bytes: &[u8]) -> Result<Identity, LoadError> {
        identify(&self.file(bytes))
    }

    pub(crate) fn probed(&self, bytes: &[u8]) -> Result<ProbeReport, LoadError> {
        probe(Path::new(EXPHOST), &self.staged(bytes), None, DEADLINE)
    }

    pub(crate) fn opened(&self, bytes: &[u8]) -> Arc<Library> {
        Arc::new(Library::open(self.staged(bytes)).expect("opened"))
    }
}

/// Where `needle` is, which must be in one place only.
pub(crate) fn only_place(bytes: &[u8], needle: &[u8]) -> usize {
    let mut places = (0..bytes.len() - needle.len()).filter(|&at| bytes[at..].starts_with(needle));
    let place = places.next().unwrap_or_else(|| panic!("no {}", needle.escape_ascii()));
    assert_eq!(places.next(), None, "{} is there twice", needle.escape_ascii());
    place
}

/// The fixture with `old` replaced by `new`, of the same length.
pub(crate) fn patched(old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = good().to_vec();
    let at = only_place(&bytes, old);
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// The fixture behaving otherwise when it is asked for its manifest.
pub(crate) fn behaving(how: &str) -> Vec<u8> {
    let old = format!("handmade-behaviour:{:13}", "normal");
    patched(old.as_bytes(), format!("handmade-behaviour:{how:13}").as_bytes())
}

/// The fixture with another identity record of the same length: the description gives way.
pub(crate) fn identified_as(edit: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let mut bytes = good().to_vec();
    let start = only_place(&bytes, MAGIC.as_bytes());
    let last = b"crate=handmade\0";
    let end = start
        + bytes[start..].windows(last.len()).position(|w| w == last).expect("an end")
        + last.len();
    let text = String::from_utf8(bytes[start..end - 1].to_vec()).expect("text");
    let mut entries: Vec<String> = text.split('\0').map(str::to_owned).collect();
    edit(&mut entries);
    let length: usize = entries.iter().map(|entry| entry.len() + 1).sum();
    let description = entries.iter_mut().find(|e| e.starts_with("description=")).expect("one");
    let (old, new) = (end - start, length);
    if new > old {
        description.truncate(description.len() - (new - old));
    } else {
        description.push_str(&" ".repeat(old - new));
    }
    let record: Vec<u8> = entries.iter().flat_map(|e| e.bytes().chain([0])).collect();
    bytes[start..end].copy_from_slice(&record);
    bytes
}

/// Sets one entry of an identity record.
pub(crate) fn set<'a>(key: &'a str, value: &'a str) -> impl Fn(&mut Vec<String>) + 'a {
    move |entries| {
        let prefix = format!("{key}=");
        let entry = entries.iter_mut().find(|e| e.starts_with(&prefix)).expect("the key");
        *entry = format!("{prefix}{value}");
    }
}

/// The name of the section with the identity, as the section table has it.
pub(crate) fn without_identity() -> Vec<u8> {
    let other = SECTION.replace("identity", "whatever");
    patched(format!("{SECTION}\0").as_bytes(), format!("{other}\0").as_bytes())
}
