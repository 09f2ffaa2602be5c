//! Who is measured: the host with services of `fixture-bench`, and peers that do the same without it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::Options;
use crate::harness::free_port;
use crate::harness::host::Host;
use crate::harness::project::Project;
use crate::harness::python::{self, Peer};
use crate::link::Link;
use crate::peer;
use crate::report::Row;
use crate::worker::Controller;

/// A name, and what is needed for a round of it.
pub(crate) struct Contender<T> {
    pub(crate) name: &'static str,
    pub(crate) end: T,
    process: Process,
}

/// What runs for a contender, until it is dropped.
pub(crate) enum Process {
    Host(Box<Host>),
    Raw(RawPeer),
    Python(Box<Peer>),
}

/// This very program as a peer. Killed when dropped.
pub(crate) struct RawPeer(Child);

impl RawPeer {
    fn start(arguments: &[String]) -> Self {
        let this = std::env::current_exe().expect("a running bench has a path");
        let mut peer = Command::new(this);
        peer.arg(peer::ARGUMENT).args(arguments).stdin(Stdio::null());
        Self(peer.spawn().expect("the bench can be started as a peer"))
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn id(&self) -> u32 {
        match self {
            Self::Host(host) => host.pid().as_raw_nonzero().get().unsigned_abs(),
            Self::Raw(peer) => peer.0.id(),
            Self::Python(peer) => peer.id(),
        }
    }

    /// Processor time that its threads have had, and those of its services' processes, in nanoseconds.
    fn cpu_ns(&self) -> u64 {
        let tasks =
            || fs::read_dir(format!("/proc/{}/task", self.id())).expect("it lives").flatten();
        // A thread may end between the two.
        let read = |task: fs::DirEntry, file: &str| {
            fs::read_to_string(task.path().join(file)).unwrap_or_default()
        };
        let children: String = tasks().map(|task| read(task, "children")).collect();
        let of_child = |pid: &str| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        let of_children = children.split_whitespace().flat_map(of_child).flatten();
        let of_task = |task: fs::DirEntry| -> u64 {
            read(task, "schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        tasks().chain(of_children).map(of_task).sum()
    }

    /// A raw peer, or one in Python.
    fn peer(library: &str, role: &str, ports: &[u16]) -> Self {
        let ports = ports.iter().map(u16::to_string);
        if library == "pyzmq" {
            let words: Vec<_> = std::iter::once(role.to_owned()).chain(ports).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            return Self::Python(Box::new(Peer::start("bench_peer.py", &words)));
        }
        let words = [library.to_owned(), role.to_owned()].into_iter().chain(ports);
        Self::Raw(RawPeer::start(&words.collect::<Vec<_>>()))
    }
}

/// The libraries that are measured beside the host, and are wanted and there.
fn libraries(options: &Options) -> Vec<&'static str> {
    let mut names = vec!["libzmq", "zeromq", "pyzmq"];
    names.retain(|name| options.wants(name));
    names.retain(|name| *name != "pyzmq" || python::is_there("the comparison with pyzmq"));
    names
}

/// The host on its other transport.
pub(crate) const ON_ZEROMQ: &str = "exphost-zeromq";
/// A host with services whose payloads are JSON text already, which they need not serialise.
pub(crate) const READY: &str = "exphost-ready";

/// A host with services in processes of their own.
pub(crate) const APART: &str = "exphost-process";

/// The host under its names: first as it usually is.
fn hosts(options: &Options, also: &[&'static str]) -> Vec<&'static str> {
    let names = std::iter::once("exphost").chain(also.iter().copied());
    names.filter(|name| options.wants(name)).collect()
}

/// A host on a project whose own file turns off what a bench does not want.
fn start(name: &str, project: Project, services: &[&str]) -> Process {
    let transport = if name == ON_ZEROMQ { "[bus]\ntransport = \"zeromq\"\n" } else { "" };
    let host = project.config("exphost", format!("[reload]\nwatch = false\n{transport}")).start();
    for service in services {
        host.wait_until_running(service);
    }
    Process::Host(Box::new(host))
}

/// Adds a service to the project of a host.
fn with_service(project: Project, name: &str, service: &str, toml: &str) -> Project {
    let isolation = if name == APART { "process" } else { "thread" };
    let directives =
        format!("[exphost]\nplugin = \"fixture-bench\"\nisolation = \"{isolation}\"\n");
    project.plugin("fixture-bench").config(service, format!("{toml}\n{directives}"))
}

/// One table of a socket in TOML. The high-water marks of ZeroMQ are out of the way, as they are in the
/// raw peers: a PUB of libzmq hears of what was read only when half of its mark was, and a millisecond
/// later at that, so that at four million messages a second one with a mark of 10,000 begins to drop
/// with 3,000 under way.
pub(crate) fn socket(table: &str, port: u16, bind: bool) -> String {
    format!(
        "[{table}]\naddress = \"tcp://127.0.0.1\"\nport = {port}\nbind = {bind}\n\
         socket_options = {{ SNDHWM = 100000, RCVHWM = 100000 }}\n"
    )
}

/// The topics of a subscriber that hears everything.
const EVERYTHING: &str = "topics = [\"*\"]\n";

/// Everybody with one service that hears the bench and publishes to so many subscribers. The host once
/// more under each name of `also`.
pub(crate) fn stations(
    options: &Options,
    also: &[&'static str],
    subscribers: usize,
) -> Vec<Contender<Link>> {
    hosts(options, also)
        .into_iter()
        .chain(libraries(options))
        .map(|name| {
            let (mut link, out) = (Link::bind(), free_port());
            let process = if name.starts_with("exphost") {
                let toml = socket("zmq.publisher", out, true)
                    + &socket("zmq.subscriber", link.port(), false)
                    + EVERYTHING;
                start(name, with_service(Project::new(), name, "bench", &toml), &["bench"])
            } else {
                Process::peer(name, "station", &[link.port(), out])
            };
            link.connect(out, subscribers);
            Contender { name, end: link, process }
        })
        .collect()
}

/// Everybody with two services in one process: one hears the bench and publishes, the other hears that
/// one and answers to the bench.
pub(crate) fn pairs(options: &Options, also: &[&'static str]) -> Vec<Contender<Link>> {
    hosts(options, also)
        .into_iter()
        .chain(libraries(options))
        .map(|name| {
            let (mut link, out) = (Link::bind(), free_port());
            let (to, fro) = (free_port(), free_port());
            let process = if name.starts_with("exphost") {
                let first = socket("zmq.subscriber", link.port(), false)
                    + EVERYTHING
                    + &socket("peer.publisher", to, true)
                    + &socket("peer.subscriber", fro, false)
                    + EVERYTHING;
                let second = socket("zmq.publisher", out, true)
                    + &socket("peer.publisher", fro, true)
                    + &socket("peer.subscriber", to, false)
                    + EVERYTHING;
                let project = with_service(Project::new(), name, "first", &first);
                let project = with_service(project, name, "second", &second);
                start(name, project, &["first", "second"])
            } else {
                Process::peer(name, "pair", &[link.port(), out, to, fro])
            };
            link.connect(out, 1);
            link.wait_until_they_race();
            Contender { name, end: link, process }
        })
        .collect()
}

/// Everybody with one worker, which takes tasks from the bench and pushes results to it.
pub(crate) fn workers(options: &Options) -> Vec<Contender<Controller>> {
    hosts(options, &[ON_ZEROMQ, APART])
        .into_iter()
        .chain(libraries(options))
        .map(|name| {
            let controller = Controller::bind();
            let (tasks, results) = controller.ports();
            let process = if name.starts_with("exphost") {
                let toml =
                    socket("worker.pull", tasks, false) + &socket("worker.push", results, false);
                start(name, with_service(Project::new(), name, "bench", &toml), &["bench"])
            } else {
                Process::peer(name, "worker", &[tasks, results])
            };
            controller.wait_until_answered();
            Contender { name, end: controller, process }
        })
        .collect()
}

/// What came of a round.
pub(crate) struct Round {
    /// Messages of it.
    pub(crate) messages: u64,
    /// A rate, or a median time.
    pub(crate) figure: f64,
    /// The 99th percentile, where it is about time.
    pub(crate) p99: Option<f64>,
}

impl Round {
    /// So many messages since `begun`.
    pub(crate) fn rate(messages: u64, begun: Instant) -> Self {
        Self { messages, figure: messages as f64 / begun.elapsed().as_secs_f64(), p99: None }
    }

    /// What each took, in nanoseconds.
    pub(crate) fn times(mut ns: Vec<u64>) -> Self {
        ns.sort_unstable();
        let last = ns.len().saturating_sub(1);
        let quantile_us = |part: f64| {
            let value = ns.get((last as f64 * part).round() as usize);
            value.map_or(f64::NAN, |ns| *ns as f64 / 1000.0)
        };
        let (figure, p99) = (quantile_us(0.5), Some(quantile_us(0.99)));
        Self { messages: ns.len() as u64, figure, p99 }
    }
}

/// Rounds of all of them in turn, after one round of each that does not count.
pub(crate) fn measure<T>(
    options: &Options,
    contenders: &mut [Contender<T>],
    mut round: impl FnMut(&mut Contender<T>) -> Round,
) -> Vec<Row> {
    let mut rows: Vec<_> = contenders.iter().map(|contender| Row::new(contender.name)).collect();
    for contender in &mut *contenders {
        round(contender);
    }
    for number in 0..options.rounds {
        // Nobody is always the first, or the one after the same other.
        for place in 0..contenders.len() {
            let index = (place + number) % contenders.len();
            let contender = &mut contenders[index];
            let before = contender.process.cpu_ns();
            let came = round(contender);
            rows[index].add(&came, contender.process.cpu_ns() - before);
        }
    }
    rows
}
