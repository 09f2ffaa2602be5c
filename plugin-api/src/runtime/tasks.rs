//! The tasks that a service registers, by name.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::guard::guarded;
use super::running::Running;
use crate::abi::RunOutcome;
use crate::context::{Context, StopReason};
use crate::error::Result;

type Task = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Tasks wait until the service runs, then run beside its handlers.
#[derive(Default)]
pub(crate) struct Tasks {
    waiting: RefCell<Vec<(String, Task)>>,
    /// By their names.
    running: Running<String>,
}

impl Tasks {
    pub(crate) fn add(&self, name: String, task: impl Future<Output = Result<()>> + 'static) {
        self.waiting.borrow_mut().push((name, Box::pin(task)));
    }

    /// Spawns what was added since the last call.
    pub(crate) fn spawn_waiting(&self, ctx: &Context) {
        for (name, task) in self.waiting.take() {
            let ctx = ctx.clone();
            self.running.spawn(name.clone(), |id| supervised(ctx, id, name, task));
        }
    }

    /// Whether there were tasks and all have ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.running.have_begun() && self.waiting.borrow().is_empty() && self.running.is_empty()
    }

    /// Waits for the tasks that have begun to end.
    pub(super) async fn ended_within(&self, grace: Duration) {
        self.running.ended_within(grace).await;
    }

    /// Cancels the tasks that have not ended, and names them. They are dropped when the runtime gets
    /// to them; those that never began are dropped at once.
    pub(super) fn cancel(&self) -> Vec<String> {
        self.waiting.take();
        self.running.cancel()
    }
}

async fn supervised(ctx: Context, id: u64, name: String, task: Task) {
    match guarded(task).await {
        Ok(()) => tracing::debug!(task = name, "task ended"),
        Err(error) => {
            ctx.record(&error, &format!("task {name}"));
            ctx.worsen(RunOutcome::Failed);
            ctx.begin_stop(StopReason::TaskError);
        }
    }
    ctx.shared().tasks.running.end(id);
    ctx.shared().arrivals.notify_one();
}
