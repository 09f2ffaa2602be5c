//! What the host counts for a service.

use serde::{Deserialize, Serialize};

/// Counters of one service since its host started it; a reload does not reset them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Messages handed to the bus.
    pub messages_sent: u64,
    /// Messages that arrived for the service.
    pub messages_received: u64,
    /// Messages whose handler returned normally.
    pub handled: u64,
    /// Messages that no handler took.
    pub unhandled: u64,
    /// Frames that were not UTF-8 or not JSON, or had more than one part.
    pub bad_frames: u64,
    /// Handlers that returned an error.
    pub handler_errors: u64,
    /// Messages lost because a queue was full, either way.
    pub dropped: u64,
    /// Messages that wait now.
    pub queue_depth: u64,
    /// Errors recorded.
    pub errors: u64,
    /// Panics caught.
    pub panics: u64,
    /// Bytes of the messages handed to the bus, with their topics.
    pub bytes_sent: u64,
    /// Bytes of the messages that arrived for the service, with their topics.
    pub bytes_received: u64,
    /// Most messages that ever waited.
    pub queue_high_mark: u64,
    /// Messages to or from services of the same host, which never saw ZeroMQ. One that goes to three
    /// subscribers counts three times.
    pub delivered_locally: u64,
    /// Numbered messages that others published and that did not arrive.
    pub missed: u64,
    /// Connections of this service's own that were lost and made anew.
    pub reconnects: u64,
    /// What became of the messages that were lost in this host.
    pub dropped_by: Dropped,
    /// Its open sockets. What has been closed since is in the sums above only.
    pub sockets: Vec<SocketStatistics>,
}

/// Messages lost in the host, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dropped {
    /// Received, but the service did not keep up.
    pub mailbox_full: u64,
    /// Not taken for sending: too many waited already.
    pub outbox_full: u64,
    /// Not taken for sending: larger than the host's maximum.
    pub too_large: u64,
    /// Taken, but the transport refused it.
    pub failed: u64,
    /// Taken, but not sent before the socket was closed.
    pub at_close: u64,
}

impl Dropped {
    /// All of them, each with its name, as it is in JSON.
    #[must_use]
    pub const fn by_cause(&self) -> [(&'static str, u64); 5] {
        [
            ("mailbox_full", self.mailbox_full),
            ("outbox_full", self.outbox_full),
            ("too_large", self.too_large),
            ("failed", self.failed),
            ("at_close", self.at_close),
        ]
    }
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.mailbox_full += other.mailbox_full;
        self.outbox_full += other.outbox_full;
        self.too_large += other.too_large;
        self.failed += other.failed;
        self.at_close += other.at_close;
    }
}

/// Counters of one socket since it was opened; a reload that keeps the socket keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SocketStatistics {
    /// The configuration key it came from: `zmq.publisher`.
    pub key: String,
    /// Where it is, with the port it really has.
    pub endpoint: String,
    /// Whether it binds.
    pub bind: bool,
    /// Messages handed to ZeroMQ.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Messages received, good and bad, from this host or another.
    pub received: u64,
    /// Bytes of those.
    pub received_bytes: u64,
    /// Frames that were not UTF-8 or had more than one part.
    pub bad_frames: u64,
    /// Messages to or from sockets of the same host, without ZeroMQ.
    pub delivered_locally: u64,
    /// Numbered messages that others published and that did not arrive.
    pub missed: u64,
    /// What became of the messages that were lost.
    pub dropped: Dropped,
    /// Messages that wait, to be sent or for the service.
    pub queue_depth: u64,
    /// Most of them that ever waited.
    pub queue_high_mark: u64,
    /// Connections that stand.
    pub connections: u64,
    /// Sockets of the same host that it is joined with, without a connection.
    pub joined: u64,
    /// Connections that were lost and made anew, if it is this socket that connects.
    pub reconnects: u64,
    /// Peers turned away.
    pub refused: u64,
}

/// Whether the `n`th event of a kind is worth a log line: the first ten, then each power of ten.
/// A flood of bad messages must not become a flood of warnings.
#[must_use]
pub fn worth_a_line(n: u64) -> bool {
    n <= 10 || 10_u64.pow(n.ilog10()) == n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_host_counts_is_read_too() {
        let old = r#"{"messages_sent":3,"dropped":1}"#;
        let counted: Statistics = serde_json::from_str(old).expect("statistics");
        let expected = Statistics { messages_sent: 3, dropped: 1, ..Statistics::default() };
        assert_eq!(counted, expected);
    }

    #[test]
    fn a_flood_gives_a_few_lines() {
        let lines = (1..=1_000_000).filter(|n| worth_a_line(*n)).count();
        assert_eq!(lines, 15);
    }
}
