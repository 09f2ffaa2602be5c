//! The one trait that an author implements.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::message::Message;

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
/// | `start` | STARTING | STARTED |
/// | `run`, and every handler | RUNNING | |
/// | `stop` | STOPPING | STOPPED |
///
/// An error of `new`, `start` or `run` ends the service; so does a panic anywhere. `stop` is called
/// whenever `new` has succeeded, also after an error or a panic.
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

    /// Gives back what `start` took. Tasks have ended by now.
    async fn stop(&mut self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// A message of one of the service's subscriptions. An error is recorded and the service goes
    /// on, unless it is fatal; answer [`Error::unhandled`] for a topic that is not yours.
    async fn on_message(&mut self, ctx: &Context, message: Message) -> Result<()> {
        let _ = (ctx, message);
        Err(Error::unhandled())
    }

    /// Called at once when the service runs, and then in the interval of [`Context::tick_every`].
    async fn on_tick(&mut self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }
}
