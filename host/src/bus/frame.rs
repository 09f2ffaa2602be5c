//! Frames on the wire, without input or output.
//!
//! PUB and SUB carry exactly one frame, `TOPIC` + one space + JSON; PUSH and PULL carry the JSON
//! alone. Whether the payload is JSON is found out on the service's own thread, not here: a bad
//! payload must cost the service that gets it, not everybody's bus thread.

use std::fmt;

use bytes::Bytes;
use plugin_api::abi::EnvelopeKind;
use plugin_api::zmq::{SocketRole, SocketSpec};

/// Where the parts of a frame are: the topic is `[..topic_len]`, the payload `[payload_start..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Length of the topic.
    pub topic_len: usize,
    /// Start of the payload.
    pub payload_start: usize,
}

/// Why a frame is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The message had more than one part.
    Multipart {
        /// How many parts there were.
        parts: usize,
    },
    /// The frame is not UTF-8.
    NotUtf8 {
        /// The first byte that is not.
        at: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multipart { parts } => write!(f, "{parts} parts instead of one"),
            Self::NotUtf8 { at } => write!(f, "not UTF-8 from byte {at} on"),
        }
    }
}

/// Finds the parts of a frame.
///
/// # Errors
/// When it is not UTF-8.
pub fn split(frame: &[u8], role: SocketRole) -> Result<Parts, FrameError> {
    if let Err(error) = std::str::from_utf8(frame) {
        return Err(FrameError::NotUtf8 { at: error.valid_up_to() });
    }
    let whole = Parts { topic_len: 0, payload_start: 0 };
    if matches!(role, SocketRole::Push | SocketRole::Pull) {
        return Ok(whole);
    }
    // Topics are short, so a plain scan beats a vectorised search that must be set up first.
    let space = frame.iter().position(|byte| *byte == b' ');
    Ok(space.map_or(whole, |at| Parts { topic_len: at, payload_start: at + 1 }))
}

/// Puts a frame together: `TOPIC payload`, or the payload alone for PUSH.
#[must_use]
pub fn join(role: SocketRole, topic: &str, payload: &[u8]) -> Bytes {
    if matches!(role, SocketRole::Push | SocketRole::Pull) {
        return Bytes::copy_from_slice(payload);
    }
    join_parts(topic, &[payload])
}

/// Puts a frame to be published together whose payload is in parts.
#[must_use]
pub fn join_parts(topic: &str, payload: &[&[u8]]) -> Bytes {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(topic.len() + 1 + length);
    frame.extend_from_slice(topic.as_bytes());
    frame.push(b' ');
    for part in payload {
        frame.extend_from_slice(part);
    }
    Bytes::from(frame)
}

/// Length of [`join`]'s answer.
#[must_use]
pub fn joined_len(role: SocketRole, topic: &str, payload: &[u8]) -> usize {
    match role {
        SocketRole::Push | SocketRole::Pull => payload.len(),
        SocketRole::Publisher | SocketRole::Subscriber => topic.len() + 1 + payload.len(),
    }
}

/// Whether a topic can be published: the receiver splits at the first space.
///
/// # Errors
/// With one sentence that says why not.
pub fn check_topic(topic: &str) -> Result<(), String> {
    if topic.is_empty() {
        return Err("the topic is empty".to_owned());
    }
    if topic.contains(' ') {
        return Err(format!(
            "the topic {topic:?} contains a space, where the receiver would cut it"
        ));
    }
    Ok(())
}

/// The beginning of a bad frame that may be its topic, for a log line: printable, short.
#[must_use]
pub fn topic_hint(frame: &[u8]) -> Option<String> {
    let head = frame.get(..frame.len().min(64))?;
    let topic = &head[..head.iter().position(|byte| *byte == b' ')?];
    let text = std::str::from_utf8(topic).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// What a message of this socket is for the service: only PULL needs a second look, for a worker
/// pulls tasks (`zmq.pull`) and a controller pulls results (`zmq.workers.<name>.pull`).
#[must_use]
pub fn envelope_kind(spec: &SocketSpec) -> EnvelopeKind {
    match spec.role {
        SocketRole::Pull if spec.key.split('.').any(|part| part == "workers") => {
            EnvelopeKind::Result
        }
        SocketRole::Pull => EnvelopeKind::Task,
        _ => EnvelopeKind::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [SocketRole; 4] =
        [SocketRole::Publisher, SocketRole::Subscriber, SocketRole::Push, SocketRole::Pull];

    fn cut(frame: &[u8], role: SocketRole) -> Result<(&[u8], &[u8]), FrameError> {
        let parts = split(frame, role)?;
        Ok((&frame[..parts.topic_len], &frame[parts.payload_start..]))
    }

    /// A small generator with a fixed seed: the same frames on every run.
    fn frames(count: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let pieces: [&[u8]; 10] = [
            b"a",
            b" ",
            b"{",
            b"}",
            "ü".as_bytes(),
            "火".as_bytes(),
            b"\0",
            b"\n",
            &[0xff],
            b"\xc3",
        ];
        (0..count).map(move |_| {
            let length = next() % 12;
            (0..length).flat_map(|_| pieces[(next() % 10) as usize].to_vec()).collect()
        })
    }

    #[test]
    fn splits_at_the_first_space() {
        let role = SocketRole::Subscriber;
        assert_eq!(cut(b"heartbeat {\"a\": 1}", role), Ok((&b"heartbeat"[..], &b"{\"a\": 1}"[..])));
        assert_eq!(cut(b"{\"a\":1}", role), Ok((&b""[..], &b"{\"a\":1}"[..])));
        assert_eq!(cut(b" {}", role), Ok((&b""[..], &b"{}"[..])));
        assert_eq!(cut(b"topic ", role), Ok((&b"topic"[..], &b""[..])));
        assert_eq!(cut(b"", role), Ok((&b""[..], &b""[..])));
        assert_eq!(cut(b"a {} b", SocketRole::Pull), Ok((&b""[..], &b"a {} b"[..])));
        assert_eq!(cut(b"ab\xff", role), Err(FrameError::NotUtf8 { at: 2 }));
    }

    #[test]
    fn any_frame_is_split_or_refused_and_nothing_is_lost() {
        for frame in frames(20_000) {
            for role in ROLES {
                match cut(&frame, role) {
                    Err(FrameError::NotUtf8 { at }) => {
                        assert!(std::str::from_utf8(&frame).is_err() && at < frame.len());
                    }
                    Err(other) => panic!("{other}"),
                    Ok((topic, payload)) => {
                        assert!(std::str::from_utf8(topic).is_ok_and(|topic| !topic.contains(' ')));
                        let gap = usize::from(topic.len() + payload.len() < frame.len());
                        assert_eq!(topic.len() + gap + payload.len(), frame.len());
                        assert_eq!(payload, &frame[topic.len() + gap..]);
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_joined_is_split_again() {
        for frame in frames(20_000).filter(|frame| std::str::from_utf8(frame).is_ok()) {
            for topic in ["t", "heartbeat", "日本"] {
                let joined = join(SocketRole::Publisher, topic, &frame);
                assert_eq!(joined.len(), joined_len(SocketRole::Publisher, topic, &frame));
                let alone = join(SocketRole::Publisher, topic, &frame).try_into_mut();
                let capacity = alone.expect("nobody shares it").capacity();
                assert_eq!(capacity, joined.len(), "sent without a second allocation");
                let again = cut(&joined, SocketRole::Subscriber);
                assert_eq!(again, Ok((topic.as_bytes(), &frame[..])));
            }
            assert_eq!(join(SocketRole::Push, "ignored", &frame), frame);
        }
    }

    #[test]
    fn a_topic_must_survive_the_way() {
        assert_eq!(check_topic("heartbeat"), Ok(()));
        assert!(check_topic("").is_err());
        assert!(check_topic("a b").is_err_and(|error| error.contains("\"a b\"")));
    }

    #[test]
    fn a_bad_frame_shows_its_topic_if_it_has_one() {
        assert_eq!(topic_hint(b"images \xff\xfe"), Some("images".to_owned()));
        assert_eq!(topic_hint(b"\xff\xfe images"), None);
        assert_eq!(topic_hint(b"noise"), None);
        assert_eq!(topic_hint(b"\x1b[2J x"), None);
    }
}
