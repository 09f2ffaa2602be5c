//! What a plugin says of itself once its code may run: in the probe, and after loading.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::argument::Argument;

/// The key of a service's file that is the host's own, and so no key of any configuration.
pub const HOST_KEY: &str = "exphost";

/// What in it has the service's [`Arguments`](crate::argument::Arguments), when it declares some.
pub const ARGUMENTS_KEY: &str = "arguments";

/// A plugin's description of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name, as its file says it too.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The root module of its log targets: `heartbeat` for `heartbeat::beat`.
    pub crate_name: String,
    /// JSON Schema of the service's configuration.
    pub config_schema: Value,
    /// The configuration that an empty file gives, as a JSON object; null when some key has no
    /// default and must be given.
    pub config_defaults: Value,
    /// The arguments that the service takes on the command line, besides its configuration.
    // Since 1.3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
}

/// One way in which a configuration does not fit the service's own type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// The key, as a path: `zmq.publisher.port`; empty for the configuration as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

/// What a service has against a configuration that its type can read. See
/// [`Service::validate`](crate::Service::validate).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigProblems(Vec<ConfigProblem>);

impl ConfigProblems {
    /// Adds a problem with the key at this path: `camera.fps`, `topics[0]`; `""` for the configuration
    /// as a whole. The message is one line without the key: `must be less than camera.limit`.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(ConfigProblem { key: key.into(), message: message.into() });
    }

    /// All of them, in the order they were added.
    #[must_use]
    pub fn into_vec(self) -> Vec<ConfigProblem> {
        self.0
    }
}
