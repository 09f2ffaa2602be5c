//! Where a service's messages wait: bounded queues with one eventfd, owned by the host.
//!
//! The plugin's thread waits on the eventfd and takes what is there; no plugin code runs on the bus
//! thread. Invariants:
//! - Each socket has a lane of its own, bounded by count and by bytes, so none takes another's room.
//!   What a SUB's full lane drops, its configuration says, and it is counted; a PULL stops reading.
//! - Messages are taken in the order of their arrival over all lanes, save those of held sockets.
//! - `armed` is true only while the queue is empty and the reader has been told so. Whoever adds
//!   something to an armed mailbox disarms it and writes the eventfd once, so a batch costs at most
//!   one system call and a reader that saw "empty" always wakes up.
//! - Words from the host go before messages and are never dropped: each kind waits at most once.

mod lane;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use plugin_api::abi::EnvelopeKind;
use plugin_api::zmq::WhenFull;
use rustix::event::{EventfdFlags, eventfd};

use self::lane::Lane;
use crate::message::{Envelope, SocketId};
use crate::service::liveness::{InHand, Progress};

/// How much a lane holds.
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

/// What a lane holds, and what it does when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePlan {
    /// What the messages of its socket are for the service.
    pub kind: EnvelopeKind,
    /// How much it holds.
    pub limits: MailboxLimits,
    /// What it drops when it is full; the bus does not let a PULL's lane come to that.
    pub when_full: WhenFull,
}

/// Figures of one lane since its socket was opened, or of a mailbox since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Messages waiting now.
    pub depth: usize,
    /// Most messages that ever waited.
    pub high_mark: usize,
    /// Bytes waiting now.
    pub bytes: usize,
    /// Messages taken in.
    pub accepted: u64,
    /// Messages dropped because it was full.
    pub dropped: u64,
}

/// What is called once when a full lane has room again. It runs on the reader's thread, so it
/// must be quick and must be host code.
pub type RoomNotice = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    control: VecDeque<EnvelopeKind>,
    lanes: Vec<Lane>,
    /// Arrivals so far; 0 is no arrival but stands for what was given back.
    arrivals: u64,
    armed: bool,
    depth: usize,
    high_mark: usize,
    accepted: u64,
    dropped: u64,
    in_hand: Taken,
}

/// What was taken last. It is written for every message, so it takes no clock and no memory of its own.
#[derive(Default)]
struct Taken {
    number: u64,
    /// `None` when nothing was left to take after it.
    kind: Option<EnvelopeKind>,
    topic: Vec<u8>,
}

/// Longer topics are told by their beginning.
const TOPIC_TOLD: usize = 120;

impl Taken {
    fn note(&mut self, envelope: &Envelope) {
        self.number += 1;
        self.kind = Some(envelope.kind);
        self.topic.clear();
        let topic = &envelope.bytes[..envelope.topic_len.min(TOPIC_TOLD)];
        self.topic.extend_from_slice(topic);
    }
}

impl State {
    fn lane(&mut self, socket: Option<SocketId>, limits: MailboxLimits) -> &mut Lane {
        let found = self.lanes.iter().position(|lane| lane.socket == socket);
        let at = found.unwrap_or_else(|| {
            self.lanes.push(Lane::new(socket, limits));
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    fn push(&mut self, envelope: Envelope, limits: MailboxLimits) -> u64 {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let (accepted, gone) = self.lane(envelope.socket, limits).push(arrival, envelope);
        let dropped = gone + u64::from(!accepted);
        self.accepted += u64::from(accepted);
        self.dropped += dropped;
        self.depth = self.depth + usize::from(accepted) - gone as usize;
        self.high_mark = self.high_mark.max(self.depth);
        dropped
    }

    /// The oldest envelope that is not of a held socket, and whom to tell of the room it leaves.
    fn pop(&mut self, held: &[i32]) -> Option<(Envelope, Option<RoomNotice>)> {
        let is_held = |lane: &Lane| lane.socket.is_some_and(|SocketId(id)| held.contains(&id));
        let waiting = self.lanes.iter().enumerate().filter(|(_, lane)| !is_held(lane));
        let waiting = waiting.filter_map(|(at, lane)| Some((lane.oldest()?, at)));
        let (_, at) = waiting.min()?;
        let lane = &mut self.lanes[at];
        let envelope = lane.pop()?;
        let notice = lane.notice_of_room();
        if lane.is_over() {
            self.lanes.swap_remove(at);
        }
        self.depth -= 1;
        self.in_hand.note(&envelope);
        Some((envelope, notice))
    }
}

/// Bounded queues and an eventfd.
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

    /// Makes a lane for a socket that is being opened. What comes by a socket without one waits
    /// under the mailbox's own limits.
    pub fn open_lane(&self, socket: SocketId, plan: LanePlan) {
        self.lock().lane(Some(socket), plan.limits).open(plan);
    }

    /// Ends a lane; what waits in it can still be taken.
    pub fn close_lane(&self, socket: SocketId) {
        let mut state = self.lock();
        state.lane(Some(socket), self.limits).open = false;
        state.lanes.retain(|lane| !lane.is_over());
    }

    /// The limits of a lane whose socket asks for none.
    #[must_use]
    pub fn limits(&self) -> MailboxLimits {
        self.limits
    }

    /// Takes in a batch in order and empties `batch`. Returns how many were dropped.
    pub fn push_batch(&self, batch: &mut Vec<Envelope>) -> u64 {
        if batch.is_empty() {
            return 0;
        }
        let mut state = self.lock();
        let dropped = batch.drain(..).map(|envelope| state.push(envelope, self.limits)).sum();
        self.wake_reader(state);
        dropped
    }

    /// Takes in one message; how many were dropped.
    pub fn push(&self, envelope: Envelope) -> u64 {
        let mut state = self.lock();
        let dropped = state.push(envelope, self.limits);
        self.wake_reader(state);
        dropped
    }

    /// Takes back what was taken and not dealt with: the next reader gets it first, or this one
    /// when it does not hold the socket. False when there is no such socket any more.
    pub fn give_back(&self, socket: SocketId, topic: &str, payload: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(lane) = state.lanes.iter_mut().find(|lane| lane.socket == Some(socket)) else {
            return false;
        };
        lane.give_back(topic, payload);
        state.depth += 1;
        state.high_mark = state.high_mark.max(state.depth);
        self.wake_reader(state);
        true
    }

    fn wake_reader(&self, mut state: MutexGuard<'_, State>) {
        let wake = state.depth > 0 && std::mem::take(&mut state.armed);
        drop(state);
        if wake {
            self.wake();
        }
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
            let Some(envelope) = self.take_without(&[]) else { return };
            each(envelope);
        }
    }

    /// Hands out the oldest message that did not come by one of the `held` sockets; when there is
    /// none, it arms the mailbox.
    pub fn take_without(&self, held: &[i32]) -> Option<Envelope> {
        let mut state = self.lock();
        let Some((envelope, notice)) = state.pop(held) else {
            if state.control.is_empty() {
                // What the counter still says was about envelopes that are gone. It is reset
                // under the lock, so that the wake-up of a later arrival is not swallowed.
                self.reset();
            }
            state.armed = true;
            state.in_hand.kind = None;
            return None;
        };
        drop(state);
        if let Some(notice) = notice {
            notice();
        }
        Some(envelope)
    }

    /// What was taken last, as long as nobody has come for more: what the reader has in hand.
    #[must_use]
    pub fn in_hand(&self) -> Option<InHand> {
        let state = self.lock();
        let Taken { number, kind, topic } = &state.in_hand;
        let topic = String::from_utf8_lossy(topic);
        kind.map(|kind| InHand { number: *number, kind, topic: topic.into_owned() })
    }

    /// How far the reader is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let state = self.lock();
        let Taken { number, kind, .. } = &state.in_hand;
        Progress { taken: *number, has_one: kind.is_some() }
    }

    /// The reader is done with what it took last.
    pub fn hand_is_empty(&self) {
        self.lock().in_hand.kind = None;
    }

    /// How many messages and bytes of a socket still fit. When its lane is full the answer is
    /// `None`, and `notice` is called once at least a quarter of it is free again; a socket that
    /// must not drop stops reading meanwhile.
    pub fn room_or(&self, socket: SocketId, notice: &RoomNotice) -> Option<MailboxLimits> {
        self.lock().lane(Some(socket), self.limits).room_or(notice)
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

    /// Figures of this moment, of all lanes together.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        let state = self.lock();
        LaneStats {
            depth: state.depth,
            high_mark: state.high_mark,
            bytes: state.lanes.iter().map(|lane| lane.stats().bytes).sum(),
            accepted: state.accepted,
            dropped: state.dropped,
        }
    }

    /// Figures of one socket's lane.
    #[must_use]
    pub fn lane_stats(&self, socket: SocketId) -> LaneStats {
        let state = self.lock();
        let lane = state.lanes.iter().find(|lane| lane.socket == Some(socket));
        lane.map(Lane::stats).unwrap_or_default()
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
