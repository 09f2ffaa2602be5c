//! Carries out orders, and tells how everything is.

use std::time::Duration;

use jiff::Timestamp;
use plugin_api::abi::RunOutcome;
use plugin_api::state::ServiceState;
use tokio::time::Instant;

use super::Supervisor;
use super::instance::Instance;
use super::orders::{Listener, Order, Progress, Refused, Report};
use super::status::{LastError, RestartStatus, ServiceStatus, Status, Whereabouts};
use super::supervised::{AfterStop, Life, StopKept, Supervised};
use super::transaction::{Because, Wish};
use crate::config::nearest::known_names;

impl Supervisor {
    pub(super) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Status(reply) => {
                // Whoever asked may not have waited.
                let _ = reply.send(self.status());
            }
            // Of these, too, whoever asked may not have waited.
            Order::LogLevel { service, change, reply } => {
                drop(reply.send(self.log_level(service.as_deref(), change)));
            }
            Order::LogFiles { service, reply } => {
                drop(reply.send(self.log_files(service.as_deref())));
            }
            Order::Publish { publication, reply } => drop(reply.send(self.publish(&publication))),
            Order::Listen { topic, reply } => drop(reply.send(self.listen(topic))),
            Order::LookForPlugins => self.look_for_plugins(),
            Order::LookForConfig => self.look_for_config(),
            Order::Reload { service, force, listener } => {
                if self.may(&service, &listener) {
                    let listeners = vec![listener];
                    self.reload_by_order(
                        &service,
                        Wish { because: Because::Asked, force, listeners },
                    );
                }
            }
            Order::Start { service, listener } => {
                if self.may(&service, &listener) {
                    self.start_by_order(&service, listener);
                }
            }
            Order::Restart { service, listener } => {
                if self.may(&service, &listener) {
                    self.restart_by_order(&service, listener);
                }
            }
            Order::Stop { service, listener } => {
                if self.may(&service, &listener) {
                    self.stop_by_order(&service, listener);
                }
            }
        }
    }

    /// Whether there is such a service and the host does not stop; who asked is told otherwise.
    fn may(&mut self, service: &str, listener: &Listener) -> bool {
        if self.stopping.is_some() {
            refuse(listener, "the host is stopping".to_owned(), None);
            return false;
        }
        match self.known(service) {
            Ok(_) => true,
            Err(Refused { error, hint }) => {
                refuse(listener, error, hint);
                false
            }
        }
    }

    /// The service of this name.
    pub(super) fn known(&self, service: &str) -> Result<&Supervised, Refused> {
        self.services.iter().find(|it| it.name == service).ok_or_else(|| {
            let names: Vec<_> = self.services.iter().map(Supervised::name).collect();
            let error = format!("there is no service `{service}`");
            Refused { error, hint: known_names(service, &names, "services") }
        })
    }

    fn reload_by_order(&mut self, service: &str, wish: Wish) {
        let rests =
            self.find(service).is_some_and(|it| matches!(it.life, Life::Resting) || it.to_rest);
        if !rests {
            return self.wish(service, wish);
        }
        for listener in &wish.listeners {
            let hint = format!("`exphost start {service}` starts what is there now");
            refuse(listener, format!("`{service}` was stopped by order"), Some(hint));
        }
    }

    fn start_by_order(&mut self, service: &str, listener: Listener) {
        let Some(supervised) = self.find(service) else { return };
        let obstacle = match supervised.life {
            Life::Starting(..) | Life::Running(_) => Some("runs already"),
            Life::Stopping(..) => Some("is just stopping; start it when it has stopped"),
            Life::Waiting => Some("waits for what it depends on"),
            Life::Pausing { .. }
            | Life::Ended(_)
            | Life::Hung
            | Life::NotStarted
            | Life::Resting => None,
        };
        if let Some(obstacle) = obstacle {
            return refuse(&listener, format!("`{service}` {obstacle}"), None);
        }
        if !self.has_what_it_needs(service, &listener) {
            return;
        }
        tracing::info!(service, "starting, by order");
        let rested = self.find(service).is_some_and(|it| matches!(it.life, Life::Resting));
        if rested {
            // Whoever stops a service and starts it wants it to begin anew.
            self.forget_state(service);
        }
        self.service(service, |it| {
            it.record.start_ordered();
            it.why = None;
        });
        if self.around.stopped.start(service) {
            self.keep_orders();
        }
        let listeners = vec![listener];
        self.wish(service, Wish { because: Because::ToStart, force: false, listeners });
    }

    /// Whether all that a service depends on runs; who asked is told otherwise.
    fn has_what_it_needs(&self, service: &str, listener: &Listener) -> bool {
        let Ok(supervised) = self.known(service) else { return false };
        let missing = self.missing(supervised);
        let Some(lost) = missing.first() else { return true };
        let error = format!("`{service}` depends on `{lost}`, which does not run");
        refuse(listener, error, Some(format!("`exphost start {lost}` first")));
        false
    }

    /// Unlike a stop and a start, this leaves nothing on disk that would keep the service stopped if
    /// the host died in between; unlike a reload, it looks at no file and forgets the state.
    fn restart_by_order(&mut self, service: &str, listener: Listener) {
        let Some(supervised) = self.find(service) else { return };
        if !supervised.has_thread() {
            return self.start_by_order(service, listener);
        }
        if supervised.to_rest {
            return refuse(&listener, format!("`{service}` is just stopping, by order"), None);
        }
        if !self.has_what_it_needs(service, &listener) {
            return;
        }
        tracing::info!(service, "restarting, by order");
        self.give_up(service, "the service was restarted by order");
        self.service(service, |it| {
            it.restart_listeners.push(listener);
            it.after_stop = AfterStop::Anew;
            it.ask_to_stop(Instant::now());
            it.tell_restart(None, None);
        });
    }

    fn stop_by_order(&mut self, service: &str, listener: Listener) {
        tracing::info!(service, "stopping, by order");
        self.give_up(service, "the service was stopped by order");
        self.around.stopped.stop(service, Timestamp::now());
        let number = self.keep_orders();
        let Some(supervised) = self.find(service) else { return };
        supervised.record.stop_ordered();
        supervised.to_rest = true;
        supervised.stop_kept = number.map_or(StopKept::Told(None), StopKept::Awaited);
        supervised.stop_listeners.push(listener);
        if supervised.has_thread() {
            supervised.ask_to_stop(Instant::now());
            supervised.tell(&supervised.stop_listeners, None, None);
        } else {
            supervised.rest_if_ordered();
        }
    }

    /// Has the operator's stops written; their number, if anybody writes them.
    fn keep_orders(&mut self) -> Option<u64> {
        let keeper = self.keeper.as_ref()?;
        self.kept_orders += 1;
        keeper.keep_orders(self.kept_orders, self.around.stopped.clone());
        Some(self.kept_orders)
    }

    /// The host ends: what waits to be written is.
    pub(super) fn close_keeper(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(2);
        let patience = if self.forced { Duration::ZERO } else { PATIENCE };
        if self.keeper.take().is_some_and(|keeper| !keeper.close(patience)) {
            tracing::warn!("not all states were written before the host ended");
        }
        // Whoever still waits for a stop to be written hears of the stop all the same.
        self.services.iter_mut().for_each(|it| it.orders_are_kept(u64::MAX, None));
    }

    fn status(&self) -> Status {
        let stopped = self.around.stopped.stopped();
        let status = |it: &Supervised| {
            let stopped_at = stopped.get(&it.name).copied();
            ServiceStatus { stopped_at, ..Supervised::status(it, self.waits_for(it)) }
        };
        let mut services: Vec<_> = self.services.iter().map(status).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Status {
            project: self.around.project.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: seconds(self.began),
            services,
        }
    }
}

pub(super) fn refuse(listener: &Listener, error: String, hint: Option<String>) {
    // Whoever asked may not have waited.
    let _ = listener.send(Report::Refused(Refused { error, hint }));
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e3).round() / 1e3
}

impl Supervised {
    /// Comes to rest when it was ordered to and has no thread any more.
    pub(super) fn rest_if_ordered(&mut self) {
        if !std::mem::take(&mut self.to_rest) {
            return;
        }
        self.hangs_at_rest = self.hangs();
        self.hosted.sockets().close_all(&self.name);
        self.life = Life::Resting;
        self.tell_rest();
    }

    /// The operator's stops up to this number are written, or `lost` says why they are not.
    pub(super) fn orders_are_kept(&mut self, number: u64, lost: Option<String>) {
        if matches!(self.stop_kept, StopKept::Awaited(awaited) if awaited <= number) {
            self.stop_kept = StopKept::Told(lost);
            if matches!(self.life, Life::Resting) {
                self.tell_rest();
            }
        }
    }

    /// Tells those who wait for it to have stopped, once the stop outlives the host as well.
    fn tell_rest(&mut self) {
        let StopKept::Told(note) = self.stop_kept.clone() else { return };
        let hung = self.hangs().then(|| "it hangs; its thread was left behind".to_owned());
        let note = hung.or(note);
        self.tell(&self.stop_listeners, Some(!self.hangs()), note);
        self.stop_listeners.clear();
    }

    /// Tells those who wait for it to run again how far it is; `end` says whether it came about.
    pub(super) fn tell_restart(&mut self, end: Option<bool>, detail: Option<String>) {
        self.tell(&self.restart_listeners, end, detail);
        if end.is_some() {
            self.restart_listeners.clear();
        }
    }

    /// Tells how far it is; `end` says whether what was ordered came about.
    fn tell(&self, listeners: &[Listener], end: Option<bool>, detail: Option<String>) {
        let progress = Progress {
            service: self.name.clone(),
            state: self.state_word(),
            done: end.is_some(),
            ok: end.unwrap_or(true),
            detail,
        };
        for listener in listeners {
            // One that went away changes nothing.
            let _ = listener.send(Report::Progress(progress.clone()));
        }
    }

    /// To the host's own log: the service's ends with its last state.
    pub(super) fn say_how_it_ended(&self, outcome: RunOutcome, state: ServiceState, asked: bool) {
        let service = self.name();
        if outcome != RunOutcome::Stopped {
            let reason = self.last_words().unwrap_or_default();
            tracing::error!(service, %state, reason, "service failed");
        } else if !asked {
            tracing::info!(service, "service ended by itself");
        }
        let counted = self.hosted.count_up();
        tracing::info!(
            service,
            sent = counted.messages_sent,
            received = counted.messages_received,
            handled = counted.handled,
            unhandled = counted.unhandled,
            bad_frames = counted.bad_frames,
            dropped = counted.dropped,
            errors = counted.errors,
            panics = counted.panics,
            "counted"
        );
    }

    /// Its state in the word that `status` has for it.
    pub(super) fn state_word(&self) -> String {
        match self.life {
            Life::Ended(outcome) | Life::Pausing { outcome, .. }
                if outcome != RunOutcome::Stopped =>
            {
                "failed".to_owned()
            }
            _ if self.hangs() => "failed".to_owned(),
            Life::Resting | Life::NotStarted => ServiceState::Stopped.as_str().to_lowercase(),
            _ => self.state().as_str().to_lowercase(),
        }
    }

    fn whereabouts(&self) -> Whereabouts {
        let is_apart = self.build.present.library.is_apart();
        let isolation = Some(if is_apart { "process" } else { "thread" }.to_owned());
        let running = self.running();
        let (pid, thread) = (running.and_then(Instance::pid), running.and_then(Instance::thread));
        Whereabouts { isolation, pid, thread }
    }

    fn status(&self, waits_for: Vec<String>) -> ServiceStatus {
        let counted = self.hosted.count_up();
        let identity = self.build.present.library.identity();
        let last_error = self.hosted.health_record().last_error();
        let since: Timestamp = self.hosted.states().log().current().at;
        ServiceStatus {
            name: self.name.clone(),
            plugin: identity.name.clone(),
            version: identity.version.to_string(),
            generation: self.build.generation,
            sha256: identity.sha256.clone(),
            file: identity.file.clone(),
            state: self.state_word(),
            health: self.hosted.health_record().overall(),
            whereabouts: self.whereabouts(),
            since,
            uptime: self.began.map(seconds),
            restarts: self.record.restarts(),
            restart: RestartStatus {
                gave_up: self.record.gave_up(),
                next_at: self.next_start(),
                reason: self.why.clone(),
                waits_for,
            },
            ready: matches!(self.life, Life::Running(_)) && self.is_of_use(),
            state_saved_at: self.recall.at(),
            unresponsive: self.unresponsive.clone(),
            depends_on: self.build.terms().depends_on.clone(),
            stopped_at: None,
            messages_sent: counted.messages_sent,
            messages_received: counted.messages_received,
            dropped: counted.dropped,
            queue_depth: counted.queue_depth,
            statistics: counted,
            pending: self.pending.clone(),
            file_missing: self.file_missing,
            reloading: self.transaction.as_ref().map(|it| it.doing().to_owned()),
            kept: self.kept.clone(),
            last_error: last_error.map(|error| LastError {
                at: error.at,
                place: error.place,
                message: error.message,
            }),
        }
    }
}
