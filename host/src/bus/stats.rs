//! What is known of a socket from outside the bus thread: its outbox, its figures, its endpoint.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use plugin_api::stats::{Dropped, SocketStatistics};
use plugin_api::zmq::SocketRole;
use serde::Serialize;

use super::frame::{FrameError, topic_hint};
use super::routes::Publishing;
use super::tap::{Passing, Taps};
use super::transport::SocketPlan;
use crate::message::SocketId;
use crate::service::mailbox::Mailbox;

/// Figures of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SocketStats {
    /// Its number.
    pub id: i32,
    /// Whose it is.
    pub service: String,
    /// The configuration key it came from.
    pub key: String,
    /// What it does.
    pub role: SocketRole,
    /// Where, with the port it really has.
    pub endpoint: String,
    /// Whether it binds.
    pub bind: bool,
    /// Messages handed to the transport. What PUB drops for a slow subscriber, only that subscriber can see.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Messages received, good and bad, from this host or another.
    pub received: u64,
    /// Bytes of those.
    pub received_bytes: u64,
    /// Messages of several parts or not UTF-8.
    pub bad_frames: u64,
    /// Messages that went to a subscriber of this host, or came from a publisher of it, without ZeroMQ.
    /// A message to three subscribers counts three times.
    pub delivered_locally: u64,
    /// Numbered messages that others published and that did not arrive.
    pub missed: u64,
    /// Received, but the service's mailbox was full.
    pub dropped_mailbox_full: u64,
    /// Not taken for sending: the outbox was full.
    pub dropped_outbox_full: u64,
    /// Not taken for sending: larger than the maximum message size.
    pub dropped_too_large: u64,
    /// Taken, but the transport refused it.
    pub dropped_failed: u64,
    /// Taken, but not sent before the socket was closed.
    pub dropped_at_close: u64,
    /// Messages that wait to be sent.
    pub outbox_depth: usize,
    /// Most messages that ever waited to be sent.
    pub outbox_high_mark: usize,
    /// Received messages that wait for the service.
    pub lane_depth: usize,
    /// Most received messages that ever waited.
    pub lane_high_mark: usize,
    /// Sockets of this host that it is joined with, without a connection.
    pub joined: usize,
    /// Connections that stand now.
    pub connections: usize,
    /// Connections made since the socket was opened.
    pub connected: u64,
    /// Connections lost since.
    pub lost: u64,
    /// Connections lost and made anew since, if it is this socket that connects.
    pub reconnects: u64,
    /// Peers turned away since.
    pub refused: u64,
    /// Times that a connection was set up anew because the transport had given it up.
    pub healed: u64,
}

impl SocketStats {
    /// What was lost, by cause.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        Dropped {
            mailbox_full: self.dropped_mailbox_full,
            outbox_full: self.dropped_outbox_full,
            too_large: self.dropped_too_large,
            failed: self.dropped_failed,
            at_close: self.dropped_at_close,
        }
    }
}

/// As a plugin and `status` see them.
impl From<SocketStats> for SocketStatistics {
    fn from(stats: SocketStats) -> Self {
        Self {
            dropped: stats.dropped(),
            key: stats.key,
            endpoint: stats.endpoint,
            bind: stats.bind,
            sent: stats.sent,
            sent_bytes: stats.sent_bytes,
            received: stats.received,
            received_bytes: stats.received_bytes,
            bad_frames: stats.bad_frames,
            delivered_locally: stats.delivered_locally,
            missed: stats.missed,
            queue_depth: (stats.outbox_depth + stats.lane_depth) as u64,
            // A socket either sends or receives.
            queue_high_mark: stats.outbox_high_mark.max(stats.lane_high_mark) as u64,
            connections: stats.connections as u64,
            joined: stats.joined as u64,
            reconnects: stats.reconnects,
            refused: stats.refused,
        }
    }
}

/// Sums over the sockets of a service, also those that are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes received.
    pub received_bytes: u64,
    /// Messages of several parts or not UTF-8.
    pub bad_frames: u64,
    /// Messages to or from sockets of this host.
    pub delivered_locally: u64,
    /// Numbered messages that did not arrive.
    pub missed: u64,
    /// Connections made anew.
    pub reconnects: u64,
    /// What was lost.
    pub dropped: Dropped,
}

impl Totals {
    /// Adds the figures of a socket.
    pub(super) fn take_in(&mut self, stats: &SocketStats) {
        self.received_bytes += stats.received_bytes;
        self.bad_frames += stats.bad_frames;
        self.delivered_locally += stats.delivered_locally;
        self.missed += stats.missed;
        self.reconnects += stats.reconnects;
        self.dropped += stats.dropped();
    }
}

/// Counters of a socket; written by the bus thread, and by senders of this host.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) bad_frames: AtomicU64,
    pub(super) delivered_locally: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) joined: AtomicUsize,
    pub(super) dropped_mailbox_full: AtomicU64,
    pub(super) dropped_too_large: AtomicU64,
    pub(super) dropped_failed: AtomicU64,
    pub(super) dropped_at_close: AtomicU64,
    pub(super) connections: AtomicUsize,
    pub(super) connected: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) healed: AtomicU64,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// A socket as every thread may see it.
pub(super) struct SocketRecord {
    pub(super) id: SocketId,
    pub(super) service: String,
    pub(super) key: String,
    pub(super) plan: SocketPlan,
    pub(super) endpoint: OnceLock<String>,
    pub(super) outbox: Outbox,
    pub(super) counters: Counters,
    /// Where what it receives goes.
    pub(super) mailbox: Arc<Mailbox>,
    /// How it reaches subscribers, if it publishes.
    pub(super) publishing: Publishing,
    pub(super) lines: Lines,
    /// The transport has no room for what waits in the outbox.
    pub(super) stalled: AtomicBool,
    /// Set when its service is closed: it takes nothing more.
    pub(super) closing: AtomicBool,
    /// Those who listen to the whole bus.
    pub(super) taps: Arc<Taps>,
}

/// What may be logged of a socket just now, by the bus thread or by a sender of this host.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) bad_frames: Mutex<RateLimit>,
    pub(super) drops: Mutex<RateLimit>,
    pub(super) missed: Mutex<RateLimit>,
}

fn allow(limit: &Mutex<RateLimit>) -> Option<u64> {
    limit.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now())
}

impl SocketRecord {
    /// Whether somebody outside of this host is connected, as far as the bus thread has seen.
    pub(super) fn is_heard(&self) -> bool {
        self.counters.connections.load(Ordering::Relaxed) > 0
    }

    /// Tells those who listen, if any do, of a message that passes.
    pub(super) fn passes<'a>(&self, passing: impl FnOnce() -> Passing<'a>) {
        if self.taps.are_open() {
            self.taps.note(self, &passing());
        }
    }

    /// Counts a frame that cannot be read, and says so.
    pub(super) fn note_bad_frame(&self, error: &FrameError, size: usize, head: &[u8]) {
        add(&self.counters.bad_frames, 1);
        if let Some(held_back) = allow(&self.lines.bad_frames) {
            let topic = topic_hint(head);
            tracing::warn!(service = self.service, key = self.key, %error, size, topic, held_back, "bad frame ignored");
        }
    }

    /// Counts what the service's mailbox had no room for, and says so.
    pub(super) fn note_dropped(&self, dropped: u64) {
        add(&self.counters.dropped_mailbox_full, dropped);
        if let Some(held_back) = allow(&self.lines.drops) {
            let (service, key) = (&self.service, &self.key);
            tracing::warn!(
                service,
                key,
                dropped,
                held_back,
                "messages dropped: the service does not keep up"
            );
        }
    }

    /// Counts what others published and what did not arrive, and says so.
    pub(super) fn note_missed(&self, missed: u64) {
        add(&self.counters.missed, missed);
        if let Some(held_back) = allow(&self.lines.missed) {
            let (service, key) = (&self.service, &self.key);
            tracing::warn!(
                service,
                key,
                missed,
                held_back,
                "messages missed: they were dropped on the way"
            );
        }
    }

    /// Counts a message that the transport refused, and says so.
    pub(super) fn note_failed_send(&self, reason: &str, size: usize) {
        add(&self.counters.dropped_failed, 1);
        if let Some(held_back) = allow(&self.lines.drops) {
            let (service, key) = (&self.service, &self.key);
            tracing::warn!(
                service,
                key,
                size,
                reason,
                held_back,
                "message dropped: the transport refused it"
            );
        }
    }

    /// Counts what was not sent before the socket was closed, and says so.
    pub(super) fn note_unsent(&self, unsent: u64) {
        add(&self.counters.dropped_at_close, unsent);
        tracing::warn!(
            service = self.service,
            key = self.key,
            unsent,
            "messages were not sent before the socket was closed"
        );
    }

    pub(super) fn endpoint(&self) -> String {
        self.endpoint.get().cloned().unwrap_or_else(|| self.plan.endpoint.to_string())
    }

    pub(super) fn stats(&self) -> SocketStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let outbox = self.outbox.figures();
        let lane = self.mailbox.lane_stats(self.id);
        SocketStats {
            id: self.id.0,
            service: self.service.clone(),
            key: self.key.clone(),
            role: self.plan.role,
            endpoint: self.endpoint(),
            bind: self.plan.bind,
            sent: read(&counters.sent),
            sent_bytes: read(&counters.sent_bytes),
            received: read(&counters.received),
            received_bytes: read(&counters.received_bytes),
            bad_frames: read(&counters.bad_frames),
            delivered_locally: read(&counters.delivered_locally),
            missed: read(&counters.missed),
            dropped_mailbox_full: read(&counters.dropped_mailbox_full),
            dropped_outbox_full: outbox.dropped,
            dropped_too_large: read(&counters.dropped_too_large),
            dropped_failed: read(&counters.dropped_failed),
            dropped_at_close: read(&counters.dropped_at_close),
            outbox_depth: outbox.depth,
            outbox_high_mark: outbox.high_mark,
            lane_depth: lane.depth,
            lane_high_mark: lane.high_mark,
            joined: counters.joined.load(Ordering::Relaxed),
            connections: counters.connections.load(Ordering::Relaxed),
            connected: read(&counters.connected),
            lost: read(&counters.lost),
            reconnects: read(&counters.reconnects),
            refused: read(&counters.refused),
            healed: read(&counters.healed),
        }
    }
}

/// Frames that wait for the bus thread, bounded by count and by bytes. What the bus thread has
/// collected but not sent yet still counts.
pub(super) struct Outbox {
    state: Mutex<OutboxState>,
    messages: usize,
    bytes: usize,
}

/// What is called once when a full outbox takes messages again, or when it is closed. It runs on the
/// thread that made room, so it must be quick and must be host code.
pub(crate) type OutboxNotice = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct OutboxState {
    queue: VecDeque<Bytes>,
    depth: usize,
    bytes: usize,
    high_mark: usize,
    dropped: u64,
    closed: bool,
    wants_room: Option<OutboxNotice>,
}

/// Figures of an outbox.
pub(super) struct OutboxFigures {
    pub(super) depth: usize,
    pub(super) high_mark: usize,
    pub(super) dropped: u64,
}

/// What became of a frame that was offered to an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Queued,
    Full,
    Closed,
}

impl Outbox {
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        Self { state: Mutex::default(), messages, bytes }
    }

    /// Takes a frame unless it is full. Like a mailbox, it may go beyond its bytes by one frame.
    /// What it does not take is counted by who knows whether somebody misses it.
    pub(super) fn offer(&self, frame: Bytes) -> Offered {
        let mut state = self.lock();
        if state.closed {
            return Offered::Closed;
        }
        if state.depth >= self.messages || state.bytes >= self.bytes {
            return Offered::Full;
        }
        state.depth += 1;
        state.bytes += frame.len();
        state.high_mark = state.high_mark.max(state.depth);
        state.queue.push_back(frame);
        Offered::Queued
    }

    /// Counts a frame that it had no room for.
    pub(super) fn count_dropped(&self) {
        self.lock().dropped += 1;
    }

    /// Moves everything into an empty queue of the bus thread.
    pub(super) fn collect(&self, into: &mut VecDeque<Bytes>) {
        std::mem::swap(&mut self.lock().queue, into);
    }

    /// Says that collected frames are gone, and answers how many frames are left.
    pub(super) fn gone(&self, messages: usize, bytes: usize) -> usize {
        let mut state = self.lock();
        state.depth -= messages;
        state.bytes -= bytes;
        let left = state.depth;
        // A quarter free, so that one sender does not cause a wake-up a message.
        let room = left <= self.messages - self.messages.div_ceil(4) && state.bytes < self.bytes;
        let notice = state.wants_room.take_if(|_| room);
        drop(state);
        if let Some(notice) = notice {
            notice();
        }
        left
    }

    /// Whether a frame fits now; otherwise `notice` is called when one does, or at the close.
    pub(super) fn room_or(&self, notice: OutboxNotice) -> bool {
        let mut state = self.lock();
        let full = state.depth >= self.messages || state.bytes >= self.bytes;
        if !full || state.closed {
            return true;
        }
        // Whoever asks is of the one service that the socket belongs to, and one word wakes all of
        // its waiting tasks.
        state.wants_room = Some(notice);
        false
    }

    /// Takes nothing more from now on; what is in it stays.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let notice = state.wants_room.take();
        drop(state);
        if let Some(notice) = notice {
            notice();
        }
    }

    pub(super) fn figures(&self) -> OutboxFigures {
        let state = self.lock();
        OutboxFigures { depth: state.depth, high_mark: state.high_mark, dropped: state.dropped }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, OutboxState> {
        // No code of others runs under the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets a few log lines through in each window, and counts the others.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    since: Option<Instant>,
    passed: u32,
    held_back: u64,
}

impl RateLimit {
    const WINDOW: Duration = Duration::from_secs(10);
    const LINES: u32 = 5;

    /// Whether a line may be written now, and how many were held back before it.
    pub(super) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now >= since + Self::WINDOW) {
            self.since = Some(now);
            self.passed = 0;
        }
        if self.passed < Self::LINES {
            self.passed += 1;
            return Some(std::mem::take(&mut self.held_back));
        }
        self.held_back += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbox_counts_what_was_collected_until_it_is_gone() {
        let outbox = Outbox::new(2, 100);
        assert_eq!(outbox.offer(Bytes::from(vec![0; 10])), Offered::Queued);
        assert_eq!(outbox.offer(Bytes::from(vec![0; 10])), Offered::Queued);
        let mut collected = VecDeque::new();
        outbox.collect(&mut collected);
        assert_eq!(collected.len(), 2);
        assert_eq!(outbox.offer(Bytes::from(vec![0; 10])), Offered::Full);
        outbox.gone(1, 10);
        assert_eq!(
            outbox.offer(Bytes::from(vec![0; 200])),
            Offered::Queued,
            "one frame always fits"
        );
        outbox.gone(1, 10);
        assert_eq!(outbox.offer(Bytes::from(vec![0])), Offered::Full, "by bytes");
        outbox.close();
        assert_eq!(outbox.offer(Bytes::from(vec![0])), Offered::Closed);
        let figures = outbox.figures();
        assert_eq!((figures.depth, figures.high_mark, figures.dropped), (1, 2, 0));
        outbox.count_dropped();
        assert_eq!(outbox.figures().dropped, 1);
    }

    #[test]
    fn five_lines_a_window_then_a_count() {
        let mut limit = RateLimit::default();
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(limit.allow(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.allow(start), None);
        }
        assert_eq!(limit.allow(start + RateLimit::WINDOW), Some(7));
        assert_eq!(limit.allow(start + RateLimit::WINDOW), Some(0));
    }
}
