//! What messages cost: through the host, through both raw transport libraries, and through pyzmq asyncio,
//! doing the same work in the same run on the same machine.
//!
//! ```sh
//! cargo bench -p exphost-tests --bench messaging                     # tables
//! cargo bench -p exphost-tests --bench messaging -- --json           # one JSON document
//! cargo bench -p exphost-tests --bench messaging -- --quick          # shorter and fewer rounds
//! cargo bench -p exphost-tests --bench messaging -- receive worker   # some of the scenarios
//! cargo bench -p exphost-tests --bench messaging -- --only exphost   # some of the contenders
//! cargo bench -p exphost-tests --bench messaging -- --sizes 100,4096 # frames of other sizes, in bytes
//! ```
//!
//! `exphost-ready` publishes JSON text that it has already, `exphost-process` has the services in processes of their
//! own, `exphost-zeromq` has the host on its other transport. Every contender is a process of its own and does what
//! the host's service does, but for one thing: it looks at no payload, whereas the host makes sure that each is JSON
//! before a handler sees it.
//!
//! Rounds take a fixed time, and a round of one contender is followed by one of the next, so that what
//! else the machine does hits all alike. A figure is the median of its rounds; a ratio is the median of the
//! ratios, round by round. Compare ratios of one run: absolute figures belong to a machine and its mood.
//!
//! The bench's end never has more than a window of messages under way, below every high-water mark on the
//! way, and counts what comes back: a contender that loses one fails the bench.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the result is the output")]

#[path = "../../harness/mod.rs"]
mod harness;

mod contender;
mod link;
mod peer;
mod report;
mod same_host;
mod station;
mod worker;

use std::time::Duration;

use report::{Case, Report};

/// What the command line asks for.
struct Options {
    json: bool,
    rounds: usize,
    round: Duration,
    scenarios: Vec<String>,
    only: Vec<String>,
    sizes: Vec<usize>,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            json: false,
            rounds: 7,
            round: Duration::from_millis(500),
            scenarios: Vec::new(),
            only: Vec::new(),
            sizes: vec![100, 1 << 10, 64 << 10, 1 << 20],
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's own.
                "--bench" => {}
                "--json" => options.json = true,
                "--quick" => (options.rounds, options.round) = (3, Duration::from_millis(150)),
                "--only" => {
                    let names =
                        arguments.next().ok_or("--only wants names, with commas between")?;
                    options.only = names.split(',').map(str::to_owned).collect();
                }
                "--sizes" => {
                    let sizes = arguments.next().ok_or("--sizes wants numbers of bytes")?;
                    let sizes: Result<_, _> = sizes.split(',').map(str::parse).collect();
                    options.sizes = sizes.map_err(|error| format!("--sizes: {error}"))?;
                }
                name if SCENARIOS.iter().any(|(known, _)| *known == name) => {
                    options.scenarios.push(argument);
                }
                _ => {
                    let names: Vec<_> = SCENARIOS.iter().map(|(name, _)| *name).collect();
                    return Err(format!(
                        "{argument}: neither --json, --quick, --only NAMES, --sizes BYTES nor one of {names:?}"
                    ));
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, contender: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == contender)
    }
}

type Scenario = fn(&Options, &mut dyn FnMut(Case));

const SCENARIOS: [(&str, Scenario); 7] = [
    ("receive", station::receive),
    ("publish-1", station::publish_to_one),
    ("publish-8", station::publish_to_eight),
    ("tcp-latency", station::latency),
    ("same-host", same_host::throughput),
    ("same-host-latency", same_host::latency),
    ("worker", worker::scenario),
];

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == peer::ARGUMENT) {
        return peer::main(&arguments.skip(1).collect::<Vec<_>>());
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return std::process::ExitCode::from(2);
        }
    };
    harness::artefacts::build_only(&["fixture-bench"]);
    let mut report = Report::new(&options);
    for (name, scenario) in SCENARIOS {
        if options.scenarios.is_empty() || options.scenarios.iter().any(|wanted| wanted == name) {
            scenario(&options, &mut |case| report.add(case));
        }
    }
    report.finish();
    std::process::ExitCode::SUCCESS
}
