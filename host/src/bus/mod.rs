//! The ZeroMQ bus: one thread that owns the transport and every socket of every service.
//!
//! Invariants: only the bus thread touches sockets; only `transport` names what moves the bytes;
//! sending never blocks, and every queue is bounded by count and by bytes; what is dropped is
//! counted, with its cause.
mod active;
pub mod endpoint;
pub mod error;
pub mod frame;
mod holder;
pub(crate) mod ipc;
mod meeting;
mod numbers;
pub mod options;
mod routes;
mod stats;
pub mod tap;
mod thread;
pub mod transport;
mod wake;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use plugin_api::abi::SendOutcome;
use plugin_api::zmq::{SocketRole, SocketSpec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use self::endpoint::Endpoint;
use self::options::SocketOption;
use self::routes::{Publishing, publish};
use self::stats::{Counters, Lines, Offered, Outbox, SocketRecord, add};
use self::tap::{Direction, Listening, Passing, Taps, TooMany};
use self::thread::{BusThread, Command, Opening, Which};
use self::transport::{OpenError, SocketPlan, Transport, TransportKind};
use self::wake::Waker;
use crate::message::SocketId;
use crate::service::mailbox::{LanePlan, Mailbox, MailboxLimits};

pub use self::error::BusError;
pub use self::stats::{SocketStats, Totals};

/// How long [`BusHandle::open`] waits for the bus thread.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a bus that is dropped without [`Bus::shutdown`] may go on sending.
const DROP_DEADLINE: Duration = Duration::from_secs(1);
/// Tasks or results of one socket that wait in the host, unless its configuration says otherwise.
const TASKS_WAITING: usize = 1_000;
/// Descriptors the process asks for, if it is allowed that many. More is of no use to a host, and
/// makes children slow that close every descriptor there could be.
const DESCRIPTORS: u64 = 65_536;

/// How the bus treats every socket, unless the socket's own options say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BusConfig {
    /// What moves the bytes.
    pub transport: TransportKind,
    /// Whether [`TransportKind::Zeromq`] may be bound where other machines reach it. Anybody who
    /// can connect to it can end the process.
    pub zeromq_beyond_loopback: bool,
    /// Bytes of the largest message, in and out. A peer that sends a larger one is disconnected.
    pub max_message_size: usize,
    /// Messages that ZeroMQ keeps for each peer, in each direction.
    pub high_water_mark: u32,
    /// Messages of one socket that wait for the bus thread.
    pub outbox_messages: usize,
    /// Bytes of the same.
    pub outbox_bytes: usize,
    /// How long a closed socket may go on sending.
    pub linger: Duration,
    /// How long a peer may take for its handshake.
    pub handshake: Duration,
    /// Time between heartbeats; zero: none.
    pub heartbeat: Duration,
    /// Silence after which a connection is given up.
    pub heartbeat_timeout: Duration,
    /// Pause before the first attempt to reconnect.
    pub reconnect: Duration,
    /// The longest pause: it doubles from attempt to attempt.
    pub reconnect_max: Duration,
    /// Threads of the transport that move bytes. One moves a gigabyte a second.
    pub io_threads: u8,
    /// Whether port 0 may be bound, which lets the system choose one: for tests.
    pub allow_port_zero: bool,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            transport: TransportKind::default(),
            zeromq_beyond_loopback: false,
            max_message_size: 64 << 20,
            high_water_mark: 10_000,
            outbox_messages: 10_000,
            outbox_bytes: 256 << 20,
            linger: Duration::from_secs(1),
            handshake: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
            heartbeat_timeout: Duration::from_secs(15),
            reconnect: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(1),
            io_threads: 1,
            allow_port_zero: false,
        }
    }
}

impl BusConfig {
    /// Checks a socket as a configuration names it: the endpoint and the options. It touches
    /// neither the network nor the file system, so `check` can use it too.
    ///
    /// # Errors
    /// With what is wrong and what to write instead.
    pub fn plan(&self, spec: &SocketSpec) -> Result<SocketPlan, BusError> {
        let endpoint = Endpoint::of(spec, self.allow_port_zero)?;
        transport::check(self, spec, &endpoint)?;
        let mut options = options::parse(&spec.socket_options, spec.role)?;
        let own_options = options.len();
        for (option, value) in self.defaults(&endpoint) {
            if !options.iter().any(|(other, _)| *other == option) {
                options.push((option, value));
            }
        }
        Ok(SocketPlan {
            role: spec.role,
            endpoint,
            bind: spec.bind,
            topics: spec.topics.clone(),
            options,
            own_options,
        })
    }

    /// Why the transport would not open a socket whose address is good, if it would not.
    #[must_use]
    pub fn refuses(&self, spec: &SocketSpec) -> Option<BusError> {
        let endpoint = Endpoint::of(spec, self.allow_port_zero).ok()?;
        transport::check(self, spec, &endpoint).err()
    }

    fn defaults(&self, endpoint: &Endpoint) -> Vec<(SocketOption, i64)> {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let all = [
            (SocketOption::MaxMsgSize, i64::try_from(self.max_message_size).unwrap_or(i64::MAX)),
            (SocketOption::SndHwm, i64::from(self.high_water_mark)),
            (SocketOption::RcvHwm, i64::from(self.high_water_mark)),
            (SocketOption::Linger, ms(self.linger)),
            (SocketOption::HandshakeIvl, ms(self.handshake)),
            (SocketOption::HeartbeatIvl, ms(self.heartbeat)),
            (SocketOption::HeartbeatTimeout, ms(self.heartbeat_timeout)),
            (SocketOption::HeartbeatTtl, ms(self.heartbeat_timeout)),
            (SocketOption::ReconnectIvl, ms(self.reconnect)),
            (SocketOption::ReconnectIvlMax, ms(self.reconnect_max)),
            (SocketOption::Ipv6, i64::from(endpoint.needs_ipv6())),
        ];
        // A host setting out of ZeroMQ's range takes the nearest value that is in it.
        let fit = |(option, value): (SocketOption, i64)| {
            let (min, max) = option.range();
            (option, value.clamp(min, max))
        };
        all.into_iter().map(fit).collect()
    }
}

/// What the bus thread and the handles share.
struct BusShared {
    config: BusConfig,
    waker: Waker,
    sockets: RwLock<BTreeMap<SocketId, Arc<SocketRecord>>>,
    /// What the closed sockets of each service have counted.
    past: Mutex<BTreeMap<String, Totals>>,
    next_id: AtomicI32,
    closed: AtomicBool,
    taps: Arc<Taps>,
}

impl BusShared {
    fn register(&self, record: &Arc<SocketRecord>) {
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        sockets.insert(record.id, Arc::clone(record));
    }

    fn forget(&self, id: SocketId) {
        // Both at once, so that nobody finds it in neither or in both.
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sockets = self.sockets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = sockets.remove(&id) {
            past.entry(record.service.clone()).or_default().take_in(&record.stats());
        }
    }

    fn find(&self, id: SocketId) -> Option<Arc<SocketRecord>> {
        self.sockets.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

/// The running bus. Dropping it closes it without waiting.
pub struct Bus {
    handle: BusHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bus {
    /// Starts the bus thread on the transport of the configuration, after raising the limit on
    /// descriptors.
    ///
    /// # Errors
    /// When this build lacks the transport, or the process is out of descriptors or threads.
    pub fn start(config: BusConfig) -> Result<Self, BusError> {
        raise_descriptor_limit();
        let transport = transport::maker(&config)?;
        Self::start_on(config, transport)
    }

    /// Starts the bus thread on another transport, which is made on that thread.
    ///
    /// # Errors
    /// As [`Bus::start`].
    pub fn start_on(
        config: BusConfig,
        transport: impl FnOnce() -> Box<dyn Transport> + Send + 'static,
    ) -> Result<Self, BusError> {
        let starting =
            |error: std::io::Error| BusError::new(format!("cannot start the bus: {error}"));
        let shared = Arc::new(BusShared {
            config,
            waker: Waker::new().map_err(starting)?,
            sockets: RwLock::default(),
            past: Mutex::default(),
            next_id: AtomicI32::new(1),
            closed: AtomicBool::new(false),
            taps: Arc::default(),
        });
        let (commands, inbox) = channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("bus".to_owned())
            .spawn(move || run(for_thread, transport, inbox))
            .map_err(starting)?;
        Ok(Self { handle: BusHandle { shared, commands }, thread: Some(thread) })
    }

    /// A handle for anyone who opens sockets or sends.
    #[must_use]
    pub fn handle(&self) -> BusHandle {
        self.handle.clone()
    }

    /// Closes everything: takes nothing more, sends what waits, and ends the transport. Returns at
    /// the deadline at the latest.
    ///
    /// # Errors
    /// When the deadline passed first; the bus thread then ends by itself, or with the process.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), BusError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let end = Instant::now() + deadline;
        let done = self.handle.begin_shutdown(end);
        match done.recv_timeout(deadline) {
            Ok(result) => {
                // It has nothing left to do but return.
                let _ = thread.join();
                result
            }
            Err(RecvTimeoutError::Timeout) => Err(BusError::new(format!(
                "the bus was still sending after {:.1} s",
                deadline.as_secs_f64()
            ))
            .hint(
                "a peer reads slowly or not at all; LINGER bounds how long its messages are kept",
            )),
            Err(RecvTimeoutError::Disconnected) => {
                Err(BusError::new("the bus thread had ended before it was told to"))
            }
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if self.thread.take().is_some() {
            drop(self.handle.begin_shutdown(Instant::now() + DROP_DEADLINE));
        }
    }
}

/// What services' threads hold of the bus.
#[derive(Clone)]
pub struct BusHandle {
    shared: Arc<BusShared>,
    commands: Sender<Command>,
}

impl BusHandle {
    /// Opens a socket of a service; what it receives goes to `mailbox`. Waits for the bus thread,
    /// five seconds at most. When another socket of the host is just giving the endpoint up, it
    /// waits for that too.
    ///
    /// # Errors
    /// With one line that names endpoint, service and key, and a hint.
    pub fn open(
        &self,
        service: &str,
        spec: SocketSpec,
        mailbox: Arc<Mailbox>,
    ) -> Result<SocketId, BusError> {
        let config = &self.shared.config;
        let plan = config
            .plan(&spec)
            .map_err(|error| error.within(format_args!("{} of {service}", spec.key)))?;
        if plan.role == SocketRole::Subscriber && plan.topics.is_empty() {
            tracing::warn!(service, key = spec.key, "no topics: nothing will be received");
        }
        let id = SocketId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let endpoint = plan.endpoint.to_string();
        let lane = lane_of(&spec, mailbox.limits());
        let record = Arc::new(SocketRecord {
            id,
            service: service.to_owned(),
            key: spec.key.clone(),
            plan,
            endpoint: OnceLock::new(),
            outbox: Outbox::new(
                spec.max_queue_size.unwrap_or(config.outbox_messages),
                config.outbox_bytes,
            ),
            counters: Counters::default(),
            mailbox,
            publishing: Publishing::new(spec.numbered.then(|| run_of(id))),
            lines: Lines::default(),
            stalled: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            taps: Arc::clone(&self.shared.taps),
        });
        let (reply, answer) = sync_channel(1);
        self.command(Command::Open(Opening { record, lane, reply }));
        let result = match answer.recv_timeout(OPEN_TIMEOUT) {
            // It may have been answered in this very moment.
            Err(RecvTimeoutError::Timeout) => answer.try_recv().unwrap_or_else(|_| {
                Err(BusError::new(format!(
                    "{endpoint} for {service} ({}) was not opened within {} s",
                    spec.key,
                    OPEN_TIMEOUT.as_secs()
                ))
                .hint("another socket of this host may still be giving it up; try again"))
            }),
            Err(RecvTimeoutError::Disconnected) => Err(BusError::new(format!(
                "{endpoint} for {service} ({}) was not opened: the bus is closed",
                spec.key
            ))),
            Ok(result) => result,
        };
        result.map(|()| id)
    }

    /// Queues a message; never blocks. What is published is in the mailboxes of this host's
    /// subscribers when this returns. The topic is not used with PUSH; whether it can be
    /// published is the caller's to find out with [`frame::check_topic`].
    #[must_use]
    pub fn send(&self, socket: SocketId, topic: &str, payload: &[u8]) -> SendOutcome {
        if self.shared.closed.load(Ordering::Acquire) {
            return SendOutcome::Closed;
        }
        let Some(record) = self.shared.find(socket) else { return SendOutcome::NoSocket };
        let role = record.plan.role;
        if !matches!(role, SocketRole::Publisher | SocketRole::Push)
            || record.closing.load(Ordering::Acquire)
        {
            return SendOutcome::NoSocket;
        }
        let most = self.shared.config.max_message_size;
        if role == SocketRole::Publisher {
            let (outcome, wake) = publish(&record, topic, payload, most);
            if wake {
                self.shared.waker.wake();
            }
            return outcome;
        }
        if frame::joined_len(role, topic, payload) > most {
            add(&record.counters.dropped_too_large, 1);
            return SendOutcome::TooLarge;
        }
        match record.outbox.offer(frame::join(role, topic, payload)) {
            Offered::Full => {
                record.outbox.count_dropped();
                SendOutcome::Full
            }
            Offered::Closed => SendOutcome::NoSocket,
            Offered::Queued => {
                let direction = Direction::Sent;
                record.passes(|| Passing { direction, local: false, topic: b"", payload });
                self.shared.waker.wake();
                SendOutcome::Queued
            }
        }
    }

    /// Whether a socket takes a message now, or never will; otherwise `notice` is called once it
    /// does. Only the last notice of a socket is kept.
    #[must_use]
    pub fn await_room(&self, socket: SocketId, notice: Box<dyn FnOnce() + Send>) -> bool {
        let Some(record) = self.shared.find(socket) else { return true };
        record.outbox.room_or(notice)
    }

    /// Where a socket is, with the port it really has; `None` once it is closed.
    #[must_use]
    pub fn endpoint_of(&self, socket: SocketId) -> Option<String> {
        self.shared.find(socket).map(|record| record.endpoint())
    }

    /// Begins to close every socket of a service: nothing more is taken or received, what waits is
    /// sent first, for as long as the socket's LINGER. Returns at once; a later [`BusHandle::open`]
    /// of the same endpoint waits until it is free.
    pub fn close_service(&self, service: &str) {
        let _ = self.begin_close(Which::OfService(service.to_owned()));
    }

    /// The same for some of its sockets.
    pub fn close_sockets(&self, sockets: Vec<SocketId>) {
        if !sockets.is_empty() {
            let _ = self.begin_close(Which::These(sockets));
        }
    }

    /// Changes what a SUB socket is subscribed to, without losing what it gets by a topic of both.
    /// Takes effect in the order of the other calls; returns at once.
    pub fn resubscribe(&self, id: SocketId, from: &[String], to: &[String]) {
        let without = |all: &[String], others: &[String]| {
            all.iter().filter(|topic| !others.contains(topic)).cloned().collect()
        };
        self.command(Command::Subscribe { id, add: without(to, from), remove: without(from, to) });
    }

    /// [`BusHandle::close_service`], then waits until the sockets are closed. Answers whether they
    /// were within `timeout`.
    #[must_use]
    pub fn close_service_within(&self, service: &str, timeout: Duration) -> bool {
        // A bus that is gone has no sockets either.
        let closed = self.begin_close(Which::OfService(service.to_owned()));
        closed.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout)
    }

    /// Receives nothing more, on any socket; sending goes on.
    pub fn stop_intake(&self) {
        self.command(Command::StopIntake);
    }

    /// Figures of every open socket, by number.
    #[must_use]
    pub fn stats(&self) -> Vec<SocketStats> {
        let sockets = self.shared.sockets.read().unwrap_or_else(PoisonError::into_inner);
        sockets.values().map(|record| record.stats()).collect()
    }

    /// Figures of a service's open sockets, by number, and the sums over all that it has had.
    #[must_use]
    pub fn stats_of(&self, service: &str) -> (Vec<SocketStats>, Totals) {
        let past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets = self.shared.sockets.read().unwrap_or_else(PoisonError::into_inner);
        let mut totals = past.get(service).copied().unwrap_or_default();
        let of_it = sockets.values().filter(|record| record.service == service);
        let stats: Vec<_> = of_it.map(|record| record.stats()).collect();
        stats.iter().for_each(|stats| totals.take_in(stats));
        (stats, totals)
    }

    /// Listens to all messages that pass and whose topic begins with `topic`.
    ///
    /// # Errors
    /// When too many listen already.
    pub fn listen(&self, topic: String) -> Result<Listening, TooMany> {
        self.shared.taps.listen(topic)
    }

    fn begin_close(&self, which: Which) -> Receiver<()> {
        let (done, closed) = sync_channel(1);
        self.command(Command::Close { which, done });
        closed
    }

    fn begin_shutdown(&self, deadline: Instant) -> Receiver<Result<(), BusError>> {
        self.shared.closed.store(true, Ordering::Release);
        let (done, result) = sync_channel(1);
        self.command(Command::Shutdown { deadline, done });
        result
    }

    /// When the bus thread is gone, the command is dropped and with it the sender of its answer,
    /// which is how the caller gets to know.
    fn command(&self, command: Command) {
        let _ = self.commands.send(command);
        self.shared.waker.wake();
    }
}

/// A number for one opening of a socket, which another opening, here or elsewhere, is unlikely to have.
fn run_of(id: SocketId) -> u32 {
    // The standard library seeds each of these with what the system takes for random.
    let random = std::collections::hash_map::RandomState::new();
    let hash = std::hash::BuildHasher::hash_one(&random, id);
    // Both halves are as random as the whole.
    (hash >> 32) as u32
}

/// The lane of a receiving socket. A PULL keeps fewer messages by default: those that wait here are
/// lost with the host, while those that wait at their sender are not.
fn lane_of(spec: &SocketSpec, most: MailboxLimits) -> LanePlan {
    let usual = if spec.role == SocketRole::Pull { TASKS_WAITING } else { usize::MAX };
    let messages = spec.max_queue_size.unwrap_or(usual.min(most.messages));
    let limits = MailboxLimits { messages, ..most };
    LanePlan { kind: frame::envelope_kind(spec), limits, when_full: spec.when_full }
}

fn run(
    shared: Arc<BusShared>,
    transport: impl FnOnce() -> Box<dyn Transport>,
    commands: Receiver<Command>,
) {
    let bus = Arc::clone(&shared);
    let result =
        catch_unwind(AssertUnwindSafe(|| BusThread::new(bus, transport(), commands).run()));
    shared.closed.store(true, Ordering::Release);
    if result.is_err() {
        tracing::error!("the bus thread panicked: no messages any more");
    }
}

/// Words for what the transport says, with who is in the way.
fn refusal(error: &OpenError, plan: &SocketPlan) -> BusError {
    match error {
        OpenError::InUse => {
            let port = plan.endpoint.port();
            let holder = port.and_then(holder::of_port);
            let hint = match (holder, port) {
                (Some(holder), _) => {
                    format!("{holder} holds the port; stop it or choose another port")
                }
                (None, Some(port)) => format!(
                    "another process holds the port; find it with: ss -ltnp sport = :{port}"
                ),
                (None, None) => "choose another path or name".to_owned(),
            };
            BusError::new("address already in use").hint(hint)
        }
        OpenError::NoSuchAddress => BusError::new("no such address or interface on this machine")
            .hint("`ip address` lists them; tcp://* takes all"),
        OpenError::Denied => BusError::new("permission denied")
            .hint("check the permissions of the directory and the user the host runs as"),
        OpenError::Exhausted => BusError::new("out of descriptors or sockets")
            .hint("raise the limit (LimitNOFILE= in the systemd unit, or ulimit -n)"),
        OpenError::Other(reason) => BusError::new(reason.to_lowercase()),
    }
}

/// Every connection costs a descriptor, and the usual soft limit of 1024 is soon reached.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
        tracing::warn!(%error, wanted, "cannot raise the limit on descriptors");
    }
}
