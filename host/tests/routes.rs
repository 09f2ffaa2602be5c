//! Publishers and subscribers of one host: joined without ZeroMQ, exactly once and in order, while
//! peers outside, here of plain libzmq, get theirs from the socket.
//!
//! No test sleeps: what is sent locally is there when `send` returns, and every wait for a peer is
//! for an event, bounded by `LIMIT`.

#![allow(clippy::print_stdout, reason = "a measurement speaks to whoever asks for it")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use exphost::bus::BusHandle;
use exphost::message::{Envelope, SocketId};
use exphost::service::mailbox::{Mailbox, MailboxLimits};
use plugin_api::abi::SendOutcome;
use plugin_api::zmq::{SocketRole, SocketSpec, WhenFull};

use self::common::wait_readable as wait;
use self::common::{LIMIT, LOCAL, bus, free_port, open, port_of, stats_of};

const ORDERS: [bool; 2] = [true, false];

fn mailbox() -> Arc<Mailbox> {
    let limits = MailboxLimits { messages: 1_000_000, bytes: 1 << 30 };
    Arc::new(Mailbox::new(limits).expect("a mailbox"))
}

fn publisher(address: &str, port: u16, bind: bool) -> SocketSpec {
    SocketSpec::new(SocketRole::Publisher, "zmq.publisher", address, port, bind)
}

fn subscriber(address: &str, port: u16, bind: bool, topics: &[&str]) -> SocketSpec {
    let spec = SocketSpec::new(SocketRole::Subscriber, "zmq.subscriber", address, port, bind);
    SocketSpec { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), ..spec }
}

fn text(envelope: &Envelope) -> String {
    String::from_utf8(envelope.bytes.to_vec()).expect("UTF-8")
}

fn take_all(mailbox: &Mailbox) -> Vec<String> {
    let mut all = Vec::new();
    mailbox.take(usize::MAX, &mut |envelope| all.push(text(&envelope)));
    all
}

/// Takes messages until one is `last`.
fn take_until(mailbox: &Mailbox, last: &str) -> Vec<String> {
    let end = Instant::now() + LIMIT;
    let mut all = take_all(mailbox);
    while all.last().is_none_or(|it| it != last) {
        assert!(wait(mailbox, end.saturating_duration_since(Instant::now())), "{last} is missing");
        all.extend(take_all(mailbox));
    }
    all
}

/// What was asked of the bus thread before has happened: it obeys in order.
fn settled(handle: &BusHandle) {
    assert!(handle.close_service_within("nobody", LIMIT));
}

fn publish(handle: &BusHandle, socket: SocketId, topic: &str, payload: &str) {
    let end = Instant::now() + LIMIT;
    loop {
        match handle.send(socket, topic, payload.as_bytes()) {
            SendOutcome::Queued => return,
            SendOutcome::Full if Instant::now() < end => std::thread::yield_now(),
            outcome => panic!("{outcome:?}"),
        }
    }
}

/// A peer outside of the host.
struct Peer {
    context: zmq2::Context,
    socket: zmq2::Socket,
}

impl Peer {
    fn new(kind: zmq2::SocketType) -> Self {
        let context = zmq2::Context::new();
        let socket = context.socket(kind).expect("a socket");
        socket.set_linger(0).expect("set");
        socket.set_rcvhwm(1_000_000).expect("set");
        socket.set_sndhwm(1_000_000).expect("set");
        socket.set_rcvtimeo(LIMIT.as_millis() as i32).expect("set");
        socket.set_reconnect_ivl(10).expect("set");
        if kind == zmq2::SUB {
            socket.set_subscribe(b"").expect("set");
        }
        Self { context, socket }
    }

    fn bound(kind: zmq2::SocketType, port: u16) -> Self {
        let peer = Self::new(kind);
        peer.socket.bind(&format!("{LOCAL}:{port}")).expect("bound");
        peer
    }

    fn connected(kind: zmq2::SocketType, port: u16) -> Self {
        let peer = Self::new(kind);
        peer.socket.connect(&format!("{LOCAL}:{port}")).expect("connected");
        peer
    }

    fn receive(&self) -> String {
        self.socket.recv_string(0).expect("nothing arrived").expect("UTF-8")
    }

    /// Publishes through the bus until this peer has heard it: from then on its subscription stands.
    fn hears(&self, handle: &BusHandle, socket: SocketId) {
        let end = Instant::now() + LIMIT;
        while self.socket.poll(zmq2::POLLIN, 5).expect("poll") == 0 {
            assert!(Instant::now() < end, "the peer does not hear");
            publish(handle, socket, "sync", "{}");
        }
        publish(handle, socket, "synced", "{}");
        // With or without a number in it.
        while !self.receive().starts_with("synced ") {}
    }

    /// Publishes until the mailbox has seen it.
    fn is_heard(&self, mailbox: &Mailbox) {
        let end = Instant::now() + LIMIT;
        while !wait(mailbox, Duration::from_millis(5)) {
            assert!(Instant::now() < end, "the peer is not heard");
            self.socket.send("sync {}", 0).expect("sent");
        }
        self.socket.send("synced {}", 0).expect("sent");
        take_until(mailbox, "synced {}");
    }

    /// Ends it, and with it what it has bound.
    fn end(self) {
        drop(self.socket);
        drop(self.context);
    }
}

#[test]
fn a_hundred_thousand_messages_arrive_once_and_in_order_here_and_outside() {
    const COUNT: usize = 100_000;
    let bus = bus();
    let (handle, inside) = (bus.handle(), mailbox());
    let mut spec = publisher(LOCAL, 0, true);
    spec.socket_options.insert("SNDHWM".to_owned(), 1_000_000);
    let socket = open(&handle, "core", spec, &mailbox());
    let port = port_of(&handle, socket);
    let listener = subscriber("tcp://localhost", port, false, &["number"]);
    let listener = open(&handle, "display", listener, &inside);
    let outside = Peer::connected(zmq2::SUB, port);
    outside.hears(&handle, socket);
    let sender = {
        let handle = handle.clone();
        std::thread::spawn(move || {
            for number in 0..COUNT {
                publish(&handle, socket, "number", &number.to_string());
            }
        })
    };
    for number in 0..COUNT {
        assert_eq!(outside.receive(), format!("number {number}"));
    }
    sender.join().expect("the sender");
    let expected: Vec<_> = (0..COUNT).map(|number| format!("number {number}")).collect();
    assert!(take_all(&inside) == expected, "they are there as soon as they are sent");
    let (sent, received) = (stats_of(&handle, socket), stats_of(&handle, listener));
    assert_eq!((sent.delivered_locally, received.received), (COUNT as u64, COUNT as u64));
    assert_eq!((received.connected, received.joined), (0, 1), "{received:?}");
    assert_eq!((sent.connections, sent.joined), (1, 1), "{sent:?}");
    bus.shutdown(LIMIT).expect("closed");
    assert!(!wait(&inside, Duration::ZERO), "nothing came twice");
}

#[test]
fn it_does_not_matter_who_opens_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let ipc = format!("ipc://{}/x.sock", directory.path().display());
    for address in [LOCAL, &ipc, "inproc://x"] {
        for (first, publisher_binds) in ORDERS.into_iter().flat_map(|it| ORDERS.map(|b| (it, b))) {
            let bus = bus();
            let (handle, inside, port) = (bus.handle(), mailbox(), free_port());
            let listen = subscriber(address, port, !publisher_binds, &["a"]);
            let mut listener = SocketId(0);
            if !first {
                listener = open(&handle, "display", listen.clone(), &inside);
            }
            let spec = publisher(address, port, publisher_binds);
            let socket = open(&handle, "core", spec, &mailbox());
            if first {
                publish(&handle, socket, "a", "{\"early\":1}");
                listener = open(&handle, "display", listen, &inside);
            }
            publish(&handle, socket, "a", "{}");
            publish(&handle, socket, "b", "{}");
            publish(&handle, socket, "ab", "{}");
            assert_eq!(take_all(&inside), ["a {}", "ab {}"], "{address} {first} {publisher_binds}");
            let connecting = if publisher_binds { listener } else { socket };
            let stats = stats_of(&handle, connecting);
            assert_eq!((stats.connections, stats.joined), (0, 1), "{stats:?}");
            bus.shutdown(LIMIT).expect("closed");
            assert_eq!(take_all(&inside), [""; 0], "nothing came twice");
        }
    }
}

#[test]
fn a_subscriber_goes_over_to_a_local_publisher_and_back_to_a_stranger() {
    let bus = bus();
    let (handle, inside, port) = (bus.handle(), mailbox(), free_port());
    let spec = subscriber(LOCAL, port, false, &[""]);
    let listener = open(&handle, "display", spec, &inside);
    let stranger = Peer::bound(zmq2::PUB, port);
    stranger.is_heard(&inside);
    stranger.end();
    for round in 0..3 {
        let socket = open(&handle, "core", publisher(LOCAL, port, true), &mailbox());
        for number in 0..100 {
            publish(&handle, socket, "n", &number.to_string());
        }
        let expected: Vec<_> = (0..100).map(|number| format!("n {number}")).collect();
        assert_eq!(take_all(&inside), expected, "round {round}");
        assert!(handle.close_service_within("core", LIMIT));
        let stranger = Peer::bound(zmq2::PUB, port);
        stranger.is_heard(&inside);
        assert_eq!(stats_of(&handle, listener).joined, 0);
        stranger.end();
    }
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn a_publisher_that_connects_goes_over_to_a_local_subscriber_and_back() {
    let bus = bus();
    let (handle, inside, port) = (bus.handle(), mailbox(), free_port());
    let socket = open(&handle, "core", publisher(LOCAL, port, false), &mailbox());
    for round in 0..2 {
        let stranger = Peer::bound(zmq2::SUB, port);
        stranger.hears(&handle, socket);
        publish(&handle, socket, "outside", "{}");
        assert_eq!(stranger.receive(), "outside {}");
        stranger.end();
        let spec = subscriber(LOCAL, port, true, &["n", "sync"]);
        let listener = open(&handle, "display", spec, &inside);
        for number in 0..100 {
            publish(&handle, socket, "n", &number.to_string());
        }
        let expected: Vec<_> = (0..100).map(|number| format!("n {number}")).collect();
        assert_eq!(take_all(&inside), expected, "round {round}");
        // It is bound for others all the while.
        Peer::connected(zmq2::PUB, port).is_heard(&inside);
        assert_eq!(stats_of(&handle, listener).joined, 1);
        assert!(handle.close_service_within("display", LIMIT));
    }
    bus.shutdown(LIMIT).expect("closed");
}

/// What a listener hears has no gap and nothing twice, however the routes change meanwhile.
#[test]
fn listeners_come_and_go_while_somebody_publishes() {
    for publisher_binds in ORDERS {
        let bus = bus();
        let (handle, port) = (bus.handle(), free_port());
        let socket = open(&handle, "core", publisher(LOCAL, port, publisher_binds), &mailbox());
        let stop = Arc::new(AtomicBool::new(false));
        let sender = {
            let (handle, stop) = (handle.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    publish(&handle, socket, "n", &number.to_string());
                }
            })
        };
        let number = |text: &String| text[2..].parse::<u64>().expect("a number");
        let mut before = 0;
        for round in 0..30 {
            let inside = mailbox();
            let spec = subscriber(LOCAL, port, !publisher_binds, &["n"]);
            open(&handle, "display", spec, &inside);
            let mut heard = Vec::new();
            while heard.len() < 100 {
                assert!(wait(&inside, LIMIT));
                heard.extend(take_all(&inside).iter().map(number));
            }
            assert!(handle.close_service_within("display", LIMIT));
            heard.extend(take_all(&inside).iter().map(number));
            let follows = heard.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(follows && heard[0] >= before, "round {round}: {heard:?}");
            before = heard[heard.len() - 1];
        }
        stop.store(true, Ordering::Relaxed);
        sender.join().expect("the sender");
        bus.shutdown(LIMIT).expect("closed");
    }
}

#[test]
fn a_listener_that_stays_hears_each_successor_of_its_publisher_once() {
    let bus = bus();
    let (handle, inside, port) = (bus.handle(), mailbox(), free_port());
    open(&handle, "display", subscriber(LOCAL, port, false, &["n"]), &inside);
    let mut expected = Vec::new();
    for round in 0..20 {
        let socket = open(&handle, "core", publisher(LOCAL, port, true), &mailbox());
        for number in 0..50 {
            publish(&handle, socket, "n", &format!("[{round},{number}]"));
            expected.push(format!("n [{round},{number}]"));
        }
        // Now and then the next one is there before this one has gone, and shares its socket.
        handle.close_service("core");
        if round % 2 == 0 {
            settled(&handle);
        }
    }
    assert!(handle.close_service_within("core", LIMIT));
    bus.shutdown(LIMIT).expect("closed");
    assert_eq!(take_all(&inside), expected);
}

#[test]
fn publishers_share_an_endpoint_until_the_last_one_goes() {
    let bus = bus();
    let (handle, inside, port) = (bus.handle(), mailbox(), free_port());
    let first = open(&handle, "core", publisher(LOCAL, port, true), &mailbox());
    let mut by_name = publisher("tcp://localhost", port, true);
    by_name.max_queue_size = Some(10);
    let second = open(&handle, "beat", by_name, &mailbox());
    open(&handle, "display", subscriber(LOCAL, port, false, &["n"]), &inside);
    let outside = Peer::connected(zmq2::SUB, port);
    outside.hears(&handle, first);
    for number in 0..5 {
        publish(&handle, first, "n", &format!("[1,{number}]"));
        publish(&handle, second, "n", &format!("[2,{number}]"));
    }
    let expected = take_all(&inside);
    let heard: Vec<_> = (0..10).map(|_| outside.receive()).collect();
    let of = |all: &[String], service: char| {
        let of_it = |text: &&String| text.chars().nth(3) == Some(service);
        all.iter().filter(of_it).cloned().collect::<Vec<_>>()
    };
    assert_eq!(expected[..2], ["n [1,0]", "n [2,0]"]);
    for service in ['1', '2'] {
        assert_eq!(of(&heard, service), of(&expected, service), "each in its order");
    }
    assert_eq!((heard.len(), expected.len()), (10, 10));
    assert_eq!(stats_of(&handle, second).sent, 5);
    // What the one has sent before it goes still arrives, and the other goes on.
    publish(&handle, first, "n", "\"last\"");
    assert!(handle.close_service_within("core", LIMIT));
    assert_eq!(handle.send(first, "n", b"{}"), SendOutcome::NoSocket);
    publish(&handle, second, "n", "\"more\"");
    assert_eq!([outside.receive(), outside.receive()], ["n \"last\"", "n \"more\""]);
    assert_eq!(take_all(&inside), ["n \"last\"", "n \"more\""]);
    // The endpoint is taken until the last one goes.
    let pull = SocketSpec::new(SocketRole::Pull, "zmq.pull", LOCAL, port, true);
    let error = handle.open("worker", pull.clone(), mailbox()).expect_err("taken");
    assert!(error.message.contains("beat (zmq.publisher) has bound"), "{error}");
    handle.close_service("beat");
    open(&handle, "worker", pull, &mailbox());
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn sharing_with_other_options_is_refused_and_so_is_another_kind() {
    let bus = bus();
    let (handle, port) = (bus.handle(), free_port());
    let mut spec = publisher(LOCAL, port, true);
    open(&handle, "core", spec.clone(), &mailbox());
    spec.socket_options.insert("SNDHWM".to_owned(), 5);
    let error = handle.open("beat", spec.clone(), mailbox()).expect_err("other options");
    assert_eq!(
        error.message,
        format!(
            "cannot bind {LOCAL}:{port} for beat (zmq.publisher): \
             core (zmq.publisher) has bound {LOCAL}:{port} already, with other socket_options"
        )
    );
    let wide = publisher("tcp://*", port, true);
    let bound = subscriber(LOCAL, port, true, &[""]);
    for other in [wide, bound] {
        let error = handle.open("beat", other, mailbox()).expect_err("another place or kind");
        assert!(error.message.ends_with(&format!("has bound {LOCAL}:{port} already")), "{error}");
    }
    // Once the other is on its way out, it is waited for.
    handle.close_service("core");
    open(&handle, "beat", spec, &mailbox());
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn messages_are_numbered_by_topic_here_and_outside() {
    let bus = bus();
    let (handle, inside) = (bus.handle(), mailbox());
    let spec = SocketSpec { numbered: true, ..publisher(LOCAL, 0, true) };
    let socket = open(&handle, "core", spec.clone(), &mailbox());
    let port = port_of(&handle, socket);
    let listener = open(&handle, "display", subscriber(LOCAL, port, false, &["n", "m"]), &inside);
    let outside = Peer::connected(zmq2::SUB, port);
    outside.hears(&handle, socket);
    for (topic, payload) in [("n", "{\"a\":1}"), ("m", "{}"), ("n", "[1]"), ("n", "{\"a\":2}")] {
        publish(&handle, socket, topic, payload);
    }
    let all = take_all(&inside);
    let run = &all[0][11..19];
    let expected = [
        format!("n {{\"_run\":\"{run}\",\"_seq\":1,\"a\":1}}"),
        format!("m {{\"_run\":\"{run}\",\"_seq\":1}}"),
        "n [1]".to_owned(),
        format!("n {{\"_run\":\"{run}\",\"_seq\":2,\"a\":2}}"),
    ];
    assert_eq!(all, expected);
    assert_eq!([(); 4].map(|()| outside.receive()), expected);
    assert_eq!(stats_of(&handle, listener).missed, 0);
    let again = open(&handle, "again", SocketSpec { port: free_port(), ..spec }, &mailbox());
    let again_port = port_of(&handle, again);
    open(&handle, "display", subscriber(LOCAL, again_port, false, &["n"]), &inside);
    publish(&handle, again, "n", "{}");
    let other = &take_all(&inside)[0];
    assert!(other.ends_with("\"_seq\":1}") && other[11..19] != *run, "a run of its own: {other}");
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn what_a_publisher_outside_has_dropped_is_missed() {
    let bus = bus();
    let (handle, inside) = (bus.handle(), mailbox());
    let listener = open(&handle, "display", subscriber(LOCAL, 0, true, &[""]), &inside);
    let outside = Peer::connected(zmq2::PUB, port_of(&handle, listener));
    outside.is_heard(&inside);
    for (run, number) in [(1, 3), (1, 4), (1, 7), (2, 1), (1, 8), (2, 11)] {
        let message = format!("n {{\"_run\":\"0000000{run}\",\"_seq\":{number}}}");
        outside.socket.send(&message, 0).expect("sent");
    }
    outside.socket.send("end {}", 0).expect("sent");
    assert_eq!(take_until(&inside, "end {}").len(), 7);
    assert_eq!(stats_of(&handle, listener).missed, 2 + 9);
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn a_subscriber_that_does_not_keep_up_drops_alone_and_counts() {
    let bus = bus();
    let (handle, slow, fresh, quick) = (bus.handle(), mailbox(), mailbox(), mailbox());
    let socket = open(&handle, "core", publisher("inproc://n", 0, true), &mailbox());
    let listen = subscriber("inproc://n", 0, false, &["n"]);
    let small = SocketSpec { max_queue_size: Some(2), ..listen.clone() };
    let newest = SocketSpec { when_full: WhenFull::DropOldest, ..small.clone() };
    let slow_one = open(&handle, "slow", small, &slow);
    let fresh_one = open(&handle, "fresh", newest, &fresh);
    let quick_one = open(&handle, "quick", listen, &quick);
    for number in 0..5 {
        publish(&handle, socket, "n", &number.to_string());
    }
    assert_eq!(handle.send(socket, "n", b"\xff"), SendOutcome::Queued);
    let figures = [slow_one, fresh_one, quick_one].map(|socket| {
        let stats = stats_of(&handle, socket);
        assert_eq!((stats.received, stats.received_bytes, stats.bad_frames), (6, 18, 1));
        (stats.dropped_mailbox_full, stats.lane_depth, stats.lane_high_mark)
    });
    assert_eq!(figures, [(3, 2, 2), (3, 2, 2), (0, 5, 5)]);
    assert_eq!(take_all(&slow), ["n 0", "n 1"]);
    assert_eq!(take_all(&fresh), ["n 3", "n 4"]);
    assert_eq!(take_all(&quick).len(), 5);
    let sent = stats_of(&handle, socket);
    assert_eq!((sent.delivered_locally, sent.sent, sent.joined), (15, 0, 3));
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn other_topics_and_the_end_of_a_subscriber_change_the_routes() {
    let bus = bus();
    let (handle, inside) = (bus.handle(), mailbox());
    let socket = open(&handle, "core", publisher(LOCAL, 0, true), &mailbox());
    let spec = subscriber(LOCAL, port_of(&handle, socket), false, &["a", "b"]);
    let listener = open(&handle, "display", spec, &inside);
    let topics = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let send_each = || ["a", "b", "c"].map(|topic| publish(&handle, socket, topic, "{}"));
    send_each();
    assert_eq!(take_all(&inside), ["a {}", "b {}"]);
    handle.resubscribe(listener, &topics(&["a", "b"]), &topics(&["b", "c"]));
    settled(&handle);
    send_each();
    assert_eq!(take_all(&inside), ["b {}", "c {}"]);
    assert!(handle.close_service_within("display", LIMIT));
    send_each();
    assert_eq!(take_all(&inside), [""; 0]);
    assert_eq!(stats_of(&handle, socket).joined, 0);
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn nothing_is_delivered_after_the_intake_was_stopped() {
    let bus = bus();
    let (handle, inside) = (bus.handle(), mailbox());
    let socket = open(&handle, "core", publisher(LOCAL, 0, true), &mailbox());
    let port = port_of(&handle, socket);
    open(&handle, "display", subscriber(LOCAL, port, false, &["a"]), &inside);
    let outside = Peer::connected(zmq2::SUB, port);
    outside.hears(&handle, socket);
    handle.stop_intake();
    settled(&handle);
    publish(&handle, socket, "a", "{}");
    assert_eq!(outside.receive(), "a {}", "sending goes on");
    assert_eq!(inside.stats().accepted, 0);
    bus.shutdown(LIMIT).expect("closed");
}

/// Run it in release with `--ignored --nocapture`; it asserts nothing about time.
#[test]
#[ignore = "a measurement"]
fn how_soon_a_message_is_taken() {
    const ROUNDS: usize = 100_000;
    for address in ["inproc://n", LOCAL] {
        let bus = bus();
        let (handle, there) = (bus.handle(), mailbox());
        let socket = open(&handle, "core", publisher(address, 0, true), &mailbox());
        let at = if address == LOCAL { port_of(&handle, socket) } else { 0 };
        open(&handle, "display", subscriber(address, at, false, &["n"]), &there);
        let (done, taken) = std::sync::mpsc::channel();
        let (start, reader) = (Instant::now(), Arc::clone(&there));
        let reader = std::thread::spawn(move || {
            let mut count = 0;
            while count < ROUNDS {
                assert!(wait(&reader, LIMIT));
                reader.take(usize::MAX, &mut |_| {
                    count += 1;
                    done.send(start.elapsed()).expect("sent");
                });
            }
        });
        let (mut times, mut sends) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = start.elapsed();
            let _ = handle.send(socket, "n", b"{\"a\":1}");
            sends.push(start.elapsed() - before);
            times.push(taken.recv_timeout(LIMIT).expect("taken") - before);
            // The reader is back in its wait.
            let end = Instant::now() + Duration::from_micros(50);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
        }
        reader.join().expect("the reader");
        for (name, all) in [("send", &mut sends), ("publish to taken", &mut times)] {
            all.sort_unstable();
            println!(
                "{address} {name}: p50 {:?}, p99 {:?}",
                all[ROUNDS / 2],
                all[ROUNDS * 99 / 100]
            );
        }
        bus.shutdown(LIMIT).expect("closed");
    }
}
