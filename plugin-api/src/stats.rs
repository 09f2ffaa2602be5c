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
    fn a_flood_gives_a_few_lines() {
        let lines = (1..=1_000_000).filter(|n| worth_a_line(*n)).count();
        assert_eq!(lines, 15);
    }
}
