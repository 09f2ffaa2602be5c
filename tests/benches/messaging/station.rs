//! One service against one or more sockets of the bench, which are in another process.

use crate::Options;
use crate::contender::{ON_ZEROMQ, READY, measure, stations};
use crate::report::{Case, Unit};

/// SUB → handler.
pub(crate) fn receive(options: &Options, done: &mut dyn FnMut(Case)) {
    let mut contenders = stations(options, &[ON_ZEROMQ], 1);
    for &size in &options.sizes {
        let rows = measure(options, &mut contenders, |contender| {
            contender.end.receive_round(size, options.round)
        });
        let what = "from a publisher in another process to a handler";
        done(Case { scenario: "receive", what, size, unit: Unit::PerSecond, rows });
    }
}

/// Publish → one subscriber.
pub(crate) fn publish_to_one(options: &Options, done: &mut dyn FnMut(Case)) {
    publish(options, "publish-1", "published to one subscriber in another process", 1, done);
}

/// Publish → eight subscribers.
pub(crate) fn publish_to_eight(options: &Options, done: &mut dyn FnMut(Case)) {
    publish(options, "publish-8", "published to each of eight subscribers", 8, done);
}

fn publish(
    options: &Options,
    scenario: &'static str,
    what: &'static str,
    subscribers: usize,
    done: &mut dyn FnMut(Case),
) {
    let mut contenders = stations(options, &[READY, ON_ZEROMQ], subscribers);
    for &size in &options.sizes {
        let rows = measure(options, &mut contenders, |contender| {
            let ready = contender.name == READY;
            contender.end.publish_round(size, ready, options.round)
        });
        done(Case { scenario, what, size, unit: Unit::PerSecond, rows });
    }
}

/// Bytes of a question and of its answer.
const QUESTION: usize = 64;

/// tcp round trips.
pub(crate) fn latency(options: &Options, done: &mut dyn FnMut(Case)) {
    let mut contenders = stations(options, &[ON_ZEROMQ], 1);
    let rows = measure(options, &mut contenders, |contender| {
        contender.end.ping_round(QUESTION, options.round)
    });
    let what = "round trip over tcp: published to a handler, which publishes the answer";
    let (size, unit) = (QUESTION, Unit::Microseconds);
    done(Case { scenario: "tcp-latency", what, size, unit, rows });
}
