//! The name of a project, and how it is found out which one is meant.

use std::fmt;
use std::path::Path;

use crate::config::nearest::known_names;
use crate::environment::Env;
use crate::problem::Problem;

/// The project that is meant when nothing names one.
pub const USUAL_PROJECT: &str = "experimance";

/// The file among the projects that says which one is meant.
pub const CHOICE_FILE: &str = ".project";

/// The variable that names the project.
pub const PROJECT_VARIABLE: &str = "PROJECT_ENV";

pub(super) const NAME_HINT: &str =
    "names have letters, digits, `_`, `-` and `.`, and begin with a letter, a digit or `_`";

/// A project, perhaps with a variant: `experimance`, `experimance/nochat_demo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectName {
    /// The project.
    pub project: String,
    /// Its variant.
    pub variant: Option<String>,
}

impl ProjectName {
    /// Reads `project` or `project/variant`.
    ///
    /// # Errors
    /// A problem when it is neither; the name never leads out of the folder of projects.
    pub fn parse(text: &str) -> Result<Self, Box<Problem>> {
        let text = text.trim();
        let (project, variant) = match text.split_once('/') {
            Some((project, variant)) => (project, Some(variant)),
            None => (text, None),
        };
        if is_name(project) && variant.is_none_or(is_name) {
            return Ok(Self { project: project.to_owned(), variant: variant.map(str::to_owned) });
        }
        let message = format!("`{}` is not a name of a project", text.escape_debug());
        let hint = format!("write `project` or `project/variant`; {NAME_HINT}");
        Err(Box::new(Problem::error(message).hint(hint)))
    }

    /// The project that is meant: the one of the command line, else of `PROJECT_ENV`, else of
    /// the file `.project` in the folder of projects, else [`USUAL_PROJECT`].
    ///
    /// # Errors
    /// A problem that says where the name came from when it is not one.
    pub fn choose(
        given: Option<&str>,
        env: &dyn Env,
        projects: &Path,
    ) -> Result<Self, Box<Problem>> {
        let file = projects.join(CHOICE_FILE);
        if let Some(given) = given {
            Self::parse(given).map_err(|problem| Box::new(problem.key("--project")))
        } else if let Some(value) = env.get_non_empty(PROJECT_VARIABLE) {
            Self::parse(&value).map_err(|problem| Box::new(problem.key(PROJECT_VARIABLE)))
        } else {
            match std::fs::read_to_string(&file) {
                Ok(text) if !text.trim().is_empty() => {
                    Self::parse(&text).map_err(|problem| Box::new(problem.in_file(&file)))
                }
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    let problem = Problem::error(format!("cannot be read: {error}"));
                    Err(Box::new(
                        problem.in_file(&file).hint("mend or remove it, or use --project"),
                    ))
                }
                _ => Self::parse(USUAL_PROJECT),
            }
        }
    }

    /// Whether the project and its variant exist.
    ///
    /// # Errors
    /// A problem that names those that do.
    pub fn find(&self, projects: &Path) -> Result<(), Box<Problem>> {
        let folder = projects.join(&self.project);
        if !folder.is_dir() {
            let message = format!("there is no project `{}`", self.project);
            return Err(Box::new(lost(message, projects, &folder, &self.project, "projects")));
        }
        if let Some(variant) = &self.variant {
            let inner = folder.join(variant);
            if !inner.is_dir() {
                let message = format!("project `{}` has no variant `{variant}`", self.project);
                return Err(Box::new(lost(message, &folder, &inner, variant, "variants")));
            }
        }
        Ok(())
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.project)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

fn lost(message: String, among: &Path, wanted: &Path, name: &str, noun: &str) -> Problem {
    let known = folders_in(among);
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let hint = known_names(name, &known, noun).unwrap_or_else(|| {
        if noun == "variants" {
            return "it has no variants; name the project alone".to_owned();
        }
        format!("there are no projects in {}; name another folder with --projects", among.display())
    });
    Problem::error(message).in_file(wanted).hint(hint)
}

/// The names of the folders in a folder that can be names of projects or variants, in order.
#[must_use]
pub fn folders_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect();
    names.sort();
    names
}

/// Whether a text can name a project, a variant or a service: it is one plain, visible file name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
}
