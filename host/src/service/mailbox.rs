//! Where a service's messages wait: a bounded queue with an eventfd, owned by the host.
//!
//! The plugin's thread waits on the eventfd and takes what is there; no plugin code runs on the bus
//! thread. Invariants:
//! - The queue is bounded by count and by bytes; the newest message is dropped, and counted.
//! - `armed` is true only while the queue is empty and the reader has been told so. Whoever adds
//!   something to an armed mailbox disarms it and writes the eventfd once, so a batch costs at most
//!   one system call and a reader that saw "empty" always wakes up.
//! - Words from the host go before messages and are never dropped: each kind waits at most once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use plugin_api::abi::EnvelopeKind;
use rustix::event::{EventfdFlags, eventfd};

use crate::message::Envelope;

/// How much a mailbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes of all frames together; the last message taken in may go beyond it.
    pub bytes: usize,
}

impl Default for MailboxLimits {
    fn default() -> Self {
        Self { messages: 10_000, bytes: 256 << 20 }
    }
}

/// Figures of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxStats {
    /// Messages waiting now.
    pub depth: usize,
    /// Most messages that ever waited.
    pub high_mark: usize,
    /// Bytes waiting now.
    pub bytes: usize,
    /// Messages taken in since the start.
    pub accepted: u64,
    /// Messages dropped since the start because the mailbox was full.
    pub dropped: u64,
}

/// What is called once when a full mailbox has room again. It runs on the reader's thread, so it
/// must be quick and must be host code.
pub type RoomNotice = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    control: VecDeque<EnvelopeKind>,
    messages: VecDeque<Envelope>,
    bytes: usize,
    armed: bool,
    high_mark: usize,
    accepted: u64,
    dropped: u64,
    wants_room: Vec<RoomNotice>,
}

/// A bounded queue and an eventfd.
pub struct Mailbox {
    state: Mutex<State>,
    limits: MailboxLimits,
    bell: Bell,
}

/// The eventfd that wakes the reader. A reader that was left behind may still hold a duplicate of it
/// and would take the next one's wake-ups; so there is a new one then, and the old one stays open, for
/// its number may be in use as well.
struct Bell {
    eventfd: OwnedFd,
    next: OnceLock<Box<Bell>>,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { eventfd, next: OnceLock::new() })
    }
}

impl Mailbox {
    /// An empty mailbox, armed.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(limits: MailboxLimits) -> io::Result<Self> {
        let state = Mutex::new(State { armed: true, ..State::default() });
        Ok(Self { state, limits, bell: Bell::new()? })
    }

    /// Gives the next reader an eventfd of its own, and wakes the present one a last time. To be
    /// called when a reader was left behind and can take nothing any more.
    ///
    /// # Errors
    /// When the process is out of descriptors; then nothing has changed.
    pub fn change_reader(&self) -> io::Result<()> {
        let next = Bell::new()?;
        self.wake();
        // Two calls at once: one of them is enough.
        let _ = self.last_bell().next.set(Box::new(next));
        Ok(())
    }

    /// Takes in a batch in order and empties `batch`. Returns how many were dropped.
    pub fn push_batch(&self, batch: &mut Vec<Envelope>) -> usize {
        if batch.is_empty() {
            return 0;
        }
        let mut state = self.lock();
        let mut dropped = 0;
        for envelope in batch.drain(..) {
            if state.messages.len() >= self.limits.messages || state.bytes >= self.limits.bytes {
                dropped += 1;
                continue;
            }
            state.bytes += envelope.bytes.len();
            state.accepted += 1;
            state.messages.push_back(envelope);
        }
        state.dropped += dropped as u64;
        state.high_mark = state.high_mark.max(state.messages.len());
        let wake = !state.messages.is_empty() && std::mem::take(&mut state.armed);
        drop(state);
        if wake {
            self.wake();
        }
        dropped
    }

    /// Adds a word from the host; the same word waits only once.
    pub fn push_control(&self, kind: EnvelopeKind) {
        let mut state = self.lock();
        if !state.control.contains(&kind) {
            state.control.push_back(kind);
        }
        drop(state);
        // A word is obeyed at once, also by a service that is not taking messages just now.
        self.wake();
    }

    /// The next word from the host, oldest first.
    pub fn take_control(&self) -> Option<EnvelopeKind> {
        self.lock().control.pop_front()
    }

    /// Forgets the words that nobody took: they were meant for an instance that has ended.
    pub fn clear_control(&self) {
        self.lock().control.clear();
    }

    /// Hands out up to `limit` messages, oldest first. When there is none, it arms the mailbox: the
    /// eventfd becomes readable at the next arrival.
    pub fn take(&self, limit: usize, each: &mut dyn FnMut(Envelope)) {
        for _ in 0..limit {
            let Some(envelope) = self.take_one() else { return };
            each(envelope);
        }
    }

    fn take_one(&self) -> Option<Envelope> {
        let mut state = self.lock();
        let Some(envelope) = state.messages.pop_front() else {
            if state.control.is_empty() {
                // What the counter still says was about envelopes that are gone. It is reset
                // under the lock, so that the wake-up of a later arrival is not swallowed.
                self.reset();
            }
            state.armed = true;
            return None;
        };
        state.bytes -= envelope.bytes.len();
        let tell = !state.wants_room.is_empty() && self.has_room(&state);
        let notices = if tell { std::mem::take(&mut state.wants_room) } else { Vec::new() };
        drop(state);
        for notice in notices {
            notice();
        }
        Some(envelope)
    }

    /// How many messages and bytes still fit. When the mailbox is full the answer is `None`, and
    /// `notice` is called once at least a quarter of it is free again; a socket that must not drop
    /// stops reading meanwhile.
    pub fn room_or(&self, notice: &RoomNotice) -> Option<MailboxLimits> {
        let mut state = self.lock();
        let room = MailboxLimits {
            messages: self.limits.messages.saturating_sub(state.messages.len()),
            bytes: self.limits.bytes.saturating_sub(state.bytes),
        };
        if room.messages > 0 && room.bytes > 0 {
            return Some(room);
        }
        if !state.wants_room.iter().any(|other| Arc::ptr_eq(other, notice)) {
            state.wants_room.push(Arc::clone(notice));
        }
        None
    }

    /// The eventfd. The reader may drain the counter itself, then takes until nothing comes.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.last_bell().eventfd.as_fd()
    }

    fn last_bell(&self) -> &Bell {
        let mut bell = &self.bell;
        while let Some(next) = bell.next.get() {
            bell = next;
        }
        bell
    }

    /// Figures of this moment.
    #[must_use]
    pub fn stats(&self) -> MailboxStats {
        let state = self.lock();
        MailboxStats {
            depth: state.messages.len(),
            high_mark: state.high_mark,
            bytes: state.bytes,
            accepted: state.accepted,
            dropped: state.dropped,
        }
    }

    /// A quarter free, so that a slow reader does not cause a wake-up a message; at least one.
    fn has_room(&self, state: &State) -> bool {
        let mark = |limit: usize| limit - limit.div_ceil(4);
        state.messages.len() <= mark(self.limits.messages) && state.bytes <= mark(self.limits.bytes)
    }

    fn wake(&self) {
        // It can fail only when the counter is at its maximum, and then the fd is readable.
        let _ = rustix::io::write(self.fd(), &1_u64.to_ne_bytes());
    }

    fn reset(&self) {
        // Fails with EAGAIN when the counter is zero, which is what is wanted.
        let _ = rustix::io::read(self.fd(), &mut [0_u8; 8]);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn message(number: u64) -> Envelope {
        Envelope {
            kind: EnvelopeKind::Message,
            socket: None,
            topic_len: 0,
            payload_start: 0,
            bytes: Bytes::copy_from_slice(&number.to_ne_bytes()),
        }
    }

    fn number(envelope: &Envelope) -> u64 {
        u64::from_ne_bytes(envelope.bytes[..].try_into().expect("eight bytes"))
    }

    fn mailbox(messages: usize, bytes: usize) -> Mailbox {
        Mailbox::new(MailboxLimits { messages, bytes }).expect("an eventfd")
    }

    fn take_all(mailbox: &Mailbox) -> Vec<Envelope> {
        let mut all = Vec::new();
        loop {
            let before = all.len();
            mailbox.take(7, &mut |envelope| all.push(envelope));
            if all.len() == before {
                return all;
            }
        }
    }

    fn readable(mailbox: &Mailbox, seconds: i64) -> bool {
        let fd = mailbox.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).expect("poll") == 1
    }

    #[test]
    fn a_word_from_the_host_has_its_own_lane_and_waits_once() {
        let mailbox = mailbox(10, 1000);
        mailbox.push_batch(&mut vec![message(1), message(2)]);
        mailbox.push_control(EnvelopeKind::Stop);
        mailbox.push_control(EnvelopeKind::LogLevel);
        mailbox.push_control(EnvelopeKind::Stop);
        assert_eq!(take_all(&mailbox).len(), 2);
        assert!(readable(&mailbox, 0), "taking messages does not swallow the word's wake-up");
        assert_eq!(mailbox.take_control(), Some(EnvelopeKind::Stop));
        assert_eq!(mailbox.take_control(), Some(EnvelopeKind::LogLevel));
        assert_eq!(mailbox.take_control(), None);
    }

    #[test]
    fn a_word_wakes_a_service_that_has_messages_waiting() {
        let mailbox = mailbox(10, 1000);
        mailbox.push_batch(&mut vec![message(1)]);
        rustix::io::read(mailbox.fd(), &mut [0_u8; 8]).expect("readable");
        mailbox.push_control(EnvelopeKind::Stop);
        assert!(readable(&mailbox, 0));
    }

    #[test]
    fn the_newest_is_dropped_by_count_and_counted() {
        let mailbox = mailbox(3, 1000);
        assert_eq!(mailbox.push_batch(&mut (0..5).map(message).collect()), 2);
        assert_eq!(
            mailbox.stats(),
            MailboxStats { depth: 3, high_mark: 3, bytes: 24, accepted: 3, dropped: 2 }
        );
        let numbers: Vec<_> = take_all(&mailbox).iter().map(number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!((mailbox.stats().bytes, mailbox.stats().depth), (0, 0));
    }

    #[test]
    fn bytes_bound_it_too_but_one_message_always_fits() {
        let mailbox = mailbox(100, 4);
        assert_eq!(mailbox.push_batch(&mut vec![message(1), message(2)]), 1);
        assert_eq!(take_all(&mailbox).len(), 1);
        assert_eq!(mailbox.push_batch(&mut vec![message(3)]), 0);
    }

    #[test]
    fn it_wakes_once_until_it_was_seen_empty() {
        let mailbox = mailbox(100, 1000);
        assert!(!readable(&mailbox, 0));
        mailbox.push_batch(&mut vec![message(1)]);
        mailbox.push_batch(&mut vec![message(2)]);
        let mut counter = [0_u8; 8];
        rustix::io::read(mailbox.fd(), &mut counter).expect("readable");
        assert_eq!(u64::from_ne_bytes(counter), 1);
        assert!(!readable(&mailbox, 0));
        assert_eq!(take_all(&mailbox).len(), 2);
        mailbox.push_batch(&mut vec![message(3)]);
        assert!(readable(&mailbox, 0));
        assert_eq!(take_all(&mailbox).len(), 1);
        assert!(!readable(&mailbox, 0), "seeing it empty resets the counter");
    }

    #[test]
    fn a_batch_that_is_dropped_whole_does_not_wake() {
        let mailbox = mailbox(0, 1000);
        assert_eq!(mailbox.push_batch(&mut vec![message(1)]), 1);
        assert!(!readable(&mailbox, 0));
    }

    #[test]
    fn a_full_mailbox_tells_when_there_is_room() {
        let mailbox = mailbox(8, 1000);
        let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let notice: RoomNotice = {
            let told = Arc::clone(&told);
            Arc::new(move || {
                told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            })
        };
        let calls = || told.load(std::sync::atomic::Ordering::Relaxed);
        mailbox.push_batch(&mut (0..7).map(message).collect());
        assert_eq!(mailbox.room_or(&notice), Some(MailboxLimits { messages: 1, bytes: 944 }));
        mailbox.push_batch(&mut vec![message(7)]);
        assert_eq!(mailbox.room_or(&notice), None);
        assert_eq!(mailbox.room_or(&notice), None);
        mailbox.take(1, &mut drop);
        assert_eq!(calls(), 0, "a quarter must be free");
        mailbox.take(1, &mut drop);
        assert_eq!(calls(), 1);
        mailbox.take(2, &mut drop);
        assert_eq!(calls(), 1, "once");
    }

    #[test]
    fn two_threads_lose_nothing_and_keep_the_order() {
        const COUNT: u64 = 100_000;
        let mailbox = Arc::new(mailbox(usize::MAX, usize::MAX));
        let producer = {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || {
                let mut next = 0;
                while next < COUNT {
                    let size = (next % 5) + 1;
                    let mut batch = (next..(next + size).min(COUNT)).map(message).collect();
                    assert_eq!(mailbox.push_batch(&mut batch), 0);
                    next += size;
                }
            })
        };
        let mut expected = 0;
        while expected < COUNT {
            assert!(readable(&mailbox, 30), "lost wake-up after {expected} messages");
            let _ = rustix::io::read(mailbox.fd(), &mut [0_u8; 8]);
            for envelope in take_all(&mailbox) {
                assert_eq!(number(&envelope), expected);
                expected += 1;
            }
        }
        producer.join().expect("the producer");
        assert_eq!(mailbox.stats().accepted, COUNT);
    }

    #[test]
    fn a_reader_that_was_left_behind_takes_no_wake_up_of_the_next_ones() {
        let mailbox = mailbox(10, 1000);
        let old = mailbox.fd().try_clone_to_owned().expect("a descriptor");
        mailbox.change_reader().expect("a descriptor");
        assert_eq!(rustix::io::read(&old, &mut [0_u8; 8]), Ok(8), "it is woken a last time");
        mailbox.push_batch(&mut vec![message(1)]);
        assert!(rustix::io::read(&old, &mut [0_u8; 8]).is_err(), "and never again");
        assert_eq!(rustix::io::read(mailbox.fd(), &mut [0_u8; 8]), Ok(8));
    }
}
