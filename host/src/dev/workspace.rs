//! The workspace whose plugins are developed: which of its packages are plugins, and which
//! directories each is built from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cargo_metadata::{CrateType, DependencyKind, Metadata, Package, PackageId};

use crate::plugin::scan::same_name;

/// What makes a package with a cdylib a plugin: that it depends on this one.
const PLUGIN_API: &str = "plugin-api";

/// A workspace with plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Where its first `Cargo.toml` and its `Cargo.lock` are.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// Its plugins, by name.
    pub plugins: Vec<PluginPackage>,
    /// The directories of all packages on this machine that a build may take in: of two that hold
    /// a file, the inner one owns it.
    pub packages: BTreeSet<PathBuf>,
}

/// A package that is a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginPackage {
    /// Its name.
    pub name: String,
    /// The file name of its library.
    pub library: String,
    /// The directories of the packages that it is built from: its own first, then what it depends
    /// on by path, at whatever remove.
    pub sources: Vec<PathBuf>,
}

impl Workspace {
    /// The workspace that `cargo metadata` describes.
    #[must_use]
    pub fn new(metadata: &Metadata) -> Self {
        let graph = Graph::new(metadata);
        let is_member = |package: &&Package| metadata.workspace_members.contains(&package.id);
        let members = metadata.packages.iter().filter(is_member);
        let mut plugins: Vec<_> = members.filter_map(|package| graph.plugin(package)).collect();
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        let local = metadata.packages.iter().filter(|package| package.source.is_none());
        Self {
            root: metadata.workspace_root.clone().into(),
            target: metadata.target_directory.clone().into(),
            plugins,
            packages: local.map(directory).collect(),
        }
    }

    /// The plugin of a name, written with `-` or `_`.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&PluginPackage> {
        self.plugins.iter().find(|plugin| same_name(&plugin.name, name))
    }
}

/// The packages and what each is built from.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Package>,
    dependencies: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let packages = metadata.packages.iter().map(|package| (key(&package.id), package));
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let dependencies = nodes.map(|node| {
            // What only tests need is not in the library.
            let is_built_in = |dependency: &&cargo_metadata::NodeDep| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            };
            let built_in = node.deps.iter().filter(is_built_in);
            (key(&node.id), built_in.map(|dependency| key(&dependency.pkg)).collect())
        });
        Self { packages: packages.collect(), dependencies: dependencies.collect() }
    }

    fn plugin(&self, package: &Package) -> Option<PluginPackage> {
        let is_cdylib =
            |target: &&cargo_metadata::Target| target.crate_types.contains(&CrateType::CDyLib);
        let target = package.targets.iter().find(is_cdylib)?;
        let direct = self.dependencies.get(key(&package.id)).into_iter().flatten();
        let mut direct = direct.filter_map(|id| self.packages.get(id));
        direct.find(|dependency| dependency.name == PLUGIN_API)?;
        Some(PluginPackage {
            name: package.name.to_string(),
            library: format!("lib{}.so", target.name.replace('-', "_")),
            sources: self.sources(package),
        })
    }

    /// The directories of a package and of all local ones that it is built from.
    fn sources(&self, package: &Package) -> Vec<PathBuf> {
        let mut seen = BTreeSet::from([key(&package.id)]);
        let mut sources = Vec::new();
        let mut next = vec![key(&package.id)];
        while let Some(id) = next.pop() {
            let Some(package) = self.packages.get(id) else { continue };
            // A published package does not change, and does not depend on one that does.
            if package.source.is_some() {
                continue;
            }
            sources.push(directory(package));
            let dependencies = self.dependencies.get(id).into_iter().flatten();
            next.extend(dependencies.filter(|id| seen.insert(id)));
        }
        sources
    }
}

fn key(id: &PackageId) -> &str {
    &id.repr
}

fn directory(package: &Package) -> PathBuf {
    package.manifest_path.parent().unwrap_or(&package.manifest_path).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::dev::cargo::Cargo;
    use crate::environment::ProcessEnv;

    fn read(manifest: &Path) -> Workspace {
        let cargo = Cargo::new(&ProcessEnv, false);
        Workspace::new(&cargo.metadata(Some(manifest)).expect("cargo describes the workspace"))
    }

    fn package(directory: &Path, name: &str, rest: &str) {
        fs::create_dir_all(directory.join("src")).expect("a directory");
        fs::write(directory.join("src/lib.rs"), "").expect("written");
        let package =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        fs::write(directory.join("Cargo.toml"), package + rest).expect("written");
    }

    #[test]
    fn this_repository_has_its_plugins_each_with_its_own_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
        let workspace = read(&root.join("Cargo.toml"));
        assert_eq!(workspace.root, root);
        let heartbeat = workspace.plugin("heartbeat").expect("a plugin of the repository");
        assert_eq!(heartbeat.library, "libheartbeat.so");
        assert_eq!(heartbeat.sources, [root.join("plugins/heartbeat"), root.join("plugin-api")]);
        assert!(workspace.plugin("exphost").is_none(), "the host is no plugin");
        let named: Vec<_> = workspace.plugins.iter().map(|it| it.name.as_str()).collect();
        assert!(named.contains(&"fixture-counter"), "{named:?}");
        assert!(!named.contains(&"fixture-bare"), "it does not depend on plugin-api: {named:?}");
    }

    #[test]
    fn sources_follow_paths_outside_the_workspace_and_leave_out_what_tests_need() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("it exists");
        let inside = root.join("workspace");
        const CDYLIB: &str = "[lib]\nname = \"sounds_and_lights\"\ncrate-type = [\"cdylib\"]\n";
        let dependencies = "[dependencies]\nplugin-api = { path = \"../../plugin-api\" }\n\
            paint = { path = \"../../colours\", package = \"colours\" }\n\
            [build-dependencies]\nmake = { path = \"../../make\" }\n\
            [dev-dependencies]\ncheck = { path = \"../../check\" }\n";
        package(&inside.join("lights"), "lights", &format!("{CDYLIB}{dependencies}"));
        package(&inside.join("other"), "other", CDYLIB);
        package(
            &root.join("colours"),
            "colours",
            "[dependencies]\nhues = { path = \"../hues\" }\n",
        );
        for name in ["plugin-api", "hues", "make", "check"] {
            package(&root.join(name), name, "");
        }
        let manifest = "[workspace]\nresolver = \"3\"\nmembers = [\"lights\", \"other\"]\n";
        fs::write(inside.join("Cargo.toml"), manifest).expect("written");

        let workspace = read(&inside.join("Cargo.toml"));
        let [lights] = &workspace.plugins[..] else { panic!("one plugin: {workspace:#?}") };
        assert_eq!((&*lights.name, &*lights.library), ("lights", "libsounds_and_lights.so"));
        assert_eq!(lights.sources.first(), Some(&inside.join("lights")));
        let sources: BTreeSet<_> = lights.sources.iter().cloned().collect();
        let wanted = ["workspace/lights", "plugin-api", "colours", "hues", "make"];
        assert_eq!(sources, wanted.map(|name| root.join(name)).into_iter().collect());
    }

    #[test]
    fn what_cargo_has_against_a_manifest_is_said_with_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let manifest = directory.path().join("Cargo.toml");
        fs::write(&manifest, "[workspace\n").expect("written");
        let cargo = Cargo::new(&ProcessEnv, false);
        let problem = cargo.metadata(Some(&manifest)).expect_err("it does not parse");
        assert_eq!(problem.file.as_deref(), Some(&*manifest));
        assert!(problem.message.contains("Cargo.toml"), "{problem}");
    }

    #[test]
    fn a_missing_cargo_is_named() {
        let env = BTreeMap::from([("CARGO".to_owned(), "/nonexistent/cargo".to_owned())]);
        let problem = Cargo::new(&env, false).metadata(None).expect_err("there is none");
        assert!(problem.message.contains("/nonexistent/cargo"), "{problem}");
        assert!(problem.hint.as_deref().is_some_and(|hint| hint.contains("rustup")), "{problem}");
    }
}
