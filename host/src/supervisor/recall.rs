//! The state that a service told of last: asked for now and then while it runs, kept on disk, and
//! offered to the next instance when one has failed or the host was restarted.
//!
//! A snapshot is asked for when the one before has been answered. A service that keeps no state
//! answers nothing, and is so asked once in the life of each instance.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use plugin_api::SavedState;
use plugin_api::abi::EnvelopeKind;
use plugin_api::state::HealthStatus;
use tokio::time::Instant;

use super::Supervisor;
use super::supervised::{Life, Supervised};
use super::transaction::Phase;
use crate::keep::{Memory, News};
use crate::service::health::Check;

/// The check by which a service's health tells that its state cannot be kept.
const CHECK: &str = "saved state";

/// The place of errors in `save_state`.
const PLACE: &str = "save_state";

/// What is known of a service's state.
#[derive(Debug)]
pub(super) struct Recall {
    last: Option<Arc<SavedState>>,
    at: Option<Timestamp>,
    /// Whether the present instance was offered it, and has not said what it made of it.
    is_offered: bool,
    /// Whether the last attempt to write it failed.
    is_unwritten: bool,
    asking: Asking,
}

/// How far the host is with asking for a snapshot.
#[derive(Clone, Copy, Debug)]
enum Asking {
    /// None is to be asked for.
    No,
    /// One is to be asked for at this time.
    Due(Instant),
    /// One was asked for then. At the time of the next it is seen whether it failed.
    Asked { at: Timestamp, next: Instant },
}

impl Recall {
    /// What was kept by a host before; it waits for the first instance.
    pub(super) fn new(memory: Option<Memory>) -> Self {
        let at = memory.as_ref().map(|memory| memory.at);
        let last = memory.map(|memory| memory.state);
        Self { is_offered: last.is_some(), last, at, is_unwritten: false, asking: Asking::No }
    }

    pub(super) fn last(&self) -> Option<Arc<SavedState>> {
        self.last.clone()
    }

    /// When the service told of it.
    pub(super) const fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// When something is to be asked.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.asking {
            Asking::No => None,
            Asking::Due(at) | Asking::Asked { next: at, .. } => Some(at),
        }
    }

    /// The next instance is offered this one, or another, which is not this one's concern.
    pub(super) const fn offered(&mut self, is_offered: bool) {
        self.is_offered = is_offered && self.last.is_some();
        self.asking = Asking::No;
    }

    /// The instance has said what it made of what it was offered; whether that was this one.
    pub(super) const fn is_settled(&mut self) -> bool {
        std::mem::replace(&mut self.is_offered, false)
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::new(None);
    }

    /// The next one is asked for when it is time.
    fn schedule(&mut self, now: Instant, every: Option<Duration>) {
        let at = every.and_then(|every| now.checked_add(every));
        self.asking = at.map_or(Asking::No, Asking::Due);
    }

    /// The time that [`due`](Self::due) tells has come: whether a snapshot is to be asked for. One
    /// that was asked for and has not come is waited for, not asked for again, unless it has failed.
    fn comes_due(
        &mut self,
        (now, at): (Instant, Timestamp),
        every: Option<Duration>,
        has_failed: impl FnOnce(Timestamp) -> bool,
    ) -> bool {
        match self.asking {
            Asking::No => false,
            Asking::Due(_) => {
                self.asking = Asking::Asked { at, next: now + every.unwrap_or_default() };
                true
            }
            Asking::Asked { at, .. } if has_failed(at) => {
                self.schedule(now, every);
                false
            }
            Asking::Asked { .. } => {
                self.asking = Asking::No;
                false
            }
        }
    }

    /// Takes note of a state; whether it is another than the one before.
    fn note(&mut self, state: Arc<SavedState>, now: Timestamp) -> bool {
        let is_new = self.last.as_ref() != Some(&state);
        (self.last, self.at) = (Some(state), Some(now));
        is_new
    }
}

impl Supervisor {
    /// The service has given its state while it runs. One that is just stopping gives it to the next
    /// instance, and whoever asked it to stop takes it.
    pub(super) fn on_state_kept(&mut self, service: &str) {
        let Some(supervised) = self.find(service) else { return };
        let on_trial = supervised
            .transaction
            .as_ref()
            .is_some_and(|it| matches!(it.phase, Phase::Trying { .. }));
        if !matches!(supervised.life, Life::Running(_)) {
            return;
        }
        let Some(state) = supervised.hosted.handover().take_snapshot() else { return };
        supervised.schedule_snapshot(Instant::now());
        // A build on trial may be gone in a moment, and its state would be of no use to the old one.
        if !on_trial {
            self.remember(service, state);
        }
    }

    /// Keeps a state for the next instance, here or in the next host.
    pub(super) fn remember(&mut self, service: &str, state: Arc<SavedState>) {
        let Some(supervised) = self.find(service) else { return };
        let now = Timestamp::now();
        if !supervised.recall.note(Arc::clone(&state), now) {
            return;
        }
        let plugin = supervised.build.present.library.identity().name.clone();
        let memory = Memory { service: service.to_owned(), plugin, at: now, state };
        if let Some(keeper) = &self.keeper {
            keeper.keep(memory);
        }
    }

    /// It is time for a snapshot, or to see what became of the last.
    pub(super) fn on_snapshot_due(&mut self, service: &str, now: Instant) {
        self.service(service, |supervised| {
            let every = supervised.snapshot_every();
            if supervised.transaction.is_some() {
                // Its state is in other hands for the moment.
                return supervised.recall.schedule(now, every);
            }
            let errors = supervised.hosted.health_record();
            let has_failed =
                |since| errors.errors().iter().any(|it| it.place == PLACE && it.at >= since);
            if supervised.recall.comes_due((now, Timestamp::now()), every, has_failed) {
                supervised.hosted.mailbox().push_control(EnvelopeKind::Snapshot);
            }
        });
    }

    /// Sees whether the instance that has ended could not go on with what it was offered: then nobody
    /// is offered it again.
    pub(super) fn look_at_refused_state(&mut self, service: &str) {
        let Some(supervised) = self.find(service) else { return };
        let waits = supervised.hosted.handover().state_waits();
        if !supervised.recall.is_offered || waits {
            return;
        }
        supervised.recall.forget();
        tracing::error!(
            service,
            "service could not go on from its saved state; the state is set aside, and the service starts fresh"
        );
        if let Some(keeper) = &self.keeper {
            keeper.set_aside(service);
        }
    }

    /// Forgets the state of a service: it is to begin anew.
    pub(super) fn forget_state(&mut self, service: &str) {
        self.service(service, |supervised| supervised.recall.forget());
        if let Some(keeper) = &self.keeper {
            keeper.forget(service);
        }
    }

    pub(super) fn on_kept(&mut self, news: News) {
        match news {
            News::Orders(number, result) => {
                let lost = result.err().map(|error| {
                    tracing::error!(%error, "the operator's stops cannot be written; they will not outlive the host");
                    format!("the stop will not outlive the host: it cannot be written: {error}")
                });
                for supervised in &mut self.services {
                    supervised.orders_are_kept(number, lost.clone());
                }
            }
            News::State(service, result) => {
                self.service(&service, |supervised| supervised.note_writing(&result));
            }
            News::SetAside(_, Ok(None)) => {}
            News::SetAside(service, Ok(Some(file))) => {
                tracing::warn!(service, file = %file.display(), "a saved state was set aside");
            }
            News::SetAside(service, Err(error)) => {
                tracing::warn!(service, %error, "a saved state could not be set aside");
            }
        }
    }
}

impl Supervised {
    /// How often snapshots are asked for; never of a build that does not know the word.
    fn snapshot_every(&self) -> Option<Duration> {
        let every = self.build.terms().supervision.snapshot_every;
        every.filter(|_| self.build.present.tells_of_itself())
    }

    /// The next snapshot is asked for when it is time.
    pub(super) fn schedule_snapshot(&mut self, now: Instant) {
        let every = self.snapshot_every();
        self.recall.schedule(now, every);
    }

    /// Says that its state cannot be written, and once that it can again.
    fn note_writing(&mut self, result: &std::io::Result<()>) {
        let was_unwritten = std::mem::replace(&mut self.recall.is_unwritten, result.is_err());
        let (service, health) = (self.name(), self.hosted.health_record());
        match result {
            Ok(()) if was_unwritten => health.forget_check(CHECK),
            Ok(()) => {}
            Err(error) => {
                let message = format!("its state cannot be written: {error}");
                tracing::warn!(service, %error, "a state cannot be written; it will not outlive the host");
                let (status, metadata) = (HealthStatus::Warning, serde_json::Value::Null);
                health
                    .record_check(CHECK, Check { status, message, metadata, at: Timestamp::now() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn state(bytes: &[u8]) -> Arc<SavedState> {
        Arc::new(SavedState { version: 1, bytes: bytes.to_vec() })
    }

    #[test]
    fn a_service_that_answers_nothing_is_asked_once() {
        let (mut recall, start) = (Recall::new(None), Instant::now());
        let at = Timestamp::UNIX_EPOCH;
        recall.schedule(start, Some(EVERY));
        assert_eq!(recall.due(), Some(start + EVERY));
        assert!(recall.comes_due((start + EVERY, at), Some(EVERY), |_| false));
        assert_eq!(recall.due(), Some(start + 2 * EVERY), "then it is seen whether that failed");
        assert!(!recall.comes_due((start + 2 * EVERY, at), Some(EVERY), |_| false));
        assert_eq!(recall.due(), None);
    }

    #[test]
    fn a_snapshot_that_failed_is_asked_for_again() {
        let (mut recall, start) = (Recall::new(None), Instant::now());
        let at = Timestamp::UNIX_EPOCH;
        recall.schedule(start, Some(EVERY));
        assert!(recall.comes_due((start, at), Some(EVERY), |_| false));
        assert!(!recall.comes_due((start, at), Some(EVERY), |since| since == at));
        assert_eq!(recall.due(), Some(start + EVERY));
        assert!(recall.comes_due((start, at), Some(EVERY), |_| false));
    }

    #[test]
    fn without_an_interval_nothing_is_ever_due() {
        let mut recall = Recall::new(None);
        recall.schedule(Instant::now(), None);
        assert_eq!(recall.due(), None);
    }

    #[test]
    fn the_same_state_is_no_news() {
        let (mut recall, at) = (Recall::new(None), Timestamp::UNIX_EPOCH);
        assert!(recall.note(state(b"1"), at));
        assert!(!recall.note(state(b"1"), at));
        assert!(recall.note(state(b"2"), at));
        assert_eq!((recall.last(), recall.at()), (Some(state(b"2")), Some(at)));
        recall.forget();
        assert_eq!((recall.last(), recall.at()), (None, None));
    }
}
