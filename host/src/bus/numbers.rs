//! Numbers in published messages, so that a subscriber can tell what it missed: ZeroMQ's PUB drops
//! for a slow subscriber without a word.
//!
//! The host writes `"_run":"<8 hex>","_seq":N,` right after the `{` of a JSON object. The run is new
//! for each opening of a socket; N counts the messages of a topic from 1 on.

use std::collections::{HashMap, VecDeque};
use std::io::Write;

/// Topics that one socket numbers, and pairs of run and topic that one socket remembers.
const TOPICS: usize = 4096;
/// A longer topic is not numbered: what is remembered is bounded in bytes as well.
const TOPIC_LENGTH: usize = 1024;

const RUN: &[u8] = b"\"_run\":\"";
const SEQ: &[u8] = b"\",\"_seq\":";
const HEX: usize = 8;

/// The numbers of one publishing socket.
#[derive(Debug)]
pub(super) struct Numbers {
    run: u32,
    sent: HashMap<String, u64>,
    warned: bool,
}

/// A number that is to be written into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// What is written.
    text: Vec<u8>,
    /// Where in the payload.
    at: usize,
}

impl Head {
    /// How much longer it makes the message.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The payload in its new parts.
    pub(super) fn parts<'a>(&'a self, payload: &'a [u8]) -> [&'a [u8]; 3] {
        let (before, after) = payload.split_at(self.at);
        [before, &self.text, after]
    }
}

impl Numbers {
    pub(super) fn new(run: u32) -> Self {
        Self { run, sent: HashMap::new(), warned: false }
    }

    /// The number that the next message of this topic is to have; `None` when it goes without.
    pub(super) fn next(&self, topic: &str, payload: &[u8]) -> Option<Head> {
        let number = match self.sent.get(topic) {
            Some(sent) => sent + 1,
            None if self.is_full(topic) => return None,
            None => 1,
        };
        let (at, is_empty) = inside(payload)?;
        let mut text = Vec::with_capacity(RUN.len() + HEX + SEQ.len() + 21);
        let comma = if is_empty { "" } else { "," };
        // Writing into memory cannot fail.
        let _ = write!(text, "\"_run\":\"{:08x}\",\"_seq\":{number}{comma}", self.run);
        Some(Head { text, at })
    }

    /// Says that a message of this topic went out with its number.
    pub(super) fn used(&mut self, topic: &str) {
        match self.sent.get_mut(topic) {
            Some(sent) => *sent += 1,
            None => {
                self.sent.insert(topic.to_owned(), 1);
            }
        }
    }

    /// Whether it is to be said that this topic goes without numbers: once.
    pub(super) fn warns_of(&mut self, topic: &str) -> bool {
        let full = !self.sent.contains_key(topic) && self.is_full(topic);
        full && !std::mem::replace(&mut self.warned, true)
    }

    fn is_full(&self, topic: &str) -> bool {
        self.sent.len() >= TOPICS || topic.len() > TOPIC_LENGTH
    }
}

/// The place after the `{` of a JSON object, and whether the object is empty.
fn inside(payload: &[u8]) -> Option<(usize, bool)> {
    let start = payload.iter().position(|byte| !is_space(*byte))?;
    let rest = payload[start..].strip_prefix(b"{")?;
    let first = rest.iter().find(|byte| !is_space(**byte))?;
    Some((start + 1, *first == b'}'))
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// What a subscribing socket has seen of numbered topics.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: HashMap<Vec<u8>, u64>,
    /// In the order in which they were first seen.
    order: VecDeque<Vec<u8>>,
    key: Vec<u8>,
}

impl Seen {
    /// How many messages of this run and topic are missing before this one. The first of a run and
    /// topic tells nothing: the subscriber may have come later.
    pub(super) fn missing_before(&mut self, topic: &[u8], payload: &[u8]) -> u64 {
        let Some((run, number)) = number_in(payload) else { return 0 };
        if topic.len() > TOPIC_LENGTH {
            return 0;
        }
        self.key.clear();
        self.key.extend_from_slice(run);
        self.key.extend_from_slice(topic);
        if let Some(last) = self.last.get_mut(&self.key) {
            let missing = number.saturating_sub(last.saturating_add(1));
            *last = number.max(*last);
            return missing;
        }
        if self.last.len() >= TOPICS
            && let Some(oldest) = self.order.pop_front()
        {
            self.last.remove(&oldest);
        }
        self.last.insert(self.key.clone(), number);
        self.order.push_back(self.key.clone());
        0
    }

    /// Forgets all: with other subscriptions, a gap may be what was not asked for.
    pub(super) fn forget(&mut self) {
        self.last.clear();
        self.order.clear();
    }
}

/// Run and number of a payload that begins with exactly the head that a host writes.
fn number_in(payload: &[u8]) -> Option<(&[u8], u64)> {
    let start = payload.iter().take(64).position(|byte| !is_space(*byte))?;
    let rest = payload[start..].strip_prefix(b"{")?.strip_prefix(RUN)?;
    let (run, rest) = rest.split_at_checked(HEX)?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let rest = rest.strip_prefix(SEQ).filter(|_| run.iter().all(is_hex))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = rest.get(digits).is_some_and(|byte| matches!(byte, b',' | b'}') || is_space(*byte));
    let number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    ends.then_some((run, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(numbers: &mut Numbers, topic: &str, payload: &str) -> String {
        let Some(head) = numbers.next(topic, payload.as_bytes()) else { return payload.to_owned() };
        numbers.used(topic);
        String::from_utf8(head.parts(payload.as_bytes()).concat()).expect("UTF-8")
    }

    #[test]
    fn each_topic_is_counted_from_one() {
        let mut numbers = Numbers::new(0xab_cdef);
        let write = |numbers: &mut Numbers, topic| numbered(numbers, topic, "{\"a\":1}");
        assert_eq!(write(&mut numbers, "x"), "{\"_run\":\"00abcdef\",\"_seq\":1,\"a\":1}");
        assert_eq!(write(&mut numbers, "x"), "{\"_run\":\"00abcdef\",\"_seq\":2,\"a\":1}");
        assert_eq!(write(&mut numbers, "y"), "{\"_run\":\"00abcdef\",\"_seq\":1,\"a\":1}");
    }

    #[test]
    fn what_is_written_is_json_whatever_object_it_was() {
        for payload in ["{}", "{ }", " {\n}", "{\"a\":1}", "\t{ \"a\" : {} }", "{\"a\":[1,2]}"] {
            let mut value: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            let text = numbered(&mut Numbers::new(1), "t", payload);
            let written: serde_json::Value = serde_json::from_str(&text).expect(&text);
            value["_run"] = "00000001".into();
            value["_seq"] = 1.into();
            assert_eq!(written, value);
            assert_eq!(number_in(text.as_bytes()), Some((&b"00000001"[..], 1)), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_goes_without() {
        let mut numbers = Numbers::new(1);
        for payload in ["", "1", "[{}]", "\"{}\"", "{", " ", "null"] {
            assert_eq!(numbered(&mut numbers, "t", payload), payload);
        }
        assert_eq!(
            numbers.next("t", b"{}").map(|head| head.len()),
            Some(26),
            "nothing was counted"
        );
    }

    #[test]
    fn topics_are_bounded_and_the_rest_is_warned_of_once() {
        let mut numbers = Numbers::new(1);
        for topic in 0..TOPICS {
            numbered(&mut numbers, &topic.to_string(), "{}");
        }
        assert_eq!(numbers.next("one more", b"{}"), None);
        assert!(numbers.warns_of("one more"));
        assert!(!numbers.warns_of("two more"));
        assert!(numbers.next("7", b"{}").is_some() && !numbers.warns_of("7"));
        assert_eq!(Numbers::new(1).next(&"x".repeat(1025), b"{}"), None);
    }

    #[test]
    fn gaps_are_counted_by_run_and_topic() {
        let mut seen = Seen::default();
        let mut see = |run: u32, topic: &str, number: u64| {
            let payload = format!("{{\"_run\":\"{run:08x}\",\"_seq\":{number},\"a\":1}}");
            seen.missing_before(topic.as_bytes(), payload.as_bytes())
        };
        assert_eq!(see(1, "x", 7), 0, "the first sets the base");
        assert_eq!(see(1, "x", 8), 0);
        assert_eq!(see(1, "x", 12), 3);
        assert_eq!(see(1, "y", 40), 0);
        assert_eq!(see(2, "x", 1), 0, "a new run begins anew");
        assert_eq!(see(1, "x", 13), 0);
        assert_eq!(see(1, "x", 9), 0, "an old one is not missing");
        assert_eq!(see(1, "x", u64::MAX), u64::MAX - 14);
        assert_eq!(see(1, "x", u64::MAX), 0);
    }

    #[test]
    fn only_exactly_our_head_is_taken_for_one() {
        for payload in [
            "{}",
            "{\"_seq\":1,\"_run\":\"00000001\"}",
            "{\"_run\":\"0000001\",\"_seq\":1}",
            "{\"_run\":\"0000000G\",\"_seq\":1}",
            "{\"_run\":\"00000001\",\"_seq\":}",
            "{\"_run\":\"00000001\",\"_seq\":1",
            "{\"_run\":\"00000001\",\"_seq\":1.5}",
            "{\"_run\":\"00000001\",\"_seq\":-1}",
            "{\"_run\":\"00000001\",\"_seq\":99999999999999999999}",
            "{\"_run\":\"0000000",
        ] {
            assert_eq!(number_in(payload.as_bytes()), None, "{payload}");
        }
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut seen = Seen::default();
        let mut see = |topic: usize, number: u64| {
            let payload = format!("{{\"_run\":\"00000001\",\"_seq\":{number}}}");
            seen.missing_before(topic.to_string().as_bytes(), payload.as_bytes())
        };
        for topic in 0..=TOPICS {
            assert_eq!(see(topic, 1), 0);
        }
        assert_eq!(see(TOPICS, 3), 1);
        assert_eq!(see(0, 3), 0, "its base is new");
    }
}
