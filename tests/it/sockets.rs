//! Configurations of test services, and their `zmq` tables.
//!
//! The peers' `zeromq` 0.7 takes the PING of a heartbeat for an error and disconnects, so heartbeats
//! are off here: the first would come after five seconds.

const OPTIONS: &str = "socket_options = { HEARTBEAT_IVL = 0 }\n";

/// A publisher that the host binds on this machine.
pub(crate) fn publisher(port: u16) -> String {
    format!("[zmq.publisher]\naddress = \"tcp://127.0.0.1\"\nport = {port}\n{OPTIONS}")
}

/// A subscriber that connects to a publisher of the test's.
pub(crate) fn subscriber(port: u16, topics: &[&str]) -> String {
    format!(
        "[zmq.subscriber]\naddress = \"tcp://127.0.0.1\"\nport = {port}\ntopics = {topics:?}\n{OPTIONS}"
    )
}

/// A heartbeat that beats ten times a second.
pub(crate) fn heartbeat(events: u16, commands: Option<u16>) -> String {
    let commands = commands.map(|port| subscriber(port, &["heartbeat", "commands"]));
    // The defaults would make it listen on a port of a real installation.
    let commands = commands.unwrap_or_else(|| subscriber(events, &["commands"]));
    format!("work_interval = 0.1\n{}{commands}", publisher(events))
}

/// A `fixture-faults` that fails as told; `more` is the rest of its own keys, its sockets the last,
/// `directives` that of its table `[exphost]`.
pub(crate) fn faulty(fault: &str, place: &str, more: &str, directives: &str) -> String {
    let exphost = format!("[exphost]\nplugin = \"fixture-faults\"\n{directives}");
    format!("fault = \"{fault}\"\nplace = \"{place}\"\n{more}{exphost}")
}
