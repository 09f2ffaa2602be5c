//! What is asked of a look at a service, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use plugin_api::manifest::Manifest;

use crate::config::isolation::Isolation;
use crate::config::{self, ServiceFile, Supervision};
use crate::plugin::code::Code;
use crate::plugin::error::LoadError;
use crate::plugin::identify::Identity;
use crate::problem::Problem;
use crate::project::settings::ServiceDefaults;

/// A service to look at.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its name.
    pub service: String,
    /// What it runs now, or ran last.
    pub present: Present,
    /// What is wanted of it.
    pub how: How,
}

/// What a service runs.
#[derive(Clone, Debug)]
pub struct Present {
    /// The library, opened here or left to processes of its own.
    pub library: Code,
    /// What the plugin says of itself.
    pub manifest: Arc<Manifest>,
    /// The configuration, as JSON.
    pub config: Arc<[u8]>,
    /// What the host is told about the service.
    pub terms: Arc<Terms>,
}

impl Present {
    /// Whether its plugin-api has the words of 1.1: hand a state over, take a configuration.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        self.library.identity().speaks(1)
    }

    /// Whether its plugin-api has the words of 1.3: tell its state while it goes on, say that it is
    /// ready.
    #[must_use]
    pub fn tells_of_itself(&self) -> bool {
        self.library.identity().speaks(3)
    }
}

/// What is wanted of a service that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// A load of whatever is there, also when it is what runs already.
    Anew {
        /// Whether a lower version may take the place of a higher one.
        force: bool,
    },
    /// A change of plugin or configuration, if there is one. The content hash is of a build that was
    /// refused already and is not tried again.
    IfChanged {
        /// The refused build.
        refused: Option<String>,
        /// Whether only files that have come to rest count, because somebody tells when others do.
        at_rest: bool,
    },
    /// A change of configuration, if there is one: another build is taken only when the
    /// configuration asks for another than the one that runs.
    IfConfigChanged,
}

impl How {
    /// Whether nothing is to be done when nothing has changed.
    pub(super) const fn if_changed(&self) -> bool {
        matches!(self, Self::IfChanged { .. } | Self::IfConfigChanged)
    }
}

/// What the host is told about a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The services that must run before it.
    pub depends_on: Vec<String>,
    /// How long it may take from its start to RUNNING.
    pub start_timeout: Duration,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
    /// Where it runs.
    pub isolation: Isolation,
    /// Whether old generations of its plugin are unloaded.
    pub unload: config::Unload,
    /// How it is looked after.
    pub supervision: Supervision,
    /// The name of its health file, without ending.
    pub service_type: String,
    /// Whether systemd's watchdog is to restart the host when it is gone.
    pub critical: bool,
}

impl Terms {
    pub(super) fn of(file: &ServiceFile, defaults: &ServiceDefaults) -> Self {
        let directives = &file.directives;
        Self {
            service_type: file.service_type().to_owned(),
            critical: directives.critical,
            depends_on: directives.depends_on.clone(),
            start_timeout: directives.start_timeout.unwrap_or(defaults.start_timeout),
            stop_timeout: directives.stop_timeout.unwrap_or(defaults.stop_timeout),
            isolation: directives.isolation,
            unload: directives.unload,
            supervision: Supervision::of(&directives.supervision, &defaults.supervision),
        }
    }
}

/// What only a restart of the host applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostChanges {
    /// Keys of `exphost.toml` that are not as they were when the host began.
    pub keys: Vec<String>,
    /// Services that the project did not have then.
    pub new_services: Vec<String>,
    /// What is wrong with the project now.
    pub problems: Vec<Problem>,
}

/// What is told while a service is looked at.
#[derive(Debug)]
pub enum News {
    /// A step has ended.
    Step {
        /// The service.
        service: String,
        /// The step.
        step: &'static str,
        /// Whether it succeeded.
        ok: bool,
        /// How long it took.
        took: Duration,
        /// What there is to say of it.
        detail: Option<String>,
    },
    /// The look at a service is over.
    Done {
        /// The service.
        service: String,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What comes of a look at a service.
#[derive(Debug)]
pub enum Outcome {
    /// It runs what is there.
    Unchanged,
    /// Its plugin file is gone.
    Missing,
    /// Its plugin file was changed just now and may still be written: whoever watches it tells when
    /// it has come to rest.
    Unsettled,
    /// Something else may run in its place.
    Ready(Box<Fresh>),
    /// What is there cannot run.
    Refused(Refusal),
}

/// What may run in the place of what does.
#[derive(Debug)]
pub struct Fresh {
    /// Library, manifest, configuration, terms.
    pub present: Present,
    /// Whether the library is another than the one that runs.
    pub is_new_build: bool,
    /// What is new about it, in words.
    pub changes: Vec<String>,
}

/// Why what is there cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The step that refused it.
    pub step: &'static str,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The version, when the file says one.
    pub version: Option<String>,
    /// The content hash, when there is a file.
    pub sha256: Option<String>,
}

impl Refusal {
    pub(super) fn new(step: &'static str, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into(), hint: None, version: None, sha256: None }
    }

    pub(super) fn of(step: &'static str, error: &LoadError) -> Self {
        if let Some(detail) = error.detail() {
            tracing::debug!(file = %error.file().display(), "{detail}");
        }
        Self { hint: error.hint(), ..Self::new(step, error.to_string()) }
    }

    pub(super) fn of_problem(step: &'static str, problem: &Problem) -> Self {
        let hint = problem.hint.clone();
        Self { hint, ..Self::new(step, Problem { hint: None, ..problem.clone() }.one_line()) }
    }

    pub(super) fn about(self, identity: &Identity) -> Self {
        let (version, sha256) = (identity.version.to_string(), identity.sha256.clone());
        Self { version: Some(version), sha256: Some(sha256), ..self }
    }
}
