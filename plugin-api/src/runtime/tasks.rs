//! The tasks that a service registers, by name.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};

use super::guard::guarded;
use crate::abi::RunOutcome;
use crate::context::{Context, StopReason};
use crate::error::Result;

type Task = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Tasks wait until the service runs, then run beside its handlers.
#[derive(Default)]
pub(crate) struct Tasks {
    waiting: RefCell<Vec<(String, Task)>>,
    running: RefCell<BTreeMap<u64, (String, AbortHandle)>>,
    added: Cell<u64>,
    ended: Notify,
}

impl Tasks {
    pub(crate) fn add(&self, name: String, task: impl Future<Output = Result<()>> + 'static) {
        self.waiting.borrow_mut().push((name, Box::pin(task)));
    }

    /// Spawns what was added since the last call.
    pub(crate) fn spawn_waiting(&self, ctx: &Context) {
        for (name, task) in self.waiting.take() {
            let id = self.added.get();
            self.added.set(id + 1);
            let handle = spawn_local(supervised(ctx.clone(), id, name.clone(), task));
            self.running.borrow_mut().insert(id, (name, handle.abort_handle()));
        }
    }

    /// Whether there were tasks and all have ended.
    pub(crate) fn all_ended(&self) -> bool {
        self.added.get() > 0 && self.waiting.borrow().is_empty() && self.running.borrow().is_empty()
    }

    /// Waits for the tasks that have begun to end.
    pub(super) async fn ended_within(&self, grace: Duration) {
        let all_ended = async {
            while !self.running.borrow().is_empty() {
                self.ended.notified().await;
            }
        };
        // Those that have not ended are there to be cancelled.
        let _ = tokio::time::timeout(grace, all_ended).await;
    }

    /// Cancels the tasks that have not ended, and names them. They are dropped when the runtime gets
    /// to them; those that never began are dropped at once.
    pub(super) fn cancel(&self) -> Vec<String> {
        self.waiting.take();
        let late = self.running.take().into_values();
        let late = late.map(|(name, task)| {
            task.abort();
            name
        });
        late.collect()
    }

    fn end(&self, id: u64) {
        self.running.borrow_mut().remove(&id);
        self.ended.notify_one();
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
    ctx.shared().tasks.end(id);
    ctx.shared().arrivals.notify_one();
}
