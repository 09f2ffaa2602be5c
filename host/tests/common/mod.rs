//! What the tests of the bus share.
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use exphost::bus::{Bus, BusConfig, BusHandle, SocketStats};
use exphost::message::{Envelope, SocketId};
use exphost::service::mailbox::{Mailbox, MailboxLimits};
use plugin_api::zmq::{SocketRole, SocketSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const LOCAL: &str = "tcp://127.0.0.1";

/// Without heartbeats: one of the two implementations takes a PING for an error.
pub(crate) fn config() -> BusConfig {
    BusConfig {
        allow_port_zero: true,
        zeromq_beyond_loopback: true,
        heartbeat: Duration::ZERO,
        reconnect: Duration::from_millis(10),
        ..BusConfig::default()
    }
}

pub(crate) fn bus() -> Bus {
    Bus::start(config()).expect("a bus")
}

pub(crate) fn spec(role: SocketRole, bind: bool, port: u16) -> SocketSpec {
    let key = match role {
        SocketRole::Publisher => "zmq.publisher",
        SocketRole::Subscriber => "zmq.subscriber",
        SocketRole::Push => "zmq.push",
        SocketRole::Pull => "zmq.pull",
    };
    let spec = SocketSpec::new(role, key, LOCAL, port, bind);
    SocketSpec { topics: vec![String::new()], ..spec }
}

pub(crate) fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(MailboxLimits::default()).expect("a mailbox"))
}

pub(crate) fn open(
    handle: &BusHandle,
    service: &str,
    spec: SocketSpec,
    mailbox: &Arc<Mailbox>,
) -> SocketId {
    handle.open(service, spec, Arc::clone(mailbox)).expect("open")
}

pub(crate) fn port_of(handle: &BusHandle, socket: SocketId) -> u16 {
    let endpoint = handle.endpoint_of(socket).expect("an endpoint");
    endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// A port that nobody listens on. It stays bound, without listening, for as long as the tests run:
/// whoever listens may bind it all the same, but the system gives it to no connection as its own
/// end, not even to one that tries to reach it.
pub(crate) fn free_port() -> u16 {
    static HELD: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    set_socket_reuseaddr(&socket, true).expect("set");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = SocketAddr::try_from(getsockname(&socket).expect("an address")).expect("of IP");
    HELD.lock().expect("a lock").push(socket);
    address.port()
}

pub(crate) fn wait_readable(mailbox: &Mailbox, limit: Duration) -> bool {
    let fd = mailbox.fd();
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("poll") == 1
}

/// Takes messages until `enough` says so.
pub(crate) fn receive_until(mailbox: &Mailbox, mut enough: impl FnMut(Envelope) -> bool) {
    let end = Instant::now() + LIMIT;
    let mut done = false;
    while !done {
        let ready = wait_readable(mailbox, end.saturating_duration_since(Instant::now()));
        assert!(ready, "nothing arrived: {:?}", mailbox.stats());
        loop {
            let mut empty = true;
            mailbox.take(256, &mut |envelope| {
                empty = false;
                done |= enough(envelope);
            });
            if empty {
                break;
            }
        }
    }
}

pub(crate) fn payload(envelope: &Envelope) -> &str {
    std::str::from_utf8(&envelope.bytes[envelope.payload_start..]).expect("UTF-8")
}

pub(crate) fn topic(envelope: &Envelope) -> &str {
    std::str::from_utf8(&envelope.bytes[..envelope.topic_len]).expect("UTF-8")
}

pub(crate) fn stats_of(handle: &BusHandle, socket: SocketId) -> SocketStats {
    handle.stats().into_iter().find(|stats| stats.id == socket.0).expect("an open socket")
}

/// Looks again and again until something holds that nobody tells of.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    let tick = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    while !holds() {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        poll(&mut [], Some(&tick)).expect("poll");
    }
}
