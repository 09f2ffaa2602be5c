//! The host as one service sees it: every question and report of a plugin ends here.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use plugin_api::SavedState;
use plugin_api::abi::{
    ConfigOutcome, Counter, EnvelopeKind, NO_HANDLER, Restored, SendOutcome, Severity, Step,
};
use plugin_api::state::{HealthStatus, IllegalTransition, Method, StateRecord};
use plugin_api::stats::Statistics;
use plugin_api::zmq::SocketSpec;

use super::counters::{Counters, value};
use super::handover::{Handover, StateFate};
use super::health::{Check, Health, RecordedError};
use super::liveness::Liveness;
use super::mailbox::Mailbox;
use super::notice::{Listener, Notice};
use super::sockets::Sockets;
use super::state::StateManager;
use crate::bus::BusHandle;
use crate::logging;
use crate::message::{Envelope, SocketId};
use crate::plugin::host_side::ServiceHost;

/// What the host holds for one service, whatever instance of it runs.
pub struct Hosted {
    name: String,
    states: StateManager,
    health: Health,
    liveness: Liveness,
    counters: Counters,
    mailbox: Arc<Mailbox>,
    bus: BusHandle,
    sockets: Sockets,
    handover: Handover,
    /// Whether what is given back would be lost, because the host ends.
    is_last: AtomicBool,
    listener: Listener,
}

impl Hosted {
    /// A service that has not begun.
    #[must_use]
    pub fn new(name: String, mailbox: Arc<Mailbox>, bus: BusHandle, listener: Listener) -> Self {
        Self {
            name,
            states: StateManager::new(Timestamp::now),
            health: Health::default(),
            liveness: Liveness::default(),
            counters: Counters::default(),
            mailbox,
            sockets: Sockets::new(bus.clone()),
            bus,
            handover: Handover::default(),
            is_last: AtomicBool::new(false),
            listener,
        }
    }

    /// Its mailbox.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Its states.
    #[must_use]
    pub fn states(&self) -> &StateManager {
        &self.states
    }

    /// Its health.
    #[must_use]
    pub fn health_record(&self) -> &Health {
        &self.health
    }

    /// Whether its runtime turns.
    #[must_use]
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// What goes from one instance to the next.
    #[must_use]
    pub fn handover(&self) -> &Handover {
        &self.handover
    }

    /// Its sockets.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Clears the table for the next instance, which goes on with `state`. Messages that wait and
    /// sockets that are open wait for it too. No instance may be running.
    pub fn renew(&self, state: Option<Arc<SavedState>>) {
        let _scope = logging::service_scope(&self.name);
        self.mailbox.clear_control();
        self.mailbox.hand_is_empty();
        self.sockets.hand_over();
        self.handover.offer(state);
        self.health.begin_instance();
        let StateRecord { state, .. } = self.states.renew();
        tracing::info!(target: "exphost::service", "state {state}");
    }

    /// No instance follows in this host: what the present one has not finished is lost with it, and
    /// the service is told so when it wants to give it back.
    pub fn has_no_successor_here(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    /// Offers a new configuration (JSON) to the running instance.
    pub fn offer_config(&self, json: Vec<u8>) {
        self.handover.offer_config(json);
        self.mailbox.push_control(EnvelopeKind::Config);
    }

    /// What has been counted.
    #[must_use]
    pub fn count_up(&self) -> Statistics {
        let mailbox = self.mailbox.stats();
        let (errors, panics) = self.health.counts();
        let (sockets, totals) = self.bus.stats_of(&self.name);
        Statistics {
            messages_sent: value(&self.counters.sent),
            messages_received: mailbox.accepted + mailbox.dropped,
            handled: value(&self.counters.handled),
            unhandled: value(&self.counters.unhandled),
            bad_frames: totals.bad_frames + value(&self.counters.bad_payloads),
            handler_errors: value(&self.counters.handler_errors),
            dropped: mailbox.dropped + value(&self.counters.send_dropped),
            queue_depth: mailbox.depth as u64,
            errors,
            panics,
            bytes_sent: value(&self.counters.sent_bytes),
            bytes_received: totals.received_bytes,
            queue_high_mark: mailbox.high_mark as u64,
            delivered_locally: totals.delivered_locally,
            missed: totals.missed,
            reconnects: totals.reconnects,
            dropped_by: totals.dropped,
            sockets: sockets.into_iter().map(Into::into).collect(),
        }
    }
}

impl ServiceHost for Hosted {
    fn service(&self) -> &str {
        &self.name
    }

    fn transition(&self, method: Method, step: Step) -> Result<StateRecord, IllegalTransition> {
        let _scope = logging::service_scope(&self.name);
        let taken = self.states.take(method, step)?;
        if let Some(record) = taken {
            tracing::info!(target: "exphost::service", "state {}", record.state);
            (self.listener)(&self.name, Notice::Entered(record));
            // Who took a step has responded, whatever comes next.
            self.beat("");
        }
        Ok(taken.unwrap_or_else(|| self.states.log().current()))
    }

    fn state(&self) -> StateRecord {
        self.states.log().current()
    }

    fn record_error(&self, severity: Severity, place: &str, message: &str) {
        let _scope = logging::service_scope(&self.name);
        match severity {
            Severity::Error => tracing::error!(target: "exphost::service", place, "{message}"),
            Severity::Fatal => {
                tracing::error!(target: "exphost::service", place, fatal = true, "{message}");
            }
            Severity::Panic => {
                tracing::error!(target: "exphost::service", place, panic = true, "{message}");
            }
        }
        self.health.record_error(RecordedError {
            severity,
            place: place.to_owned(),
            message: message.to_owned(),
            at: Timestamp::now(),
        });
    }

    fn reset_error_status(&self) {
        self.health.reset_error_status();
    }

    fn record_health_check(
        &self,
        name: &str,
        status: HealthStatus,
        message: &str,
        metadata: &[u8],
    ) {
        let metadata = serde_json::from_slice(metadata).unwrap_or_default();
        let (message, at) = (message.to_owned(), Timestamp::now());
        self.health.record_own_check(name, Check { status, message, metadata, at });
    }

    fn health(&self) -> HealthStatus {
        self.health.overall()
    }

    fn statistics(&self) -> Vec<u8> {
        serde_json::to_vec(&self.count_up()).unwrap_or_default()
    }

    fn count(&self, counter: Counter, amount: u64) {
        self.counters.add(counter, amount);
    }

    fn mailbox_fd(&self) -> BorrowedFd<'_> {
        self.mailbox.fd()
    }

    fn mailbox_control(&self) -> Option<EnvelopeKind> {
        self.mailbox.take_control()
    }

    fn mailbox_take(&self, limit: usize, each: &mut dyn FnMut(Envelope)) {
        self.mailbox.take(limit, each);
    }

    fn mailbox_take_without(&self, held: &[i32]) -> Option<Envelope> {
        self.mailbox.take_without(held)
    }

    fn await_room(&self, socket: SocketId) -> bool {
        let mailbox = Arc::clone(&self.mailbox);
        self.bus.await_room(socket, Box::new(move || mailbox.push_control(EnvelopeKind::Room)))
    }

    fn give_back(&self, socket: SocketId, topic: &str, payload: &[u8]) -> bool {
        !self.is_last.load(Ordering::Relaxed) && self.mailbox.give_back(socket, topic, payload)
    }

    fn ready(&self) {
        (self.listener)(&self.name, Notice::Ready);
    }

    fn beat(&self, place: &str) {
        if !place.is_empty() {
            // Whatever else begins, no handler of a message is under way.
            self.mailbox.hand_is_empty();
        }
        let place = if place == NO_HANDLER { "" } else { place };
        if self.liveness.beat(place, self.mailbox.progress(), Instant::now()) {
            (self.listener)(&self.name, Notice::Pulse);
        }
    }

    fn open_socket(&self, spec: SocketSpec) -> Result<SocketId, String> {
        let opened = self.sockets.open(&self.name, spec, Arc::clone(&self.mailbox));
        opened.map_err(|error| error.to_string())
    }

    fn send(&self, socket: SocketId, topic: &str, payload: &[u8]) -> SendOutcome {
        let outcome = self.bus.send(socket, topic, payload);
        match outcome {
            SendOutcome::Queued => {
                // As a topic stands in a frame: with a space behind it, or not at all.
                let head = if topic.is_empty() { 0 } else { topic.len() + 1 };
                let bytes = (head + payload.len()) as u64;
                self.counters.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.counters.sent.fetch_add(1, Ordering::Relaxed)
            }
            SendOutcome::Full => self.counters.send_dropped.fetch_add(1, Ordering::Relaxed),
            SendOutcome::NoSocket | SendOutcome::Closed | SendOutcome::TooLarge => 0,
        };
        outcome
    }

    fn take_state(&self) -> Option<Arc<SavedState>> {
        self.handover.take_state()
    }

    fn state_restored(&self, restored: Restored, reason: &str) {
        let fate = StateFate::reported(restored, reason);
        (self.listener)(&self.name, Notice::StateDealtWith(fate));
    }

    fn keep_state(&self, state: SavedState) -> Result<(), String> {
        self.handover.keep(state);
        (self.listener)(&self.name, Notice::StateKept);
        Ok(())
    }

    fn take_config(&self) -> Option<Vec<u8>> {
        self.handover.take_config()
    }

    fn answer_config(&self, outcome: ConfigOutcome, message: &str) {
        if let Some(answer) = self.handover.answer(outcome, message) {
            (self.listener)(&self.name, Notice::Config(answer));
        }
    }
}
