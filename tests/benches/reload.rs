//! What reloads cost, on the real host.
//!
//! ```sh
//! cargo bench -p exphost-tests --bench reload                # both, as tables
//! cargo bench -p exphost-tests --bench reload -- traffic 300 # the gap, under 10,000 messages a second
//! cargo bench -p exphost-tests --bench reload -- soak 3000   # what is left behind, reload by reload
//! ```
//!
//! `--json` prints one JSON document instead. Either fails when a number is lost, comes twice or out
//! of order, or when a reload does not succeed.
#![allow(clippy::print_stdout, reason = "the result is the output")]

#[path = "../harness/mod.rs"]
mod harness;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::changeling::Build;
use harness::host::Host;
use harness::project::Project;
use serde_json::{Value, json};

/// Messages a second.
const RATE: u64 = 10_000;
/// How long a receiver may be silent.
const PATIENCE_MS: i32 = 30_000;
/// Reloads before the first figure of a soak: caches fill once.
const WARM_UP: usize = 100;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let as_json = arguments.iter().any(|it| it == "--json");
    let words: Vec<_> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let count = |usual| words.get(1).and_then(|it| it.parse().ok()).unwrap_or(usual);
    let which = words.first().map(|it| it.as_str());
    let mut results = serde_json::Map::new();
    if which != Some("soak") {
        results.insert("traffic".to_owned(), traffic(count(300), as_json));
    }
    if which != Some("traffic") {
        results.insert("soak".to_owned(), soak(count(3_000), as_json));
    }
    if as_json {
        println!("{}", Value::Object(results));
    }
}

/// Numbers go out, tallies come in; a peer that is not the host's own code.
struct Peer {
    numbers: zmq2::Socket,
    numbers_port: u16,
    tallies: zmq2::Socket,
}

impl Peer {
    fn new() -> zmq2::Result<Self> {
        let context = zmq2::Context::new();
        // XPUB is PUB that hands its subscriptions to the program.
        let numbers = context.socket(zmq2::XPUB)?;
        numbers.set_sndhwm(0)?;
        numbers.set_linger(0)?;
        numbers.set_rcvtimeo(PATIENCE_MS)?;
        numbers.bind("tcp://127.0.0.1:*")?;
        let endpoint = numbers.get_last_endpoint()?.expect("an endpoint is UTF-8");
        let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok());
        let tallies = context.socket(zmq2::SUB)?;
        tallies.set_subscribe(b"tally")?;
        tallies.set_rcvtimeo(500)?;
        Ok(Self { numbers, numbers_port: port.expect("a port"), tallies })
    }

    fn host(&self, more: &str) -> zmq2::Result<Host> {
        let port = harness::free_port();
        let toml = format!(
            "[zmq.publisher]\naddress = \"tcp://127.0.0.1\"\nport = {port}\n\
             [zmq.subscriber]\naddress = \"tcp://127.0.0.1\"\nport = {}\ntopics = [\"number\", \"report\"]\n",
            self.numbers_port
        );
        let project = Project::new()
            .config("exphost", format!("[reload]\nwatch = false\n{more}"))
            .config("changeling", toml + &Build::directive());
        Build::good(701, "one").install(&project.plugins());
        let host = project.start();
        host.wait_until_running("changeling");
        for _ in ["number", "report"] {
            self.numbers.recv_bytes(0)?;
        }
        self.tallies.connect(&format!("tcp://127.0.0.1:{port}"))?;
        Ok(host)
    }

    /// What the service has counted, once it answers.
    fn tally(&self) -> zmq2::Result<Value> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            self.numbers.send("report {}", 0)?;
            match self.tallies.recv_bytes(0) {
                Ok(frame) => return Ok(harness::peers::split(&frame).1),
                Err(zmq2::Error::EAGAIN) if Instant::now() < end => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Puts the other build into the plugin directory and reloads; the verdict.
fn reload(host: &Host, number: usize) -> Value {
    let (patch, name) = if number.is_multiple_of(2) { (702, "two") } else { (701, "one") };
    Build::good(patch, name).install(&host.project().plugins());
    let (code, mut reports) = host.project().json_lines(&["reload", "changeling", "--force"]);
    assert_eq!(code, 0, "reload {number}: {reports:#?}\n{}", host.log());
    reports.pop().expect("a verdict")
}

fn traffic(reloads: usize, quiet: bool) -> Value {
    let peer = Peer::new().expect("sockets");
    let mut host = peer.host("probation = 0\n").expect("a host");
    peer.tally().expect("an answer");
    let (done, Peer { numbers, tallies, numbers_port }) = (Arc::new(AtomicBool::new(false)), peer);
    let sender = {
        let done = Arc::clone(&done);
        thread::spawn(move || {
            let sent = send_at_rate(&numbers, &done);
            (numbers, sent)
        })
    };
    let mut gaps = Vec::new();
    let mut whole = Vec::new();
    for number in 0..reloads {
        let verdict = reload(&host, number);
        gaps.push(verdict["gap_ms"].as_f64().expect("a gap"));
        whole.push(verdict["ms"].as_f64().expect("a time"));
    }
    done.store(true, Ordering::Relaxed);
    let (numbers, sent) = sender.join().expect("the sender");
    let peer = Peer { numbers, numbers_port, tallies };
    let report = loop {
        let report = peer.tally().expect("an answer");
        if report["tally"]["count"].as_u64() >= Some(sent) {
            break report;
        }
    };
    let instances = reloads + 1;
    let expected = json!({"count": sent, "last": sent - 1, "breaks": 0, "instances": instances});
    assert_eq!(report["tally"], expected, "every number once and in order");
    assert_eq!(host.stop().0, Some(0));
    let (gap_p50, gap_p99) = (quantile(&mut gaps, 0.5), quantile(&mut gaps, 0.99));
    let (p50, p99) = (quantile(&mut whole, 0.5), quantile(&mut whole, 0.99));
    if !quiet {
        println!(
            "{reloads} reloads under {RATE} messages a second: {sent} numbers, each once and in order"
        );
        println!("{:<28}{:>10}{:>10}{:>10}", "", "p50 ms", "p99 ms", "most ms");
        let row = |name, p50, p99, most| println!("{name:<28}{p50:>10.2}{p99:>10.2}{most:>10.2}");
        row("no instance is running", gap_p50, gap_p99, quantile(&mut gaps, 1.0));
        row("the reload as a whole", p50, p99, quantile(&mut whole, 1.0));
    }
    json!({"reloads": reloads, "sent": sent, "gap_ms": {"p50": gap_p50, "p99": gap_p99},
        "ms": {"p50": p50, "p99": p99}})
}

/// Sends numbers until it is told to stop; how many.
#[allow(clippy::disallowed_methods, reason = "a rate is kept by sleeping, nothing is waited for")]
fn send_at_rate(numbers: &zmq2::Socket, done: &AtomicBool) -> u64 {
    let begun = Instant::now();
    let mut sent = 0;
    while !done.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * RATE as f64) as u64;
        while sent < due {
            numbers.send(&format!("number {{\"n\":{sent}}}"), 0).expect("a publisher can send");
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holds {
    rss_kib: u64,
    mappings: usize,
    descriptors: usize,
    threads: usize,
}

impl Holds {
    fn of(host: &Host) -> Self {
        let process = format!("/proc/{}", host.pid().as_raw_nonzero());
        let status = fs::read_to_string(format!("{process}/status")).expect("it lives");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse().ok());
        let maps = fs::read_to_string(format!("{process}/maps")).expect("it lives");
        let count = |what| fs::read_dir(format!("{process}/{what}")).expect("it lives").count();
        Self {
            rss_kib: rss.expect("a figure"),
            mappings: maps.lines().count(),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}

fn soak(reloads: usize, quiet: bool) -> Value {
    let peer = Peer::new().expect("sockets");
    let mut host = peer.host("probation = 0\n").expect("a host");
    peer.tally().expect("an answer");
    let mut seen = Vec::new();
    if !quiet {
        println!(
            "{:>10}{:>10}{:>10}{:>8}{:>9}",
            "reloads", "RSS KiB", "mappings", "fds", "threads"
        );
    }
    for number in 0..reloads {
        reload(&host, number);
        let done = number + 1;
        if done == WARM_UP || done.is_multiple_of((reloads / 10).max(1)) {
            let holds = Holds::of(&host);
            if !quiet {
                let Holds { rss_kib, mappings, descriptors, threads } = holds;
                println!("{done:>10}{rss_kib:>10}{mappings:>10}{descriptors:>8}{threads:>9}");
            }
            seen.push((done, holds));
        }
    }
    let (_, status) = host.project().json(&["status"]);
    let kept = status["services"][0]["kept"].as_array().expect("a list").len();
    assert_eq!(kept, 0, "every old generation was unloaded: {status:#}");
    assert_eq!(peer.tally().expect("an answer")["tally"]["instances"], reloads + 1);
    assert_eq!(host.stop().0, Some(0));
    let warm: Vec<_> = seen.into_iter().filter(|(done, _)| *done >= WARM_UP).collect();
    let (Some((from, first)), Some((to, last))) = (warm.first(), warm.last()) else {
        return json!({"reloads": reloads});
    };
    let grown = last.rss_kib as f64 - first.rss_kib as f64;
    let per_reload = 1024.0 * grown / (to - from).max(1) as f64;
    if !quiet {
        println!(
            "RSS from reload {from} to {to}: {per_reload:.0} bytes a reload; pthread keys: a process has 1,024"
        );
    }
    json!({"reloads": reloads, "rss_bytes_per_reload": per_reload,
        "mappings": [first.mappings, last.mappings],
        "descriptors": [first.descriptors, last.descriptors],
        "threads": [first.threads, last.threads]})
}
