//! The ZeroMQ endpoints that services will bind or connect, known before any socket is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plugin_api::constants::{BIND_ADDRESS, CONNECT_ADDRESS, DEFAULT_PORTS};
use plugin_api::zmq::{SocketRole, option_name, overlap};
use serde_json::Value;

use super::origin::{Origin, Origins, Part, Position};
use super::path::KeyPath;
use crate::problem::Problem;

/// One socket of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The service.
    pub service: String,
    /// The configuration key of the socket: `zmq.publisher`.
    pub key: String,
    /// What the socket does.
    pub role: SocketRole,
    /// The endpoint as ZeroMQ writes it: `tcp://*:5555`.
    pub endpoint: String,
    /// Whether it binds.
    pub bind: bool,
    /// The file that says so, if one does.
    pub file: Option<PathBuf>,
    /// Where in the file.
    pub position: Option<Position>,
}

/// The sockets of services whose configurations are given with their origins, and what is wrong
/// with their addresses: two that bind one endpoint and cannot share it, and ports written twice.
#[must_use]
pub fn endpoints<'c>(
    configurations: impl IntoIterator<Item = (&'c Value, &'c Origins)>,
) -> (Vec<Endpoint>, Vec<Problem>) {
    let mut sockets = Vec::new();
    let mut problems = Vec::new();
    for (value, origins) in configurations {
        for section in sections(value) {
            collect(value, origins, &section, &mut sockets, &mut problems);
        }
    }
    for (position, socket) in sockets.iter().enumerate() {
        let earlier = sockets.iter().take(position).find(|earlier| clash(earlier, socket));
        problems.extend(earlier.map(|earlier| two_binds(socket, earlier)));
    }
    (sockets.into_iter().map(|socket| socket.endpoint).collect(), problems)
}

/// Warnings of sockets that connect to this machine where no service of the project binds.
#[must_use]
pub fn unbound(endpoints: &[Endpoint]) -> Vec<Problem> {
    let is_local = |endpoint: &str| {
        let local = ["tcp://localhost:", "tcp://127.", "tcp://[::1]:", "ipc://", "inproc://"];
        local.iter().any(|prefix| endpoint.starts_with(prefix))
    };
    let lonely = endpoints.iter().filter(|it| {
        let binds = |other: &&Endpoint| other.bind && overlap(&other.endpoint, &it.endpoint);
        !it.bind && is_local(&it.endpoint) && !endpoints.iter().any(|other| binds(&other))
    });
    let warning = |it: &Endpoint| {
        let problem = Problem::warning(format!(
            "`{}` connects to {}, which no service of this project binds",
            it.service, it.endpoint
        ));
        let problem = problem.key(&it.key).hint(
            "this is as it should be if another program binds it, such as a Python service; else \
             compare address and port with those of the service that it is to hear",
        );
        match (&it.file, &it.position) {
            (Some(file), Some(at)) => problem.in_file(file).at(at.line, at.column),
            _ => Problem { key: Some(format!("{}.{}", it.service, it.key)), ..problem },
        }
    };
    lonely.map(warning).collect()
}

/// An endpoint on its way, with what is needed to speak of it.
struct Socket<'c> {
    endpoint: Endpoint,
    origins: &'c Origins,
    /// The key that decides where it is.
    path: KeyPath,
    /// Its `socket_options`, each by the one name that all its spellings stand for.
    options: BTreeMap<String, Value>,
}

/// A part of a configuration that is a socket.
struct Section {
    path: KeyPath,
    role: SocketRole,
    /// Whether it binds when it does not say so.
    binds: bool,
    /// The port of one that names none, even of one that is not written at all.
    port: Option<u16>,
}

fn sections(value: &Value) -> Vec<Section> {
    use SocketRole::{Publisher, Pull, Push, Subscriber};
    let own =
        [("publisher", Publisher), ("subscriber", Subscriber), ("push", Push), ("pull", Pull)];
    let of_table = |table: &KeyPath| {
        own.map(|(key, role)| {
            let binds = matches!(role, Publisher | Pull);
            Section { path: table.key(key), role, binds, port: None }
        })
    };
    let zmq = KeyPath::of_keys(["zmq"]);
    let mut sections = Vec::from(of_table(&zmq));
    // A service with several of them gives each a name of its own; what has these keys is a socket.
    let is_socket = |section: &Section| {
        let written = section.path.find(value);
        written.is_some_and(|it| it["address"].is_string() && it["bind"].is_boolean())
    };
    let others = value.as_object().into_iter().flatten().filter(|(key, _)| *key != "zmq");
    for (key, _) in others {
        sections.extend(of_table(&KeyPath::of_keys([key])).into_iter().filter(is_socket));
    }
    let workers = zmq.key("workers");
    // The entries of a table by name have no defaults that the layers would bring in.
    let ends =
        [("push", Push, DEFAULT_PORTS.image_requests), ("pull", Pull, DEFAULT_PORTS.image_results)];
    for (name, _) in workers.find(value).and_then(Value::as_object).into_iter().flatten() {
        sections.extend(ends.map(|(end, role, port)| {
            let path = workers.key(name).key(end);
            Section { path, role, binds: true, port: Some(port) }
        }));
    }
    sections
}

fn collect<'c>(
    value: &Value,
    origins: &'c Origins,
    section: &Section,
    sockets: &mut Vec<Socket<'c>>,
    problems: &mut Vec<Problem>,
) {
    let Section { path, role, binds, port: usual_port } = section;
    let written = path.find(value).filter(|written| written.is_object());
    if written.is_none() && usual_port.is_none() {
        return;
    }
    let get = |key| written.and_then(|written| written.get(key));
    let bind = get("bind").and_then(Value::as_bool).unwrap_or(*binds);
    let usual = if bind { BIND_ADDRESS } else { CONNECT_ADDRESS };
    let address = get("address").and_then(Value::as_str).unwrap_or(usual);
    let (endpoint, decides) = if let Some(host) = address.strip_prefix("tcp://") {
        if has_port(host) {
            let problem = Problem::error(format!("the address `{address}` has a port in it"));
            let problem = problem.hint("write the port as `port = …` and the address without it");
            problems.push(origins.place(problem, &path.key("address"), Part::Value));
            return;
        }
        let port = get("port").and_then(Value::as_u64).or(usual_port.map(u64::from));
        let Some(port) = port else { return };
        (format!("{address}:{port}"), "port")
    } else {
        (address.to_owned(), "address")
    };
    let path = path.key(decides);
    let (file, position) = match origins.nearest(&path) {
        Origin::File { path, value, .. } => (Some(path.to_path_buf()), Some(*value)),
        _ => (None, None),
    };
    let key = path.parent().unwrap_or_default().to_string();
    let service = origins.service().to_owned();
    let endpoint = Endpoint { service, key, role: *role, endpoint, bind, file, position };
    sockets.push(Socket {
        endpoint,
        origins,
        path,
        options: written.map(options_of).unwrap_or_default(),
    });
}

fn options_of(section: &Value) -> BTreeMap<String, Value> {
    let options = section.get("socket_options").and_then(Value::as_object);
    options.into_iter().flatten().map(|(name, value)| (option_name(name), value.clone())).collect()
}

fn has_port(host: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    let after_address = host.rsplit(']').next().unwrap_or(host);
    after_address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Publishers of one host share an endpoint, if they want the same of it.
fn share(a: &Endpoint, b: &Endpoint) -> bool {
    let publishers = [a, b].iter().all(|endpoint| endpoint.role == SocketRole::Publisher);
    let place = |endpoint: &str| match endpoint.strip_prefix("tcp://0.0.0.0:") {
        Some(port) => format!("tcp://*:{port}"),
        None => endpoint.replace("tcp://localhost:", "tcp://127.0.0.1:"),
    };
    publishers && place(&a.endpoint) == place(&b.endpoint)
}

fn clash(a: &Socket<'_>, b: &Socket<'_>) -> bool {
    let same_options = a.options == b.options;
    let (a, b) = (&a.endpoint, &b.endpoint);
    if !a.bind || !b.bind || (share(a, b) && same_options) {
        return false;
    }
    overlap(&a.endpoint, &b.endpoint)
}

fn two_binds(socket: &Socket<'_>, earlier: &Socket<'_>) -> Problem {
    let (this, other) = (&socket.endpoint, &earlier.endpoint);
    let place = match (&other.file, &other.position) {
        (Some(file), Some(at)) => format!("{}:{}:{}", file.display(), at.line, at.column),
        _ => match earlier.origins.nearest(&earlier.path) {
            Origin::Default => "by default".to_owned(),
            source => format!("from {source}"),
        },
    };
    let same = if other.endpoint == this.endpoint {
        String::new()
    } else {
        format!("as {} ", other.endpoint)
    };
    let shares = share(this, other);
    let how = if shares { " with other socket_options" } else { "" };
    let problem = Problem::error(format!(
        "`{}` binds {}, which `{}` ({}, {place}) {same}binds already{how}",
        this.service, this.endpoint, other.service, other.key,
    ));
    let fix = if shares {
        "publishers that share an endpoint share one ZeroMQ socket: write the same socket_options in both"
    } else if this.endpoint.starts_with("tcp://") {
        "give one of them another port, or let one connect with `bind = false`"
    } else {
        "give one of them another address, or let one connect with `bind = false`"
    };
    socket.origins.place(problem.hint(fix), &socket.path, Part::Value)
}
