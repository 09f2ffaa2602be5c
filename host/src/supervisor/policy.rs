//! Whether and when a service is started again, as pure questions: the time and the jitter come in.
//!
//! What holds, whatever happens in between: **a service that the operator stopped is not started
//! until the operator starts it.** [`Record::permits_start`] is asked before every start.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Supervision;
use crate::config::supervision::Restart;

/// The part of a pause that chance may take away, so that services which failed together do not
/// come back together, again and again.
const JITTER: f64 = 0.25;

/// How many threads of a service may have been left behind before it is not started again: each
/// costs memory for good, and one that spins costs a processor.
const MOST_LEFT_BEHIND: usize = 3;

/// How an instance ended that nobody had asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It stopped of its own accord.
    ByItself,
    /// It failed, or was not running in time.
    Failed,
    /// Its thread did not end and was left behind; so many have been by now.
    Hung {
        /// Threads of this service that were left behind and have not ended.
        left_behind: usize,
    },
}

/// What becomes of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is started again after this time.
    Again(Duration),
    /// It is not started again by itself.
    Over,
}

/// What is known of a service's ends and restarts.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Whether the operator wants it stopped.
    rests: bool,
    /// Restarts since it ran well.
    streak: u32,
    /// The restarts that fall into the window, oldest first; never more than its limit.
    recent: VecDeque<Instant>,
    /// Whether the limit was reached since it ran well.
    gave_up: bool,
    /// Since when the present instance runs.
    runs_since: Option<Instant>,
    restarts: u64,
}

impl Record {
    /// A service that the operator wants stopped, or not.
    #[must_use]
    pub fn new(rests: bool) -> Self {
        Self { rests, ..Self::default() }
    }

    /// The operator stops it.
    pub fn stop_ordered(&mut self) {
        self.rests = true;
    }

    /// The operator starts it: nothing counts any more that was before.
    pub fn start_ordered(&mut self) {
        self.rests = false;
        self.forget();
    }

    /// Whether it may be started, for whatever reason.
    #[must_use]
    pub const fn permits_start(&self) -> bool {
        !self.rests
    }

    /// An instance runs.
    pub fn runs(&mut self, now: Instant) {
        self.runs_since = Some(now);
    }

    /// When the failures before are to be forgotten; `None` when there is nothing to forget, or
    /// nothing runs.
    #[must_use]
    pub fn well_at(&self, terms: &Supervision) -> Option<Instant> {
        let since = self.runs_since.filter(|_| self.streak > 0 || self.gave_up)?;
        since.checked_add(terms.healthy_after)
    }

    /// Forgets the failures so far: it has run for long enough, or what runs is another build.
    pub fn forget(&mut self) {
        self.streak = 0;
        self.gave_up = false;
        self.recent.clear();
    }

    /// An instance has ended. `jitter` is a number from 0 to 1.
    pub fn ended(&mut self, terms: &Supervision, end: End, now: Instant, jitter: f64) -> Decision {
        if self.well_at(terms).is_some_and(|at| at <= now) {
            self.forget();
        }
        self.runs_since = None;
        if self.rests || !wants_restart(terms.restart, end) {
            return Decision::Over;
        }
        if matches!(end, End::Hung { left_behind } if left_behind >= MOST_LEFT_BEHIND) {
            self.gave_up = true;
            return Decision::Over;
        }
        while self.recent.front().is_some_and(|at| *at + terms.window <= now) {
            self.recent.pop_front();
        }
        if self.gave_up || self.recent.len() >= terms.limit as usize {
            self.gave_up = true;
            let later = terms.retry_every.map(|pause| shortened(pause, jitter));
            return later.map_or(Decision::Over, Decision::Again);
        }
        self.recent.push_back(now);
        self.streak = self.streak.saturating_add(1);
        Decision::Again(shortened(pause(terms, self.streak), jitter))
    }

    /// An instance is started again because of a decision.
    pub fn started_again(&mut self) {
        self.restarts += 1;
    }

    /// How often it was started again.
    #[must_use]
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether it failed so often that it is given up, or tried only now and then.
    #[must_use]
    pub const fn gave_up(&self) -> bool {
        self.gave_up
    }
}

const fn wants_restart(restart: Restart, end: End) -> bool {
    match restart {
        Restart::Never => false,
        Restart::OnFailure => !matches!(end, End::ByItself),
        Restart::Always => true,
    }
}

/// The pause before a restart, by its number in the row.
fn pause(terms: &Supervision, number: u32) -> Duration {
    // The first is at once: most failures are of the moment.
    let Some(doublings) = number.checked_sub(2) else { return Duration::ZERO };
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    terms.delay.saturating_mul(factor).min(terms.delay_max)
}

fn shortened(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - JITTER * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
