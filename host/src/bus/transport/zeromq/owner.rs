//! The task that owns one socket of the crate: nobody else touches it.
//!
//! Invariants: a send is awaited to its end, never raced against anything; the monitor is looked at
//! in every turn; a socket that connects is made anew when it lost its peer, because of the four
//! kinds the crate reconnects only one; the task ends at the socket's linger at the latest.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use plugin_api::zmq::SocketRole;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zeromq::{SocketEvent, ZmqMessage};

use super::address::Listening;
use super::peers::Peers;
use super::shared::{Credit, Inbound, Signals};
use super::wire::{Passed, Wire};
use crate::bus::transport::{COPY_UP_TO, PeerEvent, Received};
use crate::message::SocketId;

/// Most messages of one turn.
const BURST: usize = 256;
/// How long a change of subscriptions may take to be written to every peer.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the bus thread asks of a socket.
pub(super) enum Command {
    Subscribe {
        topic: String,
        wanted: bool,
    },
    /// Gives up what is bound; connections stay.
    Release,
    /// Sends what is left, for so long at most, and ends.
    Close(Duration),
}

/// Where the peers come from.
pub(super) enum Side {
    Binds(Option<Listening>),
    Connects(String),
}

/// How often to try, and how long.
pub(super) struct Pace {
    pub(super) first: Duration,
    pub(super) most: Duration,
    pub(super) attempt: Duration,
}

pub(super) struct Owner {
    pub(super) id: SocketId,
    pub(super) role: SocketRole,
    pub(super) side: Side,
    pub(super) pace: Pace,
    pub(super) topics: Vec<String>,
    pub(super) max_message_size: usize,
    pub(super) commands: Receiver<Command>,
    pub(super) frames: Receiver<Bytes>,
    pub(super) credit: Arc<Credit>,
    pub(super) inbound: Arc<Inbound>,
    pub(super) signals: Arc<Signals>,
    pub(super) peers: Peers,
    /// Frames on their way from the channel to the crate.
    pub(super) next: VecDeque<Bytes>,
    /// When the socket is closed, sent or not.
    pub(super) closing: Option<Instant>,
}

/// How a stretch of a socket's life ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The socket is done with.
    Over,
    /// The peer is gone: connect anew.
    Anew,
}

/// What happened while something was waited for.
enum Waited<T> {
    Done(T),
    Told(Option<Command>),
    Over,
}

type Monitor = BoxStream<'static, SocketEvent>;

impl Owner {
    pub(super) async fn run(mut self) {
        loop {
            let mut wire = Wire::new(self.role, self.pace.attempt);
            let mut monitor = wire.monitor();
            for topic in &self.topics {
                // Nobody is connected yet: it is only remembered.
                let _ = wire.subscribe(topic, true).await;
            }
            let then = self.live(&mut wire, &mut monitor).await;
            wire.unbind().await;
            wire.shut();
            self.peers.clear();
            if then == Then::Over {
                return;
            }
        }
    }

    async fn live(&mut self, wire: &mut Wire, monitor: &mut Monitor) -> Then {
        match &mut self.side {
            Side::Connects(_) => {
                if self.connect(wire).await == Then::Over {
                    return Then::Over;
                }
            }
            Side::Binds(listening) => {
                let Some(listening) = listening.take() else { return Then::Over };
                if let Err(error) = wire.adopt(listening).await {
                    self.peers.refuse(format!("cannot accept anybody: {error}"));
                    return Then::Over;
                }
            }
        }
        self.serve(wire, monitor).await
    }

    /// Tries until it is connected, however long that takes.
    async fn connect(&mut self, wire: &mut Wire) -> Then {
        let Side::Connects(address) = &self.side else { return Then::Over };
        let (address, mut pause) = (address.clone(), self.pace.first);
        loop {
            let mut waited = self.wait_for(wire.connect(&address)).await;
            if let Waited::Done(Err(error)) = &waited {
                tracing::trace!(address, %error, "not connected yet");
                waited = match self.wait_for(sleep(pause)).await {
                    Waited::Done(()) => {
                        pause = (pause * 2).min(self.pace.most);
                        continue;
                    }
                    Waited::Told(command) => Waited::Told(command),
                    Waited::Over => Waited::Over,
                };
            }
            match waited {
                Waited::Done(_) => return Then::Anew,
                Waited::Told(command) => {
                    if self.obey(command, wire).await == Some(Then::Over) {
                        return Then::Over;
                    }
                }
                Waited::Over => return Then::Over,
            }
        }
    }

    /// Waits for something while there is no connection.
    async fn wait_for<T>(&mut self, what: impl Future<Output = T>) -> Waited<T> {
        let mut what = pin!(what);
        let publishes = self.role == SocketRole::Publisher;
        if publishes {
            self.next.clear();
        }
        loop {
            if self.is_done() {
                return Waited::Over;
            }
            let closing = self.closing;
            tokio::select! {
                biased;
                command = self.commands.recv(), if closing.is_none() => return Waited::Told(command),
                () = until(closing) => return Waited::Over,
                () = self.credit.idle.notified(), if closing.is_some() => {}
                done = &mut what => return Waited::Done(done),
                // Nobody is subscribed: what is published is for nobody.
                Some(_) = self.frames.recv(), if publishes => {}
            }
        }
    }

    /// Moves messages, until the socket is closed or a connecting one has lost its peer.
    async fn serve(&mut self, wire: &mut Wire, monitor: &mut Monitor) -> Then {
        let receives = matches!(self.role, SocketRole::Subscriber | SocketRole::Pull);
        let (mut taken, mut arrived) = (Vec::new(), VecDeque::new());
        while !self.is_done() {
            let closing = self.closing;
            let sends = !receives && (self.role == SocketRole::Publisher || !self.peers.is_empty());
            let takes = sends
                && self.next.is_empty()
                && !(self.frames.is_closed() && self.frames.is_empty());
            let room = self.inbound.room().filter(|_| receives && closing.is_none());
            let (most, bytes) = room.unwrap_or_default();
            let full = receives && closing.is_none() && room.is_none();
            tokio::select! {
                biased;
                command = self.commands.recv(), if closing.is_none() => {
                    if let Some(then) = self.obey(command, wire).await {
                        return then;
                    }
                }
                Some(event) = monitor.next() => {
                    if self.peers.note(event) && matches!(self.side, Side::Connects(_)) {
                        return Then::Anew;
                    }
                }
                () = until(closing) => return Then::Over,
                () = ready(()), if sends && !self.next.is_empty() => {
                    if let Some(then) = self.pass_on(wire).await {
                        return then;
                    }
                }
                _ = self.frames.recv_many(&mut taken, BURST), if takes => self.next.extend(taken.drain(..)),
                result = wire.receive(most.min(BURST), bytes, &mut arrived), if room.is_some() => {
                    if let Err(error) = result {
                        self.peers.refuse(error.to_string());
                    }
                    self.keep(&mut arrived);
                }
                () = self.inbound.until_room(), if full => {}
                () = self.credit.idle.notified(), if closing.is_some() => {}
            }
        }
        Then::Over
    }

    async fn obey(&mut self, command: Option<Command>, wire: &mut Wire) -> Option<Then> {
        match command {
            None => return Some(Then::Over),
            Some(Command::Subscribe { topic, wanted }) => {
                self.topics.retain(|other| *other != topic);
                let done = timeout(SUBSCRIBE_TIMEOUT, wire.subscribe(&topic, wanted)).await;
                if !matches!(done, Ok(Ok(()))) {
                    // A peer that is just going, or that reads nothing; a new one hears all of it.
                    tracing::debug!(topic, wanted, "not every peer heard of a subscription");
                }
                if wanted {
                    self.topics.push(topic);
                }
            }
            Some(Command::Release) => {
                wire.unbind().await;
                self.signals.tell(self.id, PeerEvent::Released);
            }
            Some(Command::Close(linger)) => {
                self.frames.close();
                self.closing = Some(Instant::now() + linger);
            }
        }
        None
    }

    /// Gives the crate what was taken; keeps what nobody is there for.
    async fn pass_on(&mut self, wire: &mut Wire) -> Option<Then> {
        while let Some(frame) = self.next.front() {
            match wire.pass(frame.clone()).await {
                Passed::Yes => {
                    self.next.pop_front();
                }
                Passed::Again => {}
                Passed::NoPeer => {
                    // Its end may not have been told: the monitor's queue is short.
                    self.peers.clear();
                    return matches!(self.side, Side::Connects(_)).then_some(Then::Anew);
                }
            }
        }
        None
    }

    fn keep(&self, arrived: &mut VecDeque<ZmqMessage>) {
        if arrived.is_empty() {
            return;
        }
        let limit = self.max_message_size;
        self.inbound.push(arrived.drain(..).filter_map(|message| {
            let size = message.iter().map(Bytes::len).sum();
            if size > limit {
                self.peers.refuse(format!("a message of {size} bytes, at most {limit} are taken"));
                return None;
            }
            Some(received(message, size))
        }));
        self.signals.waker.wake();
    }

    /// Closed, and nothing left to send.
    fn is_done(&self) -> bool {
        self.closing.is_some() && self.credit.is_idle()
    }
}

fn received(message: ZmqMessage, size: usize) -> Received {
    let parts = message.len();
    let head = message.into_vecdeque().pop_front().unwrap_or_default();
    let head = if head.len() <= COPY_UP_TO { Bytes::copy_from_slice(&head) } else { head };
    if parts == 1 { Received::Frame(head) } else { Received::Multipart { parts, size, head } }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
