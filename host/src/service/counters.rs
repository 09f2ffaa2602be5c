//! What is counted for a service.

use std::sync::atomic::{AtomicU64, Ordering};

use plugin_api::abi::Counter;

/// Counters of one service. They only grow, and order between them does not matter.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages handed to the bus.
    pub sent: AtomicU64,
    /// Bytes of those, with their topics.
    pub sent_bytes: AtomicU64,
    /// Messages that could not be handed to the bus because its queue was full.
    pub send_dropped: AtomicU64,
    /// Messages whose handler returned normally.
    pub handled: AtomicU64,
    /// Messages that no handler took.
    pub unhandled: AtomicU64,
    /// Messages whose payload was not JSON.
    pub bad_payloads: AtomicU64,
    /// Handlers that returned an error.
    pub handler_errors: AtomicU64,
}

impl Counters {
    /// Adds to the counter that the plugin's side names.
    pub fn add(&self, counter: Counter, amount: u64) {
        let counter = match counter {
            Counter::Handled => &self.handled,
            Counter::Unhandled => &self.unhandled,
            Counter::BadFrame => &self.bad_payloads,
            Counter::HandlerError => &self.handler_errors,
        };
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// The value of a counter.
#[must_use]
pub fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
