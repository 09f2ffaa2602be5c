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
        Self { is_offered: last.is_some(), last, at, asking: Asking::No }
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

    /// The instance has said what it made of what it was offered.
    pub(super) const fn is_settled(&mut self) {
        self.is_offered = false;
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::new(None);
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
        self.service(service, |supervised| match supervised.recall.asking {
            Asking::No => {}
            // Its state is in other hands for the moment.
            Asking::Due(_) if supervised.transaction.is_some() => supervised.schedule_snapshot(now),
            Asking::Due(_) => {
                let next = now + supervised.snapshot_every().unwrap_or_default();
                supervised.recall.asking = Asking::Asked { at: Timestamp::now(), next };
                supervised.hosted.mailbox().push_control(EnvelopeKind::Snapshot);
            }
            Asking::Asked { at, .. } => {
                let errors = supervised.hosted.health_record().errors();
                supervised.recall.asking = Asking::No;
                if errors.iter().any(|error| error.place == PLACE && error.at >= at) {
                    supervised.schedule_snapshot(now);
                }
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
                if let Err(error) = result {
                    tracing::error!(%error, "the operator's stops cannot be written; they will not outlive the host");
                }
                for supervised in &mut self.services {
                    supervised.orders_are_kept(number);
                }
            }
            News::State(service, result) => {
                self.service(&service, |supervised| supervised.note_writing(&result));
            }
            News::SetAside(service, Ok(file)) => {
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
        let at = self.snapshot_every().and_then(|every| now.checked_add(every));
        self.recall.asking = at.map_or(Asking::No, Asking::Due);
    }

    /// Says once that its state cannot be written, and once that it can again.
    fn note_writing(&mut self, result: &std::io::Result<()>) {
        let (service, health) = (self.name(), self.hosted.health_record());
        match result {
            Ok(()) => health.forget_check(CHECK),
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
