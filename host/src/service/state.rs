//! The one owner of a service's state: it decides which step is legal, and remembers.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use plugin_api::abi::Step;
use plugin_api::state::{IllegalTransition, Method, ServiceState, StateLog, StateRecord};

/// Where the time comes from, so that tests can say it.
pub type Clock = fn() -> Timestamp;

/// The state machine of one service.
#[derive(Debug)]
pub struct StateManager {
    /// Held from the judgement of a step until it is recorded, so that two steps cannot both be
    /// judged against the same state.
    step: Mutex<()>,
    log: StateLog,
    clock: Clock,
}

impl StateManager {
    /// A service in INITIALIZING.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { step: Mutex::new(()), log: StateLog::new(clock()), clock }
    }

    /// Takes a step, if it is legal. `Ok(None)` says that there was nothing to do.
    ///
    /// # Errors
    /// When the step is illegal in the present state; nothing changes.
    pub fn take(
        &self,
        method: Method,
        step: Step,
    ) -> Result<Option<StateRecord>, IllegalTransition> {
        let _one_at_a_time = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = method.next(step, self.log.current().state)? else { return Ok(None) };
        let record = StateRecord { state, at: (self.clock)() };
        self.record(record);
        Ok(Some(record))
    }

    /// Begins anew, in INITIALIZING, for the next instance of the service, whatever the last one
    /// has left.
    pub fn renew(&self) -> StateRecord {
        let _one_at_a_time = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let record = StateRecord { state: ServiceState::Initializing, at: (self.clock)() };
        self.record(record);
        record
    }

    fn record(&self, record: StateRecord) {
        let failed = self.log.record(record);
        if failed > 0 {
            tracing::error!(state = %record.state, failed, "state callbacks panicked");
        }
    }

    /// The states so far: to look at, wait on and be called back from.
    #[must_use]
    pub fn log(&self) -> &StateLog {
        &self.log
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use plugin_api::state::ServiceState::{
        Initialized, Initializing, Running, Started, Starting, Stopped, Stopping,
    };

    use super::*;

    fn epoch() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    /// Brings a fresh machine into `state` by legal steps.
    fn machine_in(state: ServiceState) -> StateManager {
        let machine = StateManager::new(epoch);
        let way = [
            (Method::New, Step::Complete, Initialized),
            (Method::Start, Step::Begin, Starting),
            (Method::Start, Step::Complete, Started),
            (Method::Run, Step::Begin, Running),
            (Method::Stop, Step::Begin, Stopping),
            (Method::Stop, Step::Complete, Stopped),
        ];
        for (method, step, reached) in way {
            if machine.log().current().state == state {
                break;
            }
            assert_eq!(machine.take(method, step).unwrap().unwrap().state, reached);
        }
        assert_eq!(machine.log().current().state, state);
        machine
    }

    #[test]
    fn each_method_begins_only_where_the_table_says() {
        let all = [Initializing, Initialized, Starting, Started, Running, Stopping, Stopped];
        let table = [
            (Method::Start, vec![Initialized, Stopped]),
            (Method::Run, vec![Started]),
            (Method::Stop, vec![Initialized, Starting, Started, Running, Stopped]),
        ];
        for (method, legal) in table {
            for state in all {
                let answer = machine_in(state).take(method, Step::Begin);
                assert_eq!(answer.is_ok(), legal.contains(&state), "{method:?} in {state}");
            }
        }
    }

    #[test]
    fn stop_on_a_stopped_service_does_nothing() {
        assert_eq!(machine_in(Stopped).take(Method::Stop, Step::Begin), Ok(None));
    }

    #[test]
    fn a_refusal_names_the_method_the_state_and_what_would_be_legal() {
        let refusal = machine_in(Running).take(Method::Start, Step::Begin).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "start() cannot begin in state RUNNING; legal from INITIALIZED, STOPPED"
        );
    }

    #[test]
    fn history_keeps_every_state_with_its_time() {
        let states: Vec<_> =
            machine_in(Stopped).log().history().iter().map(|it| it.state).collect();
        assert_eq!(
            states,
            [Initializing, Initialized, Starting, Started, Running, Stopping, Stopped]
        );
    }

    #[test]
    fn the_next_instance_begins_anew_from_wherever_the_last_one_was() {
        for state in [Initializing, Starting, Running, Stopped] {
            let machine = machine_in(state);
            machine.renew();
            assert_eq!(machine.log().current().state, Initializing);
            assert!(machine.take(Method::New, Step::Complete).is_ok());
        }
    }

    #[tokio::test]
    async fn an_observer_sees_an_entry_that_came_before_it_waited() {
        let machine = machine_in(Running);
        let observer = machine.log().observe_state_change(Stopping);
        machine.take(Method::Stop, Step::Begin).unwrap();
        assert_eq!(observer.entered(Duration::from_secs(1)).await.unwrap().state, Stopping);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_state_ends_with_what_the_service_is_instead() {
        let machine = machine_in(Started);
        let wait = machine.log().wait_for_state(Running, Duration::from_secs(3)).await;
        assert_eq!(wait.unwrap_err().actual, Started);
        assert!(machine.log().wait_for_state(Started, Duration::ZERO).await.is_ok());
    }

    #[test]
    fn a_callback_that_panics_changes_nothing() {
        let machine = machine_in(Running);
        let calls = Arc::new(AtomicUsize::new(0));
        machine.log().on_state(Stopping, |_| panic!("a bad callback"));
        let counted = Arc::clone(&calls);
        machine.log().on_state(Stopping, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        assert!(machine.take(Method::Stop, Step::Begin).is_ok());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
