//! The one trait that an author implements.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::argument::Argument;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::handlers::Handlers;
use crate::handover::{ConfigChange, SavedState};
use crate::manifest::ConfigProblems;
use crate::message::Message;
use crate::zmq::Task;

/// A service: constructed from its configuration, started, run, stopped.
///
/// Everything runs on one thread of the service's own, under a tokio runtime of the plugin's own,
/// so nothing needs to be `Send`, tokio's timers and sockets work as usual, and a handler that
/// blocks holds up this service alone. Handlers get `&mut self` and are called one after another,
/// in the order of arrival; what shall go on beside them is a task ([`Context::add_task`]).
///
/// | method | state while it runs | afterwards |
/// |---|---|---|
/// | `new` | INITIALIZING | INITIALIZED |
/// | `restore_state`, if a state waits | INITIALIZED | INITIALIZED |
/// | `start` | STARTING | STARTED |
/// | `run`, and every handler, `on_config` too | RUNNING | |
/// | `save_state`, if another instance takes over | STOPPING | STOPPING |
/// | `save_state`, now and then between two handlers | RUNNING | RUNNING |
/// | `stop` | STOPPING | STOPPED |
///
/// An error of `new`, `restore_state`, `start` or `run` ends the service; so does a panic anywhere.
/// `stop` is called whenever `new` has succeeded, also after an error or a panic.
///
/// When a new build or a new configuration takes over, this instance is asked to stop: the handler
/// that is at work ends, tasks end, `save_state` and `stop` are called, and the next instance goes
/// through `new`, `restore_state` and `start`. Messages wait meanwhile. If the next one fails, the
/// old build is started again, with the same state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an exphost service",
    label = "`Service` is not implemented for `{Self}`",
    note = "write `impl plugin_api::Service for {Self} {{ type Config = …; async fn new(…) … }}`"
)]
#[allow(async_fn_in_trait, reason = "a service lives on one thread, so its futures need no Send")]
pub trait Service: Sized + 'static {
    /// The configuration; its fields are the keys of the service's TOML file. See [`config!`](crate::config!).
    type Config: DeserializeOwned + Serialize + JsonSchema + 'static;

    /// Constructs the service. Take resources in [`start`](Self::start), not here.
    async fn new(config: Self::Config, ctx: &Context) -> Result<Self>;

    /// What the configuration's type and its schema cannot say: which values go together. Add every
    /// problem, not the first alone; each is shown where its value was written. Called before
    /// [`new`](Self::new), by `exphost check` and for every new configuration, in a child process of
    /// the host too, so look at nothing but the configuration.
    ///
    /// ```
    /// # use plugin_api::prelude::*;
    /// # config! { struct Window { low: i64 = 0, high: i64 = 10, } }
    /// # struct Watcher;
    /// # impl Service for Watcher {
    /// #     type Config = Window;
    /// #     async fn new(_: Window, _: &Context) -> Result<Self> { Ok(Self) }
    /// fn validate(config: &Window, problems: &mut ConfigProblems) {
    ///     if config.low >= config.high {
    ///         problems.add("low", format!("must be less than high, which is {}", config.high));
    ///     }
    /// }
    /// # }
    /// ```
    fn validate(config: &Self::Config, problems: &mut ConfigProblems) {
        let _ = (config, problems);
    }

    /// The arguments that `exphost run SERVICE` takes for this service, besides a flag for each field of
    /// its configuration. [`Context::arguments`] has their values.
    #[must_use]
    fn arguments() -> Vec<Argument> {
        Vec::new()
    }

    /// Goes on where the instance before this one stopped: `state` is what its
    /// [`save_state`](Self::save_state) returned. Called before [`start`](Self::start), and only when
    /// there is a state. An error fails a reload, and the build that wrote the state is started
    /// again with it; after a failure or a restart of the host, the state is set aside, and the
    /// service starts fresh. [`Error::start_fresh`] goes on without it, as [`new`](Self::new) made
    /// the service.
    async fn restore_state(&mut self, ctx: &Context, state: SavedState) -> Result<()> {
        let _ = ctx;
        Err(Error::invalid(format!(
            "a state of version {} was saved, and this build restores none; implement restore_state, \
             which may answer Error::start_fresh(…) to let it go",
            state.version
        )))
    }

    /// Takes what the service needs: opens its sockets, registers its tasks.
    async fn start(&mut self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Works until the service is to stop. The default dispatches messages and ticks to the
    /// handlers; an own `run` gets none of them unless it calls [`Context::serve`].
    async fn run(&mut self, ctx: &Context) -> Result<()> {
        ctx.serve(self).await
    }

    /// What the next instance is to know. Called in two situations:
    ///
    /// * Another instance takes this one's place, in this host or after a restart of it. Then tasks
    ///   have ended, and [`stop`](Self::stop) follows.
    /// * The host takes a snapshot, for the case that the service or the host itself fails: every
    ///   `snapshot_every` seconds (of `[exphost]`, 10 by default), between two handlers. The service
    ///   goes on, so tell what is there and take nothing away. Handlers wait for it, 5 s at most; a
    ///   stop cuts it off where it awaits something. An own [`run`](Self::run) that does not call
    ///   [`Context::serve`] is not asked.
    ///
    /// Never called after a fatal error or a panic: a service that failed goes on from its last
    /// snapshot. An error is recorded, and nothing is kept. `Ok(None)`, the default, says that the
    /// service keeps no state: no snapshot of this instance is asked for any more. See
    /// [`SavedState`].
    async fn save_state(&mut self, ctx: &Context) -> Result<Option<SavedState>> {
        let _ = ctx;
        Ok(None)
    }

    /// Gives back what `start` took. Tasks have ended by now.
    async fn stop(&mut self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Names the methods that handle messages of a topic or a type. Called once, when the service
    /// begins to run.
    fn handlers(handlers: &mut Handlers<Self>) {
        let _ = handlers;
    }

    /// A message of one of the service's subscriptions that none of its [`Handlers`] takes. An error
    /// is recorded and the service goes on, unless it is fatal; answer [`Error::unhandled`] for a
    /// topic that is not yours.
    async fn on_message(&mut self, ctx: &Context, message: Message) -> Result<()> {
        let _ = (ctx, message);
        Err(Error::unhandled())
    }

    /// A task for the service's [`Worker`](crate::zmq::Worker). Work on it here, which holds up
    /// everything else and is cut off at `work_timeout`, or beside the handlers with [`Task::spawn`].
    /// An error is treated as in [`on_message`](Self::on_message).
    async fn on_task(&mut self, ctx: &Context, task: Task) -> Result<()> {
        let _ = (ctx, task);
        Err(Error::unhandled())
    }

    /// A result of one of the workers of the service's [`Controller`](crate::zmq::Controller). An
    /// error is treated as in [`on_message`](Self::on_message).
    async fn on_result(&mut self, ctx: &Context, worker: &str, result: Message) -> Result<()> {
        let _ = (ctx, worker, result);
        Err(Error::unhandled())
    }

    /// A worker has tasks, `outstanding` of them, and none of them was answered for
    /// `worker_timeout`. Called once, until a result ends that and it begins again; the health check
    /// `worker NAME` and a warning in the log say the same.
    async fn on_worker_timeout(
        &mut self,
        ctx: &Context,
        worker: &str,
        outstanding: u64,
    ) -> Result<()> {
        let _ = (ctx, worker, outstanding);
        Ok(())
    }

    /// The service's configuration has changed while it runs. Take over what can change now and
    /// answer [`ConfigChange::Applied`], or change nothing and answer [`ConfigChange::Restart`], the
    /// default, to be replaced by an instance that is made with it. An error refuses it: the service
    /// goes on by the old one.
    ///
    /// Called between handlers, by [`Context::serve`].
    async fn on_config(&mut self, ctx: &Context, config: Self::Config) -> Result<ConfigChange> {
        let _ = (ctx, config);
        Ok(ConfigChange::Restart)
    }

    /// Called at once when the service runs, and then in the interval of [`Context::tick_every`].
    async fn on_tick(&mut self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }
}
