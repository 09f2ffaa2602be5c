//! What goes from one instance of a service to the next, and the configuration that is offered to a
//! running one. The supervisor puts things here, the plugin's thread takes them and leaves others.
//!
//! A state is shared, not copied: the supervisor keeps hold of what it offered, to offer it again
//! to the old build when the new one fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugin_api::SavedState;
use plugin_api::abi::{ConfigOutcome, Restored};

/// Between two instances of one service.
#[derive(Debug, Default)]
pub struct Handover(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: Option<Arc<SavedState>>,
    kept: Option<Arc<SavedState>>,
    config: Config,
}

/// How far the instance is with a new configuration.
#[derive(Debug, Default)]
enum Config {
    #[default]
    Nothing,
    Waiting(Vec<u8>),
    Taken,
}

/// What an instance made of the state that waited for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateFate {
    /// It goes on with it.
    Continued,
    /// It cannot use it and starts fresh, by its author's choice, for this reason.
    StartedFresh(String),
}

impl StateFate {
    /// As the plugin reports it.
    #[must_use]
    pub fn reported(restored: Restored, reason: &str) -> Self {
        match restored {
            Restored::Continued => Self::Continued,
            Restored::StartedFresh => Self::StartedFresh(reason.to_owned()),
        }
    }
}

/// What a running service makes of a new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigAnswer {
    /// It works by it.
    Applied,
    /// It goes on as before; the new one takes a new instance.
    RestartWanted,
    /// It goes on as before, for this reason.
    Refused(String),
}

impl Handover {
    /// Makes everything ready for the next instance: `state` waits for it, and what the last one
    /// left untouched is gone. To be called before each start.
    pub fn offer(&self, state: Option<Arc<SavedState>>) {
        *self.lock() = Inner { waiting: state, ..Inner::default() };
    }

    /// Whether a state waits that nobody has taken. When it still does once the service runs, its
    /// plugin was built with plugin-api 1.0, which knows nothing of states.
    #[must_use]
    pub fn state_waits(&self) -> bool {
        self.lock().waiting.is_some()
    }

    /// What the instance that has ended leaves to the next one. An instance that ended before it
    /// took over leaves what had been offered to it.
    #[must_use]
    pub fn take_kept(&self) -> Option<Arc<SavedState>> {
        let mut inner = self.lock();
        let kept = inner.kept.take();
        kept.or_else(|| inner.waiting.take())
    }

    /// What the running instance has told of its state, if it has since this was asked last.
    #[must_use]
    pub fn take_snapshot(&self) -> Option<Arc<SavedState>> {
        self.lock().kept.take()
    }

    /// Lets a configuration (JSON) wait, in place of one that still does. The word
    /// [`EnvelopeKind::Config`](plugin_api::abi::EnvelopeKind::Config) in the mailbox makes the
    /// service take it.
    pub fn offer_config(&self, json: Vec<u8>) {
        self.lock().config = Config::Waiting(json);
    }

    /// Ends the wait for an answer: the configuration is not there any more, and an answer that
    /// comes later counts for nothing.
    pub fn withdraw_config(&self) {
        self.lock().config = Config::Nothing;
    }

    pub(super) fn take_state(&self) -> Option<Arc<SavedState>> {
        self.lock().waiting.take()
    }

    pub(super) fn keep(&self, state: SavedState) {
        self.lock().kept = Some(Arc::new(state));
    }

    pub(super) fn take_config(&self) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        match std::mem::take(&mut inner.config) {
            Config::Waiting(json) => {
                inner.config = Config::Taken;
                Some(json)
            }
            other => {
                inner.config = other;
                None
            }
        }
    }

    /// The answer, if there is a question: one that was withdrawn, or has been replaced by a newer
    /// one, has none.
    pub(super) fn answer(&self, outcome: ConfigOutcome, message: &str) -> Option<ConfigAnswer> {
        let mut inner = self.lock();
        if !matches!(inner.config, Config::Taken) {
            return None;
        }
        inner.config = Config::Nothing;
        Some(match outcome {
            ConfigOutcome::Applied => ConfigAnswer::Applied,
            ConfigOutcome::RestartWanted => ConfigAnswer::RestartWanted,
            ConfigOutcome::Refused => ConfigAnswer::Refused(message.to_owned()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code of others runs under the lock, so a poisoned state is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(version: u32) -> SavedState {
        SavedState { version, bytes: vec![1, 2, 3] }
    }

    #[test]
    fn a_state_waits_for_one_instance_and_is_taken_once() {
        let handover = Handover::default();
        let offered = Arc::new(state(3));
        handover.offer(Some(Arc::clone(&offered)));
        assert!(handover.state_waits());
        let taken = handover.take_state().expect("it waits");
        assert!(Arc::ptr_eq(&taken, &offered), "nothing was copied");
        assert_eq!(handover.take_state(), None);
        assert!(!handover.state_waits());
    }

    #[test]
    fn what_an_instance_keeps_is_for_the_supervisor() {
        let handover = Handover::default();
        handover.keep(state(1));
        assert_eq!(handover.take_state(), None, "it is not offered by itself");
        assert_eq!(handover.take_kept().as_deref(), Some(&state(1)));
        assert_eq!(handover.take_kept(), None);
        handover.keep(state(2));
        handover.offer(None);
        assert_eq!(handover.take_kept(), None, "a start forgets what was not asked for");
    }

    #[test]
    fn an_instance_that_never_took_over_leaves_what_waited_for_it() {
        let handover = Handover::default();
        handover.offer(Some(Arc::new(state(7))));
        assert_eq!(handover.take_kept().as_deref(), Some(&state(7)));
        handover.offer(Some(Arc::new(state(7))));
        assert!(handover.take_state().is_some());
        assert_eq!(handover.take_kept(), None, "it took it, and kept nothing");
    }

    #[test]
    fn a_configuration_is_taken_once_and_answered_once() {
        let handover = Handover::default();
        let answer = || handover.answer(ConfigOutcome::Refused, "too fast");
        assert_eq!((handover.take_config(), answer()), (None, None));
        handover.offer_config(b"{}".to_vec());
        assert_eq!(answer(), None, "nobody has looked at it");
        assert_eq!(handover.take_config(), Some(b"{}".to_vec()));
        assert_eq!(handover.take_config(), None);
        assert_eq!(answer(), Some(ConfigAnswer::Refused("too fast".to_owned())));
        assert_eq!(answer(), None);
    }

    #[test]
    fn an_answer_that_comes_too_late_counts_for_nothing() {
        let handover = Handover::default();
        let answer = || handover.answer(ConfigOutcome::Applied, "");
        handover.offer_config(b"1".to_vec());
        assert!(handover.take_config().is_some());
        handover.withdraw_config();
        assert_eq!(answer(), None);
        handover.offer_config(b"2".to_vec());
        assert!(handover.take_config().is_some());
        handover.offer_config(b"3".to_vec());
        assert_eq!(answer(), None, "it is about the one before");
        assert_eq!(handover.take_config(), Some(b"3".to_vec()));
        assert_eq!(answer(), Some(ConfigAnswer::Applied));
    }
}
