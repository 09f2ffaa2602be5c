//! Whether two endpoints of one host are the same place, so that what is published at one of them
//! need not go through ZeroMQ to get to the other.
//!
//! It answers no whenever it cannot be told (an address of an interface, a name): both sockets then
//! simply use ZeroMQ, which is right as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::endpoint::{Endpoint, Host};

/// One side of a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where, with the port that a bound socket really has.
    pub(super) endpoint: Endpoint,
    pub(super) bind: bool,
    /// Whether the socket speaks IPv6 too, as the option `IPV6` says.
    pub(super) ipv6: bool,
}

/// Whether one of the two binds where the other connects to.
pub(super) fn meet(a: &Place, b: &Place) -> bool {
    match (a.bind, b.bind) {
        (true, false) => reaches(b, a),
        (false, true) => reaches(a, b),
        _ => false,
    }
}

/// Whether two sockets of one kind that bind could be the same: `*` is `0.0.0.0`.
pub(super) fn same_place(a: &Place, b: &Place) -> bool {
    let plain = |place: &Place| match &place.endpoint {
        Endpoint::Tcp { host: Host::Any, port } => {
            Endpoint::Tcp { host: Host::Ip(any(place.ipv6)), port: *port }
        }
        other => other.clone(),
    };
    plain(a) == plain(b) && a.endpoint.port() != Some(0)
}

/// The endpoint as the transport opened it: with the port that the system chose, if it did.
pub(super) fn opened_at(planned: &Endpoint, opened: &str) -> Endpoint {
    let port = opened.rsplit(':').next().and_then(|port| port.parse().ok());
    match (planned, port) {
        (Endpoint::Tcp { host, port: 0 }, Some(port)) => Endpoint::Tcp { host: host.clone(), port },
        _ => planned.clone(),
    }
}

fn any(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn reaches(connecting: &Place, bound: &Place) -> bool {
    match (&connecting.endpoint, &bound.endpoint) {
        (Endpoint::Tcp { host: to, port }, Endpoint::Tcp { host: at, port: bound_port }) => {
            let Some(to) = address(to, connecting.ipv6) else { return false };
            let at = match at {
                Host::Any => Some(any(bound.ipv6)),
                other => address(other, false),
            };
            port == bound_port && *port != 0 && at.is_some_and(|at| covers(at, to))
        }
        (to, at) => to == at,
    }
}

/// What a host part stands for, if that can be told without asking the system.
fn address(host: &Host, ipv6: bool) -> Option<IpAddr> {
    match host {
        Host::Ip(IpAddr::V6(ip)) => Some(ip.to_canonical()),
        Host::Ip(ip) => Some(*ip),
        // A socket that speaks IPv6 may look it up as either.
        Host::Name(name) if name == "localhost" && !ipv6 => Some(Ipv4Addr::LOCALHOST.into()),
        Host::Name(_) | Host::Any => None,
    }
}

/// Whether somebody who listens at `at` hears who connects to `to`. Every interface includes the
/// loopback for sure; whether another address is this machine's, only the system knows. `[::]`
/// takes IPv4 too, as libzmq opens it.
fn covers(at: IpAddr, to: IpAddr) -> bool {
    let family = at.is_ipv6() || to.is_ipv4();
    at == to || (at.is_unspecified() && to.is_loopback() && family)
}

#[cfg(test)]
mod tests {
    use plugin_api::zmq::{SocketRole, SocketSpec};

    use super::*;

    fn place(address: &str, port: u16, bind: bool) -> Place {
        let spec = SocketSpec::new(SocketRole::Publisher, "zmq.publisher", address, port, bind);
        let endpoint = Endpoint::of(&spec, true).expect(address);
        let ipv6 = endpoint.needs_ipv6();
        Place { endpoint, bind, ipv6 }
    }

    #[test]
    fn who_connects_to_a_bound_place_meets_it() {
        for (bound, connecting, expected) in [
            ("tcp://*", "tcp://localhost", true),
            ("tcp://*", "tcp://127.0.0.1", true),
            ("tcp://*", "tcp://127.0.0.9", true),
            ("tcp://0.0.0.0", "tcp://localhost", true),
            ("tcp://localhost", "tcp://127.0.0.1", true),
            ("tcp://127.0.0.1", "tcp://localhost", true),
            ("tcp://127.0.0.1", "tcp://127.0.0.9", false),
            ("tcp://[::]", "tcp://[::1]", true),
            ("tcp://[::]", "tcp://localhost", true),
            ("tcp://[::1]", "tcp://[::1]", true),
            ("tcp://[::1]", "tcp://localhost", false),
            ("tcp://*", "tcp://[::1]", false),
            ("tcp://127.0.0.1", "tcp://[::ffff:127.0.0.1]", true),
            ("tcp://10.0.0.5", "tcp://10.0.0.5", true),
            ("tcp://10.0.0.5", "tcp://localhost", false),
            // It may be an address of this machine or not; ZeroMQ finds out.
            ("tcp://*", "tcp://10.0.0.5", false),
            ("tcp://eth0", "tcp://10.0.0.5", false),
            ("tcp://eth0", "tcp://eth0", false),
            ("ipc:///run/x.sock", "ipc:///run/x.sock", true),
            ("ipc:///run/x.sock", "ipc:///run/y.sock", false),
            ("inproc://x", "inproc://x", true),
            ("inproc://x", "ipc://x", false),
        ] {
            let (bound, connecting) = (place(bound, 5555, true), place(connecting, 5555, false));
            assert_eq!(meet(&bound, &connecting), expected, "{bound:?} {connecting:?}");
            assert_eq!(meet(&connecting, &bound), expected, "either may be the first");
        }
    }

    #[test]
    fn two_of_one_kind_do_not_meet_nor_do_two_ports() {
        let bound = |port| place("tcp://*", port, true);
        let connecting = |port| place("tcp://localhost", port, false);
        assert!(!meet(&bound(5555), &bound(5555)));
        assert!(!meet(&connecting(5555), &connecting(5555)));
        assert!(!meet(&bound(5555), &connecting(5556)));
    }

    #[test]
    fn ipv6_on_every_interface_is_for_who_says_so() {
        let mut bound = place("tcp://*", 5555, true);
        bound.ipv6 = true;
        assert!(meet(&bound, &place("tcp://[::1]", 5555, false)));
        assert!(meet(&bound, &place("tcp://localhost", 5555, false)));
        let mut either = place("tcp://localhost", 5555, false);
        either.ipv6 = true;
        assert!(!meet(&bound, &either), "it may be looked up as either");
    }

    #[test]
    fn the_same_place_by_another_name() {
        let same = |a: &str, b: &str| same_place(&place(a, 5555, true), &place(b, 5555, true));
        assert!(same("tcp://*", "tcp://0.0.0.0"));
        assert!(same("tcp://localhost", "tcp://127.0.0.1"));
        assert!(!same("tcp://*", "tcp://127.0.0.1"));
        assert!(!same("tcp://*", "tcp://[::]"));
        assert!(!same_place(&place("tcp://*", 0, true), &place("tcp://*", 0, true)));
    }

    #[test]
    fn the_port_is_the_one_the_system_chose() {
        let planned = place("tcp://127.0.0.1", 0, true).endpoint;
        assert_eq!(opened_at(&planned, "tcp://127.0.0.1:40001").port(), Some(40001));
        let ipc = place("ipc:///run/x:1", 0, true).endpoint;
        assert_eq!(opened_at(&ipc, "ipc:///run/x:1"), ipc);
    }
}
