//! A project: as written in its folder, then as used.
//!
//! The folder `projects/<project>/` has one TOML file per service and, optionally, `exphost.toml`
//! for the host itself. A variant is a folder in it, whose files take the place of the project's.

mod differences;
pub mod dotenv;
pub mod name;
pub mod order;
pub mod settings;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use dotenv::Dotenv;
pub use name::ProjectName;
pub use order::start_order;
pub use settings::HostSettings;

use crate::config::ServiceFile;
use crate::config::nearest::known_names;
use crate::environment::Env;
use crate::problem::Problem;

/// The file of the host itself in a project's folder.
pub const HOST_FILE: &str = "exphost.toml";

/// The variable that names the services of a project.
pub const SERVICES_VARIABLE: &str = "SERVICES";

/// A project as its folder has it.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// What concerns the host.
    pub settings: HostSettings,
    /// Its services, by name.
    pub services: Vec<ServiceFile>,
    /// What its `.env` says.
    pub dotenv: Dotenv,
    /// The services that have a file, whether or not they are among those.
    pub known: Vec<String>,
    /// Whether the services were named by `SERVICES`, and so must all be there.
    pub are_named: bool,
    /// What is wrong with the project itself and with `exphost.toml`. What is wrong with a service's
    /// file is with the service, because the file may turn out not to be this host's.
    pub problems: Vec<Problem>,
}

/// Where a project's files are.
#[derive(Clone, Debug)]
pub struct Places {
    projects: PathBuf,
    fallbacks: PathBuf,
    alone: Option<Alone>,
}

/// The one service of a project that is looked at, as `exphost run SERVICE` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alone {
    /// The service.
    pub service: String,
    /// Its file, when it is another than the project's.
    pub config: Option<PathBuf>,
}

impl Places {
    /// The folder of all projects. A service without a file in its project falls back to
    /// `../services/<service>/config.toml` beside that folder.
    #[must_use]
    pub fn new(projects: impl Into<PathBuf>) -> Self {
        let projects = projects.into();
        let beside = projects.parent().unwrap_or(Path::new("")).join("services");
        Self { projects, fallbacks: beside, alone: None }
    }

    /// Falls back to `<folder>/<service>/config.toml` instead.
    #[must_use]
    pub fn with_fallbacks(mut self, folder: impl Into<PathBuf>) -> Self {
        self.fallbacks = folder.into();
        self
    }

    /// Looks at one service alone, whatever else the project has. It runs without those it depends on.
    #[must_use]
    pub fn with_alone(mut self, alone: Option<Alone>) -> Self {
        self.alone = alone;
        self
    }

    /// The folder of all projects.
    #[must_use]
    pub fn projects(&self) -> &Path {
        &self.projects
    }

    /// The folders of a project, the variant's first.
    #[must_use]
    pub fn folders(&self, name: &ProjectName) -> Vec<PathBuf> {
        let folder = self.projects.join(&name.project);
        let variant = name.variant.as_ref().map(|variant| folder.join(variant));
        variant.into_iter().chain([folder]).collect()
    }

    /// The folders whose files make up a project: its own, and that of the one file that was named.
    #[must_use]
    pub fn folders_to_watch(&self, name: &ProjectName) -> Vec<PathBuf> {
        let named = self.alone.as_ref().and_then(|alone| alone.config.as_ref()?.parent());
        let here = |folder: &Path| match folder.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => folder.to_owned(),
        };
        self.folders(name).into_iter().chain(named.map(here)).collect()
    }

    /// The file of a service: the first that exists, and whether one does. If none does, it is the
    /// one in the project's folder, where people would put it.
    #[must_use]
    pub fn service_file(&self, name: &ProjectName, service: &str) -> (PathBuf, bool) {
        if let Some(config) = self.alone.as_ref().and_then(|alone| alone.config.as_ref()) {
            return (config.clone(), true);
        }
        let in_project = self.projects.join(&name.project).join(format!("{service}.toml"));
        let folders = self.folders(name).into_iter();
        let candidates = folders.map(|folder| folder.join(format!("{service}.toml")));
        let fallback = self.fallbacks.join(service).join("config.toml");
        // Anything but "not there" is left to the reading, which can say what is wrong.
        let mut candidates = candidates.chain([fallback]);
        match candidates.find(|file| file.exists() || file.is_symlink()) {
            Some(file) => (file, true),
            None => (in_project, false),
        }
    }
}

impl Project {
    /// Reads a project. Whatever is wrong is among its problems or those of its services.
    #[must_use]
    pub fn read(places: &Places, name: &ProjectName, env: &dyn Env) -> Self {
        let mut problems: Vec<Problem> =
            name.find(&places.projects).err().map(|problem| *problem).into_iter().collect();
        if !problems.is_empty() {
            return Self {
                name: name.clone(),
                settings: HostSettings::default(),
                services: Vec::new(),
                dotenv: Dotenv::default(),
                known: Vec::new(),
                are_named: false,
                problems,
            };
        }
        let folders = places.folders(name);
        let (settings, wrong) = HostSettings::read(&folders);
        problems.extend(wrong);
        let (dotenv, wrong) = Dotenv::read(&folders);
        problems.extend(wrong);
        let names = places.alone.as_ref().map(|alone| vec![alone.service.clone()]);
        let listed = || dotenv.below(env).get_non_empty(SERVICES_VARIABLE);
        let names = names.or_else(|| Some(named(&listed()?, &mut problems)));
        let names = names.filter(|names| !names.is_empty());
        let are_named = names.is_some();
        let mut about_files = Vec::new();
        let known = found(&folders, &mut about_files);
        let names = names.unwrap_or_else(|| {
            problems.append(&mut about_files);
            known.clone()
        });
        let config = places.alone.as_ref().and_then(|alone| alone.config.as_ref());
        let missing = config.filter(|config| !config.exists());
        problems.extend(missing.map(|config| {
            let problem = Problem::error("there is no such file").in_file(config);
            problem.hint("--config names the file of the service's configuration")
        }));
        let names = if missing.is_some() { Vec::new() } else { names };
        let services = names.iter().map(|service| match places.service_file(name, service) {
            (file, true) => ServiceFile::read(service, &file),
            (file, false) => ServiceFile::absent(service, &file),
        });
        let mut services: Vec<_> = services.collect();
        if places.alone.is_some() {
            services.iter_mut().for_each(ServiceFile::stand_alone);
        }
        Self { name: name.clone(), settings, services, dotenv, known, are_named, problems }
    }

    /// Parts the services into those that this host runs and those it leaves alone.
    ///
    /// A file with a table `[exphost]`, or one named in `SERVICES`, must have a plugin. Another one
    /// without a plugin is taken for the file of a Python service, which lives in the same folder,
    /// and is left out with a warning. `plugins` are the names of all plugins there are.
    #[must_use]
    pub fn services_of_host(&self, plugins: &[&str]) -> (Vec<&ServiceFile>, Vec<Problem>) {
        let mut ours = Vec::new();
        let mut problems = Vec::new();
        for service in &self.services {
            let has_plugin = plugins.contains(&service.plugin());
            if !service.directives.enabled {
                if self.are_named {
                    let problem = Problem::warning(format!(
                        "`{}` is named in {SERVICES_VARIABLE} but not enabled; it does not run",
                        service.name
                    ));
                    let problem = problem.hint("set `enabled = true`, or do not name it");
                    problems.push(service.at_directive("enabled", problem));
                }
            } else if has_plugin {
                problems.extend(without_file(service));
                ours.push(service);
            } else if service.is_for_host || self.are_named {
                // Which plugin it wants may stand where it does not parse.
                if !(service.is_broken() && service.is_for_host) {
                    problems.push(self.without_plugin(service, plugins));
                }
                problems.extend(service.problems.iter().cloned());
            } else {
                let problem = Problem::warning(format!(
                    "no plugin `{}`; taken for the file of a service that exphost does not run",
                    service.plugin()
                ));
                let problem = problem.in_file(&service.file);
                problems.push(problem.hint(
                    "if exphost is to run it, build its plugin and give the file a table [exphost]",
                ));
            }
        }
        (ours, problems)
    }

    fn without_plugin(&self, service: &ServiceFile, plugins: &[&str]) -> Problem {
        let (plugin, name) = (service.plugin(), &service.name);
        if !service.exists && self.are_named {
            // Nobody but the command line or the variable speaks of it.
            let mut known: Vec<_> = plugins.iter().map(|it| (*it).to_owned()).collect();
            known.extend(self.known.iter().cloned());
            known.sort();
            known.dedup();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let message =
                format!("there is no service `{name}`: it has neither a file nor a plugin");
            let mut problem = Problem::error(message).in_file(&service.file);
            problem.hint = known_names(name, &known, "services and plugins");
            return problem;
        }
        let message = format!("service `{name}` needs the plugin `{plugin}`, which is not there");
        let mut problem = Problem::error(message);
        problem.hint = known_names(plugin, plugins, "plugins").or_else(|| {
            let hint =
                "put its .so file into the plugin directory; `exphost list` shows what is there";
            Some(hint.to_owned())
        });
        match service.directives.plugin {
            Some(_) => service.at_directive("plugin", problem),
            None => problem.in_file(&service.file),
        }
    }
}

fn without_file(service: &ServiceFile) -> Option<Problem> {
    let note = || {
        Problem::warning(format!(
            "`{}` has no configuration file and uses its defaults",
            service.name
        ))
        .in_file(&service.file)
        .hint("create the file to configure it")
    };
    (!service.exists).then(note)
}

/// The services that `SERVICES` names, each once, in its order.
fn named(list: &str, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !name::is_name(name) {
            let problem =
                Problem::error(format!("`{}` is not a name of a service", name.escape_debug()));
            problems.push(problem.key(SERVICES_VARIABLE).hint(name::NAME_HINT));
        } else if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The services that have a file in one of the folders, by name.
fn found(folders: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for folder in folders {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let problem = Problem::error(format!("cannot be read: {error}"));
                problems.push(problem.in_file(folder).hint("check who may read the folder"));
                continue;
            }
        };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let is_toml = path.extension().is_some_and(|extension| extension == "toml");
            let file_name = path.file_name().unwrap_or_default().to_string_lossy();
            // Editors keep their copies of a file beside it, under hidden names.
            if !is_toml || path.is_dir() || file_name == HOST_FILE || file_name.starts_with('.') {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if name::is_name(&stem) {
                names.insert(stem.into_owned());
            } else {
                let problem = Problem::warning("is left out: its name is not a name of a service");
                problems.push(problem.in_file(&path).hint(name::NAME_HINT));
            }
        }
    }
    names.into_iter().collect()
}
