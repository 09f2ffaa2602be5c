//! Writes what is to be kept on a thread of its own. Of each service the latest state waits and no
//! more, so a slow disk costs freshness and never memory.

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Memory, Orders, Store};

/// What the keeper tells, on its thread.
#[derive(Debug)]
pub enum News {
    /// The orders of this number and all before have been written, or could not be.
    Orders(u64, std::io::Result<()>),
    /// The state of a service was written, or could not be.
    State(String, std::io::Result<()>),
    /// The state of a service was taken out of the way, or could not be.
    SetAside(String, std::io::Result<Option<PathBuf>>),
}

/// Writes files. When it is dropped without [`close`](Self::close), what waits is not written.
#[derive(Debug)]
pub struct Keeper {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    orders: Option<(u64, Orders)>,
    services: BTreeMap<String, Work>,
    /// Whether a file is being written.
    is_busy: bool,
    is_closing: bool,
}

/// What is to be done about the state of a service, in this order.
#[derive(Debug, Default)]
struct Work {
    set_aside: bool,
    then: Then,
}

#[derive(Debug, Default)]
enum Then {
    #[default]
    Nothing,
    Write(Memory),
    Forget,
}

impl Keeper {
    /// Begins.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn begin(store: Store, tell: impl Fn(News) + Send + 'static) -> std::io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let for_thread = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("keep".to_owned())
            .spawn(move || work(&for_thread, &store, &tell))?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Has the operator's stops written; each later number replaces those before.
    pub fn keep_orders(&self, number: u64, orders: Orders) {
        self.desk.change(|waiting| waiting.orders = Some((number, orders)));
    }

    /// Has a state written in the place of the one before.
    pub fn keep(&self, memory: Memory) {
        self.desk.change(|waiting| {
            let work = waiting.services.entry(memory.service.clone()).or_default();
            work.then = Then::Write(memory);
        });
    }

    /// Has the state of a service removed.
    pub fn forget(&self, service: &str) {
        self.desk.change(|waiting| {
            waiting.services.entry(service.to_owned()).or_default().then = Then::Forget;
        });
    }

    /// Has the state of a service set aside: nobody can go on with it.
    pub fn set_aside(&self, service: &str) {
        self.desk.change(|waiting| {
            let work = waiting.services.entry(service.to_owned()).or_default();
            *work = Work { set_aside: true, then: Then::Nothing };
        });
    }

    /// Waits until all is written, at most this long; whether it was.
    pub fn close(mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut waiting = self.desk.lock();
        waiting.is_closing = true;
        self.desk.changed.notify_all();
        while !waiting.is_done() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.desk.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(waiting);
        // It has nothing left to do but return.
        self.thread.take().is_some_and(|thread| thread.join().is_ok())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.desk.change(|waiting| {
            waiting.is_closing = true;
            waiting.orders = None;
            waiting.services.clear();
        });
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code of others runs under the lock, so a poisoned list is still whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// The next things to do; `None` when there will be none.
    fn next(&self) -> Option<Waiting> {
        let mut waiting = self.lock();
        waiting.is_busy = false;
        self.changed.notify_all();
        loop {
            if waiting.orders.is_some() || !waiting.services.is_empty() {
                let taken = Waiting {
                    orders: waiting.orders.take(),
                    services: mem::take(&mut waiting.services),
                    ..Waiting::default()
                };
                waiting.is_busy = true;
                return Some(taken);
            }
            if waiting.is_closing {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Waiting {
    fn is_done(&self) -> bool {
        !self.is_busy && self.orders.is_none() && self.services.is_empty()
    }
}

fn work(desk: &Desk, store: &Store, tell: &dyn Fn(News)) {
    while let Some(Waiting { orders, services, .. }) = desk.next() {
        // First, because somebody waits for them.
        if let Some((number, orders)) = orders {
            tell(News::Orders(number, store.write_orders(&orders)));
        }
        for (service, work) in services {
            if work.set_aside {
                tell(News::SetAside(service.clone(), store.set_aside(&service)));
            }
            let done = match work.then {
                Then::Nothing => continue,
                Then::Write(memory) => store.write_memory(&memory),
                Then::Forget => store.forget(&service),
            };
            tell(News::State(service, done));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use jiff::Timestamp;
    use plugin_api::SavedState;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn memory(bytes: &[u8]) -> Memory {
        Memory {
            service: "door".to_owned(),
            plugin: "p".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            state: Arc::new(SavedState { version: 1, bytes: bytes.to_vec() }),
        }
    }

    #[test]
    fn the_latest_state_is_on_disk_when_it_has_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path().to_owned()).expect("opened");
        let keeper = Keeper::begin(store.clone(), |_| {}).expect("a thread");
        for number in 0..100_u8 {
            keeper.keep(memory(&[number]));
        }
        assert!(keeper.close(PATIENCE));
        assert_eq!(store.memory("door", "p").0, Some(memory(&[99])));
    }

    #[test]
    fn a_state_is_set_aside_before_the_next_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path().to_owned()).expect("opened");
        store.write_memory(&memory(b"bad")).expect("written");
        let keeper = Keeper::begin(store.clone(), |_| {}).expect("a thread");
        keeper.set_aside("door");
        keeper.keep(memory(b"good"));
        assert!(keeper.close(PATIENCE));
        assert_eq!(store.memory("door", "p").0, Some(memory(b"good")));
        let aside =
            std::fs::read(directory.path().join("door.state.aside-1")).expect("it is there");
        assert_eq!(aside, memory(b"bad").to_bytes());
    }

    #[test]
    fn whoever_waits_for_orders_is_told_their_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path().to_owned()).expect("opened");
        let (told, news) = channel();
        let keeper = Keeper::begin(store.clone(), move |it| told.send(it).expect("heard"));
        let keeper = keeper.expect("a thread");
        let mut orders = Orders::default();
        orders.stop("door", Timestamp::UNIX_EPOCH);
        keeper.keep_orders(4, orders.clone());
        let first = news.recv_timeout(PATIENCE).expect("news");
        assert!(matches!(first, News::Orders(4, Ok(()))), "{first:?}");
        assert_eq!(store.orders().0, orders);
        std::fs::remove_dir_all(directory.path()).expect("removed");
        keeper.keep_orders(5, orders);
        let second = news.recv_timeout(PATIENCE).expect("news");
        assert!(matches!(second, News::Orders(5, Err(_))), "{second:?}");
    }
}
