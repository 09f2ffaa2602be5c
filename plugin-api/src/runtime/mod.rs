//! Runs one instance: the plugin's own tokio runtime, and a service's life on it.

mod config;
mod dispatch;
mod guard;
mod handover;
mod inbox;
mod lifecycle;
mod pulse;
mod running;
mod serve;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::time::Duration;

use crate::abi::{Host, HostHandle, RunOutcome, Severity};
use crate::context::Context;
use crate::manifest::ConfigProblem;
use crate::service::Service;

pub(crate) use config::{Given, read_config};
pub(crate) use guard::panic_message;
pub(crate) use pulse::Place;
pub(crate) use serve::serve;
pub(crate) use tasks::Tasks;
pub(crate) use work::{Unfinished, Work};

/// What the host wants run.
pub(crate) struct Request {
    pub(crate) service: String,
    pub(crate) project: String,
    pub(crate) stop_timeout: Duration,
}

/// The library logs to its host as long as this lives, also when a panic ends it.
struct Logged;

impl Logged {
    fn to(host: HostHandle) -> Self {
        crate::log::install(host);
        Self
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        crate::log::uninstall();
    }
}

/// How long threads of `spawn_blocking` may take to end after the service has.
const BLOCKING_GRACE: Duration = Duration::from_millis(500);

/// Runs a service on the calling thread until it has stopped.
pub(crate) fn run<S: Service>(
    host: HostHandle,
    request: Request,
    given: impl FnOnce() -> Result<Given<S::Config>, Vec<ConfigProblem>>,
) -> RunOutcome {
    let _log = Logged::to(host);
    let host = Host(host);
    let fail = |message: String| {
        host.record_error(Severity::Fatal, "new", &message);
        RunOutcome::NoRuntime
    };
    let Given { config, arguments } = match given() {
        Ok(given) => given,
        Err(problems) => {
            return fail(format!("configuration: {}", config::in_words(&problems)));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format!("cannot build the service's tokio runtime: {error}")),
    };
    let local = tokio::task::LocalSet::new();
    let context = Context::new(host, request, arguments);
    local.block_on(&runtime, lifecycle::live::<S>(context.clone(), config));
    // Tasks that are still there own clones of the context: they go before the runtime does.
    drop(local);
    // Also those that `stop` added, which nobody has begun.
    context.shared().tasks.cancel();
    work::settle(&context);
    let outcome = context.outcome();
    drop(context);
    runtime.shutdown_timeout(BLOCKING_GRACE);
    outcome
}
