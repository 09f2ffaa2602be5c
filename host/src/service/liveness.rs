//! Whether a service's own runtime turns, and what it is in the midst of when it does not.
//!
//! A plugin sends a beat every half a second and whenever a function of its author begins that the
//! host cannot know of. Messages need no word of their own: the mailbox knows which was taken last.
//! Only times are kept here; who judges by them, and when, is the supervisor's matter.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plugin_api::abi::EnvelopeKind;

/// A message that a service has taken, and that no other was taken after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InHand {
    /// Its number among all that were taken.
    pub number: u64,
    /// What it is for the service.
    pub kind: EnvelopeKind,
    /// Its topic, or the beginning of a long one; empty for tasks and results.
    pub topic: String,
}

impl InHand {
    /// The author's function that has it.
    #[must_use]
    pub const fn handler(&self) -> &'static str {
        match self.kind {
            EnvelopeKind::Task => "on_task",
            EnvelopeKind::Result => "on_result",
            _ => "on_message",
        }
    }
}

/// How long what may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// How long the runtime may not turn; `None` where that is not judged.
    pub beat: Option<Duration>,
    /// How long a handler may go on, awaiting or not; `None` for as long as it likes.
    pub handler: Option<Duration>,
}

/// Why a service is said not to respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its thread is blocked or busy: its runtime does not turn.
    NoBeat,
    /// Its runtime turns, and a handler goes on for longer than it may.
    SlowHandler,
}

/// A service that does not respond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Why it is said to.
    pub cause: Cause,
    /// Since when.
    pub since: Instant,
}

/// What the beats of the present instance told.
#[derive(Debug)]
pub struct Liveness(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    patience: Patience,
    last: Instant,
    /// What the last beat said it was within.
    place: String,
    /// What was in hand at the last beat, by number or place, and since which beat that was so.
    busy: Option<(Work, Instant)>,
    /// Whether somebody waits for it to come back.
    is_awaited: bool,
    /// Whether a handler was slow at the last beat.
    was_slow: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Message(u64),
    Place(String),
}

impl Default for Liveness {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            patience: Patience::default(),
            last: Instant::now(),
            place: String::new(),
            busy: None,
            is_awaited: false,
            was_slow: false,
        }))
    }
}

impl Liveness {
    /// An instance begins now.
    pub fn begin(&self, patience: Patience, now: Instant) {
        *self.lock() = Inner {
            patience,
            last: now,
            place: String::new(),
            busy: None,
            is_awaited: false,
            was_slow: false,
        };
    }

    /// A beat. True when somebody should look: it was awaited, or a handler has just become slow.
    pub fn beat(&self, place: &str, in_hand: Option<u64>, now: Instant) -> bool {
        let mut inner = self.lock();
        inner.last = now;
        if inner.place != place {
            place.clone_into(&mut inner.place);
        }
        let work = match in_hand {
            _ if !place.is_empty() => Some(Work::Place(place.to_owned())),
            Some(number) => Some(Work::Message(number)),
            None => None,
        };
        let since = match (&inner.busy, &work) {
            (Some((before, since)), Some(work)) if before == work => *since,
            _ => now,
        };
        inner.busy = work.map(|work| (work, since));
        let slow = inner.is_slow(now);
        let has_changed = std::mem::replace(&mut inner.was_slow, slow) != slow;
        std::mem::take(&mut inner.is_awaited) || has_changed
    }

    /// Takes the time until now for excused: nobody could have heard a beat.
    pub fn excuse(&self, now: Instant) {
        self.lock().last = now;
    }

    /// Why it does not respond, if so. When it does not beat, whoever looks is told once it does.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Option<Silence> {
        let mut inner = self.lock();
        let last = inner.last;
        if inner.patience.beat.is_some_and(|limit| now.saturating_duration_since(last) >= limit) {
            inner.is_awaited = true;
            return Some(Silence { cause: Cause::NoBeat, since: last });
        }
        let since = inner.busy.as_ref().map(|(_, since)| *since).filter(|_| inner.is_slow(now))?;
        Some(Silence { cause: Cause::SlowHandler, since })
    }

    /// When the next beat is overdue.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let inner = self.lock();
        inner.patience.beat.map(|limit| inner.last + limit)
    }

    /// What the last beat said that the service was within; empty when in nothing.
    #[must_use]
    pub fn place(&self) -> String {
        self.lock().place.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is a few assignments that cannot fail, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_slow(&self, now: Instant) -> bool {
        let Some((_, since)) = &self.busy else { return false };
        self.patience.handler.is_some_and(|limit| now.saturating_duration_since(*since) >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn alive(beat: u64, handler: Option<u64>) -> (Liveness, Instant) {
        let (liveness, now) = (Liveness::default(), Instant::now());
        let handler = handler.map(Duration::from_secs);
        liveness.begin(Patience { beat: Some(Duration::from_secs(beat)), handler }, now);
        (liveness, now)
    }

    #[test]
    fn who_does_not_beat_is_silent_until_the_next_beat_which_is_told() {
        let (liveness, begun) = alive(5, None);
        assert!(!liveness.beat("", None, begun + SECOND), "nobody waits for it");
        assert_eq!(liveness.due(), Some(begun + 6 * SECOND));
        assert_eq!(liveness.silence(begun + 5 * SECOND), None);
        let silence = Silence { cause: Cause::NoBeat, since: begun + SECOND };
        assert_eq!(liveness.silence(begun + 6 * SECOND), Some(silence));
        assert!(liveness.beat("", None, begun + 9 * SECOND), "somebody waits for it");
        assert_eq!(liveness.silence(begun + 9 * SECOND), None);
        assert!(!liveness.beat("", None, begun + 10 * SECOND));
    }

    #[test]
    fn a_handler_that_awaits_is_slow_only_past_its_own_limit() {
        let (liveness, begun) = alive(5, Some(3));
        let at = |seconds| begun + seconds * SECOND;
        assert!(!liveness.beat("", Some(1), at(1)));
        // Another message in hand: another handler.
        assert!(!liveness.beat("", Some(2), at(3)));
        assert!(!liveness.beat("", Some(2), at(5)));
        assert_eq!(liveness.silence(at(5)), None);
        assert!(liveness.beat("", Some(2), at(6)), "the supervisor is to look");
        let silence = Silence { cause: Cause::SlowHandler, since: at(3) };
        assert_eq!(liveness.silence(at(6)), Some(silence));
        assert!(!liveness.beat("", Some(2), at(7)), "it is told once");
        assert!(liveness.beat("", None, at(8)), "and once that it is over");
        assert_eq!(liveness.silence(at(8)), None);
    }

    #[test]
    fn a_host_that_was_stopped_itself_accuses_nobody() {
        let (liveness, begun) = alive(5, None);
        let woken = begun + 100 * SECOND;
        liveness.excuse(woken);
        assert_eq!(liveness.silence(woken), None);
        assert_eq!(liveness.due(), Some(woken + 5 * SECOND));
        assert_eq!(Liveness::default().silence(woken), None, "nothing is judged by itself");
    }
}
