//! What becomes of one message: which handler gets it, and what its result means.

use std::borrow::Cow;
use std::rc::Rc;

use super::guard::guarded;
use super::lifecycle::grace_is_over;
use super::work::limited;
use crate::abi::{Counter, EnvelopeKind, RawEnvelope};
use crate::context::{Context, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::handlers::Handlers;
use crate::message::Message;
use crate::service::Service;
use crate::stats::worth_a_line;
use crate::zmq::{InHand, Intake, Link};

/// Handles what the mailbox delivered.
///
/// # Errors
/// What ends the service, after it has been recorded.
pub(super) async fn dispatch<S: Service>(
    ctx: &Context,
    service: &mut S,
    handlers: &Handlers<S>,
    raw: RawEnvelope,
) -> Result<()> {
    let (kind, socket) = (EnvelopeKind::from_code(raw.kind), raw.socket);
    // The host has found the parts already, so a frame without them does not come.
    let Some(message) = Message::from_raw(raw) else { return Ok(()) };
    let result_of = match kind {
        Some(EnvelopeKind::Result) => link(ctx, socket),
        _ => None,
    };
    if let Some(link) = &result_of {
        // Whatever it is worth, the worker answers.
        link.result_came(ctx);
    }
    if !message.is_json() {
        leave_out(ctx, Counter::BadFrame, &message, "left out a message that is not JSON");
        return Ok(());
    }
    match kind {
        Some(EnvelopeKind::Message) => on_message(ctx, service, handlers, message).await,
        Some(EnvelopeKind::Task) => match intake(ctx, socket) {
            Some(intake) => on_task(ctx, service, &intake, socket, message).await,
            None => nobody(ctx, &message, "a task came, and the service has no worker"),
        },
        Some(EnvelopeKind::Result) => match result_of {
            Some(link) => on_result(ctx, service, &link, message).await,
            None => nobody(ctx, &message, "a result came, and of which worker is not known"),
        },
        _ => nobody(ctx, &message, "a message came of a kind that this plugin-api does not know"),
    }
}

async fn on_message<S: Service>(
    ctx: &Context,
    service: &mut S,
    handlers: &Handlers<S>,
    message: Message,
) -> Result<()> {
    let result = match handlers.handle(service, ctx, &message) {
        Ok(answer) => guarded(answer).await,
        Err(service) => guarded(service.on_message(ctx, message.clone())).await,
    };
    judge(ctx, &message, || format!("on_message `{}`", message.topic()).into(), result)
}

async fn on_task<S: Service>(
    ctx: &Context,
    service: &mut S,
    intake: &Rc<Intake>,
    socket: i32,
    message: Message,
) -> Result<()> {
    let task = intake.take(ctx, socket, message);
    let in_hand = InHand::by_handler(&task);
    let work = limited(&in_hand, guarded(service.on_task(ctx, task)));
    let result = tokio::select! {
        biased;
        result = work => result,
        // The task goes to the next instance if there is one; the service ends as it should.
        () = grace_is_over(ctx) => return Ok(()),
    };
    if in_hand.is_spawned() && result.is_ok() {
        // The work will say how it ended.
        return Ok(());
    }
    task_ended(ctx, in_hand, result)
}

async fn on_result<S: Service>(
    ctx: &Context,
    service: &mut S,
    link: &Link,
    message: Message,
) -> Result<()> {
    let result = guarded(service.on_result(ctx, &link.name, message.clone())).await;
    judge(ctx, &message, || format!("on_result of worker `{}`", link.name).into(), result)
}

/// Spawned work has ended. What ends the service is recorded, and the dispatcher sees it.
pub(super) fn work_ended(ctx: &Context, in_hand: InHand, result: Result<()>) {
    let _ = task_ended(ctx, in_hand, result);
}

fn task_ended(ctx: &Context, in_hand: InHand, result: Result<()>) -> Result<()> {
    let message = in_hand.message().clone();
    let gave_up = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Stopping);
    if gave_up && ctx.is_stopping() {
        in_hand.given_up();
        return Ok(());
    }
    in_hand.ended();
    judge(ctx, &message, || "on_task".into(), result)
}

/// Counts a handler's result, and records an error.
fn judge(
    ctx: &Context,
    message: &Message,
    place: impl FnOnce() -> Cow<'static, str>,
    result: Result<()>,
) -> Result<()> {
    let Err(error) = result else {
        ctx.shared().host.count(Counter::Handled, 1);
        return Ok(());
    };
    if error.kind() == ErrorKind::Unhandled {
        return nobody(ctx, message, "no handler takes this message");
    }
    outcome(ctx, &place(), Err(error))
}

fn nobody(ctx: &Context, message: &Message, why: &'static str) -> Result<()> {
    leave_out(ctx, Counter::Unhandled, message, why);
    Ok(())
}

/// The worker whose task came by a socket. What an instance before this one left, which had another
/// socket by another configuration, is the present worker's.
fn intake(ctx: &Context, socket: i32) -> Option<Rc<Intake>> {
    let sources = ctx.shared().sources.borrow();
    let of = |source: &Source| match source {
        Source::Tasks(intake) => Some(Rc::clone(intake)),
        Source::Results(_) => None,
    };
    match sources.get(&socket) {
        Some(source) => of(source),
        None => sources.values().find_map(of),
    }
}

/// The worker whose result came by a socket; likewise, if there is only one.
fn link(ctx: &Context, socket: i32) -> Option<Rc<Link>> {
    let sources = ctx.shared().sources.borrow();
    let of = |source: &Source| match source {
        Source::Results(link) => Some(Rc::clone(link)),
        Source::Tasks(_) => None,
    };
    if let Some(source) = sources.get(&socket) {
        return of(source);
    }
    let mut links = sources.values().filter_map(of);
    links.next().filter(|_| links.next().is_none())
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
pub(super) fn outcome(ctx: &Context, place: &str, result: Result<()>) -> Result<()> {
    let Err(error) = result else { return Ok(()) };
    ctx.shared().host.count(Counter::HandlerError, 1);
    ctx.record(&error, place);
    match error.kind() {
        ErrorKind::Fatal | ErrorKind::Panicked => {
            Err(Error::of(ErrorKind::Panicked, "recorded already"))
        }
        _ => Ok(()),
    }
}
