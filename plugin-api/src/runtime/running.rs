//! Futures that were spawned beside the handlers, until they end or are cancelled.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};

/// What runs, with what is known of each.
pub(super) struct Running<T> {
    running: RefCell<BTreeMap<u64, (T, AbortHandle)>>,
    begun: Cell<u64>,
    ended: Notify,
}

impl<T> Default for Running<T> {
    fn default() -> Self {
        Self { running: RefCell::default(), begun: Cell::new(0), ended: Notify::new() }
    }
}

impl<T> Running<T> {
    /// Begins one. It is given its number, by which it says in the end that it [`end`](Self::end)s.
    pub(super) fn spawn<F>(&self, known: T, future: impl FnOnce(u64) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let id = self.begun.get();
        self.begun.set(id + 1);
        let handle = spawn_local(future(id));
        self.running.borrow_mut().insert(id, (known, handle.abort_handle()));
    }

    pub(super) fn end(&self, id: u64) {
        self.running.borrow_mut().remove(&id);
        self.ended.notify_one();
    }

    pub(super) fn have_begun(&self) -> bool {
        self.begun.get() > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.borrow().is_empty()
    }

    /// Waits for all of them to end.
    pub(super) async fn ended_within(&self, grace: Duration) {
        let all_ended = async {
            while !self.is_empty() {
                self.ended.notified().await;
            }
        };
        // Those that have not ended are there to be cancelled.
        let _ = tokio::time::timeout(grace, all_ended).await;
    }

    /// Cancels those that have not ended, and tells what is known of them. They are dropped when the
    /// runtime gets to them.
    pub(super) fn cancel(&self) -> Vec<T> {
        let late = self.running.take().into_values();
        let late = late.map(|(known, handle)| {
            handle.abort();
            known
        });
        late.collect()
    }
}
