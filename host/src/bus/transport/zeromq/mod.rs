//! The `zeromq` crate, which is ZeroMQ written anew in Rust.
//!
//! Invariants: the crate runs on a runtime of its own, each socket in one task (`owner.rs`) that
//! alone touches it; the bus thread talks to the tasks over bounded channels and is woken through
//! an eventfd; what the crate would queue without bound is bounded by leases (`shared.rs`).
//!
//! What it cannot do is listed in `docs/transports.md`.
mod address;
mod owner;
mod peers;
mod shared;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Sender, channel};

use self::address::{listen, to_connect};
use self::owner::{Command, Owner, Pace, Side};
use self::peers::Peers;
use self::shared::{Credit, Inbound, Signals};
use super::{Interest, OpenError, PeerEvent, Received, Sent, SocketPlan, Transport};
use crate::bus::options::SocketOption;
use crate::message::SocketId;

/// Most frames of one socket that are on their way, whatever its high-water mark says. The crate's
/// queues hold 100,000; what they had no room for would be dropped, or would wait for a peer.
const FRAMES_MAX: i64 = 50_000;
/// Commands that wait for a socket's task.
const COMMANDS: usize = 1024;
/// How long one attempt to connect may take where a peer answers at once or not at all.
const LOCAL_ATTEMPT: Duration = Duration::from_secs(1);
/// What the tasks of closed sockets get at least, to end.
const GRACE: Duration = Duration::from_millis(100);
/// How often the end looks whether they have: the runtime does not tell.
const LOOK: Duration = Duration::from_millis(1);

/// The options that are obeyed, or without effect on any transport.
const HONOURED: [SocketOption; 11] = [
    SocketOption::SndHwm,
    SocketOption::RcvHwm,
    SocketOption::Linger,
    SocketOption::SndTimeo,
    SocketOption::RcvTimeo,
    SocketOption::ReconnectIvl,
    SocketOption::ReconnectIvlMax,
    SocketOption::ConnectTimeout,
    SocketOption::MaxMsgSize,
    SocketOption::Ipv6,
    SocketOption::Backlog,
];

/// The bus thread's end of a socket.
struct Entry {
    commands: Sender<Command>,
    frames: Sender<Bytes>,
    credit: Arc<Credit>,
    inbound: Arc<Inbound>,
    connections: Arc<AtomicUsize>,
    binds: bool,
}

/// The `zeromq` crate as a transport.
pub struct ZeroMq {
    runtime: Option<Runtime>,
    signals: Arc<Signals>,
    sockets: BTreeMap<SocketId, Entry>,
    /// When the last of the closed sockets has stopped sending.
    lingers_until: Instant,
}

impl ZeroMq {
    /// A runtime of its own with so many threads.
    ///
    /// # Errors
    /// When the process is out of descriptors or threads.
    pub fn new(threads: u8) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(usize::from(threads.max(1)))
            .thread_name("zeromq")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            signals: Arc::new(Signals::new()?),
            sockets: BTreeMap::new(),
            lingers_until: Instant::now(),
        })
    }

    /// What of `interests` is ready now. What is not wakes the bus when it is.
    fn look(&self, interests: &[Interest], ready: &mut Vec<Interest>) {
        ready.extend(interests.iter().filter_map(|interest| {
            let entry = self.sockets.get(&interest.id)?;
            let read = interest.read && !entry.inbound.is_empty();
            let write = interest.write && entry.credit.has_room();
            (read || write).then_some(Interest { id: interest.id, read, write })
        }));
    }
}

impl Transport for ZeroMq {
    fn open(&mut self, id: SocketId, plan: &SocketPlan) -> Result<String, OpenError> {
        let runtime = self.runtime.as_ref().ok_or(OpenError::Other("closed".to_owned()))?;
        warn_of_options(plan);
        let (side, endpoint) = if plan.bind {
            let (listening, endpoint) = listen(&plan.endpoint, plan.option(SocketOption::Backlog))?;
            (Side::Binds(Some(listening)), endpoint)
        } else {
            (Side::Connects(to_connect(&plan.endpoint)?), plan.endpoint.to_string())
        };
        let number = |option, most| {
            let value = plan.option(option).unwrap_or(most).clamp(1, most);
            usize::try_from(value).unwrap_or(usize::MAX)
        };
        let sends = number(SocketOption::SndHwm, FRAMES_MAX);
        let (commands, orders) = channel(COMMANDS);
        let (frames, outgoing) = channel(sends);
        let entry = Entry {
            commands,
            frames,
            credit: Arc::new(Credit::new(sends, Arc::clone(&self.signals))),
            inbound: Arc::new(Inbound::new(number(SocketOption::RcvHwm, i64::MAX))),
            connections: Arc::new(AtomicUsize::new(0)),
            binds: plan.bind,
        };
        let signals = Arc::clone(&self.signals);
        let count = Arc::clone(&entry.connections);
        let owner = Owner {
            id,
            role: plan.role,
            side,
            pace: pace(plan),
            topics: plan.topics.clone(),
            max_message_size: number(SocketOption::MaxMsgSize, i64::MAX),
            commands: orders,
            frames: outgoing,
            credit: Arc::clone(&entry.credit),
            inbound: Arc::clone(&entry.inbound),
            peers: Peers::new(id, endpoint.clone(), count, Arc::clone(&signals)),
            signals,
            next: VecDeque::new(),
            closing: None,
        };
        runtime.spawn(owner.run());
        self.sockets.insert(id, entry);
        Ok(endpoint)
    }

    fn wait(
        &mut self,
        interests: &[Interest],
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
        ready: &mut Vec<Interest>,
    ) {
        ready.clear();
        self.signals.waker.reset();
        self.look(interests, ready);
        if !ready.is_empty() || self.signals.has_events() {
            return;
        }
        let own = self.signals.waker.fd();
        let mut fds = [PollFd::new(&wake, PollFlags::IN), PollFd::new(&own, PollFlags::IN)];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // A signal ends the wait early, which is harmless: the bus looks at everything again.
        let _ = poll(&mut fds, timeout.as_ref());
        self.signals.waker.reset();
        self.look(interests, ready);
    }

    fn receive(&mut self, id: SocketId, each: &mut dyn FnMut(Received) -> ControlFlow<()>) {
        if let Some(entry) = self.sockets.get(&id) {
            entry.inbound.take(each);
        }
    }

    fn send(&mut self, id: SocketId, frame: &Bytes) -> Sent {
        let Some(entry) = self.sockets.get(&id) else {
            return Sent::Failed("the socket is closed".to_owned());
        };
        let Some(leased) = entry.credit.lease(frame) else { return Sent::Full };
        match entry.frames.try_send(leased) {
            Ok(()) => Sent::Sent,
            // The channel has a place for each lease, so that it is never full.
            Err(_) => Sent::Failed("the task of the socket has ended".to_owned()),
        }
    }

    fn subscribe(&mut self, id: SocketId, topic: &str, wanted: bool) -> Result<(), String> {
        let entry = self.sockets.get(&id).ok_or("the socket is closed")?;
        let command = Command::Subscribe { topic: topic.to_owned(), wanted };
        entry.commands.try_send(command).map_err(|error| error.to_string())
    }

    fn events(&mut self, each: &mut dyn FnMut(SocketId, PeerEvent)) {
        for (id, event) in self.signals.take_events() {
            each(id, event);
        }
    }

    fn connections(&self, id: SocketId) -> usize {
        self.sockets.get(&id).map_or(0, |entry| entry.connections.load(Ordering::Relaxed))
    }

    fn release(&mut self, id: SocketId) -> bool {
        let Some(entry) = self.sockets.get(&id).filter(|entry| entry.binds) else { return true };
        entry.commands.try_send(Command::Release).is_err()
    }

    fn close(&mut self, id: SocketId, linger: Duration) {
        let Some(entry) = self.sockets.remove(&id) else { return };
        self.lingers_until = self.lingers_until.max(Instant::now() + linger);
        // If it does not hear of it, it sees the end of the channel, and ends at once.
        let _ = entry.commands.try_send(Command::Close(linger));
    }

    fn terminate(&mut self) {
        self.sockets.clear();
        let Some(runtime) = self.runtime.take() else { return };
        let until = self.lingers_until.max(Instant::now() + GRACE);
        // Also the tasks of the crate that still write what a socket had left.
        runtime.block_on(async {
            while runtime.metrics().num_alive_tasks() > 0 && Instant::now() < until {
                tokio::time::sleep(LOOK).await;
            }
        });
        runtime.shutdown_timeout(GRACE);
    }
}

fn pace(plan: &SocketPlan) -> Pace {
    let ms = |option| {
        let value = plan.option(option).filter(|ms| *ms > 0);
        value.map(|ms| Duration::from_millis(ms.unsigned_abs()))
    };
    let first = ms(SocketOption::ReconnectIvl).unwrap_or(Duration::from_millis(100));
    let usual = || match &plan.endpoint {
        endpoint if endpoint.is_loopback() => LOCAL_ATTEMPT,
        _ => ms(SocketOption::HandshakeIvl).unwrap_or(5 * LOCAL_ATTEMPT),
    };
    Pace {
        first,
        // 0: the pause does not grow.
        most: ms(SocketOption::ReconnectIvlMax).unwrap_or(first).max(first),
        attempt: ms(SocketOption::ConnectTimeout).unwrap_or_else(usual),
    }
}

/// Once a socket, of what its own configuration asks for and the crate cannot do.
fn warn_of_options(plan: &SocketPlan) {
    // None is sent, so that much is obeyed.
    let no_heartbeat = (SocketOption::HeartbeatIvl, 0);
    let own = plan.options.iter().take(plan.own_options);
    let ignored: Vec<_> = own
        .filter(|option| !HONOURED.contains(&option.0) && **option != no_heartbeat)
        .map(|(option, _)| option.name())
        .collect();
    if !ignored.is_empty() {
        let (endpoint, options) = (&plan.endpoint, ignored.join(", "));
        tracing::warn!(%endpoint, options, "socket options without effect: the transport zeromq lacks them");
    }
}
