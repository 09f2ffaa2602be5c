//! The part of a mailbox that belongs to one socket.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use plugin_api::abi::EnvelopeKind;
use plugin_api::zmq::WhenFull;

use super::{LanePlan, LaneStats, MailboxLimits, RoomNotice};
use crate::message::{Envelope, SocketId};

/// A bounded queue of what came by one socket. Each envelope has the number of its arrival in the
/// mailbox, so that the lanes together keep the order.
pub(super) struct Lane {
    pub(super) socket: Option<SocketId>,
    plan: LanePlan,
    /// Whether its socket is open; the lane of another goes once it is empty.
    pub(super) open: bool,
    queue: VecDeque<(u64, Envelope)>,
    bytes: usize,
    high_mark: usize,
    accepted: u64,
    dropped: u64,
    wants_room: Option<RoomNotice>,
}

impl Lane {
    pub(super) fn new(socket: Option<SocketId>, limits: MailboxLimits) -> Self {
        let (kind, when_full) = (EnvelopeKind::Message, WhenFull::default());
        Self {
            socket,
            plan: LanePlan { kind, limits, when_full },
            open: false,
            queue: VecDeque::new(),
            bytes: 0,
            high_mark: 0,
            accepted: 0,
            dropped: 0,
            wants_room: None,
        }
    }

    pub(super) fn open(&mut self, plan: LanePlan) {
        self.plan = plan;
        self.open = true;
    }

    /// Takes an envelope in; whether it did, and how many older ones were dropped for it.
    pub(super) fn push(&mut self, arrival: u64, envelope: Envelope) -> (bool, u64) {
        let mut gone = 0;
        while self.is_full() {
            if self.plan.when_full == WhenFull::DropNewest || self.pop().is_none() {
                self.dropped += gone + 1;
                return (false, gone);
            }
            gone += 1;
        }
        self.bytes += envelope.bytes.len();
        self.accepted += 1;
        self.queue.push_back((arrival, envelope));
        self.high_mark = self.high_mark.max(self.queue.len());
        self.dropped += gone;
        (true, gone)
    }

    /// Puts back what was taken; it is the next to be taken again, whatever the limits say.
    pub(super) fn give_back(&mut self, topic: &str, payload: &[u8]) {
        let envelope = Envelope {
            kind: self.plan.kind,
            socket: self.socket,
            topic_len: topic.len(),
            payload_start: topic.len(),
            bytes: Bytes::from([topic.as_bytes(), payload].concat()),
        };
        self.bytes += envelope.bytes.len();
        self.queue.push_front((0, envelope));
        self.high_mark = self.high_mark.max(self.queue.len());
    }

    /// The arrival of the oldest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.queue.front().map(|(arrival, _)| *arrival)
    }

    pub(super) fn pop(&mut self) -> Option<Envelope> {
        let (_, envelope) = self.queue.pop_front()?;
        self.bytes -= envelope.bytes.len();
        Some(envelope)
    }

    /// The notice of a socket that waits for room, once a quarter is free: a slow reader shall not
    /// cause a wake-up a message.
    pub(super) fn notice_of_room(&mut self) -> Option<RoomNotice> {
        self.wants_room.as_ref()?;
        let mark = |limit: usize| limit - limit.div_ceil(4);
        let room = self.queue.len() <= mark(self.plan.limits.messages)
            && self.bytes <= mark(self.plan.limits.bytes);
        self.wants_room.take_if(|_| room)
    }

    pub(super) fn room_or(&mut self, notice: &RoomNotice) -> Option<MailboxLimits> {
        if self.is_full() {
            self.wants_room = Some(Arc::clone(notice));
            return None;
        }
        Some(MailboxLimits {
            messages: self.plan.limits.messages - self.queue.len(),
            bytes: self.plan.limits.bytes - self.bytes,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        !self.open && self.queue.is_empty()
    }

    pub(super) fn stats(&self) -> LaneStats {
        LaneStats {
            depth: self.queue.len(),
            high_mark: self.high_mark,
            bytes: self.bytes,
            accepted: self.accepted,
            dropped: self.dropped,
        }
    }

    fn is_full(&self) -> bool {
        let limits = &self.plan.limits;
        self.queue.len() >= limits.messages || self.bytes >= limits.bytes
    }
}
