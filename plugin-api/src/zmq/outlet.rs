//! A socket that sends: what publishers and both kinds of PUSH have in common.

use std::cell::RefCell;
use std::future::Future;

use serde::Serialize;

use super::spec::{SocketRole, SocketSpec};
use crate::abi::SendOutcome;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::schemas::Typed;

/// A socket of this service that sends.
pub(super) struct Outlet {
    ctx: Context,
    socket: i32,
    role: SocketRole,
    key: String,
    buffer: RefCell<Vec<u8>>,
}

/// A message of the shared types with its type in it.
#[derive(Serialize)]
pub(super) struct Tagged<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a, T: Typed> Tagged<'a, T> {
    pub(super) const fn of(body: &'a T) -> Self {
        Self { kind: T::TYPE, body }
    }
}

/// The largest buffer, in bytes, that a handle keeps from one message to the next.
const KEPT_BUFFER: usize = 64 * 1024;

impl Outlet {
    pub(super) fn open(ctx: &Context, spec: &SocketSpec) -> Result<Self> {
        Ok(Self {
            socket: ctx.shared().host.open_socket(spec).map_err(Error::new)?,
            ctx: ctx.clone(),
            role: spec.role,
            key: spec.key.clone(),
            buffer: RefCell::default(),
        })
    }

    /// Calls `send` with `body` as JSON.
    pub(super) fn serialized<T>(
        &self,
        body: &impl Serialize,
        send: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let json = self.json_of(body)?;
        let sent = send(&json);
        self.keep(json);
        sent
    }

    /// Like [`serialized`](Self::serialized), for a `send` that waits. What others send meanwhile
    /// gets a buffer of its own.
    pub(super) async fn serialized_while<T>(
        &self,
        body: &impl Serialize,
        send: impl AsyncFnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let json = self.json_of(body)?;
        let sent = send(&json).await;
        self.keep(json);
        sent
    }

    fn json_of(&self, body: &impl Serialize) -> Result<Vec<u8>> {
        let mut buffer = self.buffer.take();
        buffer.clear();
        serde_json::to_writer(&mut buffer, body)
            .map_err(|error| Error::invalid(format!("the message has no JSON form: {error}")))?;
        Ok(buffer)
    }

    fn keep(&self, buffer: Vec<u8>) {
        // A buffer that once held an image is not kept for ever.
        if buffer.capacity() <= KEPT_BUFFER {
            self.buffer.replace(buffer);
        }
    }

    /// Sends now or not at all.
    pub(super) fn send(&self, topic: &str, json: &[u8]) -> Result<()> {
        let outcome = self.ctx.shared().host.send(self.socket, topic, json);
        self.outcome(outcome, topic, json)
    }

    /// Sends now, or answers that there is no room; whoever asks still has the message, so it is not
    /// counted as dropped.
    pub(super) fn send_if_room(&self, json: &[u8]) -> Result<()> {
        if !self.ctx.shared().host.await_room(self.socket) {
            return self.outcome(SendOutcome::Full, "", json);
        }
        self.send("", json)
    }

    /// Sends as soon as there is room. A message for which there is some is sent even when the
    /// service is stopping: it may be the answer that somebody waits for.
    pub(super) async fn send_when_room(&self, json: &[u8]) -> Result<()> {
        let shared = self.ctx.shared();
        loop {
            let room = shared.room.notified();
            tokio::pin!(room);
            // The host may answer while it is being asked, and must find somebody who waits.
            room.as_mut().enable();
            if shared.host.await_room(self.socket) {
                match shared.host.send(self.socket, "", json) {
                    // Others of this service were faster.
                    SendOutcome::Full => tokio::time::sleep(crate::constants::TICK).await,
                    outcome => return self.outcome(outcome, "", json),
                }
                continue;
            }
            self.unless_stopping(room).await?;
        }
    }

    async fn unless_stopping(&self, room: impl Future<Output = ()>) -> Result<()> {
        tokio::select! {
            biased;
            () = room => Ok(()),
            () = self.ctx.stopping() => Err(Error::of(
                ErrorKind::Stopping,
                format!("the queue of `{}` is full, and the service is stopping", self.key),
            )),
        }
    }

    fn outcome(&self, outcome: SendOutcome, topic: &str, json: &[u8]) -> Result<()> {
        let publishes = self.role == SocketRole::Publisher;
        let (key, bytes) = (&self.key, json.len());
        match outcome {
            SendOutcome::Queued => Ok(()),
            SendOutcome::Full if publishes => Err(Error::retryable(format!(
                "the publisher's queue is full; a message on `{topic}` was dropped"
            ))),
            SendOutcome::Full => {
                Err(Error::retryable(format!("the queue of `{key}` is full; nothing was sent")))
            }
            SendOutcome::TooLarge if publishes => Err(Error::invalid(format!(
                "a message of {bytes} bytes on `{topic}` exceeds the host's maximum; see [bus] max_message_size"
            ))),
            SendOutcome::TooLarge => Err(Error::invalid(format!(
                "a message of {bytes} bytes for `{key}` exceeds the host's maximum; see [bus] max_message_size"
            ))),
            SendOutcome::NoSocket if publishes => {
                Err(Error::invalid("the publisher's socket is gone"))
            }
            SendOutcome::NoSocket => Err(Error::invalid(format!("the socket of `{key}` is gone"))),
            SendOutcome::Closed => {
                Err(Error::of(ErrorKind::Stopping, "the host is closing and sends nothing more"))
            }
        }
    }
}
