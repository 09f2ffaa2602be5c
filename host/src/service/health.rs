//! How a service is doing: the latest result of each check, the sticky error status, and what went
//! wrong lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Health of one service.
#[derive(Debug, Default)]
pub struct Health(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sticky: Option<HealthStatus>,
    errors: VecDeque<RecordedError>,
    error_count: u64,
    panic_count: u64,
    checks: BTreeMap<String, Check>,
}

impl Health {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an error; the status stays at least as bad until it is reset.
    pub fn record_error(&self, error: RecordedError) {
        let mut inner = self.inner();
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
    }

    /// Clears the error status; the history stays.
    pub fn reset_error_status(&self) {
        self.inner().sticky = None;
    }

    /// Keeps the result of a check in place of the last one of that name. Past the limit of names,
    /// the oldest result gives way.
    pub fn record_check(&self, name: &str, check: Check) {
        let mut inner = self.inner();
        inner.checks.insert(name.to_owned(), check);
        if inner.checks.len() > CHECKS_KEPT {
            let oldest = inner.checks.iter().min_by_key(|(_, check)| check.at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                inner.checks.remove(&oldest);
            }
        }
    }

    /// Forgets a check, whose subject is no more.
    pub fn forget_check(&self, name: &str) {
        self.inner().checks.remove(name);
    }

    /// The worst of the latest checks and the error status; unknown when there is neither.
    #[must_use]
    pub fn overall(&self) -> HealthStatus {
        let inner = self.inner();
        let checks = inner.checks.values().map(|check| check.status);
        checks.chain(inner.sticky).max().unwrap_or(HealthStatus::Unknown)
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
