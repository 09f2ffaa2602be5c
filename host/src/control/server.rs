//! The host's end of the socket: binds it, and gives each client a task of its own.

use std::fs;
use std::io;
use std::os::unix::net::UnixListener as Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::connection::{self, turn_away};
use super::lock::Lock;
use super::protocol::{Hello, LONGEST_REQUEST};
use crate::bus::ipc;
use crate::problem::Problem;
use crate::supervisor::orders::Orders;

/// How long the last lines of answers may take when the host ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// How much a client may ask of the host.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at a time.
    pub connections: usize,
    /// The longest request, in bytes.
    pub request: usize,
    /// How long a client may ask for nothing.
    pub idle: Duration,
    /// How long a client may leave a line unread.
    pub unread: Duration,
    /// How long the supervisor may take to answer, or to take an order.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request: LONGEST_REQUEST,
            idle: Duration::from_secs(300),
            unread: Duration::from_secs(10),
            // The client is promised an answer within a second.
            answer: Duration::from_millis(800),
        }
    }
}

/// A bound socket. Dropping it closes and removes the socket.
#[derive(Debug)]
pub struct Server {
    listener: Bound,
    file: SocketFile,
    hello: Hello,
    limits: Limits,
}

/// Removes the socket's file on drop.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "could not remove the control socket");
            }
            _ => {}
        }
    }
}

impl Server {
    /// Binds the socket at the place that `lock` gives a right to; a file that a killed host left
    /// there is replaced. Clients may connect from here on, and wait until [`Server::serve`] runs.
    /// Needs no runtime.
    ///
    /// # Errors
    /// When something else is there, or the socket cannot be bound.
    pub fn bind(lock: &Lock) -> Result<Self, Box<Problem>> {
        Self::bind_with(lock, Limits::default())
    }

    /// [`Server::bind`] with limits of its own.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with(lock: &Lock, limits: Limits) -> Result<Self, Box<Problem>> {
        let place = lock.place();
        let socket = place.socket();
        ipc::prepare(socket).map_err(|error| {
            let problem =
                Problem::error(format!("cannot bind the control socket: {}", error.message));
            Box::new(Problem { hint: error.hint, ..problem })
        })?;
        let listener = bound(place.socket()).map_err(|error| {
            let message = format!("cannot bind the control socket: {error}");
            let hint = "check the owner and the permissions of its directory";
            Box::new(Problem::error(message).in_file(socket).hint(hint))
        })?;
        let file = SocketFile(socket.to_owned());
        Ok(Self { listener, file, hello: Hello::of_this_process(place.project()), limits })
    }

    /// Answers clients until the supervisor behind `orders` has ended; then the socket goes, and the
    /// answers that are under way get their last lines.
    pub async fn serve(self, orders: Orders) {
        let Self { listener, file, hello, limits } = self;
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the control socket cannot be served");
                return;
            }
        };
        let hello = Arc::new(hello);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // In this order: the place of a client that has left is free for the next.
                biased;
                () = orders.ended() => break,
                Some(ended) = connections.join_next() => note_end(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if !is_permitted(&stream) => {}
                    Ok((stream, _)) if connections.len() >= limits.connections => turn_away(&stream, &limits),
                    Ok((stream, _)) => {
                        let (hello, orders) = (Arc::clone(&hello), orders.clone());
                        connections.spawn(connection::serve(stream, hello, orders, limits));
                    }
                    Err(error) => {
                        // The likeliest reason is that there is no free descriptor.
                        tracing::warn!(%error, "cannot take a client of the control socket");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                },
            }
        }
        drop((listener, file));
        let last_lines = async {
            while let Some(ended) = connections.join_next().await {
                note_end(ended);
            }
        };
        if timeout(FAREWELL, last_lines).await.is_err() {
            tracing::debug!("a client of the control socket did not read its answer in time");
        }
    }
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "serving a client of the control socket failed");
    }
}

/// A listening socket that nobody but this user can connect to, not even for a moment: on Linux the
/// file gets the mode that the socket has when it is bound.
fn bound(path: &std::path::Path) -> io::Result<Bound> {
    const WAITING: i32 = 128;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, WAITING)?;
    Ok(Bound::from(socket))
}

/// Whether the client is this user or root. The file's mode says the same; this holds too when
/// somebody has changed it.
fn is_permitted(stream: &UnixStream) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let client = stream.peer_cred().map(|client| client.uid());
    let permitted = client.as_ref().is_ok_and(|uid| *uid == me || *uid == 0);
    if !permitted {
        tracing::warn!(?client, "a client of the control socket is another user's; turned away");
    }
    permitted
}
