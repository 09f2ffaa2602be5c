//! Messages as they come in.

use std::fmt;
use std::rc::Rc;

use serde::Deserialize;

use crate::abi::{CheckedEnvelope, RawEnvelope};
use crate::error::{Error, ErrorKind, Result};
use crate::json;
use crate::schemas::MessageType;

/// A message: its topic and its JSON payload, as bytes that the host owns.
///
/// Cloning is cheap and copies no bytes.
#[derive(Clone)]
pub struct Message(Rc<CheckedEnvelope>);

impl Message {
    /// A message from what the mailbox delivered; `None` when the parts lie outside the frame or
    /// the topic is not UTF-8, which the host rules out.
    pub(crate) fn from_raw(raw: RawEnvelope) -> Option<Self> {
        CheckedEnvelope::of(raw).map(Rc::new).map(Self)
    }

    /// The topic; empty for a message that names none.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// The payload: JSON text.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    /// The payload, read as a `T`, which may borrow from the message.
    ///
    /// # Errors
    /// [`ErrorKind::BadMessage`] when the payload does not fit.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(self.payload()).map_err(|error| {
            Error::of(ErrorKind::BadMessage, format!("message on `{}`: {error}", self.topic()))
        })
    }

    /// The `type` that the payload carries, if it is an object and does.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        type_of(self.payload()).map(|name| MessageType::from(name.as_ref()))
    }

    /// Whether the payload is JSON at all.
    pub(crate) fn is_json(&self) -> bool {
        json::is_json(self.payload())
    }
}

/// The `type` of a JSON object, without reading the rest of it into memory.
pub(crate) fn type_of(json: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Tag<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<std::borrow::Cow<'a, str>>,
    }
    serde_json::from_slice::<Tag<'_>>(json).ok()?.kind
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = self.payload();
        let shown = &payload[..payload.len().min(200)];
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("bytes", &payload.len())
            .field("payload", &String::from_utf8_lossy(shown))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::HostBytes;

    fn raw(frame: &'static [u8], topic_len: usize, payload_start: usize) -> RawEnvelope {
        let bytes = HostBytes::of_static(frame);
        RawEnvelope { kind: 0, socket: 1, topic_len, payload_start, bytes }
    }

    #[test]
    fn parts_are_read_in_place() {
        let message = Message::from_raw(raw(br#"status {"type":"Alert","n":1}"#, 6, 7)).unwrap();
        assert_eq!(message.topic(), "status");
        assert_eq!(message.message_type(), Some(MessageType::Alert));
        assert_eq!(message.json::<serde_json::Value>().unwrap()["n"], 1);
    }

    #[test]
    fn parts_outside_the_frame_are_no_message() {
        assert!(Message::from_raw(raw(b"{}", 3, 0)).is_none());
        assert!(Message::from_raw(raw(b"{}", 0, 3)).is_none());
        assert!(Message::from_raw(raw(b"\xff {}", 1, 2)).is_none());
    }

    #[test]
    fn a_payload_that_is_no_json_is_an_error_that_names_the_topic() {
        let message = Message::from_raw(raw(b"status {oops", 6, 7)).unwrap();
        assert!(!message.is_json());
        let error = message.json::<serde_json::Value>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadMessage);
        assert!(error.to_string().contains("`status`"), "{error}");
    }
}
