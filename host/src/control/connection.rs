//! One client of the socket: reads its requests, and writes lines to it with a deadline.

use std::io;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::answer;
use super::protocol::{Code, Failure, Hello, Line, Request};
use super::server::Limits;
use crate::supervisor::orders::Orders;

/// Why a connection ends before its client has closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The client does not read.
    #[error("it does not read its answers")]
    Unread,
    /// The client asks for nothing.
    #[error("it asks for nothing")]
    Idle,
    /// The client has closed the connection.
    #[error("it has gone away")]
    Closed,
}

/// One client.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    limits: Limits,
}

/// What a client sent.
enum Incoming {
    Line(Vec<u8>),
    TooLong,
    End,
}

/// Serves a client until it goes away or has to go.
pub(super) async fn serve(stream: UnixStream, hello: Arc<Hello>, orders: Orders, limits: Limits) {
    let mut connection = Connection { stream: BufReader::new(stream), limits };
    if let Err(reason) = connection.serve(&hello, &orders).await {
        tracing::debug!(%reason, "a client of the control socket is disconnected");
    }
}

/// Tells a client that there are too many, if it can be told at once.
pub(super) fn turn_away(stream: &UnixStream, limits: &Limits) {
    let message = format!("{} clients are connected already", limits.connections);
    let failure = Failure::new(Code::TooMany, message).hint("try again when one of them has ended");
    // The buffer of a new socket has room for it; a client that is gone already needs no word.
    let _ = stream.try_write(&written(&Line::Error(failure)));
    tracing::warn!(connections = limits.connections, "too many clients of the control socket");
}

impl Connection {
    async fn serve(&mut self, hello: &Hello, orders: &Orders) -> Result<(), Gone> {
        self.send(&Line::Hello(hello.clone())).await?;
        loop {
            let incoming = tokio::select! {
                incoming = self.read_line() => incoming?,
                () = orders.ended() => return Ok(()),
            };
            match incoming {
                Incoming::End => return Ok(()),
                Incoming::Line(line) if line.trim_ascii().is_empty() => {}
                Incoming::Line(line) => match Request::parse(&line) {
                    Ok(request) => answer::answer(self, request, orders).await?,
                    Err(failure) => self.send(&Line::Error(failure)).await?,
                },
                Incoming::TooLong => {
                    let message = format!("a request is longer than {} bytes", self.limits.request);
                    let failure = Failure::new(Code::TooLong, message);
                    // Where the next request begins in what follows is anybody's guess.
                    return self.send(&Line::Error(failure)).await;
                }
            }
        }
    }

    /// How much may be asked.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The next line without its end. A last line without an end counts: what is a whole JSON object
    /// has arrived whole.
    async fn read_line(&mut self) -> Result<Incoming, Gone> {
        let mut line = Vec::new();
        let most = u64::try_from(self.limits.request).unwrap_or(u64::MAX).saturating_add(1);
        let mut bounded = (&mut self.stream).take(most);
        let read = bounded.read_until(b'\n', &mut line);
        timeout(self.limits.idle, read).await.map_err(|_| Gone::Idle)??;
        Ok(match line.pop() {
            None => Incoming::End,
            Some(b'\n') => Incoming::Line(line),
            Some(_) if line.len() >= self.limits.request => Incoming::TooLong,
            Some(last) => {
                line.push(last);
                Incoming::Line(line)
            }
        })
    }

    /// Writes a line. A client that leaves it unread for too long is done with.
    pub(super) async fn send(&mut self, line: &Line) -> Result<(), Gone> {
        let bytes = written(line);
        let write = self.stream.get_mut().write_all(&bytes);
        Ok(timeout(self.limits.unread, write).await.map_err(|_| Gone::Unread)??)
    }

    /// Whether the client has closed the connection. One that has only ended its requests waits for
    /// its answers.
    pub(super) fn is_gone(&self) -> bool {
        let mut socket = [PollFd::new(self.stream.get_ref(), PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seen = poll(&mut socket, Some(&at_once));
        let ends = PollFlags::HUP | PollFlags::ERR;
        seen.is_ok() && socket.iter().any(|socket| socket.revents().intersects(ends))
    }
}

fn written(line: &Line) -> Vec<u8> {
    // Lines are text, numbers and what was JSON already: there is nothing that does not serialise.
    let mut bytes = serde_json::to_vec(line).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot write a line of the control socket");
        br#"{"error":{"code":"no_answer","message":"the answer cannot be written","hint":null}}"#
            .to_vec()
    });
    bytes.push(b'\n');
    bytes
}
