//! Sockets as a service's configuration names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{SocketOptions, SocketRole, SocketSpec, WhenFull};
use crate::constants::{BIND_ADDRESS, CONNECT_ADDRESS, DEFAULT_PORTS};

macro_rules! socket_config {
    ($(#[$meta:meta])* $name:ident: $role:ident {
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

        impl $name {
            /// What every socket has in common.
            pub(super) fn socket(&self, key: &str) -> SocketSpec {
                SocketSpec {
                    socket_options: self.socket_options.clone(),
                    ..SocketSpec::new(SocketRole::$role, key, &self.address, self.port, self.bind)
                }
            }
        }
    };
}

socket_config! {
    /// A PUB socket. Binds unless told otherwise.
    PublisherConfig: Publisher {
        bind: true, address: BIND_ADDRESS, port: DEFAULT_PORTS.events,
        /// Topic of a message that names none and has no `type`.
        default_topic: Option<String> = None,
        /// Messages that may wait to be sent; a further one is dropped, and counted. The host's own
        /// limit when it is not given.
        #[schemars(range(min = 1))]
        max_queue_size: Option<u32> = None,
        /// Whether each message carries a number, by which a subscriber can tell what it missed:
        /// `"_run"` names this life of the publisher, `"_seq"` counts the messages of the topic
        /// from 1.
        numbered: bool = false
    }
}

socket_config! {
    /// A SUB socket. Connects unless told otherwise.
    SubscriberConfig: Subscriber {
        bind: false, address: CONNECT_ADDRESS, port: DEFAULT_PORTS.events,
        /// Topic prefixes to subscribe to; an empty string, or `*`, subscribes to everything.
        topics: Vec<String> = Vec::new(),
        /// Messages that may wait for the service. The host's own limit when it is not given.
        #[schemars(range(min = 1))]
        max_queue_size: Option<u32> = None,
        /// What is dropped when that many wait.
        when_full: WhenFull = WhenFull::DropNewest
    }
}

socket_config! {
    /// The PULL socket by which a worker gets its tasks. Connects unless told otherwise.
    TaskPullConfig: Pull {
        bind: false, address: CONNECT_ADDRESS, port: DEFAULT_PORTS.image_requests,
        /// Tasks that may wait in the host for this worker. Beyond it the host stops reading, and
        /// they wait where they come from. The larger of `max_concurrent_tasks` and 256 when it is
        /// not given.
        #[schemars(range(min = 1))]
        max_queue_size: Option<u32> = None
    }
}

socket_config! {
    /// The PUSH socket by which a worker answers. Connects unless told otherwise.
    ResultPushConfig: Push {
        bind: false, address: CONNECT_ADDRESS, port: DEFAULT_PORTS.image_results,
        /// Results that may wait to be sent; beyond it `push_result` waits. The host's own limit when
        /// it is not given.
        #[schemars(range(min = 1))]
        max_queue_size: Option<u32> = None
    }
}

socket_config! {
    /// The PUSH socket by which a controller hands out tasks. Binds unless told otherwise.
    TaskPushConfig: Push {
        bind: true, address: BIND_ADDRESS, port: DEFAULT_PORTS.image_requests
    }
}

socket_config! {
    /// The PULL socket by which a controller gets results. Binds unless told otherwise.
    ResultPullConfig: Pull {
        bind: true, address: BIND_ADDRESS, port: DEFAULT_PORTS.image_results
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

impl PublisherConfig {
    /// The socket as the host is asked for it.
    #[must_use]
    pub fn spec(&self) -> SocketSpec {
        SocketSpec {
            max_queue_size: messages(self.max_queue_size),
            numbered: self.numbered,
            ..self.socket("zmq.publisher")
        }
    }
}

impl SubscriberConfig {
    /// The socket as the host is asked for it.
    #[must_use]
    pub fn spec(&self) -> SocketSpec {
        SocketSpec {
            topics: self.topics.iter().map(|topic| prefix(topic)).collect(),
            max_queue_size: messages(self.max_queue_size),
            when_full: self.when_full,
            ..self.socket("zmq.subscriber")
        }
    }
}

pub(super) fn messages(given: Option<u32>) -> Option<usize> {
    given.map(|size| size as usize)
}

/// `*` is how people write "everything"; ZeroMQ itself knows prefixes only.
fn prefix(topic: &str) -> String {
    if topic == "*" { String::new() } else { topic.to_owned() }
}
