//! Watches for workers that have tasks and answer nothing.

use std::rc::Rc;

use tokio::time::Instant;

use super::dispatch::outcome;
use super::guard::guarded;
use super::pulse::within;
use crate::context::{Context, Source};
use crate::error::Result;
use crate::service::Service;
use crate::zmq::Link;

/// Waits until it is time to look. A result only makes a deadline later, so that is seen then, and a
/// message costs no timer.
pub(super) async fn time_to_look(ctx: &Context) {
    match ctx.shared().next_look.get() {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reports the workers whose time is up, and sets the next time to look.
///
/// # Errors
/// What ends the service, after it has been recorded.
pub(super) async fn look<S: Service>(ctx: &Context, service: &mut S) -> Result<()> {
    let now = Instant::now();
    for link in links(ctx) {
        if link.deadline().is_some_and(|due| due <= now) {
            link.report_late(ctx);
            let outstanding = link.outstanding();
            let told = guarded(service.on_worker_timeout(ctx, &link.name, outstanding));
            let told = within(ctx, "on_worker_timeout", told).await;
            outcome(ctx, "on_worker_timeout", told)?;
        }
    }
    let next = links(ctx).iter().filter_map(|link| link.deadline()).min();
    ctx.shared().next_look.set(next);
    Ok(())
}

fn links(ctx: &Context) -> Vec<Rc<Link>> {
    let sources = ctx.shared().sources.borrow();
    let mut links: Vec<_> = sources
        .values()
        .filter_map(|source| match source {
            Source::Results(link) => Some(Rc::clone(link)),
            Source::Tasks(_) => None,
        })
        .collect();
    links.sort_by(|a, b| a.name.cmp(&b.name));
    links
}
