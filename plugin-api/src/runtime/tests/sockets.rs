//! The sockets of the made-up host. Time is paused in the tests that need it: it passes when everybody
//! waits.

use std::collections::BTreeMap;

use super::*;
use crate::abi::{Counter, HostBytes, RawEnvelope, SendOutcome, idle_host, with_mailbox};
use crate::zmq::SocketSpec;

/// What the host has of sockets, and what it counts.
#[derive(Default)]
pub(super) struct Sockets {
    opened: Vec<String>,
    /// Whether the queue of a socket that sends is full.
    pub(super) full: bool,
    /// Whether somebody waits for room.
    pub(super) asked: bool,
    counted: BTreeMap<u8, u64>,
}

thread_local! {
    static SOCKETS: RefCell<Sockets> = RefCell::default();
}

pub(super) fn with_sockets<T>(f: impl FnOnce(&mut Sockets) -> T) -> T {
    SOCKETS.with_borrow_mut(f)
}

pub(super) fn table() -> HostVtable {
    HostVtable {
        open_socket,
        send,
        count,
        record_health_check,
        await_room,
        give_back,
        ..idle_host()
    }
}

extern "C" fn open_socket(_: *const (), spec: RSlice<'_, u8>, _: ByteSink) -> i32 {
    let spec: SocketSpec = serde_json::from_slice(spec.as_slice()).expect("a specification");
    with_sockets(|sockets| {
        sockets.opened.push(spec.key);
        i32::try_from(sockets.opened.len()).expect("a few") - 1
    })
}

fn key(socket: i32) -> String {
    with_sockets(|sockets| sockets.opened[usize::try_from(socket).expect("a number")].clone())
}

extern "C" fn send(_: *const (), socket: i32, topic: RStr<'_>, payload: RSlice<'_, u8>) -> u8 {
    if with_sockets(|sockets| sockets.full) {
        return SendOutcome::Full.code();
    }
    let payload = String::from_utf8_lossy(payload.as_slice());
    note(format!("sent by {}: {topic} {payload}", key(socket)));
    SendOutcome::Queued.code()
}

extern "C" fn count(_: *const (), counter: u8, amount: u64) {
    with_sockets(|sockets| *sockets.counted.entry(counter).or_default() += amount);
}

extern "C" fn record_health_check(
    _: *const (),
    name: RStr<'_>,
    status: u8,
    message: RStr<'_>,
    _: RSlice<'_, u8>,
) {
    let status = HealthStatus::from_code(status).expect("a status");
    note(format!("{name} is {status:?}: {message}"));
}

extern "C" fn await_room(_: *const (), _: i32) -> bool {
    with_sockets(|sockets| {
        sockets.asked |= sockets.full;
        !sockets.full
    })
}

extern "C" fn give_back(_: *const (), socket: i32, _: RStr<'_>, payload: RSlice<'_, u8>) -> bool {
    let envelope = envelope(EnvelopeKind::Task.code(), socket, "", payload.as_slice());
    with_mailbox(|mailbox| mailbox.push_front(envelope));
    true
}

pub(super) fn envelope(kind: u8, socket: i32, topic: &str, payload: &[u8]) -> RawEnvelope {
    let frame = [topic.as_bytes(), payload].concat();
    let bytes = HostBytes::of_static(Vec::leak(frame));
    RawEnvelope { kind, socket, topic_len: topic.len(), payload_start: topic.len(), bytes }
}

pub(super) fn deliver(kind: EnvelopeKind, socket: i32, topic: &str, payload: &str) {
    let envelope = envelope(kind.code(), socket, topic, payload.as_bytes());
    with_mailbox(|mailbox| mailbox.push_back(envelope));
}

/// The payloads that wait in the host.
pub(super) fn left_in_host() -> Vec<String> {
    let payload = |envelope: &RawEnvelope| {
        String::from_utf8_lossy(&envelope.bytes.as_slice()[envelope.payload_start..]).into_owned()
    };
    with_mailbox(|mailbox| mailbox.iter().map(payload).collect())
}

pub(super) fn counted(counter: Counter) -> u64 {
    with_sockets(|sockets| sockets.counted.get(&counter.code()).copied().unwrap_or(0))
}

/// Lives one life; how it ended, and what the host heard.
pub(super) fn lived<S: Service<Config = Config>>(
    set_up: impl FnOnce(),
) -> (RunOutcome, Vec<String>) {
    with_sockets(|sockets| *sockets = Sockets::default());
    with_mailbox(VecDeque::clear);
    set_up();
    life_of::<S>(Config::default(), Duration::from_secs(60), |_| {})
}

/// Has the host say something, and waits until the service has heard it.
pub(super) async fn told(word: u8) {
    say(&[word]);
    heard().await;
}

pub(super) async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
