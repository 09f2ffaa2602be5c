//! What a host and the process of an isolated service say to each other, and how it is written.
//!
//! Both ends are the same executable (`/proc/self/exe`), so there are no versions to bridge. The child
//! speaks and the host answers: a call that wants an answer has it before the next call is written.
//! So the channel holds one call and one answer at most, nothing is taken out of the service's mailbox
//! that nobody asked for, and neither end can make the other pile anything up.
//!
//! A frame is two lengths (4 bytes each, little endian), a head in postcard, and a body of plain
//! bytes: payloads go in the body, without a copy more than the socket needs.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::logging::bridge::{Callsite, Value};

/// The longest head: what is long goes in the body, save the texts of a log event.
const LONGEST_HEAD: usize = 16 << 20;

/// The longest body. Messages and states have limits of their own, which the host judges by.
pub(super) const LONGEST_BODY: usize = 1 << 30;

/// Memory is taken for what has come, not for what was announced.
const TAKEN_AT_ONCE: usize = 1 << 20;

/// What the child says. Codes are those of `plugin_api::abi`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call<'a> {
    /// Answered with [`Stepped`].
    Transition {
        method: u8,
        step: u8,
    },
    /// Answered with [`Stepped`].
    State,
    /// Answered with a code.
    Health,
    /// Answered with a body of JSON.
    Statistics,
    /// Answered with `Option<u8>`.
    Control,
    /// Answered with `Option<Taken>`, the frame in the body.
    Take {
        held: Vec<i32>,
    },
    /// Answered with a truth.
    AwaitRoom {
        socket: i32,
    },
    /// The payload in the body; answered with a truth.
    GiveBack {
        socket: i32,
        topic: &'a str,
    },
    /// The specification, as JSON, in the body; answered with `Result<i32, String>`.
    OpenSocket,
    /// The payload in the body; answered with a code.
    Send {
        socket: i32,
        topic: &'a str,
    },
    /// Answered with `Option<u32>`, the version; the state is in the body.
    TakeState,
    /// The state in the body; answered with `Result<(), String>`.
    KeepState {
        version: u32,
    },
    /// Answered with a truth, the JSON in the body.
    TakeConfig,
    /// Answered with a number.
    RegisterCallsite(#[serde(borrow)] Callsite<'a>),
    /// Answered with a truth.
    CallsiteEnabled(u64),
    /// This and the following have no answer.
    Log {
        callsite: u64,
        spans: &'a str,
        fields: Vec<(usize, Value<'a>)>,
    },
    RecordError {
        severity: u8,
        place: &'a str,
        message: &'a str,
    },
    ResetErrorStatus,
    /// The metadata in the body.
    RecordHealthCheck {
        name: &'a str,
        status: u8,
        message: &'a str,
    },
    Count {
        counter: u8,
        amount: u64,
    },
    Ready,
    Beat {
        place: &'a str,
    },
    StateRestored {
        restored: u8,
        reason: &'a str,
    },
    AnswerConfig {
        outcome: u8,
        message: &'a str,
    },
    /// A line of the host's own code in the child; the level is as in a [`Callsite`].
    Say {
        level: u8,
        text: &'a str,
    },
    /// The run is over, with this outcome; nothing follows.
    Ended {
        outcome: u8,
    },
}

/// The first thing the child hears; the configuration is in the body.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello<'a> {
    pub(super) service: &'a str,
    pub(super) project: &'a str,
    pub(super) stop_timeout: f64,
    /// The library to open, as bytes of the path.
    pub(super) library: &'a [u8],
}

/// The answer to a step: whether it was legal, and the state after it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stepped {
    pub(super) accepted: bool,
    pub(super) state: u8,
    pub(super) entered_at_ms: i64,
}

/// A message that was taken.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) kind: u8,
    pub(super) socket: Option<i32>,
    pub(super) topic_len: usize,
    pub(super) payload_start: usize,
}

/// A frame as it came.
#[derive(Debug, Default)]
pub(super) struct Frame {
    head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Frame {
    /// Its head.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn head<'a, T: Deserialize<'a>>(&'a self) -> io::Result<T> {
        postcard::from_bytes(&self.head).map_err(nonsense)
    }
}

/// Puts a frame without its body behind what `buffer` holds.
///
/// # Errors
/// `InvalidInput` when a part is too long; then nothing has changed.
pub(super) fn put(buffer: &mut Vec<u8>, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = postcard::to_stdvec(head).map_err(nonsense)?;
    let lengths = [length(head.len(), LONGEST_HEAD)?, length(body.len(), LONGEST_BODY)?];
    lengths.iter().for_each(|length| buffer.extend_from_slice(&length.to_le_bytes()));
    buffer.extend_from_slice(&head);
    Ok(())
}

/// Writes a frame, and before it what `buffer` holds, which is empty afterwards.
///
/// # Errors
/// When the other end is gone; `InvalidInput` when a part is too long, and then nothing was written.
pub(super) fn write(
    mut to: impl Write,
    buffer: &mut Vec<u8>,
    head: &impl Serialize,
    body: &[u8],
) -> io::Result<()> {
    put(buffer, head, body)?;
    send(&mut to, buffer, body)
}

/// Writes what `buffer` holds, whose last frame is without its body, and that body. `buffer` is empty
/// afterwards.
///
/// # Errors
/// When the other end is gone.
pub(super) fn send(mut to: impl Write, buffer: &mut Vec<u8>, body: &[u8]) -> io::Result<()> {
    /// Below this a copy is cheaper than another system call.
    const WORTH_A_COPY: usize = 32 << 10;
    if body.len() <= WORTH_A_COPY {
        buffer.extend_from_slice(body);
        to.write_all(buffer)?;
    } else {
        to.write_all(buffer)?;
        to.write_all(body)?;
    }
    buffer.clear();
    Ok(())
}

/// Reads the next frame.
///
/// # Errors
/// When the other end is gone, or what it writes is no frame.
pub(super) fn read(mut from: impl Read) -> io::Result<Frame> {
    let mut lengths = [[0; 4]; 2];
    from.read_exact(lengths.as_flattened_mut())?;
    let [head, body] = lengths.map(|length| u32::from_le_bytes(length) as usize);
    if head > LONGEST_HEAD || body > LONGEST_BODY {
        return Err(nonsense(format!("a frame of {head} and {body} bytes")));
    }
    Ok(Frame { head: read_part(&mut from, head)?, body: read_part(&mut from, body)? })
}

fn read_part(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut part = Vec::with_capacity(length.min(TAKEN_AT_ONCE));
    from.take(length as u64).read_to_end(&mut part)?;
    if part.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(part)
}

fn length(length: usize, longest: usize) -> io::Result<u32> {
    let fits = u32::try_from(length).ok().filter(|_| length <= longest);
    fits.ok_or_else(|| {
        let what = format!("{length} bytes where {longest} are the limit");
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })
}

/// What was read is no frame of this protocol.
pub(super) fn nonsense(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_written_whatever_the_size_of_the_body() {
        for size in [0, 10, 100_000] {
            let (mut buffer, mut channel) = (Vec::new(), Vec::new());
            let body = vec![7; size];
            put(&mut buffer, &Call::Count { counter: 1, amount: 9 }, &[]).expect("fits");
            let call = Call::Send { socket: 3, topic: "a" };
            write(&mut channel, &mut buffer, &call, &body).expect("a vector takes everything");
            assert!(buffer.is_empty());
            let mut channel = channel.as_slice();
            let first = read(&mut channel).expect("a frame");
            assert!(matches!(first.head(), Ok(Call::Count { counter: 1, amount: 9 })));
            let second = read(&mut channel).expect("another");
            assert!(matches!(second.head(), Ok(Call::Send { socket: 3, topic: "a" })));
            assert_eq!(second.body, body);
            assert!(channel.is_empty());
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_costs_no_memory() {
        let announced = [0xff_u8; 8];
        let error = read(announced.as_slice()).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let cut_short = [1, 0, 0, 0, 0, 0, 0, 16];
        let error = read(cut_short.as_slice()).expect_err("nothing follows");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let garbage = Frame { head: vec![0xff; 20], body: Vec::new() };
        assert!(garbage.head::<Call<'_>>().is_err());
    }
}
