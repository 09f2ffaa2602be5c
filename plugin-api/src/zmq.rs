//! Sockets as a service's configuration names them, and the handles a service holds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::abi::{Host, SendOutcome};
use crate::constants::{BIND_ADDRESS, CONNECT_ADDRESS, DEFAULT_PORTS};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::message::type_of;
use crate::schemas::Typed;

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
    SubscriberConfig {
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
        if self.address.starts_with("tcp://") {
            format!("{}:{}", self.address, self.port)
        } else {
            self.address.clone()
        }
    }
}

/// What a service publishes with and listens by. The host owns the sockets; this is a handle.
///
/// The default value is connected to nothing: publishing with it is an error.
#[derive(Clone, Default)]
pub struct PubSub(Option<Rc<Connected>>);

struct Connected {
    host: Host,
    publisher: Option<i32>,
    default_topic: Option<String>,
    buffer: RefCell<Vec<u8>>,
}

impl PubSub {
    pub(crate) fn open(ctx: &Context, config: &PubSubConfig) -> Result<Self> {
        if config.publisher.is_none() && config.subscriber.is_none() {
            return Err(Error::invalid(
                "zmq: neither `zmq.publisher` nor `zmq.subscriber` is configured; give at least one",
            ));
        }
        let host = ctx.shared().host;
        let open = |spec: SocketSpec| host.open_socket(&spec).map_err(Error::new);
        // The subscriber first: what others answer to the first message must find it there.
        if let Some(subscriber) = &config.subscriber {
            open(subscriber.spec())?;
            ctx.shared().listens.set(true);
        }
        let publisher = config.publisher.as_ref().map(|config| open(config.spec())).transpose()?;
        let default_topic = config.publisher.as_ref().and_then(|it| it.default_topic.clone());
        Ok(Self(Some(Rc::new(Connected {
            host,
            publisher,
            default_topic,
            buffer: RefCell::default(),
        }))))
    }

    /// Publishes `body` as JSON on `topic`. The host sends it; this does not wait.
    ///
    /// # Errors
    /// When the topic is empty or contains a space, when `body` has no JSON form, when there is no
    /// publisher, when the host is closing, and (kind [`ErrorKind::Retryable`]) when the publisher's
    /// queue is full, in which case the message is dropped and counted.
    pub fn publish(&self, topic: &str, body: &impl Serialize) -> Result<()> {
        self.serialized(body, |connected, json| connected.send(topic, json))
    }

    /// Publishes a message of the shared types, tagged with its type, which is also the topic.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_message<T: Typed>(&self, message: &T) -> Result<()> {
        let tagged = Tagged { kind: T::TYPE, body: message };
        self.serialized(&tagged, |connected, json| connected.send(T::TYPE, json))
    }

    /// Publishes JSON on the topic that its own `type` names, or else on the publisher's
    /// `default_topic`.
    ///
    /// # Errors
    /// When there is neither; otherwise as for [`publish`](Self::publish).
    pub fn publish_json(&self, body: &impl Serialize) -> Result<()> {
        self.serialized(body, |connected, json| {
            let topic = type_of(json).or(connected.default_topic.as_deref().map(Into::into));
            let topic = topic.ok_or_else(|| {
                Error::invalid(
                    "the message names no topic: it has no `type`, and `zmq.publisher.default_topic` is not set",
                )
            })?;
            connected.send(&topic, json)
        })
    }

    fn serialized(
        &self,
        body: &impl Serialize,
        send: impl FnOnce(&Connected, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let connected = self.0.as_deref().ok_or_else(|| {
            Error::invalid("these sockets are not open; open them in start() with ctx.pub_sub(…)")
        })?;
        let mut buffer = connected.buffer.take();
        buffer.clear();
        let sent = serde_json::to_writer(&mut buffer, body)
            .map_err(|error| Error::invalid(format!("the message has no JSON form: {error}")))
            .and_then(|()| send(connected, &buffer));
        // A buffer that once held an image is not kept for ever.
        if buffer.capacity() <= KEPT_BUFFER {
            connected.buffer.replace(buffer);
        }
        sent
    }
}

/// The largest buffer, in bytes, that a handle keeps from one message to the next.
const KEPT_BUFFER: usize = 64 * 1024;

impl Connected {
    fn send(&self, topic: &str, json: &[u8]) -> Result<()> {
        let socket = self.publisher.ok_or_else(|| {
            Error::invalid("there is no `zmq.publisher` in the configuration to publish with")
        })?;
        if topic.is_empty() || topic.contains(' ') {
            return Err(Error::invalid(format!(
                "`{topic}` is not a topic: it must not be empty or contain a space"
            )));
        }
        match self.host.send(socket, topic, json) {
            SendOutcome::Queued => Ok(()),
            SendOutcome::Full => Err(Error::retryable(format!(
                "the publisher's queue is full; a message on `{topic}` was dropped"
            ))),
            SendOutcome::TooLarge => Err(Error::invalid(format!(
                "a message of {} bytes on `{topic}` exceeds the host's maximum; see [bus] max_message_size",
                json.len()
            ))),
            SendOutcome::NoSocket => Err(Error::invalid("the publisher's socket is gone")),
            SendOutcome::Closed => {
                Err(Error::of(ErrorKind::Stopping, "the host is closing and sends nothing more"))
            }
        }
    }
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub").field("open", &self.0.is_some()).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Tagged<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

macro_rules! spec {
    ($config:ident, $role:ident, $key:literal, |$it:ident| { $($field:ident: $value:expr),* $(,)? }) => {
        impl $config {
            /// The socket as the host is asked for it.
            #[must_use]
            pub fn spec(&self) -> SocketSpec {
                let $it = self;
                SocketSpec {
                    $($field: $value,)*
                    socket_options: self.socket_options.clone(),
                    max_queue_size: self.max_queue_size.map(|size| size as usize),
                    ..SocketSpec::new(SocketRole::$role, $key, &self.address, self.port, self.bind)
                }
            }
        }
    };
}

spec!(PublisherConfig, Publisher, "zmq.publisher", |config| { numbered: config.numbered });
spec!(SubscriberConfig, Subscriber, "zmq.subscriber", |config| {
    topics: config.topics.iter().map(|topic| prefix(topic)).collect(),
    when_full: config.when_full,
});

/// `*` is how people write "everything"; ZeroMQ itself knows prefixes only.
fn prefix(topic: &str) -> String {
    if topic == "*" { String::new() } else { topic.to_owned() }
}
