//! Which plugins a project needs: those that the workspace has are built, others are taken from
//! where plugins usually are.

use crate::config::nearest::known_names;
use crate::problem::Problem;
use crate::project::Project;

use super::workspace::{PluginPackage, Workspace};

/// A plugin of the workspace, with the services of the project that run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The plugin.
    pub package: PluginPackage,
    /// Its services.
    pub services: Vec<String>,
}

/// What a project needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Plugins of the workspace, in the order of the services.
    pub built: Vec<Needed>,
    /// Names of plugins that are not in the workspace. Some may be no plugins of this host at all,
    /// because the files of Python services lie in the same folder.
    pub others: Vec<String>,
}

impl Needs {
    /// What the project's services need of the workspace.
    ///
    /// # Errors
    /// When there is no such project, or none of its plugins is in the workspace.
    pub fn new(workspace: &Workspace, project: &Project) -> Result<Self, Box<Problem>> {
        if let ([], Some(problem)) =
            (&project.services[..], project.problems.iter().find(|it| it.is_error()))
        {
            return Err(Box::new(problem.clone()));
        }
        let mut needs = Self { built: Vec::new(), others: Vec::new() };
        for service in project.services.iter().filter(|service| service.directives.enabled) {
            match workspace.plugin(service.plugin()) {
                Some(package) => needs.add(package, &service.name),
                None => needs.others.push(service.plugin().to_owned()),
            }
        }
        if needs.built.is_empty() {
            return Err(Box::new(nothing_to_build(workspace, project, &needs.others)));
        }
        Ok(needs)
    }

    fn add(&mut self, package: &PluginPackage, service: &str) {
        match self.built.iter_mut().find(|needed| needed.package.name == package.name) {
            Some(needed) => needed.services.push(service.to_owned()),
            None => self
                .built
                .push(Needed { package: package.clone(), services: vec![service.to_owned()] }),
        }
    }
}

fn nothing_to_build(workspace: &Workspace, project: &Project, others: &[String]) -> Problem {
    let message =
        format!("no service of project `{}` runs a plugin of this workspace", project.name);
    let known: Vec<_> = workspace.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    let hint = match (known.is_empty(), others.first()) {
        (true, _) => {
            "a plugin is a package with `crate-type = [\"cdylib\"]` that depends on plugin-api; \
            name another workspace with --manifest-path"
                .to_owned()
        }
        (false, None) => format!("it has {}: add a SERVICE.toml for one", known.join(", ")),
        (false, Some(wanted)) => known_names(wanted, &known, "plugins")
            .unwrap_or_else(|| format!("the workspace has {}", known.join(", "))),
    };
    Problem::error(message).in_file(workspace.root.join("Cargo.toml")).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    use super::*;
    use crate::project::{Places, ProjectName};

    fn workspace(plugins: &[&str]) -> Workspace {
        let plugin = |name: &&str| PluginPackage {
            name: (*name).to_owned(),
            library: format!("lib{name}.so"),
            sources: vec![format!("/w/{name}").into()],
        };
        Workspace {
            root: "/w".into(),
            target: "/w/target".into(),
            plugins: plugins.iter().map(plugin).collect(),
            packages: BTreeSet::new(),
        }
    }

    fn needs(plugins: &[&str], files: &[(&str, &str)]) -> Result<Needs, Box<Problem>> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("show")).expect("a directory");
        for (name, text) in files {
            fs::write(directory.path().join("show").join(name), text).expect("written");
        }
        let name = ProjectName::parse("show").expect("a name");
        let places = Places::new(directory.path());
        let project = Project::read(&places, &name, &BTreeMap::<String, String>::new());
        Needs::new(&workspace(plugins), &project)
    }

    #[test]
    fn services_of_one_plugin_share_its_build_and_disabled_ones_need_none() {
        let files = [
            ("first.toml", "[exphost]\nplugin = \"heart_beat\""),
            ("heart-beat.toml", ""),
            ("off.toml", "[exphost]\nenabled = false\nplugin = \"core\""),
            ("python.toml", ""),
        ];
        let needs = needs(&["core", "heart-beat"], &files).expect("something to build");
        let [needed] = &needs.built[..] else { panic!("one plugin: {needs:?}") };
        assert_eq!(needed.package.name, "heart-beat");
        assert_eq!(needed.services, ["first", "heart-beat"]);
        assert_eq!(needs.others, ["python"]);
    }

    #[test]
    fn a_project_without_any_is_told_what_there_is() {
        let problem = needs(&["heartbeat"], &[("hartbeat.toml", "")]).expect_err("nothing");
        assert!(problem.message.contains("`show`"), "{problem}");
        let hint = problem.hint.expect("a hint");
        assert!(hint.contains("heartbeat"), "{hint}");
        let problem = needs(&[], &[("heartbeat.toml", "")]).expect_err("nothing");
        assert!(problem.hint.is_some_and(|hint| hint.contains("cdylib")));
    }

    #[test]
    fn a_project_that_is_not_there_is_the_first_thing_said() {
        let name = ProjectName::parse("show").expect("a name");
        let nowhere = Places::new("/nonexistent");
        let project = Project::read(&nowhere, &name, &BTreeMap::<String, String>::new());
        let problem = Needs::new(&workspace(&["heartbeat"]), &project).expect_err("no project");
        assert!(problem.message.contains("there is no project `show`"), "{problem}");
    }
}
