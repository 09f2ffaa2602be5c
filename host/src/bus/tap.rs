//! Listening to what passes the bus, for people who look for a mistake.
//!
//! As long as nobody listens this costs one relaxed load for each message, or for each batch that is
//! received. A listener gets copies, of at most [`MOST_PAYLOAD`] bytes each, through a queue that is
//! bounded by count and by bytes; what it has no room for is dropped and counted, and nobody waits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::stats::SocketRecord;

/// How many may listen at a time.
const MOST_LISTENERS: usize = 8;

/// How many messages wait for a listener.
const MOST_WAITING: usize = 1_000;

/// How many bytes of payload wait for a listener.
const MOST_BYTES: usize = 16 << 20;

/// How much of a payload a listener gets.
pub const MOST_PAYLOAD: usize = 64 << 10;

/// Which way a message goes, as the service sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The service sends it.
    Sent,
    /// It arrived for the service.
    Received,
}

/// A message that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Timestamp,
    /// Whose socket it passed.
    pub service: String,
    /// The configuration key of the socket.
    pub key: String,
    /// Which way.
    pub direction: Direction,
    /// Whether it came from a service of this host, without a wire.
    pub local: bool,
    /// Its topic; empty for tasks and results.
    pub topic: String,
    /// Bytes of its payload.
    pub size: usize,
    /// Its payload, or the beginning of a long one.
    pub payload: Bytes,
}

/// A message as a socket has it.
pub(super) struct Passing<'a> {
    pub(super) direction: Direction,
    pub(super) local: bool,
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// Those who listen.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// How many there are, so that whoever passes need not take the lock to find nobody.
    open: AtomicUsize,
    ears: Mutex<Vec<Ear>>,
}

/// One who listens, as seen by those who pass.
#[derive(Debug)]
struct Ear {
    topic: String,
    queue: mpsc::Sender<Heard>,
    load: Arc<Load>,
}

/// What both ends of a queue count.
#[derive(Debug, Default)]
struct Load {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// More listen already than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_LISTENERS} listeners are at work already")]
pub struct TooMany;

impl Taps {
    /// Whether anybody listens.
    pub(super) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Tells those who listen to messages of this topic.
    pub(super) fn note(&self, record: &SocketRecord, passing: &Passing<'_>) {
        let Passing { direction, local, topic, payload } = *passing;
        for ear in self.ears().iter().filter(|ear| topic.starts_with(ear.topic.as_bytes())) {
            ear.offer(|| Heard {
                at: Timestamp::now(),
                service: record.service.clone(),
                key: record.key.clone(),
                direction,
                local,
                topic: String::from_utf8_lossy(topic).into_owned(),
                size: payload.len(),
                payload: Bytes::copy_from_slice(&payload[..payload.len().min(MOST_PAYLOAD)]),
            });
        }
    }

    /// Begins to listen to what begins with `topic`.
    pub(super) fn listen(self: &Arc<Self>, topic: String) -> Result<Listening, TooMany> {
        let mut ears = self.ears();
        if ears.len() >= MOST_LISTENERS {
            return Err(TooMany);
        }
        let (queue, heard) = mpsc::channel(MOST_WAITING);
        let load = Arc::new(Load::default());
        ears.push(Ear { topic, queue, load: Arc::clone(&load) });
        self.open.store(ears.len(), Ordering::Relaxed);
        drop(ears);
        Ok(Listening { taps: Arc::clone(self), heard, load })
    }

    fn ears(&self) -> MutexGuard<'_, Vec<Ear>> {
        // Every change under the lock is one call that leaves the list whole.
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    fn offer(&self, heard: impl FnOnce() -> Heard) {
        let has_room = self.load.bytes.load(Ordering::Relaxed) < MOST_BYTES;
        let Some(room) = self.queue.try_reserve().ok().filter(|_| has_room) else {
            self.load.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let heard = heard();
        self.load.bytes.fetch_add(heard.payload.len(), Ordering::Relaxed);
        room.send(heard);
    }
}

/// The listener's end. Dropping it ends the listening.
#[derive(Debug)]
pub struct Listening {
    taps: Arc<Taps>,
    heard: mpsc::Receiver<Heard>,
    load: Arc<Load>,
}

impl Listening {
    /// The next message that passed. May be cancelled without losing one.
    pub async fn next(&mut self) -> Option<Heard> {
        let heard = self.heard.recv().await?;
        self.load.bytes.fetch_sub(heard.payload.len(), Ordering::Relaxed);
        Some(heard)
    }

    /// How many were dropped since this was asked last.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.load.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut ears = self.taps.ears();
        ears.retain(|ear| !Arc::ptr_eq(&ear.load, &self.load));
        self.taps.open.store(ears.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(size: usize) -> Heard {
        Heard {
            at: Timestamp::UNIX_EPOCH,
            service: "core".to_owned(),
            key: "zmq.publisher".to_owned(),
            direction: Direction::Sent,
            local: false,
            topic: "tick".to_owned(),
            size,
            payload: vec![b'1'; size].into(),
        }
    }

    #[test]
    fn nobody_is_told_when_nobody_listens_and_few_may() {
        let taps = Arc::new(Taps::default());
        assert!(!taps.are_open());
        let all: Vec<_> = (0..MOST_LISTENERS).map(|_| taps.listen(String::new())).collect();
        assert!(all.iter().all(Result::is_ok) && taps.are_open());
        assert_eq!(taps.listen(String::new()).err(), Some(TooMany));
        drop(all);
        assert!(!taps.are_open());
    }

    #[tokio::test]
    async fn what_a_slow_listener_has_no_room_for_is_dropped_and_counted() {
        let taps = Arc::new(Taps::default());
        let mut listening = taps.listen(String::new()).unwrap();
        for _ in 0..MOST_WAITING + 7 {
            taps.ears()[0].offer(|| heard(1));
        }
        assert_eq!((listening.dropped(), listening.dropped()), (7, 0));
        for _ in 0..MOST_WAITING {
            assert!(listening.next().await.is_some());
        }
        // By bytes it is full sooner; the last that is taken may go beyond.
        let most = MOST_BYTES / MOST_PAYLOAD;
        for _ in 0..most + 3 {
            taps.ears()[0].offer(|| heard(MOST_PAYLOAD));
        }
        assert_eq!(listening.dropped(), 3);
        assert!(listening.next().await.is_some());
        taps.ears()[0].offer(|| heard(MOST_PAYLOAD));
        assert_eq!(listening.dropped(), 0);
    }
}
