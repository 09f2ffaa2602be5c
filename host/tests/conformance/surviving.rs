//! Ends and new beginnings, on either side.

use exphost::bus::transport::TransportKind;
use plugin_api::abi::SendOutcome;
use plugin_api::zmq::SocketRole;

use crate::bus_on;
use crate::common::{LIMIT, LOCAL, free_port, mailbox, open, port_of, spec, stats_of, until};
use crate::moving::{Pair, ROLES, other};
use crate::peers::{Peer, opposite};

pub(crate) fn the_binding_peer_restarts(kind: TransportKind) {
    for role in ROLES {
        let bus = bus_on(kind);
        let (handle, mailbox, port) = (bus.handle(), mailbox(), free_port());
        let socket = open(&handle, "core", spec(role, false, port), &mailbox);
        let pair = Pair { handle: &handle, socket, role, mailbox: &mailbox };
        for _ in 0..3 {
            let endpoint = format!("{LOCAL}:{port}");
            let mut peer = Peer::open(other(kind), opposite(role), true, &endpoint);
            pair.resume(&mut peer);
            peer.close();
        }
        let stats = stats_of(&handle, socket);
        assert!(stats.connected >= 3 && stats.lost >= 2, "{role:?}: {stats:?}");
        bus.shutdown(LIMIT).expect("closed");
    }
}

pub(crate) fn the_connecting_peer_restarts(kind: TransportKind) {
    for role in ROLES {
        let bus = bus_on(kind);
        let (handle, mailbox) = (bus.handle(), mailbox());
        let socket = open(&handle, "core", spec(role, true, 0), &mailbox);
        let endpoint = format!("{LOCAL}:{}", port_of(&handle, socket));
        let pair = Pair { handle: &handle, socket, role, mailbox: &mailbox };
        for _ in 0..3 {
            let mut peer = Peer::open(other(kind), opposite(role), false, &endpoint);
            pair.resume(&mut peer);
            peer.close();
        }
        bus.shutdown(LIMIT).expect("closed");
    }
}

pub(crate) fn what_was_sent_before_closing_still_arrives(kind: TransportKind) {
    let bus = bus_on(kind);
    let (handle, nobody) = (bus.handle(), mailbox());
    for role in [SocketRole::Push, SocketRole::Publisher] {
        for bind in [true, false] {
            let peer_binds = !bind;
            let port = free_port();
            let endpoint = format!("{LOCAL}:{port}");
            let early =
                peer_binds.then(|| Peer::open(other(kind), opposite(role), true, &endpoint));
            let socket = open(&handle, "core", spec(role, bind, port), &nobody);
            let mut peer =
                early.unwrap_or_else(|| Peer::open(other(kind), opposite(role), false, &endpoint));
            Pair { handle: &handle, socket, role, mailbox: &nobody }.sync(&mut peer);
            let payload = "x".repeat(10_000);
            for _ in 0..300 {
                assert_eq!(handle.send(socket, "t", payload.as_bytes()), SendOutcome::Queued);
            }
            handle.close_service("core");
            for number in 0..300 {
                let frame = peer.receive_within(LIMIT);
                let frame = frame.unwrap_or_else(|| panic!("{role:?} {bind}: {number} came"));
                assert!(frame.ends_with(payload.as_bytes()));
            }
            peer.close();
        }
    }
    bus.shutdown(LIMIT).expect("closed");
}

pub(crate) fn an_endpoint_can_be_bound_again_as_soon_as_its_service_is_closed(kind: TransportKind) {
    let bus = bus_on(kind);
    let (handle, directory) = (bus.handle(), tempfile::tempdir().expect("a directory"));
    let (port, nobody) = (free_port(), mailbox());
    let mut over_ipc = spec(SocketRole::Pull, true, port);
    over_ipc.address = format!("ipc://{}/x.sock", directory.path().display());
    for _ in 0..20 {
        let socket = open(&handle, "core", spec(SocketRole::Publisher, true, port), &nobody);
        assert_eq!(handle.send(socket, "a", b"{}"), SendOutcome::Queued);
        open(&handle, "core", over_ipc.clone(), &nobody);
        handle.close_service("core");
    }
    assert!(handle.close_service_within("core", LIMIT));
    assert!(handle.stats().is_empty());
    bus.shutdown(LIMIT).expect("closed");
}

pub(crate) fn a_hundred_sockets_leave_nothing_behind(kind: TransportKind) {
    let bus = bus_on(kind);
    let handle = bus.handle();
    let round = |role| {
        let mailbox = mailbox();
        let socket = open(&handle, "core", spec(role, true, 0), &mailbox);
        let endpoint = format!("{LOCAL}:{}", port_of(&handle, socket));
        let mut peer = Peer::open(TransportKind::Libzmq, opposite(role), false, &endpoint);
        Pair { handle: &handle, socket, role, mailbox: &mailbox }.sync(&mut peer);
        assert!(handle.close_service_within("core", LIMIT));
        peer.close();
    };
    ROLES.into_iter().for_each(round);
    let before = descriptors();
    ROLES.into_iter().cycle().take(100).for_each(round);
    // The last of them may still be on its way out.
    until("the descriptors are closed again", || descriptors() < before + 20);
    bus.shutdown(LIMIT).expect("closed");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}
