//! Two services of one host, beside two threads of a process that have sockets between them: `inproc`
//! with libzmq and pyzmq, tcp with `zeromq`, which has no other.

use crate::Options;
use crate::contender::{APART, READY, Round, measure, pairs};
use crate::report::{Case, Unit};

/// Tosses of one race: their figures fit one message.
const TOSSES: u64 = 1_000;

/// Messages per second from one service to the other.
pub(crate) fn throughput(options: &Options, done: &mut dyn FnMut(Case)) {
    let mut contenders = pairs(options, &[READY, APART]);
    for &size in &options.sizes {
        let rows = measure(options, &mut contenders, |contender| {
            contender.end.relay_round(size, contender.name == READY, options.round)
        });
        let what = "published by a service to a handler of another service of the host";
        done(Case { scenario: "same-host", what, size, unit: Unit::PerSecond, rows });
    }
}

/// From right before a publish to the first line of the other service's handler.
pub(crate) fn latency(options: &Options, done: &mut dyn FnMut(Case)) {
    let mut contenders = pairs(options, &[APART]);
    let rows = measure(options, &mut contenders, |contender| {
        let begun = std::time::Instant::now();
        let mut took = Vec::new();
        while begun.elapsed() < options.round {
            took.extend(contender.end.race(TOSSES).expect("the services race"));
        }
        Round::times(took)
    });
    let what = "one way from right before a publish to the other service's handler, taking turns";
    let unit = Unit::Microseconds;
    done(Case { scenario: "same-host-latency", what, size: 40, unit, rows });
}
