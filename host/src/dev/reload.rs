//! One order to reload a service, followed to its end.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::notice::seconds;
use super::work::{Cause, Event};
use crate::supervisor::orders::{Order, Orders, Report, Step};

/// The step after which the new code answers. What follows is the host making sure that it lasts.
const LIVE: &str = "start";

/// What is ordered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The plugin that was built.
    pub plugin: String,
    /// The service that is to run it.
    pub service: String,
    /// Why it was built.
    pub cause: Cause,
    /// How long that took.
    pub build: Duration,
}

/// How far a reload has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// What was ordered.
    pub order: Reload,
    /// When.
    pub ordered: Instant,
    /// When the new code began to answer, if it came to that.
    pub live: Option<Instant>,
    /// The steps.
    pub steps: Vec<Step>,
    /// How it ended; `None` when it has not, or when the host has ended before.
    pub end: Option<Report>,
}

impl Reload {
    /// Gives the order, and tells when the new code is live and when the reload is over, from a
    /// thread of its own: a service may take its time to stop and to start.
    pub(super) fn give(self, orders: Orders, tell: impl Fn(Event) + Send + 'static) {
        thread::spawn(move || {
            let reloaded = self.follow(&orders, &tell);
            tell(Event::Reloaded(Box::new(reloaded)));
        });
    }

    fn follow(self, orders: &Orders, tell: &impl Fn(Event)) -> Reloaded {
        let (listener, mut reports) = mpsc::unbounded_channel();
        // Lower versions may take the place of higher ones: what was saved is what is to run.
        let order = Order::Reload { service: self.service.clone(), force: true, listener };
        let ordered = Instant::now();
        let mut so_far =
            Reloaded { order: self, ordered, live: None, steps: Vec::new(), end: None };
        if orders.give_blocking(order).is_err() {
            return so_far;
        }
        while let Some(report) = reports.blocking_recv() {
            match report {
                Report::Step(step) => {
                    let is_live = step.step == LIVE && step.ok;
                    so_far.steps.push(step);
                    if is_live {
                        so_far.live = Some(Instant::now());
                        tell(Event::Live(Box::new(so_far.clone())));
                    }
                }
                last => so_far.end = Some(last),
            }
        }
        so_far
    }
}

impl Reloaded {
    /// `saved -> live 1.84 s (build 1.62 s, reload 0.03 s)`.
    pub(super) fn summary(&self) -> String {
        let live = self.live.unwrap_or_else(Instant::now);
        let whole = live.saturating_duration_since(self.order.cause.since);
        let reload = live.saturating_duration_since(self.ordered);
        let (whole, build, reload) = (seconds(whole), seconds(self.order.build), seconds(reload));
        format!("saved -> live {whole} (build {build}, reload {reload})")
    }
}
