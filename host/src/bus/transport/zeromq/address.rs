//! Addresses as the crate understands them, and listeners that are bound before it sees them: so
//! a bind that fails is known at once, and with its reason.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;

use zeromq::Listener;

use crate::bus::endpoint::{Endpoint, Host};
use crate::bus::transport::OpenError;

/// The usual length of the queue of connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A listener that nobody accepts from yet.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Ipc(UnixListener),
}

impl Listening {
    pub(super) fn into_listener(self) -> Listener {
        match self {
            Self::Tcp(listener) => listener.into(),
            Self::Ipc(listener) => listener.into(),
        }
    }
}

/// Binds an endpoint; answers also with what it is bound to, the real port included.
pub(super) fn listen(
    endpoint: &Endpoint,
    backlog: Option<i64>,
) -> Result<(Listening, String), OpenError> {
    let backlog = backlog.and_then(|it| i32::try_from(it).ok()).unwrap_or(BACKLOG);
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let listener =
                TcpListener::bind((ip_or_name(host).as_str(), *port)).map_err(refused)?;
            // Listening once more only changes the length of the queue.
            rustix::net::listen(&listener, backlog).map_err(|errno| refused(errno.into()))?;
            let address = listener.local_addr().map_err(refused)?;
            Ok((Listening::Tcp(listener), format!("tcp://{address}")))
        }
        Endpoint::Ipc(path) => {
            let listener = UnixListener::bind(path).map_err(refused)?;
            rustix::net::listen(&listener, backlog).map_err(|errno| refused(errno.into()))?;
            Ok((Listening::Ipc(listener), endpoint.to_string()))
        }
        Endpoint::Inproc(_) => Err(no_inproc()),
    }
}

/// What the crate is told to connect to.
pub(super) fn to_connect(endpoint: &Endpoint) -> Result<String, OpenError> {
    Ok(match endpoint {
        Endpoint::Tcp { host: Host::Ip(ip), port } if ip.is_ipv6() => {
            format!("tcp://[{ip}]:{port}")
        }
        Endpoint::Tcp { host, port } => format!("tcp://{}:{port}", ip_or_name(host)),
        Endpoint::Ipc(_) => endpoint.to_string(),
        Endpoint::Inproc(_) => return Err(no_inproc()),
    })
}

/// The bus has refused a PUSH or a PULL of it, and needs no wire for the others.
fn no_inproc() -> OpenError {
    OpenError::Other("zeromq has no inproc".to_owned())
}

/// The crate knows neither `*` nor the names of interfaces, and looks `localhost` up, which may
/// come out as an address that libzmq's peers do not listen on.
fn ip_or_name(host: &Host) -> String {
    match host {
        Host::Any => Ipv4Addr::UNSPECIFIED.to_string(),
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) if name == "localhost" || name == "lo" => Ipv4Addr::LOCALHOST.to_string(),
        Host::Name(name) => name.clone(),
    }
}

fn refused(error: io::Error) -> OpenError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::AddrInUse, _) => OpenError::InUse,
        (io::ErrorKind::AddrNotAvailable, _) => OpenError::NoSuchAddress,
        (io::ErrorKind::PermissionDenied, _) => OpenError::Denied,
        (_, Some(libc::EMFILE | libc::ENFILE)) => OpenError::Exhausted,
        _ => OpenError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: Host, port: u16) -> Endpoint {
        Endpoint::Tcp { host, port }
    }

    #[test]
    fn addresses_are_written_as_the_crate_reads_them() {
        let name = |name: &str| Host::Name(name.to_owned());
        let ip = |ip: &str| Host::Ip(ip.parse().expect("an address"));
        for (host, expected) in [
            (name("localhost"), "tcp://127.0.0.1:5555"),
            (name("lo"), "tcp://127.0.0.1:5555"),
            (name("camera.local"), "tcp://camera.local:5555"),
            (ip("10.0.0.5"), "tcp://10.0.0.5:5555"),
            (ip("::1"), "tcp://[::1]:5555"),
        ] {
            assert_eq!(to_connect(&tcp(host, 5555)), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_bind_that_fails_says_why() {
        let local = || Host::Ip(Ipv4Addr::LOCALHOST.into());
        let (first, endpoint) = listen(&tcp(local(), 0), None).expect("bound");
        let port = endpoint.rsplit(':').next().and_then(|it| it.parse().ok()).expect("a port");
        assert_eq!(listen(&tcp(local(), port), None).expect_err("taken"), OpenError::InUse);
        drop(first);
        listen(&tcp(local(), port), Some(1)).expect("free again");
        // TEST-NET-1: on no machine.
        let elsewhere = Host::Ip("192.0.2.1".parse().expect("an address"));
        let error = listen(&tcp(elsewhere, 0), None).expect_err("not here");
        assert_eq!(error, OpenError::NoSuchAddress);
    }
}
