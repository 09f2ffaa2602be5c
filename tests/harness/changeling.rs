//! Builds of `fixture-changeling`, made of the one that cargo builds by patching bytes: another
//! version, another name, another behaviour. Their content differs, their layout does not.

use std::fs;
use std::path::Path;

use super::artefacts::{library_name, plugin};

const PACKAGE: &str = "fixture-changeling";
const VERSION: &str = "7.70.700";

/// A build.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Three digits: `7.70.NNN`.
    pub patch: u16,
    /// Three letters, which its reports carry.
    pub name: &'static str,
    /// How it behaves; see the fixture.
    pub behaviour: &'static str,
}

impl Build {
    /// A good build.
    pub const fn good(patch: u16, name: &'static str) -> Self {
        Self { patch, name, behaviour: "normal" }
    }

    /// One that behaves otherwise.
    pub const fn behaving(patch: u16, behaviour: &'static str) -> Self {
        Self { patch, name: "bad", behaviour }
    }

    /// Its version.
    pub fn version(&self) -> String {
        format!("7.70.{:03}", self.patch)
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let path = plugin(PACKAGE);
        let mut bytes =
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        replace(&mut bytes, VERSION, &self.version());
        replace(&mut bytes, "changeling-build:one", &format!("changeling-build:{}", self.name));
        let behaviour = format!("changeling-behaviour:{:20}", self.behaviour);
        replace(&mut bytes, "changeling-behaviour:normal              ", &behaviour);
        bytes
    }

    /// Puts it into a plugin directory as a person does who knows how: a new file under another
    /// name, then renamed over the old.
    pub fn install(&self, directory: &Path) {
        let (new, file) = (directory.join(".new"), directory.join(Self::file_name()));
        fs::write(&new, self.bytes()).expect("the plugin directory can be written");
        fs::rename(&new, file).expect("the plugin directory can be written");
    }

    /// The file's name.
    pub fn file_name() -> String {
        library_name(PACKAGE)
    }

    /// What its service's table `[exphost]` says.
    pub fn directive() -> String {
        format!("\n[exphost]\nplugin = \"{PACKAGE}\"\n")
    }
}

fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len(), "{from:?} -> {to:?}");
    let places: Vec<_> =
        bytes.windows(from.len()).enumerate().filter(|(_, it)| *it == from.as_bytes()).collect();
    let places: Vec<_> = places.into_iter().map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{from:?} is not in the library");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
}
