//! The bus against another implementation of ZeroMQ as the peer.
//!
//! No test sleeps: a subscription is known to stand when a message published again and again has
//! arrived, and every other wait is for an event, bounded by `LIMIT`.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use exphost::bus::tap::Direction;
use exphost::bus::{Bus, BusConfig, BusHandle};
use exphost::message::SocketId;
use exphost::service::mailbox::{Mailbox, MailboxLimits};
use plugin_api::abi::{EnvelopeKind, SendOutcome};
use plugin_api::zmq::{SocketRole, SocketSpec};
use zeromq::{
    PubSocket, PullSocket, PushSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage,
};

use common::{
    LIMIT, LOCAL, bus, free_port, mailbox, open, payload, port_of, receive_until, spec, stats_of,
    topic, wait_readable,
};

/// Runs the peer's side on this thread.
fn peer<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let result = runtime.block_on(async { tokio::time::timeout(LIMIT, future).await });
    // What its tasks listen on is free when they are gone.
    runtime.shutdown_timeout(LIMIT);
    result.expect("the peer took too long")
}

fn frame(text: &str) -> ZmqMessage {
    ZmqMessage::from(text.to_owned())
}

/// Publishes `sync {}` until the mailbox has seen it: from then on the subscription stands. It
/// looks for an answer after each, for a flood would fill the mailbox and push out what follows.
async fn publish_until_seen(publisher: &mut PubSocket, mailbox: &Mailbox) {
    let mut seen = false;
    while !seen {
        publisher.send(frame("sync {}")).await.expect("sent");
        wait_readable(mailbox, Duration::from_millis(5));
        mailbox.take(usize::MAX, &mut |_| seen = true);
    }
}

/// Publishes through the bus until the peer has seen it, then drains what else of it is on the way.
async fn send_until_seen(handle: &BusHandle, socket: SocketId, subscriber: &mut SubSocket) {
    loop {
        let _ = handle.send(socket, "sync", b"{}");
        if tokio::time::timeout(Duration::from_millis(5), subscriber.recv()).await.is_ok() {
            break;
        }
    }
    assert_eq!(handle.send(socket, "synced", b"{}"), SendOutcome::Queued);
    while text(&subscriber.recv().await.expect("received")) != "synced {}" {}
}

fn text(message: &ZmqMessage) -> String {
    String::from_utf8_lossy(message.get(0).expect("a frame")).into_owned()
}

#[test]
fn a_subscriber_that_connects_first_hears_the_publisher_and_its_successor() {
    let bus = bus();
    let (handle, mailbox, port) = (bus.handle(), mailbox(), free_port());
    let socket = open(&handle, "core", spec(SocketRole::Subscriber, false, port), &mailbox);
    for round in 0..2 {
        peer(async {
            let mut publisher = PubSocket::new();
            publisher.bind(&format!("{LOCAL}:{port}")).await.expect("bound");
            publish_until_seen(&mut publisher, &mailbox).await;
            publisher.send(frame(&format!("news {{\"round\":{round}}}"))).await.expect("sent");
            receive_until(&mailbox, |envelope| {
                if topic(&envelope) == "sync" {
                    return false;
                }
                assert_eq!((topic(&envelope), envelope.kind), ("news", EnvelopeKind::Message));
                assert_eq!(envelope.socket, Some(socket));
                assert_eq!(payload(&envelope), format!("{{\"round\":{round}}}"));
                true
            });
        });
    }
    let stats = stats_of(&handle, socket);
    assert!(stats.connected >= 2 && stats.lost >= 1, "{stats:?}");
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn our_publisher_reaches_their_subscriber_by_prefix() {
    let bus = bus();
    let handle = bus.handle();
    let socket = open(&handle, "beat", spec(SocketRole::Publisher, true, 0), &mailbox());
    let port = port_of(&handle, socket);
    peer(async {
        let mut subscriber = SubSocket::new();
        subscriber.connect(&format!("{LOCAL}:{port}")).await.expect("connected");
        // In this order: once `sync` is heard, the publisher knows of both.
        subscriber.subscribe("stat").await.expect("subscribed");
        subscriber.subscribe("sync").await.expect("subscribed");
        send_until_seen(&handle, socket, &mut subscriber).await;
        assert_eq!(handle.send(socket, "other", b"{}"), SendOutcome::Queued);
        assert_eq!(handle.send(socket, "status", b"{\"a\": 1}"), SendOutcome::Queued);
        assert_eq!(text(&subscriber.recv().await.expect("received")), "status {\"a\": 1}");
    });
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn tasks_and_results_go_through_push_and_pull() {
    let bus = bus();
    let (handle, tasks, results) = (bus.handle(), mailbox(), mailbox());
    let pull = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &tasks);
    let mut of_controller = spec(SocketRole::Pull, true, 0);
    "zmq.workers.image.pull".clone_into(&mut of_controller.key);
    let result_pull = open(&handle, "control", of_controller, &results);
    let push_port = free_port();
    let push = open(&handle, "worker", spec(SocketRole::Push, false, push_port), &tasks);
    assert_eq!(handle.send(push, "", b"{\"early\":1}"), SendOutcome::Queued);
    peer(async {
        let mut collector = PullSocket::new();
        collector.bind(&format!("{LOCAL}:{push_port}")).await.expect("bound");
        assert_eq!(text(&collector.recv().await.expect("received")), "{\"early\":1}");
        for socket in [pull, result_pull] {
            let mut pusher = PushSocket::new();
            let port = port_of(&handle, socket);
            pusher.connect(&format!("{LOCAL}:{port}")).await.expect("connected");
            pusher.send(frame("{\"a b\":2}")).await.expect("sent");
            let (mailbox, kind) = if socket == pull {
                (&tasks, EnvelopeKind::Task)
            } else {
                (&results, EnvelopeKind::Result)
            };
            receive_until(mailbox, |envelope| {
                assert_eq!((envelope.kind, topic(&envelope)), (kind, ""));
                assert_eq!(payload(&envelope), "{\"a b\":2}");
                true
            });
        }
    });
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn who_listens_hears_what_passes_by_wire_and_within_the_host() {
    let bus = bus();
    let (handle, mailbox) = (bus.handle(), mailbox());
    let mut all = handle.listen(String::new()).expect("nobody else listens");
    let mut ticks = handle.listen("tick".to_owned()).expect("one other listens");
    let mut next = |of_ticks: bool| {
        let listening = if of_ticks { &mut ticks } else { &mut all };
        let heard = peer(async { listening.next().await.expect("the bus is there") });
        let text = String::from_utf8(heard.payload.to_vec()).expect("UTF-8");
        assert_eq!(heard.size, text.len());
        (heard.service, heard.direction, heard.local, heard.topic, text)
    };
    let told = |service: &str, direction, local, topic: &str, text: &str| {
        (service.to_owned(), direction, local, topic.to_owned(), text.to_owned())
    };
    let (sent, received) = (Direction::Sent, Direction::Received);
    // A task goes out by one wire and comes in by another.
    let pull = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &mailbox);
    let port = port_of(&handle, pull);
    let push = open(&handle, "control", spec(SocketRole::Push, false, port), &mailbox);
    assert_eq!(handle.send(push, "", b"[1]"), SendOutcome::Queued);
    assert_eq!(next(false), told("control", sent, false, "", "[1]"));
    assert_eq!(next(false), told("worker", received, false, "", "[1]"));
    // What is published is heard as it goes out: with its number.
    let numbered = SocketSpec { numbered: true, ..spec(SocketRole::Publisher, true, 0) };
    let publisher = open(&handle, "core", numbered, &mailbox);
    let port = port_of(&handle, publisher);
    open(&handle, "display", spec(SocketRole::Subscriber, false, port), &mailbox);
    assert_eq!(handle.send(publisher, "tick", b"{\"n\":2}"), SendOutcome::Queued);
    let out = next(true);
    assert_eq!((&*out.0, out.1, out.2, &*out.3), ("core", sent, false, "tick"));
    assert!(out.4.ends_with(",\"n\":2}") && out.4.len() > 20, "{}", out.4);
    assert_eq!(next(true), told("display", received, true, "tick", &out.4));
    assert_eq!(next(false).3, "tick", "whoever listens to all has heard of it too");
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn a_hundred_thousand_messages_arrive_in_order() {
    const COUNT: u32 = 100_000;
    let bus = bus();
    // PUSH to PULL: nothing may be dropped, however small the queues between them.
    let limits = MailboxLimits { messages: 500, bytes: usize::MAX };
    let (handle, mailbox) = (bus.handle(), Arc::new(Mailbox::new(limits).expect("a mailbox")));
    let pull = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &mailbox);
    let push = spec(SocketRole::Push, false, port_of(&handle, pull));
    let push = open(&handle, "controller", push, &mailbox);
    let sender = {
        let handle = handle.clone();
        std::thread::spawn(move || {
            for number in 0..COUNT {
                let payload = format!("{{\"number\":{number}}}");
                while handle.send(push, "", payload.as_bytes()) == SendOutcome::Full {
                    std::thread::yield_now();
                }
            }
        })
    };
    let mut next = 0;
    receive_until(&mailbox, |envelope| {
        assert_eq!(payload(&envelope), format!("{{\"number\":{next}}}"));
        next += 1;
        next == COUNT
    });
    sender.join().expect("the sender");
    let (sent, received) = (stats_of(&handle, push), stats_of(&handle, pull));
    assert_eq!((sent.sent, received.received), (u64::from(COUNT), u64::from(COUNT)));
    assert_eq!((received.dropped_mailbox_full, mailbox.stats().dropped), (0, 0));
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn a_large_frame_arrives_whole_and_a_larger_one_is_not_taken() {
    let bus = bus();
    let (handle, mailbox) = (bus.handle(), mailbox());
    let pull = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &mailbox);
    let push = spec(SocketRole::Push, false, port_of(&handle, pull));
    let push = open(&handle, "controller", push, &mailbox);
    let image = "x".repeat(5 << 20);
    assert_eq!(handle.send(push, "", image.as_bytes()), SendOutcome::Queued);
    receive_until(&mailbox, |envelope| {
        assert!(payload(&envelope) == image);
        true
    });
    let too_large = vec![b'x'; (64 << 20) + 1];
    assert_eq!(handle.send(push, "", &too_large), SendOutcome::TooLarge);
    assert_eq!(handle.send(pull, "", b"{}"), SendOutcome::NoSocket);
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn a_full_outbox_is_counted_and_shutdown_with_nobody_listening_is_bounded() {
    let config = BusConfig {
        outbox_messages: 3,
        high_water_mark: 1,
        linger: Duration::from_millis(200),
        ..BusConfig::default()
    };
    let bus = Bus::start(config).expect("a bus");
    let handle = bus.handle();
    let mut lonely = spec(SocketRole::Push, false, free_port());
    lonely.socket_options.insert("IMMEDIATE".to_owned(), 1);
    let push = open(&handle, "worker", lonely, &mailbox());
    let outcomes = [(); 5].map(|()| handle.send(push, "", b"{}"));
    assert_eq!(outcomes[..3], [SendOutcome::Queued; 3]);
    assert_eq!(outcomes[3..], [SendOutcome::Full; 2]);
    let stats = stats_of(&handle, push);
    assert_eq!((stats.dropped_outbox_full, stats.outbox_high_mark), (2, 3));
    let begin = Instant::now();
    bus.shutdown(Duration::from_secs(10)).expect("closed");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(handle.send(push, "", b"{}"), SendOutcome::Closed);
    let error = handle.open("worker", spec(SocketRole::Pull, true, free_port()), mailbox());
    assert!(error.expect_err("closed").message.contains("the bus is closed"));
}

#[test]
fn two_services_cannot_bind_one_port() {
    let bus = bus();
    let handle = bus.handle();
    let strangers = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = strangers.local_addr().expect("an address").port();
    // It is none of the host's sockets, so it is libzmq that notices.
    let error = handle.open("core", spec(SocketRole::Publisher, true, port), mailbox());
    let error = error.expect_err("in use");
    let start = format!("cannot bind {LOCAL}:{port} for core (zmq.publisher): ");
    assert_eq!(error.message, format!("{start}address already in use"));
    let hint = error.hint.expect("a hint");
    assert!(hint.contains(&format!("(pid {})", std::process::id())), "{hint}");

    let taken = free_port();
    open(&handle, "heartbeat", spec(SocketRole::Publisher, true, taken), &mailbox());
    let mut wide = spec(SocketRole::Subscriber, true, taken);
    "tcp://*".clone_into(&mut wide.address);
    let error = handle.open("core", wide, mailbox()).expect_err("a clash");
    assert_eq!(
        error.message,
        format!(
            "cannot bind tcp://*:{taken} for core (zmq.subscriber): \
             heartbeat (zmq.publisher) has bound {LOCAL}:{taken} already"
        )
    );
    bus.shutdown(LIMIT).expect("closed");
}

/// A closed socket that still tries to connect has events to tell, and nobody listens.
#[test]
fn a_socket_that_lingers_does_not_hold_up_the_others() {
    let bus = bus();
    let (handle, mailbox) = (bus.handle(), mailbox());
    let pull = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &mailbox);
    let to_nobody = spec(SocketRole::Push, false, free_port());
    let lonely = open(&handle, "lonely", to_nobody, &mailbox);
    assert_eq!(handle.send(lonely, "", b"{}"), SendOutcome::Queued);
    assert!(handle.close_service_within("lonely", LIMIT));
    let to_pull = spec(SocketRole::Push, false, port_of(&handle, pull));
    let push = open(&handle, "controller", to_pull, &mailbox);
    // One attempt to connect comes every ten milliseconds, for the linger of a second; the last of
    // these messages is sent after it.
    let end = Instant::now() + Duration::from_millis(1200);
    while Instant::now() < end {
        assert_eq!(handle.send(push, "", b"{}"), SendOutcome::Queued);
        receive_until(&mailbox, |_| true);
    }
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
fn nothing_comes_in_after_the_intake_was_stopped() {
    let bus = bus();
    let (handle, mailbox) = (bus.handle(), mailbox());
    let pull = open(&handle, "worker", spec(SocketRole::Pull, true, 0), &mailbox);
    handle.stop_intake();
    let to_pull = spec(SocketRole::Push, false, port_of(&handle, pull));
    let push = open(&handle, "controller", to_pull, &mailbox);
    assert_eq!(handle.send(push, "", b"{}"), SendOutcome::Queued);
    // Closed, so it was sent; the commands are obeyed in order.
    assert!(handle.close_service_within("controller", LIMIT));
    bus.shutdown(LIMIT).expect("closed");
    assert_eq!(mailbox.stats().accepted, 0);
}

#[test]
fn a_living_ipc_path_is_not_stolen() {
    let bus = bus();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("theirs.sock");
    let _theirs = std::os::unix::net::UnixListener::bind(&path).expect("bound");
    let mut ours = spec(SocketRole::Pull, true, 0);
    ours.address = format!("ipc://{}", path.display());
    let error = bus.handle().open("worker", ours, mailbox()).expect_err("theirs");
    assert!(error.message.contains("somebody listens on"), "{error}");
    assert!(path.exists());
    bus.shutdown(LIMIT).expect("closed");
}

#[test]
#[cfg(feature = "libzmq")]
fn a_connection_that_libzmq_gave_up_is_healed() {
    use std::io::{Read, Write};
    let bus = bus();
    let (handle, mailbox) = (bus.handle(), mailbox());
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = stranger.local_addr().expect("an address").port();
    let socket = open(&handle, "core", spec(SocketRole::Subscriber, false, port), &mailbox);
    // A greeting of ZMTP 3, then a command that is none: a protocol error, after which libzmq
    // never tries again by itself.
    let (mut connection, _) = stranger.accept().expect("a connection");
    let mut greeting = [0_u8; 64];
    greeting[..12].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
    greeting[12..16].copy_from_slice(b"NULL");
    connection.write_all(&greeting).expect("written");
    connection.write_all(&[4, 5, 4, b'J', b'U', b'N', b'K']).expect("written");
    let _ = connection.read_to_end(&mut Vec::new());
    drop((connection, stranger));
    peer(async {
        let mut publisher = PubSocket::new();
        publisher.bind(&format!("{LOCAL}:{port}")).await.expect("bound");
        publish_until_seen(&mut publisher, &mailbox).await;
    });
    let stats = stats_of(&handle, socket);
    assert!(stats.refused >= 1, "{stats:?}");
    assert_eq!(stats.healed, 1, "{stats:?}");
    bus.shutdown(LIMIT).expect("closed");
}

/// Run it in release with `--ignored`; it asserts nothing about time, and leaves the rates in a
/// file of the temporary directory.
#[test]
#[ignore = "a measurement"]
fn how_many_messages_a_second() {
    let push = rate(SocketRole::Push, SocketRole::Pull);
    let publish = rate(SocketRole::Publisher, SocketRole::Subscriber);
    let text = format!("PUSH to PULL {push:.0} msg/s, PUB to SUB {publish:.0} msg/s\n");
    std::fs::write(std::env::temp_dir().join("exphost-bus-rate"), text).expect("written");
}

/// Messages of 100 bytes a second from one bus to the mailbox of another.
fn rate(from: SocketRole, to: SocketRole) -> f64 {
    const COUNT: u32 = 3_000_000;
    let config =
        BusConfig { high_water_mark: 10_000_000, allow_port_zero: true, ..BusConfig::default() };
    let (sending, receiving) =
        (Bus::start(config.clone()).expect("a bus"), Bus::start(config).expect("a bus"));
    let (sender, receiver) = (sending.handle(), receiving.handle());
    let limits = MailboxLimits { messages: 10_000_000, bytes: 4 << 30 };
    let mailbox = Arc::new(Mailbox::new(limits).expect("a mailbox"));
    let input = open(&receiver, "a", spec(to, true, 0), &mailbox);
    let output = open(&sender, "b", spec(from, false, port_of(&receiver, input)), &mailbox);
    let mut seen = false;
    while !seen {
        let _ = sender.send(output, "sync", b"{}");
        wait_readable(&mailbox, Duration::from_millis(5));
        mailbox.take(usize::MAX, &mut |_| seen = true);
    }
    let begin = Instant::now();
    let feeder = std::thread::spawn(move || {
        for _ in 0..COUNT {
            while sender.send(output, "topic", &[b'x'; 94]) == SendOutcome::Full {
                std::thread::yield_now();
            }
        }
    });
    let mut count = 0;
    receive_until(&mailbox, |envelope| {
        count += u32::from(envelope.bytes.len() >= 94);
        count == COUNT
    });
    let seconds = begin.elapsed().as_secs_f64();
    feeder.join().expect("the feeder");
    assert_eq!(stats_of(&receiver, input).dropped_mailbox_full, 0);
    sending.shutdown(LIMIT).expect("closed");
    receiving.shutdown(LIMIT).expect("closed");
    f64::from(COUNT) / seconds
}
