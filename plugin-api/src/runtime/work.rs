//! Work on tasks beside the handlers, and what is left of it at the end.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Duration;

use super::dispatch;
use super::guard::guarded;
use super::running::Running;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::message::Message;
use crate::zmq::InHand;

/// What is worked on, and tasks that were not finished.
#[derive(Default)]
pub(crate) struct Work {
    running: Running<()>,
    cut_off: Cell<bool>,
    unfinished: RefCell<Vec<Unfinished>>,
}

/// A task that was taken from the host and not dealt with.
pub(crate) struct Unfinished {
    pub(crate) socket: i32,
    pub(crate) number: u64,
    pub(crate) message: Message,
}

impl Work {
    /// Begins to work on a task.
    pub(crate) fn spawn(
        &self,
        ctx: &Context,
        in_hand: InHand,
        work: impl Future<Output = Result<()>> + 'static,
    ) {
        let ctx = ctx.clone();
        self.running.spawn((), |id| supervised(ctx, id, in_hand, work));
    }

    /// Waits for all work to end.
    pub(super) async fn ended_within(&self, grace: Duration) {
        self.running.ended_within(grace).await;
    }

    /// Cancels what has not ended.
    pub(super) fn cancel(&self) {
        self.running.cancel();
    }

    /// From now on, a task that the service drops was not finished.
    pub(super) fn cut_off(&self) {
        self.cut_off.set(true);
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    pub(crate) fn leave(&self, unfinished: Unfinished) {
        self.unfinished.borrow_mut().push(unfinished);
    }
}

async fn supervised(
    ctx: Context,
    id: u64,
    in_hand: InHand,
    work: impl Future<Output = Result<()>>,
) {
    let result = limited(&in_hand, guarded(work)).await;
    dispatch::work_ended(&ctx, in_hand, result);
    ctx.shared().work.running.end(id);
}

/// Awaits what somebody does with a task, for as long as it may take.
pub(super) async fn limited(
    in_hand: &InHand,
    work: impl Future<Output = Result<()>>,
) -> Result<()> {
    let limit = in_hand.timeout();
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let (number, limit) = (in_hand.number(), limit.as_secs_f64());
        Err(Error::new(format!(
            "task {number} was cut off: it took longer than work_timeout = {limit} s"
        )))
    })
}

/// Sees to the tasks that were not finished: where another instance takes over it gets them, in their
/// order; otherwise they are lost, which is recorded.
pub(super) fn settle(ctx: &Context) {
    let mut left = ctx.shared().work.unfinished.take();
    // Each is put before all others, so the oldest comes last.
    left.sort_by_key(|task| std::cmp::Reverse(task.number));
    let total = left.len();
    if ctx.hands_over() {
        let host = ctx.shared().host;
        left.retain(|task| {
            !host.give_back(task.socket, task.message.topic(), task.message.payload())
        });
        let given_back = total - left.len();
        if given_back > 0 {
            tracing::info!(tasks = given_back, "gave unfinished tasks back for the next instance");
        }
    }
    if !left.is_empty() {
        let numbers = left.iter().rev().take(NAMED).map(|task| task.number.to_string());
        let numbers = numbers.collect::<Vec<_>>().join(", ");
        let more = if left.len() > NAMED { "…" } else { "" };
        let count = left.len();
        let error = Error::new(format!(
            "{count} tasks were not finished and are lost: number {numbers}{more}"
        ));
        ctx.record(&error, "on_task");
    }
}

/// How many unfinished tasks are named.
const NAMED: usize = 10;
