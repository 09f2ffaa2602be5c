//! What becomes of a service whose instance has ended, when no reload takes it further: it is started
//! again, now or later, or stays as it is; and those that depend on it hear of a failure.

use std::sync::Arc;

use jiff::Timestamp;
use plugin_api::SavedState;
use plugin_api::abi::RunOutcome;
use tokio::time::Instant;

use super::Supervisor;
use super::plan;
use super::policy::{Decision, End};
use super::supervised::{AfterStop, Life, Supervised};
use crate::config::supervision::OnDependencyFailure;

impl Supervisor {
    /// An instance has ended, or was left behind, and that is not part of a reload.
    pub(super) fn after_instance(&mut self, service: &str) {
        let stopping = self.stopping.is_some();
        let Some(supervised) = self.find(service) else { return };
        let kept = supervised.hosted.handover().take_kept();
        let after = std::mem::take(&mut supervised.after_stop);
        let end = supervised.end(after);
        if let Some(kept) = kept {
            self.remember(service, kept);
        }
        let Some(supervised) = self.find(service) else { return };
        if stopping || supervised.to_rest || after != AfterStop::Anew {
            let detail = supervised.why.clone().or_else(|| supervised.last_words());
            supervised.tell_restart(Some(false), detail);
        }
        if stopping || supervised.to_rest {
            supervised.close_down();
            supervised.rest_if_ordered();
        } else {
            match after {
                AfterStop::Wait => self.resume(service),
                AfterStop::Stay => supervised.close_down(),
                AfterStop::Anew => {
                    supervised.record.start_ordered();
                    supervised.why = None;
                    self.forget_state(service);
                    self.resume(service);
                }
                AfterStop::Judge => {
                    supervised.note_why(end);
                    self.judge(service, end);
                }
                // Why is known: it was late.
                AfterStop::Fail => self.judge(service, end),
            }
        }
        self.ask_what_waited(service);
        self.after_an_end();
    }

    /// Has the policy decide.
    fn judge(&mut self, service: &str, end: End) {
        let now = Instant::now();
        let Some(supervised) = self.find(service) else { return };
        let terms = supervised.build.present.terms.supervision.clone();
        let decision = supervised.record.ended(&terms, end, now, fastrand::f64());
        if supervised.record.gave_up() || decision == Decision::Over {
            supervised.close_down();
        }
        supervised.say_what_comes_of_it(decision);
        if let Decision::Again(pause) = decision {
            let outcome = match supervised.life {
                Life::Ended(outcome) => outcome,
                _ => RunOutcome::Failed,
            };
            supervised.life = Life::Pausing { until: now + pause, outcome };
            if pause.is_zero() {
                self.resume(service);
            }
        }
        if end != End::ByItself {
            self.tell_dependants(service);
        }
    }

    /// The pause before a restart is over: it starts as soon as all that it depends on runs.
    pub(super) fn resume(&mut self, service: &str) {
        self.service(service, |supervised| {
            if matches!(supervised.life, Life::Pausing { .. }) {
                supervised.record.started_again();
            }
            let state = supervised.own_state();
            let is_offered = state.is_some();
            supervised.make_ready(state);
            supervised.recall.offered(is_offered);
        });
    }

    /// A service has failed: those that do not run on without it are stopped.
    fn tell_dependants(&mut self, failed: &str) {
        let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
        let concerned = plan::concerned(&nodes, failed);
        let concerned: Vec<_> =
            concerned.into_iter().map(|(it, how)| (it.to_owned(), how)).collect();
        let now = Instant::now();
        for (name, how) in concerned {
            let is_up =
                |it: &mut Supervised| matches!(it.life, Life::Starting(..) | Life::Running(_));
            if !self.find(&name).is_some_and(is_up) {
                continue;
            }
            self.give_up(&name, "a service that it depends on has failed");
            tracing::warn!(
                service = name,
                depends_on = failed,
                "stopping: what it depends on has failed"
            );
            self.service(&name, |supervised| {
                supervised.after_stop = match how {
                    OnDependencyFailure::Stop => AfterStop::Stay,
                    OnDependencyFailure::Restart | OnDependencyFailure::Keep => AfterStop::Wait,
                };
                supervised.ask_to_hand_over(now);
            });
        }
    }

    /// A service runs, and not because of a reload.
    pub(super) fn on_up(&mut self, service: &str) {
        self.service(service, |supervised| {
            let now = Instant::now();
            supervised.record.runs(now);
            supervised.tell_restart(Some(true), None);
            supervised.schedule_snapshot(now);
            let patience = supervised.build.terms().start_timeout;
            supervised.ready_by = Some(now + patience).filter(|_| !supervised.is_of_use());
            if supervised.transaction.is_none() {
                // The instance before may have had others.
                supervised.hosted.sockets().close_unclaimed();
                supervised.forget_refusal_of_what_runs();
            }
        });
    }

    /// What is due of a service that is neither late to start nor late to stop.
    pub(super) fn on_due(&mut self, service: &str, now: Instant) {
        let Some(supervised) = self.find(service) else { return };
        match supervised.life {
            Life::Pausing { until, .. } => {
                if until <= now {
                    self.resume(service);
                }
                return;
            }
            Life::Running(_) => {}
            _ => return,
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let terms = &supervised.build.present.terms.supervision;
        if is_due(supervised.record.well_at(terms)) {
            supervised.is_well_again();
        }
        if is_due(supervised.ready_by) {
            supervised.ready_by = None;
            if !supervised.is_of_use() {
                tracing::warn!(
                    service,
                    "service runs and has not said that it is ready; those that depend on it wait"
                );
            }
        }
        let snapshot = is_due(supervised.recall.due());
        let transaction = is_due(supervised.transaction.as_ref().and_then(|it| it.deadline()));
        if snapshot {
            self.on_snapshot_due(service, now);
        }
        if transaction {
            self.on_transaction_due(service);
        }
    }

    /// Says of each service that nothing but an order will start why that is so.
    pub(super) fn tell_blocked(&mut self) {
        let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
        let blocked = plan::blocked(&nodes);
        let blocked: Vec<_> =
            blocked.into_iter().map(|(it, lost)| (it.to_owned(), lost.to_owned())).collect();
        for supervised in &mut self.services {
            let lost = blocked.iter().find(|(name, _)| *name == supervised.name).map(|(_, it)| it);
            if supervised.blocked_by.as_ref() != lost {
                supervised.blocked_by = lost.cloned();
                if let Some(lost) = lost {
                    let service = supervised.name();
                    tracing::error!(
                        service,
                        depends_on = lost,
                        "service not started: what it depends on is not running"
                    );
                }
            }
        }
    }

    /// Whether nothing of the project will run again by itself.
    pub(super) fn nothing_runs(&self) -> bool {
        self.services.iter().all(|it| it.is_over() || it.is_blocked())
    }

    /// What a service that waits still needs of others.
    pub(super) fn waits_for(&self, supervised: &Supervised) -> Vec<String> {
        if matches!(supervised.life, Life::Waiting) { self.missing(supervised) } else { Vec::new() }
    }

    /// What a service needs of others and does not have just now.
    pub(super) fn missing(&self, supervised: &Supervised) -> Vec<String> {
        let nodes: Vec<_> = self.services.iter().map(Supervised::node).collect();
        plan::missing(&supervised.node(), &nodes).into_iter().map(str::to_owned).collect()
    }
}

impl Supervised {
    /// How its instance ended, in the policy's words; one that failed says so from here on.
    fn end(&mut self, after: AfterStop) -> End {
        match self.life {
            Life::Hung => End::Hung { left_behind: self.left_behind },
            Life::Ended(RunOutcome::Stopped) if after == AfterStop::Fail => {
                self.life = Life::Ended(RunOutcome::Failed);
                End::Failed
            }
            Life::Ended(RunOutcome::Stopped) => End::ByItself,
            _ => End::Failed,
        }
    }

    /// Why it failed; of one that hangs that is known already.
    fn note_why(&mut self, end: End) {
        match end {
            End::ByItself => self.why = None,
            End::Failed => self.why = self.last_words(),
            End::Hung { .. } => {}
        }
    }

    fn say_what_comes_of_it(&self, decision: Decision) {
        let (service, restarts) = (self.name(), self.record.restarts());
        match decision {
            Decision::Again(pause) => {
                let seconds = (pause.as_secs_f64() * 1e3).round() / 1e3;
                if self.record.gave_up() {
                    tracing::error!(
                        service,
                        seconds,
                        restarts,
                        "service fails again and again; it is tried only now and then"
                    );
                } else {
                    tracing::warn!(service, seconds, restarts, "service is started again");
                }
            }
            Decision::Over if self.record.gave_up() => {
                let hint = format!("mend it, then `exphost start {service}`");
                tracing::error!(
                    service,
                    restarts,
                    hint,
                    "service failed too often and is given up"
                );
            }
            Decision::Over => {}
        }
    }

    /// It does not come back by itself: nothing is to wait for it.
    fn close_down(&self) {
        self.hosted.sockets().close_all(&self.name);
    }

    /// The state that its next instance goes on with, if that can.
    pub(super) fn own_state(&self) -> Option<Arc<SavedState>> {
        self.recall.last().filter(|_| self.build.present.hands_over())
    }

    /// It has run for long enough: its failures are forgotten, and with them the error status that
    /// they left, unless it has recorded an error since.
    fn is_well_again(&mut self) {
        self.record.forget();
        self.why = None;
        let health = self.hosted.health_record();
        if health.counts().0 == self.errors_before {
            health.reset_error_status();
        }
        let (service, restarts) = (self.name(), self.record.restarts());
        tracing::info!(service, restarts, "service runs well again");
    }

    /// Whether it waits for something that will not come by itself.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked_by.is_some() && matches!(self.life, Life::Waiting)
    }

    /// When it is started again.
    pub(super) fn next_start(&self) -> Option<Timestamp> {
        let Life::Pausing { until, .. } = self.life else { return None };
        let left = until.saturating_duration_since(Instant::now());
        Timestamp::now().checked_add(left).ok()
    }
}
