//! The state of one service, as it is kept: a line that says whose and of when it is, then the bytes.

use std::sync::Arc;

use jiff::Timestamp;
use plugin_api::SavedState;
use serde::{Deserialize, Serialize};

use super::envelope::{self, Broken};

const KIND: &str = "state";

/// A state, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The service.
    pub service: String,
    /// The plugin: another one's state is of no use to it.
    pub plugin: String,
    /// When the service told of it.
    pub at: Timestamp,
    /// The state.
    pub state: Arc<SavedState>,
}

/// The line before the bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    service: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    plugin: std::borrow::Cow<'a, str>,
    at: Timestamp,
    version: u32,
}

impl Memory {
    /// As a file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            service: self.service.as_str().into(),
            plugin: self.plugin.as_str().into(),
            at: self.at,
            version: self.state.version,
        };
        // Names, times and numbers always have a JSON form, and it has no line break.
        let mut body = serde_json::to_vec(&head).unwrap_or_default();
        body.push(b'\n');
        body.extend_from_slice(&self.state.bytes);
        envelope::seal(KIND, &body)
    }

    /// The state of `service`, which runs `plugin`, in a file.
    ///
    /// # Errors
    /// When it is not one of these, or somebody else's.
    pub fn of_bytes(service: &str, plugin: &str, bytes: &[u8]) -> Result<Self, Broken> {
        let body = envelope::open(KIND, bytes)?;
        let end = body.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| Broken::Senseless("there is no head".to_owned()))?;
        let (head, rest) = body.split_at(end);
        let head: Head<'_> =
            serde_json::from_slice(head).map_err(|error| Broken::Senseless(error.to_string()))?;
        if (&*head.service, &*head.plugin) != (service, plugin) {
            let named = |service: &str, plugin: &str| {
                format!(
                    "service `{}` with plugin `{}`",
                    service.escape_debug(),
                    plugin.escape_debug()
                )
            };
            return Err(Broken::OfSomethingElse {
                found: named(&head.service, &head.plugin),
                wanted: named(service, plugin),
            });
        }
        let bytes = rest.get(1..).unwrap_or_default().to_vec();
        Ok(Self {
            service: service.to_owned(),
            plugin: plugin.to_owned(),
            at: head.at,
            state: Arc::new(SavedState { version: head.version, bytes }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: &[u8]) -> Memory {
        Memory {
            service: "door".to_owned(),
            plugin: "counter".to_owned(),
            at: Timestamp::from_second(1_000).expect("a time"),
            state: Arc::new(SavedState { version: 3, bytes: bytes.to_vec() }),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [&b""[..], b"{\"n\": 1}", b"\n\n", &[0xff, 0, b'\n']] {
            let memory = memory(bytes);
            assert_eq!(Memory::of_bytes("door", "counter", &memory.to_bytes()), Ok(memory));
        }
    }

    #[test]
    fn a_state_of_another_service_or_plugin_is_named() {
        let bytes = memory(b"x").to_bytes();
        for (service, plugin) in [("window", "counter"), ("door", "clock")] {
            let refused = Memory::of_bytes(service, plugin, &bytes).expect_err("somebody else's");
            let said = refused.to_string();
            assert!(said.contains("service `door` with plugin `counter`"), "{said}");
        }
    }
}
