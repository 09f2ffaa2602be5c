//! The seam between the bus and what moves the bytes.
//!
//! The bus thread owns its transport and is the only one to call it. A transport that has threads
//! of its own hides them behind [`Transport::wait`]. No method blocks but `wait` and `terminate`.
mod libzmq;

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::Bytes;
use plugin_api::zmq::SocketRole;

use super::endpoint::Endpoint;
use super::options::SocketOption;
use crate::message::SocketId;
pub use libzmq::LibZmq;

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

    /// Gives up a bound endpoint so that another socket can bind it; what was sent still goes out.
    /// Answers whether it is free already; otherwise [`PeerEvent::Released`] follows.
    fn release(&mut self, id: SocketId) -> bool;

    /// Closes a socket; what was sent may go out in the background for `linger`.
    fn close(&mut self, id: SocketId, linger: Duration);

    /// Ends the transport: blocks until every closed socket has sent its rest or its linger is over.
    fn terminate(&mut self);
}
