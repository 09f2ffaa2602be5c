//! Sockets as a service's configuration names them, and the handles a service holds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::constants::{BIND_ADDRESS, CONNECT_ADDRESS, DEFAULT_PORTS};

/// `socket_options`: ZeroMQ option names (`SNDHWM`, `RCVHWM`, `LINGER`…) and their values.
pub type SocketOptions = BTreeMap<String, i64>;

macro_rules! socket_config {
    ($(#[$meta:meta])* $name:ident {
        bind: $bind:literal, address: $address:expr, port: $port:expr
        $(, $(#[$fmeta:meta])* $field:ident: $type:ty = $default:expr)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// Transport and host: `tcp://*`, `tcp://localhost`, `tcp://10.0.0.5`, `ipc://…`, `inproc://…`.
            #[schemars(regex(pattern = r"^(tcp|ipc|inproc)://.+$"))]
            pub address: String,
            /// TCP port; not used with `ipc` and `inproc`.
            #[schemars(range(min = 1024, max = 65535))]
            pub port: u16,
            /// Whether this end binds (the other one connects).
            pub bind: bool,
            $($(#[$fmeta])* pub $field: $type,)*
            /// ZeroMQ socket options by their names.
            pub socket_options: SocketOptions,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    address: $address.to_owned(),
                    port: $port,
                    bind: $bind,
                    $($field: $default,)*
                    socket_options: SocketOptions::new(),
                }
            }
        }
    };
}

socket_config! {
    /// A PUB socket. Binds unless told otherwise.
    PublisherConfig {
        bind: true, address: BIND_ADDRESS, port: DEFAULT_PORTS.events,
        /// Topic of a message that names none and has no `type`.
        default_topic: Option<String> = None
    }
}

socket_config! {
    /// A SUB socket. Connects unless told otherwise.
    SubscriberConfig {
        bind: false, address: CONNECT_ADDRESS, port: DEFAULT_PORTS.events,
        /// Topic prefixes to subscribe to; an empty string subscribes to everything.
        topics: Vec<String> = Vec::new()
    }
}

/// `zmq` of a service that publishes, subscribes, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PubSubConfig {
    /// Where the service publishes.
    pub publisher: Option<PublisherConfig>,
    /// What the service listens to.
    pub subscriber: Option<SubscriberConfig>,
}

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
}

impl SocketSpec {
    /// The endpoint as ZeroMQ writes it: `tcp://*:5555`, `ipc:///run/x.sock`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        if self.address.starts_with("tcp://") {
            format!("{}:{}", self.address, self.port)
        } else {
            self.address.clone()
        }
    }
}
