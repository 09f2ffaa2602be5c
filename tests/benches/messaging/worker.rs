//! A controller of the bench and a worker: a task to its handler, the result back.

use std::time::{Duration, Instant};

use zmq2::{DONTWAIT, Socket};

use crate::Options;
use crate::contender::{Round, measure, workers};
use crate::link::{PATIENCE_MS, bound, payload, window};
use crate::report::{Case, Unit};

/// Bytes of a task whose way is timed.
const TIMED: usize = 64;

/// Tasks per second, and how long one takes.
pub(crate) fn scenario(options: &Options, done: &mut dyn FnMut(Case)) {
    let mut contenders = workers(options);
    for &size in &options.sizes {
        let rows =
            measure(options, &mut contenders, |contender| contender.end.round(size, options.round));
        let what = "a task to a worker's handler and its result back, many under way";
        done(Case { scenario: "worker", what, size, unit: Unit::PerSecond, rows });
    }
    let rows = measure(options, &mut contenders, |contender| {
        contender.end.timed_round(TIMED, options.round)
    });
    let what = "a task to a worker's handler and its result back, one at a time";
    done(Case { scenario: "worker", what, size: TIMED, unit: Unit::Microseconds, rows });
}

/// The bench's end: tasks go out, results come in.
pub(crate) struct Controller {
    tasks: Socket,
    results: Socket,
    ports: (u16, u16),
}

impl Controller {
    pub(crate) fn bind() -> Self {
        let context = zmq2::Context::new();
        let tasks = context.socket(zmq2::PUSH).expect("a socket");
        tasks.set_sndhwm(0).expect("an option");
        tasks.set_linger(0).expect("an option");
        let results = context.socket(zmq2::PULL).expect("a socket");
        results.set_rcvhwm(0).expect("an option");
        results.set_rcvtimeo(PATIENCE_MS).expect("an option");
        let ports = (bound(&tasks), bound(&results));
        Self { tasks, results, ports }
    }

    /// Where tasks are, and where results go.
    pub(crate) const fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// Waits until the worker is there and does what it is to do.
    pub(crate) fn wait_until_answered(&self) {
        self.push(&payload(TIMED));
        self.result(0).expect("the worker answers");
    }

    /// Many tasks under way for so long; how many a second came back.
    fn round(&self, size: usize, time: Duration) -> Round {
        let task = payload(size);
        let (window, _) = window(size);
        let begun = Instant::now();
        let (mut pushed, mut back) = (0, 0);
        while begun.elapsed() < time {
            while pushed < back + window {
                self.push(&task);
                pushed += 1;
            }
            self.result(0).expect("the worker answers");
            back += 1;
            while back < pushed && self.result(DONTWAIT).is_ok() {
                back += 1;
            }
        }
        while back < pushed {
            self.result(0).expect("every task is answered");
            back += 1;
        }
        let round = Round::rate(back, begun);
        assert!(self.result(DONTWAIT).is_err(), "no task is answered twice");
        round
    }

    /// One task at a time for so long; what each took.
    fn timed_round(&self, size: usize, time: Duration) -> Round {
        let task = payload(size);
        let begun = Instant::now();
        let mut took = Vec::new();
        while begun.elapsed() < time {
            let pushed = Instant::now();
            self.push(&task);
            self.result(0).expect("the worker answers");
            took.push(u64::try_from(pushed.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Round::times(took)
    }

    fn push(&self, task: &[u8]) {
        self.tasks.send(task, 0).expect("a task can be pushed");
    }

    fn result(&self, flags: i32) -> zmq2::Result<()> {
        self.results.recv_msg(flags).map(drop)
    }
}
