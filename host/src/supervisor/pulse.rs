//! Services that do not respond: who is one, how it is told, and what becomes of it.

use jiff::Timestamp;
use plugin_api::state::{HealthStatus, ServiceState};
use tokio::time::Instant;

use super::Supervisor;
use super::status::Unresponsive;
use super::supervised::{AfterStop, Life, Supervised};
use crate::config::isolation::Isolation;
use crate::config::supervision::OnHang;
use crate::logging;
use crate::service::health::Check;
use crate::service::liveness::{Cause, Patience, Silence};

/// The check by which a service's health tells of it.
const CHECK: &str = "responsive";

impl Supervisor {
    /// Looks whether a service responds.
    pub(super) fn look_at_pulse(&mut self, service: &str, now: Instant) {
        let Some(supervised) = self.find(service) else { return };
        if !supervised.has_thread() {
            return;
        }
        let taken = supervised.hosted.mailbox().progress().taken;
        match supervised.hosted.liveness().look(taken, now.into_std()) {
            None => supervised.responds_again(now),
            Some(silence) => {
                supervised.note_silence(&silence, now);
                if supervised.is_given_up_when_it_hangs() {
                    self.give_up_on(service, now);
                }
            }
        }
    }

    /// A running service hangs, and its configuration says that it is not waited for.
    fn give_up_on(&mut self, service: &str, now: Instant) {
        let Some(supervised) = self.find(service) else { return };
        let Some(hang) = &supervised.unresponsive else { return };
        let why = format!("it hung in {}", hang.whereabouts());
        supervised.ask_to_stop(now);
        supervised.after_stop = AfterStop::Fail;
        supervised.why = Some(why.clone());
        if supervised.kill(now, || format!("killed: {why}")) {
            tracing::error!(service, "the hanging service's process is killed");
            return;
        }
        tracing::error!(service, "the hanging service's thread is left behind");
        supervised.leave_behind();
        self.after_instance(service);
    }
}

impl Supervised {
    /// An instance of it begins.
    pub(super) fn begin_pulse(&mut self, now: Instant) {
        self.forget_silence();
        let terms = &self.build.present.terms.supervision;
        // What does not beat cannot be judged by it.
        let beats = self.build.present.library.identity().speaks(3);
        let patience = Patience {
            beat: terms.beat_timeout.filter(|_| beats),
            handler: terms.handler_timeout.filter(|_| beats),
        };
        let taken = self.hosted.mailbox().progress().taken;
        self.hosted.liveness().begin(patience, taken, now.into_std());
    }

    /// When it is to be looked whether it responds.
    pub(super) fn pulse_due(&self) -> Option<Instant> {
        let due = self.hosted.liveness().due().filter(|_| self.has_thread());
        due.map(Instant::from_std)
    }

    /// There is nothing to say of an instance that is gone.
    pub(super) fn forget_silence(&mut self) {
        if self.unresponsive.take().is_some() {
            self.hosted.health_record().forget_check(CHECK);
        }
    }

    /// Where it hangs, as far as that is known: its state, at least.
    pub(super) fn hangs_in(&self) -> String {
        let place = self.unresponsive.as_ref().map(Unresponsive::whereabouts);
        place.unwrap_or_else(|| self.state().to_string())
    }

    /// Whether its runtime does not turn.
    pub(super) fn is_blocked_in_a_call(&self) -> bool {
        self.unresponsive.as_ref().is_some_and(|it| it.cause == BLOCKED)
    }

    fn on_hang(&self) -> OnHang {
        let terms = self.build.terms();
        // A process can be ended from outside, a thread cannot.
        let usual = match terms.isolation {
            Isolation::Thread => OnHang::Report,
            Isolation::Process { .. } => OnHang::Restart,
        };
        terms.supervision.on_hang.unwrap_or(usual)
    }

    fn is_given_up_when_it_hangs(&self) -> bool {
        // Until it runs and when it stops it has deadlines of its own, and a reload has its way to go.
        self.is_blocked_in_a_call()
            && matches!(self.life, Life::Running(_))
            && self.transaction.is_none()
            && self.on_hang() == OnHang::Restart
    }

    fn note_silence(&mut self, silence: &Silence, now: Instant) {
        let cause = match silence.cause {
            Cause::NoBeat => BLOCKED,
            Cause::SlowHandler => SLOW,
        };
        if self.unresponsive.as_ref().is_some_and(|before| before.cause == cause) {
            return;
        }
        let quiet = now.into_std().saturating_duration_since(silence.since);
        let since = Timestamp::now().checked_sub(quiet).unwrap_or(Timestamp::UNIX_EPOCH);
        let unresponsive = self.where_it_is(cause, since);
        let _scope = logging::service_scope(&self.name);
        let (service, seconds) = (self.name(), quiet.as_secs_f64());
        let (phase, topic) = (&unresponsive.phase, unresponsive.topic.as_deref());
        let handler = unresponsive.handler.as_deref();
        // One that loads a large model while it starts is late, and not yet lost.
        let status = if phase == "run" { HealthStatus::Error } else { HealthStatus::Warning };
        if status == HealthStatus::Error {
            tracing::error!(
                service,
                phase,
                handler,
                topic,
                seconds,
                cause,
                "service does not respond"
            );
        } else {
            tracing::warn!(
                service,
                phase,
                handler,
                topic,
                seconds,
                cause,
                "service does not respond"
            );
        }
        let message = format!("does not respond: {}", unresponsive.in_words());
        let metadata = serde_json::to_value(&unresponsive).unwrap_or_default();
        let check = Check { status, message, metadata, at: Timestamp::now() };
        self.hosted.health_record().record_check(CHECK, check);
        self.unresponsive = Some(unresponsive);
    }

    fn responds_again(&mut self, now: Instant) {
        let Some(before) = &self.unresponsive else { return };
        let _scope = logging::service_scope(&self.name);
        let seconds = Timestamp::now().duration_since(before.since).as_secs_f64();
        let place = before.whereabouts();
        tracing::info!(service = self.name, seconds, place, "service responds again");
        self.forget_silence();
        debug_assert!(self.pulse_due().is_none_or(|due| due > now), "it has just beaten");
    }

    /// The phase, the handler and the topic that it hangs in.
    fn where_it_is(&self, cause: &str, since: Timestamp) -> Unresponsive {
        let phase = match self.state() {
            ServiceState::Initializing => "new",
            ServiceState::Initialized | ServiceState::Starting => "start",
            ServiceState::Started | ServiceState::Running => "run",
            ServiceState::Stopping | ServiceState::Stopped => "stop",
        };
        let place = self.hosted.liveness().place();
        let in_hand = self.hosted.mailbox().in_hand().filter(|_| phase == "run");
        let (handler, topic) = match in_hand {
            Some(in_hand) => {
                let topic = Some(in_hand.topic.clone()).filter(|topic| !topic.is_empty());
                (Some(in_hand.handler().to_owned()), topic)
            }
            None => (Some(place).filter(|place| !place.is_empty()), None),
        };
        Unresponsive { since, phase: phase.to_owned(), handler, topic, cause: cause.to_owned() }
    }
}

const BLOCKED: &str = "blocked";
const SLOW: &str = "slow";
