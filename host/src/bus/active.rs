//! One open socket as the bus thread has it: what it still has to send, and how it goes.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use plugin_api::abi::EnvelopeKind;
use plugin_api::zmq::SocketRole;

use super::frame::{FrameError, split};
use super::meeting::Place;
use super::numbers::Seen;
use super::options::SocketOption;
use super::stats::{RateLimit, SocketRecord, add};
use super::tap::{Direction, Passing};
use super::transport::{PeerEvent, Received, Sent, Transport};
use crate::message::{Envelope, SocketId};
use crate::service::mailbox::{MailboxLimits, RoomNotice};

/// Most messages that one socket sends or receives before the others have their turn.
pub(super) const BATCH: usize = 1000;
/// Most bytes of the same.
const BATCH_BYTES: usize = 16 << 20;

/// Where a socket is on its way out.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Open,
    /// Sends what its outbox holds, until then at the latest.
    Flushing(Instant),
    /// Waits until its endpoint is free, until then at the latest.
    Releasing(Instant),
}

/// A socket of the transport. Publishers that bind one endpoint share it.
pub(super) struct Wire {
    pub(super) id: SocketId,
    /// The sockets that use it.
    pub(super) users: Vec<i32>,
    /// The transport had no room; nothing is sent until it is writable.
    pub(super) blocked: bool,
    /// Its endpoint is being given up: nobody may join any more.
    pub(super) releasing: bool,
    /// Where it is, with the port it really has.
    pub(super) endpoint: String,
}

pub(super) struct Active {
    pub(super) record: Arc<SocketRecord>,
    pub(super) kind: EnvelopeKind,
    pub(super) phase: Phase,
    /// Where it is, for others of this host to meet it.
    pub(super) place: Place,
    /// What a SUB is subscribed to now.
    pub(super) topics: Vec<String>,
    /// The number of its wire; none when all that it has to do with is in this host.
    pub(super) wire: Option<i32>,
    /// Frames taken from the outbox and not sent yet.
    pub(super) collected: VecDeque<Bytes>,
    /// The numbers of what came by the wire.
    pub(super) seen: Seen,
    pub(super) peers: RateLimit,
}

impl Active {
    /// How long the socket may go on sending once it is closed. One that only receives has nothing
    /// to say but its subscriptions, for which a peer that never came is not waited.
    pub(super) fn linger(&self) -> Duration {
        if matches!(self.record.plan.role, SocketRole::Subscriber | SocketRole::Pull) {
            return Duration::ZERO;
        }
        let ms = self.record.plan.option(SocketOption::Linger).unwrap_or(0);
        Duration::from_millis(ms.unsigned_abs())
    }

    pub(super) fn begin_close(&mut self, until: Instant) {
        self.record.closing.store(true, Ordering::Release);
        self.record.outbox.close();
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Flushing(until);
        }
    }

    /// Room for what comes in. SUB always reads: what does not fit is dropped and counted, as a
    /// subscriber that falls behind expects. PULL stops reading, so that the tasks wait at the
    /// sender, under ZeroMQ's own flow control.
    pub(super) fn room(&self, notice: &RoomNotice) -> Option<MailboxLimits> {
        let turn = MailboxLimits { messages: BATCH, bytes: BATCH_BYTES };
        if self.record.plan.role != SocketRole::Pull {
            return Some(turn);
        }
        self.record.mailbox.room_or(self.record.id, notice).map(|room| MailboxLimits {
            messages: room.messages.min(turn.messages),
            bytes: room.bytes.min(turn.bytes),
        })
    }

    /// Whether it publishes or subscribes, so that others of this host can be joined with it.
    pub(super) fn is_broadcast(&self) -> bool {
        matches!(self.record.plan.role, SocketRole::Publisher | SocketRole::Subscriber)
    }

    /// Sends what the outbox holds; answers whether there is more to send at once.
    pub(super) fn flush(&mut self, wire: &mut Wire, transport: &mut dyn Transport) -> bool {
        if wire.blocked {
            self.record.stalled.store(true, Ordering::Relaxed);
            return false;
        }
        if self.collected.is_empty() {
            self.record.outbox.collect(&mut self.collected);
        }
        let (mut gone, mut bytes, mut sent, mut sent_bytes) = (0, 0, 0, 0);
        while gone < BATCH && bytes < BATCH_BYTES {
            let Some(frame) = self.collected.front() else { break };
            let size = frame.len();
            match transport.send(wire.id, frame) {
                Sent::Full => {
                    wire.blocked = true;
                    break;
                }
                Sent::Sent => {
                    sent += 1;
                    sent_bytes += size as u64;
                }
                Sent::Failed(reason) => self.record.note_failed_send(&reason, size),
            }
            self.collected.pop_front();
            gone += 1;
            bytes += size;
        }
        add(&self.record.counters.sent, sent);
        add(&self.record.counters.sent_bytes, sent_bytes);
        self.record.stalled.store(wire.blocked, Ordering::Relaxed);
        // Not only what was collected: the outbox may have got more since, and whoever put it there
        // woke this turn, not the next.
        let left = self.record.outbox.gone(gone, bytes);
        !wire.blocked && left > 0
    }

    /// Drops what was not sent; from here on the outbox is empty.
    pub(super) fn drop_unsent(&mut self) {
        let outbox = &self.record.outbox;
        let mut unsent = std::mem::take(&mut self.collected);
        let mut rest = VecDeque::new();
        outbox.collect(&mut rest);
        unsent.append(&mut rest);
        outbox.gone(unsent.len(), unsent.iter().map(Bytes::len).sum());
        if !unsent.is_empty() {
            self.record.note_unsent(unsent.len() as u64);
        }
    }

    /// Counts what happened to a connection. Of those who share a wire, one writes it to the log.
    pub(super) fn note(&mut self, event: &PeerEvent, logs: bool) {
        let counters = &self.record.counters;
        let (service, key) = (&self.record.service, &self.record.key);
        let closing = !matches!(self.phase, Phase::Open);
        let logs = |limit: &mut RateLimit| limit.allow(Instant::now()).filter(|_| logs);
        match event {
            PeerEvent::Connected { peer } => {
                add(&counters.connected, 1);
                let lost = counters.lost.load(Ordering::Relaxed) > 0;
                add(&counters.reconnects, u64::from(lost && !self.record.plan.bind));
                tracing::debug!(service, key, peer, "connected");
            }
            PeerEvent::Lost { peer } => {
                add(&counters.lost, 1);
                if let Some(held_back) = logs(&mut self.peers).filter(|_| !closing) {
                    tracing::info!(service, key, peer, held_back, "connection lost");
                }
            }
            PeerEvent::Refused { peer, reason } => {
                add(&counters.refused, 1);
                if let Some(held_back) = logs(&mut self.peers) {
                    tracing::warn!(service, key, peer, reason, held_back, "peer refused");
                }
            }
            PeerEvent::Healed { peer } => {
                add(&counters.healed, 1);
                tracing::info!(
                    service,
                    key,
                    peer,
                    "connection was given up by the transport, connecting anew"
                );
            }
            PeerEvent::Released => {
                if let Phase::Releasing(_) = self.phase {
                    self.phase = Phase::Releasing(Instant::now());
                }
            }
        }
    }
}

/// Takes one batch off a socket's wire into its mailbox; answers how many messages it was.
pub(super) fn receive(
    socket: &mut Active,
    wire: SocketId,
    transport: &mut dyn Transport,
    batch: &mut Vec<Envelope>,
    notice: &RoomNotice,
) -> usize {
    let Some(room) = socket.room(notice) else { return 0 };
    let record = &socket.record;
    let (id, role, kind) = (record.id, record.plan.role, socket.kind);
    let (mut count, mut bytes, mut missed) = (0, 0, 0);
    transport.receive(wire, &mut |received| {
        count += 1;
        match received {
            Received::Multipart { parts, size, head } => {
                bytes += size;
                record.note_bad_frame(&FrameError::Multipart { parts }, size, &head);
            }
            Received::Frame(frame) => {
                bytes += frame.len();
                match split(&frame, role) {
                    Err(error) => record.note_bad_frame(&error, frame.len(), &frame),
                    Ok(parts) => {
                        if role == SocketRole::Subscriber {
                            let (topic, payload) =
                                (&frame[..parts.topic_len], &frame[parts.payload_start..]);
                            missed += socket.seen.missing_before(topic, payload);
                        }
                        record.passes(|| Passing {
                            direction: Direction::Received,
                            local: false,
                            topic: frame.get(..parts.topic_len).unwrap_or_default(),
                            payload: frame.get(parts.payload_start..).unwrap_or_default(),
                        });
                        batch.push(Envelope {
                            kind,
                            socket: Some(id),
                            topic_len: parts.topic_len,
                            payload_start: parts.payload_start,
                            bytes: frame,
                        });
                    }
                }
            }
        }
        if count < room.messages && bytes < room.bytes {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    add(&record.counters.received, count as u64);
    add(&record.counters.received_bytes, bytes as u64);
    if missed > 0 {
        record.note_missed(missed);
    }
    let dropped = record.mailbox.push_batch(batch);
    if dropped > 0 {
        record.note_dropped(dropped);
    }
    count
}
