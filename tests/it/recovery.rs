//! Traffic resumes by itself, whoever comes first, whoever binds, and whoever was killed.

use std::time::Instant;

use serde_json::json;

use crate::harness::host::Host;
use crate::harness::project::Project;
use crate::harness::python::{self, Peer};
use crate::harness::{DEADLINE, free_port, say};

/// A host with a socket of each kind, and where their other ends are.
struct Meeting {
    host_binds: bool,
    ports: [u16; 4],
}

impl Meeting {
    fn new(host_binds: bool) -> Self {
        Self { host_binds, ports: [(); 4].map(|()| free_port()) }
    }

    fn project(&self) -> Project {
        // The peer's order is PUB, SUB, PUSH, PULL; the host has the other end of each.
        let kinds = ["subscriber", "publisher", "pull", "push"];
        let sections = kinds.iter().zip(self.ports).map(|(kind, port)| {
            let topics = if *kind == "subscriber" { "topics = [\"number\"]\n" } else { "" };
            format!(
                "[zmq.{kind}]\naddress = \"tcp://127.0.0.1\"\nport = {port}\nbind = {}\n{topics}",
                self.host_binds
            )
        });
        Project::new().service("relay", "fixture-relay", sections.collect::<String>())
    }

    fn start_host(&self) -> Host {
        let host = self.project().start();
        host.wait_until_running("relay");
        host
    }

    fn start_peer(&self) -> Peer {
        let ports = self.ports.map(|port| port.to_string());
        let way = if self.host_binds { "connect" } else { "bind" };
        let mut arguments = vec![way];
        arguments.extend(ports.iter().map(String::as_str));
        let mut peer = Peer::start("quartet.py", &arguments);
        assert_eq!(peer.next(), json!({"ready": true}));
        peer
    }

    /// Waits until numbers come back both ways, and says how long that took.
    fn resumes(&self, when: &str, peer: &mut Peer, since: Instant) {
        let mut ways = [peer.next(), peer.next()].map(|line| line["back"].to_string());
        ways.sort();
        assert_eq!(ways, ["\"echo\"", "\"result\""]);
        let (took, who) = (since.elapsed(), if self.host_binds { "host" } else { "peer" });
        say(&format!("the {who} binds, {when}: both ways after {} ms", took.as_millis()));
        assert!(took < DEADLINE, "{took:?}");
    }
}

fn killed(mut host: Host) -> Host {
    host.kill();
    host
}

fn whoever_comes_first(host_binds: bool) {
    let meeting = Meeting::new(host_binds);

    let host = meeting.start_host();
    let mut peer = meeting.start_peer();
    meeting.resumes("the peer comes later", &mut peer, Instant::now());
    drop(peer);
    let mut peer = meeting.start_peer();
    meeting.resumes("the peer was killed and is back", &mut peer, Instant::now());

    let host = killed(host).restart();
    host.wait_until_running("relay");
    peer.tell("again");
    meeting.resumes("the host was killed and is back", &mut peer, Instant::now());
    drop((host, peer));

    let meeting = Meeting::new(host_binds);
    let mut peer = meeting.start_peer();
    let mut host = meeting.start_host();
    meeting.resumes("the peer was there before", &mut peer, Instant::now());
    assert_eq!(host.stop().0, Some(0));
}

#[test]
fn traffic_resumes_where_the_host_binds() {
    if python::is_there("traffic_resumes_where_the_host_binds") {
        whoever_comes_first(true);
    }
}

#[test]
fn traffic_resumes_where_the_peer_binds() {
    if python::is_there("traffic_resumes_where_the_peer_binds") {
        whoever_comes_first(false);
    }
}
