//! Sockets as a plugin asks its host for them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `socket_options`: ZeroMQ option names (`SNDHWM`, `RCVHWM`, `LINGER`…) and their values.
pub type SocketOptions = BTreeMap<String, i64>;

/// What a socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketRole {
    /// PUB.
    Publisher,
    /// SUB.
    Subscriber,
    /// PUSH.
    Push,
    /// PULL.
    Pull,
}

/// A socket as the plugin asks the host for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocketSpec {
    /// The kind of socket.
    pub role: SocketRole,
    /// The configuration key it came from, for messages: `zmq.publisher`.
    pub key: String,
    /// As in the configuration.
    pub address: String,
    /// As in the configuration.
    pub port: u16,
    /// As in the configuration.
    pub bind: bool,
    /// Subscriptions, for SUB.
    pub topics: Vec<String>,
    /// As in the configuration.
    pub socket_options: SocketOptions,
    /// Messages that the host keeps for this socket at most: received ones until the service takes
    /// them, sent ones until they are on their way. `None`: the host's own limit.
    #[serde(default)]
    pub max_queue_size: Option<usize>,
    /// What a full queue of received messages drops, for SUB; PULL stops reading instead.
    #[serde(default)]
    pub when_full: WhenFull,
    /// Whether the host numbers what this PUB sends.
    #[serde(default)]
    pub numbered: bool,
}

/// What a subscriber drops that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// What arrives is dropped: those that wait are complete from the oldest on.
    #[default]
    DropNewest,
    /// The oldest that waits is dropped: what is handled is as fresh as it can be.
    DropOldest,
}

impl SocketSpec {
    /// A socket that leaves everything else to the host.
    #[must_use]
    pub fn new(role: SocketRole, key: &str, address: &str, port: u16, bind: bool) -> Self {
        Self {
            role,
            key: key.to_owned(),
            address: address.to_owned(),
            port,
            bind,
            topics: Vec::new(),
            socket_options: SocketOptions::new(),
            max_queue_size: None,
            when_full: WhenFull::default(),
            numbered: false,
        }
    }

    /// The endpoint as ZeroMQ writes it: `tcp://*:5555`, `ipc:///run/x.sock`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        endpoint(&self.address, self.port)
    }
}

pub(super) fn endpoint(address: &str, port: u16) -> String {
    if address.starts_with("tcp://") { format!("{address}:{port}") } else { address.to_owned() }
}

/// The one name that all spellings of a ZeroMQ option stand for: they may be in any case, and begin
/// with `ZMQ_` or not.
#[must_use]
pub fn option_name(written: &str) -> String {
    let upper = written.to_ascii_uppercase();
    upper.strip_prefix("ZMQ_").map_or(upper.clone(), str::to_owned)
}

/// Whether two endpoints, as [`SocketSpec::endpoint`] writes them, are or include the same place.
#[must_use]
pub fn overlap(a: &str, b: &str) -> bool {
    match (tcp(a), tcp(b)) {
        (Some((host_a, port_a)), Some((host_b, port_b))) => {
            port_a == port_b && (host_a == host_b || host_a == "*" || host_b == "*")
        }
        _ => a == b,
    }
}

/// Host and port, with one name for each way to write the same host.
fn tcp(endpoint: &str) -> Option<(&str, &str)> {
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let host = match host {
        "0.0.0.0" | "[::]" | "::" => "*",
        "localhost" => "127.0.0.1",
        other => other,
    };
    Some((host, port))
}
