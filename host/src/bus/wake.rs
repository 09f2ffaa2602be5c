//! How other threads wake the bus thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd with a flag before it, so that a thousand sends to a busy bus cost one system call.
pub(super) struct Waker {
    eventfd: OwnedFd,
    pending: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { eventfd, pending: AtomicBool::new(false) })
    }

    /// Call it after the work was queued.
    pub(super) fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is at its maximum, and then the fd is readable.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// Call it before the queues are looked at. The counter goes first: the other way round, a
    /// wake-up between the two would be read away while the flag keeps others from writing.
    pub(super) fn reset(&self) {
        let _ = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
        self.pending.swap(false, Ordering::AcqRel);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}
