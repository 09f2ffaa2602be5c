//! One open socket as the bus thread has it: what it still has to send, and how it goes.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use plugin_api::abi::EnvelopeKind;
use plugin_api::zmq::SocketRole;

use super::frame::{FrameError, split, topic_hint};
use super::options::SocketOption;
use super::stats::{RateLimit, SocketRecord, add};
use super::transport::{PeerEvent, Received, Sent, Transport};
use crate::message::Envelope;
use crate::service::mailbox::{Mailbox, MailboxLimits, RoomNotice};

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

pub(super) struct Active {
    pub(super) record: Arc<SocketRecord>,
    pub(super) kind: EnvelopeKind,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) phase: Phase,
    /// Frames taken from the outbox and not sent yet.
    pub(super) collected: VecDeque<Bytes>,
    /// The transport had no room; nothing is sent until the socket is writable.
    pub(super) blocked: bool,
    pub(super) bad_frames: RateLimit,
    pub(super) drops: RateLimit,
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
        self.mailbox.room_or(self.record.id, notice).map(|room| MailboxLimits {
            messages: room.messages.min(turn.messages),
            bytes: room.bytes.min(turn.bytes),
        })
    }

    pub(super) fn flush(&mut self, transport: &mut dyn Transport) -> bool {
        if self.blocked {
            return false;
        }
        if self.collected.is_empty() {
            self.record.outbox.collect(&mut self.collected);
        }
        let (mut gone, mut bytes, mut sent, mut sent_bytes) = (0, 0, 0, 0);
        while gone < BATCH && bytes < BATCH_BYTES {
            let Some(frame) = self.collected.front() else { break };
            let size = frame.len();
            match transport.send(self.record.id, frame) {
                Sent::Full => {
                    self.blocked = true;
                    break;
                }
                Sent::Sent => {
                    sent += 1;
                    sent_bytes += size as u64;
                }
                Sent::Failed(reason) => self.note_failed_send(&reason, size),
            }
            self.collected.pop_front();
            gone += 1;
            bytes += size;
        }
        add(&self.record.counters.sent, sent);
        add(&self.record.counters.sent_bytes, sent_bytes);
        // Not only what was collected: the outbox may have got more since, and whoever put it there
        // woke this turn, not the next.
        let left = self.record.outbox.gone(gone, bytes);
        !self.blocked && left > 0
    }

    fn note_failed_send(&mut self, reason: &str, size: usize) {
        add(&self.record.counters.dropped_failed, 1);
        if let Some(held_back) = self.drops.allow(Instant::now()) {
            tracing::warn!(
                service = self.record.service,
                key = self.record.key,
                size,
                reason,
                held_back,
                "message dropped: the transport refused it"
            );
        }
    }

    fn note_bad_frame(&mut self, error: &FrameError, size: usize, head: &[u8]) {
        add(&self.record.counters.bad_frames, 1);
        if let Some(held_back) = self.bad_frames.allow(Instant::now()) {
            let topic = topic_hint(head);
            tracing::warn!(service = self.record.service, key = self.record.key, %error, size, topic, held_back, "bad frame ignored");
        }
    }

    pub(super) fn note(&mut self, event: PeerEvent) {
        let counters = &self.record.counters;
        let (service, key) = (&self.record.service, &self.record.key);
        let closing = !matches!(self.phase, Phase::Open);
        match event {
            PeerEvent::Connected { peer } => {
                add(&counters.connected, 1);
                tracing::debug!(service, key, peer, "connected");
            }
            PeerEvent::Lost { peer } => {
                add(&counters.lost, 1);
                if let Some(held_back) = self.peers.allow(Instant::now()).filter(|_| !closing) {
                    tracing::info!(service, key, peer, held_back, "connection lost");
                }
            }
            PeerEvent::Refused { peer, reason } => {
                add(&counters.refused, 1);
                if let Some(held_back) = self.peers.allow(Instant::now()) {
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

/// Takes one batch off a socket into its mailbox.
pub(super) fn receive(
    socket: &mut Active,
    transport: &mut dyn Transport,
    batch: &mut Vec<Envelope>,
    notice: &RoomNotice,
) {
    let Some(room) = socket.room(notice) else { return };
    let (id, role, kind) = (socket.record.id, socket.record.plan.role, socket.kind);
    let (mut count, mut bytes) = (0, 0);
    transport.receive(id, &mut |received| {
        count += 1;
        match received {
            Received::Multipart { parts, size, head } => {
                bytes += size;
                socket.note_bad_frame(&FrameError::Multipart { parts }, size, &head);
            }
            Received::Frame(frame) => {
                bytes += frame.len();
                match split(&frame, role) {
                    Err(error) => socket.note_bad_frame(&error, frame.len(), &frame),
                    Ok(parts) => batch.push(Envelope {
                        kind,
                        socket: Some(id),
                        topic_len: parts.topic_len,
                        payload_start: parts.payload_start,
                        bytes: frame,
                    }),
                }
            }
        }
        if count < room.messages && bytes < room.bytes {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    add(&socket.record.counters.received, count as u64);
    add(&socket.record.counters.received_bytes, bytes as u64);
    let dropped = socket.mailbox.push_batch(batch);
    if dropped > 0 {
        add(&socket.record.counters.dropped_mailbox_full, dropped);
        if let Some(held_back) = socket.drops.allow(Instant::now()) {
            let record = &socket.record;
            tracing::warn!(
                service = record.service,
                key = record.key,
                dropped,
                held_back,
                "messages dropped: the service does not keep up"
            );
        }
    }
}
