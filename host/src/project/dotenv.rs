//! The file `.env` of a project: variables for its services, which those of the process outrank.
//!
//! They count for the configuration of services, for `SERVICES` and for logging. They do not become
//! variables of the process: its threads may be reading those.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment::Env;
use crate::problem::Problem;

/// The name of the file.
pub const DOTENV_FILE: &str = ".env";

/// The variables of a project's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// Each value with the file that gives it.
    variables: BTreeMap<String, (String, PathBuf)>,
}

impl Dotenv {
    /// Reads the `.env` of the folders, the first of which has the last word.
    #[must_use]
    pub fn read(folders: &[PathBuf]) -> (Self, Vec<Problem>) {
        let mut dotenv = Self::default();
        let mut problems = Vec::new();
        let files = folders.iter().rev().map(|folder| folder.join(DOTENV_FILE));
        for file in files.filter(|file| file.exists()) {
            match std::fs::read_to_string(&file) {
                Ok(text) => dotenv.add(&file, &text, &mut problems),
                Err(error) => {
                    let problem = Problem::error(format!("cannot be read: {error}"));
                    let problem = problem.in_file(&file);
                    problems.push(problem.hint("check who may read it, and that it is UTF-8 text"));
                }
            }
        }
        (dotenv, problems)
    }

    fn add(&mut self, file: &Path, text: &str, problems: &mut Vec<Problem>) {
        for item in dotenvy::from_read_iter(text.as_bytes()) {
            match item {
                Ok((name, value)) => {
                    self.variables.insert(name, (value, file.to_owned()));
                }
                Err(dotenvy::Error::LineParse(line, at)) => {
                    problems.push(broken(file, text, &line, at));
                }
                Err(error) => {
                    problems.push(Problem::error(error.to_string()).in_file(file));
                    return;
                }
            }
        }
    }

    /// These variables below those of `env`.
    #[must_use]
    pub fn below<'e>(&'e self, env: &'e dyn Env) -> WithDotenv<'e> {
        WithDotenv { dotenv: self, env }
    }
}

fn broken(file: &Path, text: &str, line: &str, at: usize) -> Problem {
    let number = text.lines().position(|known| known.trim_end() == line.trim_end());
    let problem = Problem::error("this line sets no variable").in_file(file);
    let problem = problem.hint("write NAME=value, with quotes around a value with spaces");
    match number {
        Some(number) => problem.at(number + 1, at + 1),
        None => problem,
    }
}

/// The environment of a process, with the variables of a project below it.
#[derive(Clone, Copy)]
pub struct WithDotenv<'e> {
    dotenv: &'e Dotenv,
    env: &'e dyn Env,
}

impl Env for WithDotenv<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let below = || self.dotenv.variables.get(name).map(|(value, _)| value.clone());
        self.env.get(name).or_else(below)
    }

    fn all(&self) -> BTreeMap<String, String> {
        let below = self.dotenv.variables.iter();
        let mut all: BTreeMap<_, _> =
            below.map(|(name, (value, _))| (name.clone(), value.clone())).collect();
        all.extend(self.env.all());
        all
    }

    fn told(&self, name: &str) -> String {
        match self.dotenv.variables.get(name) {
            Some((_, file)) if self.env.get(name).is_none() => {
                format!("{name} in {}", file.display())
            }
            _ => self.env.told(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_environment_and_the_variant_come_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let variant = directory.path().join("quiet");
        std::fs::create_dir(&variant).expect("a directory");
        let text = "# for the gallery\nA=project\nexport B='the project'\nC=project\n";
        std::fs::write(directory.path().join(DOTENV_FILE), text).expect("written");
        std::fs::write(variant.join(DOTENV_FILE), "B=variant\nnonsense\n").expect("written");

        let (dotenv, problems) = Dotenv::read(&[variant.clone(), directory.path().to_owned()]);
        let real = BTreeMap::from([("C".to_owned(), "real".to_owned())]);
        let env = dotenv.below(&real);
        assert_eq!(env.get("A").as_deref(), Some("project"));
        assert_eq!(env.get("B").as_deref(), Some("variant"));
        assert_eq!(env.get("C").as_deref(), Some("real"));
        assert_eq!(env.all().len(), 3);
        assert_eq!(env.told("B"), format!("B in {}", variant.join(DOTENV_FILE).display()));
        assert_eq!(env.told("C"), "C");

        let told: Vec<_> = problems.iter().map(Problem::one_line).collect();
        let file = variant.join(DOTENV_FILE);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("{}:2:", file.display())), "{told:?}");
    }

    #[test]
    fn without_a_file_nothing_changes() {
        let real = BTreeMap::from([("C".to_owned(), "real".to_owned())]);
        let (dotenv, problems) = Dotenv::read(&[PathBuf::from("/nonexistent")]);
        assert_eq!((dotenv.below(&real).all(), problems), (real.all(), Vec::new()));
    }
}
