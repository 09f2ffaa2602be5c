//! Where each value of a configuration came from, so that a mistake is shown where it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::path::KeyPath;
use crate::problem::Problem;

/// Line and column of a character, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A TOML file.
    File {
        /// The file.
        path: Arc<Path>,
        /// Where the key is; for an item of a list, where the item is.
        key: Position,
        /// Where the value is.
        value: Position,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
    },
    /// A `--set` on the command line.
    Set {
        /// The key with its service, without the value: `core.work_interval`.
        argument: String,
    },
    /// A flag of `exphost run SERVICE`.
    Flag {
        /// The flag, without its value: `--camera-fps`.
        flag: String,
    },
    /// The default of the code.
    Default,
}

/// The place as people find it: `projects/experimance/core.toml:3:8`, the name of a variable, the
/// argument, `default`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, value, .. } => {
                write!(f, "{}:{}:{}", path.display(), value.line, value.column)
            }
            Self::Env { name } => f.write_str(name),
            Self::Set { argument } => write!(f, "--set {argument}"),
            Self::Flag { flag } => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Which part of an entry a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The key: it should not be there, or something below it is missing.
    Key,
    /// The value: it should be another one.
    Value,
}

/// The origins of the values of one configuration. What is not recorded is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    service: String,
    /// The file the values come from, or would come from.
    file: Option<PathBuf>,
    by_path: BTreeMap<KeyPath, Origin>,
    /// What nobody is to be shown.
    secrets: BTreeSet<KeyPath>,
}

impl Origins {
    /// No origins yet, for the configuration of `service` in `file`.
    #[must_use]
    pub fn new(service: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        let (by_path, secrets) = Default::default();
        Self { service: service.into(), file: Some(file.into()), by_path, secrets }
    }

    /// The service whose configuration it is.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The file the values come from, or would come from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where the value at exactly this path came from.
    #[must_use]
    pub fn get(&self, path: &KeyPath) -> &Origin {
        self.by_path.get(path).unwrap_or(&Origin::Default)
    }

    /// Where the value at this path, or the nearest table or list around it, came from.
    #[must_use]
    pub fn nearest(&self, path: &KeyPath) -> &Origin {
        let mut here = Some(path.clone());
        while let Some(path) = here {
            if let Some(origin) = self.by_path.get(&path) {
                return origin;
            }
            here = path.parent();
        }
        &Origin::Default
    }

    /// All recorded origins, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyPath, &Origin)> {
        self.by_path.iter()
    }

    /// Records where a value came from.
    pub fn record(&mut self, path: KeyPath, origin: Origin) {
        self.by_path.insert(path, origin);
    }

    /// Has problems with a value show nothing of it.
    pub fn keep_secret(&mut self, path: KeyPath) {
        self.secrets.insert(path);
    }

    /// Whether nothing of a value is to be shown.
    #[must_use]
    pub fn is_secret(&self, path: &KeyPath) -> bool {
        self.secrets.iter().any(|secret| secret.contains(path))
    }

    /// Whether a secret stands on a line, as one in a table on one line does.
    fn has_secret_at(&self, file: &Path, line: usize) -> bool {
        let is_there = |secret: &KeyPath| {
            matches!(self.nearest(secret), Origin::File { path, value, .. }
                if **path == *file && value.line == line)
        };
        self.secrets.iter().any(is_there)
    }

    /// Forgets a value and everything below it, because another one takes its place.
    pub fn forget(&mut self, path: &KeyPath) {
        self.by_path.retain(|recorded, _| !path.contains(recorded));
    }

    /// The path that is written `text`: exactly as recorded, else read plainly as keys and indices.
    #[must_use]
    pub fn path_of(&self, text: &str) -> KeyPath {
        let recorded = self.by_path.keys().find(|path| path.to_string() == text);
        recorded.cloned().unwrap_or_else(|| read_path(text))
    }

    /// A problem, told to be at the place that `path` came from. What did not come from a file
    /// names the service in its key and the variable or argument in its message.
    #[must_use]
    pub fn place(&self, mut problem: Problem, path: &KeyPath, part: Part) -> Problem {
        problem.is_secret = self.is_secret(path);
        let key = path.to_string();
        let qualified = |problem: Problem| match (self.service.as_str(), key.as_str()) {
            ("", "") => problem,
            ("", key) => problem.key(key),
            (service, "") => problem.key(service),
            (service, key) => problem.key(format!("{service}.{key}")),
        };
        match self.nearest(path) {
            Origin::File { path: file, key: key_at, value } => {
                let at = if part == Part::Key { key_at } else { value };
                problem.is_secret |= self.has_secret_at(file, at.line);
                let problem = problem.in_file(&**file).at(at.line, at.column);
                if key.is_empty() { problem } else { problem.key(key) }
            }
            source @ (Origin::Env { .. } | Origin::Set { .. } | Origin::Flag { .. }) => {
                from(qualified(problem), source)
            }
            Origin::Default => match &self.file {
                Some(file) if key.is_empty() => problem.in_file(file),
                Some(file) => problem.in_file(file).key(key),
                None => qualified(problem),
            },
        }
    }
}

fn from(mut problem: Problem, source: &Origin) -> Problem {
    problem.message = format!("{} (from {source})", problem.message);
    problem
}

/// Reads `a.b[0].c` without knowing the configuration; an odd text becomes one odd key.
fn read_path(text: &str) -> KeyPath {
    let mut path = KeyPath::root();
    for part in text.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').map_or((part, ""), |(key, rest)| (key, rest));
        path = match (key, key.parse()) {
            ("", _) => path,
            // `serde_path_to_error` writes an index both ways, depending on where it stands.
            (_, Ok(index)) if indices.is_empty() && !path.is_root() => path.index(index),
            _ => path.key(key),
        };
        for index in indices.split(['[', ']']).filter_map(|index| index.parse().ok()) {
            path = path.index(index);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn a_problem_is_placed_at_the_nearest_recorded_entry() {
        let mut origins = Origins::new("core", "p/core.toml");
        let file: Arc<Path> = Path::new("p/core.toml").into();
        origins.record(
            KeyPath::of_keys(["zmq"]),
            Origin::File { path: file, key: at(3, 2), value: at(3, 8) },
        );
        let told = |path: &KeyPath, part| {
            origins.place(Problem::error("is wrong"), path, part).to_string()
        };
        let below = KeyPath::of_keys(["zmq", "port"]);
        assert_eq!(told(&below, Part::Key), "p/core.toml:3:2: error: zmq.port: is wrong");
        assert_eq!(told(&below, Part::Value), "p/core.toml:3:8: error: zmq.port: is wrong");
        assert_eq!(
            told(&KeyPath::of_keys(["other"]), Part::Key),
            "p/core.toml: error: other: is wrong"
        );
    }

    #[test]
    fn a_problem_of_the_environment_names_the_variable() {
        let mut origins = Origins::new("core", "core.toml");
        let path = KeyPath::of_keys(["fps"]);
        origins.record(path.clone(), Origin::Env { name: "EXPERIMANCE_FPS".to_owned() });
        assert_eq!(
            origins.place(Problem::error("is wrong"), &path, Part::Value).to_string(),
            "error: core.fps: is wrong (from EXPERIMANCE_FPS)"
        );
        origins.record(path.clone(), Origin::Set { argument: "core.fps".to_owned() });
        assert_eq!(
            origins.place(Problem::error("is wrong"), &path, Part::Value).to_string(),
            "error: core.fps: is wrong (from --set core.fps)"
        );
    }

    #[test]
    fn written_paths_are_read_back() {
        let origins = Origins::new("core", "core.toml");
        for text in ["", "a", "a.b", "a[0]", "a.b[1][2].c"] {
            assert_eq!(origins.path_of(text).to_string(), text);
        }
        assert_eq!(origins.path_of("a.3.b").to_string(), "a[3].b");
    }
}
