//! From a project's name to services that are ready to start: everything that can be found wrong
//! without binding a socket or running a service is found here, all of it in one go.
//!
//! `exphost check` is this and nothing more; `exphost` starts what comes out of it.

mod look;
mod one;
mod outcome;
mod plugins;
mod sockets;
mod surroundings;
mod workshop;

use std::path::{Path, PathBuf};

use plugin_api::manifest::Manifest;
use serde_json::Value;

pub use self::one::{One, each, manifests, one};
pub use self::outcome::{Asked, Fresh, HostChanges, How, News, Outcome, Present, Refusal, Terms};
use self::plugins::{Shelf, probe_with};
pub use self::plugins::{examined, load_problem, manifest_of};
pub use self::surroundings::around;
pub use self::workshop::Workshop;
use crate::bus::BusConfig;
use crate::config::supervision::Ready;
use crate::config::{self, Origins, Override, ServiceFile};
use crate::environment::{Env, Mode, Process};
use crate::health;
use crate::keep;
use crate::logging::{Format, LogSection, LogSettings};
use crate::plugin::identify::Identity;
use crate::plugin::stage::{Staged, Staging};
use crate::problem::Problem;
use crate::project::{
    self, Alone, HostSettings, Places, Project, ProjectName, settings::LogFormat, start_order,
};
use crate::service::mailbox::MailboxLimits;

/// What the command line asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// The project.
    pub project: Option<&'a str>,
    /// The plugin directory.
    pub plugins: Option<&'a Path>,
    /// The directory of the projects.
    pub projects: Option<&'a Path>,
    /// The directory of what outlives the host.
    pub state: Option<&'a Path>,
    /// The least level that is logged.
    pub log_level: Option<&'a str>,
    /// `service.key=value`, each.
    pub sets: &'a [String],
    /// The one service that is meant.
    pub alone: Option<&'a Alone>,
    /// What its flags say.
    pub flags: &'a [Override],
}

/// A project that has been looked at from all sides.
#[derive(Debug)]
pub struct Prepared {
    /// Its name, with its variant.
    pub project: String,
    /// The same in parts; `None` when it cannot be made out.
    pub name: Option<ProjectName>,
    /// Where the files of projects are.
    pub places: Places,
    /// `--set` of the command line, as far as it makes sense.
    pub overrides: Vec<Override>,
    /// Where its plugins are.
    pub plugins_dir: PathBuf,
    /// Where that is kept which outlives the host.
    pub state_dir: PathBuf,
    /// What concerns the host.
    pub settings: HostSettings,
    /// How to log.
    pub log_settings: LogSettings,
    /// Where the health files go.
    pub health_dir: PathBuf,
    /// Its services, dependencies first.
    pub services: Vec<ReadyService>,
    /// The private copies of their plugins, deleted with it.
    pub staging: Option<Staging>,
    /// Everything that is wrong or worth knowing.
    pub problems: Vec<Problem>,
}

/// A service that may be started.
#[derive(Debug)]
pub struct ReadyService {
    /// Its name.
    pub name: String,
    /// Where its configuration was read, or would have been.
    pub config_source: PathBuf,
    /// The private copy of its plugin.
    pub staged: Staged,
    /// The plugin's description of itself.
    pub manifest: Manifest,
    /// Its effective configuration.
    pub config: Value,
    /// Where each value came from.
    pub origins: Origins,
    /// Variables that begin like those for services and match no key of it.
    pub ignored_env: Vec<String>,
    /// What the host is told about it.
    pub terms: Terms,
}

impl Prepared {
    /// Whether the project may be run.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.problems.iter().any(Problem::is_error)
    }

    /// The bus as `[bus]` wants it.
    #[must_use]
    pub fn bus_config(&self) -> BusConfig {
        sockets::bus_config(&self.settings)
    }

    /// The mailboxes as `[bus]` wants them.
    #[must_use]
    pub fn mailbox_limits(&self) -> MailboxLimits {
        let (bus, default) = (&self.settings.bus, MailboxLimits::default());
        MailboxLimits {
            messages: bus.mailbox_messages.unwrap_or(default.messages),
            bytes: bus.mailbox_bytes.unwrap_or(default.bytes),
        }
    }
}

/// Looks at a project from all sides.
#[must_use]
pub fn prepare(wishes: &Wishes<'_>, process: &Process<'_>) -> Prepared {
    let mut problems: Vec<Problem> = Vec::new();
    let places = Places::new(projects_dir(wishes)).with_alone(wishes.alone.cloned());
    let chosen = ProjectName::choose(wishes.project, process.env, places.projects());
    let name = chosen.map_err(|problem| problems.push(*problem)).ok();
    let project = name.as_ref().map(|name| Project::read(&places, name, process.env));
    let overrides = overrides(wishes, &mut problems);
    let settings = project.as_ref().map(|it| it.settings.clone()).unwrap_or_default();
    let dotenv = project.as_ref().map(|it| it.dotenv.clone()).unwrap_or_default();
    let env = dotenv.below(process.env);
    let log_settings = log_settings(wishes, process.mode, &env, &settings, &mut problems);
    let plugins_dir = plugins_dir_of(wishes, process, &settings);
    let usual = || health::usual_directory(process.mode);
    let health_dir = settings.health.directory.clone().unwrap_or_else(usual);
    let (mut services, mut staging) = (Vec::new(), None);
    if let Some(project) = &project {
        problems.extend(project.problems.iter().cloned());
        // A project that is not there has no services to look at.
        if !project.problems.iter().any(|it| it.is_error() && project.services.is_empty()) {
            let shelf = Shelf::look(&plugins_dir, process, &mut problems);
            services = get_ready(project, &shelf, &overrides, process, &mut problems);
            staging = shelf.into_staging();
        }
    }
    let project = name.as_ref().map(ToString::to_string);
    let project = project.unwrap_or_else(|| wishes.project.unwrap_or_default().to_owned());
    let state_dir = keep::directory(wishes.state, process.mode, &project);
    Prepared {
        project,
        name,
        state_dir,
        places,
        overrides,
        plugins_dir,
        settings,
        log_settings,
        health_dir,
        services,
        staging,
        problems,
    }
}

/// Where a host of the project writes its log files, for commands that need nothing else of it.
///
/// # Errors
/// When it cannot be said which project is meant.
pub fn log_directory(wishes: &Wishes<'_>, process: &Process<'_>) -> Result<PathBuf, Box<Problem>> {
    let places = Places::new(projects_dir(wishes));
    let name = ProjectName::choose(wishes.project, process.env, places.projects())?;
    let (settings, _) = HostSettings::read(&places.folders(&name));
    let usual = LogSettings::new(process.mode);
    Ok(LogSettings { directory: settings.log.directory, ..usual }.directory())
}

/// Where the plugins are, for commands that need nothing else of the project.
///
/// # Errors
/// When the project, which may name the directory, cannot be made out.
pub fn plugins_dir(wishes: &Wishes<'_>, process: &Process<'_>) -> Result<PathBuf, Box<Problem>> {
    if let Some(directory) = wishes.plugins {
        return Ok(directory.to_owned());
    }
    let places = Places::new(projects_dir(wishes));
    let name = ProjectName::choose(wishes.project, process.env, places.projects())?;
    let (settings, _) = HostSettings::read(&places.folders(&name));
    Ok(plugins_dir_of(wishes, process, &settings))
}

/// Where the projects are.
#[must_use]
pub fn projects_dir(wishes: &Wishes<'_>) -> PathBuf {
    const INSTALLED: &str = "/etc/experimance/projects";
    match wishes.projects {
        Some(directory) => directory.to_owned(),
        None if !Path::new("projects").is_dir() && Path::new(INSTALLED).is_dir() => {
            PathBuf::from(INSTALLED)
        }
        None => PathBuf::from("projects"),
    }
}

fn plugins_dir_of(wishes: &Wishes<'_>, process: &Process<'_>, settings: &HostSettings) -> PathBuf {
    let beside = || process.executable.parent().unwrap_or(Path::new(".")).to_owned();
    wishes
        .plugins
        .map(Path::to_owned)
        .or_else(|| settings.plugins_dir.clone())
        .unwrap_or_else(beside)
}

fn log_settings(
    wishes: &Wishes<'_>,
    mode: Mode,
    env: &dyn Env,
    settings: &HostSettings,
    problems: &mut Vec<Problem>,
) -> LogSettings {
    let level = match wishes.log_level.map(str::parse).transpose() {
        Ok(level) => level,
        Err(error) => {
            problems.push(Problem::error(format!("--log-level: {error}")));
            None
        }
    };
    let section = log_section(&settings.log, problems);
    LogSettings::resolve(mode, env, level, &section).unwrap_or_else(|error| {
        problems.push(Problem::error(error.to_string()).hint(error.hint()));
        LogSettings::new(mode)
    })
}

/// `[log]` with its words understood. Its schema has refused those that are not levels.
fn log_section(log: &project::settings::LogSettings, problems: &mut Vec<Problem>) -> LogSection {
    let mut level = |text: &Option<String>| match text.as_deref().map(str::parse).transpose() {
        Ok(level) => level,
        Err(error) => {
            problems.push(Problem::error(format!("[log]: {error}")));
            None
        }
    };
    LogSection {
        level: level(&log.level),
        libraries: level(&log.libraries),
        format: Some(match log.format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }),
        directory: log.directory.clone(),
        console: log.console,
    }
}

/// Makes every service of the project that this host runs ready, as far as that goes.
fn get_ready(
    project: &Project,
    shelf: &Shelf,
    overrides: &[Override],
    process: &Process<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<ReadyService> {
    let (files, notes) = project.services_of_host(&shelf.names());
    problems.extend(notes);
    let all: Vec<_> = project.services.iter().map(|service| service.name.as_str()).collect();
    problems.extend(config::overrides_of_no_service(overrides, &all));
    let order = start_order(&files).unwrap_or_else(|wrong| {
        problems.extend(wrong);
        files.iter().map(|file| file.name.clone()).collect()
    });
    let mut services = Vec::new();
    for name in order {
        let Some(file) = files.iter().find(|file| file.name == name) else { continue };
        let own: Vec<_> = overrides.iter().filter(|it| it.service == name).cloned().collect();
        match ready(file, project, shelf, &own, process) {
            Ok((service, wrong)) => {
                problems.extend(wrong);
                services.push(service);
            }
            Err(wrong) => problems.extend(wrong),
        }
    }
    let configurations = services.iter().map(|service| (&service.config, &service.origins));
    let (endpoints, clashes) = config::endpoints::endpoints(configurations);
    problems.extend(clashes);
    problems.extend(same_health_file(&project.services));
    problems.extend(sockets::refused(&endpoints, &sockets::bus_config(&project.settings)));
    if services.is_empty() && !problems.iter().any(Problem::is_error) {
        let nothing = Problem::error(format!("project `{}` has no service to run", project.name));
        problems.push(nothing.hint("add a SERVICE.toml whose plugin is in the plugin directory"));
    }
    services
}

/// Services that would write one health file, the later one named with the earlier. Those of Python
/// are among them: they write the file of their name.
fn same_health_file(files: &[ServiceFile]) -> Vec<Problem> {
    let enabled = |file: &&ServiceFile| file.directives.enabled;
    let clash = |(at, file): (usize, &ServiceFile)| {
        let mut before = files[..at].iter().filter(enabled);
        let other = before.find(|it| it.service_type() == file.service_type())?;
        let message = format!(
            "`{}` and `{}` would write one health file, `{}.json`",
            other.name,
            file.name,
            file.service_type()
        );
        let problem = Problem::error(message).in_file(&file.file).key("exphost.service_type");
        Some(problem.hint("give one of them another `service_type` in its table [exphost]"))
    };
    files.iter().enumerate().filter(|(_, file)| enabled(file)).filter_map(clash).collect()
}

fn overrides(wishes: &Wishes<'_>, problems: &mut Vec<Problem>) -> Vec<Override> {
    let parsed = wishes.sets.iter().map(|argument| Override::parse(argument));
    let (good, bad): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
    problems.extend(bad.into_iter().filter_map(Result::err).map(|problem| *problem));
    // A flag is for the one service, and so more to the point than a `--set`.
    good.into_iter().filter_map(Result::ok).chain(wishes.flags.iter().cloned()).collect()
}

/// One service, with what is wrong with its configuration; or only what is wrong, when there is no
/// plugin to hold the configuration against.
fn ready(
    file: &ServiceFile,
    project: &Project,
    shelf: &Shelf,
    overrides: &[Override],
    process: &Process<'_>,
) -> Result<(ReadyService, Vec<Problem>), Vec<Problem>> {
    let without_plugin = |problem: Box<Problem>| {
        let mut all = file.problems.clone();
        all.push(*problem);
        all
    };
    let (staged, manifest) = shelf.take(file).map_err(without_plugin)?;
    let env = project.dotenv.below(process.env);
    let mut resolved = config::resolve(file, &manifest, &env, overrides);
    let config = resolved.for_plugin();
    match probe_with(&staged, Some(&config), process) {
        Ok((_, found)) => resolved.add_objections(file, &found),
        Err(error) => resolved.problems.push(load_problem(&error)),
    }
    let mut problems = resolved.problems;
    let terms = Terms::of(file, &project.settings.defaults);
    problems.extend(cannot_report(file, &terms, staged.identity()));
    let service = ReadyService {
        name: file.name.clone(),
        config_source: file.file.clone(),
        staged,
        manifest,
        config,
        ignored_env: resolved.ignored_env,
        origins: resolved.origins,
        terms,
    };
    Ok((service, problems))
}

/// A plugin that cannot say that it is ready, for which those that depend on it would wait for ever.
fn cannot_report(file: &ServiceFile, terms: &Terms, identity: &Identity) -> Option<Problem> {
    if terms.supervision.ready == Ready::Running || identity.speaks(3) {
        return None;
    }
    let message = format!(
        "ready = \"reported\" needs a plugin that was built with plugin-api 1.3 or later; {} was built with {}",
        identity.name, identity.api_version
    );
    let problem = Problem::error(message).hint("build it anew, or write ready = \"running\"");
    Some(file.at_directive("ready", problem))
}
