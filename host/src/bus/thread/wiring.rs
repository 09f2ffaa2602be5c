//! Which sockets have a wire, and which are joined within the host.
//!
//! A publisher and a subscriber of one host that meet (`meeting.rs`) are joined: the one that
//! connects has no wire as long as the one that binds is there, and the publisher's own thread puts
//! its messages into the subscriber's mailbox. Every change ends in [`BusThread::settle`], which looks
//! at all sockets anew. Publishers that bind one endpoint share one wire.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use plugin_api::zmq::SocketRole;

use super::{BusThread, Opening};
use crate::bus::active::{Active, Phase, Wire, receive};
use crate::bus::endpoint::{Endpoint, clashes};
use crate::bus::error::BusError;
use crate::bus::meeting::{Place, meet, opened_at, same_place};
use crate::bus::numbers::Seen;
use crate::bus::options::SocketOption;
use crate::bus::routes::Route;
use crate::bus::stats::{RateLimit, SocketRecord};
use crate::bus::transport::SocketPlan;
use crate::bus::{ipc, refusal};
use crate::message::SocketId;

/// After how long a wire is tried again that could not be opened when it was needed again.
const REWIRE_AFTER: Duration = Duration::from_secs(1);
/// Most batches that a subscriber takes off a wire before it is closed. What a peer that has gone
/// has left is less than that.
const DRAIN_BATCHES: usize = 100;

/// What stands at the endpoint that a socket wants to bind.
enum Ground {
    Free,
    /// Somebody is about to go.
    Parting,
    /// A publisher, whose wire can be shared.
    Shared(i32),
}

impl BusThread {
    pub(super) fn open(&mut self, opening: Opening) {
        if self.ending.is_some() {
            return self.refuse(opening, BusError::new("the host is closing"));
        }
        let record = Arc::clone(&opening.record);
        let place = place_of(&record.plan);
        match self.ground(&record, &place) {
            Err(error) => self.refuse(opening, error),
            Ok(Ground::Parting) => self.parked.push(opening),
            Ok(Ground::Shared(wire)) => {
                let endpoint = self.wires.get_mut(&wire).map(|wire| {
                    wire.users.push(record.id.0);
                    wire.endpoint.clone()
                });
                self.admit(opening, place, Some(wire), endpoint);
            }
            Ok(Ground::Free) if !self.wants_wire(&record.plan, &place) => {
                self.admit(opening, place, None, None);
            }
            Ok(Ground::Free) => {
                self.make_way(&record.plan, &place);
                match self.plug(record.id, &record.plan, record.id) {
                    Ok(endpoint) => self.admit(opening, place, Some(record.id.0), Some(endpoint)),
                    Err(error) => {
                        self.refuse(opening, error);
                        self.settle();
                    }
                }
            }
        }
    }

    fn ground(&self, record: &SocketRecord, place: &Place) -> Result<Ground, BusError> {
        let mut ground = Ground::Free;
        let clashing = self.sockets.values().filter(|other| {
            place.bind && other.place.bind && clashes(&place.endpoint, &other.place.endpoint)
        });
        for other in clashing {
            let is_open = matches!(other.phase, Phase::Open);
            let publishers = [record, &*other.record]
                .iter()
                .all(|record| record.plan.role == SocketRole::Publisher);
            let shareable = publishers && same_place(place, &other.place);
            let same_options = same_options(&record.plan, &other.record.plan);
            let wire = other.wire.filter(|wire| {
                shareable && same_options && self.wires.get(wire).is_some_and(|it| !it.releasing)
            });
            match wire {
                Some(wire) => {
                    if !matches!(ground, Ground::Parting) {
                        ground = Ground::Shared(wire);
                    }
                }
                None if !is_open => ground = Ground::Parting,
                None if shareable && same_options => {}
                None => return Err(taken(&other.record, shareable)),
            }
        }
        Ok(ground)
    }

    /// A publisher that connects to where a subscriber is about to be bound has no wire from then
    /// on. It goes first, so that what it carried cannot arrive behind what is delivered here.
    fn make_way(&mut self, plan: &SocketPlan, place: &Place) {
        if plan.role != SocketRole::Subscriber || !plan.bind {
            return;
        }
        let meets = |other: &&Active| {
            other.record.plan.role == SocketRole::Publisher
                && matches!(other.phase, Phase::Open)
                && meet(&other.place, place)
        };
        let connecting: Vec<_> =
            self.sockets.values().filter(meets).map(|socket| socket.record.id.0).collect();
        for id in connecting {
            self.unwire(id);
        }
    }

    fn admit(
        &mut self,
        opening: Opening,
        mut place: Place,
        wire: Option<i32>,
        endpoint: Option<String>,
    ) {
        let Opening { record, lane, reply } = opening;
        let endpoint = endpoint.unwrap_or_else(|| record.plan.endpoint.to_string());
        place.endpoint = opened_at(&place.endpoint, &endpoint);
        if record.plan.bind && !record.plan.endpoint.is_loopback() {
            tracing::info!(service = record.service, key = record.key, %endpoint, "bound beyond this machine: whoever reaches the port can talk to it");
        } else {
            let bind = record.plan.bind;
            tracing::debug!(service = record.service, key = record.key, %endpoint, bind, "socket open");
        }
        let _ = record.endpoint.set(endpoint);
        let (id, role) = (record.id, record.plan.role);
        if matches!(role, SocketRole::Subscriber | SocketRole::Pull) {
            record.mailbox.open_lane(id, lane);
        }
        record.publishing.set_wired(wire.is_some());
        let socket = Active {
            kind: lane.kind,
            phase: Phase::Open,
            place,
            topics: record.plan.topics.clone(),
            wire,
            collected: VecDeque::new(),
            seen: Seen::default(),
            peers: RateLimit::default(),
            record: Arc::clone(&record),
        };
        self.sockets.insert(id.0, socket);
        // Joined before anybody can send by it: its subscribers have left ZeroMQ by its first message.
        self.settle();
        self.shared.register(&record);
        if reply.try_send(Ok(())).is_err() {
            // Nobody waits for it any more, so nobody would ever close it.
            self.drop_socket(id.0, Duration::ZERO);
            self.settle();
        }
    }

    pub(super) fn refuse(&self, opening: Opening, error: BusError) {
        let record = &opening.record;
        let verb = if record.plan.bind { "bind" } else { "connect to" };
        let error = error.within(format_args!(
            "cannot {verb} {} for {} ({})",
            record.plan.endpoint, record.service, record.key
        ));
        let _ = opening.reply.try_send(Err(error));
    }

    pub(super) fn subscribe(&mut self, id: SocketId, add: &[String], remove: &[String]) {
        let Some(socket) = self.sockets.get_mut(&id.0) else { return };
        socket.topics.retain(|topic| !remove.contains(topic));
        socket.topics.extend_from_slice(add);
        socket.seen.forget();
        // First the new ones: a prefix of both is never without its subscription.
        let changes = add.iter().map(|topic| (topic, true));
        let changes = changes.chain(remove.iter().map(|topic| (topic, false)));
        for (wire, (topic, wanted)) in socket.wire.into_iter().cycle().zip(changes) {
            if let Err(reason) = self.transport.subscribe(SocketId(wire), topic, wanted) {
                tracing::warn!(
                    socket = id.0,
                    topic,
                    wanted,
                    reason,
                    "cannot change a subscription"
                );
            }
        }
        self.settle();
    }

    /// Gives each socket the wire it needs, or takes it away, and tells each publisher its routes.
    pub(super) fn settle(&mut self) {
        let open = |socket: &&Active| socket.is_broadcast() && matches!(socket.phase, Phase::Open);
        let open = self.sockets.values().filter(open).filter(|_| self.ending.is_none());
        for id in open.map(|socket| socket.record.id.0).collect::<Vec<_>>() {
            let Some(socket) = self.sockets.get(&id) else { continue };
            let wants = self.wants_wire(&socket.record.plan, &socket.place);
            match (wants, socket.wire) {
                (true, None) => self.rewire(id),
                (false, Some(_)) => self.unwire(id),
                _ => {}
            }
        }
        self.join();
    }

    /// Tells each publisher who of this host listens.
    fn join(&self) {
        for socket in self.sockets.values().filter(|socket| socket.is_broadcast()) {
            let joined: Vec<&Active> = self
                .sockets
                .values()
                .filter(|other| self.are_joined(socket, other) && self.intake)
                .collect();
            socket.record.counters.joined.store(joined.len(), Ordering::Relaxed);
            if socket.record.plan.role == SocketRole::Publisher {
                let route = |subscriber: &Active| Route {
                    subscriber: Arc::clone(&subscriber.record),
                    kind: subscriber.kind,
                    topics: subscriber.topics.clone(),
                };
                let routes = joined.into_iter().map(route).collect();
                socket.record.publishing.set_routes(routes);
            }
        }
    }

    fn are_joined(&self, a: &Active, b: &Active) -> bool {
        let open = |socket: &Active| matches!(socket.phase, Phase::Open);
        // Who connects and still has a wire is heard by it.
        let connecting = if a.place.bind { b } else { a };
        let is_pair = a.is_broadcast() && are_pair(a.record.plan.role, b.record.plan.role);
        is_pair && open(a) && open(b) && connecting.wire.is_none() && meet(&a.place, &b.place)
    }

    /// Whether a socket needs the transport. One that connects does not while the one that it would
    /// connect to is of this host, even if that is about to go: it would hear again by the wire
    /// what it was given already.
    fn wants_wire(&self, plan: &SocketPlan, place: &Place) -> bool {
        if !matches!(plan.role, SocketRole::Publisher | SocketRole::Subscriber) {
            return true;
        }
        if matches!(plan.endpoint, Endpoint::Inproc(_)) {
            return false;
        }
        let meets = |other: &Active| {
            are_pair(plan.role, other.record.plan.role) && meet(place, &other.place)
        };
        plan.bind || !self.sockets.values().any(meets)
    }

    /// Opens a wire.
    fn plug(
        &mut self,
        wire: SocketId,
        plan: &SocketPlan,
        user: SocketId,
    ) -> Result<String, BusError> {
        if let Some(path) = plan.endpoint.ipc_path().filter(|_| plan.bind) {
            ipc::prepare(path)?;
        }
        let opened = self.transport.open(wire, plan);
        let endpoint = opened.map_err(|error| refusal(&error, plan))?;
        let (users, at) = (vec![user.0], endpoint.clone());
        let wired = Wire { id: wire, users, blocked: false, releasing: false, endpoint };
        self.wires.insert(wire.0, wired);
        Ok(at)
    }

    /// Takes a socket off its wire, and closes that when nobody else uses it.
    pub(super) fn unplug(&mut self, socket: &mut Active, linger: Duration) {
        let Some(number) = socket.wire.take() else { return };
        let Some(wire) = self.wires.get_mut(&number) else { return };
        wire.users.retain(|user| *user != socket.record.id.0);
        if wire.users.is_empty() {
            self.wires.remove(&number);
            self.transport.close(SocketId(number), linger);
        }
    }

    /// The one that it was joined with is gone; another process may take the place over.
    fn rewire(&mut self, id: i32) {
        let Some(socket) = self.sockets.get(&id) else { return };
        let record = Arc::clone(&socket.record);
        let plan = SocketPlan { topics: socket.topics.clone(), ..record.plan.clone() };
        // A new number: the transport may still be busy with the end of the former wire.
        let wire = SocketId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        match self.plug(wire, &plan, record.id) {
            Ok(_) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.wire = Some(wire.0);
                }
                record.publishing.set_wired(true);
            }
            Err(error) => {
                tracing::warn!(service = record.service, key = record.key, %error, "cannot connect; trying again");
                self.rewire_at = Some(Instant::now() + REWIRE_AFTER);
            }
        }
    }

    /// The one that it would connect to is of this host: from now on it needs no wire.
    fn unwire(&mut self, id: i32) {
        let Some(mut socket) = self.sockets.remove(&id) else { return };
        let mut linger = Duration::ZERO;
        if let Some(wire) = socket.wire.and_then(|wire| self.wires.get_mut(&wire)) {
            if socket.record.plan.role == SocketRole::Publisher {
                // Whoever sends from now on does not use the outbox, so this is the last of it.
                socket.record.publishing.set_wired(false);
                while socket.flush(wire, self.transport.as_mut()) {}
                if self.transport.connections(wire.id) > 0 {
                    linger = socket.linger();
                }
            } else if self.intake {
                for _ in 0..DRAIN_BATCHES {
                    let (wire, transport) = (wire.id, self.transport.as_mut());
                    if receive(&mut socket, wire, transport, &mut self.batch, &self.notice) == 0 {
                        break;
                    }
                }
            }
        }
        socket.drop_unsent();
        self.unplug(&mut socket, linger);
        self.sockets.insert(id, socket);
    }
}

fn place_of(plan: &SocketPlan) -> Place {
    let ipv6 = plan.option(SocketOption::Ipv6) == Some(1);
    Place { endpoint: plan.endpoint.clone(), bind: plan.bind, ipv6 }
}

fn are_pair(a: SocketRole, b: SocketRole) -> bool {
    matches!(
        (a, b),
        (SocketRole::Publisher, SocketRole::Subscriber)
            | (SocketRole::Subscriber, SocketRole::Publisher)
    )
}

fn same_options(a: &SocketPlan, b: &SocketPlan) -> bool {
    let within = |a: &SocketPlan, b: &SocketPlan| {
        a.options.iter().all(|(option, value)| b.option(*option) == Some(*value))
    };
    within(a, b) && within(b, a)
}

/// Why an endpoint cannot be had that another socket of this host has bound.
fn taken(other: &SocketRecord, shareable: bool) -> BusError {
    let (service, key, endpoint) = (&other.service, &other.key, other.endpoint());
    if shareable {
        let error = BusError::new(format!(
            "{service} ({key}) has bound {endpoint} already, with other socket_options"
        ));
        return error.hint("publishers that share an endpoint share one ZeroMQ socket: give both the same socket_options");
    }
    let error = BusError::new(format!("{service} ({key}) has bound {endpoint} already"));
    error.hint("give one of the two another port or path, or let one of them connect")
}

#[cfg(test)]
mod tests;
