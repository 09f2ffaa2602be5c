//! The sockets of a service, which outlive its instances: the next one that asks for the same
//! socket is given the one that is open, so that no peer notices and nothing that arrives between
//! the two is lost.
//!
//! An instance claims sockets by asking for them. When it gives way to a successor, all claims end;
//! what the successor has not claimed by the time it is settled is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugin_api::zmq::{SocketRole, SocketSpec};

use super::mailbox::Mailbox;
use crate::bus::{BusError, BusHandle};
use crate::message::SocketId;

/// An open socket.
#[derive(Debug)]
struct Held {
    spec: SocketSpec,
    id: SocketId,
    claimed: bool,
}

/// What becomes of a request for a socket.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// One of the same kind is open, with these subscriptions.
    Open(SocketId, Vec<String>),
    /// None is, and these are in its way.
    Nothing(Vec<SocketId>),
}

/// The sockets of one service.
pub struct Sockets {
    held: Mutex<Vec<Held>>,
    bus: BusHandle,
}

impl Sockets {
    pub(super) fn new(bus: BusHandle) -> Self {
        Self { held: Mutex::default(), bus }
    }

    /// A socket for the present instance.
    pub(super) fn open(
        &self,
        service: &str,
        spec: SocketSpec,
        mailbox: Arc<Mailbox>,
    ) -> Result<SocketId, BusError> {
        let found = claim(&mut self.held(), &spec);
        let in_the_way = match found {
            Found::Open(id, topics) => {
                if topics != spec.topics {
                    self.bus.resubscribe(id, &topics, &spec.topics);
                }
                return Ok(id);
            }
            Found::Nothing(in_the_way) => in_the_way,
        };
        // The bus waits for an endpoint that is being given up.
        self.bus.close_sockets(in_the_way);
        let id = self.bus.open(service, spec.clone(), mailbox)?;
        self.held().push(Held { spec, id, claimed: true });
        Ok(id)
    }

    /// Ends all claims: the present instance gives way to another.
    pub fn hand_over(&self) {
        self.held().iter_mut().for_each(|held| held.claimed = false);
    }

    /// Closes what the present instance has not asked for.
    pub fn close_unclaimed(&self) {
        let mut held = self.held();
        let unclaimed = held.extract_if(.., |held| !held.claimed).map(|held| held.id).collect();
        drop(held);
        self.bus.close_sockets(unclaimed);
    }

    /// Closes all of them: the service has ended.
    pub fn close_all(&self, service: &str) {
        self.held().clear();
        self.bus.close_service(service);
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        // No code of others runs under the lock, so a poisoned list is still whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Claims an open socket that does what `spec` says, or takes out what a new one would clash with.
fn claim(held: &mut Vec<Held>, spec: &SocketSpec) -> Found {
    let same = |held: &&mut Held| !held.claimed && serves(&held.spec, spec);
    if let Some(held) = held.iter_mut().find(same) {
        held.claimed = true;
        let topics = std::mem::replace(&mut held.spec.topics, spec.topics.clone());
        return Found::Open(held.id, topics);
    }
    let clashing = held.extract_if(.., |held| !held.claimed && replaces(spec, &held.spec));
    Found::Nothing(clashing.map(|held| held.id).collect())
}

/// Whether an open socket is what is asked for, but for the topics of a SUB, which can be changed.
fn serves(open: &SocketSpec, asked: &SocketSpec) -> bool {
    let topics = asked.role == SocketRole::Subscriber || open.topics == asked.topics;
    let SocketSpec { role, key, address, port, bind, topics: _, socket_options, .. } = asked;
    let queue = |spec: &SocketSpec| (spec.max_queue_size, spec.when_full, spec.numbered);
    topics
        && queue(open) == queue(asked)
        && (open.role, open.port, open.bind) == (*role, *port, *bind)
        && open.key == *key
        && open.address == *address
        && open.socket_options == *socket_options
}

/// Whether a new socket takes the place of an open one: it is the same part of the configuration,
/// from which two would bring each message twice, or it is bound where the open one is.
fn replaces(new: &SocketSpec, open: &SocketSpec) -> bool {
    let same_part = new.role == open.role && new.key == open.key;
    let same_place = new.port == open.port || new.address == open.address;
    same_part || (new.bind && open.bind && same_place)
}

#[cfg(test)]
mod tests {
    use plugin_api::zmq::{PublisherConfig, SubscriberConfig};

    use super::*;

    fn held(spec: SocketSpec, id: i32) -> Held {
        Held { spec, id: SocketId(id), claimed: false }
    }

    fn publisher(port: u16) -> SocketSpec {
        PublisherConfig { port, ..PublisherConfig::default() }.spec()
    }

    fn subscriber(topics: &[&str]) -> SocketSpec {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        SubscriberConfig { topics, ..SubscriberConfig::default() }.spec()
    }

    #[test]
    fn the_same_socket_is_claimed_once() {
        let mut all = vec![held(publisher(5555), 1)];
        assert_eq!(claim(&mut all, &publisher(5555)), Found::Open(SocketId(1), vec![]));
        assert_eq!(claim(&mut all, &publisher(5555)), Found::Nothing(vec![]));
        assert_eq!(all.len(), 1, "what is claimed is in nobody's way");
    }

    #[test]
    fn other_topics_are_no_reason_for_another_socket() {
        let mut all = vec![held(subscriber(&["a", "b"]), 1)];
        let before = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(claim(&mut all, &subscriber(&["b", "c"])), Found::Open(SocketId(1), before));
        assert_eq!(all[0].spec.topics, ["b", "c"]);
    }

    #[test]
    fn what_a_changed_socket_replaces_is_closed() {
        let mut all = vec![held(publisher(5555), 1), held(subscriber(&["a"]), 2)];
        assert_eq!(claim(&mut all, &publisher(5600)), Found::Nothing(vec![SocketId(1)]));
        let mut results = publisher(5600);
        results.key = "results".to_owned();
        all.push(held(results, 3));
        assert_eq!(claim(&mut all, &publisher(5600)), Found::Nothing(vec![SocketId(3)]));
        assert_eq!(all.len(), 1);
    }
}
