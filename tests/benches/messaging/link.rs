//! The bench's end of a contender: what it sends by, what it hears by, and rounds over the two.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zmq2::Socket;

use crate::contender::Round;
use crate::harness;

/// How long a contender may be silent.
pub(crate) const PATIENCE_MS: i32 = 30_000;
/// How long an answer may take that tells whether somebody listens yet.
const ASK_MS: i32 = 100;
/// So many messages may be under way at most: below what the host keeps for a socket on either way.
const WINDOW: u64 = 8_000;
/// The same in bytes.
const WINDOW_BYTES: usize = 32 << 20;
/// So many times in a window it is asked, or told, how far things are.
const MARKS: u64 = 8;

/// How many messages of a size are under way at most, and between two marks.
pub(crate) fn window(size: usize) -> (u64, u64) {
    let by_bytes = (WINDOW_BYTES / size.max(1)) as u64;
    let window = by_bytes.clamp(MARKS, WINDOW);
    (window, window / MARKS)
}

/// Binds to a free port of this machine.
pub(crate) fn bound(socket: &Socket) -> u16 {
    socket.bind("tcp://127.0.0.1:*").expect("a port is free");
    let endpoint = socket.get_last_endpoint().expect("it is bound").expect("an endpoint is UTF-8");
    let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
    port.expect("a TCP endpoint ends in its port")
}

/// A payload of so many bytes.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    let (head, tail) = ("{\"n\":0,\"pad\":\"", "\"}");
    let padding = "x".repeat(size.saturating_sub(head.len() + tail.len()));
    format!("{head}{padding}{tail}").into_bytes()
}

/// A frame of a topic that is `size` bytes long as a whole.
pub(crate) fn frame(topic: &str, size: usize) -> Vec<u8> {
    let head = format!("{topic} ").into_bytes();
    let payload = payload(size.saturating_sub(head.len()));
    [head, payload].concat()
}

/// A publisher to the contender, and subscribers of it.
pub(crate) struct Link {
    out: Socket,
    port: u16,
    ins: Vec<Socket>,
    asked: u64,
}

impl Link {
    /// The publisher alone; the contender is to connect to its port.
    pub(crate) fn bind() -> Self {
        let context = zmq2::Context::new();
        let out = context.socket(zmq2::PUB).expect("a socket");
        out.set_sndhwm(0).expect("an option");
        out.set_linger(0).expect("an option");
        let port = bound(&out);
        Self { out, port, ins: Vec::new(), asked: 0 }
    }

    /// Where the contender hears the bench.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Connects so many subscribers to the contender's publisher, and waits until each hears an answer.
    pub(crate) fn connect(&mut self, port: u16, subscribers: usize) {
        let context = zmq2::Context::new();
        for _ in 0..subscribers {
            let socket = context.socket(zmq2::SUB).expect("a socket");
            socket.set_rcvhwm(0).expect("an option");
            socket.set_subscribe(b"").expect("an option");
            socket.connect(&format!("tcp://127.0.0.1:{port}")).expect("an address");
            self.ins.push(socket);
        }
        self.wait_until_heard();
    }

    fn wait_until_heard(&mut self) {
        let end = Instant::now() + harness::DEADLINE;
        for index in 0..self.ins.len() {
            self.set_patience(ASK_MS);
            while self.ask(index, "ping", json!({}), "pong").is_none() {
                assert!(Instant::now() < end, "the contender does not answer");
            }
            self.set_patience(PATIENCE_MS);
        }
        // Every subscriber has heard one by now; what else is on its way ends with this one.
        let last = self.number();
        self.send("ping", &json!({"asked": last}));
        for socket in &self.ins {
            while harness::peers::split(&receive(socket)).1["asked"] != last {}
        }
    }

    fn set_patience(&self, ms: i32) {
        for socket in &self.ins {
            socket.set_rcvtimeo(ms).expect("an option");
        }
    }

    fn number(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    fn send(&self, topic: &str, json: &Value) {
        self.out.send(&format!("{topic} {json}"), 0).expect("a publisher can send");
    }

    /// Asks, and waits for the answer to this very question, or for silence.
    fn ask(&mut self, index: usize, topic: &str, mut json: Value, answer: &str) -> Option<Value> {
        json["asked"] = self.number().into();
        self.send(topic, &json);
        loop {
            let frame = self.ins[index].recv_bytes(0).ok()?;
            let (topic, said) = harness::peers::split(&frame);
            if topic == answer && said["asked"] == json["asked"] {
                return Some(said);
            }
        }
    }

    /// Sends numbers for so long; how many a second were handled.
    pub(crate) fn receive_round(&self, size: usize, time: Duration) -> Round {
        let numbers = frame("number", size);
        let (window, stride) = window(size);
        let before = self.count_after_mark();
        let begun = Instant::now();
        let (mut sent, mut handled) = (0, 0);
        while begun.elapsed() < time {
            while sent + stride <= handled + window {
                for _ in 0..stride {
                    self.out.send(&numbers[..], 0).expect("a publisher can send");
                }
                sent += stride;
                self.send("mark", &json!({}));
            }
            handled = self.next_count(0) - before;
        }
        while handled < sent {
            let now = self.next_count(0) - before;
            assert!(now > handled, "a mark went by and nothing was handled before it");
            handled = now;
        }
        assert_eq!(handled, sent, "every number arrived");
        Round::rate(sent, begun)
    }

    fn count_after_mark(&self) -> u64 {
        self.send("mark", &json!({}));
        self.next_count(0)
    }

    /// The count of the next mark that comes to a subscriber; whatever comes before it is passed over.
    fn next_count(&self, index: usize) -> u64 {
        loop {
            let frame = receive(&self.ins[index]);
            if frame.starts_with(b"mark ") {
                let (_, mark) = harness::peers::split(&frame);
                return mark["count"].as_u64().expect("a mark has a count");
            }
        }
    }

    /// Lets the contender publish for so long; how many messages a second it published, each of them to
    /// every subscriber.
    pub(crate) fn publish_round(&self, size: usize, ready: bool, time: Duration) -> Round {
        let (_, stride) = window(size);
        self.credit_round(size, ready, time, &mut || {
            for socket in &self.ins {
                let mut numbers = 0;
                loop {
                    // The message is dropped at once, as a subscriber that only counts would.
                    let message = socket.recv_msg(0).expect("the contender publishes");
                    if message.starts_with(b"mark ") {
                        break;
                    }
                    numbers += 1;
                }
                assert_eq!(numbers, stride, "every number arrived");
            }
        })
    }

    /// The same where another service of the contender hears the numbers, which answers to the marks.
    pub(crate) fn relay_round(&self, size: usize, ready: bool, time: Duration) -> Round {
        let (_, stride) = window(size);
        let mut last = None;
        self.credit_round(size, ready, time, &mut || {
            let count = self.next_count(0);
            if let Some(last) = last {
                assert_eq!(count, last + stride, "every number arrived");
            }
            last = Some(count);
        })
    }

    /// Gives credit for so long; `arrived` waits for what one credit brings.
    fn credit_round(
        &self,
        size: usize,
        ready: bool,
        time: Duration,
        arrived: &mut dyn FnMut(),
    ) -> Round {
        let (window, stride) = window(size);
        let credit = json!({"n": stride, "size": size, "ready": ready});
        let begun = Instant::now();
        let (mut given, mut come) = (0, 0);
        while begun.elapsed() < time {
            while given + stride <= come + window {
                self.send("credit", &credit);
                given += stride;
            }
            arrived();
            come += stride;
        }
        while come < given {
            arrived();
            come += stride;
        }
        Round::rate(come, begun)
    }

    /// Asks and waits, one question at a time, for so long: what each took.
    pub(crate) fn ping_round(&self, size: usize, time: Duration) -> Round {
        let ping = frame("ping", size);
        let begun = Instant::now();
        let mut took = Vec::new();
        while begun.elapsed() < time {
            let asked = Instant::now();
            self.out.send(&ping[..], 0).expect("a publisher can send");
            let answer = self.ins[0].recv_msg(0).expect("the contender answers");
            took.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
            assert!(answer.starts_with(b"pong "), "an answer to a ping");
        }
        Round::times(took)
    }

    /// Has two services of the contender toss a message to and fro: what each way to one of them took, in
    /// nanoseconds. `None` when they do not hear each other yet.
    pub(crate) fn race(&self, tosses: u64) -> Option<Vec<u64>> {
        self.send("race", &json!({"n": tosses}));
        loop {
            let frame = self.ins[0].recv_bytes(0).ok()?;
            let (topic, delays) = harness::peers::split(&frame);
            if topic == "delays" {
                let delays = delays.as_array().expect("delays are a list");
                return Some(delays.iter().filter_map(Value::as_u64).collect());
            }
        }
    }

    /// Waits until two services of the contender hear each other.
    pub(crate) fn wait_until_they_race(&self) {
        let end = Instant::now() + harness::DEADLINE;
        self.set_patience(ASK_MS);
        while self.race(1).is_none() {
            assert!(Instant::now() < end, "the contender's services do not hear each other");
        }
        // What is still on its way of the races that were called before this one.
        while self.ins[0].recv_bytes(0).is_ok() {}
        self.set_patience(PATIENCE_MS);
    }
}

fn receive(socket: &Socket) -> Vec<u8> {
    socket.recv_bytes(0).expect("the contender is heard")
}
