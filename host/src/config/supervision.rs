//! How a service is looked after: the keys of `[exphost]` about restarts, dependants and snapshots,
//! which `[defaults]` of `exphost.toml` has too.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::directives::{LONGEST_TIMEOUT, duration, timeout_schema};
use crate::problem::Problem;

/// A beat comes every half a second; what is less than two of them tells of nothing.
const SHORTEST_BEAT_TIMEOUT: Duration = Duration::from_secs(1);

/// When a service is started again that has ended without being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Not at all.
    Never,
    /// After a failure.
    OnFailure,
    /// Also when it has ended of its own accord.
    Always,
}

/// When those who depend on a service may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// When it is RUNNING.
    Running,
    /// When it is RUNNING and has said that it is ready.
    Reported,
}

/// What becomes of a service when one that it depends on fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDependencyFailure {
    /// It runs on.
    Keep,
    /// It is stopped, and started when the other is back.
    Restart,
    /// It is stopped, and stays so until it is started by order.
    Stop,
}

/// What becomes of a service whose runtime does not turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHang {
    /// It is reported, and left to itself.
    Report,
    /// It is left behind or, with a process of its own, killed; then its policy decides.
    Restart,
}

/// How a service is looked after.
#[derive(Clone, Debug, PartialEq)]
pub struct Supervision {
    /// When it is started again.
    pub restart: Restart,
    /// How long the second restart in a row waits; the first does not wait, and each further one
    /// waits twice as long as the one before.
    pub delay: Duration,
    /// The longest wait.
    pub delay_max: Duration,
    /// How long it must have run for its failures to be forgotten.
    pub healthy_after: Duration,
    /// How many restarts there may be within the window.
    pub limit: u32,
    /// The window.
    pub window: Duration,
    /// How often it is tried once the limit is reached; `None` for not at all.
    pub retry_every: Option<Duration>,
    /// When those who depend on it may start.
    pub ready: Ready,
    /// What becomes of it when one that it depends on fails.
    pub on_dependency_failure: OnDependencyFailure,
    /// How often its state is saved; `None` for never, also not when the host stops.
    pub snapshot_every: Option<Duration>,
    /// How long its runtime may not turn before it is reported; `None` for as long as it likes.
    pub beat_timeout: Option<Duration>,
    /// How long a handler may go on, awaiting or not; `None` for as long as it likes.
    pub handler_timeout: Option<Duration>,
    /// What becomes of it when its runtime does not turn; by where it runs if it is not given.
    pub on_hang: Option<OnHang>,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: Restart::OnFailure,
            delay: Duration::from_millis(500),
            delay_max: Duration::from_secs(30),
            healthy_after: Duration::from_secs(60),
            limit: 10,
            window: Duration::from_secs(300),
            retry_every: None,
            ready: Ready::Running,
            on_dependency_failure: OnDependencyFailure::Keep,
            snapshot_every: Some(Duration::from_secs(10)),
            beat_timeout: Some(Duration::from_secs(5)),
            handler_timeout: None,
            on_hang: None,
        }
    }
}

/// What one table says of it. What is not given is left to the table below, in the end to
/// [`Supervision::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    restart: Option<Restart>,
    delay: Option<Duration>,
    delay_max: Option<Duration>,
    healthy_after: Option<Duration>,
    limit: Option<u32>,
    window: Option<Duration>,
    retry_every: Option<Duration>,
    ready: Option<Ready>,
    on_dependency_failure: Option<OnDependencyFailure>,
    snapshot_every: Option<Duration>,
    beat_timeout: Option<Duration>,
    handler_timeout: Option<Duration>,
    on_hang: Option<OnHang>,
}

impl Given {
    /// Reads the keys of a table. What does not fit the schema, which speaks of it, is not given.
    #[must_use]
    pub fn read(table: &Value) -> Self {
        let word = |key: &str| table.get(key).and_then(Value::as_str);
        let seconds = |key: &str| table.get(key).and_then(duration);
        let limit = table.get("restart_limit").and_then(Value::as_u64);
        Self {
            restart: match word("restart") {
                Some("never") => Some(Restart::Never),
                Some("on-failure") => Some(Restart::OnFailure),
                Some("always") => Some(Restart::Always),
                _ => None,
            },
            delay: seconds("restart_delay"),
            delay_max: seconds("restart_delay_max"),
            healthy_after: seconds("restart_healthy_after"),
            limit: limit.and_then(|it| it.try_into().ok()),
            window: seconds("restart_window"),
            retry_every: seconds("retry_every"),
            ready: match word("ready") {
                Some("running") => Some(Ready::Running),
                Some("reported") => Some(Ready::Reported),
                _ => None,
            },
            on_dependency_failure: match word("on_dependency_failure") {
                Some("keep") => Some(OnDependencyFailure::Keep),
                Some("restart") => Some(OnDependencyFailure::Restart),
                Some("stop") => Some(OnDependencyFailure::Stop),
                _ => None,
            },
            snapshot_every: seconds("snapshot_every"),
            beat_timeout: seconds("beat_timeout"),
            handler_timeout: seconds("handler_timeout"),
            on_hang: match word("on_hang") {
                Some("report") => Some(OnHang::Report),
                Some("restart") => Some(OnHang::Restart),
                _ => None,
            },
        }
    }

    /// Keys that make no sense together, each with what is wrong with it.
    #[must_use]
    pub fn contradictions(&self) -> Vec<(&'static str, Problem)> {
        let mut found = Vec::new();
        if let Some((delay, most)) = self.delay.zip(self.delay_max).filter(|(a, b)| a > b) {
            let (delay, most) = (delay.as_secs_f64(), most.as_secs_f64());
            let message = format!("is {most}, less than `restart_delay`, which is {delay}");
            let problem = Problem::error(message).hint("make it at least as long, or leave it out");
            found.push(("restart_delay_max", problem));
        }
        let is_hasty = |it: &Duration| !it.is_zero() && *it < SHORTEST_BEAT_TIMEOUT;
        if let Some(beat) = self.beat_timeout.filter(is_hasty) {
            let message =
                format!("is {}; services tell that they live twice a second", beat.as_secs_f64());
            let problem = Problem::error(message).hint("write 1 or more, or 0 for no such limit");
            found.push(("beat_timeout", problem));
        }
        found
    }
}

impl Supervision {
    /// What holds for a service by its own table and by the defaults of its project.
    #[must_use]
    pub fn of(service: &Given, defaults: &Given) -> Self {
        let usual = Self::default();
        // No time at all is how the keys of a service say "not" where the project says otherwise.
        let often = |own: Option<Duration>, general: Option<Duration>, usual| {
            own.or(general).or(usual).filter(|it| !it.is_zero())
        };
        Self {
            restart: service.restart.or(defaults.restart).unwrap_or(usual.restart),
            delay: service.delay.or(defaults.delay).unwrap_or(usual.delay),
            delay_max: service.delay_max.or(defaults.delay_max).unwrap_or(usual.delay_max),
            healthy_after: service
                .healthy_after
                .or(defaults.healthy_after)
                .unwrap_or(usual.healthy_after),
            limit: service.limit.or(defaults.limit).unwrap_or(usual.limit),
            window: service.window.or(defaults.window).unwrap_or(usual.window),
            retry_every: often(service.retry_every, defaults.retry_every, usual.retry_every),
            ready: service.ready.or(defaults.ready).unwrap_or(usual.ready),
            on_dependency_failure: service
                .on_dependency_failure
                .or(defaults.on_dependency_failure)
                .unwrap_or(usual.on_dependency_failure),
            snapshot_every: often(
                service.snapshot_every,
                defaults.snapshot_every,
                usual.snapshot_every,
            ),
            beat_timeout: often(service.beat_timeout, defaults.beat_timeout, usual.beat_timeout),
            handler_timeout: often(
                service.handler_timeout,
                defaults.handler_timeout,
                usual.handler_timeout,
            ),
            on_hang: service.on_hang.or(defaults.on_hang),
        }
    }
}

/// The schema of the keys.
#[must_use]
pub fn properties() -> Map<String, Value> {
    let or_never = |description: &str| {
        json!({"type": "number", "minimum": 0, "maximum": LONGEST_TIMEOUT,
            "description": description})
    };
    let keys = [
        ("restart", json!({"enum": ["never", "on-failure", "always"]})),
        (
            "restart_delay",
            timeout_schema(
                "Seconds before the second restart in a row; each further one takes twice as long",
            ),
        ),
        ("restart_delay_max", timeout_schema("Seconds before a restart, at most")),
        (
            "restart_healthy_after",
            timeout_schema("Seconds of running after which the failures before are forgotten"),
        ),
        (
            "restart_limit",
            json!({"type": "integer", "minimum": 1, "maximum": 1000,
                "description": "Restarts within `restart_window`, at most"}),
        ),
        ("restart_window", timeout_schema("Seconds in which `restart_limit` restarts may happen")),
        (
            "retry_every",
            or_never(
                "Seconds between two tries of a service that has reached its limit; 0 for none",
            ),
        ),
        ("ready", json!({"enum": ["running", "reported"]})),
        ("on_dependency_failure", json!({"enum": ["keep", "restart", "stop"]})),
        (
            "snapshot_every",
            or_never("Seconds between two snapshots of the service's state; 0 for none"),
        ),
        (
            "beat_timeout",
            or_never("Seconds, 1 at least, for which the service may block its thread; 0 for ever"),
        ),
        (
            "handler_timeout",
            or_never("Seconds a handler may take, awaiting or not; 0 for as long as it likes"),
        ),
        ("on_hang", json!({"enum": ["report", "restart"]})),
    ];
    keys.into_iter().map(|(key, schema)| (key.to_owned(), schema)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(table: Value) -> Given {
        Given::read(&table)
    }

    #[test]
    fn a_service_has_the_last_word_then_the_project() {
        let project = given(json!({
            "restart": "always", "restart_limit": 3, "retry_every": 60, "snapshot_every": 2.5,
        }));
        let service = given(json!({"restart": "never", "retry_every": 0, "ready": "reported"}));
        let both = Supervision::of(&service, &project);
        assert_eq!((both.restart, both.limit), (Restart::Never, 3));
        assert_eq!(both.retry_every, None, "the service says that there is none");
        assert_eq!(both.snapshot_every, Some(Duration::from_millis(2_500)));
        assert_eq!(both.ready, Ready::Reported);
        assert_eq!(both.delay, Supervision::default().delay);
        let nothing = Given::default();
        assert_eq!(Supervision::of(&nothing, &nothing), Supervision::default());
    }

    #[test]
    fn a_pause_that_is_longer_than_the_longest_is_told() {
        let contradictions =
            given(json!({"restart_delay": 5, "restart_delay_max": 2})).contradictions();
        assert_eq!(contradictions.len(), 1);
        assert_eq!(contradictions[0].0, "restart_delay_max");
        assert!(contradictions[0].1.message.contains("is 2, less than"), "{contradictions:?}");
        for good in [
            json!({"restart_delay": 2, "restart_delay_max": 2}),
            json!({"beat_timeout": 0}),
            json!({"beat_timeout": 1}),
        ] {
            assert!(given(good.clone()).contradictions().is_empty(), "{good}");
        }
        let hasty = given(json!({"beat_timeout": 0.4})).contradictions();
        assert_eq!(hasty.first().map(|it| it.0), Some("beat_timeout"));
    }
}
