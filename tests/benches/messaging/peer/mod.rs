//! The bench as a peer: what it does without the host, in a process of its own. See `fixture-bench`
//! for what it does by topic.

mod libzmq;
mod zeromq;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The first argument of a bench that is to be a peer.
pub(crate) const ARGUMENT: &str = "peer";

/// What a worker answers to each task.
const RESULT: &[u8] = b"{\"done\":true}";

/// What a peer does with a frame.
enum Told {
    /// Nothing more than to have counted it.
    Counted,
    /// Publish one frame.
    Answer(Vec<u8>),
    /// Publish these numbers, and a mark.
    Numbers { n: u64, frame: Vec<u8>, mark: Vec<u8> },
    /// Toss so many stamps to and fro.
    Race(u64),
}

/// What a peer knows from one frame to the next.
#[derive(Default)]
struct Station {
    count: u64,
}

impl Station {
    fn told(&mut self, frame: &[u8]) -> Told {
        if frame.starts_with(b"number ") {
            self.count += 1;
            return Told::Counted;
        }
        let space = frame.iter().position(|byte| *byte == b' ').expect("a frame has a topic");
        let (topic, payload) = (&frame[..space], &frame[space + 1..]);
        match topic {
            b"mark" => Told::Answer(text("mark", &json!({"count": self.count}))),
            b"ping" => Told::Answer([b"pong ", payload].concat()),
            b"race" => Told::Race(parsed(payload)["n"].as_u64().expect("so many tosses")),
            b"credit" => {
                let credit = parsed(payload);
                let n = credit["n"].as_u64().expect("so many numbers");
                let size = credit["size"].as_u64().and_then(|size| usize::try_from(size).ok());
                let frame = crate::link::frame("number", size.expect("of this size"));
                Told::Numbers { n, frame, mark: text("mark", &json!({"count": n})) }
            }
            _ => Told::Counted,
        }
    }
}

fn parsed(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).expect("the bench sends JSON")
}

fn text(topic: &str, json: &Value) -> Vec<u8> {
    format!("{topic} {json}").into_bytes()
}

/// A stamp as it is tossed: the time, in nanoseconds since the Unix epoch.
fn stamp() -> Vec<u8> {
    format!("stamp {}", now()).into_bytes()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

/// How long ago a stamp was made.
fn age(stamp: &[u8]) -> u64 {
    let came = now();
    let sent = stamp.strip_prefix(b"stamp ").and_then(|ns| std::str::from_utf8(ns).ok());
    came.saturating_sub(sent.and_then(|ns| ns.parse().ok()).expect("a stamp has a time"))
}

/// Runs until it is killed.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    let [library, role, ports @ ..] = arguments else { return ExitCode::from(2) };
    let ports: Vec<u16> = ports.iter().filter_map(|port| port.parse().ok()).collect();
    match (library.as_str(), role.as_str(), ports.as_slice()) {
        ("libzmq", "station", [bench, out]) => libzmq::station(*bench, *out),
        ("libzmq", "pair", [bench, out, ..]) => libzmq::pair(*bench, *out),
        ("libzmq", "worker", [tasks, results]) => libzmq::worker(*tasks, *results),
        ("zeromq", "station", [bench, out]) => zeromq::station(*bench, *out),
        ("zeromq", "pair", [bench, out, to, fro]) => zeromq::pair(*bench, *out, *to, *fro),
        ("zeromq", "worker", [tasks, results]) => zeromq::worker(*tasks, *results),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}
