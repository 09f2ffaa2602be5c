//! What libzmq does and the transport `zeromq` is known not to, each with the way in which it
//! does not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use exphost::bus::transport::TransportKind;
use exphost::bus::{Bus, BusConfig, BusHandle, SocketStats};
use exphost::message::SocketId;
use exphost::service::mailbox::Mailbox;
use plugin_api::abi::SendOutcome;
use plugin_api::zmq::{SocketRole, SocketSpec};

use crate::bus_on;
use crate::common::{
    LIMIT, free_port, mailbox, open, port_of, receive_until, spec, stats_of, until, wait_readable,
};
use crate::config_on;
use crate::moving::{Pair, other};
use crate::peers::Peer;

/// What shows a limit; `None` where that would end the process.
pub(crate) fn shows(name: &str) -> Option<fn(TransportKind)> {
    match name {
        "a_heartbeat_is_answered" => Some(a_heartbeat_ends_the_connection),
        "a_stalled_subscriber_costs_nobody_else" => Some(a_stalled_subscriber_fills_the_outbox),
        "a_push_that_lost_its_peer_knows" => Some(a_push_notices_when_it_sends),
        "push_and_pull_meet_in_process" => Some(inproc_is_refused),
        "an_abstract_ipc_name_is_an_address" => Some(abstract_names_are_refused),
        "every_interface_can_be_bound" => Some(binding_wide_must_be_insisted_on),
        _ => None,
    }
}

/// A socket of a role that is bound on this machine, and where it is.
struct Bound {
    handle: BusHandle,
    mailbox: Arc<Mailbox>,
    socket: SocketId,
    role: SocketRole,
    /// Without `tcp://`.
    address: String,
}

impl Bound {
    fn on(bus: &Bus, role: SocketRole) -> Self {
        Self::of(bus, spec(role, true, 0))
    }

    fn of(bus: &Bus, wanted: SocketSpec) -> Self {
        let (handle, mailbox, role) = (bus.handle(), mailbox(), wanted.role);
        let socket = open(&handle, "core", wanted, &mailbox);
        let address = format!("127.0.0.1:{}", port_of(&handle, socket));
        Self { handle, mailbox, socket, role, address }
    }

    fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }

    fn pair(&self) -> Pair<'_> {
        let Self { handle, mailbox, socket, role, .. } = self;
        Pair { handle, socket: *socket, role: *role, mailbox }
    }

    /// A peer of the other implementation, which hears or is heard.
    fn peer(&self, kind: TransportKind, role: SocketRole) -> Peer {
        let mut peer = self.new_peer(kind, role);
        self.pair().sync(&mut peer);
        peer
    }

    fn new_peer(&self, kind: TransportKind, role: SocketRole) -> Peer {
        Peer::open(other(kind), role, false, &self.endpoint())
    }

    fn stats(&self) -> SocketStats {
        stats_of(&self.handle, self.socket)
    }
}

/// The beginning of a connection by ZMTP 3.0, without security.
fn greeting() -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    greeting
}

/// A peer that sends heartbeats.
fn beating(endpoint: &str) -> Peer {
    Peer::open_with(TransportKind::Libzmq, SocketRole::Push, false, endpoint, |socket| {
        socket.set_heartbeat_ivl(20).expect("an option");
        socket.set_heartbeat_timeout(200).expect("an option");
    })
}

pub(crate) fn a_heartbeat_is_answered(kind: TransportKind) {
    let bus = bus_on(kind);
    let bound = Bound::on(&bus, SocketRole::Pull);
    let (mut peer, pair) = (beating(&bound.endpoint()), bound.pair());
    pair.sync(&mut peer);
    // Twice as long as the peer waits for an answer; nothing else can tell that it had one.
    assert!(!wait_readable(&bound.mailbox, Duration::from_millis(400)));
    pair.deliver(&mut peer, "{\"after\":1}");
    let stats = bound.stats();
    assert_eq!((stats.connected, stats.lost), (1, 0), "{stats:?}");
    bus.shutdown(LIMIT).expect("closed");
}

fn a_heartbeat_ends_the_connection(kind: TransportKind) {
    let bus = bus_on(kind);
    let bound = Bound::on(&bus, SocketRole::Pull);
    let mut peer = beating(&bound.endpoint());
    until("the peer is turned away", || bound.stats().lost >= 1);
    // It comes back, so that its tasks still arrive.
    peer.send("{\"task\":1}");
    receive_until(&bound.mailbox, |_| true);
    bus.shutdown(LIMIT).expect("closed");
}

pub(crate) fn hostile_bytes_harm_nobody(kind: TransportKind) {
    let bus = bus_on(kind);
    let bound = Bound::on(&bus, SocketRole::Pull);
    let (mut peer, pair) = (bound.peer(kind, SocketRole::Push), bound.pair());
    let greeting = greeting();
    let announcing = |flags: u8, length: u64| {
        let mut bytes = greeting.clone();
        bytes.push(flags);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes
    };
    let mut attacks = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello".to_vec(),
        greeting[..10].to_vec(),
        greeting.clone(),
    ];
    for length in [1_u64 << 62, 1 << 40, u64::MAX, 1 << 31] {
        // A message and a command.
        attacks.extend([announcing(2, length), announcing(6, length)]);
    }
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    attacks.extend((0..300).map(|_| {
        let next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        };
        std::iter::repeat_with(next).take(20).flatten().collect()
    }));
    let mut open_ones = Vec::new();
    for attack in &attacks {
        let mut stream = TcpStream::connect(&bound.address).expect("connected");
        // It may be cut off while it still writes.
        let _ = stream.write_all(attack);
        open_ones.push(stream);
    }
    pair.deliver(&mut peer, "{\"among_them\":1}");
    for mut stream in open_ones {
        stream.shutdown(std::net::Shutdown::Write).ok();
        stream.read_to_end(&mut Vec::new()).ok();
    }
    pair.deliver(&mut peer, "{\"after_them\":1}");
    let stats = bound.stats();
    assert!(stats.refused >= 100, "{stats:?}");
    assert_eq!(bound.mailbox.stats().dropped, 0);
    bus.shutdown(LIMIT).expect("closed");
    peer.close();
}

/// A subscriber of the wire that has subscribed to everything, and reads nothing more.
fn stalled(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(&greeting()).expect("written");
    stream.write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB").expect("written");
    // Its greeting and its READY, which has at least the type of the socket.
    stream.read_exact(&mut [0; 64]).expect("a greeting");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a READY");
    stream.read_exact(&mut vec![0; usize::from(head[1])]).expect("a READY");
    stream.write_all(&[0, 1, 1]).expect("subscribed");
    stream
}

const FEW: u32 = 100;
const ROUNDS: usize = 2_000;

fn publisher_with_little_room(kind: TransportKind) -> Bus {
    let config = BusConfig {
        high_water_mark: FEW,
        outbox_messages: FEW as usize,
        linger: Duration::ZERO,
        ..config_on(kind)
    };
    Bus::start(config).expect("a bus")
}

pub(crate) fn a_stalled_subscriber_costs_nobody_else(kind: TransportKind) {
    let bus = publisher_with_little_room(kind);
    let bound = Bound::on(&bus, SocketRole::Publisher);
    let _stalled = stalled(&bound.address);
    let (mut healthy, pair) = (bound.peer(kind, SocketRole::Subscriber), bound.pair());
    let large = "x".repeat(50_000);
    for number in 0..ROUNDS {
        pair.deliver(&mut healthy, &format!("{{\"number\":{number},\"rest\":\"{large}\"}}"));
    }
    assert_eq!(bound.stats().dropped_outbox_full, 0);
    bus.shutdown(LIMIT).expect("closed");
    healthy.close();
}

fn a_stalled_subscriber_fills_the_outbox(kind: TransportKind) {
    let bus = publisher_with_little_room(kind);
    let bound = Bound::on(&bus, SocketRole::Publisher);
    let stalled = stalled(&bound.address);
    let mut healthy = bound.peer(kind, SocketRole::Subscriber);
    let payload = format!("{{\"rest\":\"{}\"}}", "x".repeat(50_000));
    let publish = |payload: &str| bound.handle.send(bound.socket, "t", payload.as_bytes());
    until("nothing more is taken", || {
        publish(&payload) == SendOutcome::Full && bound.stats().dropped_outbox_full > u64::from(FEW)
    });
    // Bounded, and over as soon as the other one is gone.
    drop(stalled);
    until("the healthy one is served again", || {
        while healthy.receive_within(Duration::from_millis(1)).is_some() {}
        publish("{}") == SendOutcome::Queued
    });
    bound.pair().sync(&mut healthy);
    bus.shutdown(LIMIT).expect("closed");
    healthy.close();
}

pub(crate) fn a_push_that_lost_its_peer_knows(kind: TransportKind) {
    let bus = bus_on(kind);
    let bound = Bound::on(&bus, SocketRole::Push);
    bound.peer(kind, SocketRole::Pull).close();
    until("the peer is missed", || bound.stats().connections == 0);
    // Its queue may outlive the connection by a moment, so that the very next task could be lost.
    let mut peer = bound.new_peer(kind, SocketRole::Pull);
    bound.pair().resume(&mut peer);
    bus.shutdown(LIMIT).expect("closed");
    peer.close();
}

fn a_push_notices_when_it_sends(kind: TransportKind) {
    let bus = bus_on(kind);
    let bound = Bound::on(&bus, SocketRole::Push);
    bound.peer(kind, SocketRole::Pull).close();
    assert_eq!(bound.stats().connections, 1, "nobody has told it");
    let mut lost = 0;
    until("the peer is missed", || {
        let sent = bound.handle.send(bound.socket, "", b"{\"lost\":1}");
        assert_eq!(sent, SendOutcome::Queued);
        lost += 1;
        bound.stats().connections == 0
    });
    assert!(lost >= 1);
    bus.shutdown(LIMIT).expect("closed");
}

/// A PUSH and a PULL of this host at one address.
fn meet_at(kind: TransportKind, address: &str) {
    let bus = bus_on(kind);
    let (handle, mailbox) = (bus.handle(), mailbox());
    let at =
        |role, bind| SocketSpec { address: address.to_owned(), ..spec(role, bind, free_port()) };
    open(&handle, "worker", at(SocketRole::Pull, true), &mailbox);
    let push = open(&handle, "core", at(SocketRole::Push, false), &mailbox);
    assert_eq!(handle.send(push, "", b"{\"task\":1}"), SendOutcome::Queued);
    receive_until(&mailbox, |_| true);
    bus.shutdown(LIMIT).expect("closed");
}

pub(crate) fn push_and_pull_meet_in_process(kind: TransportKind) {
    meet_at(kind, "inproc://meeting");
}

/// What the bus says to a socket that it does not open.
fn refusal(config: BusConfig, address: &str) -> String {
    let bus = Bus::start(config).expect("a bus");
    let wanted =
        SocketSpec { address: address.to_owned(), ..spec(SocketRole::Pull, true, free_port()) };
    let error = bus.handle().open("worker", wanted, mailbox()).expect_err("refused");
    bus.shutdown(LIMIT).expect("closed");
    error.to_string()
}

fn inproc_is_refused(kind: TransportKind) {
    let error = refusal(config_on(kind), "inproc://meeting");
    assert!(error.contains("no inproc for PUSH and PULL"), "{error}");
}

pub(crate) fn an_abstract_ipc_name_is_an_address(kind: TransportKind) {
    meet_at(kind, &format!("ipc://@exphost-conformance-{}", std::process::id()));
}

fn abstract_names_are_refused(kind: TransportKind) {
    let error = refusal(config_on(kind), "ipc://@exphost-conformance");
    assert!(error.contains("no abstract ipc names"), "{error}");
}

pub(crate) fn every_interface_can_be_bound(kind: TransportKind) {
    let bus = bus_on(kind);
    bound_everywhere(&bus, kind);
    bus.shutdown(LIMIT).expect("closed");
}

fn binding_wide_must_be_insisted_on(kind: TransportKind) {
    let error = refusal(config_on(kind), "tcp://*");
    assert!(error.contains("aborts the process, which cannot be caught"), "{error}");
    assert!(error.contains("zeromq_beyond_loopback = true"), "{error}");
    let config = BusConfig { zeromq_beyond_loopback: true, ..config_on(kind) };
    let bus = Bus::start(config).expect("a bus");
    bound_everywhere(&bus, kind);
    bus.shutdown(LIMIT).expect("closed");
}

fn bound_everywhere(bus: &Bus, kind: TransportKind) {
    let wanted = spec(SocketRole::Pull, true, 0);
    let bound = Bound::of(bus, SocketSpec { address: "tcp://*".to_owned(), ..wanted });
    bound.peer(kind, SocketRole::Push).close();
}
