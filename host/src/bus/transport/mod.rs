//! The seam between the bus and what moves the bytes.
//!
//! The bus thread owns its transport and is the only one to call it. A transport that has threads
//! of its own hides them behind [`Transport::wait`]. No method blocks but `wait` and `terminate`.
#[cfg(feature = "libzmq")]
mod libzmq;
#[cfg(feature = "zeromq")]
mod zeromq;

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::Bytes;
use plugin_api::zmq::{SocketRole, SocketSpec};
use serde::{Deserialize, Serialize};

use super::BusConfig;
use super::endpoint::Endpoint;
use super::error::BusError;
use super::options::SocketOption;
use crate::message::SocketId;
#[cfg(feature = "libzmq")]
pub use libzmq::LibZmq;
#[cfg(feature = "zeromq")]
pub use zeromq::ZeroMq;

#[cfg(not(any(feature = "libzmq", feature = "zeromq")))]
compile_error!(
    "exphost needs a transport: leave the default features on, or build with \
     `--no-default-features --features libzmq` (needs a C++ compiler) or `--features zeromq` (does not)"
);

/// A frame up to this size is copied out of the transport's memory. Both transports receive into
/// shared buffers of 8 KiB and more that live as long as any message in them: without the copy, a
/// slow service that keeps a few hundred bytes would hold the whole buffer, and the mailbox's bound
/// by bytes would be a lie. Below this size the copy also costs no more than the counted reference
/// it saves, in both directions.
const COPY_UP_TO: usize = 4096;

/// What moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportKind {
    /// The library that most ZeroMQ peers run on.
    Libzmq,
    /// A rewrite in Rust, which does less: see `docs/transports.md`.
    Zeromq,
}

impl TransportKind {
    /// Both, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Libzmq, Self::Zeromq];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Libzmq => "libzmq",
            Self::Zeromq => "zeromq",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Libzmq => cfg!(feature = "libzmq"),
            Self::Zeromq => cfg!(feature = "zeromq"),
        }
    }

    /// What is said where this build lacks it.
    #[must_use]
    pub fn missing(self) -> BusError {
        let name = self.name();
        BusError::new(format!("this build of exphost has no transport {name}")).hint(format!(
            "set [bus] transport = \"{}\", or build with --features {name}",
            Self::default().name()
        ))
    }
}

/// libzmq where it is built in.
impl Default for TransportKind {
    fn default() -> Self {
        if Self::Libzmq.is_built() { Self::Libzmq } else { Self::Zeromq }
    }
}

/// All that a transport needs to know to open a socket; checked already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPlan {
    /// The kind of socket.
    pub role: SocketRole,
    /// Where.
    pub endpoint: Endpoint,
    /// Whether it binds.
    pub bind: bool,
    /// Subscriptions, for SUB.
    pub topics: Vec<String>,
    /// Every option to set, the host's defaults included; each at most once.
    pub options: Vec<(SocketOption, i64)>,
    /// How many of them the socket's own configuration asked for; they come first.
    pub own_options: usize,
}

impl SocketPlan {
    /// The value of an option.
    #[must_use]
    pub fn option(&self, option: SocketOption) -> Option<i64> {
        self.options.iter().find(|(other, _)| *other == option).map(|(_, value)| *value)
    }
}

/// Why a socket could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Somebody else has the endpoint.
    InUse,
    /// There is no such address or interface on this machine.
    NoSuchAddress,
    /// The process may not.
    Denied,
    /// The process has no descriptor or socket left.
    Exhausted,
    /// Anything else, in the transport's words.
    Other(String),
}

/// What the bus waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whose.
    pub id: SocketId,
    /// A message to receive.
    pub read: bool,
    /// Room to send.
    pub write: bool,
}

/// What came in.
#[derive(Debug)]
pub enum Received {
    /// One frame.
    Frame(Bytes),
    /// A message of several parts, all of them taken off the socket.
    Multipart {
        /// How many.
        parts: usize,
        /// Bytes of all parts.
        size: usize,
        /// The first part.
        head: Bytes,
    },
}

/// How a send went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Taken by the transport.
    Sent,
    /// No room now, or no peer yet: try again when the socket is writable.
    Full,
    /// It will never go out.
    Failed(String),
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// A connection stands.
    Connected {
        /// The peer's address.
        peer: String,
    },
    /// A connection ended; a connecting socket tries again by itself.
    Lost {
        /// The peer's address.
        peer: String,
    },
    /// Somebody was turned away: no ZeroMQ peer, the wrong kind of socket, an oversized message.
    Refused {
        /// The peer's address, or the endpoint it came to.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The transport had given a peer up without saying so; the connection was set up anew.
    Healed {
        /// The peer's address.
        peer: String,
    },
    /// The endpoint that [`Transport::release`] gave up is free.
    Released,
}

/// What moves the bytes.
pub trait Transport {
    /// Opens a socket and answers its endpoint with the port it really has.
    ///
    /// # Errors
    /// When it cannot be bound or connected. Connecting before the peer exists is no error.
    fn open(&mut self, id: SocketId, plan: &SocketPlan) -> Result<String, OpenError>;

    /// Waits until a socket of `interests` is ready, an event came, `wake` is readable or the time
    /// is over; `ready` is replaced by what is ready.
    fn wait(
        &mut self,
        interests: &[Interest],
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
        ready: &mut Vec<Interest>,
    );

    /// Hands over what has arrived until there is no more or `each` breaks.
    fn receive(&mut self, id: SocketId, each: &mut dyn FnMut(Received) -> ControlFlow<()>);

    /// Sends without blocking. What is taken may share the memory of `frame` until it is on its way
    /// to the last peer.
    fn send(&mut self, id: SocketId, frame: &Bytes) -> Sent;

    /// Adds a subscription to a SUB socket, or ends one.
    ///
    /// # Errors
    /// With the reason, in the transport's words.
    fn subscribe(&mut self, id: SocketId, topic: &str, wanted: bool) -> Result<(), String>;

    /// What happened since the last call.
    fn events(&mut self, each: &mut dyn FnMut(SocketId, PeerEvent));

    /// How many connections a socket has.
    fn connections(&self, id: SocketId) -> usize;

    /// Gives up a bound endpoint so that another socket can bind it; what was sent still goes out,
    /// for as long as the socket's own LINGER. Nothing more can be sent. Answers whether it is free
    /// already; otherwise [`PeerEvent::Released`] follows.
    fn release(&mut self, id: SocketId) -> bool;

    /// Closes a socket; what was sent may go out in the background for `linger`.
    fn close(&mut self, id: SocketId, linger: Duration);

    /// Ends the transport: blocks until every closed socket has sent its rest or its linger is over.
    fn terminate(&mut self);
}

/// What makes the transport that a configuration asks for, on the bus thread.
pub(super) type Maker = Box<dyn FnOnce() -> Box<dyn Transport> + Send>;

/// Answers with what makes the transport of a configuration.
///
/// # Errors
/// When this build lacks it, or the process is out of descriptors or threads.
pub(super) fn maker(config: &BusConfig) -> Result<Maker, BusError> {
    match config.transport {
        #[cfg(feature = "libzmq")]
        TransportKind::Libzmq => {
            let io_threads = config.io_threads;
            Ok(Box::new(move || Box::new(LibZmq::new(io_threads))))
        }
        #[cfg(feature = "zeromq")]
        TransportKind::Zeromq => {
            let transport = ZeroMq::new(config.io_threads)
                .map_err(|error| BusError::new(format!("cannot start zeromq: {error}")))?;
            Ok(Box::new(move || Box::new(transport)))
        }
        #[allow(unreachable_patterns, reason = "reached where a feature is off")]
        missing => Err(missing.missing()),
    }
}

/// Whether the transport of a configuration takes an endpoint at all.
///
/// # Errors
/// When it must not bind there, or cannot.
pub(super) fn check(
    config: &BusConfig,
    spec: &SocketSpec,
    endpoint: &Endpoint,
) -> Result<(), BusError> {
    if config.transport != TransportKind::Zeromq {
        return Ok(());
    }
    let in_process = matches!(endpoint, Endpoint::Inproc(_));
    if in_process && matches!(spec.role, SocketRole::Push | SocketRole::Pull) {
        return Err(BusError::new(format!(
            "{endpoint}: the transport zeromq has no inproc for PUSH and PULL"
        ))
        .hint("use ipc:// or tcp://localhost, or [bus] transport = \"libzmq\""));
    }
    if endpoint.ipc_path().is_none() && matches!(endpoint, Endpoint::Ipc(_)) {
        return Err(BusError::new(format!(
            "{endpoint}: the transport zeromq has no abstract ipc names"
        ))
        .hint("name a file, like ipc:///run/exphost/events.sock"));
    }
    if spec.bind && !endpoint.is_loopback() && !config.zeromq_beyond_loopback {
        return Err(BusError::new(format!(
            "{endpoint}: the transport zeromq is not bound where other machines reach it: a message \
             that announces an absurd length aborts the process, which cannot be caught"
        ))
        .hint(
            "bind tcp://localhost, set [bus] transport = \"libzmq\", or, where every machine of \
             the network is trusted, zeromq_beyond_loopback = true",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
