//! What services do, in the log at regular times: `[stats] display` in `exphost.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use plugin_api::stats::{Dropped, Statistics};
use tokio::time::Instant;

/// When the next lines are due, and what was counted at the last ones.
#[derive(Debug)]
pub(super) struct Display {
    interval: Duration,
    due: Instant,
    last: BTreeMap<String, (Instant, Statistics)>,
}

/// One service in the time since its last line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    service: String,
    /// Messages a second, and bytes.
    received: Rate,
    sent: Rate,
    /// Messages lost in that time: `mailbox_full=3 failed=1`; none when there were none.
    dropped: Option<String>,
    missed: u64,
    bad_frames: u64,
    reconnects: u64,
    /// Messages that wait now, and most that ever waited.
    queue_depth: u64,
    queue_high_mark: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    messages: f64,
    bytes: f64,
}

impl Display {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, due: now + interval, last: BTreeMap::new() }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The lines for what has been counted by now; none before they are due. Times that were missed
    /// are not made up for.
    pub(super) fn lines(
        &mut self,
        now: Instant,
        began: Instant,
        counted: impl IntoIterator<Item = (String, Statistics)>,
    ) -> Vec<Line> {
        if now < self.due {
            return Vec::new();
        }
        self.due = now + self.interval;
        let mut line = |(service, counted): (String, Statistics)| {
            let last = self.last.insert(service.clone(), (now, counted.clone()));
            let (since, last) = last.unwrap_or_else(|| (began, Statistics::default()));
            Line::new(service, now - since, &last, &counted)
        };
        counted.into_iter().map(&mut line).collect()
    }
}

impl Line {
    fn new(service: String, time: Duration, last: &Statistics, now: &Statistics) -> Self {
        let since = |of: fn(&Statistics) -> u64| of(now).saturating_sub(of(last));
        let rate = |messages, bytes| {
            // Less than a millisecond of life would make a large number of little.
            let seconds = time.as_secs_f64().max(0.001);
            let a_second = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
            Rate { messages: a_second(messages), bytes: a_second(bytes) }
        };
        Self {
            service,
            received: rate(since(|it| it.messages_received), since(|it| it.bytes_received)),
            sent: rate(since(|it| it.messages_sent), since(|it| it.bytes_sent)),
            dropped: dropped(&last.dropped_by, &now.dropped_by),
            missed: since(|it| it.missed),
            bad_frames: since(|it| it.bad_frames),
            reconnects: since(|it| it.reconnects),
            queue_depth: now.queue_depth,
            queue_high_mark: now.queue_high_mark,
        }
    }

    pub(super) fn log(&self) {
        tracing::info!(
            service = self.service,
            received_per_s = self.received.messages,
            received_bytes_per_s = self.received.bytes,
            sent_per_s = self.sent.messages,
            sent_bytes_per_s = self.sent.bytes,
            queue_depth = self.queue_depth,
            queue_high_mark = self.queue_high_mark,
            dropped = self.dropped,
            missed = some(self.missed),
            bad_frames = some(self.bad_frames),
            reconnects = some(self.reconnects),
            "statistics"
        );
    }
}

/// What is zero is left out of a line.
fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn dropped(last: &Dropped, now: &Dropped) -> Option<String> {
    let pairs = last.by_cause().into_iter().zip(now.by_cause());
    let causes: Vec<_> = pairs
        .filter_map(|((cause, last), (_, now))| {
            Some(format!("{cause}={}", some(now.saturating_sub(last))?))
        })
        .collect();
    (!causes.is_empty()).then(|| causes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(messages: u64, mailbox_full: u64) -> Statistics {
        Statistics {
            messages_received: messages,
            bytes_received: messages * 100,
            messages_sent: 3,
            queue_depth: 4,
            queue_high_mark: 9,
            dropped_by: Dropped { mailbox_full, failed: 1, ..Dropped::default() },
            ..Statistics::default()
        }
    }

    #[test]
    fn one_line_a_service_when_it_is_due_and_only_what_is_new() {
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let mut display = Display::new(Duration::from_secs(60), start);
        let mut lines = |at, messages, full| {
            let counted = [("core".to_owned(), counted(messages, full))];
            let lines = display.lines(seconds(at), start, counted);
            assert!(display.due() > seconds(at));
            lines
        };
        assert_eq!(lines(59, 100, 0), []);
        let first = lines(60, 600, 0);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].received, Rate { messages: 10.0, bytes: 1000.0 });
        assert_eq!(first[0].sent, Rate { messages: 0.1, bytes: 0.0 }, "0.05 rounded");
        assert_eq!(first[0].dropped.as_deref(), Some("failed=1"));
        assert_eq!((first[0].queue_depth, first[0].queue_high_mark), (4, 9));
        // Late, so it is a rate over more time, and the next one is a whole interval away.
        let second = lines(160, 700, 5);
        assert_eq!(second[0].received.messages, 1.0);
        assert_eq!(second[0].dropped.as_deref(), Some("mailbox_full=5"), "what is new");
        assert_eq!(lines(219, 900, 5), []);
        assert_eq!(lines(220, 700, 5)[0].dropped, None);
    }
}
