//! What a publishing socket shares with the threads that send by it: who of this host subscribes,
//! whether ZeroMQ is to hear of it too, and the numbers.
//!
//! All of it is under one lock a socket, which is held while a message is put into the outbox and
//! into the mailboxes. So the order is the same for everybody, and when the bus thread changes the
//! routes, each message went wholly by the old ones or goes wholly by the new ones: never twice, and
//! never not at all. What is locked inside (mailbox, outbox) calls nobody under its lock, so there
//! is no way back to this one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use plugin_api::abi::{EnvelopeKind, SendOutcome};
use plugin_api::zmq::SocketRole;

use super::frame;
use super::numbers::Numbers;
use super::stats::{Offered, SocketRecord, add};
use super::tap::{Direction, Passing};
use crate::message::Envelope;

/// A subscriber of this host, as a publisher reaches it.
pub(super) struct Route {
    pub(super) subscriber: Arc<SocketRecord>,
    pub(super) kind: EnvelopeKind,
    /// A frame that begins with one of them is for it, as ZeroMQ sees it.
    pub(super) topics: Vec<String>,
}

impl Route {
    fn takes(&self, frame: &[u8]) -> bool {
        self.topics.iter().any(|topic| frame.starts_with(topic.as_bytes()))
    }
}

/// The part of a socket's record that publishing needs.
#[derive(Default)]
pub(super) struct Publishing(Mutex<State>);

#[derive(Default)]
struct State {
    /// Whether there is a ZeroMQ socket: somebody outside of this host may listen.
    wired: bool,
    routes: Vec<Route>,
    numbers: Option<Numbers>,
}

impl State {
    fn reaches(&self, frame: &[u8]) -> bool {
        self.routes.iter().any(|route| route.takes(frame))
    }
}

/// A route that had no room, and for how many messages.
type Drops = Vec<(Arc<SocketRecord>, u64)>;

impl Publishing {
    /// With numbers in the messages, when there is a run.
    pub(super) fn new(run: Option<u32>) -> Self {
        Self(Mutex::new(State { numbers: run.map(Numbers::new), ..State::default() }))
    }

    pub(super) fn set_wired(&self, wired: bool) {
        self.lock().wired = wired;
    }

    pub(super) fn set_routes(&self, routes: Vec<Route>) {
        // The old ones are dropped after the lock is released.
        let _old = std::mem::replace(&mut self.lock().routes, routes);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is one assignment, so a poisoned state is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes a message of at most `most` bytes; the answer says too whether the bus thread has work.
/// It is taken by all who are to get it, or by nobody: a sender who is told "full" may try again.
/// Only when the transport itself has no room, because somebody outside does not read, it is dropped
/// for those outside and the host's own get it. Where nobody outside is connected, nobody misses what
/// the outbox has no room for: it is not the pace of the bus thread that the host's own are held to.
///
/// The outbox gets it also when nobody outside is connected, and the bus thread is woken, after the
/// listeners: a peer that has just connected is known of only when the bus thread has looked, and
/// libzmq learns of a subscription when something is sent. A sender that decided by the count of
/// connections could withhold what the peer was subscribed to already.
pub(super) fn publish(
    record: &SocketRecord,
    topic: &str,
    payload: &[u8],
    most: usize,
) -> (SendOutcome, bool) {
    let mut guard = record.publishing.lock();
    let state = &mut *guard;
    let head = state.numbers.as_ref().and_then(|numbers| numbers.next(topic, payload));
    let length = frame::joined_len(SocketRole::Publisher, topic, payload);
    if length + head.as_ref().map_or(0, |head| head.len()) > most {
        add(&record.counters.dropped_too_large, 1);
        return (SendOutcome::TooLarge, false);
    }
    let wired = state.wired;
    if !wired && state.routes.is_empty() && head.is_none() {
        record.passes(|| sent(topic, payload));
        return (SendOutcome::Queued, false);
    }
    let frame = match &head {
        None => frame::join(SocketRole::Publisher, topic, payload),
        Some(head) => frame::join_parts(topic, &head.parts(payload)),
    };
    if wired {
        match record.outbox.offer(frame.clone()) {
            Offered::Queued => {}
            Offered::Full if !record.is_heard() => {}
            Offered::Full => {
                record.outbox.count_dropped();
                if !record.stalled.load(Ordering::Relaxed) || !state.reaches(&frame) {
                    return (SendOutcome::Full, false);
                }
            }
            Offered::Closed => return (SendOutcome::NoSocket, false),
        }
    }
    let unnumbered = match &mut state.numbers {
        Some(numbers) if head.is_some() => {
            numbers.used(topic);
            false
        }
        Some(numbers) => numbers.warns_of(topic),
        None => false,
    };
    // With the number that it may carry, and before those who get it are told of.
    record.passes(|| sent(topic, frame.get(topic.len() + 1..).unwrap_or_default()));
    let drops = deliver(record, &state.routes, &frame);
    drop(guard);
    // The log may be slow, so it is written without the lock.
    for (subscriber, dropped) in drops {
        subscriber.note_dropped(dropped);
    }
    if unnumbered {
        tracing::warn!(
            service = record.service,
            key = record.key,
            topic,
            "too many topics to number: messages of further ones go without"
        );
    }
    (SendOutcome::Queued, wired)
}

fn sent<'a>(topic: &'a str, payload: &'a [u8]) -> Passing<'a> {
    Passing { direction: Direction::Sent, local: false, topic: topic.as_bytes(), payload }
}

fn deliver(record: &SocketRecord, routes: &[Route], frame: &Bytes) -> Drops {
    let mut drops = Drops::new();
    let mut parts = None;
    for route in routes.iter().filter(|route| route.takes(frame)) {
        let subscriber = &route.subscriber;
        add(&subscriber.counters.received, 1);
        add(&subscriber.counters.received_bytes, frame.len() as u64);
        // As what comes by the wire is looked at: once for all of them.
        let found = parts.get_or_insert_with(|| frame::split(frame, SocketRole::Subscriber));
        match found {
            Err(error) => subscriber.note_bad_frame(error, frame.len(), frame),
            Ok(parts) => {
                add(&record.counters.delivered_locally, 1);
                add(&subscriber.counters.delivered_locally, 1);
                subscriber.passes(|| Passing {
                    direction: Direction::Received,
                    local: true,
                    topic: frame.get(..parts.topic_len).unwrap_or_default(),
                    payload: frame.get(parts.payload_start..).unwrap_or_default(),
                });
                let dropped = subscriber.mailbox.push(Envelope {
                    kind: route.kind,
                    socket: Some(subscriber.id),
                    topic_len: parts.topic_len,
                    payload_start: parts.payload_start,
                    bytes: frame.clone(),
                });
                if dropped > 0 {
                    drops.push((Arc::clone(subscriber), dropped));
                }
            }
        }
    }
    drops
}
