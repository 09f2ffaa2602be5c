//! A look at one service's configuration, whether or not the rest of its project is in order.

use plugin_api::manifest::Manifest;

use super::plugins::{Shelf, examined, load_problem, probe_with};
use super::{Wishes, overrides, plugins_dir, plugins_dir_of, projects_dir};
use crate::config::{self, Resolved, ServiceFile};
use crate::environment::Process;
use crate::plugin::scan;
use crate::problem::Problem;
use crate::project::{Alone, Places, Project, ProjectName};

/// A service and its configuration.
#[derive(Debug)]
pub struct One {
    /// Its file.
    pub file: ServiceFile,
    /// Its plugin's description of itself.
    pub manifest: Manifest,
    /// What its plugin is for, as its Cargo.toml says.
    pub about: Option<String>,
    /// Its configuration.
    pub resolved: Resolved,
    /// What is wrong with it, as far as the schema and the plugin itself can tell.
    pub problems: Vec<Problem>,
}

/// Looks at one service. Its plugin is that of its file, or, without one, that of its name.
///
/// # Errors
/// What keeps it from being looked at: no project, no plugin.
pub fn one(wishes: &Wishes<'_>, process: &Process<'_>, service: &str) -> Result<One, Vec<Problem>> {
    let alone = Alone { service: service.to_owned(), config: None };
    let alone = wishes.alone.cloned().unwrap_or(alone);
    let places = Places::new(projects_dir(wishes)).with_alone(Some(alone));
    let name = ProjectName::choose(wishes.project, process.env, places.projects());
    let name = name.map_err(|problem| vec![*problem])?;
    let project = Project::read(&places, &name, process.env);
    let mut problems = project.problems.clone();
    let mut about_others = Vec::new();
    let directory = plugins_dir_of(wishes, process, &project.settings);
    let shelf = Shelf::look(&directory, process, &mut about_others);
    problems.extend(about_others.into_iter().filter(Problem::is_error));
    let (files, notes) = project.services_of_host(&shelf.names());
    let Some(file) = files.first() else {
        problems.extend(notes);
        return Err(problems);
    };
    look_at(file, &project, &shelf, wishes, process, problems)
}

/// A look at the service of a file. `problems` are those of its project, the first to be told.
fn look_at(
    file: &ServiceFile,
    project: &Project,
    shelf: &Shelf,
    wishes: &Wishes<'_>,
    process: &Process<'_>,
    mut problems: Vec<Problem>,
) -> Result<One, Vec<Problem>> {
    let (staged, manifest) = shelf.take(file).map_err(|problem| {
        let mut all = std::mem::take(&mut problems);
        all.push(*problem);
        all
    })?;
    let given = overrides(wishes, &mut problems);
    let own: Vec<_> = given.into_iter().filter(|it| it.service == file.name).collect();
    let env = project.dotenv.below(process.env);
    let mut resolved = config::resolve(file, &manifest, &env, &own);
    let (_, found) = probe_with(&staged, Some(&resolved.for_plugin()), process)
        .map_err(|error| vec![load_problem(&error)])?;
    resolved.add_objections(file, &found);
    problems.append(&mut resolved.problems);
    let about = Some(staged.identity().description.clone()).filter(|about| !about.is_empty());
    Ok(One { file: file.clone(), manifest, about, resolved, problems })
}

/// What all plugins that can be loaded say of themselves, by name; of one plugin the highest version.
///
/// # Errors
/// When the plugin directory cannot be made out or read.
pub fn manifests(
    wishes: &Wishes<'_>,
    process: &Process<'_>,
) -> Result<Vec<Manifest>, Box<Problem>> {
    let directory = plugins_dir(wishes, process)?;
    let found = scan::scan(&directory).map_err(|error| Box::new(load_problem(&error)))?;
    let manifests = found.into_iter().filter_map(|candidate| {
        let (candidate, manifest) = examined(candidate, process);
        Some((candidate.identity.ok()?, manifest?))
    });
    let mut manifests: Vec<_> = manifests.collect();
    manifests.sort_by(|(a, _), (b, _)| {
        a.name.cmp(&b.name).then_with(|| b.version.cmp_precedence(&a.version))
    });
    manifests.dedup_by(|(a, _), (b, _)| a.name == b.name);
    Ok(manifests.into_iter().map(|(_, manifest)| manifest).collect())
}

/// The services of a project by name, those of other hosts left out where that can be told, each with a
/// look at it where it can be looked at.
///
/// # Errors
/// When the project cannot be made out, or its plugin directory not be read.
pub fn each(
    wishes: &Wishes<'_>,
    process: &Process<'_>,
) -> Result<Vec<(String, Option<One>)>, Box<Problem>> {
    let places = Places::new(projects_dir(wishes));
    let name = ProjectName::choose(wishes.project, process.env, places.projects())?;
    let project = Project::read(&places, &name, process.env);
    let directory = plugins_dir_of(wishes, process, &project.settings);
    let mut problems = project.problems.clone();
    let shelf = Shelf::look(&directory, process, &mut problems);
    if let Some(problem) = problems.into_iter().find(Problem::is_error) {
        return Err(Box::new(problem));
    }
    let (files, _) = project.services_of_host(&shelf.names_of_good());
    let look = |file: &ServiceFile| {
        let one = look_at(file, &project, &shelf, wishes, process, Vec::new());
        (file.name.clone(), one.ok())
    };
    Ok(files.into_iter().map(look).collect())
}
