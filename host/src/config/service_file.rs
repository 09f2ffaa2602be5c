//! The TOML file of a service: its own keys, and the host's directives in the table `[exphost]`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::directives::Directives;
use super::document::Document;
use super::origin::{Origins, Part};
use super::path::KeyPath;
use crate::problem::Problem;

/// The reserved table with the host's directives.
pub const HOST_TABLE: &str = plugin_api::manifest::HOST_KEY;

/// The configuration file of one service.
#[derive(Clone, Debug)]
pub struct ServiceFile {
    /// The service's name: the file's name without `.toml`.
    pub name: String,
    /// The file, or the one that would be read if it existed.
    pub file: PathBuf,
    /// Whether the file exists; if not, the service has its defaults.
    pub exists: bool,
    /// The service's own keys, without the host's table.
    pub table: Map<String, Value>,
    /// Where each value stands, the host's table included.
    pub origins: Origins,
    /// What the host is told about the service.
    pub directives: Directives,
    /// Whether the file has a table `[exphost]`, and so is meant for this host.
    pub is_for_host: bool,
    /// What does not parse, and what is wrong with the directives.
    pub problems: Vec<Problem>,
    /// How many of the problems concern the file's syntax; they come first.
    broken: usize,
}

impl ServiceFile {
    /// Reads the file of a service.
    #[must_use]
    pub fn read(name: &str, file: &Path) -> Self {
        Self::from_document(name, file, true, Document::read(name, file))
    }

    /// Reads the text of a service's file.
    #[must_use]
    pub fn parse(name: &str, file: &Path, text: &str) -> Self {
        Self::from_document(name, file, true, Document::parse(name, file, text))
    }

    /// A service without a file. The note of it is the caller's: only he knows whether it matters.
    #[must_use]
    pub fn absent(name: &str, file: &Path) -> Self {
        Self::from_document(name, file, false, Document::absent(name, file))
    }

    fn from_document(name: &str, file: &Path, exists: bool, document: Document) -> Self {
        let Document { mut table, origins, mut problems, names_host } = document;
        let broken = problems.len();
        let host_table = table.remove(HOST_TABLE);
        let is_for_host = host_table.is_some() || names_host;
        let (directives, wrong) = Directives::read(name, host_table, &origins);
        problems.extend(wrong);
        Self {
            name: name.to_owned(),
            file: file.to_owned(),
            exists,
            table,
            origins,
            directives,
            is_for_host,
            problems,
            broken,
        }
    }

    /// Whether the file does not parse, so that directives may be lost.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken > 0
    }

    /// Has it run whatever its file says of that, and without those it depends on.
    pub fn stand_alone(&mut self) {
        self.directives.enabled = true;
        self.directives.depends_on.clear();
    }

    /// The plugin that the service runs.
    #[must_use]
    pub fn plugin(&self) -> &str {
        self.directives.plugin.as_deref().unwrap_or(&self.name)
    }

    /// The name of its health file, without ending; the Python services call it their type.
    #[must_use]
    pub fn service_type(&self) -> &str {
        self.directives.service_type.as_deref().unwrap_or(&self.name)
    }

    /// Whether a problem only repeats that the file does not parse: it is on a line that does not,
    /// or misses a key that may stand on one.
    #[must_use]
    pub fn is_noise(&self, problem: &Problem) -> bool {
        let broken = self.problems.get(..self.broken).unwrap_or_default();
        let same_line = |known: &Problem| known.line.is_some() && known.line == problem.line;
        problem.file.as_deref() == Some(&*self.file)
            && (broken.iter().any(same_line)
                || (!broken.is_empty() && problem.message.starts_with("missing key")))
    }

    /// A problem with a directive, placed where the directive stands.
    #[must_use]
    pub fn at_directive(&self, directive: &str, problem: Problem) -> Problem {
        self.origins.place(problem, &KeyPath::of_keys([HOST_TABLE, directive]), Part::Value)
    }
}
