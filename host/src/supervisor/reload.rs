//! Reloads, up to the moment at which the running service is touched: who asks for one, what a
//! look at the files brings, and how one ends.
//!
//! One reload at a time for each service. What is asked for meanwhile is merged into one wish, which
//! has its turn afterwards.

use std::time::Duration;

use jiff::Timestamp;
use plugin_api::abi::RunOutcome;
use plugin_api::state::HealthStatus;
use tokio::time::Instant;

use super::carry_out::refuse;
use super::orders::Decision;
use super::status::Pending;
use super::supervised::{Build, Life, Supervised};
use super::transaction::{Attempted, Because, Failure, Phase, Transaction, Wish};
use super::{Event, Supervisor};
use crate::logging;
use crate::prepare::{Asked, Fresh, HostChanges, How, News, Outcome, Refusal};
use crate::service::handover::ConfigAnswer;
use crate::service::health::Check;

/// The check by which a service's health tells of a build that does not run.
const CHECK: &str = "reload";

/// How long a service may take to answer to a new configuration, before it is restarted with it.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Looks for plugin files that are not what runs.
    pub(super) fn look_for_plugins(&mut self) {
        self.look_at_all(Because::PluginsChanged);
    }

    /// Looks for configuration that is not what runs.
    pub(super) fn look_for_config(&mut self) {
        let (workshop, report) = (self.around.workshop.clone(), self.report.clone());
        let known: Vec<_> = self.services.iter().map(|it| it.name.clone()).collect();
        self.on_thread("look", move || {
            let changes = workshop.host_changes(&known);
            // The receiver is gone only when the host ends.
            let _ = report.send(Event::HostChanges(changes));
        });
        self.look_at_all(Because::ConfigChanged);
    }

    pub(super) fn on_host_changes(&mut self, changes: HostChanges) {
        if changes == self.host_changes {
            return;
        }
        for problem in &changes.problems {
            tracing::warn!("{}", problem.one_line());
        }
        if !changes.keys.is_empty() {
            let keys = changes.keys.join(", ");
            tracing::warn!(keys, "exphost.toml has changed; restart the host to apply these keys");
        }
        if !changes.new_services.is_empty() {
            let services = changes.new_services.join(", ");
            tracing::warn!(services, "the project has new services; restart the host to run them");
        }
        self.host_changes = changes;
    }

    /// Looks for what changed after the first look and before the watch began.
    pub(super) fn look_once_more(&mut self) {
        if self.around.terms.follows_plugins {
            self.look_at_all(Because::Begun);
        }
    }

    fn look_at_all(&mut self, because: Because) {
        let names = self.services.iter().filter(|it| it.follows_files()).map(|it| it.name.clone());
        let wishes = names.map(|name| (name, Wish::of(because))).collect();
        self.wish_all(wishes);
    }

    /// Takes a wish up, at once or after what is under way.
    pub(super) fn wish(&mut self, service: &str, wish: Wish) {
        self.wish_all(vec![(service.to_owned(), wish)]);
    }

    fn wish_all(&mut self, wishes: Vec<(String, Wish)>) {
        if self.stopping.is_some() {
            return;
        }
        self.jobs += 1;
        let (job, now) = (self.jobs, Instant::now());
        let follows_plugins = self.around.terms.follows_plugins;
        let mut asked = Vec::new();
        for (name, wish) in wishes {
            let Some(service) = self.find(&name) else { continue };
            if service.transaction.is_some() {
                service.queue(wish);
                continue;
            }
            asked.push(service.ask_of(&wish, follows_plugins));
            let from = service.has_thread().then(|| service.build.version());
            service.transaction = Some(Transaction::new(wish, job, from, now));
        }
        if asked.is_empty() {
            return;
        }
        let (workshop, report) = (self.around.workshop.clone(), self.report.clone());
        self.on_thread("look", move || {
            workshop.look(asked, &|news| {
                // The receiver is gone only when the host ends.
                let _ = report.send(Event::News(job, news));
            });
        });
    }

    fn on_thread(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let Err(error) = spawned else { return };
        tracing::error!(%error, "no thread to look at files with");
        let waiting: Vec<_> = self
            .services
            .iter()
            .filter(|it| it.preparing() == Some(self.jobs))
            .map(|it| it.name.clone())
            .collect();
        for service in waiting {
            let failure = Failure::new("identify", format!("no thread to look at files: {error}"));
            self.refuse(&service, failure, Attempted::default());
        }
    }

    pub(super) fn on_news(&mut self, job: u64, news: News) {
        let (News::Step { service, .. } | News::Done { service, .. }) = &news;
        let service = service.clone();
        if self.find(&service).and_then(|it| it.preparing()) != Some(job) {
            // The reload was given up meanwhile.
            if let News::Done { outcome: Outcome::Ready(fresh), .. } = news {
                self.discard(&service, *fresh);
            }
            return;
        }
        match news {
            News::Step { step, ok, took, detail, .. } => {
                if let Some(transaction) =
                    self.find(&service).and_then(|it| it.transaction.as_ref())
                {
                    transaction.tell_step(&service, step, ok, took, detail);
                }
            }
            News::Done { outcome, .. } => {
                let _scope = logging::service_scope(&service);
                self.on_look_done(&service, outcome);
            }
        }
    }

    fn on_look_done(&mut self, service: &str, outcome: Outcome) {
        let Some(supervised) = self.find(service) else { return };
        let is_missing = match &outcome {
            Outcome::Missing => true,
            Outcome::Ready(_) | Outcome::Unchanged => false,
            Outcome::Refused(refusal) if refusal.sha256.is_some() => false,
            // Nothing is known of the file by these.
            Outcome::Refused(_) | Outcome::Unsettled => supervised.file_missing,
        };
        if is_missing != supervised.file_missing {
            supervised.file_missing = is_missing;
            let file = supervised.build.present.library.identity().file.display().to_string();
            if supervised.file_missing {
                tracing::warn!(service, file, "the plugin file is gone; what was loaded runs on");
            } else {
                tracing::info!(service, "there is a plugin file again");
            }
        }
        match outcome {
            Outcome::Missing | Outcome::Unsettled => self.drop_transaction(service),
            Outcome::Unchanged => {
                supervised.forget_refusal_of_config();
                self.drop_transaction(service);
            }
            Outcome::Refused(refusal) => self.on_refusal(service, refusal),
            Outcome::Ready(fresh) => self.on_ready(service, fresh),
        }
    }

    fn on_refusal(&mut self, service: &str, refusal: Refusal) {
        let version = refusal.version.as_ref().map(ToString::to_string);
        let attempted = Attempted { version, sha256: refusal.sha256.clone() };
        self.refuse(service, refusal.into(), attempted);
    }

    /// What may run is ready: what becomes of it depends on where the service is in its life.
    fn on_ready(&mut self, service: &str, fresh: Box<Fresh>) {
        let (kept, max_kept) = (self.kept(), self.around.terms.max_kept);
        if fresh.is_new_build && kept >= max_kept {
            let reason = format!("{kept} old generations are still mapped, the most that may be");
            let failure = Failure::new("load", reason)
                .hint("restart the host; `exphost status` tells why each could not be unloaded");
            return self.refuse_ready(service, *fresh, failure);
        }
        let Some(supervised) = self.find(service) else { return };
        for change in &fresh.changes {
            tracing::info!(service, change, "configuration");
        }
        let same_config = fresh.present.config == supervised.build.present.config;
        match supervised.life {
            // Other timeouts, say: nothing that the instance knows of.
            _ if !fresh.is_new_build && same_config => self.swap(service, *fresh),
            Life::Waiting => self.swap(service, *fresh),
            Life::Running(_) if !fresh.is_new_build && supervised.build.present.hands_over() => {
                self.offer_config(service, fresh);
            }
            Life::Starting(..) | Life::Running(_) => self.drain(service, fresh),
            // It stops because it has failed, say, and starts again: what is new is not forgotten.
            Life::Stopping(..) if !supervised.to_rest => self.ask_after_its_end(service, *fresh),
            Life::Stopping(..) => {
                let failure = Failure::new("stop", "the service is just stopping")
                    .hint("ask again when it has stopped");
                self.refuse_ready(service, *fresh, failure);
            }
            // It has done its work, and nobody asked for more of it.
            Life::Ended(RunOutcome::Stopped) if supervised.wants_only_changes() => {
                self.swap(service, *fresh);
            }
            Life::Pausing { .. } | Life::Ended(_) | Life::Hung | Life::NotStarted => {
                let state = supervised.recall.last().filter(|_| fresh.present.hands_over());
                self.try_out(service, *fresh, None, state);
            }
            Life::Resting => self.try_out(service, *fresh, None, None),
        }
    }

    /// Has the same looked for once more when the instance that is on its way out has ended.
    fn ask_after_its_end(&mut self, service: &str, fresh: Fresh) {
        self.discard(service, fresh);
        let Some(supervised) = self.find(service) else { return };
        let Some(Transaction { wish, .. }) = supervised.transaction.take() else { return };
        supervised.queue(wish);
    }

    /// What had to wait for the end of an instance, or of a reload, is looked for now.
    pub(super) fn ask_what_waited(&mut self, service: &str) {
        let Some(supervised) = self.find(service) else { return };
        if supervised.transaction.is_none()
            && let Some(wish) = supervised.queued.take()
        {
            self.wish(service, wish);
        }
    }

    /// Puts a build in the place of one that does not run, or what the host is told of one that does.
    fn swap(&mut self, service: &str, fresh: Fresh) {
        let old = self.take_up(service, fresh);
        self.service(service, Supervised::is_well);
        if let Some(old) = old {
            self.bury(service, old);
        }
        self.conclude(service, Decision::Reloaded, None, Attempted::default());
    }

    fn offer_config(&mut self, service: &str, fresh: Box<Fresh>) {
        let until = Instant::now() + CONFIG_TIMEOUT;
        self.service(service, |supervised| {
            supervised.hosted.offer_config(fresh.present.config.to_vec());
            if let Some(transaction) = &mut supervised.transaction {
                transaction.begin_step(Instant::now());
                transaction.phase = Phase::Configuring { fresh, until };
            }
        });
    }

    pub(super) fn on_config_answer(&mut self, service: &str, answer: ConfigAnswer) {
        let Some(fresh) = self.find(service).and_then(Supervised::take_offered) else { return };
        let _scope = logging::service_scope(service);
        match answer {
            ConfigAnswer::Applied => {
                self.end_step(service, "apply", true, Some("without a restart".to_owned()));
                self.take_up(service, *fresh);
                self.service(service, Supervised::is_well);
                self.conclude(service, Decision::Reloaded, None, Attempted::default());
            }
            ConfigAnswer::RestartWanted => self.drain(service, fresh),
            ConfigAnswer::Refused(reason) => {
                self.end_step(service, "apply", false, Some(reason.clone()));
                let failure = Failure::new("apply", format!("the service refuses it: {reason}"))
                    .hint("it goes on with the configuration it had");
                self.refuse(service, failure, Attempted::default());
            }
        }
    }

    /// Something that the reload itself waits for has not come, or has been waited for.
    pub(super) fn on_transaction_due(&mut self, service: &str) {
        let Some(supervised) = self.find(service) else { return };
        let offered = matches!(
            supervised.transaction.as_ref().map(|it| &it.phase),
            Some(Phase::Configuring { .. })
        );
        if !offered {
            return self.commit(service);
        }
        if let Some(fresh) = supervised.take_offered() {
            supervised.hosted.handover().withdraw_config();
            tracing::warn!(service, "no answer to the new configuration; restarting with it");
            self.drain(service, fresh);
        }
    }

    /// Gives all reloads up: the host stops.
    pub(super) fn give_up_reloads(&mut self) {
        let names: Vec<_> = self.services.iter().map(|it| it.name.clone()).collect();
        for service in names {
            self.give_up(&service, "the host is stopping");
        }
    }

    /// Gives a reload up. The service stays as it is just now; it is about to be stopped. Nothing
    /// was found wrong with the build, so nothing is kept of it. Whoever asked is told, and so is
    /// whoever asked for one that was to come after it.
    pub(super) fn give_up(&mut self, service: &str, why: &str) {
        let Some(supervised) = self.find(service) else { return };
        for listener in supervised.queued.take().into_iter().flat_map(|wish| wish.listeners) {
            refuse(&listener, why.to_owned(), None);
        }
        let state = supervised.state_word();
        let Some(mut transaction) = supervised.transaction.take() else { return };
        let failure = Failure::new(transaction.doing(), why);
        let phase = std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 });
        let only_looked = matches!(phase, Phase::Preparing { .. });
        if !(only_looked && transaction.wish.if_changed()) {
            tracing::info!(service, step = failure.step, why, "reload given up");
        }
        let (decision, now) = (Decision::Refused, Instant::now());
        transaction.conclude(service, decision, None, Some(&failure), &state, now);
        match phase {
            Phase::Configuring { fresh, .. } | Phase::Draining { fresh, .. } => {
                self.discard(service, *fresh);
            }
            Phase::Trying { old: Some(old), is_new_build: true, .. } => self.bury(service, *old),
            _ => {}
        }
    }

    fn refuse_ready(&mut self, service: &str, fresh: Fresh, failure: Failure) {
        let attempted = Attempted::of(&fresh.present);
        self.discard(service, fresh);
        self.refuse(service, failure, attempted);
    }

    /// Ends a reload before the running service was touched.
    fn refuse(&mut self, service: &str, failure: Failure, attempted: Attempted) {
        self.conclude(service, Decision::Refused, Some(failure), attempted);
    }

    pub(super) fn end_step(&mut self, service: &str, step: &str, ok: bool, detail: Option<String>) {
        if let Some(transaction) = self.find(service).and_then(|it| it.transaction.as_ref()) {
            transaction.end_step(service, step, ok, detail, Instant::now());
        }
    }

    /// Ends a reload: the verdict goes to whoever asked, to the log, to `status` and to health.
    pub(super) fn conclude(
        &mut self,
        service: &str,
        decision: Decision,
        failure: Option<Failure>,
        attempted: Attempted,
    ) {
        let Some(supervised) = self.find(service) else { return };
        let Some(transaction) = supervised.transaction.take() else { return };
        let _scope = logging::service_scope(service);
        let to = match decision {
            Decision::Reloaded => Some(supervised.build.version()),
            Decision::Refused | Decision::RolledBack => attempted.version.clone(),
        };
        let state = supervised.state_word();
        let verdict =
            transaction.conclude(service, decision, to, failure.as_ref(), &state, Instant::now());
        let (from, to) = (verdict.from.unwrap_or_default(), verdict.to.unwrap_or_default());
        let generation = supervised.build.generation;
        match failure {
            None => {
                let (ms, gap_ms) = (verdict.ms, verdict.gap_ms);
                tracing::info!(service, from, to, generation, ms, gap_ms, "reloaded");
            }
            Some(failure) => {
                let (step, reason) = (failure.step, failure.reason.as_str());
                let hint = failure.hint.clone().unwrap_or_default();
                let verdict = decision.as_str();
                if supervised.is_news(&failure, &attempted) {
                    tracing::error!(service, verdict, step, from, to, reason, hint, "not reloaded");
                }
                supervised.note_refusal(decision, failure, attempted);
            }
        }
        if let Some(wish) = supervised.queued.take() {
            self.wish(service, wish);
        } else if self.stopping.is_none() {
            self.start_what_can();
        }
    }

    fn drop_transaction(&mut self, service: &str) {
        self.service(service, |supervised| supervised.transaction = None);
        self.ask_what_waited(service);
    }

    /// Lets a build go that was never started.
    pub(super) fn discard(&mut self, service: &str, fresh: Fresh) {
        if fresh.is_new_build {
            self.bury(service, Build { generation: 0, present: fresh.present });
        }
    }
}

/// Whether a build was refused for its configuration, or the configuration itself.
fn is_of_config(pending: &Pending) -> bool {
    matches!(&*pending.step, "config" | "apply")
}

impl Supervised {
    /// Whether changed files are a reason to do something about it.
    fn follows_files(&self) -> bool {
        !matches!(self.life, Life::Resting) && !self.to_rest
    }

    /// Has a wish wait, together with those that wait already.
    fn queue(&mut self, wish: Wish) {
        self.queued = Some(match self.queued.take() {
            Some(other) => other.merge(wish),
            None => wish,
        });
    }

    /// The look that is under way for it.
    fn preparing(&self) -> Option<u64> {
        match self.transaction.as_ref()?.phase {
            Phase::Preparing { job } => Some(job),
            _ => None,
        }
    }

    fn wants_only_changes(&self) -> bool {
        self.transaction.as_ref().is_some_and(|it| it.wish.if_changed())
    }

    /// `follows_plugins`: whether new builds are taken up without being asked for.
    fn ask_of(&self, wish: &Wish, follows_plugins: bool) -> Asked {
        // What was refused because of its configuration may do with another one.
        let pending = self.pending.as_ref();
        let for_its_config = pending.is_some_and(is_of_config);
        let how = match wish.because {
            Because::Asked | Because::ToStart => How::Anew { force: wish.force },
            Because::ConfigChanged if !follows_plugins && !for_its_config => How::IfConfigChanged,
            Because::Begun | Because::ConfigChanged | Because::PluginsChanged => How::IfChanged {
                refused: pending.filter(|it| !is_of_config(it)).and_then(|it| it.sha256.clone()),
                // A file that changed just now is left to the watcher, which tells when it has come to
                // rest. Where nobody watches, nobody would come back to it.
                at_rest: follows_plugins && wish.because != Because::Begun,
            },
        };
        Asked { service: self.name.clone(), present: self.build.present.clone(), how }
    }

    /// The configuration that the service was offered, if it was; the reload goes on without it.
    fn take_offered(&mut self) -> Option<Box<Fresh>> {
        let transaction = self.transaction.as_mut()?;
        match std::mem::replace(&mut transaction.phase, Phase::Preparing { job: 0 }) {
            Phase::Configuring { fresh, .. } => Some(fresh),
            other => {
                transaction.phase = other;
                None
            }
        }
    }

    /// Whether a refusal says something that was not said before.
    fn is_news(&self, failure: &Failure, attempted: &Attempted) -> bool {
        self.pending.as_ref().is_none_or(|pending| {
            pending.reason != failure.reason || pending.sha256 != attempted.sha256
        })
    }

    fn note_refusal(&mut self, decision: Decision, failure: Failure, attempted: Attempted) {
        let version = attempted.version.clone().unwrap_or_else(|| "a new build".to_owned());
        let word = match decision {
            Decision::RolledBack => "was rolled back",
            Decision::Refused | Decision::Reloaded => "was refused",
        };
        let message = format!("{version} {word} at {}: {}", failure.step, failure.reason);
        let (status, at) = (HealthStatus::Warning, Timestamp::now());
        let check = Check { status, message, metadata: serde_json::Value::Null, at };
        self.hosted.health_record().record_check(CHECK, check);
        self.pending = Some(Pending {
            version: attempted.version,
            sha256: attempted.sha256,
            at,
            step: failure.step.to_owned(),
            reason: failure.reason,
        });
    }

    /// A refused configuration was taken back: what the file says is what runs.
    fn forget_refusal_of_config(&mut self) {
        if self.pending.as_ref().is_some_and(is_of_config) {
            self.is_well();
        }
    }

    /// What was refused runs after all.
    pub(super) fn forget_refusal_of_what_runs(&mut self) {
        let runs = &self.build.present.library.identity().sha256;
        if self.pending.as_ref().is_some_and(|it| it.sha256.as_ref() == Some(runs)) {
            self.is_well();
        }
    }

    /// What runs is what is to run.
    pub(super) fn is_well(&mut self) {
        self.pending = None;
        self.hosted.health_record().forget_check(CHECK);
    }
}
