//! A reload as it goes: who asked, how far it is, and what has been told of it.
//!
//! The phases, each with what it holds and no more:
//!
//! * `Preparing`: a thread looks at files and probes; the service runs on untouched.
//! * `Configuring`: the running instance was offered the new configuration.
//! * `Draining`: the old instance was asked to hand over. Messages wait in the mailbox.
//! * `Trying`: the new one was started; the old build is kept with the state it left.
//! * `RollingBack`: the new one failed, and the old build was started again with that state.

use std::sync::Arc;
use std::time::Duration;

use plugin_api::SavedState;
use tokio::time::Instant;

use super::orders::{Decision, Listener, Progress, Report, Step, Verdict};
use super::supervised::Build;
use crate::prepare::{Fresh, Present, Refusal};
use crate::service::handover::StateFate;

/// What is wanted of a service.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) because: Because,
    /// Whether a lower version may take the place of a higher one.
    pub(super) force: bool,
    pub(super) listeners: Vec<Listener>,
}

/// Why something is wanted, the weakest reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Because {
    /// The host has begun to watch: what changed between the first look and now is not told.
    Begun,
    /// Configuration files have changed.
    ConfigChanged,
    /// Plugin files have changed, and perhaps the configuration too.
    PluginsChanged,
    /// It is to be started.
    ToStart,
    /// Somebody asked for a reload.
    Asked,
}

impl Wish {
    pub(super) fn of(because: Because) -> Self {
        Self { because, force: false, listeners: Vec::new() }
    }

    /// One wish for two: whoever asked for either is told.
    pub(super) fn merge(self, other: Self) -> Self {
        let mut listeners = self.listeners;
        listeners.extend(other.listeners);
        let because = self.because.max(other.because);
        Self { because, force: self.force || other.force, listeners }
    }

    /// Whether nothing is to be done when nothing has changed.
    pub(super) const fn if_changed(&self) -> bool {
        matches!(self.because, Because::Begun | Because::PluginsChanged | Because::ConfigChanged)
    }
}

/// How far a reload is.
pub(super) enum Phase {
    Preparing {
        /// The look that is under way; what another one brings is not meant for this transaction.
        job: u64,
    },
    Configuring {
        fresh: Box<Fresh>,
        until: Instant,
    },
    Draining {
        fresh: Box<Fresh>,
        /// How many errors the service had recorded.
        errors: u64,
    },
    Trying {
        /// What ran before; `None` when nothing did.
        old: Option<Box<Build>>,
        state: Option<Arc<SavedState>>,
        is_new_build: bool,
        /// When it has run for long enough; `None` until it runs.
        settled_at: Option<Instant>,
        /// Why it was asked to stop again.
        failure: Option<Failure>,
    },
    RollingBack {
        failure: Failure,
        attempted: Attempted,
    },
}

/// Why a new build did not do.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) step: &'static str,
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn new(step: &'static str, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { step: refusal.step, reason: refusal.reason, hint: refusal.hint }
    }
}

/// The build that was tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempted {
    pub(super) version: Option<String>,
    pub(super) sha256: Option<String>,
}

impl Attempted {
    pub(super) fn of(present: &Present) -> Self {
        let identity = present.library.identity();
        Self { version: Some(identity.version.to_string()), sha256: Some(identity.sha256.clone()) }
    }
}

/// A reload, or a start by order.
pub(super) struct Transaction {
    pub(super) wish: Wish,
    pub(super) phase: Phase,
    pub(super) from: Option<String>,
    /// What the new instance made of the old one's state.
    pub(super) fate: Option<StateFate>,
    began: Instant,
    step_began: Instant,
    /// Since when no instance handles messages, and for how long none did.
    gap_began: Option<Instant>,
    gap: Option<Duration>,
}

impl Transaction {
    pub(super) fn new(wish: Wish, job: u64, from: Option<String>, now: Instant) -> Self {
        Self {
            wish,
            phase: Phase::Preparing { job },
            from,
            fate: None,
            began: now,
            step_began: now,
            gap_began: None,
            gap: None,
        }
    }

    /// When something is expected of it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Configuring { until, .. } => Some(until),
            Phase::Trying { settled_at, .. } => settled_at,
            _ => None,
        }
    }

    /// The name of what it is doing.
    pub(super) const fn doing(&self) -> &'static str {
        match self.phase {
            Phase::Preparing { .. } => "prepare",
            Phase::Configuring { .. } => "config",
            Phase::Draining { .. } => "stop",
            Phase::Trying { settled_at: None, .. } => "start",
            Phase::Trying { .. } => "commit",
            Phase::RollingBack { .. } => "rollback",
        }
    }

    /// Begins the clock of a step.
    pub(super) fn begin_step(&mut self, now: Instant) {
        self.step_began = now;
    }

    pub(super) fn begin_gap(&mut self, now: Instant) {
        self.gap_began.get_or_insert(now);
    }

    pub(super) fn end_gap(&mut self, now: Instant) {
        self.gap = self.gap_began.map(|began| now.saturating_duration_since(began));
    }

    /// Tells that the step which was begun last has ended.
    pub(super) fn end_step(
        &self,
        service: &str,
        step: &str,
        ok: bool,
        detail: Option<String>,
        now: Instant,
    ) {
        self.tell_step(service, step, ok, now.saturating_duration_since(self.step_began), detail);
    }

    pub(super) fn tell_step(
        &self,
        service: &str,
        step: &str,
        ok: bool,
        took: Duration,
        detail: Option<String>,
    ) {
        let ms = milliseconds(took);
        let said = detail.as_deref().unwrap_or_default();
        tracing::debug!(service, step, ok, ms, detail = said, "reload step");
        let step = Step { service: service.to_owned(), step: step.to_owned(), ok, ms, detail };
        self.tell(&Report::Step(step));
    }

    /// Ends it: those who asked get their last report.
    pub(super) fn conclude(
        self,
        service: &str,
        decision: Decision,
        to: Option<String>,
        failure: Option<&Failure>,
        state: &str,
        now: Instant,
    ) -> Verdict {
        let verdict = Verdict {
            service: service.to_owned(),
            verdict: decision,
            from: self.from.clone(),
            to,
            ms: milliseconds(now.saturating_duration_since(self.began)),
            gap_ms: self.gap.map(milliseconds),
            reason: failure.map(|failure| failure.reason.clone()),
            hint: failure.and_then(|failure| failure.hint.clone()),
        };
        let report = if self.wish.because == Because::ToStart {
            Report::Progress(Progress {
                service: service.to_owned(),
                state: state.to_owned(),
                done: true,
                ok: decision == Decision::Reloaded,
                detail: verdict.reason.clone(),
            })
        } else {
            Report::Verdict(verdict.clone())
        };
        self.tell(&report);
        verdict
    }

    fn tell(&self, report: &Report) {
        for listener in &self.wish.listeners {
            // One that went away changes nothing.
            let _ = listener.send(report.clone());
        }
    }
}

/// Rounded to microseconds: the rest is noise.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn merged_wishes_keep_the_stronger_reason_and_all_who_listen() {
        let (listener, _heard) = mpsc::unbounded_channel();
        let asked = Wish { because: Because::Asked, force: true, listeners: vec![listener] };
        let merged = Wish::of(Because::PluginsChanged).merge(asked);
        assert_eq!(
            (merged.because, merged.force, merged.listeners.len()),
            (Because::Asked, true, 1)
        );
        assert!(!merged.if_changed());
        let both = Wish::of(Because::PluginsChanged).merge(Wish::of(Because::ConfigChanged));
        assert!(both.if_changed() && both.because == Because::PluginsChanged);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_and_the_verdict_are_told_with_their_times() {
        let (listener, mut heard) = mpsc::unbounded_channel();
        let wish = Wish { because: Because::Asked, force: false, listeners: vec![listener] };
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut transaction = Transaction::new(wish, 1, Some("1.0.0".to_owned()), start);
        transaction.begin_gap(at(10));
        transaction.begin_step(at(10));
        transaction.end_step("core", "stop", true, None, at(15));
        transaction.end_gap(at(18));
        let (decision, to) = (Decision::Reloaded, Some("1.1.0".to_owned()));
        let verdict = transaction.conclude("core", decision, to, None, "running", at(20));
        assert_eq!((verdict.ms, verdict.gap_ms), (20.0, Some(8.0)));
        let Some(Report::Step(step)) = heard.recv().await else { panic!("no step") };
        assert_eq!((step.step.as_str(), step.ms), ("stop", 5.0));
        assert_eq!(heard.recv().await, Some(Report::Verdict(verdict)));
        assert_eq!(heard.recv().await, None, "the channel is closed");
    }
}
