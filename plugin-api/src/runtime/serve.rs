//! Dispatches messages and ticks to a service's handlers.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::guard::guarded;
use super::handover::reconfigure;
use crate::abi::Counter;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::service::Service;
use crate::stats::worth_a_line;

/// How many messages are handled before ticks, tasks and words of the host get their turn.
const BURST: usize = 64;

/// Dispatches until the service is to stop, or until nothing can come any more.
pub(crate) async fn serve<S: Service>(ctx: &Context, service: &mut S) -> Result<()> {
    let shared = ctx.shared();
    let mut ticker = Ticker::default();
    let stopping = ctx.stopping();
    tokio::pin!(stopping);
    while !ctx.is_stopping() {
        reconfigure(ctx, service).await?;
        shared.tasks.spawn_waiting(ctx);
        ticker.follow(shared.tick.get());
        if shared.tasks.all_ended() && !shared.listens.get() && shared.tick.get().is_none() {
            return Ok(());
        }
        let more = handle_burst(ctx, service).await?;
        tokio::select! {
            biased;
            () = &mut stopping => return Ok(()),
            () = ticker.tick() => outcome(ctx, "on_tick", guarded(service.on_tick(ctx)).await)?,
            () = tokio::task::yield_now(), if more => {}
            () = shared.arrivals.notified(), if !more => {}
        }
    }
    Ok(())
}

/// Handles what waits, up to [`BURST`]; whether there may be more.
async fn handle_burst<S: Service>(ctx: &Context, service: &mut S) -> Result<bool> {
    for _ in 0..BURST {
        if ctx.is_stopping() {
            return Ok(false);
        }
        if ctx.shared().config_waits.get() {
            return Ok(true);
        }
        let raw = ctx.shared().host.mailbox_take_without(&ctx.shared().held.borrow());
        let Some(raw) = raw else { return Ok(false) };
        // The host has found the parts already, so a frame without them does not come.
        let Some(message) = Message::from_raw(raw) else { continue };
        if message.is_json() {
            handle(ctx, service, message).await?;
        } else {
            leave_out(ctx, Counter::BadFrame, &message, "left out a message that is not JSON");
        }
    }
    Ok(true)
}

async fn handle<S: Service>(ctx: &Context, service: &mut S, message: Message) -> Result<()> {
    let Err(error) = guarded(service.on_message(ctx, message.clone())).await else {
        ctx.shared().host.count(Counter::Handled, 1);
        return Ok(());
    };
    if error.kind() == ErrorKind::Unhandled {
        leave_out(ctx, Counter::Unhandled, &message, "no handler takes this message");
        return Ok(());
    }
    outcome(ctx, &format!("on_message `{}`", message.topic()), Err(error))
}

/// Counts a message that came to nothing, and warns of it now and then.
fn leave_out(ctx: &Context, counter: Counter, message: &Message, why: &'static str) {
    ctx.shared().host.count(counter, 1);
    let left_out = &ctx.shared().left_out;
    left_out.set(left_out.get() + 1);
    if worth_a_line(left_out.get()) {
        let (topic, bytes, so_far) = (message.topic(), message.payload().len(), left_out.get());
        tracing::warn!(topic, bytes, so_far, "{why}");
    }
}

/// What becomes of a handler's result: most errors are recorded and the service goes on.
fn outcome(ctx: &Context, place: &str, result: Result<()>) -> Result<()> {
    let Err(error) = result else { return Ok(()) };
    let host = ctx.shared().host;
    match error.kind() {
        ErrorKind::Fatal | ErrorKind::Panicked => {
            host.count(Counter::HandlerError, 1);
            ctx.record(&error, place);
            return Err(Error::of(ErrorKind::Panicked, "recorded already"));
        }
        _ => {
            host.count(Counter::HandlerError, 1);
            ctx.record(&error, place);
        }
    }
    Ok(())
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
