//! Starts the services of a project, watches over them, swaps them for new builds and stops them:
//! one loop over one kind of event, on the main thread. No plugin code runs here, and nothing here
//! waits: what takes time runs on a thread of its own and comes back as an event.

mod carry_out;
mod display;
mod insight;
mod instance;
pub mod orders;
pub mod plan;
pub mod policy;
mod pulse;
mod recall;
mod reload;
mod restart;
pub mod status;
mod supervised;
mod transaction;
mod trial;
mod undertaker;
mod vitals;
pub mod why;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plugin_api::abi::RunOutcome;
use plugin_api::state::ServiceState;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::display::Display;
use self::instance::Instance;
use self::orders::Order;
pub use self::supervised::Launch;
use self::supervised::{AfterStop, Life, Supervised};
use self::undertaker::Burial;
use crate::bus::BusHandle;
use crate::health::HealthFiles;
use crate::keep::{self, Keeper, Store};
use crate::logging::{self, LogHandle};
use crate::plugin::host_side::ServiceHost;
use crate::plugin::library::RunRequest;
use crate::prepare::{HostChanges, News, Workshop};
use crate::service::Hosted;
use crate::service::mailbox::{Mailbox, MailboxLimits};
use crate::service::notice::Notice;
use crate::signals::Signal;
use crate::systemd::Systemd;

/// How soon after the first signal a second one still counts as the same: `timeout` and some
/// terminals send one to the process and one to its group.
const IMPATIENCE: Duration = Duration::from_millis(100);

/// What the supervisor reacts to.
#[derive(Debug)]
enum Event {
    /// A signal of the process.
    Signal(Signal),
    /// An order.
    Order(Order),
    /// A service has something to say.
    Notice(String, Notice),
    /// The thread of a service's instance has returned.
    Ended { service: String, instance: u64, outcome: RunOutcome },
    /// What a look at files has found, and the number of the look.
    News(u64, News),
    /// What has changed about the project that only a restart of the host applies.
    HostChanges(HostChanges),
    /// What outlives the host was written, or could not be.
    Kept(keep::News),
    /// An old generation was unloaded, or could not be.
    Buried(Burial),
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
    /// Whether code of plugins may still be running: of services that hang, or of generations
    /// that could not be unloaded.
    pub is_haunted: bool,
}

impl Verdict {
    /// Whether all went well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.hung.is_empty() && !self.forced
    }
}

/// How reloads are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadTerms {
    /// How long a new build must have run before the old one is let go.
    pub probation: Duration,
    /// How many old generations may stay mapped, of all services together.
    pub max_kept: usize,
    /// Whether new builds are taken up without being asked for.
    pub follows_plugins: bool,
    /// Whether the host stays when no service is left running: somebody is at work on them.
    pub stay: bool,
}

/// What the supervisor works with, and who speaks to it.
pub struct Surroundings {
    /// The project's name, with its variant.
    pub project: String,
    /// How much the mailboxes hold.
    pub limits: MailboxLimits,
    /// The bus.
    pub bus: BusHandle,
    /// The signals of the process.
    pub signals: mpsc::Receiver<Signal>,
    /// Orders from elsewhere.
    pub orders: mpsc::Receiver<Order>,
    /// What makes services ready once more.
    pub workshop: Workshop,
    /// How reloads are done.
    pub terms: ReloadTerms,
    /// How often the services' figures go to the log; never if it is not given.
    pub display: Option<Duration>,
    /// Where that is kept which outlives the host; `None` when there is no such place.
    pub store: Option<Store>,
    /// The operator's stops so far.
    pub stopped: keep::Orders,
    /// Where the health files go; none are written if it is not given.
    pub health: Option<PathBuf>,
    /// Who started the host and watches over it.
    pub systemd: Systemd,
    /// The log, whose levels can be changed.
    pub log: LogHandle,
}

/// The project's services under supervision.
pub struct Supervisor {
    services: Vec<Supervised>,
    around: Surroundings,
    events: mpsc::UnboundedReceiver<Event>,
    /// Given to the services' threads and those of a look. Each sends a handful of events, so the
    /// channel needs no bound; a bounded one could make a service wait for the supervisor.
    report: mpsc::UnboundedSender<Event>,
    began: Instant,
    /// The number of the last look at files.
    jobs: u64,
    /// Old generations that are being unloaded just now.
    burials: usize,
    display: Option<Display>,
    health_files: Option<HealthFiles>,
    /// What was said last of them, so that it is said once.
    host_changes: HostChanges,
    /// Writes what outlives the host.
    keeper: Option<Keeper>,
    /// The number of the operator's stops that were given to it last.
    kept_orders: u64,
    /// Since when the host stops.
    stopping: Option<Instant>,
    forced: bool,
}

impl Supervisor {
    /// Takes charge of services, in an order in which dependencies come first. Nothing starts yet.
    ///
    /// # Errors
    /// When a mailbox or a thread that writes files cannot be made.
    pub fn new(launches: Vec<Launch>, around: Surroundings) -> std::io::Result<Self> {
        let (report, events) = mpsc::unbounded_channel();
        let supervise = |launch: Launch| {
            let mailbox = Arc::new(Mailbox::new(around.limits)?);
            let report = report.clone();
            let listener = Box::new(move |service: &str, notice: Notice| {
                // The receiver is gone only when the host ends.
                let _ = report.send(Event::Notice(service.to_owned(), notice));
            });
            let hosted = Hosted::new(launch.name.clone(), mailbox, around.bus.clone(), listener);
            Ok(Supervised::new(launch, Arc::new(hosted)))
        };
        let services = launches.into_iter().map(supervise).collect::<std::io::Result<Vec<_>>>()?;
        let began = Instant::now();
        let health_files = vitals::health_files(&services, &around)?;
        let for_keeper = report.clone();
        let tell = move |news| {
            // The receiver is gone only when the host ends.
            let _ = for_keeper.send(Event::Kept(news));
        };
        let keeper = around.store.clone().map(|store| Keeper::begin(store, tell)).transpose()?;
        Ok(Self {
            services,
            health_files,
            display: around.display.map(|interval| Display::new(interval, began)),
            around,
            events,
            report,
            began,
            jobs: 0,
            burials: 0,
            host_changes: HostChanges::default(),
            keeper,
            kept_orders: 0,
            stopping: None,
            forced: false,
        })
    }

    /// Runs the services until none is left: because of a signal, or because each has ended.
    pub async fn run(mut self) -> Verdict {
        self.start_what_can();
        self.look_once_more();
        while !self.is_over() {
            self.tell_vitals();
            let event = self.next_event().await;
            self.handle(event);
        }
        self.tell_vitals();
        self.close_keeper();
        self.close_vitals();
        self.verdict()
    }

    async fn next_event(&mut self) -> Event {
        let deadlines = self.services.iter().filter_map(Supervised::deadline);
        let display = self.display.as_ref().map(Display::due);
        let deadline = deadlines.chain(display).chain(self.around.systemd.due()).min();
        let overdue = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(signal) = self.around.signals.recv() => Event::Signal(signal),
            Some(event) = self.events.recv() => event,
            Some(order) = self.around.orders.recv() => Event::Order(order),
            () = overdue => Event::Overdue,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Signal(signal) => self.on_signal(signal),
            Event::Order(order) => self.carry_out(order),
            Event::Notice(service, Notice::Entered(record)) => {
                self.on_entered(&service, record.state);
            }
            Event::Notice(service, Notice::Ready) => {
                self.service(&service, |supervised| supervised.is_ready = true);
                self.start_what_can();
            }
            Event::Notice(service, Notice::Pulse) => {
                self.look_at_pulse(&service, Instant::now());
            }
            Event::Notice(service, Notice::StateKept) => self.on_state_kept(&service),
            Event::Notice(service, Notice::Config(answer)) => {
                self.on_config_answer(&service, answer);
            }
            Event::Notice(service, Notice::StateDealtWith(fate)) => {
                self.service(&service, |supervised| supervised.note_state(fate));
            }
            Event::Ended { service, instance, outcome } => {
                self.on_ended(&service, instance, outcome);
            }
            Event::News(job, news) => self.on_news(job, news),
            Event::HostChanges(changes) => self.on_host_changes(changes),
            Event::Kept(news) => self.on_kept(news),
            Event::Buried(burial) => self.on_buried(burial),
            Event::Overdue => {
                self.on_overdue(Instant::now());
                self.display_statistics(Instant::now());
            }
        }
        if self.stopping.is_some() {
            self.stop_what_can();
        }
    }

    fn on_entered(&mut self, service: &str, state: ServiceState) {
        match state {
            ServiceState::Running => {
                self.service(service, Supervised::runs);
                self.on_up(service);
                self.on_running(service);
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
        if signal == Signal::Reload {
            tracing::info!(signal = signal.name(), "looking for changed configuration");
            self.around.systemd.reload_begins();
            return self.look_for_config();
        }
        let Some(since) = self.stopping else {
            tracing::info!(signal = signal.name(), "stopping");
            self.stopping = Some(Instant::now());
            self.around.bus.stop_intake();
            return self.give_up_reloads();
        };
        if signal.forces() && since.elapsed() >= IMPATIENCE {
            let left = self.services.iter().filter(|service| !service.is_over());
            let left: Vec<_> = left.map(Supervised::name).collect();
            tracing::error!(signal = signal.name(), left = left.join(", "), "stop forced");
            self.forced = true;
        }
    }

    fn on_ended(&mut self, service: &str, instance: u64, outcome: RunOutcome) {
        let Some(supervised) = self.find(service) else { return };
        if supervised.instance != instance {
            tracing::debug!(service, instance, "a thread that was left behind has ended");
            supervised.left_behind = supervised.left_behind.saturating_sub(1);
            return;
        }
        let state = supervised.state();
        supervised.ended(outcome);
        self.look_at_refused_state(service);
        if self.goes_on_after_end(service, outcome) {
            return;
        }
        let stopping = self.stopping.is_some();
        let Some(supervised) = self.find(service) else { return };
        supervised.say_how_it_ended(outcome, state, stopping || supervised.to_rest);
        self.after_instance(service);
    }

    fn after_an_end(&mut self) {
        if self.stopping.is_none() {
            self.start_what_can();
            if self.nothing_runs() {
                tracing::warn!("no service is left running");
            }
        }
    }

    fn on_overdue(&mut self, now: Instant) {
        let names: Vec<_> = self.services.iter().map(|it| it.name.clone()).collect();
        for service in names {
            let Some(supervised) = self.find(&service) else { continue };
            if supervised.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            if supervised.pulse_due().is_some_and(|due| due <= now) {
                self.look_at_pulse(&service, now);
            }
            let Some(supervised) = self.find(&service) else { continue };
            let _scope = logging::service_scope(&service);
            let state = supervised.state();
            match supervised.life {
                Life::Starting(_, deadline) if deadline <= now => {
                    let seconds = supervised.build.terms().start_timeout.as_secs_f64();
                    tracing::error!(service, %state, seconds, "service is not running in time; stopping it");
                    supervised.did_not_start(seconds, state);
                    supervised.after_stop = AfterStop::Fail;
                    supervised.why =
                        Some(format!("it was not running within {seconds} s; it was in {state}"));
                    supervised.ask_to_stop(now);
                }
                Life::Stopping(_, deadline) if deadline <= now => {
                    let seconds = supervised.build.terms().stop_timeout.as_secs_f64();
                    let place = supervised.hangs_in();
                    if supervised.kill(now, || {
                        format!("killed: it did not stop within {seconds} s, in {place}")
                    }) {
                        tracing::error!(service, %state, seconds, "service hangs: it did not stop in time; its process is killed");
                        continue;
                    }
                    tracing::error!(
                        service, %state, seconds,
                        "service hangs: it did not stop in time; its thread is left behind"
                    );
                    supervised.leave_behind();
                    supervised.why =
                        Some(format!("it hangs in {place}; its thread was left behind"));
                    self.look_at_refused_state(&service);
                    if !self.goes_on_after_hang(&service, state) {
                        self.after_instance(&service);
                    }
                }
                _ => self.on_due(&service, now),
            }
        }
        if self.stopping.is_none() {
            self.start_what_can();
        }
    }

    fn display_statistics(&mut self, now: Instant) {
        let Some(display) = &mut self.display else { return };
        if now >= display.due() {
            let living = self.services.iter().filter(|service| !service.is_over());
            let counted = living.map(|it| (it.name.clone(), it.hosted.count_up()));
            display.lines(now, self.began, counted).iter().for_each(display::Line::log);
        }
    }

    fn start_what_can(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        loop {
            let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
            let starts: Vec<_> = plan::startable(&nodes).into_iter().map(str::to_owned).collect();
            if starts.is_empty() {
                break;
            }
            for service in starts {
                self.start(&service);
                self.if_it_could_not_start(&service);
            }
        }
        self.tell_blocked();
    }

    /// Starts an instance of what the service is to run.
    fn start(&mut self, service: &str) {
        let (report, project) = (self.report.clone(), self.around.project.clone());
        self.service(service, |supervised| {
            if !supervised.record.permits_start() {
                tracing::error!(service, "not started: it was stopped by order");
                supervised.life = Life::Resting;
                return;
            }
            let present = supervised.build.present.clone();
            let request = RunRequest {
                service: supervised.name.clone(),
                project,
                config: present.config.to_vec(),
                stop_timeout: present.terms.stop_timeout,
            };
            supervised.instance += 1;
            supervised.is_ready = false;
            supervised.after_stop = AfterStop::Judge;
            supervised.begin_pulse(Instant::now());
            supervised.errors_before = supervised.hosted.health_record().counts().0;
            let (name, instance) = (supervised.name.clone(), supervised.instance);
            let ended = move |outcome| {
                // The receiver is gone only when the host ends.
                let _ = report.send(Event::Ended { service: name, instance, outcome });
            };
            let host: Arc<dyn ServiceHost> = Arc::<Hosted>::clone(&supervised.hosted);
            let now = Instant::now();
            let until = now + present.terms.start_timeout;
            supervised.life = match Instance::spawn(&present, host, request, ended) {
                Ok(instance) => {
                    supervised.began = Some(now);
                    Life::Starting(instance, until)
                }
                Err(error) => {
                    tracing::error!(service, %error, "cannot start the service's thread");
                    Life::Ended(RunOutcome::NoRuntime)
                }
            };
        });
    }

    fn stop_what_can(&mut self) {
        let now = Instant::now();
        for service in &mut self.services {
            if matches!(service.life, Life::Waiting | Life::Pausing { .. }) {
                service.ask_to_stop(now);
            }
        }
        let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
        let names: Vec<_> = plan::stoppable(&nodes).into_iter().map(str::to_owned).collect();
        for name in names {
            self.service(&name, |supervised| supervised.ask_to_end(now));
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Supervised> {
        self.services.iter_mut().find(|it| it.name == name)
    }

    fn service(&mut self, name: &str, act: impl FnOnce(&mut Supervised)) {
        if let Some(supervised) = self.find(name) {
            act(supervised);
        }
    }

    fn is_over(&self) -> bool {
        if self.forced {
            return true;
        }
        if !self.nothing_runs() || self.burials > 0 {
            return false;
        }
        let attended = self.services.iter().any(Supervised::is_attended);
        self.stopping.is_some() || !(attended || self.around.terms.stay)
    }

    fn verdict(&self) -> Verdict {
        let names = |wanted: &dyn Fn(&&Supervised) -> bool| {
            self.services.iter().filter(wanted).map(|it| it.name().to_owned()).collect()
        };
        Verdict {
            failed: names(&|it| !it.has_thread() && it.failed() && !it.hangs()),
            hung: names(&|it| it.hangs() || it.has_thread()),
            forced: self.forced,
            is_haunted: self.kept() > 0 || self.services.iter().any(|it| it.left_behind > 0),
        }
    }
}
