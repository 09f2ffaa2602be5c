//! Dispatches messages and ticks to a service's handlers.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::dispatch::{dispatch, outcome};
use super::guard::guarded;
use super::handover::{reconfigure, snapshot};
use super::pulse::within;
use super::watch::{look, time_to_look};
use crate::abi::NO_HANDLER;
use crate::context::Context;
use crate::error::Result;
use crate::handlers::Handlers;
use crate::service::Service;

/// How many messages are handled before ticks, tasks and words of the host get their turn.
const BURST: usize = 64;

/// Dispatches until the service is to stop, or until nothing can come any more.
pub(crate) async fn serve<S: Service>(ctx: &Context, service: &mut S) -> Result<()> {
    let shared = ctx.shared();
    let mut ticker = Ticker::default();
    let mut handlers = Handlers::new();
    S::handlers(&mut handlers);
    let stopping = ctx.stopping();
    tokio::pin!(stopping);
    while !ctx.is_stopping() {
        reconfigure(ctx, service).await?;
        snapshot(ctx, service).await;
        shared.tasks.spawn_waiting(ctx);
        ticker.follow(shared.tick.get());
        if shared.tasks.all_ended() && !shared.listens.get() && shared.tick.get().is_none() {
            return Ok(());
        }
        let more = handle_burst(ctx, service, &handlers).await?;
        tokio::select! {
            biased;
            () = &mut stopping => return Ok(()),
            () = ticker.tick() => {
                let ticked = within(ctx, "on_tick", guarded(service.on_tick(ctx))).await;
                outcome(ctx, "on_tick", ticked)?;
            }
            () = time_to_look(ctx) => look(ctx, service).await?,
            () = let_tasks_go_on(ctx), if more => {}
            () = shared.arrivals.notified(), if !more => {}
        }
    }
    Ok(())
}

/// Handles what waits, up to [`BURST`]; whether there may be more.
async fn handle_burst<S: Service>(
    ctx: &Context,
    service: &mut S,
    handlers: &Handlers<S>,
) -> Result<bool> {
    for _ in 0..BURST {
        if ctx.is_stopping() {
            return Ok(false);
        }
        if ctx.shared().config_waits.get() || ctx.shared().snapshot_wanted.get() {
            return Ok(true);
        }
        let raw = ctx.shared().host.mailbox_take_without(&ctx.shared().held.borrow());
        let Some(raw) = raw else { return Ok(false) };
        dispatch(ctx, service, handlers, raw).await?;
    }
    Ok(true)
}

/// Lets the tasks take their turns between two bursts. The host, which nobody asks for a message
/// meanwhile, would take one that blocks for the handler of the last message.
async fn let_tasks_go_on(ctx: &Context) {
    ctx.shared().host.beat(NO_HANDLER);
    tokio::task::yield_now().await;
}

/// The tick, while the service wants one.
#[derive(Default)]
struct Ticker(Option<(Duration, Interval)>);

impl Ticker {
    fn follow(&mut self, wanted: Option<Duration>) {
        if self.0.as_ref().map(|(period, _)| *period) != wanted {
            self.0 = wanted.map(|period| {
                let mut interval = tokio::time::interval(period);
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                (period, interval)
            });
        }
    }

    async fn tick(&mut self) {
        match &mut self.0 {
            Some((_, interval)) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}
