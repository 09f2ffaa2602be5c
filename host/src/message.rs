//! What waits in a mailbox: a leaf that the bus writes and the plugin's side reads.

use bytes::Bytes;
use plugin_api::abi::EnvelopeKind;

/// Number of a socket, unique in the life of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub i32);

/// One thing for a service: a message with its parts found, or a word from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What it is.
    pub kind: EnvelopeKind,
    /// The socket it came in by; `None` for a word from the host.
    pub socket: Option<SocketId>,
    /// The topic is `bytes[..topic_len]`.
    pub topic_len: usize,
    /// The payload is `bytes[payload_start..]`.
    pub payload_start: usize,
    /// The whole frame.
    pub bytes: Bytes,
}

impl Envelope {
    /// A word from the host itself, without payload.
    #[must_use]
    pub fn control(kind: EnvelopeKind) -> Self {
        Self { kind, socket: None, topic_len: 0, payload_start: 0, bytes: Bytes::new() }
    }
}
