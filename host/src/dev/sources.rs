//! Which plugins a changed file concerns, and which directories have to be watched to hear of it.
//!
//! Cargo alone knows what a build takes in, and says so only after it; so two things decide. Below
//! the directory of a package everything that looks like source counts, because a new file is in no
//! list yet. And what a build has said that it took in counts wherever it lies: a shader or a text
//! that the source includes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::needs::Needed;
use super::workspace::Workspace;

/// What a changed file means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concern {
    /// The plugins to build, by name.
    pub plugins: BTreeSet<String>,
    /// Whether what depends on what may have changed as well.
    pub is_manifest: bool,
}

impl Concern {
    /// Whether the file matters to nobody.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.plugins.is_empty() && !self.is_manifest
    }

    /// Together with what another file means.
    pub fn add(&mut self, other: Self) {
        self.plugins.extend(other.plugins);
        self.is_manifest |= other.is_manifest;
    }
}

/// How deep a directory is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The files in it.
    Itself,
    /// Everything below it.
    Below,
}

/// The sources of the needed plugins.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    root: PathBuf,
    target: PathBuf,
    packages: BTreeSet<PathBuf>,
    plugins: BTreeMap<String, BTreeSet<PathBuf>>,
    /// What the latest build of each plugin took in.
    inputs: BTreeMap<String, BTreeSet<PathBuf>>,
}

impl Sources {
    /// The sources as the manifests have them now. What builds took in is carried over.
    pub fn update(&mut self, workspace: &Workspace, needed: &[Needed]) {
        self.root.clone_from(&workspace.root);
        self.target.clone_from(&workspace.target);
        self.packages.clone_from(&workspace.packages);
        let packages = needed.iter().map(|needed| &needed.package);
        let sources = |it: &super::workspace::PluginPackage| it.sources.iter().cloned().collect();
        self.plugins = packages.map(|it| (it.name.clone(), sources(it))).collect();
        self.inputs.retain(|name, _| self.plugins.contains_key(name));
    }

    /// Takes note of what a build took in.
    pub fn took_in(&mut self, plugin: &str, inputs: BTreeSet<PathBuf>) {
        self.inputs.insert(plugin.to_owned(), inputs);
    }

    /// What it means when any file may have changed.
    #[must_use]
    pub fn all(&self) -> Concern {
        Concern { plugins: self.plugins.keys().cloned().collect(), is_manifest: true }
    }

    /// What a change of `file` means.
    #[must_use]
    pub fn concern(&self, file: &Path) -> Concern {
        if file.starts_with(&self.target) {
            return Concern::default();
        }
        let of_all = [self.root.join("Cargo.toml"), self.root.join("Cargo.lock")];
        if of_all.iter().any(|it| it == file) {
            return self.all();
        }
        let owner = self.packages.iter().filter(|package| file.starts_with(package));
        let owner = owner.max_by_key(|package| package.components().count());
        let source = owner.filter(|owner| is_source(owner, file));
        let built_from = |plugin: &str, directories: &BTreeSet<PathBuf>| {
            source.is_some_and(|owner| directories.contains(owner))
                || self.inputs.get(plugin).is_some_and(|inputs| inputs.contains(file))
        };
        let concerned = self.plugins.iter().filter(|(name, it)| built_from(name, it));
        let plugins: BTreeSet<_> = concerned.map(|(name, _)| name.clone()).collect();
        let is_manifest = !plugins.is_empty() && file.ends_with("Cargo.toml");
        Concern { plugins, is_manifest }
    }

    /// The directories to watch. Only those of code are watched to any depth: a package may hold
    /// the target directory, or a folder with a million pictures.
    #[must_use]
    pub fn watched(&self) -> BTreeMap<PathBuf, Depth> {
        let mut watched = BTreeMap::from([(self.root.clone(), Depth::Itself)]);
        for package in self.plugins.values().flatten() {
            watched.insert(package.clone(), Depth::Itself);
            let code = package.join("src");
            if code.is_dir() {
                watched.insert(code, Depth::Below);
            }
        }
        let code: Vec<PathBuf> = watched
            .iter()
            .filter(|(_, depth)| **depth == Depth::Below)
            .map(|(directory, _)| directory.clone())
            .collect();
        for directory in self.inputs.values().flatten().filter_map(|file| file.parent()) {
            let is_in_code = code.iter().any(|code| directory.starts_with(code));
            // What a build script generates is cargo's own affair.
            if !is_in_code && !directory.starts_with(&self.target) {
                watched.entry(directory.to_owned()).or_insert(Depth::Itself);
            }
        }
        watched
    }
}

/// Whether a file of a package can change what its library is.
fn is_source(package: &Path, file: &Path) -> bool {
    let Ok(within) = file.strip_prefix(package) else { return false };
    let names = within.components().map(|part| match part {
        Component::Normal(name) => name.to_str().unwrap_or_default(),
        _ => "",
    });
    let names: Vec<&str> = names.collect();
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return false };
    if names.iter().any(|name| name.starts_with('.')) || is_left_by_an_editor(last) {
        return false;
    }
    match *first {
        "src" | "Cargo.toml" | "build.rs" => true,
        "tests" | "benches" | "examples" | "target" => false,
        _ => Path::new(last).extension().is_some_and(|extension| extension == "rs"),
    }
}

/// Names that editors give to their own copies of a file. Most begin with a dot, and are left out
/// as hidden.
fn is_left_by_an_editor(name: &str) -> bool {
    const ENDINGS: [&str; 8] =
        ["~", ".swp", ".swx", ".tmp", ".bak", ".orig", "___jb_tmp___", "___jb_old___"];
    // Vim makes a file of this name to find out whether it may write into the directory.
    const VIM_TRIES: &str = "4913";
    name == VIM_TRIES
        || (name.starts_with('#') && name.ends_with('#'))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::workspace::PluginPackage;

    fn needed(name: &str, sources: &[&str]) -> Needed {
        let package = PluginPackage {
            name: name.to_owned(),
            library: format!("lib{name}.so"),
            sources: sources.iter().map(PathBuf::from).collect(),
        };
        Needed { package, services: vec![name.to_owned()] }
    }

    /// Two plugins and what both depend on; the workspace's root is a package too.
    fn sources() -> Sources {
        let packages = ["/w", "/w/api", "/w/plugins/core", "/w/plugins/heartbeat", "/w/host"];
        let workspace = Workspace {
            root: "/w".into(),
            target: "/w/target".into(),
            plugins: Vec::new(),
            packages: packages.iter().map(PathBuf::from).collect(),
        };
        let needed = [
            needed("core", &["/w/plugins/core", "/w/api"]),
            needed("heartbeat", &["/w/plugins/heartbeat", "/w/api"]),
        ];
        let mut sources = Sources::default();
        sources.update(&workspace, &needed);
        sources
    }

    fn concerned(sources: &Sources, file: &str) -> Vec<String> {
        sources.concern(Path::new(file)).plugins.into_iter().collect()
    }

    #[test]
    fn a_change_concerns_whoever_is_built_from_the_file() {
        let sources = sources();
        let both = ["core", "heartbeat"];
        assert_eq!(concerned(&sources, "/w/plugins/heartbeat/src/lib.rs"), ["heartbeat"]);
        assert_eq!(concerned(&sources, "/w/plugins/core/src/deep/story.txt"), ["core"]);
        assert_eq!(concerned(&sources, "/w/plugins/core/build.rs"), ["core"]);
        assert_eq!(concerned(&sources, "/w/plugins/core/lib.rs"), ["core"]);
        assert_eq!(concerned(&sources, "/w/api/src/lib.rs"), both);
        assert_eq!(concerned(&sources, "/w/Cargo.lock"), both);
        assert_eq!(concerned(&sources, "/w/Cargo.toml"), both);
    }

    #[test]
    fn what_no_library_is_built_from_concerns_nobody() {
        let sources = sources();
        for file in [
            "/w/host/src/lib.rs",
            "/w/src/main.rs",
            "/w/plugins/heartbeat/README.md",
            "/w/plugins/heartbeat/tests/answers.rs",
            "/w/plugins/heartbeat/src/.lib.rs.swp",
            "/w/plugins/heartbeat/src/.git/x.rs",
            "/w/plugins/heartbeat/src/lib.rs~",
            "/w/plugins/heartbeat/src/#lib.rs#",
            "/w/plugins/heartbeat/src/4913",
            "/w/plugins/heartbeat/src/lib.rs___jb_tmp___",
            "/w/plugins/heartbeat/logs/heartbeat.log",
            "/w/target/debug/build/x/out/y.rs",
            "/elsewhere/src/lib.rs",
        ] {
            assert!(sources.concern(Path::new(file)).is_none(), "{file}");
        }
    }

    #[test]
    fn manifests_are_known_for_what_they_are() {
        let sources = sources();
        let is_manifest = |file: &str| sources.concern(Path::new(file)).is_manifest;
        assert!(is_manifest("/w/Cargo.toml"));
        assert!(is_manifest("/w/plugins/core/Cargo.toml"));
        assert!(!is_manifest("/w/host/Cargo.toml"), "the host is not what is built");
        assert!(!is_manifest("/w/plugins/core/src/lib.rs"));
    }

    #[test]
    fn what_a_build_took_in_counts_wherever_it_lies() {
        let mut sources = sources();
        let shader = "/w/plugins/heartbeat/shaders/glow.wgsl";
        assert!(sources.concern(Path::new(shader)).is_none());
        let inputs =
            [shader, "/art/words.txt", "/w/plugins/heartbeat/src/lib.rs", "/w/target/o.rs"];
        sources.took_in("heartbeat", inputs.iter().map(PathBuf::from).collect());
        assert_eq!(concerned(&sources, shader), ["heartbeat"]);
        assert_eq!(concerned(&sources, "/art/words.txt"), ["heartbeat"]);
        let watched = sources.watched();
        for directory in ["/w", "/w/plugins/heartbeat", "/w/plugins/heartbeat/shaders", "/art"] {
            assert_eq!(watched.get(Path::new(directory)), Some(&Depth::Itself), "{directory}");
        }
        assert!(!watched.contains_key(Path::new("/w/target")), "{watched:?}");
        assert!(!watched.contains_key(Path::new("/w/host")), "{watched:?}");
    }

    #[test]
    fn directories_of_code_are_watched_with_all_below_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let package = directory.path().join("lights");
        std::fs::create_dir_all(package.join("src/deep")).expect("a directory");
        let workspace = Workspace {
            root: directory.path().to_owned(),
            target: directory.path().join("target"),
            plugins: Vec::new(),
            packages: BTreeSet::from([package.clone()]),
        };
        let mut sources = Sources::default();
        sources.update(&workspace, &[needed("lights", &[package.to_str().expect("UTF-8")])]);
        sources.took_in("lights", BTreeSet::from([package.join("src/deep/words.txt")]));
        let wanted = [
            (directory.path().to_owned(), Depth::Itself),
            (package.clone(), Depth::Itself),
            (package.join("src"), Depth::Below),
        ];
        assert_eq!(sources.watched(), BTreeMap::from(wanted));
    }
}
