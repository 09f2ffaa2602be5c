//! One service under supervision: what it runs, where it is in its life, and what is expected by
//! when.

use std::sync::Arc;
use std::time::Duration;

use plugin_api::abi::{EnvelopeKind, RunOutcome};
use plugin_api::state::ServiceState;
use tokio::time::Instant;

use super::instance::Instance;
use super::orders::Listener;
use super::plan::{Node, Progress};
use super::status::{Kept, Pending};
use super::transaction::{Transaction, Wish};
use crate::prepare::{Present, Terms};
use crate::service::Hosted;

/// What is needed to run a service.
pub struct Launch {
    /// Its name in the project.
    pub name: String,
    /// What it is to run.
    pub present: Present,
}

/// A build of a service's plugin with its configuration.
#[derive(Clone)]
pub(super) struct Build {
    /// The how-manyeth library of this service it is.
    pub(super) generation: u64,
    pub(super) present: Present,
}

impl Build {
    pub(super) fn version(&self) -> String {
        self.present.library.identity().version.to_string()
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.present.terms
    }
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
    /// It was stopped by order, and stays so until it is started by order.
    Resting,
}

pub(super) struct Supervised {
    pub(super) name: String,
    /// What runs, or would be started.
    pub(super) build: Build,
    /// How many libraries it has had.
    pub(super) generations: u64,
    pub(super) hosted: Arc<Hosted>,
    pub(super) life: Life,
    /// The number of its present or last instance: what an older one still says is not heard.
    pub(super) instance: u64,
    /// Threads of it that were left behind and have not ended.
    pub(super) left_behind: usize,
    /// Since when its present instance runs.
    pub(super) began: Option<Instant>,
    /// Whether it is to rest once it has stopped.
    pub(super) to_rest: bool,
    /// Who waits for it to have stopped.
    pub(super) stop_listeners: Vec<Listener>,
    /// The reload that is under way.
    pub(super) transaction: Option<Transaction>,
    /// What is to be done after it.
    pub(super) queued: Option<Wish>,
    /// The build that was refused last.
    pub(super) pending: Option<Pending>,
    /// Whether its plugin file is gone.
    pub(super) file_missing: bool,
    /// Old generations that are still mapped.
    pub(super) kept: Vec<Kept>,
}

/// What remains to a service's thread after its stop timeout: the plugin's side keeps the timeout
/// itself wherever its code yields, then waits for blocking work.
const THREAD_GRACE: Duration = Duration::from_millis(750);

/// How long a process that was killed may take to be gone: what it waits for in the kernel may keep it.
const KILL_GRACE: Duration = Duration::from_secs(5);

impl Supervised {
    pub(super) fn new(launch: Launch, hosted: Arc<Hosted>) -> Self {
        Self {
            name: launch.name,
            build: Build { generation: 1, present: launch.present },
            generations: 1,
            hosted,
            life: Life::Waiting,
            instance: 0,
            left_behind: 0,
            began: None,
            to_rest: false,
            stop_listeners: Vec::new(),
            transaction: None,
            queued: None,
            pending: None,
            file_missing: false,
            kept: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn state(&self) -> ServiceState {
        self.hosted.states().log().current().state
    }

    pub(super) fn node(&self) -> Node<'_> {
        let progress = match self.life {
            Life::Waiting => Progress::Waiting,
            Life::Starting(..) | Life::Stopping(..) => Progress::Underway,
            Life::Running(_) => Progress::Running,
            Life::Ended(_) | Life::Hung | Life::NotStarted | Life::Resting => Progress::Over,
        };
        Node { name: self.name(), depends_on: &self.build.terms().depends_on, progress }
    }

    /// When something is expected of it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let life = match self.life {
            Life::Starting(_, deadline) | Life::Stopping(_, deadline) => Some(deadline),
            _ => None,
        };
        // A reload waits for something of an instance that runs. One that is on its way out decides
        // it by how it ends: a new build that is dying has not stood its probation.
        let runs = matches!(self.life, Life::Running(_));
        let transaction = self.transaction.as_ref().filter(|_| runs);
        let transaction = transaction.and_then(Transaction::deadline);
        life.into_iter().chain(transaction).min()
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
        self.ask(EnvelopeKind::Stop, now);
    }

    /// Asks it to stop and to leave its state to the next instance.
    pub(super) fn ask_to_hand_over(&mut self, now: Instant) {
        let word = if self.build.present.hands_over() {
            EnvelopeKind::Handover
        } else {
            EnvelopeKind::Stop
        };
        self.ask(word, now);
    }

    fn ask(&mut self, word: EnvelopeKind, now: Instant) {
        let deadline = now + self.build.terms().stop_timeout + THREAD_GRACE;
        self.life = match std::mem::replace(&mut self.life, Life::Waiting) {
            Life::Waiting => Life::NotStarted,
            Life::Starting(instance, _) | Life::Running(instance) => {
                self.hosted.mailbox().push_control(word);
                Life::Stopping(instance, deadline)
            }
            other => other,
        };
    }

    /// Kills its process, if it has one and it was not killed before; its end is still to come.
    pub(super) fn kill(&mut self, now: Instant, why: impl FnOnce() -> String) -> bool {
        let Life::Stopping(instance, deadline) = &mut self.life else { return false };
        let killed = instance.kill(why);
        if killed {
            *deadline = now + KILL_GRACE;
        }
        killed
    }

    /// Its instance, if one runs.
    pub(super) fn running(&self) -> Option<&Instance> {
        match &self.life {
            Life::Starting(instance, _) | Life::Running(instance) | Life::Stopping(instance, _) => {
                Some(instance)
            }
            _ => None,
        }
    }

    /// Gives its thread up: it is left behind, and nothing it does reaches the host any more.
    pub(super) fn leave_behind(&mut self) {
        let life = std::mem::replace(&mut self.life, Life::Hung);
        if let Life::Starting(instance, _) | Life::Running(instance) | Life::Stopping(instance, _) =
            life
        {
            instance.cut_off();
        }
        // It holds a duplicate of the mailbox's descriptor and could take its successor's wake-ups.
        if let Err(error) = self.hosted.mailbox().change_reader() {
            tracing::error!(service = self.name, %error, "the mailbox keeps the descriptor of a thread that was left behind");
        }
        // What it says from now on is an older instance's.
        self.instance += 1;
        self.left_behind += 1;
        self.began = None;
    }

    /// Joins its thread, which has ended.
    pub(super) fn ended(&mut self, outcome: RunOutcome) {
        let life = std::mem::replace(&mut self.life, Life::Ended(outcome));
        if let Life::Starting(instance, _) | Life::Running(instance) | Life::Stopping(instance, _) =
            life
        {
            instance.join();
        }
        self.began = None;
    }

    pub(super) fn has_thread(&self) -> bool {
        matches!(self.life, Life::Starting(..) | Life::Running(_) | Life::Stopping(..))
    }

    pub(super) fn is_over(&self) -> bool {
        self.node().progress == Progress::Over && self.transaction.is_none()
    }

    /// Whether somebody is at work on it: it was stopped by order, or a build of it was refused.
    pub(super) fn is_attended(&self) -> bool {
        matches!(self.life, Life::Resting) || self.pending.is_some()
    }

    /// Whether it did not stop when it was asked last, and still has not.
    pub(super) fn hangs(&self) -> bool {
        matches!(self.life, Life::Hung)
            || (matches!(self.life, Life::Resting) && self.left_behind > 0)
    }

    pub(super) fn failed(&self) -> bool {
        !matches!(self.life, Life::Ended(RunOutcome::Stopped) | Life::NotStarted | Life::Resting)
    }
}
