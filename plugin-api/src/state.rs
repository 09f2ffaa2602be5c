//! The lifecycle of a service: its states, which step is legal from which, and a log of both that
//! can be waited on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::abi::{Step, codes};

codes! {
    /// Where a service is in its life.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    ServiceState {
        /// Being constructed.
        Initializing = 0,
        /// Constructed; `start` may be called.
        Initialized = 1,
        /// In `start`.
        Starting = 2,
        /// `start` has returned.
        Started = 3,
        /// In `run`: messages are handled.
        Running = 4,
        /// In `stop`.
        Stopping = 5,
        /// Ended; may be started again.
        Stopped = 6,
    }
}

codes! {
    /// A lifecycle method.
    Method {
        /// Construction.
        New = 0,
        /// `start`.
        Start = 1,
        /// `run`.
        Run = 2,
        /// `stop`.
        Stop = 3,
    }
}

codes! {
    /// How a service or a check is doing, in order of gravity.
    #[derive(Serialize, Deserialize, PartialOrd, Ord)]
    #[serde(rename_all = "lowercase")]
    HealthStatus {
        /// Nothing is known yet.
        Unknown = 0,
        /// All is well.
        Healthy = 1,
        /// Works, with something to look at.
        Warning = 2,
        /// Something failed; the service goes on.
        Error = 3,
        /// The service cannot go on.
        Fatal = 4,
    }
}

impl HealthStatus {
    /// The name as health files and `exphost status` write it: `healthy`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl std::fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl ServiceState {
    /// The name as logs and the seed system write it: `RUNNING`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Initialized => "INITIALIZED",
            Self::Starting => "STARTING",
            Self::Started => "STARTED",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl std::fmt::Display for ServiceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Method {
    /// The method's name, as an author writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Start => "start",
            Self::Run => "run",
            Self::Stop => "stop",
        }
    }

    /// The states from which the method may begin.
    #[must_use]
    pub const fn legal_from(self) -> &'static [ServiceState] {
        use ServiceState::{Initialized, Initializing, Running, Started, Starting, Stopped};
        match self {
            Self::New => &[Initializing],
            Self::Start => &[Initialized, Stopped],
            Self::Run => &[Started],
            Self::Stop => &[Initialized, Starting, Started, Running],
        }
    }

    /// The states that the method passes through: while it runs, and when it has ended. `run`
    /// leaves a service in RUNNING: only `stop` ends that.
    #[must_use]
    pub const fn states(self) -> (ServiceState, ServiceState) {
        use ServiceState::{
            Initialized, Initializing, Running, Started, Starting, Stopped, Stopping,
        };
        match self {
            Self::New => (Initializing, Initialized),
            Self::Start => (Starting, Started),
            Self::Run => (Running, Running),
            Self::Stop => (Stopping, Stopped),
        }
    }

    /// The state that a step of this method leads to from `state`; `Ok(None)` when there is nothing
    /// to do, as for `stop` on a stopped service.
    ///
    /// # Errors
    /// When the step is not legal from `state`.
    pub fn next(
        self,
        step: Step,
        state: ServiceState,
    ) -> Result<Option<ServiceState>, IllegalTransition> {
        let (during, after) = self.states();
        match step {
            Step::Begin if self == Self::Stop && state == ServiceState::Stopped => Ok(None),
            Step::Begin if self.legal_from().contains(&state) => Ok(Some(during)),
            Step::Complete if state == during => Ok((after != during).then_some(after)),
            _ => Err(IllegalTransition { method: self, step, state }),
        }
    }
}

/// A step that the lifecycle does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The method that was called.
    pub method: Method,
    /// Its half.
    pub step: Step,
    /// The state the service is in.
    pub state: ServiceState,
}

impl std::fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let during = [self.method.states().0];
        let (verb, legal) = match self.step {
            Step::Begin => ("begin", self.method.legal_from()),
            Step::Complete => ("complete", &during[..]),
        };
        let legal: Vec<_> = legal.iter().map(|state| state.as_str()).collect();
        write!(
            f,
            "{}() cannot {verb} in state {}; legal from {}",
            self.method.as_str(),
            self.state,
            legal.join(", ")
        )
    }
}

impl std::error::Error for IllegalTransition {}

/// A state, and when it was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StateRecord {
    /// The state.
    pub state: ServiceState,
    /// When it was entered.
    pub at: Timestamp,
}

/// A state was not reached in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state {wanted} was not reached in {timeout:?}; the service is {actual}")]
pub struct StateTimeout {
    /// The state that was waited for.
    pub wanted: ServiceState,
    /// The state at the end of the wait.
    pub actual: ServiceState,
    /// How long the wait was.
    pub timeout: Duration,
}

type Callback = Box<dyn Fn(StateRecord) + Send>;

/// The states a service has been in, to be looked at, waited on and called back from.
///
/// It holds no rules: the host's state manager decides which step is legal and writes its own
/// `StateLog`; the plugin's side follows with a second one.
pub struct StateLog {
    history: Mutex<Vec<StateRecord>>,
    current: watch::Sender<StateRecord>,
    callbacks: Mutex<Vec<(ServiceState, Callback)>>,
}

impl std::fmt::Debug for StateLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateLog").field("current", &self.current()).finish_non_exhaustive()
    }
}

/// How many records a [`StateLog`] keeps, the newest ones: a service that is restarted for months
/// must not grow it.
pub const HISTORY_LIMIT: usize = 256;

impl StateLog {
    /// A log that begins in INITIALIZING.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        let first = StateRecord { state: ServiceState::Initializing, at };
        Self {
            history: Mutex::new(vec![first]),
            current: watch::Sender::new(first),
            callbacks: Mutex::default(),
        }
    }

    /// Enters a state and calls those who asked for it. A callback that panics is left out of
    /// later calls and changes nothing else; the return value says how many did.
    pub fn record(&self, record: StateRecord) -> usize {
        {
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            if history.len() == HISTORY_LIMIT {
                history.remove(0);
            }
            history.push(record);
        }
        self.current.send_replace(record);
        let mut callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = callbacks.len();
        callbacks.retain(|(state, callback)| {
            *state != record.state
                || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| callback(record)))
                    .is_ok()
        });
        before - callbacks.len()
    }

    /// The present state and since when.
    #[must_use]
    pub fn current(&self) -> StateRecord {
        *self.current.borrow()
    }

    /// The states so far, oldest first; at most [`HISTORY_LIMIT`].
    #[must_use]
    pub fn history(&self) -> Vec<StateRecord> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls `callback` whenever `state` is entered, on the thread that enters it.
    pub fn on_state(&self, state: ServiceState, callback: impl Fn(StateRecord) + Send + 'static) {
        let mut callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        callbacks.push((state, Box::new(callback)));
    }

    /// Waits until the service is in `state`; returns at once when it is there already.
    ///
    /// # Errors
    /// When that takes longer than `timeout`.
    pub async fn wait_for_state(
        &self,
        state: ServiceState,
        timeout: Duration,
    ) -> Result<StateRecord, StateTimeout> {
        let mut receiver = self.current.subscribe();
        self.wait_on(&mut receiver, state, timeout).await
    }

    /// Begins to watch now for the next entry into `state`; wait with [`StateObserver::entered`].
    /// An entry between the two calls is not missed.
    #[must_use]
    pub fn observe_state_change(&self, state: ServiceState) -> StateObserver<'_> {
        let mut receiver = self.current.subscribe();
        receiver.mark_unchanged();
        StateObserver { log: self, receiver, state }
    }

    async fn wait_on(
        &self,
        receiver: &mut watch::Receiver<StateRecord>,
        wanted: ServiceState,
        timeout: Duration,
    ) -> Result<StateRecord, StateTimeout> {
        let reached = receiver.wait_for(|record| record.state == wanted);
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(record)) => Ok(*record),
            _ => Err(StateTimeout { wanted, actual: self.current().state, timeout }),
        }
    }
}

/// A watch for the next entry into one state.
#[derive(Debug)]
pub struct StateObserver<'a> {
    log: &'a StateLog,
    receiver: watch::Receiver<StateRecord>,
    state: ServiceState,
}

impl StateObserver<'_> {
    /// Waits for the entry.
    ///
    /// # Errors
    /// When it has not come within `timeout`.
    pub async fn entered(mut self, timeout: Duration) -> Result<StateRecord, StateTimeout> {
        let observed = async {
            while self.receiver.changed().await.is_ok() {
                let record = *self.receiver.borrow_and_update();
                if record.state == self.state {
                    return Some(record);
                }
            }
            None
        };
        tokio::time::timeout(timeout, observed).await.ok().flatten().ok_or_else(|| StateTimeout {
            wanted: self.state,
            actual: self.log.current().state,
            timeout,
        })
    }
}
