//! The bus thread: it owns the transport and every socket, and is the only one to touch them.
//!
//! One turn: commands, outboxes, closing sockets, then one wait for everything, then what came in.
//! Each step is bounded (`BATCH` messages a socket), so no socket starves another. Nothing a peer
//! sends can end the loop.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use plugin_api::zmq::SocketRole;

use super::active::{Active, BATCH, Phase, receive};
use super::endpoint::clashes;
use super::error::BusError;
use super::stats::{RateLimit, SocketRecord, add};
use super::transport::{Interest, Transport};
use super::{BusShared, ipc, refusal};
use crate::message::{Envelope, SocketId};
use crate::service::mailbox::{LanePlan, Mailbox, RoomNotice};

/// How long a closed socket waits for word that its endpoint is free.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// What other threads ask of the bus thread.
pub(super) enum Command {
    Open(Opening),
    Close {
        which: Which,
        done: SyncSender<()>,
    },
    /// Subscribes a SUB socket to the first topics, and ends its subscription of the second.
    Subscribe {
        id: SocketId,
        add: Vec<String>,
        remove: Vec<String>,
    },
    StopIntake,
    Shutdown {
        deadline: Instant,
        done: SyncSender<Result<(), BusError>>,
    },
}

/// The sockets to be closed.
pub(super) enum Which {
    OfService(String),
    These(Vec<SocketId>),
}

impl Which {
    fn means(&self, record: &SocketRecord) -> bool {
        match self {
            Self::OfService(service) => record.service == *service,
            Self::These(ids) => ids.contains(&record.id),
        }
    }
}

/// A socket to be opened.
pub(super) struct Opening {
    pub(super) record: Arc<SocketRecord>,
    pub(super) lane: LanePlan,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reply: SyncSender<Result<(), BusError>>,
}

struct Ending {
    flush_until: Instant,
    deadline: Instant,
    done: SyncSender<Result<(), BusError>>,
}

pub(super) struct BusThread {
    shared: Arc<BusShared>,
    transport: Box<dyn Transport>,
    commands: Receiver<Command>,
    sockets: BTreeMap<i32, Active>,
    /// Waiting for the endpoint of a socket that is being closed.
    parked: Vec<Opening>,
    closers: Vec<(Which, SyncSender<()>)>,
    intake: bool,
    ending: Option<Ending>,
    notice: RoomNotice,
    batch: Vec<Envelope>,
}

impl BusThread {
    pub(super) fn new(
        shared: Arc<BusShared>,
        transport: Box<dyn Transport>,
        commands: Receiver<Command>,
    ) -> Self {
        let notice: RoomNotice = {
            let shared = Arc::clone(&shared);
            Arc::new(move || shared.waker.wake())
        };
        Self {
            shared,
            transport,
            commands,
            sockets: BTreeMap::new(),
            parked: Vec::new(),
            closers: Vec::new(),
            intake: true,
            ending: None,
            notice,
            batch: Vec::with_capacity(BATCH),
        }
    }

    /// Runs until it is told to shut down.
    pub(super) fn run(mut self) {
        let (mut interests, mut ready) = (Vec::new(), Vec::new());
        let shared = Arc::clone(&self.shared);
        loop {
            shared.waker.reset();
            self.obey();
            let more = self.flush();
            self.close_finished(Instant::now());
            if self.ending.as_ref().is_some_and(|end| self.may_end(end, Instant::now())) {
                return self.end();
            }
            interests.clear();
            interests.extend(self.sockets.values().map(|socket| self.interest(socket)));
            let timeout = if more { Some(Duration::ZERO) } else { self.next_deadline() };
            self.transport.wait(&interests, shared.waker.fd(), timeout, &mut ready);
            // Before the messages: a connection is known of before what came over it.
            self.note_events();
            for Interest { id, read, write } in &ready {
                if let Some(socket) = self.sockets.get_mut(&id.0) {
                    socket.blocked &= !write;
                    if *read {
                        receive(socket, self.transport.as_mut(), &mut self.batch, &self.notice);
                    }
                }
            }
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Open(opening) => self.open(opening),
                Command::Close { which, done } => self.close(which, done),
                Command::Subscribe { id, add, remove } => self.subscribe(id, &add, &remove),
                Command::StopIntake => self.intake = false,
                Command::Shutdown { deadline, done } => self.begin_end(deadline, done),
            }
        }
    }

    fn open(&mut self, opening: Opening) {
        let record = &opening.record;
        let clash = self.sockets.values().find(|other| {
            let (mine, theirs) = (&record.plan, &other.record.plan);
            mine.bind && theirs.bind && clashes(&mine.endpoint, &theirs.endpoint)
        });
        if self.ending.is_some() {
            return self.refuse(opening, BusError::new("the host is closing"));
        }
        if let Some(other) = clash {
            if !matches!(other.phase, Phase::Open) {
                return self.parked.push(opening);
            }
            let (other, endpoint) = (&other.record, other.record.endpoint());
            let error = BusError::new(format!(
                "{} ({}) has bound {endpoint} already",
                other.service, other.key
            ));
            return self.refuse(
                opening,
                error.hint("give one of the two another port or path, or let one of them connect"),
            );
        }
        match self.try_open(record) {
            Err(error) => self.refuse(opening, error),
            Ok(endpoint) => self.admit(opening, endpoint),
        }
    }

    fn try_open(&mut self, record: &SocketRecord) -> Result<String, BusError> {
        if let Some(path) = record.plan.endpoint.ipc_path().filter(|_| record.plan.bind) {
            ipc::prepare(path)?;
        }
        self.transport.open(record.id, &record.plan).map_err(|error| refusal(&error, &record.plan))
    }

    fn admit(&mut self, opening: Opening, endpoint: String) {
        let Opening { record, lane, mailbox, reply } = opening;
        if record.plan.bind && !record.plan.endpoint.is_loopback() {
            tracing::info!(service = record.service, key = record.key, %endpoint, "bound beyond this machine: whoever reaches the port can talk to it");
        } else {
            let bind = record.plan.bind;
            tracing::debug!(service = record.service, key = record.key, %endpoint, bind, "socket open");
        }
        let _ = record.endpoint.set(endpoint);
        self.shared.register(&record);
        let (id, role) = (record.id, record.plan.role);
        if matches!(role, SocketRole::Subscriber | SocketRole::Pull) {
            mailbox.open_lane(id, lane);
        }
        let socket = Active {
            record,
            kind: lane.kind,
            mailbox,
            phase: Phase::Open,
            collected: VecDeque::new(),
            blocked: false,
            bad_frames: RateLimit::new(),
            drops: RateLimit::new(),
            peers: RateLimit::new(),
        };
        self.sockets.insert(id.0, socket);
        if reply.try_send(Ok(())).is_err() {
            // Nobody waits for it any more, so nobody would ever close it.
            self.drop_socket(id.0, Duration::ZERO);
        }
    }

    fn refuse(&self, opening: Opening, error: BusError) {
        let record = &opening.record;
        let verb = if record.plan.bind { "bind" } else { "connect to" };
        let error = error.within(format_args!(
            "cannot {verb} {} for {} ({})",
            record.plan.endpoint, record.service, record.key
        ));
        let _ = opening.reply.try_send(Err(error));
    }

    fn subscribe(&mut self, id: SocketId, add: &[String], remove: &[String]) {
        // First the new ones: a prefix of both is never without its subscription.
        let changes = add.iter().map(|topic| (topic, true));
        for (topic, wanted) in changes.chain(remove.iter().map(|topic| (topic, false))) {
            if let Err(reason) = self.transport.subscribe(id, topic, wanted) {
                tracing::warn!(
                    socket = id.0,
                    topic,
                    wanted,
                    reason,
                    "cannot change a subscription"
                );
            }
        }
    }

    fn close(&mut self, which: Which, done: SyncSender<()>) {
        let now = Instant::now();
        for socket in self.sockets.values_mut().filter(|socket| which.means(&socket.record)) {
            socket.begin_close(now + socket.linger());
        }
        let (cancelled, parked) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|opening| which.means(&opening.record));
        self.parked = parked;
        let cancelled: Vec<Opening> = cancelled;
        for opening in cancelled {
            self.refuse(opening, BusError::new("the service was closed meanwhile"));
        }
        self.closers.push((which, done));
    }

    fn begin_end(&mut self, deadline: Instant, done: SyncSender<Result<(), BusError>>) {
        let now = Instant::now();
        // Half of the time for what waits here, the rest for what the transport still holds.
        let flush_until = now + deadline.saturating_duration_since(now) / 2;
        self.intake = false;
        for socket in self.sockets.values_mut() {
            socket.begin_close((now + socket.linger()).min(flush_until));
        }
        for opening in std::mem::take(&mut self.parked) {
            self.refuse(opening, BusError::new("the host is closing"));
        }
        self.ending = Some(Ending { flush_until, deadline, done });
    }

    /// Sends what the outboxes hold; answers whether there is more to send at once.
    fn flush(&mut self) -> bool {
        let mut more = false;
        for socket in self.sockets.values_mut() {
            more |= socket.flush(self.transport.as_mut());
        }
        more
    }

    /// Takes sockets further on their way out, and opens what waited for their endpoints.
    fn close_finished(&mut self, now: Instant) {
        let mut finished = Vec::new();
        for (id, socket) in &mut self.sockets {
            if let Phase::Flushing(until) = socket.phase
                && (socket.record.outbox.figures().depth == 0 || now >= until)
            {
                socket.phase = Phase::Releasing(now + RELEASE_TIMEOUT);
                if self.transport.release(socket.record.id) {
                    socket.phase = Phase::Releasing(now);
                }
            }
            if matches!(socket.phase, Phase::Releasing(until) if now >= until) {
                finished.push((*id, socket.linger()));
            }
        }
        let freed = !finished.is_empty();
        for (id, linger) in finished {
            self.drop_socket(id, linger);
        }
        if freed {
            for opening in std::mem::take(&mut self.parked) {
                self.open(opening);
            }
        }
        let sockets = &self.sockets;
        self.closers.retain(|(which, done)| {
            let open = sockets
                .values()
                .any(|socket| which.means(&socket.record) && !matches!(socket.phase, Phase::Open));
            if !open {
                let _ = done.try_send(());
            }
            open
        });
    }

    fn drop_socket(&mut self, id: i32, linger: Duration) {
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        let record = &socket.record;
        record.outbox.close();
        record.outbox.collect(&mut VecDeque::new());
        let unsent = record.outbox.figures().depth;
        socket.collected.clear();
        if unsent > 0 {
            add(&record.counters.dropped_at_close, unsent as u64);
            tracing::warn!(
                service = record.service,
                key = record.key,
                unsent,
                "messages were not sent before the socket was closed"
            );
        }
        self.transport.close(record.id, linger);
        socket.mailbox.close_lane(record.id);
        self.shared.forget(record.id);
    }

    fn may_end(&self, end: &Ending, now: Instant) -> bool {
        let empty = |socket: &Active| socket.record.outbox.figures().depth == 0;
        now >= end.flush_until || self.sockets.values().all(empty)
    }

    fn end(mut self) {
        let Some(end) = self.ending.take() else { return };
        let left = end.deadline.saturating_duration_since(Instant::now());
        for id in self.sockets.keys().copied().collect::<Vec<_>>() {
            let linger = self.sockets.get(&id).map_or(left, Active::linger).min(left);
            self.drop_socket(id, linger);
        }
        for (_, done) in self.closers.drain(..) {
            let _ = done.try_send(());
        }
        self.transport.terminate();
        let _ = end.done.try_send(Ok(()));
    }

    fn interest(&self, socket: &Active) -> Interest {
        let receives = matches!(socket.record.plan.role, SocketRole::Subscriber | SocketRole::Pull);
        let open = self.intake && matches!(socket.phase, Phase::Open);
        let read = receives && open && socket.room(&self.notice).is_some();
        Interest { id: socket.record.id, read, write: socket.blocked }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let sockets = self.sockets.values().filter_map(|socket| match socket.phase {
            Phase::Open => None,
            Phase::Flushing(until) | Phase::Releasing(until) => Some(until),
        });
        let next = sockets.chain(self.ending.as_ref().map(|end| end.flush_until)).min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    fn note_events(&mut self) {
        let sockets = &mut self.sockets;
        self.transport.events(&mut |id, event| {
            if let Some(socket) = sockets.get_mut(&id.0) {
                socket.note(event);
            }
        });
        for socket in self.sockets.values() {
            let connections = self.transport.connections(socket.record.id);
            socket.record.counters.connections.store(connections, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
