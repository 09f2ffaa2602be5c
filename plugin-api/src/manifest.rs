//! What a plugin says of itself once its code may run: in the probe, and after loading.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
}

/// One way in which a configuration does not fit the service's own type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// The key, as a path: `zmq.publisher.port`; empty for the configuration as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}
