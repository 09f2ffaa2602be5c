//! Gives notices to those who are to know, one after another, beside the looks at the files.

use std::time::Duration;

use plugin_api::prelude::*;
use plugin_api::{tokio, tracing};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use ureq::Agent;

use crate::config::{Config, Delivery};
use crate::http::{self, Outcome, Request};

/// Requests that wait for those before them. What comes on top is dropped, and said.
const MOST_WAITING: usize = 32;

/// The way to those who are told.
pub(crate) struct Outbox(mpsc::Sender<Request>);

impl Outbox {
    /// Begins to deliver, as a task of the service.
    pub(crate) fn begin(ctx: &Context, config: &Config) -> Self {
        let (sender, inbox) = mpsc::channel(MOST_WAITING);
        ctx.add_task("delivery", deliver_all(ctx.clone(), Terms::of(&config.delivery), inbox));
        Self(sender)
    }

    /// Has a request delivered; false when too many wait already.
    pub(crate) fn put(&self, request: Request) -> bool {
        self.0.try_send(request).is_ok()
    }
}

/// How a request is tried.
#[derive(Clone, Debug)]
struct Terms {
    timeout: Duration,
    attempts: u32,
    backoff: Duration,
}

impl Terms {
    fn of(delivery: &Delivery) -> Self {
        Self {
            timeout: Duration::from_secs_f64(delivery.timeout),
            attempts: delivery.attempts,
            backoff: Duration::from_secs_f64(delivery.backoff),
        }
    }

    /// How long to wait after an attempt, the first of which is 1; `None` after the last one.
    fn pause_after(&self, attempt: u32) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(3_600);
        let doubled = self.backoff.saturating_mul(2_u32.saturating_pow(attempt - 1));
        (attempt < self.attempts).then(|| doubled.min(LONGEST))
    }
}

async fn deliver_all(ctx: Context, terms: Terms, mut inbox: mpsc::Receiver<Request>) -> Result<()> {
    let agent = http::agent(terms.timeout);
    loop {
        let request = tokio::select! {
            biased;
            () = ctx.stopping() => break,
            request = inbox.recv() => request,
        };
        let Some(request) = request else { return Ok(()) };
        deliver(&ctx, &terms, &agent, request).await?;
    }
    let left = inbox.len();
    if left > 0 {
        tracing::warn!(left, "notices were not sent before the stop");
    }
    Ok(())
}

async fn deliver(ctx: &Context, terms: &Terms, agent: &Agent, request: Request) -> Result<()> {
    let target = request.target;
    let mut attempt = 1;
    let reason = loop {
        let (agent, request) = (agent.clone(), request.clone());
        let reason = match spawn_blocking(move || http::post(&agent, &request)).await? {
            Outcome::Delivered => {
                tracing::debug!(to = target, attempt, "notice delivered");
                ctx.record_health_check(target, HealthStatus::Healthy, "takes notices");
                return Ok(());
            }
            Outcome::Refused(reason) => break reason,
            Outcome::Failed(reason) => reason,
        };
        let Some(pause) = terms.pause_after(attempt) else { break reason };
        let seconds = pause.as_secs_f64();
        tracing::info!(to = target, attempt, reason, seconds, "notice is tried again");
        if !ctx.sleep_if_running(pause).await {
            break format!("{reason}, and the service stops");
        }
        attempt += 1;
    };
    tracing::warn!(to = target, attempt, reason, "notice could not be delivered");
    ctx.record_health_check(target, HealthStatus::Warning, &format!("{target} {reason}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_with_the_last_attempt() {
        let delivery = Delivery { attempts: 4, backoff: 0.5, ..Delivery::default() };
        let terms = Terms::of(&delivery);
        let pauses: Vec<_> = (1..=5).map(|attempt| terms.pause_after(attempt)).collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(pauses, [millis(500), millis(1_000), millis(2_000), None, None]);
        let patient = Terms { attempts: 100, ..terms };
        assert_eq!(patient.pause_after(90), Some(Duration::from_secs(3_600)));
    }
}
