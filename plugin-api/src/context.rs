//! What a service asks and tells its host.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::abi::{Host, RunOutcome, Severity, Step};
use crate::argument::Arguments;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, Tasks, Work};
use crate::service::Service;
use crate::state::{
    HealthStatus, IllegalTransition, Method, ServiceState, StateLog, StateObserver, StateRecord,
    StateTimeout,
};
use crate::stats::Statistics;
use crate::zmq::{
    Controller, ControllerConfig, Intake, Link, PubSub, PubSubConfig, Worker, WorkerConfig,
};

/// The service's view of its host. It lives on the service's thread and is cheap to clone, so a
/// task takes a clone of its own.
#[derive(Clone)]
pub struct Context(Rc<Shared>);

pub(crate) struct Shared {
    pub(crate) host: Host,
    service: String,
    project: String,
    arguments: Arguments,
    born: Instant,
    pub(crate) states: StateLog,
    stop: watch::Sender<bool>,
    /// When the stop was asked for, which is when the stop timeout began.
    stop_began: Cell<Option<Instant>>,
    stop_timeout: Duration,
    /// What the host has said of the end so far.
    ending: Cell<Ending>,
    /// Whether a new configuration may wait in the host.
    pub(crate) config_waits: Cell<bool>,
    /// Whether the host asks for the state as it is now.
    pub(crate) snapshot_wanted: Cell<bool>,
    /// Wakes the dispatcher: something may wait in the mailbox.
    pub(crate) arrivals: Notify,
    /// Wakes those who wait for a socket to take messages again.
    pub(crate) room: Notify,
    pub(crate) tasks: Tasks,
    pub(crate) tick: Cell<Option<Duration>>,
    /// What the host is told of beside the messages.
    pub(crate) place: runtime::Place,
    /// The sockets whose messages wait in the host for now.
    pub(crate) held: RefCell<Vec<i32>>,
    /// Whose tasks and results come by which socket.
    pub(crate) sources: RefCell<HashMap<i32, Source>>,
    /// What is worked on beside the handlers.
    pub(crate) work: Work,
    /// When the dispatcher next looks for workers that answer nothing.
    pub(crate) next_look: Cell<Option<tokio::time::Instant>>,
    /// Whether a socket of the service receives, so that it has a reason to wait.
    pub(crate) listens: Cell<bool>,
    /// How many messages came to nothing.
    pub(crate) left_out: Cell<u64>,
    /// The gravest thing that happened so far.
    outcome: Cell<RunOutcome>,
}

/// What comes by a PULL socket.
pub(crate) enum Source {
    Tasks(Rc<Intake>),
    Results(Rc<Link>),
}

/// What the host says of the end of an instance. A plain stop is the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Unsaid,
    Handover,
    Stop,
}

/// Why a service stops; the log line of the stop carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    Host,
    Requested,
    FatalError,
    TaskError,
    RunEnded,
}

impl StopReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host-stop",
            Self::Requested => "requested-stop",
            Self::FatalError => "fatal-error-stop",
            Self::TaskError => "task-error-stop",
            Self::RunEnded => "run-ended-stop",
        }
    }
}

impl Context {
    pub(crate) fn new(host: Host, request: runtime::Request, arguments: Arguments) -> Self {
        Self(Rc::new(Shared {
            host,
            service: request.service,
            project: request.project,
            arguments,
            born: Instant::now(),
            states: StateLog::new(Timestamp::now()),
            stop: watch::Sender::new(false),
            stop_began: Cell::new(None),
            stop_timeout: request.stop_timeout,
            ending: Cell::new(Ending::Unsaid),
            config_waits: Cell::new(false),
            snapshot_wanted: Cell::new(false),
            arrivals: Notify::new(),
            room: Notify::new(),
            tasks: Tasks::default(),
            tick: Cell::new(None),
            place: runtime::Place::default(),
            held: RefCell::default(),
            sources: RefCell::default(),
            work: Work::default(),
            next_look: Cell::new(None),
            listens: Cell::new(false),
            left_out: Cell::new(0),
            outcome: Cell::new(RunOutcome::Stopped),
        }))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// The service's name in its project.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// The project's name, with its variant.
    #[must_use]
    pub fn project(&self) -> &str {
        &self.0.project
    }

    /// What the command line says for the arguments that the service declares.
    #[must_use]
    pub fn arguments(&self) -> &Arguments {
        &self.0.arguments
    }

    /// How long ago this instance was constructed.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.0.born.elapsed()
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> ServiceState {
        self.0.states.current().state
    }

    /// Whether the service is RUNNING and has not been asked to stop: the condition of a loop.
    #[must_use]
    pub fn running(&self) -> bool {
        !self.is_stopping() && self.state() == ServiceState::Running
    }

    /// Whether the service has been asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        // Asked before each message: the channel would take a lock.
        self.0.stop_began.get().is_some()
    }

    /// Waits until the service is asked to stop.
    pub async fn stopping(&self) {
        let mut stop = self.0.stop.subscribe();
        // The sender lives in `self`, so this ends with the flag set and in no other way.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Sleeps; true when the whole time has passed, false at once when the service is stopping.
    ///
    /// ```no_run
    /// # use plugin_api::prelude::*;
    /// # async fn look(ctx: Context) -> Result<()> {
    /// while ctx.sleep_if_running(Duration::from_secs(5)).await {
    ///     // look at something every five seconds
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn sleep_if_running(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stopping() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }

    /// Registers a task. It begins when the service runs, at once when it does already. An error
    /// or a panic of a task is recorded and stops the service; a task that is still there a while
    /// after the service began to stop is cancelled.
    pub fn add_task(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = Result<()>> + 'static,
    ) {
        self.0.tasks.add(name.into(), task);
    }

    /// Has [`Service::on_tick`] called when the service runs, and then in this interval. A tick
    /// that is late delays the following ones.
    pub fn tick_every(&self, interval: Duration) {
        self.0.tick.set(Some(interval.max(crate::constants::TICK)));
        self.0.arrivals.notify_one();
    }

    /// Dispatches messages and ticks to the service's handlers until it is to stop. Returns also
    /// when nothing can come any more: all tasks have ended and there is neither a subscription
    /// nor a tick. A service without tasks waits until it is stopped.
    ///
    /// # Errors
    /// A fatal error of a handler, after it has been recorded.
    pub async fn serve<S: Service>(&self, service: &mut S) -> Result<()> {
        runtime::serve(self, service).await
    }

    /// Says that the service does what it is there for: the camera is open, the model is loaded. With
    /// `ready = "reported"` in the service's table `[exphost]`, the services that depend on it start
    /// then and not before; otherwise they start when it is RUNNING, and this changes nothing. It
    /// stays so until the instance ends; saying it again changes nothing.
    pub fn ready(&self) {
        self.0.host.ready();
    }

    /// Asks for a stop and returns at once; asking again changes nothing.
    pub fn request_stop(&self) {
        self.begin_stop(StopReason::Requested);
    }

    /// The host asks for the end.
    pub(crate) fn end_by_host(&self, hand_over: bool) {
        if !hand_over {
            self.0.ending.set(Ending::Stop);
        } else if self.0.ending.get() == Ending::Unsaid {
            self.0.ending.set(Ending::Handover);
        }
        self.begin_stop(StopReason::Host);
    }

    /// Whether another instance takes over from this one.
    pub(crate) fn hands_over(&self) -> bool {
        self.0.ending.get() == Ending::Handover
    }

    /// What is left of the first `share` of the stop timeout, once the stop has been asked for. A
    /// step that comes late because of those before it still gets a little.
    pub(crate) fn stop_time_left(&self, share: f64) -> Duration {
        const LEAST: f64 = 0.1;
        let timeout = self.0.stop_timeout;
        let gone = self.0.stop_began.get().map_or(Duration::ZERO, |began| began.elapsed());
        timeout.mul_f64(share).saturating_sub(gone).max(timeout.mul_f64(LEAST))
    }

    pub(crate) fn begin_stop(&self, reason: StopReason) {
        if self.0.stop.send_replace(true) {
            return;
        }
        self.0.stop_began.set(Some(Instant::now()));
        if reason != StopReason::Host {
            tracing::info!(stop = format!("{}-{}", self.0.service, reason.as_str()), "stopping");
        }
        self.0.arrivals.notify_one();
    }

    /// Records an error: it is logged, counted, and makes the service's health `error` until
    /// [`reset_error_status`](Self::reset_error_status). An error of kind [`ErrorKind::Fatal`]
    /// stops the service. Do not log it yourself as well.
    pub fn record_error(&self, error: impl Into<Error>) {
        self.record(&error.into(), "service");
    }

    /// Records an error as fatal, which stops the service.
    pub fn record_fatal(&self, error: impl Into<Error>) {
        self.record(&error.into().with_kind(ErrorKind::Fatal), "service");
    }

    pub(crate) fn record(&self, error: &Error, place: &str) {
        let severity = match error.kind() {
            ErrorKind::Fatal => Severity::Fatal,
            ErrorKind::Panicked => Severity::Panic,
            _ => Severity::Error,
        };
        self.0.host.record_error(severity, place, &error.to_string());
        match severity {
            Severity::Error => return,
            Severity::Fatal => self.worsen(RunOutcome::Failed),
            Severity::Panic => self.worsen(RunOutcome::Panicked),
        }
        self.begin_stop(StopReason::FatalError);
    }

    pub(crate) fn worsen(&self, outcome: RunOutcome) {
        if outcome.code() > self.0.outcome.get().code() {
            self.0.outcome.set(outcome);
        }
    }

    pub(crate) fn outcome(&self) -> RunOutcome {
        self.0.outcome.get()
    }

    /// Ends the error status that a recorded error left.
    pub fn reset_error_status(&self) {
        self.0.host.reset_error_status();
    }

    /// Records the result of a health check; the latest of each name counts.
    pub fn record_health_check(&self, name: &str, status: HealthStatus, message: &str) {
        self.0.host.record_health_check(name, status, message, &[]);
    }

    /// The worst of the latest health checks and the error status.
    #[must_use]
    pub fn health(&self) -> HealthStatus {
        self.0.host.health()
    }

    /// What the host counts for this service.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        serde_json::from_slice(&self.0.host.statistics()).unwrap_or_default()
    }

    /// Opens the sockets of a `zmq` configuration. Messages that arrive from now on wait in the
    /// host until the service runs.
    ///
    /// # Errors
    /// When an address makes no sense or is taken; the message names the key and says what to do.
    pub fn pub_sub(&self, config: &PubSubConfig) -> Result<PubSub> {
        PubSub::open(self, config)
    }

    /// Opens the sockets of a worker. Tasks that arrive from now on wait in the host until the
    /// service runs; then they come to [`Service::on_task`].
    ///
    /// # Errors
    /// As for [`pub_sub`](Self::pub_sub).
    pub fn worker(&self, config: &WorkerConfig) -> Result<Worker> {
        Worker::open(self, config)
    }

    /// Opens the sockets of a controller. Results that arrive from now on wait in the host until the
    /// service runs; then they come to [`Service::on_result`].
    ///
    /// # Errors
    /// As for [`pub_sub`](Self::pub_sub); also when names or ports of workers are the same.
    pub fn controller(&self, config: &ControllerConfig) -> Result<Controller> {
        Controller::open(self, config)
    }

    /// Waits until the service is in `state`.
    ///
    /// # Errors
    /// When that takes longer than `timeout`.
    pub async fn wait_for_state(
        &self,
        state: ServiceState,
        timeout: Duration,
    ) -> Result<StateRecord, StateTimeout> {
        self.0.states.wait_for_state(state, timeout).await
    }

    /// Begins to watch for the next entry into `state`.
    #[must_use]
    pub fn observe_state_change(&self, state: ServiceState) -> StateObserver<'_> {
        self.0.states.observe_state_change(state)
    }

    /// The states so far with the time of entry, oldest first.
    #[must_use]
    pub fn state_history(&self) -> Vec<StateRecord> {
        self.0.states.history()
    }

    /// Calls `callback` whenever the service enters `state`. A callback that panics is logged and
    /// not called again.
    pub fn on_state(&self, state: ServiceState, callback: impl Fn(StateRecord) + Send + 'static) {
        self.0.states.on_state(state, callback);
    }

    pub(crate) fn transition(
        &self,
        method: Method,
        step: Step,
    ) -> Result<StateRecord, IllegalTransition> {
        let record = self.0.host.transition(method, step)?;
        if record != self.0.states.current() {
            let failed = self.0.states.record(record);
            if failed > 0 {
                tracing::error!(state = %record.state, failed, "state callbacks panicked");
            }
        }
        Ok(record)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("service", &self.0.service)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
