//! Who is connected, by what the crate's monitor tells.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zeromq::util::PeerIdentity;
use zeromq::{Endpoint, SocketEvent};

use super::shared::Signals;
use crate::bus::transport::PeerEvent;
use crate::message::SocketId;

pub(super) struct Peers {
    id: SocketId,
    /// The socket's own endpoint, which stands for a peer without an address.
    endpoint: String,
    known: HashMap<PeerIdentity, String>,
    count: Arc<AtomicUsize>,
    signals: Arc<Signals>,
}

impl Peers {
    pub(super) fn new(
        id: SocketId,
        endpoint: String,
        count: Arc<AtomicUsize>,
        signals: Arc<Signals>,
    ) -> Self {
        Self { id, endpoint, known: HashMap::new(), count, signals }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes an event down; answers whether a connection ended.
    pub(super) fn note(&mut self, event: SocketEvent) -> bool {
        match event {
            SocketEvent::Connected(from, peer) | SocketEvent::Accepted(from, peer) => {
                let name = match from {
                    Endpoint::Ipc(_) => self.endpoint.clone(),
                    tcp => tcp.to_string(),
                };
                self.known.insert(peer, name.clone());
                self.tell(PeerEvent::Connected { peer: name });
                false
            }
            SocketEvent::Disconnected(peer) => {
                // PUB tells it twice: once when it cannot write, once when it cannot read.
                if let Some(peer) = self.known.remove(&peer) {
                    self.tell(PeerEvent::Lost { peer });
                }
                true
            }
            SocketEvent::AcceptFailed(error) => {
                self.refuse(error.to_string());
                false
            }
            _ => false,
        }
    }

    /// Tells that somebody, or something that somebody sent, was turned away.
    pub(super) fn refuse(&self, reason: String) {
        self.tell(PeerEvent::Refused { peer: self.endpoint.clone(), reason });
    }

    /// There is nobody any more.
    pub(super) fn clear(&mut self) {
        for (_, peer) in std::mem::take(&mut self.known) {
            self.tell(PeerEvent::Lost { peer });
        }
    }

    fn tell(&self, event: PeerEvent) {
        self.count.store(self.known.len(), Ordering::Relaxed);
        self.signals.tell(self.id, event);
    }
}
