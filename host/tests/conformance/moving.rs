//! Messages of every kind, over every way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use exphost::bus::BusHandle;
use exphost::bus::transport::TransportKind;
use exphost::message::SocketId;
use exphost::service::mailbox::{Mailbox, MailboxLimits};
use plugin_api::abi::SendOutcome;
use plugin_api::zmq::{SocketRole, SocketSpec};

use crate::common::{
    LIMIT, LOCAL, free_port, mailbox, open, payload, port_of, receive_until, spec, stats_of, topic,
    until, wait_readable,
};
use crate::peers::{Peer, opposite};
use crate::{bus_on, config_on};

pub(crate) const ROLES: [SocketRole; 4] =
    [SocketRole::Publisher, SocketRole::Subscriber, SocketRole::Push, SocketRole::Pull];
/// More than any buffer of a socket.
const LARGE: usize = 5 << 20;

/// A socket of the host, and who is at its other end.
pub(crate) struct Pair<'a> {
    pub(crate) handle: &'a BusHandle,
    pub(crate) socket: SocketId,
    pub(crate) role: SocketRole,
    pub(crate) mailbox: &'a Mailbox,
}

/// What keeps a loop that tries again and again from going on for ever.
struct Deadline(Instant);

impl Deadline {
    fn new() -> Self {
        Self(Instant::now() + LIMIT)
    }

    fn check(&self) {
        assert!(Instant::now() < self.0, "nothing has arrived within {LIMIT:?}");
    }
}

impl Pair<'_> {
    /// Sends from the host, or to it, until something of it has arrived: from then on the
    /// connection stands, and the subscription with it.
    pub(crate) fn resume(&self, peer: &mut Peer) {
        let in_time = Deadline::new();
        match self.role {
            SocketRole::Publisher | SocketRole::Push => {
                while {
                    in_time.check();
                    let _ = self.handle.send(self.socket, "sync", b"{\"sync\":1}");
                    peer.receive_within(Duration::from_millis(10)).is_none()
                } {}
            }
            SocketRole::Subscriber | SocketRole::Pull => {
                let mut seen = false;
                while !seen {
                    in_time.check();
                    peer.send(self.on_the_wire("{\"sync\":1}"));
                    wait_readable(self.mailbox, Duration::from_millis(10));
                    self.mailbox.take(usize::MAX, &mut |_| seen = true);
                }
            }
        }
    }

    /// The same, and takes what else of it is on the way.
    pub(crate) fn sync(&self, peer: &mut Peer) {
        self.resume(peer);
        self.deliver(peer, "{\"synced\":1}");
    }

    /// Sends one message through the pair and waits for it, skipping what `sync` left.
    pub(crate) fn deliver(&self, peer: &mut Peer, text: &str) {
        match self.role {
            SocketRole::Publisher | SocketRole::Push => {
                let queued = self.handle.send(self.socket, "t", text.as_bytes());
                assert_eq!(queued, SendOutcome::Queued);
                let (expected, in_time) = (self.on_the_wire(text), Deadline::new());
                while peer.receive() != expected.as_bytes() {
                    in_time.check();
                }
            }
            SocketRole::Subscriber | SocketRole::Pull => {
                peer.send(self.on_the_wire(text));
                receive_until(self.mailbox, |envelope| {
                    assert_eq!(envelope.socket, Some(self.socket));
                    payload(&envelope) == text
                });
            }
        }
    }

    fn on_the_wire(&self, text: &str) -> String {
        match self.role {
            SocketRole::Publisher | SocketRole::Subscriber => format!("t {text}"),
            SocketRole::Push | SocketRole::Pull => text.to_owned(),
        }
    }
}

fn all_kinds_both_ways(kind: TransportKind, address: impl Fn(usize) -> (String, String)) {
    let large = format!("{{\"image\":\"{}\"}}", "x".repeat(LARGE));
    for (round, foreign) in TransportKind::ALL.into_iter().enumerate() {
        for (index, role) in ROLES.into_iter().enumerate() {
            for bind in [true, false] {
                let bus = bus_on(kind);
                let (handle, mailbox) = (bus.handle(), mailbox());
                let (ours, theirs) = address(round * 8 + index * 2 + usize::from(bind));
                let is_tcp = ours.starts_with("tcp");
                let mut wanted = SocketSpec { address: ours, ..spec(role, bind, 0) };
                let mut theirs = if is_tcp { format!("{theirs}:0") } else { theirs };
                let early = (!bind).then(|| Peer::open(foreign, opposite(role), true, &theirs));
                if let Some(peer) = early.as_ref().filter(|_| is_tcp) {
                    let port = peer.endpoint().rsplit(':').next().expect("a port");
                    wanted.port = port.parse().expect("a port");
                }
                let socket = open(&handle, "core", wanted, &mailbox);
                if bind && is_tcp {
                    theirs = format!("{LOCAL}:{}", port_of(&handle, socket));
                }
                let mut peer =
                    early.unwrap_or_else(|| Peer::open(foreign, opposite(role), false, &theirs));
                let pair = Pair { handle: &handle, socket, role, mailbox: &mailbox };
                pair.sync(&mut peer);
                pair.deliver(&mut peer, "{\"small\":\"ü\"}");
                pair.deliver(&mut peer, &large);
                let stats = stats_of(&handle, socket);
                assert_eq!(stats.connections, 1, "{stats:?}");
                bus.shutdown(LIMIT).expect("closed");
                peer.close();
            }
        }
    }
}

pub(crate) fn all_kinds_both_ways_over_tcp(kind: TransportKind) {
    all_kinds_both_ways(kind, |_| ("tcp://localhost".to_owned(), LOCAL.to_owned()));
}

pub(crate) fn all_kinds_both_ways_over_ipc(kind: TransportKind) {
    let directory = tempfile::tempdir().expect("a directory");
    all_kinds_both_ways(kind, |number| {
        let address = format!("ipc://{}/{number}.sock", directory.path().display());
        (address.clone(), address)
    });
}

pub(crate) fn connecting_before_the_peer_binds(kind: TransportKind) {
    let foreign = other(kind);
    for role in ROLES {
        let bus = bus_on(kind);
        let (handle, mailbox, port) = (bus.handle(), mailbox(), free_port());
        let socket = open(&handle, "core", spec(role, false, port), &mailbox);
        if role == SocketRole::Push {
            let early = handle.send(socket, "", b"{\"early\":1}");
            assert_eq!(early, SendOutcome::Queued);
        }
        let endpoint = format!("{LOCAL}:{port}");
        let mut peer = Peer::open(foreign, opposite(role), true, &endpoint);
        if role == SocketRole::Push {
            assert_eq!(peer.receive(), b"{\"early\":1}");
        }
        Pair { handle: &handle, socket, role, mailbox: &mailbox }.sync(&mut peer);
        bus.shutdown(LIMIT).expect("closed");
        peer.close();
    }
}

pub(crate) fn bad_frames_are_counted_and_the_next_good_one_arrives(kind: TransportKind) {
    for foreign in TransportKind::ALL {
        let bus = bus_on(kind);
        let (handle, mailbox) = (bus.handle(), mailbox());
        let socket = open(&handle, "core", spec(SocketRole::Subscriber, true, 0), &mailbox);
        let endpoint = format!("{LOCAL}:{}", port_of(&handle, socket));
        let mut peer = Peer::open(foreign, SocketRole::Publisher, false, &endpoint);
        let role = SocketRole::Subscriber;
        Pair { handle: &handle, socket, role, mailbox: &mailbox }.sync(&mut peer);
        peer.send_parts(["images", "{}", "third"].map(Vec::from).to_vec());
        peer.send(b"images \xff\xfe".to_vec());
        peer.send("good {}");
        receive_until(&mailbox, |envelope| {
            assert_eq!(topic(&envelope), "good");
            true
        });
        assert_eq!(stats_of(&handle, socket).bad_frames, 2);
        bus.shutdown(LIMIT).expect("closed");
        peer.close();
    }
}

pub(crate) fn a_changed_subscription_takes_effect(kind: TransportKind) {
    let bus = bus_on(kind);
    let (handle, mailbox, port) = (bus.handle(), mailbox(), free_port());
    let mut wanted = spec(SocketRole::Subscriber, false, port);
    wanted.topics = vec!["old".to_owned(), "both".to_owned()];
    let socket = open(&handle, "core", wanted, &mailbox);
    let endpoint = format!("{LOCAL}:{port}");
    let publish_until = |peer: &mut Peer, wanted: &str, topics: &[&str]| {
        let (mut seen, in_time) = (Vec::new(), Deadline::new());
        while !seen.iter().any(|topic| topic == wanted) {
            in_time.check();
            for topic in topics {
                peer.send(format!("{topic} {{}}"));
            }
            wait_readable(&mailbox, Duration::from_millis(10));
            mailbox.take(usize::MAX, &mut |envelope| seen.push(topic(&envelope).to_owned()));
        }
        seen
    };
    let mut peer = Peer::open(other(kind), SocketRole::Publisher, true, &endpoint);
    publish_until(&mut peer, "old", &["old"]);
    let topics = |topics: [&str; 2]| topics.map(str::to_owned);
    handle.resubscribe(socket, &topics(["old", "both"]), &topics(["new", "both"]));
    publish_until(&mut peer, "new", &["new"]);
    // The end of the old one was told after the new one: in order, so that `both` comes alone once
    // both have been heard of.
    until("the old subscription is gone", || {
        peer.send("old {}");
        peer.send("both {}");
        let mut seen = Vec::new();
        receive_until(&mailbox, |envelope| {
            seen.push(topic(&envelope).to_owned());
            topic(&envelope) == "both"
        });
        !seen.iter().any(|topic| topic == "old")
    });
    peer.close();
    // A publisher that comes later hears of what is wanted now, and of nothing else.
    let mut peer = Peer::open(other(kind), SocketRole::Publisher, true, &endpoint);
    let seen = publish_until(&mut peer, "new", &["old", "new"]);
    assert!(!seen.iter().any(|topic| topic == "old"), "{seen:?}");
    bus.shutdown(LIMIT).expect("closed");
    peer.close();
}

pub(crate) fn an_oversized_message_is_refused_and_the_others_are_served(kind: TransportKind) {
    let bus = exphost::bus::Bus::start(exphost::bus::BusConfig {
        max_message_size: 1 << 20,
        ..config_on(kind)
    })
    .expect("a bus");
    let (handle, mailbox) = (bus.handle(), mailbox());
    let role = SocketRole::Pull;
    let socket = open(&handle, "worker", spec(role, true, 0), &mailbox);
    let endpoint = format!("{LOCAL}:{}", port_of(&handle, socket));
    let mut good = Peer::open(other(kind), SocketRole::Push, false, &endpoint);
    let pair = Pair { handle: &handle, socket, role, mailbox: &mailbox };
    pair.sync(&mut good);
    let before = stats_of(&handle, socket);
    let mut bad = Peer::open(other(kind), SocketRole::Push, false, &endpoint);
    bad.send(vec![b'x'; (1 << 20) + 1]);
    // libzmq ends the connection, which may be told as lost.
    until("the message is refused", || {
        let now = stats_of(&handle, socket);
        now.refused > before.refused || now.lost > before.lost
    });
    pair.deliver(&mut good, "{\"after\":1}");
    assert_eq!(mailbox.stats().dropped, 0);
    assert_eq!(handle.send(socket, "", b"{}"), SendOutcome::NoSocket, "PULL does not send");
    bus.shutdown(LIMIT).expect("closed");
    bad.close();
    good.close();
}

pub(crate) fn a_full_pull_stops_reading_and_loses_nothing(kind: TransportKind) {
    const COUNT: usize = 20_000;
    let bus = bus_on(kind);
    let limits = MailboxLimits { messages: 10, bytes: usize::MAX };
    let (handle, mailbox) = (bus.handle(), Arc::new(Mailbox::new(limits).expect("a mailbox")));
    let socket = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &mailbox);
    let endpoint = format!("{LOCAL}:{}", port_of(&handle, socket));
    let foreign = other(kind);
    let sender = std::thread::spawn(move || {
        let mut peer = Peer::open(foreign, SocketRole::Push, false, &endpoint);
        for number in 0..COUNT {
            peer.send(format!("{{\"number\":{number},\"rest\":\"{}\"}}", "x".repeat(1000)));
        }
        peer
    });
    let mut next = 0;
    receive_until(&mailbox, |envelope| {
        if next == 0 {
            // Nobody has taken more than this one: what came in is what fits.
            assert!(stats_of(&handle, socket).received <= 11, "it read on");
        }
        assert!(payload(&envelope).starts_with(&format!("{{\"number\":{next},")));
        next += 1;
        next == COUNT
    });
    let peer = sender.join().expect("the sender");
    assert_eq!((mailbox.stats().dropped, mailbox.stats().accepted), (0, COUNT as u64));
    bus.shutdown(LIMIT).expect("closed");
    peer.close();
}

pub(crate) fn a_push_without_a_peer_waits_and_blocks_nobody(kind: TransportKind) {
    let bus = bus_on(kind);
    let (handle, mailbox) = (bus.handle(), mailbox());
    let lonely = [
        open(&handle, "lonely", spec(SocketRole::Push, true, 0), &mailbox),
        open(&handle, "lonely", spec(SocketRole::Push, false, free_port()), &mailbox),
    ];
    for socket in lonely {
        for _ in 0..100 {
            assert_eq!(handle.send(socket, "", b"{\"waits\":1}"), SendOutcome::Queued);
        }
    }
    let role = SocketRole::Push;
    let socket = open(&handle, "busy", spec(role, true, 0), &mailbox);
    let endpoint = |socket| format!("{LOCAL}:{}", port_of(&handle, socket));
    let mut peer = Peer::open(other(kind), SocketRole::Pull, false, &endpoint(socket));
    Pair { handle: &handle, socket, role, mailbox: &mailbox }.sync(&mut peer);
    // And when somebody comes, all of it is there.
    let mut late = Peer::open(other(kind), SocketRole::Pull, false, &endpoint(lonely[0]));
    for _ in 0..100 {
        assert_eq!(late.receive(), b"{\"waits\":1}");
    }
    let begin = Instant::now();
    bus.shutdown(LIMIT).expect("closed");
    assert!(begin.elapsed() < LIMIT / 3, "its linger of a second is over");
    peer.close();
    late.close();
}

/// In process and, over tcp, from the socket as well.
pub(crate) fn a_publisher_and_a_subscriber_of_one_host_meet(kind: TransportKind) {
    for address in ["inproc://meeting", "tcp://localhost"] {
        let bus = bus_on(kind);
        let (handle, mailbox, port) = (bus.handle(), mailbox(), free_port());
        let at = |role, bind| SocketSpec { address: address.to_owned(), ..spec(role, bind, port) };
        let publisher = open(&handle, "from", at(SocketRole::Publisher, true), &mailbox);
        open(&handle, "to", at(SocketRole::Subscriber, false), &mailbox);
        let mut peer = address.starts_with("tcp").then(|| {
            let endpoint = format!("{LOCAL}:{port}");
            let mut peer = Peer::open(other(kind), SocketRole::Subscriber, false, &endpoint);
            let role = SocketRole::Publisher;
            let pair = Pair { handle: &handle, socket: publisher, role, mailbox: &mailbox };
            pair.sync(&mut peer);
            peer
        });
        mailbox.take(usize::MAX, &mut |_| ());
        for number in 0..1000 {
            let payload = format!("{{\"number\":{number}}}");
            let queued = handle.send(publisher, "t", payload.as_bytes());
            assert_eq!(queued, SendOutcome::Queued);
        }
        let mut next = 0;
        receive_until(&mailbox, |envelope| {
            assert_eq!(payload(&envelope), format!("{{\"number\":{next}}}"));
            next += 1;
            next == 1000
        });
        if let Some(peer) = &mut peer {
            for number in 0..1000 {
                assert_eq!(peer.receive(), format!("t {{\"number\":{number}}}").as_bytes());
            }
        }
        bus.shutdown(LIMIT).expect("closed");
        peer.into_iter().for_each(Peer::close);
    }
}

/// The other implementation.
pub(crate) fn other(kind: TransportKind) -> TransportKind {
    match kind {
        TransportKind::Libzmq => TransportKind::Zeromq,
        TransportKind::Zeromq => TransportKind::Libzmq,
    }
}
