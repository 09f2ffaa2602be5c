//! What strangers may do to a port of the host: it lives, and nobody else loses anything.
//!
//! `HOSTILE_CONNECTIONS` is how many connections of garbage there are, see CONTRIBUTING.md.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::harness::free_port;
use crate::harness::host::Host;
use crate::harness::project::Project;
use crate::harness::wire::{Publisher, Subscriber};
use crate::harness::{DEADLINE, resident_kib, say, setting};

/// ZMTP 3.1, no security, as a client.
fn greeting() -> Vec<u8> {
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    greeting
}

/// READY of a socket of this kind.
fn ready(kind: &str) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type".to_vec();
    body.extend_from_slice(&u32::try_from(kind.len()).expect("it is short").to_be_bytes());
    body.extend_from_slice(kind.as_bytes());
    let mut frame = vec![0x04, u8::try_from(body.len()).expect("it is short")];
    frame.extend_from_slice(&body);
    frame
}

/// A long frame of these flags that announces 2^62 bytes.
fn announcement(flags: u8) -> Vec<u8> {
    let mut frame = vec![flags];
    frame.extend_from_slice(&(1_u64 << 62).to_be_bytes());
    frame
}

/// Bytes without a pattern, the same on every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.next() % 1024;
        (0..length).map(|_| u8::try_from(self.next() >> 56).expect("eight bits")).collect()
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is served");
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    stream
}

/// Says this and waits until the host has hung up.
///
/// # Panics
/// When it has not within [`DEADLINE`].
fn say_until_hung_up(port: u16, words: &[u8]) {
    let mut stream = connect(port);
    // It may hang up at the first words.
    let _ = stream.write_all(words);
    let mut heard = [0_u8; 1024];
    loop {
        match stream.read(&mut heard) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the host keeps listening to {words:?}: {error}"),
        }
    }
}

/// Says this and hangs up hard, so that ten thousand of them leave no ports in TIME_WAIT.
fn say_and_go(port: u16, words: &[u8]) {
    let mut stream = connect(port);
    let _ = stream.write_all(words);
    set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
}

/// A host with a port of either kind, and a good peer at each.
struct Besieged {
    host: Host,
    inbound: u16,
    outbound: u16,
    good: Publisher,
    reports: Subscriber,
    sent: u64,
    before: u64,
}

impl Besieged {
    fn new() -> Self {
        let (inbound, outbound) = (free_port(), free_port());
        let toml = format!(
            "[zmq.subscriber]\naddress = \"tcp://127.0.0.1\"\nport = {inbound}\nbind = true\n\
             topics = [\"number\", \"report\"]\n\
             [zmq.publisher]\naddress = \"tcp://127.0.0.1\"\nport = {outbound}\n"
        );
        let host = Project::new().service("counter", "fixture-counter", toml).start();
        host.wait_until_running("counter");
        let good = Publisher::connect(inbound);
        let reports = Subscriber::connect(outbound, &["report"]);
        let before = resident_kib(host.pid());
        Self { host, inbound, outbound, good, reports, sent: 0, before }
    }

    fn ports(&self) -> [u16; 2] {
        [self.inbound, self.outbound]
    }

    /// A few messages of the good peer.
    fn go_on(&mut self) {
        for _ in 0..100 {
            self.good.send("number", &json!({"n": self.sent}));
            self.sent += 1;
        }
    }

    /// Each message has been handled, in order; the host has not grown.
    fn end_unharmed(mut self) {
        // The host's PUB tells nobody when a subscription has arrived, so the question is asked until
        // one is answered. An answer resets the count, so the answers are added up.
        let (mut count, mut last) = (0, 0);
        self.reports.set_patience(Duration::from_millis(200));
        while count < self.sent {
            self.good.send("report", &json!({}));
            let Some((_, report)) = self.reports.try_next() else { continue };
            assert_eq!(report["in_order"], report["count"] != 0, "{report}");
            if report["count"] != 0 {
                assert_eq!(report["first"], count, "nothing was lost between two reports");
                count += report["count"].as_u64().expect("a number");
                last = report["last"].as_u64().expect("a number");
            }
        }
        assert_eq!((count, last), (self.sent, self.sent - 1));
        let after = resident_kib(self.host.pid());
        let before = self.before;
        say(&format!("RSS {before} KiB before, {after} KiB after, {count} messages"));
        assert!(after < before + 64 * 1024, "the host grew from {before} to {after} KiB");
        assert_eq!(self.host.stop().0, Some(0));
    }
}

#[test]
fn bytes_that_are_no_peer_are_hung_up_on_and_nobody_else_loses_anything() {
    let mut besieged = Besieged::new();
    let shaken = |kind: &str, rest: Vec<u8>| [greeting(), ready(kind), rest].concat();
    // What could be the beginning of something is listened to for the five seconds of a handshake,
    // so all of it is said at once.
    thread::scope(|scope| {
        for (port, peer) in besieged.ports().into_iter().zip(["PUB", "SUB"]) {
            let mut words = vec![
                shaken("REQ", Vec::new()),
                b"GET / HTTP/1.1\r\nHost: installation\r\n\r\n".to_vec(),
                // The beginning of a ClientHello of TLS 1.2.
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on".to_vec(),
            ];
            for flags in [0x02, 0x03, 0x06] {
                words.push([greeting(), announcement(flags)].concat());
                words.push(shaken(peer, announcement(flags)));
            }
            for words in words {
                scope.spawn(move || say_until_hung_up(port, &words));
            }
        }
        besieged.go_on();
    });
    besieged.go_on();
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    for round in 0..setting("HOSTILE_CONNECTIONS", 500) {
        let port = besieged.ports()[usize::try_from(round % 2).expect("it is small")];
        // Half of them get past the greeting first.
        let words = if noise.next().is_multiple_of(2) {
            noise.bytes()
        } else {
            shaken("PUB", noise.bytes())
        };
        say_and_go(port, &words);
        if round % 50 == 0 {
            besieged.go_on();
        }
    }
    besieged.end_unharmed();
}

#[test]
fn a_thousand_silent_connections_are_served_around_and_hung_up_on() {
    const EACH: usize = 500;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(8192, |maximum| maximum.min(8192));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..limit }).expect("a limit");

    let mut besieged = Besieged::new();
    let mut silent = Vec::new();
    for port in besieged.ports() {
        for number in 0..EACH {
            let mut stream = connect(port);
            if number % 2 == 0 {
                // Half open: as far as the greeting, and no further.
                stream.write_all(&greeting()).expect("the port is served");
            }
            silent.push(stream);
        }
        besieged.go_on();
    }
    // The host gives each five seconds for its handshake.
    for mut stream in silent {
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard).map_err(|error| error.kind());
        assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    }
    besieged.go_on();
    besieged.end_unharmed();
}
