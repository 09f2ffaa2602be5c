//! `exphost project`: makes projects, lists them, says which one is meant.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::{Common, Exit, output};
use crate::environment::Process;
use crate::prepare;
use crate::problem::Problem;
use crate::project::{self, Places, Project, ProjectName};

/// What to do about projects.
#[derive(Debug, Subcommand)]
pub(super) enum ProjectCommand {
    /// Make a project, or with `project/variant` a variant of one
    New {
        /// Its name
        name: String,
        /// Copy the files of this project
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
    },
    /// List the projects, their variants and services; the one that is meant has a star
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Make a project the one that is meant where none is named: writes projects/.project
    Set {
        /// Its name
        name: String,
    },
}

/// What a new project begins with.
const HOST_FILE: &str = "\
# What concerns the host rather than one of its services. Every key has a default.
# Beside this file stands one SERVICE.toml for each service: `exphost config init SERVICE` prints one.
[log]
level = \"info\"
";

pub(super) fn project(common: &Common, process: &Process<'_>, command: &ProjectCommand) -> Exit {
    let places = Places::new(prepare::projects_dir(&common.wishes()));
    let done = match command {
        ProjectCommand::New { name, from } => new(&places, name, from.as_deref()),
        ProjectCommand::Set { name } => set(&places, name),
        ProjectCommand::List { json } => list(common, process, &places, *json),
    };
    match done {
        Ok(()) => Exit::Done,
        Err(problem) => {
            output::note(&output::problem(&problem));
            Exit::Failed
        }
    }
}

fn new(places: &Places, name: &str, from: Option<&str>) -> Result<(), Box<Problem>> {
    let name = ProjectName::parse(name)?;
    let folder = folder(places, &name);
    if folder.exists() {
        let problem = Problem::error(format!("`{name}` exists already")).in_file(&folder);
        return Err(Box::new(problem.hint("choose another name, or remove the folder")));
    }
    let source = from.map(|from| existing(places, from)).transpose()?;
    if name.variant.is_some() {
        // A variant stands in its project, and what it does not say the project says.
        existing(places, &name.project)?;
    }
    let made = fs::create_dir_all(&folder).and_then(|()| match &source {
        Some(source) => copy(source, &folder, name.variant.is_none()),
        None if name.variant.is_some() => Ok(()),
        None => fs::write(folder.join(project::HOST_FILE), HOST_FILE),
    });
    made.map_err(|error| cannot_write(&folder, &error))?;
    output::line(&format!("made {}", folder.display()));
    Ok(())
}

fn folder(places: &Places, name: &ProjectName) -> PathBuf {
    let folder = places.projects().join(&name.project);
    name.variant.iter().fold(folder, |folder, variant| folder.join(variant))
}

/// The folder of a project that is there.
fn existing(places: &Places, name: &str) -> Result<PathBuf, Box<Problem>> {
    let name = ProjectName::parse(name)?;
    name.find(places.projects())?;
    Ok(folder(places, &name))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Box<Problem> {
    let problem = Problem::error(format!("cannot be written: {error}")).in_file(path);
    Box::new(problem.hint("check who may write there, or name another folder with --projects"))
}

/// Copies the files of a folder, and the variants in it unless they are for one, which has none and may
/// stand in that very folder. A `.env` stays: its secrets belong to one project.
fn copy(from: &Path, to: &Path, with_variants: bool) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            if with_variants {
                fs::create_dir_all(to.join(name))?;
                copy(&path, &to.join(name), with_variants)?;
            }
        } else if !name.to_string_lossy().starts_with('.') {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn set(places: &Places, name: &str) -> Result<(), Box<Problem>> {
    existing(places, name)?;
    let file = places.projects().join(project::name::CHOICE_FILE);
    let written = tempfile::NamedTempFile::new_in(places.projects()).and_then(|mut new| {
        std::io::Write::write_all(&mut new, format!("{}\n", name.trim()).as_bytes())?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        new.as_file().set_permissions(readable)?;
        new.persist(&file).map_err(|error| error.error)
    });
    written.map_err(|error| cannot_write(&file, &error))?;
    output::line(&format!("{}: {}", file.display(), name.trim()));
    Ok(())
}

fn list(
    common: &Common,
    process: &Process<'_>,
    places: &Places,
    json: bool,
) -> Result<(), Box<Problem>> {
    let chosen = ProjectName::choose(common.project.as_deref(), process.env, places.projects())?;
    let mut entries = Vec::new();
    for project in project::name::folders_in(places.projects()) {
        let Ok(name) = ProjectName::parse(&project) else { continue };
        let read = Project::read(places, &name, process.env);
        let services: Vec<_> = read.services.iter().map(|it| it.name.clone()).collect();
        let variants = project::name::folders_in(&places.projects().join(&project));
        entries.push((name, variants, services));
    }
    if json {
        let object = |(name, variants, services): &(ProjectName, Vec<String>, Vec<String>)| {
            json!({
                "project": name.project, "variants": variants, "services": services,
                "chosen": chosen.project == name.project,
                "chosen_variant":
                    chosen.variant.as_ref().filter(|_| chosen.project == name.project),
            })
        };
        output::json(&entries.iter().map(object).collect::<Vec<_>>());
        return Ok(());
    }
    if entries.is_empty() {
        output::line(&format!("no projects in {}", places.projects().display()));
    }
    for (name, variants, services) in &entries {
        let star = |is_chosen: bool| if is_chosen { "*" } else { " " };
        let services =
            if services.is_empty() { "no services".to_owned() } else { services.join(", ") };
        output::line(&format!("{} {name}: {services}", star(chosen == *name)));
        for variant in variants {
            let of_variant = ProjectName { variant: Some(variant.clone()), ..name.clone() };
            output::line(&format!("{} {of_variant}", star(chosen == of_variant)));
        }
    }
    Ok(())
}
