//! Whether a service's own runtime turns, and what it is in the midst of when it does not.
//!
//! A plugin sends a beat every half a second and whenever a function of its author begins that the
//! host cannot know of. Messages need no word of their own: the mailbox knows which was taken last.
//! Only times are kept here, and come in from outside; what follows is the supervisor's matter.
//!
//! A service that was not heard of for a while is looked at in short steps, and its silence is the sum
//! of these. One that takes messages meanwhile gets on, though its handlers leave no time for a beat. And
//! the time by which a look comes late does not count: who was to look was kept from running itself, and
//! with it, most likely, the whole process, by a debugger, a `SIGSTOP` or a machine without breath.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plugin_api::abi::EnvelopeKind;

/// Without a beat for so long, which is more than the time between two of them and less than the
/// shortest `beat_timeout`, a service is looked at …
const QUIET: Duration = Duration::from_millis(750);

/// … this often. A look that is late by as much tells nothing of the step before it either.
const STEP: Duration = Duration::from_millis(250);

/// How far a service is with its messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many it has taken.
    pub taken: u64,
    /// Whether it has the last of them still in hand.
    pub has_one: bool,
}

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
    /// The last sign of life, or when it was noticed.
    last: Instant,
    /// For how long it has been silent since then, as far as anybody could have noticed.
    silent: Duration,
    /// Until when that is reckoned.
    looked_at: Instant,
    /// When somebody is to look.
    look_at: Instant,
    /// How many messages it had taken by the last sign of life.
    taken: u64,
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
        Self(Mutex::new(Inner::new(Patience::default(), 0, Instant::now())))
    }
}

impl Liveness {
    /// An instance begins now; those before it have taken so many messages.
    pub fn begin(&self, patience: Patience, taken: u64, now: Instant) {
        *self.lock() = Inner::new(patience, taken, now);
    }

    /// A beat. True when somebody should look: it was awaited, or a handler has just become slow.
    pub fn beat(&self, place: &str, progress: Progress, now: Instant) -> bool {
        let mut inner = self.lock();
        inner.lives(progress.taken, now, QUIET);
        if inner.place != place {
            place.clone_into(&mut inner.place);
        }
        let work = if place.is_empty() {
            progress.has_one.then_some(Work::Message(progress.taken))
        } else {
            Some(Work::Place(place.to_owned()))
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

    /// Looks at it, when it has taken so many messages: why it does not respond, if so. When it does
    /// not beat, whoever looks is told once it does.
    pub fn look(&self, taken: u64, now: Instant) -> Option<Silence> {
        let mut inner = self.lock();
        if now >= inner.look_at {
            inner.reckon(taken, now);
        }
        if inner.patience.beat.is_some_and(|limit| inner.silent >= limit) {
            inner.is_awaited = true;
            return Some(Silence { cause: Cause::NoBeat, since: inner.last });
        }
        let since = inner.busy.as_ref().map(|(_, since)| *since).filter(|_| inner.is_slow(now))?;
        Some(Silence { cause: Cause::SlowHandler, since })
    }

    /// When somebody is to look at it, unless it beats before; `None` where its beats do not count.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let inner = self.lock();
        inner.patience.beat.map(|_| inner.look_at)
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
    fn new(patience: Patience, taken: u64, now: Instant) -> Self {
        Self {
            patience,
            last: now,
            silent: Duration::ZERO,
            looked_at: now,
            look_at: now + QUIET,
            taken,
            place: String::new(),
            busy: None,
            is_awaited: false,
            was_slow: false,
        }
    }

    /// It lives now, and is to be looked at after `pause` if that is all.
    fn lives(&mut self, taken: u64, now: Instant, pause: Duration) {
        (self.taken, self.last, self.silent) = (taken, now, Duration::ZERO);
        (self.looked_at, self.look_at) = (now, now + pause);
    }

    /// What a look that was due tells of the time since the one before.
    fn reckon(&mut self, taken: u64, now: Instant) {
        if self.taken != taken {
            return self.lives(taken, now, STEP);
        }
        if now.saturating_duration_since(self.look_at) < STEP {
            self.silent += self.look_at.saturating_duration_since(self.looked_at);
        }
        (self.looked_at, self.look_at) = (now, now + STEP);
    }

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
        liveness.begin(Patience { beat: Some(Duration::from_secs(beat)), handler }, 0, now);
        (liveness, now)
    }

    fn with(number: u64) -> Progress {
        Progress { taken: number, has_one: true }
    }

    /// Has it looked at whenever that is due, up to a moment; `taken` says how many messages were taken
    /// by then.
    fn look_until(
        liveness: &Liveness,
        until: Instant,
        taken: impl Fn(Instant) -> u64,
    ) -> Option<(Instant, Silence)> {
        while let Some(due) = liveness.due().filter(|due| *due <= until) {
            if let Some(silence) = liveness.look(taken(due), due) {
                return Some((due, silence));
            }
        }
        None
    }

    #[test]
    fn who_does_not_beat_is_silent_until_the_next_beat_which_is_told() {
        let (liveness, begun) = alive(5, None);
        let idle = Progress::default();
        assert!(!liveness.beat("", idle, begun + SECOND), "nobody waits for it");
        assert_eq!(liveness.due(), Some(begun + SECOND + QUIET));
        let silence = Silence { cause: Cause::NoBeat, since: begun + SECOND };
        let found = look_until(&liveness, begun + 60 * SECOND, |_| 0);
        assert_eq!(found, Some((begun + 6 * SECOND, silence.clone())));
        assert_eq!(liveness.look(0, begun + 8 * SECOND), Some(silence), "it still is");
        assert!(liveness.beat("", idle, begun + 9 * SECOND), "somebody waits for it");
        assert_eq!(liveness.look(0, begun + 9 * SECOND), None);
        assert!(!liveness.beat("", idle, begun + 10 * SECOND));
        let never_begun = Liveness::default();
        assert_eq!(look_until(&never_begun, begun + 60 * SECOND, |_| 0), None, "it is not judged");
    }

    #[test]
    fn a_handler_that_awaits_is_slow_only_past_its_own_limit() {
        let (liveness, begun) = alive(5, Some(3));
        let at = |seconds| begun + seconds * SECOND;
        assert!(!liveness.beat("", with(1), at(1)));
        // Another message in hand: another handler.
        assert!(!liveness.beat("", with(2), at(3)));
        assert!(!liveness.beat("", with(2), at(5)));
        assert_eq!(liveness.look(2, at(5)), None);
        assert!(liveness.beat("", with(2), at(6)), "the supervisor is to look");
        let silence = Silence { cause: Cause::SlowHandler, since: at(3) };
        assert_eq!(liveness.look(2, at(6)), Some(silence));
        assert!(!liveness.beat("", with(2), at(7)), "it is told once");
        let done = Progress { taken: 2, has_one: false };
        assert!(liveness.beat("", done, at(8)), "and once that it is over");
        assert_eq!(liveness.look(2, at(8)), None);
    }

    #[test]
    fn a_handler_that_is_slow_can_still_block() {
        let (liveness, begun) = alive(5, Some(1));
        assert!(!liveness.beat("", with(1), begun));
        let beat = begun + SECOND;
        assert!(liveness.beat("", with(1), beat));
        let mut causes = Vec::new();
        while let Some(due) = liveness.due().filter(|due| *due <= begun + 7 * SECOND) {
            let silence = liveness.look(1, due).expect("it is slow from the first look on");
            causes.push((silence.cause, due));
        }
        let blocked = causes.iter().find(|(cause, _)| *cause == Cause::NoBeat);
        assert_eq!(blocked, Some(&(Cause::NoBeat, beat + 5 * SECOND)));
        assert_eq!(causes.first().map(|it| it.0), Some(Cause::SlowHandler));
    }

    #[test]
    fn handlers_that_leave_no_time_for_a_beat_are_no_hang_as_long_as_they_take_turns() {
        for (limit, each_takes_ms) in [(1, 80), (1, 600), (5, 80), (5, 600), (5, 3_000)] {
            let (liveness, begun) = alive(limit, None);
            let last = 60 * SECOND;
            // From the last one on nothing is taken any more.
            let taken = |at: Instant| {
                let by_then = (at - begun).min(last).as_millis();
                u64::try_from(by_then / each_takes_ms).expect("a few")
            };
            let what = format!("{each_takes_ms} ms each, of {limit} s");
            assert_eq!(look_until(&liveness, begun + last, taken), None, "{what}");
            let found = look_until(&liveness, begun + 2 * last, taken);
            let (at, silence) = found.expect("the last of them never ends");
            assert_eq!(silence.cause, Cause::NoBeat, "{what}");
            let late = at - (begun + last + Duration::from_secs(limit));
            assert!(late <= STEP, "{what}: it is noticed {late:?} late");
        }
    }

    /// A service that beats as it should, and a host that looks when it is due, whose machine stands
    /// still from a moment on, for a time: who is accused within ten seconds.
    fn accused_by_a_standstill(limit: u64, stops: Duration, stands: Duration) -> Option<Duration> {
        const BEAT: Duration = Duration::from_millis(500);
        let (liveness, begun) = alive(limit, None);
        let moves_at = |time: Duration| if time < stops { time } else { time + stands };
        let mut next_beat = begun + BEAT;
        for tick in 0..1_000 {
            let at = moves_at(Duration::from_millis(10 * tick));
            let now = begun + at;
            // The host wakes up first, which is the worst that can happen.
            if liveness.due().is_some_and(|due| due <= now) && liveness.look(0, now).is_some() {
                return Some(at);
            }
            if next_beat <= now {
                liveness.beat("", Progress::default(), now);
                next_beat = now + BEAT;
            }
        }
        None
    }

    #[test]
    fn a_host_that_was_stopped_itself_accuses_nobody() {
        let stops = [0, 10, 250, 490, 500, 510, 990, 1_130, 3_990];
        let stands = [0, 100, 240, 260, 700, 1_000, 1_250, 4_900, 5_500, 86_400_000];
        for limit in [1, 5] {
            for (stops, stands) in stops.iter().flat_map(|stops| stands.map(|it| (*stops, it))) {
                let (from, time) = (Duration::from_millis(stops), Duration::from_millis(stands));
                let accused = accused_by_a_standstill(limit, from, time);
                assert_eq!(accused, None, "{stands} ms from {stops} ms on, of {limit} s");
            }
        }
    }

    #[test]
    fn who_hung_before_the_host_was_stopped_is_found_out_after_it() {
        let (liveness, begun) = alive(5, None);
        assert_eq!(look_until(&liveness, begun + 2 * SECOND, |_| 0), None);
        let woken = begun + 100 * SECOND;
        assert_eq!(liveness.look(0, woken), None);
        let (at, _) = look_until(&liveness, woken + 60 * SECOND, |_| 0).expect("it hangs");
        assert_eq!(at, woken + 3 * SECOND, "two seconds were known before");
    }
}
