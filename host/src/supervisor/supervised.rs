//! One service under supervision: where it is in its life, and what is expected by when.

use std::sync::Arc;
use std::time::Duration;

use plugin_api::abi::{EnvelopeKind, RunOutcome};
use plugin_api::state::ServiceState;
use tokio::time::Instant;

use super::plan::{Node, Progress};
use crate::plugin::instance::Instance;
use crate::plugin::library::Library;
use crate::service::Hosted;

/// What is needed to run a service.
pub struct Launch {
    /// Its name in the project.
    pub name: String,
    /// The library of its plugin.
    pub library: Arc<Library>,
    /// Its effective configuration, as JSON.
    pub config: Vec<u8>,
    /// The services that must run before it.
    pub depends_on: Vec<String>,
    /// How long it may take from its start to RUNNING.
    pub start_timeout: Duration,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
}

/// Where a service is in its life.
pub(super) enum Life {
    /// What it depends on does not run yet.
    Waiting,
    /// Its thread runs, and must have reached RUNNING by the deadline.
    Starting(Instance, Instant),
    /// Its thread runs, with nothing expected of it.
    Running(Instance),
    /// It has been asked to stop, and must have ended by the deadline.
    Stopping(Instance, Instant),
    /// It has ended.
    Ended(RunOutcome),
    /// Its thread did not end in time and was left behind.
    Hung,
    /// It never began.
    NotStarted,
}

pub(super) struct Supervised {
    pub(super) launch: Launch,
    pub(super) hosted: Arc<Hosted>,
    pub(super) life: Life,
}

/// What remains to a service's thread after its stop timeout: the plugin's side keeps the timeout
/// itself wherever its code yields, then waits for blocking work.
const THREAD_GRACE: Duration = Duration::from_millis(750);

impl Supervised {
    pub(super) fn name(&self) -> &str {
        &self.launch.name
    }

    pub(super) fn state(&self) -> ServiceState {
        self.hosted.states().log().current().state
    }

    pub(super) fn node(&self) -> Node<'_> {
        let progress = match self.life {
            Life::Waiting => Progress::Waiting,
            Life::Starting(..) | Life::Stopping(..) => Progress::Underway,
            Life::Running(_) => Progress::Running,
            Life::Ended(_) | Life::Hung | Life::NotStarted => Progress::Over,
        };
        Node { name: self.name(), depends_on: &self.launch.depends_on, progress }
    }

    /// When something is expected of it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Starting(_, deadline) | Life::Stopping(_, deadline) => Some(deadline),
            _ => None,
        }
    }

    /// Notes that it runs.
    pub(super) fn runs(&mut self) {
        self.life = match std::mem::replace(&mut self.life, Life::Waiting) {
            Life::Starting(instance, _) => Life::Running(instance),
            other => other,
        };
    }

    /// Asks it to stop, if its thread runs and it has not been asked.
    pub(super) fn ask_to_stop(&mut self, now: Instant) {
        let deadline = now + self.launch.stop_timeout + THREAD_GRACE;
        self.life = match std::mem::replace(&mut self.life, Life::Waiting) {
            Life::Waiting => Life::NotStarted,
            Life::Starting(instance, _) | Life::Running(instance) => {
                self.hosted.mailbox().push_control(EnvelopeKind::Stop);
                Life::Stopping(instance, deadline)
            }
            other => other,
        };
    }

    pub(super) fn is_over(&self) -> bool {
        self.node().progress == Progress::Over
    }

    pub(super) fn failed(&self) -> bool {
        !matches!(self.life, Life::Ended(RunOutcome::Stopped) | Life::NotStarted)
    }
}
