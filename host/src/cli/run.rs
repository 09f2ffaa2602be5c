//! `exphost`: runs the project until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use super::{Common, Exit, output};
use crate::bus::Bus;
use crate::environment::Process;
use crate::logging;
use crate::plugin::error::LoadError;
use crate::plugin::instance;
use crate::plugin::library::Library;
use crate::prepare::{self, Prepared, ReadyService};
use crate::signals;
use crate::supervisor::{Launch, Supervisor, Verdict};

/// How long the bus may take to send what is left.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1_200);

pub(super) fn run(common: &Common, process: &Process<'_>) -> Exit {
    let prepared = prepare::prepare(&common.wishes(), process);
    if !prepared.is_good() {
        for problem in &prepared.problems {
            output::note(&output::problem(problem));
        }
        return Exit::BadConfig;
    }
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
    for service in &prepared.services {
        log.add_own_target(&service.manifest.crate_name);
    }
    announce(&prepared, process);
    let verdict = match host(prepared) {
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
fn host(prepared: Prepared) -> Result<Verdict, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bus = Bus::start(prepared.bus_config())?;
    let limits = prepared.mailbox_limits();
    let Prepared { project, services, staging, .. } = prepared;
    let launches = services.into_iter().map(launch).collect::<Result<Vec<_>, _>>()?;
    let verdict = runtime.block_on(async {
        // Before the first service starts, so that no signal finds the default action.
        let signals = signals::listen()?;
        let supervisor = Supervisor::new(project, launches, limits, bus.handle(), signals)?;
        Ok::<_, std::io::Error>(supervisor.run().await)
    })?;
    if let Err(error) = bus.shutdown(FLUSH_TIMEOUT) {
        tracing::warn!(%error, "the bus did not close cleanly");
    }
    if !verdict.hung.is_empty() {
        // Left-behind threads still run code of their libraries. That stays mapped without its
        // file, but no exit handler may run beside it.
        drop(staging);
        let exit = conclude(&verdict);
        instance::leave_process(i32::from(exit.code()));
    }
    Ok(verdict)
}

fn launch(service: ReadyService) -> Result<Launch, LoadError> {
    Ok(Launch {
        config: service.config.to_string().into_bytes(),
        library: Arc::new(Library::open(service.staged)?),
        name: service.name,
        depends_on: service.depends_on,
        start_timeout: service.start_timeout,
        stop_timeout: service.stop_timeout,
    })
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
