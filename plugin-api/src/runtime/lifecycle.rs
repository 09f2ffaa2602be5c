//! A service's life, from `new` to `stop`, each step reported to the host.

use std::future::Future;

use super::guard::guarded;
use super::{handover, inbox, pulse};
use crate::abi::{RunOutcome, Step};
use crate::context::{Context, StopReason};
use crate::error::{Error, ErrorKind, Result};
use crate::service::Service;
use crate::state::{IllegalTransition, Method};

/// Parts of the stop timeout, counted from its beginning: until when `run` and the tasks may go
/// on, and until when the state must have been saved. What is left then is left to `stop`.
const RUN_SHARE: f64 = 0.4;
/// Until when a handler may work on a task: sooner than all of `run` is cut off, which is an error.
const TASK_SHARE: f64 = 0.35;
const SAVE_SHARE: f64 = 0.7;

/// Lives one life; the context knows how it ended.
pub(crate) async fn live<S: Service>(ctx: Context, config: S::Config) {
    let inbox = tokio::task::spawn_local({
        let ctx = ctx.clone();
        async move {
            if let Err(error) = inbox::listen(ctx.clone()).await {
                ctx.record(&Error::fatal(format!("cannot watch the mailbox: {error}")), "mailbox");
            }
        }
    });
    let pulse = tokio::task::spawn_local(pulse::beat(ctx.clone()));
    if let Err(illegal) = phases::<S>(&ctx, config).await {
        ctx.record(&Error::fatal(illegal.to_string()), "lifecycle");
        ctx.worsen(RunOutcome::Failed);
    }
    pulse.abort();
    inbox.abort();
}

async fn phases<S: Service>(ctx: &Context, config: S::Config) -> Result<(), IllegalTransition> {
    let made = bounded(ctx, Method::New.as_str(), guarded(S::new(config, ctx))).await;
    let Some(mut service) = succeeded(ctx, Method::New.as_str(), made) else {
        end_tasks(ctx).await;
        return Ok(());
    };
    ctx.transition(Method::New, Step::Complete)?;

    // An instance that is stopped before it took over leaves the state where it is.
    let took_over = !ctx.is_stopping() && handover::restore(ctx, &mut service).await;
    if took_over && !ctx.is_stopping() && start(ctx, &mut service).await? {
        run(ctx, &mut service).await?;
    }
    stop(ctx, service, took_over).await
}

async fn start<S: Service>(ctx: &Context, service: &mut S) -> Result<bool, IllegalTransition> {
    ctx.transition(Method::Start, Step::Begin)?;
    let started = bounded(ctx, Method::Start.as_str(), guarded(service.start(ctx))).await;
    if succeeded(ctx, Method::Start.as_str(), started).is_none() {
        return Ok(false);
    }
    ctx.transition(Method::Start, Step::Complete)?;
    Ok(!ctx.is_stopping())
}

async fn run<S: Service>(ctx: &Context, service: &mut S) -> Result<(), IllegalTransition> {
    ctx.transition(Method::Run, Step::Begin)?;
    ctx.shared().tasks.spawn_waiting(ctx);
    let ran = bounded(ctx, Method::Run.as_str(), guarded(service.run(ctx))).await;
    if succeeded(ctx, Method::Run.as_str(), ran).is_some() {
        ctx.begin_stop(StopReason::RunEnded);
    }
    Ok(())
}

async fn stop<S: Service>(
    ctx: &Context,
    mut service: S,
    took_over: bool,
) -> Result<(), IllegalTransition> {
    ctx.transition(Method::Stop, Step::Begin)?;
    let late = end_tasks(ctx).await;
    if !late.is_empty() {
        tracing::warn!(tasks = late.join(", "), "cancelled tasks that did not end by themselves");
    }
    // What a failure left behind is not worth keeping.
    if took_over && ctx.hands_over() && ctx.outcome() == RunOutcome::Stopped {
        handover::save(ctx, &mut service, ctx.stop_time_left(SAVE_SHARE)).await;
    }
    let limit = ctx.stop_time_left(1.0);
    let stopped = tokio::time::timeout(limit, guarded(service.stop(ctx))).await;
    let stopped = stopped.unwrap_or_else(|_| {
        Err(Error::fatal(format!("stop() did not end within {:.1} s", limit.as_secs_f64())))
    });
    succeeded(ctx, Method::Stop.as_str(), stopped);
    // The service's own drop is author code too.
    let dropped = guarded(async move {
        drop(service);
        Ok(())
    });
    succeeded(ctx, Method::Stop.as_str(), dropped.await);
    ctx.transition(Method::Stop, Step::Complete)?;
    Ok(())
}

/// Waits for tasks and work to end, then cancels those that have not, and names the tasks.
async fn end_tasks(ctx: &Context) -> Vec<String> {
    let (grace, tasks, work) =
        (ctx.stop_time_left(RUN_SHARE), &ctx.shared().tasks, &ctx.shared().work);
    tokio::join!(tasks.ended_within(grace), work.ended_within(grace));
    // Only `save_state`, `stop` and the service's drop come after this.
    work.cut_off();
    work.cancel();
    let late = tasks.cancel();
    // Let the cancelled ones be dropped before `stop` takes their resources away.
    tokio::task::yield_now().await;
    late
}

/// Waits until the service is to stop and has had the time that a handler may still work on a task.
pub(super) async fn grace_is_over(ctx: &Context) {
    ctx.stopping().await;
    tokio::time::sleep(ctx.stop_time_left(TASK_SHARE)).await;
}

/// Awaits a phase; once the service is to stop, it has a share of the stop timeout left.
pub(super) async fn bounded<T>(
    ctx: &Context,
    place: &str,
    phase: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut phase = Box::pin(phase);
    tokio::select! {
        biased;
        result = &mut phase => return result,
        () = ctx.stopping() => {}
    }
    let grace = ctx.stop_time_left(RUN_SHARE);
    tokio::time::timeout(grace, &mut phase).await.unwrap_or_else(|_| {
        ctx.shared().work.cut_off();
        drop(phase);
        let grace = grace.as_secs_f64();
        Err(Error::new(format!(
            "{place}() went on for {grace:.1} s after the stop was asked for, and was cancelled"
        )))
    })
}

/// The value of a phase, or `None` with its error recorded and the service on its way to stop.
pub(super) fn succeeded<T>(ctx: &Context, place: &str, result: Result<T>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let recorded_already = place == Method::Run.as_str()
        && error.kind() == ErrorKind::Panicked
        && ctx.outcome() != RunOutcome::Stopped;
    if !recorded_already {
        ctx.record(&error, place);
        ctx.worsen(RunOutcome::Failed);
    }
    ctx.begin_stop(StopReason::FatalError);
    None
}
