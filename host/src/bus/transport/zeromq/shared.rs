//! What a socket's task and the bus thread share.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::bus::transport::{PeerEvent, Received};
use crate::bus::wake::Waker;
use crate::message::SocketId;

/// Most bytes that wait for the bus thread at one socket. One message always fits.
pub(super) const INBOUND_BYTES: usize = 64 << 20;

/// How the tasks reach the bus thread.
pub(super) struct Signals {
    pub(super) waker: Waker,
    events: Mutex<Vec<(SocketId, PeerEvent)>>,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { waker: Waker::new()?, events: Mutex::default() })
    }

    /// Tells of an event. Their number is bounded by the connections there are between two turns
    /// of the bus, which takes all of them at each.
    pub(super) fn tell(&self, id: SocketId, event: PeerEvent) {
        lock(&self.events).push((id, event));
        self.waker.wake();
    }

    pub(super) fn take_events(&self) -> Vec<(SocketId, PeerEvent)> {
        std::mem::take(&mut *lock(&self.events))
    }

    pub(super) fn has_events(&self) -> bool {
        !lock(&self.events).is_empty()
    }
}

/// The high-water mark of a socket that sends. The crate has none that fits: each frame carries a
/// lease, which ends when the crate lets the frame go, written or not.
pub(super) struct Credit {
    limit: usize,
    used: AtomicUsize,
    /// The bus waits for room.
    wanted: AtomicBool,
    /// Told when nothing is on its way any more.
    pub(super) idle: Notify,
    signals: Arc<Signals>,
}

/// A frame on its way.
struct Lease {
    frame: Bytes,
    credit: Arc<Credit>,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.credit.used.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.credit.idle.notify_one();
        }
        if self.credit.wanted.swap(false, Ordering::AcqRel) {
            self.credit.signals.waker.wake();
        }
    }
}

impl Credit {
    pub(super) fn new(limit: usize, signals: Arc<Signals>) -> Self {
        let (used, wanted) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { limit, used, wanted, idle: Notify::new(), signals }
    }

    /// The frame with its lease, unless too many are on their way. Only the bus thread takes any,
    /// so that nobody comes between looking and taking.
    pub(super) fn lease(self: &Arc<Self>, frame: &Bytes) -> Option<Bytes> {
        self.has_room().then(|| {
            self.used.fetch_add(1, Ordering::AcqRel);
            Bytes::from_owner(Lease { frame: frame.clone(), credit: Arc::clone(self) })
        })
    }

    /// Whether there is room; if not, the bus is woken when there is.
    pub(super) fn has_room(&self) -> bool {
        if self.used.load(Ordering::Acquire) < self.limit {
            return true;
        }
        self.wanted.store(true, Ordering::Release);
        // The last lease may have ended in between, and nobody would wake the bus.
        self.used.load(Ordering::Acquire) < self.limit
    }

    pub(super) fn is_idle(&self) -> bool {
        self.used.load(Ordering::Acquire) == 0
    }
}

/// What has arrived and waits for the bus thread, bounded by count and by bytes.
pub(super) struct Inbound {
    state: Mutex<Queue>,
    limit: usize,
    /// Told when there is room again.
    room: Notify,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Received>,
    bytes: usize,
}

impl Inbound {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit, room: Notify::new() }
    }

    /// Messages and bytes there is room for; `None` when there is none.
    pub(super) fn room(&self) -> Option<(usize, usize)> {
        let state = lock(&self.state);
        let (messages, bytes) = (
            self.limit.saturating_sub(state.messages.len()),
            INBOUND_BYTES.saturating_sub(state.bytes),
        );
        (messages > 0 && bytes > 0).then_some((messages, bytes))
    }

    pub(super) async fn until_room(&self) {
        while self.room().is_none() {
            self.room.notified().await;
        }
    }

    pub(super) fn push(&self, received: impl Iterator<Item = Received>) {
        let mut state = lock(&self.state);
        for one in received {
            state.bytes += size(&one);
            state.messages.push_back(one);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).messages.is_empty()
    }

    /// Hands over what there is until `each` breaks.
    pub(super) fn take(&self, each: &mut dyn FnMut(Received) -> ControlFlow<()>) {
        loop {
            // Not held during the call, which may take its time.
            let next = {
                let mut state = lock(&self.state);
                let next = state.messages.pop_front();
                state.bytes -= next.as_ref().map_or(0, size);
                next
            };
            let Some(next) = next else { break };
            if each(next).is_break() {
                break;
            }
        }
        self.room.notify_one();
    }
}

fn size(received: &Received) -> usize {
    match received {
        Received::Frame(frame) => frame.len(),
        Received::Multipart { size, .. } => *size,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signals() -> Arc<Signals> {
        Arc::new(Signals::new().expect("signals"))
    }

    #[test]
    fn a_lease_ends_when_the_last_reference_to_the_frame_does() {
        let credit = Arc::new(Credit::new(2, signals()));
        let frame = Bytes::from(vec![b'x'; 10]);
        let first = credit.lease(&frame).expect("room");
        let copy = first.clone();
        let second = credit.lease(&frame).expect("room");
        assert_eq!(&second[..], &frame[..]);
        assert!(credit.lease(&frame).is_none() && !credit.has_room());
        drop(first);
        assert!(!credit.has_room(), "a subscriber still has it");
        drop(copy);
        assert!(credit.has_room() && !credit.is_idle());
        drop(second);
        assert!(credit.is_idle() && frame.is_unique());
    }

    #[test]
    fn the_queue_is_bounded_by_count_and_by_bytes() {
        let inbound = Inbound::new(2);
        let frame = |size| Received::Frame(Bytes::from(vec![0; size]));
        assert_eq!(inbound.room(), Some((2, INBOUND_BYTES)));
        inbound.push([frame(INBOUND_BYTES)].into_iter());
        assert_eq!(inbound.room(), None, "by bytes");
        inbound.take(&mut |_| ControlFlow::Continue(()));
        inbound.push([frame(1), frame(1), frame(1)].into_iter());
        assert_eq!(inbound.room(), None, "by count");
        inbound.take(&mut |_| ControlFlow::Break(()));
        inbound.take(&mut |_| ControlFlow::Break(()));
        assert_eq!(inbound.room(), Some((1, INBOUND_BYTES - 1)));
    }
}
