//! The workers of a controller, as its configuration names them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::config::{PublisherConfig, ResultPullConfig, SubscriberConfig, TaskPushConfig};
use super::spec::{SocketSpec, endpoint, overlap};

/// `zmq` of a service that hands tasks to workers and gets their results.
///
/// ```toml
/// [zmq.workers.image]
/// message_types = ["RenderRequest"]
///
/// [zmq.workers.video]
/// message_types = ["LoopRequest", "TransitionRequest"]
/// push = { port = 5562 }
/// pull = { port = 5563 }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControllerConfig {
    /// Where the service publishes.
    pub publisher: Option<PublisherConfig>,
    /// What the service listens to.
    pub subscriber: Option<SubscriberConfig>,
    /// The workers by their names, each with ports of its own.
    pub workers: BTreeMap<String, WorkerLink>,
    /// Seconds after which a worker that has tasks and answers none of them is reported.
    #[schemars(range(min = 0.001))]
    pub worker_timeout: f64,
    /// How many workers there may be at most.
    #[schemars(range(min = 1))]
    pub max_workers: u32,
}

/// A worker, or several that share its tasks, as a controller sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerLink {
    /// Where its tasks go.
    pub push: TaskPushConfig,
    /// Where its results come from.
    pub pull: ResultPullConfig,
    /// The `type`s of the tasks that it takes; any when the list is empty.
    pub message_types: Vec<String>,
    /// Tasks that may wait to be sent, beyond which `push_task` waits, and results that may wait for
    /// the service, beyond which they wait where they come from.
    #[schemars(range(min = 1))]
    pub max_queue_size: u32,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            publisher: None,
            subscriber: None,
            workers: BTreeMap::new(),
            worker_timeout: 60.0,
            max_workers: 4,
        }
    }
}

impl Default for WorkerLink {
    fn default() -> Self {
        Self {
            push: TaskPushConfig::default(),
            pull: ResultPullConfig::default(),
            message_types: Vec::new(),
            max_queue_size: 1000,
        }
    }
}

impl WorkerLink {
    /// The socket by which the tasks of worker `name` go, as the host is asked for it.
    #[must_use]
    pub fn push_spec(&self, name: &str) -> SocketSpec {
        let key = format!("zmq.workers.{name}.push");
        SocketSpec { max_queue_size: Some(self.queue()), ..self.push.socket(&key) }
    }

    /// The socket by which the results of worker `name` come, as the host is asked for it.
    #[must_use]
    pub fn pull_spec(&self, name: &str) -> SocketSpec {
        let key = format!("zmq.workers.{name}.pull");
        SocketSpec { max_queue_size: Some(self.queue()), ..self.pull.socket(&key) }
    }

    const fn queue(&self) -> usize {
        self.max_queue_size as usize
    }
}

impl ControllerConfig {
    /// Checks what no single key can tell, and trims the names.
    ///
    /// # Errors
    /// With one sentence that names the keys.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        let mut workers = BTreeMap::new();
        for (written, link) in std::mem::take(&mut self.workers) {
            let name = written.trim();
            if name.is_empty() {
                return Err(format!("zmq.workers.{written:?}: the name of a worker is empty"));
            }
            if workers.insert(name.to_owned(), link).is_some() {
                return Err(format!(
                    "zmq.workers.{written:?} and another worker are both called `{name}`; \
                     spaces around a name do not count"
                ));
            }
        }
        self.workers = workers;
        if self.workers.len() > self.max_workers as usize {
            let names = self.workers.keys().map(|name| format!("`{name}`"));
            return Err(format!(
                "zmq.workers names {} workers ({}), and zmq.max_workers is {}",
                self.workers.len(),
                names.collect::<Vec<_>>().join(", "),
                self.max_workers,
            ));
        }
        self.check_places().map(|()| self)
    }

    fn check_places(&self) -> Result<(), String> {
        let mut places: Vec<(String, String)> = Vec::new();
        for (name, WorkerLink { push, pull, .. }) in &self.workers {
            let ends = [("push", &push.address, push.port), ("pull", &pull.address, pull.port)];
            for (end, address, port) in ends {
                let key = format!("zmq.workers.{name}.{end}");
                let place = endpoint(address, port);
                if let Some((other, _)) = places.iter().find(|(_, other)| overlap(&place, other)) {
                    return Err(format!(
                        "{key} and {other} are both at {place}; each takes its own"
                    ));
                }
                places.push((key, place));
            }
        }
        Ok(())
    }
}

/// As it is written, before it is checked.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    publisher: Option<PublisherConfig>,
    subscriber: Option<SubscriberConfig>,
    workers: BTreeMap<String, WorkerLink>,
    worker_timeout: f64,
    max_workers: u32,
}

impl Default for Written {
    fn default() -> Self {
        let ControllerConfig { publisher, subscriber, workers, worker_timeout, max_workers } =
            ControllerConfig::default();
        Self { publisher, subscriber, workers, worker_timeout, max_workers }
    }
}

impl<'de> Deserialize<'de> for ControllerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { publisher, subscriber, workers, worker_timeout, max_workers } =
            Written::deserialize(deserializer)?;
        let written = Self { publisher, subscriber, workers, worker_timeout, max_workers };
        written.checked().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ControllerConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(json: &str, expected: &str) {
        let error = read(json).expect_err(json);
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn names_are_trimmed_and_their_sockets_bind_by_default() {
        let config = read(r#"{"workers": {" image ": {"push": {"port": 6000}}}}"#).unwrap();
        let link = &config.workers["image"];
        let (push, pull) = (link.push_spec("image"), link.pull_spec("image"));
        assert_eq!((push.key.as_str(), push.bind), ("zmq.workers.image.push", true));
        assert_eq!((push.endpoint().as_str(), push.max_queue_size), ("tcp://*:6000", Some(1000)));
        assert_eq!((pull.key.as_str(), pull.bind), ("zmq.workers.image.pull", true));
        assert_eq!((pull.endpoint().as_str(), pull.max_queue_size), ("tcp://*:5565", Some(1000)));
        assert_eq!(read("{}").unwrap(), ControllerConfig::default());
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(read(&again).unwrap(), config);
    }

    #[test]
    fn names_must_be_there_and_differ() {
        refused(r#"{"workers": {" ": {}}}"#, r#"zmq.workers." ": the name of a worker is empty"#);
        let twice = r#"{"workers": {"a": {}, " a": {"push": {"port": 1}}}}"#;
        refused(twice, r#"zmq.workers."a" and another worker are both called `a`"#);
        refused(r#"{"workers": {"a": {"pusch": {}}}}"#, "unknown field `pusch`");
        refused(
            r#"{"max_workers": 1, "workers": {"a": {}, "b": {}}}"#,
            "zmq.workers names 2 workers (`a`, `b`), and zmq.max_workers is 1",
        );
    }

    #[test]
    fn each_end_is_in_a_place_of_its_own() {
        refused(
            r#"{"workers": {"a": {}, "b": {"pull": {"port": 6000}}}}"#,
            "zmq.workers.b.push and zmq.workers.a.push are both at tcp://*:5564; each takes its own",
        );
        refused(
            r#"{"workers": {"a": {"push": {"port": 5565}}}}"#,
            "zmq.workers.a.pull and zmq.workers.a.push are both at tcp://*:5565",
        );
        let at = |a: &str, b: &str| {
            let push = |address| format!(r#""push": {{"bind": false, "address": "{address}"}}"#);
            let pull = r#""pull": {"port": 6000}"#;
            let (a, b) = (push(a), push(b));
            read(&format!(r#"{{"workers": {{"a": {{{a}}}, "b": {{{b}, {pull}}}}}}}"#))
        };
        assert!(at("tcp://10.0.0.5", "tcp://10.0.0.6").is_ok(), "one machine each");
        assert!(at("tcp://localhost", "tcp://127.0.0.1").is_err());
        assert!(at("tcp://10.0.0.5", "tcp://0.0.0.0").is_err());
        assert!(at("ipc:///run/a", "ipc:///run/b").is_ok());
        assert!(at("ipc:///run/a", "ipc:///run/a").is_err());
    }
}
