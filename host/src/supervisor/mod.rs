//! Starts the services of a project, watches over them, and stops them: one loop over one kind of
//! event, on the main thread. No plugin code runs here.

pub mod orders;
pub mod plan;
pub mod status;
mod supervised;

use std::sync::Arc;
use std::time::Duration;

use plugin_api::abi::RunOutcome;
use plugin_api::state::{ServiceState, StateRecord};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::plan::Start;
pub use self::supervised::Launch;
use self::supervised::{Life, Supervised};
use crate::bus::BusHandle;
use crate::logging;
use crate::plugin::host_side::ServiceHost;
use crate::plugin::instance::Instance;
use crate::plugin::library::RunRequest;
use crate::service::Hosted;
use crate::service::mailbox::{Mailbox, MailboxLimits};
use crate::service::notice::Notice;
use crate::signals::Signal;

/// How soon after the first signal a second one still counts as the same: `timeout` and some
/// terminals send one to the process and one to its group.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// What the supervisor reacts to.
#[derive(Debug)]
enum Event {
    /// A signal of the process.
    Signal(Signal),
    /// A service has entered a state.
    Entered(String, StateRecord),
    /// A service's thread has returned.
    Ended(String, RunOutcome),
    /// Something that was expected by now may be missing.
    Overdue,
}

/// How the run of a project ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Services that failed.
    pub failed: Vec<String>,
    /// Services whose threads had to be left behind.
    pub hung: Vec<String>,
    /// Whether somebody would not wait for the services to stop.
    pub forced: bool,
}

impl Verdict {
    /// Whether all went well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.hung.is_empty() && !self.forced
    }
}

/// The project's services under supervision.
pub struct Supervisor {
    project: String,
    services: Vec<Supervised>,
    bus: BusHandle,
    events: mpsc::UnboundedReceiver<Event>,
    /// Given to the services' threads. A service sends a handful of events in its life, so the
    /// channel needs no bound; a bounded one could make a service wait for the supervisor.
    report: mpsc::UnboundedSender<Event>,
    signals: mpsc::Receiver<Signal>,
    /// Since when the host stops.
    stopping: Option<Instant>,
    forced: bool,
}

impl Supervisor {
    /// Takes charge of services, in an order in which dependencies come first. Nothing starts yet.
    ///
    /// # Errors
    /// When a mailbox cannot be made.
    pub fn new(
        project: String,
        launches: Vec<Launch>,
        limits: MailboxLimits,
        bus: BusHandle,
        signals: mpsc::Receiver<Signal>,
    ) -> std::io::Result<Self> {
        let (report, events) = mpsc::unbounded_channel();
        let supervise = |launch: Launch| {
            let mailbox = Arc::new(Mailbox::new(limits)?);
            let report = report.clone();
            let listener = Box::new(move |service: &str, notice: Notice| {
                if let Notice::Entered(record) = notice {
                    // The receiver is gone only when the host ends.
                    let _ = report.send(Event::Entered(service.to_owned(), record));
                }
            });
            let hosted = Hosted::new(launch.name.clone(), mailbox, bus.clone(), listener);
            Ok(Supervised { launch, hosted: Arc::new(hosted), life: Life::Waiting })
        };
        let services = launches.into_iter().map(supervise).collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { project, services, bus, events, report, signals, stopping: None, forced: false })
    }

    /// Runs the services until none is left: because of a signal, or because each has ended.
    pub async fn run(mut self) -> Verdict {
        self.start_what_can();
        while !self.is_over() {
            let event = self.next_event().await;
            self.handle(event);
        }
        self.verdict()
    }

    async fn next_event(&mut self) -> Event {
        let deadline = self.services.iter().filter_map(Supervised::deadline).min();
        let overdue = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(signal) = self.signals.recv() => Event::Signal(signal),
            Some(event) = self.events.recv() => event,
            () = overdue => Event::Overdue,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Signal(signal) => self.on_signal(signal),
            Event::Entered(service, record) => self.on_entered(&service, record.state),
            Event::Ended(service, outcome) => self.on_ended(&service, outcome),
            Event::Overdue => self.on_overdue(Instant::now()),
        }
        if self.stopping.is_some() {
            self.stop_what_can();
        }
    }

    fn on_entered(&mut self, service: &str, state: ServiceState) {
        match state {
            ServiceState::Running => {
                self.service(service, Supervised::runs);
                self.start_what_can();
            }
            // It may stop of its own accord; from here on it has no more time than if asked.
            ServiceState::Stopping => {
                self.service(service, |supervised| supervised.ask_to_stop(Instant::now()));
            }
            _ => {}
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        let Some(since) = self.stopping else {
            tracing::info!(signal = signal.name(), "stopping");
            self.stopping = Some(Instant::now());
            self.bus.stop_intake();
            return;
        };
        if signal.forces() && since.elapsed() >= IMPATIENCE {
            let left = self.services.iter().filter(|service| !service.is_over());
            let left: Vec<_> = left.map(Supervised::name).collect();
            tracing::error!(signal = signal.name(), left = left.join(", "), "stop forced");
            self.forced = true;
        }
    }

    fn on_ended(&mut self, service: &str, outcome: RunOutcome) {
        let stopping = self.stopping.is_some();
        self.service(service, |supervised| {
            let state = supervised.state();
            let life = std::mem::replace(&mut supervised.life, Life::Ended(outcome));
            if let Life::Starting(instance, _)
            | Life::Running(instance)
            | Life::Stopping(instance, _) = life
            {
                instance.join();
            }
            if outcome != RunOutcome::Stopped {
                let last = supervised.hosted.health_record().last_error();
                let reason = last.map(|error| format!("{}: {}", error.place, error.message));
                let reason = reason.unwrap_or_default();
                tracing::error!(service, %state, reason, "service failed");
            } else if !stopping {
                tracing::info!(service, "service ended by itself");
            }
            let counted = supervised.hosted.count_up();
            tracing::info!(
                service,
                sent = counted.messages_sent,
                received = counted.messages_received,
                handled = counted.handled,
                unhandled = counted.unhandled,
                bad_frames = counted.bad_frames,
                dropped = counted.dropped,
                errors = counted.errors,
                panics = counted.panics,
                "counted"
            );
        });
        self.bus.close_service(service);
        if self.stopping.is_none() {
            self.start_what_can();
            if self.is_over() {
                tracing::warn!("no service is left running");
            }
        }
    }

    fn on_overdue(&mut self, now: Instant) {
        for supervised in &mut self.services {
            if supervised.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let (service, state) = (supervised.launch.name.clone(), supervised.state());
            let _scope = logging::service_scope(&service);
            if let Life::Starting(..) = supervised.life {
                let seconds = supervised.launch.start_timeout.as_secs_f64();
                tracing::error!(service, %state, seconds, "service is not running in time; stopping it");
                supervised.ask_to_stop(now);
            } else {
                let seconds = supervised.launch.stop_timeout.as_secs_f64();
                tracing::error!(
                    service, %state, seconds,
                    "service hangs: it did not stop in time; its thread is left behind"
                );
                supervised.life = Life::Hung;
            }
        }
        if self.stopping.is_none() {
            self.start_what_can();
        }
    }

    fn start_what_can(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        loop {
            let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
            let starts: Vec<_> = plan::startable(&nodes)
                .into_iter()
                .map(|start| match start {
                    Start::Now(service) => (service.to_owned(), None),
                    Start::Never(service, lost) => (service.to_owned(), Some(lost.to_owned())),
                })
                .collect();
            if starts.is_empty() {
                return;
            }
            for (service, lost) in starts {
                match lost {
                    None => self.start(&service),
                    Some(lost) => self.do_not_start(&service, &lost),
                }
            }
        }
    }

    fn start(&mut self, service: &str) {
        let (report, project) = (self.report.clone(), self.project.clone());
        self.service(service, |supervised| {
            let launch = &supervised.launch;
            let request = RunRequest {
                service: launch.name.clone(),
                project,
                config: launch.config.clone(),
                stop_timeout: launch.stop_timeout,
            };
            let name = launch.name.clone();
            let ended = move |outcome| {
                // The receiver is gone only when the host ends.
                let _ = report.send(Event::Ended(name, outcome));
            };
            let library = Arc::clone(&launch.library);
            let host: Arc<dyn ServiceHost> = Arc::<Hosted>::clone(&supervised.hosted);
            supervised.life = match Instance::spawn(library, host, request, ended) {
                Ok(instance) => Life::Starting(instance, Instant::now() + launch.start_timeout),
                Err(error) => {
                    tracing::error!(service, %error, "cannot start the service's thread");
                    Life::Ended(RunOutcome::NoRuntime)
                }
            };
        });
    }

    fn do_not_start(&mut self, service: &str, lost: &str) {
        tracing::error!(
            service,
            depends_on = lost,
            "service not started: what it depends on is not running"
        );
        self.service(service, |supervised| supervised.life = Life::Ended(RunOutcome::Failed));
    }

    fn stop_what_can(&mut self) {
        let now = Instant::now();
        for service in &mut self.services {
            if matches!(service.life, Life::Waiting) {
                service.ask_to_stop(now);
            }
        }
        let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
        let names: Vec<_> = plan::stoppable(&nodes).into_iter().map(str::to_owned).collect();
        for name in names {
            self.service(&name, |supervised| supervised.ask_to_stop(now));
        }
    }

    fn service(&mut self, name: &str, act: impl FnOnce(&mut Supervised)) {
        if let Some(supervised) = self.services.iter_mut().find(|it| it.name() == name) {
            act(supervised);
        }
    }

    fn is_over(&self) -> bool {
        self.forced || self.services.iter().all(Supervised::is_over)
    }

    fn verdict(&self) -> Verdict {
        let names = |wanted: &dyn Fn(&&Supervised) -> bool| {
            self.services.iter().filter(wanted).map(|it| it.name().to_owned()).collect()
        };
        Verdict {
            failed: names(&|it| it.is_over() && it.failed() && !matches!(it.life, Life::Hung)),
            hung: names(&|it| matches!(it.life, Life::Hung) || !it.is_over()),
            forced: self.forced,
        }
    }
}
