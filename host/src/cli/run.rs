//! `exphost`: runs the project until it is told to stop.

use std::time::Duration;

use tokio::time::Instant;

use super::{Common, Exit, output};
use crate::bus::Bus;
use crate::control::{Lock, Place, Server};
use crate::environment::{Mode, Process};
use crate::keep::{Memory, Orders as Stops, Store};
use crate::logging::{self, LogHandle};
use crate::plugin::error::LoadError;
use crate::plugin::instance;
use crate::prepare::{self, Prepared, Present, ReadyService, Workshop};
use crate::signals;
use crate::supervisor::orders::{Order, Orders};
use crate::supervisor::{Launch, ReloadTerms, Supervisor, Surroundings, Verdict};
use crate::systemd::Systemd;
use crate::watch::{Change, Watch, WatchPlan};

/// How long the bus may take to send what is left.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_200);

/// What runs beside the services, and what it needs of the host.
pub(super) struct Company {
    /// Whether the host stays when no service is left running.
    pub(super) stay: bool,
    /// Whether the host itself may watch the plugin directory, if the project says so.
    pub(super) watch_plugins: bool,
    /// Whoever gives orders besides the control socket; it is told when the host can take them.
    pub(super) companion: Box<dyn FnOnce(Orders)>,
}

pub(super) fn run(common: &Common, process: &Process<'static>) -> Exit {
    let companion = Box::new(|_| {});
    run_with(common, process, Company { stay: false, watch_plugins: true, companion })
}

pub(super) fn run_with(common: &Common, process: &Process<'static>, company: Company) -> Exit {
    let prepared = prepare::prepare(&common.wishes(), process);
    if !prepared.is_good() {
        return output::refuse(&prepared.problems);
    }
    // Before the log is opened, which the host that runs already is writing to.
    let socket = prepared.settings.control.socket.as_deref();
    let lock = match Lock::take(Place::of_host(&prepared.project, socket, process)) {
        Ok(lock) => lock,
        Err(problem) => {
            output::note(&output::problem(&problem));
            return Exit::Failed;
        }
    };
    let log = match logging::init(
        &prepared.log_settings,
        logging::Surroundings::of_this_process(process.env),
    ) {
        Ok(log) => log,
        Err(error) => {
            output::note(&format!("error: {error}"));
            return Exit::BadConfig;
        }
    };
    announce(&prepared, process);
    let verdict = match host(prepared, process, log, company, &lock) {
        Ok(verdict) => verdict,
        Err(error) => {
            tracing::error!(%error, "cannot run the project");
            return Exit::Failed;
        }
    };
    conclude(&verdict)
}

fn announce(prepared: &Prepared, process: &Process<'_>) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        project = %prepared.project,
        mode = ?process.mode,
        plugins = %prepared.plugins_dir.display(),
        "exphost starts"
    );
    for problem in &prepared.problems {
        // One line each: whoever greps the log for a file finds the whole story in it.
        tracing::warn!("{}", problem.one_line());
    }
    for service in &prepared.services {
        if !service.ignored_env.is_empty() {
            let variables = service.ignored_env.join(", ");
            tracing::debug!(service = service.name, variables, "variables match none of its keys");
        }
        tracing::info!(
            service = service.name,
            plugin = service.staged.identity().name,
            version = %service.staged.identity().version,
            sha256 = &service.staged.identity().sha256[..12],
            config = %service.config_source.display(),
            "service ready to start"
        );
    }
}

/// Runs the services from the first start to the last flush.
fn host(
    mut prepared: Prepared,
    process: &Process<'static>,
    log: LogHandle,
    company: Company,
    lock: &Lock,
) -> Result<Verdict, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the first service starts, so that no signal finds the default action; and before the
    // first plugin is opened, so that no handler of ours leads back into one.
    let signals = signals::listen()?;
    let control = Server::bind(lock).map_err(|problem| problem.one_line())?;
    let bus = Bus::start(prepared.bus_config())?;
    let workshop =
        Workshop::new(&mut prepared, process, log.clone()).ok_or("the project has no name")?;
    let services = std::mem::take(&mut prepared.services);
    let (store, stopped) = what_was_kept(&prepared);
    let launch = |service: ReadyService| {
        let name = service.name.clone();
        let rests = still_stopped(&name, &stopped);
        let present = workshop.open(service)?;
        let memory = store.as_ref().and_then(|store| memory(store, &name, &present));
        Ok::<_, LoadError>(Launch { name, present, memory, rests })
    };
    let launches = services.into_iter().map(launch).collect::<Result<Vec<_>, _>>()?;
    let verdict = runtime.block_on(async {
        let (orders, inbox) = Orders::channel();
        let around = Surroundings {
            project: prepared.project.clone(),
            limits: prepared.mailbox_limits(),
            bus: bus.handle(),
            signals,
            orders: inbox,
            workshop: workshop.clone(),
            terms: reload_terms(&prepared, process.mode, &company),
            store,
            stopped,
            display: prepared.settings.stats.display.then_some(prepared.settings.stats.interval),
            health: Some(prepared.health_dir.clone()),
            log,
            systemd: Systemd::of_environment(process.env, std::process::id(), Instant::now()),
        };
        let follows_plugins = around.terms.follows_plugins;
        let supervisor = Supervisor::new(launches, around)?;
        let _watch = watch(&prepared, &workshop, process.mode, follows_plugins, &orders)?;
        let control = tokio::spawn(control.serve(orders.clone()));
        (company.companion)(orders);
        let verdict = supervisor.run().await;
        // It ends with the supervisor, after its last answers.
        if let Err(error) = control.await {
            tracing::error!(%error, "serving the control socket failed");
        }
        Ok::<_, std::io::Error>(verdict)
    })?;
    if let Err(error) = bus.shutdown(FLUSH_TIMEOUT) {
        tracing::warn!(%error, "the bus did not close cleanly");
    }
    if verdict.is_haunted || !verdict.hung.is_empty() {
        // Threads that were left behind still run code of their libraries. That stays mapped
        // without its file, but no exit handler may run beside it.
        drop(workshop);
        let exit = conclude(&verdict);
        instance::leave_process(i32::from(exit.code()));
    }
    Ok(verdict)
}

/// What a host before this one has left; without a place for it the host runs all the same.
fn what_was_kept(prepared: &Prepared) -> (Option<Store>, Stops) {
    let store = match Store::open(prepared.state_dir.clone()) {
        Ok(store) => store,
        Err(problem) => {
            tracing::warn!("{}", problem.one_line());
            return (None, Stops::default());
        }
    };
    let (stopped, problem) = store.orders();
    if let Some(problem) = problem {
        tracing::warn!("{}", problem.one_line());
    }
    (Some(store), stopped)
}

fn still_stopped(service: &str, stopped: &Stops) -> bool {
    let Some(at) = stopped.stopped().get(service) else { return false };
    tracing::warn!(
        service, %at,
        hint = format!("`exphost start {service}` starts it"),
        "service stays stopped: it was stopped by order"
    );
    true
}

fn memory(store: &Store, service: &str, present: &Present) -> Option<Memory> {
    let (memory, problem) = store.memory(service, &present.library.identity().name);
    if let Some(problem) = problem {
        tracing::warn!("{}", problem.one_line());
    }
    if let Some(memory) = &memory {
        let (at, bytes) = (memory.at, memory.state.bytes.len());
        tracing::info!(service, %at, bytes, "service is given the state that was saved");
    }
    memory
}

/// Watches what the project says is to be watched.
fn watch(
    prepared: &Prepared,
    workshop: &Workshop,
    mode: Mode,
    follows_plugins: bool,
    orders: &Orders,
) -> std::io::Result<Option<Watch>> {
    let reload = &prepared.settings.reload;
    if !watches(prepared, mode) {
        return Ok(None);
    }
    let plan = WatchPlan {
        plugins: follows_plugins.then(|| workshop.plugins_dir().to_owned()),
        config: workshop.config_folders(),
        settle: reload.settle,
        rescan: reload.rescan,
    };
    let orders = orders.clone();
    let tell = move |change| {
        let order = match change {
            Change::Plugins(_) => Order::LookForPlugins,
            Change::Config(_) => Order::LookForConfig,
        };
        // The supervisor is gone only when the host ends.
        let _ = orders.give_blocking(order);
    };
    Watch::begin(plan, tell).map(Some)
}

fn watches(prepared: &Prepared, mode: Mode) -> bool {
    prepared.settings.reload.watch.unwrap_or(mode == Mode::Development)
}

fn reload_terms(prepared: &Prepared, mode: Mode, company: &Company) -> ReloadTerms {
    let reload = &prepared.settings.reload;
    ReloadTerms {
        probation: reload.probation,
        max_kept: reload.max_kept,
        follows_plugins: watches(prepared, mode) && company.watch_plugins,
        stay: company.stay,
    }
}

fn conclude(verdict: &Verdict) -> Exit {
    if verdict.is_clean() {
        tracing::info!("exphost ends");
        return Exit::Done;
    }
    tracing::error!(
        failed = verdict.failed.join(", "),
        hung = verdict.hung.join(", "),
        forced = verdict.forced,
        "exphost ends after failures"
    );
    Exit::Failed
}
