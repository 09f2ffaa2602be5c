//! The plugin directory as a project sees it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plugin_api::manifest::{ConfigProblem, Manifest};
use semver::VersionReq;
use serde_json::Value;

use crate::config::ServiceFile;
use crate::environment::Process;
use crate::plugin::error::{Fault, LoadError};
use crate::plugin::identify::Identity;
use crate::plugin::scan::{self, Candidate};
use crate::plugin::stage::{self, Staged, Staging};
use crate::plugin::{permissions, probe};
use crate::problem::{Problem, Severity};

/// How long a plugin may take to be probed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The plugin files of a directory, and a private place for copies of them.
#[derive(Debug)]
pub(super) struct Shelf {
    candidates: Vec<Candidate>,
    /// What the good ones say of themselves, by file.
    manifests: BTreeMap<PathBuf, Manifest>,
    staging: Option<Staging>,
    generation: AtomicU64,
}

impl Shelf {
    /// Examines all files of the directory; the bad ones are warnings until a service needs one.
    pub(super) fn look(
        directory: &Path,
        process: &Process<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let found = scan::scan(directory).unwrap_or_else(|error| {
            problems.push(load_problem(&error));
            Vec::new()
        });
        let (mut candidates, mut manifests) = (Vec::new(), BTreeMap::new());
        for candidate in found {
            let (candidate, manifest) = examined(candidate, process);
            match &candidate.identity {
                Err(error) => {
                    problems.push(Problem { severity: Severity::Warning, ..load_problem(error) })
                }
                Ok(identity) => problems.extend(loose(identity, process)),
            }
            manifests.extend(manifest.map(|manifest| (candidate.file.clone(), manifest)));
            candidates.push(candidate);
        }
        let base = stage::default_base(process.env);
        let staging = Staging::new(&base)
            .map_err(|error| {
                let problem = format!("cannot make a private directory for plugin files: {error}");
                let problem = Problem::error(problem).in_file(&base);
                problems.push(problem.hint("make it writable, or set TMPDIR to one that is"));
            })
            .ok();
        Self { candidates, manifests, staging, generation: AtomicU64::new(1) }
    }

    /// The names of all plugins, bad files included by their file names: whoever needs one of
    /// those is to be told what is wrong with it.
    pub(super) fn names(&self) -> Vec<&str> {
        self.candidates.iter().filter_map(plain_name).collect()
    }

    /// The names of the plugins that can be loaded.
    pub(super) fn names_of_good(&self) -> Vec<&str> {
        self.manifests.values().map(|manifest| manifest.name.as_str()).collect()
    }

    /// The private place, which must stay for as long as a copy in it is needed.
    pub(super) fn into_staging(self) -> Option<Staging> {
        self.staging
    }

    /// The plugin that a service wants: chosen, and copied. The copy is of the very bytes that were
    /// examined, or it is refused, so what the plugin said of itself then still holds.
    pub(super) fn take(&self, service: &ServiceFile) -> Result<(Staged, Manifest), Box<Problem>> {
        let version = Some(&service.directives.version).filter(|it| **it != VersionReq::STAR);
        let identity =
            scan::choose(&self.candidates, service.plugin(), version).map_err(|error| {
                let problem = Problem::error(format!("service `{}`: {error}", service.name));
                let problem = problem.in_file(&service.file).hint(error.hint());
                Box::new(match version {
                    Some(_) => service.at_directive("version", problem),
                    None => problem,
                })
            })?;
        let staging = self.staging.as_ref().ok_or_else(|| {
            let problem = format!("service `{}`: its plugin cannot be copied", service.name);
            Box::new(Problem::error(problem))
        })?;
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let staged = staging.stage(identity, generation).map_err(|error| {
            let problem = load_problem(&error);
            let message = format!("service `{}` needs it: {}", service.name, problem.message);
            Box::new(Problem { message, ..problem })
        })?;
        let manifest = self.manifests.get(&identity.file).cloned().ok_or_else(|| {
            let problem = format!("service `{}`: its plugin was not examined", service.name);
            Box::new(Problem::error(problem).in_file(&identity.file))
        })?;
        Ok((staged, manifest))
    }
}

fn plain_name(candidate: &Candidate) -> Option<&str> {
    match &candidate.identity {
        Ok(identity) => Some(&identity.name),
        Err(_) => {
            let stem = candidate.file.file_stem()?.to_str()?;
            Some(stem.strip_prefix("lib").unwrap_or(stem))
        }
    }
}

/// Loads the copy in a child process: its manifest, and what it has against a configuration.
pub(super) fn probe_with(
    staged: &Staged,
    config: Option<&Value>,
    process: &Process<'_>,
) -> Result<(Manifest, Vec<ConfigProblem>), LoadError> {
    let config = config.map(|config| config.to_string().into_bytes());
    let report = probe::probe(&process.executable, staged, config.as_deref(), PROBE_TIMEOUT)?;
    Ok((report.manifest, report.config_problems))
}

/// What an identified file says of itself, loaded from a private copy in a child process.
///
/// # Errors
/// When the file cannot be loaded, or in production when somebody else could have written it.
pub fn manifest_of(identity: &Identity, process: &Process<'_>) -> Result<Manifest, LoadError> {
    permissions::check(&identity.file, process.mode)?;
    let base = stage::default_base(process.env);
    let staging = Staging::new(&base).map_err(|error| {
        LoadError::new(&base, Fault::NoCopy { path: base.clone(), source: error })
    })?;
    let staged = staging.stage(identity, 1)?;
    probe_with(&staged, None, process).map(|(manifest, _)| manifest)
}

/// A candidate after a look at its inside: its manifest, or the reason why it cannot be loaded.
#[must_use]
pub fn examined(candidate: Candidate, process: &Process<'_>) -> (Candidate, Option<Manifest>) {
    let Candidate { file, identity } = candidate;
    let examined = identity
        .and_then(|identity| manifest_of(&identity, process).map(|manifest| (identity, manifest)));
    let (identity, manifest) = match examined {
        Ok((identity, manifest)) => (Ok(identity), Some(manifest)),
        Err(error) => (Err(error), None),
    };
    (Candidate { file, identity }, manifest)
}

/// What would be refused in production.
fn loose(identity: &Identity, process: &Process<'_>) -> Vec<Problem> {
    let findings = permissions::check(&identity.file, process.mode).unwrap_or_default();
    let problem = |finding: String| {
        let problem = Problem::warning(finding).in_file(&identity.file);
        problem.hint("in production this plugin would be refused")
    };
    findings.into_iter().map(problem).collect()
}

/// What is wrong with a plugin file, as a problem.
#[must_use]
pub fn load_problem(error: &LoadError) -> Problem {
    let problem = Problem::error(error.fault().to_string()).in_file(error.file());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
