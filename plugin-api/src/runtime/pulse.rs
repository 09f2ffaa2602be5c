//! Signs of life: a timer on the service's own runtime tells the host that it turns, and the host is
//! told what begins that it cannot know of by itself. It knows of messages: it hands them out.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::abi::Host;
use crate::context::Context;

/// How often the host hears of a runtime that turns.
const BEAT: Duration = Duration::from_millis(500);

/// The author's function that is under way, apart from the handlers of messages and what the state
/// of the service says already; empty when there is none.
#[derive(Default)]
pub(crate) struct Place(Cell<&'static str>);

/// Tells the host that the runtime turns, until it is cancelled. Only a thread that is blocked, or
/// busy with something that never awaits, keeps it from that.
pub(super) async fn beat(ctx: Context) {
    let mut interval = tokio::time::interval(BEAT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let shared = ctx.shared();
        shared.host.beat(shared.place.0.get());
    }
}

/// Awaits a function of the author's; the host knows of it from before it begins, for it may never
/// let the runtime turn again.
pub(super) async fn within<T>(
    ctx: &Context,
    place: &'static str,
    function: impl Future<Output = T>,
) -> T {
    let _entered = Entered::new(ctx.shared().host, &ctx.shared().place, place);
    function.await
}

/// Leaves the place when it is dropped, also when the function is cancelled.
struct Entered<'a> {
    host: Host,
    place: &'a Place,
    before: &'static str,
}

impl<'a> Entered<'a> {
    fn new(host: Host, place: &'a Place, name: &'static str) -> Self {
        host.beat(name);
        Self { host, place, before: place.0.replace(name) }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.place.0.set(self.before);
        self.host.beat(self.before);
    }
}
