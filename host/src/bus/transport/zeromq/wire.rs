//! The four kinds of socket behind one face. With `mod.rs`, the only place that names the crate's
//! sockets.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use plugin_api::zmq::SocketRole;
use zeromq::{
    PubSocket, PullSocket, PushSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend,
    SubSocket, ZmqError, ZmqMessage, ZmqResult,
};

use super::address::Listening;

/// One socket of the crate.
pub(super) enum Wire {
    Publisher(PubSocket),
    Subscriber(SubSocket),
    Push(PushSocket),
    Pull(PullSocket),
}

/// Does the same to whichever socket it is.
macro_rules! each {
    ($wire:expr, $socket:ident => $body:expr) => {
        match $wire {
            Wire::Publisher($socket) => $body,
            Wire::Subscriber($socket) => $body,
            Wire::Push($socket) => $body,
            Wire::Pull($socket) => $body,
        }
    };
}

/// What became of a frame.
pub(super) enum Passed {
    /// On its way.
    Yes,
    /// There is no peer.
    NoPeer,
    /// The peer that it was meant for had just gone; there may be another.
    Again,
}

impl Wire {
    /// A socket that gives up an attempt to connect after `connect_timeout`.
    pub(super) fn new(role: SocketRole, connect_timeout: Duration) -> Self {
        let mut options = SocketOptions::default();
        options.connect_timeout(connect_timeout);
        match role {
            SocketRole::Publisher => Self::Publisher(PubSocket::with_options(options)),
            SocketRole::Subscriber => Self::Subscriber(SubSocket::with_options(options)),
            SocketRole::Push => Self::Push(PushSocket::with_options(options)),
            SocketRole::Pull => Self::Pull(PullSocket::with_options(options)),
        }
    }

    /// Its events, from now on.
    pub(super) fn monitor(&mut self) -> BoxStream<'static, SocketEvent> {
        each!(self, socket => socket.monitor().boxed())
    }

    pub(super) async fn adopt(&mut self, listening: Listening) -> ZmqResult<()> {
        let listener = listening.into_listener();
        each!(self, socket => socket.bind_listener(listener).await.map(|_| ()))
    }

    /// May be dropped before it is done: nothing is connected then.
    pub(super) async fn connect(&mut self, address: &str) -> ZmqResult<()> {
        each!(self, socket => socket.connect(address).await)
    }

    pub(super) async fn subscribe(&mut self, topic: &str, wanted: bool) -> ZmqResult<()> {
        match self {
            Self::Subscriber(socket) if wanted => socket.subscribe(topic).await,
            Self::Subscriber(socket) => socket.unsubscribe(topic).await,
            _ => Ok(()),
        }
    }

    /// Hands a frame on. It must be awaited to its end: a PUSH send that is dropped half-way has
    /// taken its peer out of the round, for good. It does not block, because there are never more
    /// frames about than the shortest of the crate's queues holds.
    pub(super) async fn pass(&mut self, frame: Bytes) -> Passed {
        let message = ZmqMessage::from(frame);
        let result = match self {
            Self::Publisher(socket) => socket.send(message).await,
            Self::Push(socket) => socket.send(message).await,
            Self::Subscriber(_) | Self::Pull(_) => Ok(()),
        };
        match result {
            Ok(()) => Passed::Yes,
            Err(ZmqError::ReturnToSender { .. }) => Passed::NoPeer,
            Err(_) => Passed::Again,
        }
    }

    /// Waits for a message, then takes what else has arrived, `most` messages or `bytes` at most.
    /// Nothing is lost when it is dropped: what it took is in `into`.
    pub(super) async fn receive(
        &mut self,
        most: usize,
        mut bytes: usize,
        into: &mut VecDeque<ZmqMessage>,
    ) -> ZmqResult<()> {
        poll_fn(|cx| {
            while into.len() < most {
                let polled = match self {
                    Self::Subscriber(socket) => pin!(socket.recv()).poll_unpin(cx),
                    Self::Pull(socket) => pin!(socket.recv()).poll_unpin(cx),
                    Self::Publisher(_) | Self::Push(_) => Poll::Pending,
                };
                match polled {
                    Poll::Ready(Ok(message)) => {
                        let size = message.iter().map(Bytes::len).sum();
                        into.push_back(message);
                        bytes = bytes.saturating_sub(size);
                        if bytes == 0 {
                            break;
                        }
                    }
                    Poll::Ready(Err(error)) if into.is_empty() => return Poll::Ready(Err(error)),
                    // Told at the next call, if it lasts.
                    Poll::Ready(Err(_)) => break,
                    Poll::Pending if into.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ends accepting. Connections that stand stay.
    pub(super) async fn unbind(&mut self) {
        let errors = each!(self, socket => socket.unbind_all().await);
        for error in errors {
            tracing::debug!(%error, "an endpoint was given up with an error");
        }
    }

    /// Ends every connection; without it a PULL would keep their descriptors for ever. What the
    /// crate has in its queues it still tries to write.
    pub(super) fn shut(self) {
        each!(&self, socket => socket.backend().shutdown());
    }
}
