//! The part of a reload in which the service changes hands: the old instance hands over, the new one
//! is tried, and is committed, or rolled back to the old build with the state that it left.
//!
//! Whatever happens, one instance at a time has the mailbox and the sockets. Messages wait while
//! none has.

use std::sync::Arc;

use plugin_api::SavedState;
use plugin_api::abi::RunOutcome;
use plugin_api::state::ServiceState;
use tokio::time::Instant;

use super::Supervisor;
use super::orders::Decision;
use super::supervised::{Build, Life, Supervised};
use super::transaction::{Attempted, Failure, Phase};
use crate::prepare::Fresh;
use crate::service::handover::StateFate;

impl Supervisor {
    /// Asks the running instance to hand over.
    pub(super) fn drain(&mut self, service: &str, fresh: Box<Fresh>) {
        let now = Instant::now();
        self.service(service, |supervised| {
            let (errors, _) = supervised.hosted.health_record().counts();
            supervised.ask_to_hand_over(now);
            if let Some(transaction) = &mut supervised.transaction {
                transaction.begin_step(now);
                transaction.begin_gap(now);
                transaction.phase = Phase::Draining { fresh, errors };
            }
        });
    }

    /// Whether the end of an instance is part of a reload, which then has been taken further.
    pub(super) fn goes_on_after_end(&mut self, service: &str, outcome: RunOutcome) -> bool {
        let Some(supervised) = self.find(service) else { return false };
        let Some(transaction) = &mut supervised.transaction else { return false };
        match std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 }) {
            Phase::Draining { fresh, errors } => {
                self.drained(service, *fresh, errors, outcome == RunOutcome::Stopped);
                true
            }
            phase @ Phase::Trying { .. } => {
                transaction.phase = phase;
                self.trial_ended(service, outcome)
            }
            Phase::RollingBack { failure, attempted } => {
                let again = supervised.last_words().unwrap_or_else(|| "it ended".to_owned());
                self.not_restored(service, failure, attempted, &again);
                false
            }
            Phase::Configuring { fresh, .. } => {
                transaction.phase = Phase::Configuring { fresh, until: Instant::now() };
                self.give_up(service, "the service ended before it answered");
                false
            }
            phase @ Phase::Preparing { .. } => {
                transaction.phase = phase;
                false
            }
        }
    }

    /// The same for an instance that hangs; it has been left behind.
    pub(super) fn goes_on_after_hang(&mut self, service: &str, state: ServiceState) -> bool {
        let Some(supervised) = self.find(service) else { return false };
        let Some(transaction) = &mut supervised.transaction else { return false };
        match std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 }) {
            Phase::Draining { fresh, errors } => {
                self.drained(service, *fresh, errors, false);
                true
            }
            Phase::Trying { failure, old, state: saved, is_new_build, settled_at } => {
                let told = failure.map(|it| it.reason + "; ").unwrap_or_default();
                let reason = format!("{told}it hangs in {state} and was left behind");
                transaction.phase =
                    Phase::Trying { failure: None, old, state: saved, is_new_build, settled_at };
                self.roll_back(service, Failure::new("start", reason));
                true
            }
            Phase::RollingBack { failure, attempted } => {
                self.not_restored(service, failure, attempted, "it hangs");
                false
            }
            phase => {
                transaction.phase = phase;
                false
            }
        }
    }

    /// The old instance is gone; its state, if it has left one, goes to the new.
    fn drained(&mut self, service: &str, fresh: Fresh, errors: u64, well: bool) {
        let Some(supervised) = self.find(service) else { return };
        let state = supervised.hosted.handover().take_kept();
        let forced = supervised.transaction.as_ref().is_some_and(|it| it.wish.force);
        let said = match (&state, well) {
            (Some(state), _) => {
                format!("state of {} bytes, version {}", state.bytes.len(), state.version)
            }
            (None, true) => "no state".to_owned(),
            (None, false) => "it did not end well; no state".to_owned(),
        };
        // Where the last word failed, the state is a snapshot that came before it.
        let lost = supervised.failed_to_save(errors).or_else(|| {
            let is_of_use = state.is_none() || fresh.present.hands_over();
            let reason = "the new build is of plugin-api 1.0, which keeps no state";
            (!is_of_use).then(|| reason.to_owned())
        });
        let lost = lost.filter(|_| !forced);
        self.end_step(service, "stop", well && lost.is_none(), Some(said));
        if let Some(state) = &state {
            self.remember(service, Arc::clone(state));
        }
        let Some(supervised) = self.find(service) else { return };
        let old = supervised.build.clone();
        match lost {
            None => self.try_out(service, fresh, Some(old), state),
            Some(reason) => {
                let failure = Failure::new("stop", format!("the state would be lost: {reason}"))
                    .hint(format!("`exphost reload {service} --force` goes on without it"));
                let attempted = Attempted::of(&fresh.present);
                self.discard(service, fresh);
                self.restore(service, state, failure, attempted);
            }
        }
    }

    /// Starts an instance of what is fresh, in the place of `old`, if there was one.
    pub(super) fn try_out(
        &mut self,
        service: &str,
        fresh: Fresh,
        old: Option<Build>,
        state: Option<Arc<SavedState>>,
    ) {
        let is_new_build = fresh.is_new_build;
        let replaced = self.take_up(service, fresh);
        self.service(service, |supervised| {
            let is_own = old.is_none() && state.is_some();
            supervised.make_ready(state.clone());
            supervised.recall.offered(is_own);
            if let Some(transaction) = &mut supervised.transaction {
                transaction.begin_step(Instant::now());
                transaction.phase = Phase::Trying {
                    old: old.clone().map(Box::new),
                    state,
                    is_new_build,
                    settled_at: None,
                    failure: None,
                };
            }
        });
        // What did not run any more needs no way back.
        if let Some(replaced) = replaced.filter(|_| old.is_none()) {
            self.bury(service, replaced);
        }
        self.start(service);
        self.if_it_has_no_thread(service);
    }

    /// Makes a fresh build the service's; the replaced one when it is of another library.
    pub(super) fn take_up(&mut self, service: &str, fresh: Fresh) -> Option<Build> {
        let supervised = self.find(service)?;
        if fresh.is_new_build {
            supervised.generations += 1;
            supervised.record.forget();
            supervised.file_missing = false;
        }
        let generation =
            if fresh.is_new_build { supervised.generations } else { supervised.build.generation };
        let build = Build { generation, present: fresh.present };
        let old = std::mem::replace(&mut supervised.build, build);
        // How often its state is saved may be another now.
        supervised.schedule_snapshot(Instant::now());
        fresh.is_new_build.then_some(old)
    }

    /// The service has entered RUNNING.
    pub(super) fn on_running(&mut self, service: &str) {
        let (now, probation) = (Instant::now(), self.around.terms.probation);
        let Some(supervised) = self.find(service) else { return };
        let Some(transaction) = &mut supervised.transaction else { return };
        match &mut transaction.phase {
            Phase::Trying { settled_at, failure: None, .. } => {
                *settled_at = Some(now + probation);
                transaction.end_gap(now);
                let fate = transaction.fate.take().map(|fate| match fate {
                    StateFate::Continued => "goes on with the state".to_owned(),
                    StateFate::StartedFresh(reason) => format!("started fresh: {reason}"),
                });
                transaction.end_step(service, "start", true, fate, now);
                transaction.begin_step(now);
                if probation.is_zero() {
                    self.commit(service);
                }
            }
            Phase::RollingBack { .. } => self.restored(service),
            _ => {}
        }
    }

    /// The new build has run for long enough.
    pub(super) fn commit(&mut self, service: &str) {
        let Some(supervised) = self.find(service) else { return };
        let Some(transaction) = &mut supervised.transaction else { return };
        let Phase::Trying { old, is_new_build, .. } =
            std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 })
        else {
            return;
        };
        supervised.hosted.sockets().close_unclaimed();
        supervised.hosted.health_record().reset_error_status();
        supervised.is_well();
        self.end_step(service, "commit", true, None);
        if let Some(old) = old.filter(|_| is_new_build) {
            self.bury(service, *old);
        }
        self.conclude(service, Decision::Reloaded, None, Attempted::default());
    }

    /// The instance that was tried has ended; whether that goes on as a reload.
    fn trial_ended(&mut self, service: &str, outcome: RunOutcome) -> bool {
        let Some(supervised) = self.find(service) else { return false };
        let words = supervised.last_words();
        let Some(transaction) = &mut supervised.transaction else { return false };
        let Phase::Trying { settled_at, failure, .. } = &mut transaction.phase else {
            return false;
        };
        let (ran, failure) = (settled_at.is_some(), failure.take());
        if ran && outcome == RunOutcome::Stopped && failure.is_none() {
            // It had little to do, and did it.
            self.commit(service);
            return false;
        }
        let failure = failure.unwrap_or_else(|| {
            let reason = match (outcome, words) {
                (RunOutcome::Stopped, _) => "it stopped of its own accord".to_owned(),
                (_, words) => words.unwrap_or_else(|| "it ended without a word".to_owned()),
            };
            let reason =
                if ran { format!("it died soon after its start: {reason}") } else { reason };
            Failure::new(if ran { "commit" } else { "start" }, reason)
        });
        self.roll_back(service, failure)
    }

    /// Goes back to the old build; false when there is none, and the service has failed.
    fn roll_back(&mut self, service: &str, failure: Failure) -> bool {
        let Some(supervised) = self.find(service) else { return false };
        let Some(transaction) = &mut supervised.transaction else { return false };
        let Phase::Trying { old, state, is_new_build, .. } =
            std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 })
        else {
            return false;
        };
        self.end_step(service, failure.step, false, Some(failure.reason.clone()));
        let Some(supervised) = self.find(service) else { return false };
        let attempted = Attempted::of(&supervised.build.present);
        let Some(old) = old else {
            let failure = Failure {
                reason: format!("{}; nothing ran before that it could go back to", failure.reason),
                ..failure
            };
            self.conclude(service, Decision::RolledBack, Some(failure), attempted);
            return false;
        };
        let tried = std::mem::replace(&mut supervised.build, *old);
        if is_new_build {
            self.bury(service, tried);
        }
        self.restore(service, state, failure, attempted);
        true
    }

    /// Starts the old build again with the state that it left.
    fn restore(
        &mut self,
        service: &str,
        state: Option<Arc<SavedState>>,
        failure: Failure,
        attempted: Attempted,
    ) {
        self.service(service, |supervised| {
            supervised.make_ready(state);
            if let Some(transaction) = &mut supervised.transaction {
                transaction.begin_step(Instant::now());
                transaction.phase = Phase::RollingBack { failure, attempted };
            }
        });
        self.start(service);
        self.if_it_has_no_thread(service);
    }

    fn restored(&mut self, service: &str) {
        let now = Instant::now();
        let Some(supervised) = self.find(service) else { return };
        supervised.hosted.sockets().close_unclaimed();
        // The error was the other build's, and is told as a refusal.
        supervised.hosted.health_record().reset_error_status();
        let version = supervised.build.version();
        let Some(transaction) = &mut supervised.transaction else { return };
        transaction.end_gap(now);
        transaction.end_step(service, "rollback", true, Some(format!("{version} runs again")), now);
        let Phase::RollingBack { failure, attempted } =
            std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 })
        else {
            return;
        };
        self.conclude(service, Decision::RolledBack, Some(failure), attempted);
    }

    /// Not even the old build runs.
    fn not_restored(&mut self, service: &str, failure: Failure, attempted: Attempted, why: &str) {
        self.end_step(service, "rollback", false, Some(why.to_owned()));
        let failure = Failure {
            reason: format!("{}; the old build could not be restored: {why}", failure.reason),
            hint: Some(format!(
                "the service does not run: mend it, then `exphost reload {service}`"
            )),
            ..failure
        };
        self.conclude(service, Decision::RolledBack, Some(failure), attempted);
    }

    /// The operating system gave no thread: no event will ever come of it.
    fn if_it_has_no_thread(&mut self, service: &str) {
        let lost = self.find(service).is_some_and(|it| !it.has_thread());
        if lost && !self.goes_on_after_end(service, RunOutcome::NoRuntime) {
            self.after_instance(service);
        }
    }

    /// The same where no reload is under way.
    pub(super) fn if_it_could_not_start(&mut self, service: &str) {
        let lost = |it: &Supervised| matches!(it.life, Life::Ended(_)) && it.transaction.is_none();
        if self.find(service).is_some_and(|it| lost(it)) {
            self.after_instance(service);
        }
    }
}

impl Supervised {
    /// Clears the table for the next instance.
    pub(super) fn make_ready(&mut self, state: Option<Arc<SavedState>>) {
        self.hosted.renew(state);
        self.recall.offered(false);
        self.life = Life::Waiting;
    }

    /// The trial, if there is one, has failed: it did not run in time.
    pub(super) fn did_not_start(&mut self, seconds: f64, state: ServiceState) {
        let Some(transaction) = &mut self.transaction else { return };
        if let Phase::Trying { failure, .. } = &mut transaction.phase {
            let reason = format!("it was not running within {seconds} s; it was in {state}");
            let hint = "`start_timeout` in the table [exphost] says how long it may take";
            *failure = Some(Failure::new("start", reason).hint(hint));
        }
    }

    /// What its new instance made of the state that waited for it.
    pub(super) fn note_state(&mut self, fate: StateFate) {
        if self.recall.is_settled() && fate == StateFate::Continued {
            let service = self.name();
            tracing::info!(service, "service goes on with the state that it told of last");
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.fate = Some(fate);
        }
    }

    /// The error that ended it, with its place.
    pub(super) fn last_words(&self) -> Option<String> {
        let last = self.hosted.health_record().last_error()?;
        Some(format!("{}: {}", last.place, last.message))
    }

    /// Why its state was not saved, if it tried since it had recorded `errors` errors.
    fn failed_to_save(&self, errors: u64) -> Option<String> {
        let health = self.hosted.health_record();
        let last = health.last_error().filter(|_| health.counts().0 > errors)?;
        (last.place == "save_state").then_some(last.message)
    }
}
