//! Endpoints, checked and normalised before ZeroMQ sees them, without input or output.
//!
//! ZeroMQ wraps a port beyond 65535 silently, cannot bind `localhost` and takes over a living ipc
//! path; what it would get wrong is refused here, with the reason.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use plugin_api::zmq::SocketSpec;

use super::error::BusError;

/// `sun_path` of Linux is 108 bytes with its terminator.
const IPC_PATH_MAX: usize = 107;
/// What libzmq allows for the name of an inproc endpoint.
const INPROC_NAME_MAX: usize = 256 - "inproc://".len();
/// Ports below are reserved for the system.
const PORT_MIN: u16 = 1024;

/// The host part of a tcp endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `*`: every interface.
    Any,
    /// An address.
    Ip(IpAddr),
    /// A host name, or the name of an interface.
    Name(String),
}

/// An endpoint that ZeroMQ understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp://host:port`.
    Tcp {
        /// Where.
        host: Host,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// `ipc:///path`; a path that starts with `@` is in the abstract namespace, not in the file system.
    Ipc(PathBuf),
    /// `inproc://name`: within this process.
    Inproc(String),
}

impl Endpoint {
    /// The endpoint of a socket as its configuration names it.
    ///
    /// # Errors
    /// With what is wrong and what to write instead; the caller adds whose endpoint it is.
    pub fn of(spec: &SocketSpec, allow_port_zero: bool) -> Result<Self, BusError> {
        let address = spec.address.as_str();
        let Some((scheme, rest)) = address.split_once("://") else {
            return Err(BusError::new(format!("address {address:?} has no scheme"))
                .hint("write tcp://*, tcp://localhost, tcp://10.0.0.5, ipc:///run/name.sock or inproc://name"));
        };
        if rest.is_empty() || rest.contains(|c: char| c.is_control() || c == '\0') {
            return Err(BusError::new(format!(
                "address {address:?} names nothing usable after {scheme}://"
            )));
        }
        match scheme {
            "tcp" => tcp(spec, rest, allow_port_zero),
            "ipc" => ipc(rest),
            "inproc" if rest.len() > INPROC_NAME_MAX => Err(BusError::new(format!(
                "the inproc name has {} bytes, at most {INPROC_NAME_MAX} are possible",
                rest.len()
            ))),
            "inproc" => Ok(Self::Inproc(rest.to_owned())),
            _ => {
                let error =
                    BusError::new(format!("unknown scheme {scheme}:// in address {address:?}"));
                Err(error.hint("the schemes are tcp://, ipc:// and inproc://"))
            }
        }
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp { host: Host::Ip(ip), .. } => ip.is_loopback(),
            Self::Tcp { host: Host::Name(name), .. } => name == "localhost" || name == "lo",
            Self::Tcp { host: Host::Any, .. } => false,
            Self::Ipc(_) | Self::Inproc(_) => true,
        }
    }

    /// Whether it needs IPv6 switched on. It is off otherwise: with it, libzmq would look up names
    /// as IPv6 first and miss a peer that bound IPv4 only.
    #[must_use]
    pub fn needs_ipv6(&self) -> bool {
        matches!(self, Self::Tcp { host: Host::Ip(IpAddr::V6(_)), .. })
    }

    /// The path of an ipc endpoint in the file system.
    #[must_use]
    pub fn ipc_path(&self) -> Option<&Path> {
        match self {
            Self::Ipc(path) if !path.as_os_str().as_encoded_bytes().starts_with(b"@") => Some(path),
            _ => None,
        }
    }

    /// The tcp port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } => Some(*port),
            _ => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host: Host::Any, port } => write!(f, "tcp://*:{port}"),
            Self::Tcp { host: Host::Ip(IpAddr::V6(ip)), port } => write!(f, "tcp://[{ip}]:{port}"),
            Self::Tcp { host: Host::Ip(ip), port } => write!(f, "tcp://{ip}:{port}"),
            Self::Tcp { host: Host::Name(name), port } => write!(f, "tcp://{name}:{port}"),
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Inproc(name) => write!(f, "inproc://{name}"),
        }
    }
}

/// Whether two binds cannot stand side by side: `tcp://*:5555` and `tcp://127.0.0.1:5555`, say.
#[must_use]
pub fn clashes(a: &Endpoint, b: &Endpoint) -> bool {
    match (a, b) {
        (Endpoint::Tcp { host: a, port: port_a }, Endpoint::Tcp { host: b, port: port_b }) => {
            port_a == port_b && *port_a != 0 && (is_any(a) || is_any(b) || same_host(a, b))
        }
        _ => a == b,
    }
}

fn is_any(host: &Host) -> bool {
    match host {
        Host::Any => true,
        Host::Ip(ip) => ip.is_unspecified(),
        Host::Name(_) => false,
    }
}

fn same_host(a: &Host, b: &Host) -> bool {
    let address = |host: &Host| match host {
        Host::Ip(IpAddr::V6(ip)) => Some(ip.to_canonical()),
        Host::Ip(ip) => Some(*ip),
        Host::Name(name) if name == "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        _ => None,
    };
    a == b || address(a).is_some_and(|ip| address(b) == Some(ip))
}

fn tcp(spec: &SocketSpec, host: &str, allow_port_zero: bool) -> Result<Endpoint, BusError> {
    let port = spec.port;
    if port < PORT_MIN && !(port == 0 && spec.bind && allow_port_zero) {
        return Err(BusError::new(format!("port {port} is outside {PORT_MIN}..=65535"))
            .hint("set `port` to a free port in that range"));
    }
    let host = parse_host(host, &spec.address)?;
    let host = match host {
        Host::Any if !spec.bind => {
            return Err(BusError::new(format!("{} cannot be connected to", spec.address))
                .hint("name the peer: tcp://localhost on this machine, or its address"));
        }
        // libzmq looks for an interface called "localhost" when it binds, and finds none.
        Host::Name(name) if spec.bind && name == "localhost" => {
            Host::Ip(Ipv4Addr::LOCALHOST.into())
        }
        other => other,
    };
    Ok(Endpoint::Tcp { host, port })
}

fn parse_host(host: &str, address: &str) -> Result<Host, BusError> {
    if host == "*" {
        return Ok(Host::Any);
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().map(|ip| Host::Ip(ip.into())).map_err(|_| {
            BusError::new(format!("{inner:?} in address {address:?} is not an IPv6 address"))
        });
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(BusError::new(format!(
            "the IPv6 address in {address:?} stands without brackets"
        ))
        .hint(format!("write tcp://[{host}]")));
    }
    if let Some((before, port)) = host.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(BusError::new(format!("address {address:?} contains a port"))
            .hint(format!("write address = \"tcp://{before}\" and port = {port}")));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // A name of digits and dots alone is a mistyped address; a look-up would only delay the news.
    let is_number = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if host.len() > 253 || is_number || !host.chars().all(is_name) {
        return Err(BusError::new(format!(
            "{host:?} in address {address:?} is neither a host name nor an address"
        )));
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

fn ipc(path: &str) -> Result<Endpoint, BusError> {
    if path == "*" || path.ends_with('/') || path == "@" {
        return Err(BusError::new(format!("ipc://{path} names no file"))
            .hint("name a file, like ipc:///run/exphost/events.sock"));
    }
    if path.len() > IPC_PATH_MAX {
        let error = BusError::new(format!(
            "the ipc path has {} bytes, the system allows {IPC_PATH_MAX}: {path}",
            path.len()
        ));
        return Err(error.hint("use a shorter directory, like /run/exphost"));
    }
    Ok(Endpoint::Ipc(PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use plugin_api::zmq::SocketRole;

    use super::*;

    fn spec(address: &str, port: u16, bind: bool) -> SocketSpec {
        SocketSpec::new(SocketRole::Publisher, "zmq.publisher", address, port, bind)
    }

    fn bind(address: &str, port: u16) -> Endpoint {
        Endpoint::of(&spec(address, port, true), true).expect(address)
    }

    fn refused(address: &str, port: u16, bind: bool) -> BusError {
        match Endpoint::of(&spec(address, port, bind), false) {
            Ok(endpoint) => panic!("{address}:{port} was taken as {endpoint}"),
            Err(error) => error,
        }
    }

    #[test]
    fn it_writes_what_zeromq_reads() {
        for (address, binds, expected) in [
            ("tcp://*", true, "tcp://*:5555"),
            ("tcp://localhost", true, "tcp://127.0.0.1:5555"),
            ("tcp://localhost", false, "tcp://localhost:5555"),
            ("tcp://10.0.0.5", false, "tcp://10.0.0.5:5555"),
            ("tcp://[::1]", true, "tcp://[::1]:5555"),
            ("tcp://Stage-2.local", false, "tcp://stage-2.local:5555"),
            ("ipc:///run/x.sock", true, "ipc:///run/x.sock"),
            ("ipc://@abstract", true, "ipc://@abstract"),
            ("inproc://a/b", true, "inproc://a/b"),
        ] {
            let endpoint = Endpoint::of(&spec(address, 5555, binds), false).expect(address);
            assert_eq!(endpoint.to_string(), expected);
        }
    }

    #[test]
    fn what_zeromq_would_get_wrong_is_refused() {
        for (address, port, binds, part) in [
            ("tcp://*", 80, true, "port 80 is outside 1024..=65535"),
            ("tcp://*", 0, true, "port 0 is outside"),
            ("tcp://*", 5555, false, "cannot be connected to"),
            ("tcp://10.0.0.5:5555", 5555, false, "contains a port"),
            ("tcp://10.0.0.555", 5555, false, "neither a host name nor an address"),
            ("tcp://::1", 5555, true, "without brackets"),
            ("tcp://[::x]", 5555, true, "not an IPv6 address"),
            ("tcp://a b", 5555, false, "neither"),
            ("tcp://a;b", 5555, false, "neither"),
            ("udp://*", 5555, true, "unknown scheme udp://"),
            ("localhost", 5555, false, "has no scheme"),
            ("tcp://", 5555, false, "names nothing"),
            ("ipc://\0", 5555, true, "names nothing"),
            ("ipc://*", 5555, true, "names no file"),
            ("ipc:///tmp/", 5555, true, "names no file"),
        ] {
            let error = refused(address, port, binds);
            assert!(error.message.contains(part), "{address}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
        let long = format!("ipc:///{}", "x".repeat(107));
        assert!(refused(&long, 5555, true).message.contains("has 108 bytes"));
        assert_eq!(bind(&format!("ipc:///{}", "x".repeat(106)), 0).port(), None);
        assert!(refused(&format!("inproc://{}", "x".repeat(300)), 0, true).message.contains("300"));
    }

    #[test]
    fn port_zero_is_for_tests_that_bind() {
        assert_eq!(bind("tcp://127.0.0.1", 0).port(), Some(0));
        assert!(Endpoint::of(&spec("tcp://127.0.0.1", 0, false), true).is_err());
    }

    #[test]
    fn a_hint_can_be_copied() {
        let hint = refused("tcp://10.0.0.5:7000", 5555, false).hint.expect("a hint");
        assert_eq!(hint, "write address = \"tcp://10.0.0.5\" and port = 7000");
    }

    #[test]
    fn loopback_is_what_only_this_machine_reaches() {
        for (address, expected) in [
            ("tcp://*", false),
            ("tcp://0.0.0.0", false),
            ("tcp://10.0.0.5", false),
            ("tcp://eth0", false),
            ("tcp://127.0.0.1", true),
            ("tcp://127.0.0.9", true),
            ("tcp://localhost", true),
            ("tcp://[::1]", true),
            ("ipc:///run/x.sock", true),
            ("inproc://x", true),
        ] {
            assert_eq!(bind(address, 5555).is_loopback(), expected, "{address}");
        }
    }

    #[test]
    fn binds_clash_when_one_covers_the_other() {
        let clash = |a: (&str, u16), b: (&str, u16)| {
            let (a, b) = (bind(a.0, a.1), bind(b.0, b.1));
            assert_eq!(clashes(&a, &b), clashes(&b, &a), "{a} {b}");
            clashes(&a, &b)
        };
        assert!(clash(("tcp://*", 5555), ("tcp://127.0.0.1", 5555)));
        assert!(clash(("tcp://0.0.0.0", 5555), ("tcp://10.0.0.5", 5555)));
        assert!(clash(("tcp://localhost", 5555), ("tcp://127.0.0.1", 5555)));
        assert!(clash(("tcp://[::ffff:10.0.0.5]", 5555), ("tcp://10.0.0.5", 5555)));
        assert!(!clash(("tcp://10.0.0.5", 5555), ("tcp://127.0.0.1", 5555)));
        assert!(!clash(("tcp://*", 5555), ("tcp://*", 5556)));
        assert!(!clash(("tcp://*", 0), ("tcp://*", 0)));
        assert!(clash(("ipc:///a", 1), ("ipc:///a", 2)));
        assert!(!clash(("ipc:///a", 1), ("inproc:///a", 1)));
    }
}
