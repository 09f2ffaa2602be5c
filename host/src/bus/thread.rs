//! The bus thread: it owns the transport and every socket, and is the only one to touch them.
//!
//! One turn: commands, outboxes, closing sockets, then one wait for everything, then what came in.
//! Each step is bounded (`BATCH` messages a socket), so no socket starves another. Nothing a peer
//! sends can end the loop. Which sockets have a wire of the transport, and which are joined within
//! the host, is for `wiring.rs`.

mod wiring;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use plugin_api::zmq::SocketRole;

use super::BusShared;
use super::active::{Active, BATCH, Phase, Wire, receive};
use super::error::BusError;
use super::stats::SocketRecord;
use super::transport::{Interest, Transport};
use crate::message::{Envelope, SocketId};
use crate::service::mailbox::{LanePlan, RoomNotice};

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
    wires: BTreeMap<i32, Wire>,
    /// Waiting for the endpoint of a socket that is being closed.
    parked: Vec<Opening>,
    closers: Vec<(Which, SyncSender<()>)>,
    /// When a wire that could not be opened is tried again.
    rewire_at: Option<Instant>,
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
            wires: BTreeMap::new(),
            rewire_at: None,
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
            if self.rewire_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.settle();
            }
            if self.ending.as_ref().is_some_and(|end| self.may_end(end, Instant::now())) {
                return self.end();
            }
            interests.clear();
            interests.extend(self.wires.values().map(|wire| self.interest(wire)));
            let timeout = if more { Some(Duration::ZERO) } else { self.next_deadline() };
            self.transport.wait(&interests, shared.waker.fd(), timeout, &mut ready);
            // Before the messages: a connection is known of before what came over it.
            self.note_events();
            for interest in &ready {
                self.take_in(*interest);
            }
        }
    }

    fn take_in(&mut self, Interest { id, read, write }: Interest) {
        let Some(wire) = self.wires.get_mut(&id.0) else { return };
        wire.blocked &= !write;
        let user = wire.users.first().filter(|_| read);
        if let Some(socket) = user.and_then(|user| self.sockets.get_mut(user)) {
            receive(socket, id, self.transport.as_mut(), &mut self.batch, &self.notice);
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Open(opening) => self.open(opening),
                Command::Close { which, done } => self.close(which, done),
                Command::Subscribe { id, add, remove } => self.subscribe(id, &add, &remove),
                Command::StopIntake => {
                    self.intake = false;
                    self.settle();
                }
                Command::Shutdown { deadline, done } => self.begin_end(deadline, done),
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
        self.settle();
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
        self.settle();
    }

    /// Sends what the outboxes hold; answers whether there is more to send at once.
    fn flush(&mut self) -> bool {
        let mut more = false;
        for socket in self.sockets.values_mut() {
            if let Some(wire) = socket.wire.and_then(|wire| self.wires.get_mut(&wire)) {
                more |= socket.flush(wire, self.transport.as_mut());
            }
        }
        more
    }

    /// Takes sockets further on their way out, and opens what waited for their endpoints.
    fn close_finished(&mut self, now: Instant) {
        let mut finished = Vec::new();
        // At the end nobody waits for an endpoint, and no socket may send longer than that.
        let left = self.ending.as_ref().map(|end| end.deadline.saturating_duration_since(now));
        for (id, socket) in &mut self.sockets {
            if let Phase::Flushing(until) = socket.phase
                && (socket.record.outbox.figures().depth == 0 || now >= until)
            {
                let free = match socket.wire.and_then(|wire| self.wires.get_mut(&wire)) {
                    // Others go on with the wire; the last one gives the endpoint up.
                    Some(wire) if wire.users.len() > 1 => {
                        wire.users.retain(|user| user != id);
                        socket.wire = None;
                        true
                    }
                    Some(_) if left.is_some() => true,
                    Some(wire) => {
                        wire.releasing = true;
                        self.transport.release(wire.id)
                    }
                    None => true,
                };
                let wait = if free { Duration::ZERO } else { RELEASE_TIMEOUT };
                socket.phase = Phase::Releasing(now + wait);
            }
            if matches!(socket.phase, Phase::Releasing(until) if now >= until) {
                finished
                    .push((*id, left.map_or(socket.linger(), |left| left.min(socket.linger()))));
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
            self.settle();
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
        let record = Arc::clone(&socket.record);
        record.outbox.close();
        record.publishing.set_routes(Vec::new());
        socket.drop_unsent();
        self.unplug(&mut socket, linger);
        record.mailbox.close_lane(record.id);
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

    fn interest(&self, wire: &Wire) -> Interest {
        let user = wire.users.first().and_then(|user| self.sockets.get(user));
        let read = user.is_some_and(|socket| {
            let role = socket.record.plan.role;
            let receives = matches!(role, SocketRole::Subscriber | SocketRole::Pull);
            let open = self.intake && matches!(socket.phase, Phase::Open);
            receives && open && socket.room(&self.notice).is_some()
        });
        Interest { id: wire.id, read, write: wire.blocked }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let sockets = self.sockets.values().filter_map(|socket| match socket.phase {
            Phase::Open => None,
            Phase::Flushing(until) | Phase::Releasing(until) => Some(until),
        });
        let ending = self.ending.as_ref().map(|end| end.flush_until);
        let next = sockets.chain(ending).chain(self.rewire_at).min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    fn note_events(&mut self) {
        let (sockets, wires) = (&mut self.sockets, &self.wires);
        self.transport.events(&mut |id, event| {
            let users = wires.get(&id.0).map_or(&[][..], |wire| &wire.users);
            for (position, user) in users.iter().enumerate() {
                if let Some(socket) = sockets.get_mut(user) {
                    socket.note(&event, position == 0);
                }
            }
        });
        for socket in self.sockets.values() {
            let wire = socket.wire.map(SocketId);
            let connections = wire.map_or(0, |wire| self.transport.connections(wire));
            socket.record.counters.connections.store(connections, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
