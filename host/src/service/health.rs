//! How a service is doing: the latest result of each check, the sticky error status, and what went
//! wrong lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Timestamp;
use plugin_api::abi::Severity;
use plugin_api::state::HealthStatus;
use serde_json::Value;

/// How many errors and how many check names are kept.
const ERRORS_KEPT: usize = 50;
const CHECKS_KEPT: usize = 50;

/// A recorded error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedError {
    /// How grave it is.
    pub severity: Severity,
    /// Where it happened: `start`, `on_message …`, `task …`.
    pub place: String,
    /// What happened.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// The result of a health check.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// How the checked thing is doing.
    pub status: HealthStatus,
    /// In words.
    pub message: String,
    /// Whatever else the service says of it.
    pub metadata: Value,
    /// When.
    pub at: Timestamp,
}

/// What the host itself sees of a service, which is a check like any other: [`STAGE_CHECK`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is on its way to RUNNING or away from it.
    Underway,
    /// It runs.
    Running,
    /// It stopped as it should, and none of it is there to be ill.
    Stopped,
    /// It failed, for this reason.
    Failed(String),
}

/// The name of the check by which the host says where a service is in its life.
pub const STAGE_CHECK: &str = "lifecycle";

/// Called after each change; it must be quick.
pub type OnChange = Box<dyn Fn() + Send + Sync>;

/// Health of one service.
#[derive(Default)]
pub struct Health {
    inner: Mutex<Inner>,
    revision: AtomicU64,
    on_change: OnceLock<OnChange>,
}

#[derive(Debug, Default)]
struct Inner {
    sticky: Option<HealthStatus>,
    errors: VecDeque<RecordedError>,
    error_count: u64,
    panic_count: u64,
    checks: BTreeMap<String, Kept>,
    stage: Option<(Stage, Check)>,
}

#[derive(Debug)]
struct Kept {
    check: Check,
    by: By,
}

/// Who recorded a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Host,
    Service,
    /// An instance of the service before the present one.
    FormerInstance,
}

/// What there is to tell of a service's health at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// As [`Health::overall`].
    pub overall: HealthStatus,
    /// The latest result of each check with its name, newest last; the error status is one of them.
    pub checks: Vec<(String, Check)>,
    /// Errors so far.
    pub error_count: u64,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Health").field(&*self.inner()).finish()
    }
}

impl Health {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `on_change` called after each change from now on. The first one that asks is served.
    pub fn call_on_change(&self, on_change: OnChange) {
        // Whoever comes second finds the files already written by the first.
        let _ = self.on_change.set(on_change);
    }

    /// A number that is another one after each change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Changes something, and tells.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let changed = change(&mut self.inner());
        self.revision.fetch_add(1, Ordering::AcqRel);
        if let Some(on_change) = self.on_change.get() {
            on_change();
        }
        changed
    }

    /// Keeps an error; the status stays at least as bad until it is reset.
    pub fn record_error(&self, error: RecordedError) {
        self.change(|inner| {
            let status = match error.severity {
                Severity::Error => HealthStatus::Error,
                Severity::Fatal => HealthStatus::Fatal,
                Severity::Panic => {
                    inner.panic_count += 1;
                    HealthStatus::Fatal
                }
            };
            inner.sticky = inner.sticky.max(Some(status));
            inner.error_count += 1;
            if inner.errors.len() == ERRORS_KEPT {
                inner.errors.pop_front();
            }
            inner.errors.push_back(error);
        });
    }

    /// Clears the error status; the history stays.
    pub fn reset_error_status(&self) {
        self.change(|inner| inner.sticky = None);
    }

    /// Keeps what the host has found in place of the last result of that name. Past the limit of
    /// names, the oldest result gives way.
    pub fn record_check(&self, name: &str, check: Check) {
        self.keep(name, check, By::Host);
    }

    /// The same for what the service itself has found, which is forgotten when another instance of
    /// it runs.
    pub fn record_own_check(&self, name: &str, check: Check) {
        self.keep(name, check, By::Service);
    }

    fn keep(&self, name: &str, check: Check, by: By) {
        self.change(|inner| {
            inner.checks.insert(name.to_owned(), Kept { check, by });
            if inner.checks.len() > CHECKS_KEPT {
                let oldest = inner.checks.iter().min_by_key(|(_, kept)| kept.check.at);
                if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                    inner.checks.remove(&oldest);
                }
            }
        });
    }

    /// Forgets a check, whose subject is no more.
    pub fn forget_check(&self, name: &str) {
        if self.inner().checks.contains_key(name) {
            self.change(|inner| inner.checks.remove(name));
        }
    }

    /// Another instance begins: the checks that the one before it recorded count until this one runs.
    /// The error status counts until somebody resets it.
    pub fn begin_instance(&self) {
        self.change(|inner| {
            for kept in inner.checks.values_mut().filter(|kept| kept.by == By::Service) {
                kept.by = By::FormerInstance;
            }
        });
    }

    /// Notes what the host sees; true when it is something else than before.
    pub fn note_stage(&self, stage: &Stage, at: Timestamp) -> bool {
        if self.inner().stage.as_ref().is_some_and(|(noted, _)| noted == stage) {
            return false;
        }
        self.change(|inner| inner.enter(stage, at));
        true
    }

    /// The worst of the latest checks and the error status; unknown when there is neither.
    #[must_use]
    pub fn overall(&self) -> HealthStatus {
        self.inner().overall()
    }

    /// All of it at one moment.
    #[must_use]
    pub fn view(&self) -> View {
        let inner = self.inner();
        let kept = inner.checks.iter().map(|(name, kept)| (name.clone(), kept.check.clone()));
        let stage = inner.stage.iter().map(|(_, check)| (STAGE_CHECK.to_owned(), check.clone()));
        let error = inner.errors.back().zip(inner.sticky).map(|(error, status)| {
            let message = format!("{}: {}", error.place, error.message);
            ("error".to_owned(), Check { status, message, metadata: Value::Null, at: error.at })
        });
        let mut checks: Vec<_> = kept.chain(stage).chain(error).collect();
        checks.sort_by_key(|(_, check)| check.at);
        checks.drain(..checks.len().saturating_sub(CHECKS_KEPT));
        View { overall: inner.overall(), checks, error_count: inner.error_count }
    }

    /// Errors and panics so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.error_count, inner.panic_count)
    }

    /// The latest error.
    #[must_use]
    pub fn last_error(&self) -> Option<RecordedError> {
        self.inner().errors.back().cloned()
    }

    /// The latest errors, oldest first.
    #[must_use]
    pub fn errors(&self) -> Vec<RecordedError> {
        self.inner().errors.iter().cloned().collect()
    }
}

impl Inner {
    fn enter(&mut self, stage: &Stage, at: Timestamp) {
        let (status, message) = match stage {
            Stage::Underway => (HealthStatus::Unknown, "starts or stops".to_owned()),
            Stage::Running => (HealthStatus::Healthy, "runs".to_owned()),
            Stage::Stopped => (HealthStatus::Unknown, "stopped".to_owned()),
            Stage::Failed(reason) => (HealthStatus::Fatal, format!("failed: {reason}")),
        };
        match stage {
            Stage::Running => {
                self.checks.retain(|_, kept| kept.by != By::FormerInstance);
            }
            Stage::Stopped => {
                self.checks.retain(|_, kept| kept.by == By::Host);
                self.sticky = None;
            }
            Stage::Underway | Stage::Failed(_) => {}
        }
        self.stage = Some((stage.clone(), Check { status, message, metadata: Value::Null, at }));
    }

    fn overall(&self) -> HealthStatus {
        let stage = self.stage.as_ref();
        if stage.is_some_and(|(stage, _)| *stage == Stage::Stopped) {
            return HealthStatus::Unknown;
        }
        let checks = self.checks.values().map(|kept| kept.check.status);
        let stage = stage.map(|(_, check)| check.status);
        checks.chain(stage).chain(self.sticky).max().unwrap_or(HealthStatus::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: HealthStatus, second: i64) -> Check {
        let at = Timestamp::from_second(second).unwrap();
        Check { status, message: String::new(), metadata: Value::Null, at }
    }

    fn error(severity: Severity) -> RecordedError {
        let (place, message) = ("start".to_owned(), "it broke".to_owned());
        RecordedError { severity, place, message, at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn only_the_latest_result_of_a_check_counts() {
        let health = Health::default();
        assert_eq!(health.overall(), HealthStatus::Unknown);
        health.record_check("camera", check(HealthStatus::Error, 1));
        health.record_check("disk", check(HealthStatus::Warning, 1));
        assert_eq!(health.overall(), HealthStatus::Error);
        health.record_check("camera", check(HealthStatus::Healthy, 2));
        assert_eq!(health.overall(), HealthStatus::Warning);
    }

    #[test]
    fn an_error_sticks_until_it_is_reset() {
        let health = Health::default();
        health.record_check("camera", check(HealthStatus::Healthy, 1));
        health.record_error(error(Severity::Fatal));
        health.record_error(error(Severity::Error));
        assert_eq!(health.overall(), HealthStatus::Fatal);
        health.reset_error_status();
        assert_eq!(health.overall(), HealthStatus::Healthy);
        assert_eq!(health.counts(), (2, 0));
        assert_eq!(health.errors().len(), 2);
    }

    #[test]
    fn what_an_instance_left_counts_until_the_next_one_runs() {
        let health = Health::default();
        let at = Timestamp::UNIX_EPOCH;
        health.record_check("reload", check(HealthStatus::Warning, 1));
        health.record_own_check("camera", check(HealthStatus::Error, 1));
        health.record_error(error(Severity::Fatal));
        health.note_stage(&Stage::Failed("it broke".to_owned()), at);
        health.begin_instance();
        health.note_stage(&Stage::Underway, at);
        health.record_own_check("disk", check(HealthStatus::Healthy, 2));
        assert_eq!(health.overall(), HealthStatus::Fatal, "it does not run yet");
        health.note_stage(&Stage::Running, at);
        let names = |health: &Health| {
            health.view().checks.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(health.overall(), HealthStatus::Fatal, "nobody has reset it");
        health.reset_error_status();
        assert_eq!(names(&health), [STAGE_CHECK, "reload", "disk"]);
        assert_eq!(health.overall(), HealthStatus::Warning, "what the host found stays");
        assert_eq!(health.counts(), (1, 0), "so does the history");
    }

    #[test]
    fn a_service_that_runs_is_well_and_one_that_stopped_is_neither() {
        let health = Health::default();
        let at = Timestamp::UNIX_EPOCH;
        assert!(health.note_stage(&Stage::Running, at));
        assert_eq!(health.overall(), HealthStatus::Healthy);
        assert!(!health.note_stage(&Stage::Running, at), "that is no change");
        health.record_error(error(Severity::Error));
        health.record_check("reload", check(HealthStatus::Warning, 1));
        health.note_stage(&Stage::Stopped, at);
        assert_eq!(health.overall(), HealthStatus::Unknown);
        health.note_stage(&Stage::Failed("no such device".to_owned()), at);
        assert_eq!(health.overall(), HealthStatus::Fatal);
        let (_, stage) = health.view().checks.swap_remove(0);
        assert_eq!(stage.message, "failed: no such device");
    }

    #[test]
    fn each_change_is_told_and_has_another_number() {
        let health = Health::default();
        let told = std::sync::Arc::new(AtomicU64::new(0));
        let tell = std::sync::Arc::clone(&told);
        health.call_on_change(Box::new(move || {
            tell.fetch_add(1, Ordering::Relaxed);
        }));
        health.record_error(error(Severity::Error));
        let before = health.revision();
        health.reset_error_status();
        health.record_check("camera", check(HealthStatus::Healthy, 1));
        health.forget_check("camera");
        health.forget_check("camera");
        assert_eq!(health.overall(), HealthStatus::Unknown, "that is no change, nor is looking");
        assert_eq!((told.load(Ordering::Relaxed), health.revision()), (4, before + 3));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let health = Health::default();
        for n in 0..200 {
            health.record_error(error(Severity::Panic));
            health.record_check(&format!("check {n}"), check(HealthStatus::Healthy, n));
        }
        assert_eq!(health.errors().len(), ERRORS_KEPT);
        assert_eq!(health.counts(), (200, 200));
        assert_eq!(health.inner().checks.len(), CHECKS_KEPT);
        assert!(health.inner().checks.contains_key("check 199"));
    }
}
