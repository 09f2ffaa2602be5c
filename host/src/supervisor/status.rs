//! How everything is, as `exphost status` tells it. The names of the fields are a promise to scripts.

use std::path::PathBuf;

use jiff::Timestamp;
use plugin_api::state::HealthStatus;
use plugin_api::stats::Statistics;
use serde::{Deserialize, Serialize};

/// The host and its services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The project, with its variant.
    pub project: String,
    /// The host's process.
    pub pid: u32,
    /// The host's version.
    pub version: String,
    /// Seconds since the host started.
    pub uptime: f64,
    /// Its services, by name.
    pub services: Vec<ServiceStatus>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in the project.
    pub name: String,
    /// The plugin's name.
    pub plugin: String,
    /// The version that runs.
    pub version: String,
    /// How many builds of it have run in this host, this one included.
    pub generation: u64,
    /// The content hash of what runs.
    pub sha256: String,
    /// The file it was taken from.
    pub file: PathBuf,
    /// One of the seven states in lower case, or `failed`.
    pub state: String,
    /// How it is doing.
    pub health: HealthStatus,
    /// Where it runs.
    #[serde(flatten)]
    pub whereabouts: Whereabouts,
    /// When it entered its state.
    pub since: Timestamp,
    /// Seconds since its present instance was started; null when none runs.
    pub uptime: Option<f64>,
    /// How often its policy has started it again.
    pub restarts: u64,
    /// How its policy goes on with it; a host of an older version does not tell.
    #[serde(default)]
    pub restart: RestartStatus,
    /// Whether it does what those who depend on it need.
    #[serde(default = "unless_told")]
    pub ready: bool,
    /// When it last told of the state that the next instance goes on with; null when it has not.
    #[serde(default)]
    pub state_saved_at: Option<Timestamp>,
    /// Where it hangs; null when it responds.
    #[serde(default)]
    pub unresponsive: Option<Unresponsive>,
    /// The services that must run before it.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// When the operator stopped it; null when nobody did, or it was started since.
    #[serde(default)]
    pub stopped_at: Option<Timestamp>,
    /// Messages handed to the bus.
    pub messages_sent: u64,
    /// Messages that arrived for it.
    pub messages_received: u64,
    /// Messages lost because a queue was full.
    pub dropped: u64,
    /// Messages that wait.
    pub queue_depth: u64,
    /// All that is counted, by socket too; a host of an older version does not tell.
    #[serde(default)]
    pub statistics: Statistics,
    /// The newer build that was refused; null when there is none.
    pub pending: Option<Pending>,
    /// Whether its plugin file is gone; what was loaded from it runs on.
    pub file_missing: bool,
    /// A reload that is under way: the step it is in; null when there is none.
    pub reloading: Option<String>,
    /// Old generations that could not be unloaded.
    pub kept: Vec<Kept>,
    /// The latest error; null when there was none.
    pub last_error: Option<LastError>,
}

/// Where a service runs; a host of an older version does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// `process` when its instances have processes of their own, else `thread`.
    pub isolation: Option<String>,
    /// The process of its present instance; null for one on a thread, and when none runs.
    pub pid: Option<u32>,
    /// The thread of its present instance, as the kernel numbers it; null for one in a process.
    pub thread: Option<u32>,
}

/// A service that does not respond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresponsive {
    /// Since when: its last sign of life, or the beginning of a handler that is too slow.
    pub since: Timestamp,
    /// What it is in the midst of: `new`, `start`, `run` or `stop`.
    pub phase: String,
    /// The author's function, as far as that is known: `on_message`, `on_tick`. Null in `run` means
    /// `run` itself or one of its tasks.
    pub handler: Option<String>,
    /// The topic of the message that the handler has.
    pub topic: Option<String>,
    /// `blocked`: its runtime does not turn; `slow`: it does, and a handler takes too long.
    pub cause: String,
}

impl Unresponsive {
    /// ``on_message `command` ``, `on_tick`, `start`.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        match (&self.handler, &self.topic) {
            (Some(handler), Some(topic)) => format!("{handler} `{topic}`"),
            (Some(handler), None) => handler.clone(),
            (None, _) if self.phase == "run" => "run or one of its tasks".to_owned(),
            (None, _) => self.phase.clone(),
        }
    }

    /// What is the matter, without the time.
    #[must_use]
    pub fn in_words(&self) -> String {
        let place = self.whereabouts();
        match self.cause.as_str() {
            "slow" => format!("{place} takes longer than `handler_timeout`"),
            _ => format!("its thread is blocked in {place}"),
        }
    }
}

/// A host of an older version knows no services that are not ready.
const fn unless_told() -> bool {
    true
}

/// How the policy goes on with a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartStatus {
    /// Whether it failed so often that it is given up, or tried only now and then.
    pub gave_up: bool,
    /// When it is started again; null when it runs, or is not to be.
    pub next_at: Option<Timestamp>,
    /// Why its last instance ended, as long as that was a failure and it has not run well since; null
    /// otherwise.
    pub reason: Option<String>,
    /// The services that it waits for.
    pub waits_for: Vec<String>,
}

/// A newer build that was refused or rolled back, until something newer comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Its version; null when the file does not say.
    pub version: Option<String>,
    /// The content hash of its file; null when there was none to read.
    pub sha256: Option<String>,
    /// When it was refused.
    pub at: Timestamp,
    /// The step that it failed in.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// An old generation that is still mapped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Its number.
    pub generation: u64,
    /// Its version.
    pub version: String,
    /// Why it was not unloaded.
    pub reason: String,
}

/// An error that a service recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// Where it happened: `start`, `on_message …`.
    pub place: String,
    /// What happened.
    pub message: String,
}
