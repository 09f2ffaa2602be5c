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
use super::policy::Record;
use super::recall::Recall;
use super::status::{Kept, Pending, Unresponsive};
use super::transaction::{Transaction, Wish};
use crate::config::supervision::Ready;
use crate::keep::Memory;
use crate::prepare::{Present, Terms};
use crate::service::Hosted;

/// What is needed to run a service.
pub struct Launch {
    /// Its name in the project.
    pub name: String,
    /// What it is to run.
    pub present: Present,
    /// The state that it told of last, in this host or one before.
    pub memory: Option<Memory>,
    /// Whether the operator has stopped it, in a host before.
    pub rests: bool,
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
    /// It has ended, and is started again at a time.
    Pausing {
        /// When.
        until: Instant,
        /// How it ended.
        outcome: RunOutcome,
    },
    /// It has ended, and is not started again by itself.
    Ended(RunOutcome),
    /// Its thread did not end in time and was left behind.
    Hung,
    /// It never began.
    NotStarted,
    /// It was stopped by order, and stays so until it is started by order.
    Resting,
}

/// What becomes of a service once it has stopped, because of what it was stopped for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AfterStop {
    /// Its policy decides.
    #[default]
    Judge,
    /// The same, and it has failed, however it ends: it was not running in time.
    Fail,
    /// It starts again when all that it depends on runs.
    Wait,
    /// It stays stopped until it is started by order.
    Stay,
    /// It starts again, by order.
    Anew,
}

/// Whether the stop of a service by order is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StopKept {
    /// It will be told with this number.
    Awaited(u64),
    /// There is nothing to wait for; if something is to be said of it, it is this.
    Told(Option<String>),
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
    /// Whether its thread was left behind when it came to rest.
    pub(super) hangs_at_rest: bool,
    /// Who waits for it to have stopped.
    pub(super) stop_listeners: Vec<Listener>,
    /// Who waits for it to run again.
    pub(super) restart_listeners: Vec<Listener>,
    /// Whether the stop that those wait for outlives the host.
    pub(super) stop_kept: StopKept,
    /// What becomes of it when it has stopped for another reason.
    pub(super) after_stop: AfterStop,
    /// Whether its present instance has said that it is ready.
    pub(super) is_ready: bool,
    /// When it is told that others wait for its present instance to say so.
    pub(super) ready_by: Option<Instant>,
    /// The service that keeps it from starting, and that nothing but an order will start.
    pub(super) blocked_by: Option<String>,
    /// How many errors it had recorded when its present instance was started.
    pub(super) errors_before: u64,
    /// Why its last instance failed, until it runs well.
    pub(super) why: Option<String>,
    /// Where it hangs.
    pub(super) unresponsive: Option<Unresponsive>,
    /// Its ends and restarts.
    pub(super) record: Record,
    /// The state it told of last.
    pub(super) recall: Recall,
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
        let hands_over = launch.present.hands_over();
        let recall = Recall::new(launch.memory.filter(|_| hands_over));
        hosted.handover().offer(recall.last());
        Self {
            name: launch.name,
            build: Build { generation: 1, present: launch.present },
            generations: 1,
            hosted,
            life: if launch.rests { Life::Resting } else { Life::Waiting },
            instance: 0,
            left_behind: 0,
            began: None,
            to_rest: false,
            hangs_at_rest: false,
            stop_listeners: Vec::new(),
            restart_listeners: Vec::new(),
            stop_kept: StopKept::Told(None),
            after_stop: AfterStop::Judge,
            is_ready: false,
            ready_by: None,
            blocked_by: None,
            errors_before: 0,
            why: None,
            unresponsive: None,
            record: Record::new(launch.rests),
            recall,
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
            Life::Running(_) if self.is_of_use() => Progress::Running,
            Life::Running(_) => Progress::Underway,
            Life::Pausing { .. } => Progress::Pausing,
            Life::Ended(_) | Life::Hung | Life::NotStarted | Life::Resting => Progress::Over,
        };
        let terms = self.build.terms();
        let on_failure = terms.supervision.on_dependency_failure;
        Node { name: self.name(), depends_on: &terms.depends_on, progress, on_failure }
    }

    /// Whether its running instance does what those who depend on it need.
    pub(super) fn is_of_use(&self) -> bool {
        self.is_ready || self.build.terms().supervision.ready == Ready::Running
    }

    /// When something is expected of it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let life = match self.life {
            Life::Starting(_, deadline) | Life::Stopping(_, deadline) => Some(deadline),
            Life::Pausing { until, .. } => Some(until),
            _ => None,
        };
        // A reload waits for something of an instance that runs. One that is on its way out decides
        // it by how it ends: a new build that is dying has not stood its probation.
        let runs = matches!(self.life, Life::Running(_));
        let transaction = self.transaction.as_ref().filter(|_| runs);
        let transaction = transaction.and_then(Transaction::deadline);
        let well = runs.then(|| self.record.well_at(&self.build.terms().supervision)).flatten();
        let snapshot = self.recall.due().filter(|_| runs);
        let ready = self.ready_by.filter(|_| runs);
        let pulse = self.pulse_due();
        [life, transaction, well, snapshot, ready, pulse].into_iter().flatten().min()
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

    /// Asks it to stop because the host does: if its state is kept, for the next host.
    pub(super) fn ask_to_end(&mut self, now: Instant) {
        if self.build.terms().supervision.snapshot_every.is_none() {
            return self.ask_to_stop(now);
        }
        self.hosted.has_no_successor_here();
        self.ask_to_hand_over(now);
    }

    fn ask(&mut self, word: EnvelopeKind, now: Instant) {
        let deadline = now + self.build.terms().stop_timeout + THREAD_GRACE;
        self.life = match std::mem::replace(&mut self.life, Life::Waiting) {
            Life::Waiting => Life::NotStarted,
            Life::Pausing { outcome, .. } => Life::Ended(outcome),
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
        self.forget_silence();
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
        self.forget_silence();
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
            || (matches!(self.life, Life::Resting) && self.hangs_at_rest && self.left_behind > 0)
    }

    pub(super) fn failed(&self) -> bool {
        match self.life {
            Life::Pausing { outcome, .. } | Life::Ended(outcome) => outcome != RunOutcome::Stopped,
            Life::NotStarted | Life::Resting => false,
            _ => true,
        }
    }
}
