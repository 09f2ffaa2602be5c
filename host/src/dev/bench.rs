//! A development run, set up: the workspace and the project are found, and the loop gets what it
//! works with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::build::{Hear, Job, Place};
use super::cargo::Cargo;
use super::needs::{Needed, Needs};
use super::notice::Say;
use super::shelf::Shelf;
use super::sources::Depth;
use super::watch::Watch;
use super::work::{Event, Tools, Work};
use super::workspace::{PluginPackage, Workspace};
use crate::environment::Process;
use crate::plugin::scan::{self, same_name};
use crate::prepare::{self, Wishes};
use crate::problem::Problem;
use crate::project::{Places, Project, ProjectName};

/// What a development run is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What every command is asked for.
    pub wishes: Wishes<'a>,
    /// The workspace's `Cargo.toml`; that of the working directory when it is not named.
    pub manifest: Option<&'a Path>,
    /// Whether to build with optimisations.
    pub release: bool,
}

/// A development run that can begin.
pub struct Ready {
    /// The loop.
    pub work: Work<Bench>,
    /// The plugin directory for the host.
    pub plugins: PathBuf,
    /// The folder of the projects for the host.
    pub projects: PathBuf,
}

/// The real tools: cargo, the manifests, the system's watcher.
pub struct Bench {
    cargo: Cargo,
    manifest: Option<PathBuf>,
    root: PathBuf,
    places: Places,
    name: ProjectName,
    env: BTreeMap<String, String>,
    watch: Watch,
}

impl Bench {
    /// Finds everything that a run needs.
    ///
    /// # Errors
    /// When there is no workspace, no such project, or nothing in common between them.
    pub fn set_up(
        asked: &Asked<'_>,
        process: &Process<'_>,
        say: Say,
    ) -> Result<Ready, Box<Problem>> {
        let channel = Work::<Self>::channel();
        let sender = channel.0.clone();
        // The receiver is gone only when the loop has ended.
        let watch = Watch::new(move |change| drop(sender.send(Event::Changed(change))))?;
        let env = process.env.all();
        let cargo = Cargo::new(&env, asked.release);
        let workspace = Workspace::new(&cargo.metadata(asked.manifest)?);
        let projects = projects_dir(&asked.wishes, &workspace);
        let name = ProjectName::choose(asked.wishes.project, &env, &projects)?;
        let places = Places::new(&projects);
        let needs = Needs::new(&workspace, &Project::read(&places, &name, &env))?;
        let shelf = Shelf::open(&workspace.target, &name).map_err(|error| {
            let problem = Problem::error(format!("cannot make a plugin directory: {error}"));
            Box::new(problem.in_file(&workspace.target).hint("make the target directory writable"))
        })?;
        stock(&shelf, &needs, asked, &projects, process)?;
        let manifest = asked.manifest.map(Path::to_owned);
        let root = workspace.root.clone();
        let bench = Self { cargo, manifest, root, places, name, env, watch };
        let plugins = shelf.path().to_owned();
        let work = Work::new(bench, shelf, (workspace, needs.built), say, channel);
        Ok(Ready { work, plugins, projects })
    }
}

impl Tools for Bench {
    type Job = Job;

    fn build(&mut self, package: &PluginPackage, place: Place, hear: Hear) -> Job {
        let command = self.cargo.build(&self.root, &package.name);
        Job::start(command, package, place, hear)
    }

    fn survey(&mut self) -> Result<(Workspace, Vec<Needed>), Box<Problem>> {
        let workspace = Workspace::new(&self.cargo.metadata(self.manifest.as_deref())?);
        let needs = Needs::new(&workspace, &Project::read(&self.places, &self.name, &self.env))?;
        Ok((workspace, needs.built))
    }

    fn watch(&mut self, wanted: BTreeMap<PathBuf, Depth>) -> Vec<Problem> {
        self.watch.follow(wanted)
    }
}

/// The folder of the projects: as for every command, else the one in the workspace, so that it may
/// be started in any folder of the workspace.
fn projects_dir(wishes: &Wishes<'_>, workspace: &Workspace) -> PathBuf {
    let here = PathBuf::from("projects");
    match wishes.projects {
        Some(directory) => directory.to_owned(),
        None if here.is_dir() => here,
        None => workspace.root.join("projects"),
    }
}

/// Clears the shelf of what is not needed, and puts there what is not built: plugins that the
/// project has beside those of the workspace.
fn stock(
    shelf: &Shelf,
    needs: &Needs,
    asked: &Asked<'_>,
    projects: &Path,
    process: &Process<'_>,
) -> Result<(), Box<Problem>> {
    let trouble = |error: std::io::Error| {
        let problem = Problem::error(format!("cannot be kept up to date: {error}"));
        Box::new(problem.in_file(shelf.path()).hint("remove the directory, and start again"))
    };
    let mut wanted: BTreeSet<_> =
        needs.built.iter().map(|needed| needed.package.library.clone()).collect();
    if !needs.others.is_empty() {
        let wishes = Wishes { projects: Some(projects), ..asked.wishes };
        let directory = prepare::plugins_dir(&wishes, process)?;
        // Without one the host says which plugins it lacks.
        for candidate in scan::scan(&directory).unwrap_or_default() {
            let Ok(identity) = candidate.identity else { continue };
            let is_other = needs.others.iter().any(|name| same_name(name, &identity.name));
            let file_name = candidate.file.file_name().unwrap_or_default();
            if is_other && wanted.insert(file_name.to_string_lossy().into_owned()) {
                shelf.put(&candidate.file).map_err(trouble)?;
            }
        }
    }
    shelf.keep_only(&wanted).map_err(trouble)
}
