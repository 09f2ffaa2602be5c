//! Messages per second from a SUB socket to a handler: in the host, in plain asyncio with pyzmq, and
//! in a bare loop over libzmq, one after the other on the same machine.
//!
//! ```sh
//! cargo bench -p exphost-tests --bench throughput            # a table
//! cargo bench -p exphost-tests --bench throughput -- --json  # one JSON document
//! ```
//!
//! Each receiver parses every message as JSON and says now and then how far it is; the sender stays
//! at most [`WINDOW`] messages ahead of that, so nothing is lost and all do the same work.
#![allow(clippy::print_stdout, reason = "the result is the output")]

#[path = "../harness/mod.rs"]
mod harness;

use std::thread;
use std::time::Instant;

use harness::project::Project;
use harness::python::{self, Peer};
use serde_json::{Value, json};

/// Messages of one round.
const MESSAGES: u64 = 200_000;
/// Bytes of a frame.
const SIZE: usize = 100;
/// Rounds; their median counts.
const ROUNDS: usize = 5;
/// A receiver says how far it is every this many messages.
const STRIDE: u64 = 1_000;
/// How many messages may be under way: below every high-water mark on the way.
const WINDOW: u64 = 8_000;
/// How long a receiver may be silent.
const PATIENCE_MS: i32 = 30_000;

/// The sending end: numbers go out, progress comes in.
struct Sender {
    numbers: zmq2::Socket,
    numbers_port: u16,
    progress: zmq2::Socket,
    progress_port: u16,
}

impl Sender {
    fn bind() -> zmq2::Result<Self> {
        let context = zmq2::Context::new();
        // XPUB is PUB that hands its subscriptions to the program.
        let numbers = context.socket(zmq2::XPUB)?;
        numbers.set_sndhwm(0)?;
        numbers.set_linger(0)?;
        numbers.set_rcvtimeo(PATIENCE_MS)?;
        let progress = context.socket(zmq2::SUB)?;
        progress.set_subscribe(b"progress")?;
        let (numbers_port, progress_port) = (bound(&numbers)?, bound(&progress)?);
        Ok(Self { numbers, numbers_port, progress, progress_port })
    }

    /// Waits for the subscription, and sends until the first progress has come back; returns how
    /// many messages the receiver has counted.
    fn warm_up(&self, frame: &[u8]) -> zmq2::Result<u64> {
        while self.numbers.recv_bytes(0)? != b"\x01number" {}
        self.progress.set_rcvtimeo(500)?;
        let mut sent = 0;
        let mut counted = loop {
            for _ in 0..STRIDE {
                self.numbers.send(frame, 0)?;
            }
            sent += STRIDE;
            match self.count() {
                Ok(counted) => break counted,
                // The receiver's publisher has not connected yet.
                Err(zmq2::Error::EAGAIN) => {}
                Err(error) => return Err(error),
            }
        };
        self.progress.set_rcvtimeo(PATIENCE_MS)?;
        while counted < sent {
            counted = self.count()?;
        }
        Ok(counted)
    }

    /// One round after `counted` messages: messages per second.
    fn round(&self, frame: &[u8], counted: u64) -> zmq2::Result<f64> {
        let begun = Instant::now();
        let (mut sent, mut received) = (0, 0);
        while received < MESSAGES {
            while sent < MESSAGES && sent < received + WINDOW {
                self.numbers.send(frame, 0)?;
                sent += 1;
            }
            received = self.count()? - counted;
        }
        Ok(MESSAGES as f64 / begun.elapsed().as_secs_f64())
    }

    /// What the receiver says next of how far it is.
    fn count(&self) -> zmq2::Result<u64> {
        let (_, progress) = harness::peers::split(&self.progress.recv_bytes(0)?);
        Ok(progress["count"].as_u64().expect("progress has a count"))
    }

    fn measure(&self) -> zmq2::Result<Vec<f64>> {
        let frame = frame();
        let mut counted = self.warm_up(&frame)?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(self.round(&frame, counted)?);
            counted += MESSAGES;
        }
        rates.sort_by(f64::total_cmp);
        Ok(rates)
    }
}

fn bound(socket: &zmq2::Socket) -> zmq2::Result<u16> {
    socket.bind("tcp://127.0.0.1:*")?;
    let endpoint = socket.get_last_endpoint()?.expect("an endpoint is UTF-8");
    let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
    Ok(port.expect("a TCP endpoint ends in its port"))
}

fn frame() -> Vec<u8> {
    let (head, tail) = ("number {\"n\":0,\"pad\":\"", "\"}");
    let padding = "x".repeat(SIZE - head.len() - tail.len());
    format!("{head}{padding}{tail}").into_bytes()
}

fn through_the_host() -> zmq2::Result<Vec<f64>> {
    let sender = Sender::bind()?;
    let toml = format!(
        "progress_every = {STRIDE}\n\
         [zmq.publisher]\naddress = \"tcp://127.0.0.1\"\nport = {}\nbind = false\n\
         [zmq.subscriber]\naddress = \"tcp://127.0.0.1\"\nport = {}\ntopics = [\"number\"]\n",
        sender.progress_port, sender.numbers_port
    );
    let mut host = Project::new().service("counter", "fixture-counter", toml).start();
    let rates = sender.measure();
    host.stop();
    rates
}

fn through_asyncio() -> zmq2::Result<Vec<f64>> {
    let sender = Sender::bind()?;
    let arguments = [sender.numbers_port.into(), sender.progress_port.into(), STRIDE];
    let arguments = arguments.map(|argument: u64| argument.to_string());
    let _peer = Peer::start("bench_receiver.py", &arguments.each_ref().map(String::as_str));
    sender.measure()
}

fn through_a_bare_loop() -> zmq2::Result<Vec<f64>> {
    let sender = Sender::bind()?;
    let (numbers_port, progress_port) = (sender.numbers_port, sender.progress_port);
    let receiver = thread::spawn(move || receive(numbers_port, progress_port));
    let rates = sender.measure();
    receiver.join().expect("the receiver does not panic")?;
    rates
}

/// Counts what a round needs and ends.
fn receive(numbers_port: u16, progress_port: u16) -> zmq2::Result<()> {
    let context = zmq2::Context::new();
    let progress = context.socket(zmq2::PUB)?;
    progress.connect(&format!("tcp://127.0.0.1:{progress_port}"))?;
    let numbers = context.socket(zmq2::SUB)?;
    numbers.set_rcvhwm(0)?;
    numbers.set_rcvtimeo(2_000)?;
    numbers.connect(&format!("tcp://127.0.0.1:{numbers_port}"))?;
    numbers.set_subscribe(b"number")?;
    let mut message = zmq2::Message::new();
    let mut count = 0_u64;
    loop {
        match numbers.recv(&mut message, 0) {
            Ok(()) => {}
            // The sender has measured what it wanted.
            Err(zmq2::Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error),
        }
        let (_, number) = harness::peers::split(&message);
        assert!(number["n"].is_u64());
        count += 1;
        if count.is_multiple_of(STRIDE) {
            progress.send(&format!("progress {{\"count\":{count}}}"), 0)?;
        }
    }
}

/// A way to receive, and its sorted rates.
struct Measured {
    name: &'static str,
    rates: Vec<f64>,
}

impl Measured {
    fn median(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "median": self.median(), "rates": self.rates})
    }
}

fn table(measured: &[Measured]) {
    let base = measured[0].median();
    println!("{MESSAGES} messages of {SIZE} B from a SUB socket to a handler, {ROUNDS} rounds");
    println!(
        "{:<28} {:>12} {:>12} {:>12} {:>8}",
        "receiver", "median/s", "min/s", "max/s", "ratio"
    );
    for row in measured {
        let (min, max) = (row.rates[0], row.rates[row.rates.len() - 1]);
        let (median, ratio) = (row.median(), row.median() / base);
        println!("{:<28} {median:>12.0} {min:>12.0} {max:>12.0} {ratio:>8.2}", row.name);
    }
}

fn main() -> zmq2::Result<()> {
    let mut measured = vec![Measured { name: "exphost handler", rates: through_the_host()? }];
    if python::is_there("the comparison with pyzmq") {
        measured.push(Measured { name: "pyzmq asyncio", rates: through_asyncio()? });
    }
    measured.push(Measured { name: "libzmq, bare loop", rates: through_a_bare_loop()? });
    if std::env::args().any(|argument| argument == "--json") {
        let rows: Vec<_> = measured.iter().map(Measured::json).collect();
        println!(
            "{}",
            json!({"messages": MESSAGES, "bytes": SIZE, "unit": "1/s", "receivers": rows})
        );
    } else {
        table(&measured);
    }
    Ok(())
}
