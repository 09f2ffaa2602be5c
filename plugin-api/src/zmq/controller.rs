//! The handle of a service that hands tasks to workers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

use super::outlet::{Outlet, Tagged};
use super::pub_sub::PubSub;
use super::roster::{ControllerConfig, WorkerLink};
use super::seconds;
use crate::context::{Context, Source};
use crate::error::{Error, Result};
use crate::message::type_of;
use crate::schemas::Typed;
use crate::state::HealthStatus;

/// What a controller has given to a worker and got back from it.
pub(crate) struct Link {
    pub(crate) name: Rc<str>,
    timeout: Duration,
    pushed: Cell<u64>,
    results: Cell<u64>,
    /// Since when it could have answered and did not.
    since: Cell<Instant>,
    /// Whether it has been reported.
    late: Cell<bool>,
}

impl Link {
    fn new(name: &str, timeout: Duration) -> Self {
        Self {
            name: name.into(),
            timeout,
            pushed: Cell::new(0),
            results: Cell::new(0),
            since: Cell::new(Instant::now()),
            late: Cell::new(false),
        }
    }

    /// Tasks that were pushed and have no result yet.
    pub(crate) fn outstanding(&self) -> u64 {
        self.pushed.get().saturating_sub(self.results.get())
    }

    /// When it is to be reported unless it answers before; `None` when it need not.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let waits = self.outstanding() > 0 && !self.late.get();
        waits.then(|| self.since.get().checked_add(self.timeout)).flatten()
    }

    fn task_pushed(&self, ctx: &Context) {
        if self.outstanding() == 0 {
            self.since.set(Instant::now());
        }
        self.pushed.set(self.pushed.get() + 1);
        // The dispatcher looks later than this worker's time is up, or not at all.
        let next = ctx.shared().next_look.get();
        if self.deadline().is_some_and(|due| next.is_none_or(|next| due < next)) {
            ctx.shared().next_look.set(self.deadline());
            ctx.shared().arrivals.notify_one();
        }
    }

    pub(crate) fn result_came(&self, ctx: &Context) {
        // What an instance before this one asked for is not to stand for what this one does.
        self.results.set(self.pushed.get().min(self.results.get() + 1));
        self.heard(ctx, "results come again");
    }

    fn heard(&self, ctx: &Context, message: &str) {
        self.since.set(Instant::now());
        if self.late.take() {
            ctx.record_health_check(&self.check(), HealthStatus::Healthy, message);
            tracing::info!(worker = &*self.name, "{message}");
        }
    }

    /// Reports that the worker has not answered for its timeout.
    pub(crate) fn report_late(&self, ctx: &Context) {
        self.late.set(true);
        let (outstanding, timeout) = (self.outstanding(), self.timeout.as_secs_f64());
        let (pushed, results) = (self.pushed.get(), self.results.get());
        let message = format!(
            "{outstanding} tasks have no result, and none came for {timeout} s \
             ({pushed} pushed, {results} results)"
        );
        ctx.record_health_check(&self.check(), HealthStatus::Warning, &message);
        tracing::warn!(
            worker = &*self.name,
            outstanding,
            pushed,
            results,
            worker_timeout = timeout,
            "the worker answers nothing"
        );
    }

    fn check(&self) -> String {
        format!("worker {}", self.name)
    }
}

/// What a service hands tasks to its workers with. It publishes and listens too, as a [`PubSub`]
/// does, if its configuration says where.
///
/// Results come to [`Service::on_result`](crate::Service::on_result); a worker that has tasks and
/// answers none is reported to [`Service::on_worker_timeout`](crate::Service::on_worker_timeout). The
/// default value is connected to nothing: pushing with it is an error.
///
/// ```
/// use plugin_api::prelude::*;
///
/// config! {
///     /// Configuration of the director.
///     pub struct Config {
///         /// The workers, and where to publish.
///         pub zmq: ControllerConfig = ControllerConfig {
///             workers: [("image".to_owned(), WorkerLink::default())].into(),
///             ..ControllerConfig::default()
///         },
///     }
/// }
///
/// struct Director { config: Config, zmq: Controller }
///
/// impl Service for Director {
///     type Config = Config;
///
///     async fn new(config: Config, _: &Context) -> Result<Self> {
///         Ok(Self { config, zmq: Controller::default() })
///     }
///     async fn start(&mut self, ctx: &Context) -> Result<()> {
///         self.zmq = ctx.controller(&self.config.zmq)?;
///         ctx.tick_every(Duration::from_secs(10));
///         Ok(())
///     }
///     async fn on_tick(&mut self, _: &Context) -> Result<()> {
///         // Waits while the queue is full.
///         self.zmq.push_task("image", &json!({"type": "RenderRequest", "prompt": "a river"})).await
///     }
///     async fn on_result(&mut self, _: &Context, worker: &str, result: Message) -> Result<()> {
///         tracing::info!(worker, bytes = result.payload().len(), "a result");
///         Ok(())
///     }
/// }
///
/// export_service!(Director);
/// # fn main() {}
/// ```
#[derive(Clone, Default)]
pub struct Controller {
    pub_sub: PubSub,
    open: Option<Rc<Open>>,
}

struct Open {
    ctx: Context,
    workers: BTreeMap<String, Worker>,
}

struct Worker {
    link: Rc<Link>,
    push: Outlet,
    message_types: Vec<String>,
}

impl Worker {
    fn open(ctx: &Context, name: &str, config: &WorkerLink, timeout: Duration) -> Result<Self> {
        let shared = ctx.shared();
        let link = Rc::new(Link::new(name, timeout));
        // Where results go comes before what brings them.
        let pull = shared.host.open_socket(&config.pull_spec(name)).map_err(Error::new)?;
        shared.sources.borrow_mut().insert(pull, Source::Results(Rc::clone(&link)));
        shared.listens.set(true);
        let push = Outlet::open(ctx, &config.push_spec(name))?;
        Ok(Self { link, push, message_types: config.message_types.clone() })
    }

    fn takes(&self, kind: &str) -> bool {
        self.message_types.is_empty() || self.message_types.iter().any(|it| it == kind)
    }

    fn check_type(&self, json: &[u8]) -> Result<()> {
        if self.message_types.is_empty() {
            return Ok(());
        }
        let kind = type_of(json);
        if kind.as_deref().is_some_and(|kind| self.takes(kind)) {
            return Ok(());
        }
        let given = kind.map_or("without a `type`".to_owned(), |kind| format!("of type `{kind}`"));
        let (name, takes) = (&self.link.name, self.message_types.join(", "));
        Err(Error::invalid(format!("worker `{name}` takes no task {given}; it takes {takes}")))
    }

    async fn push(&self, ctx: &Context, json: &[u8]) -> Result<()> {
        self.check_type(json)?;
        self.push.send_when_room(json).await?;
        self.link.task_pushed(ctx);
        Ok(())
    }
}

impl Controller {
    pub(crate) fn open(ctx: &Context, config: &ControllerConfig) -> Result<Self> {
        // A configuration that was made in code has not been checked yet.
        let config = config.clone().checked().map_err(Error::invalid)?;
        let (publisher, subscriber) = (config.publisher.as_ref(), config.subscriber.as_ref());
        let pub_sub = PubSub::open_parts(ctx, publisher, subscriber)?;
        let timeout = seconds(config.worker_timeout);
        let mut workers = BTreeMap::new();
        for (name, link) in &config.workers {
            workers.insert(name.clone(), Worker::open(ctx, name, link, timeout)?);
        }
        Ok(Self { pub_sub, open: Some(Rc::new(Open { ctx: ctx.clone(), workers })) })
    }

    /// Pushes a task as JSON to a worker, as soon as its queue has room for it.
    ///
    /// # Errors
    /// When there is no such worker or it does not take tasks of this type, when `task` has no JSON
    /// form or is too large, and (kind [`ErrorKind::Stopping`](crate::ErrorKind::Stopping)) when the
    /// service is stopping and there is no room.
    pub async fn push_task(&self, worker: &str, task: &impl Serialize) -> Result<()> {
        let (ctx, worker) = self.worker(worker)?;
        worker.push.serialized_while(task, async |json| worker.push(ctx, json).await).await
    }

    /// Pushes a task now or not at all.
    ///
    /// # Errors
    /// Kind [`ErrorKind::Retryable`](crate::ErrorKind::Retryable) when the queue is full; otherwise
    /// as for [`push_task`](Self::push_task).
    pub fn try_push_task(&self, worker: &str, task: &impl Serialize) -> Result<()> {
        let (ctx, worker) = self.worker(worker)?;
        worker.push.serialized(task, |json| {
            worker.check_type(json)?;
            worker.push.send_if_room(json)?;
            worker.link.task_pushed(ctx);
            Ok(())
        })
    }

    /// Pushes a task of the shared types, tagged with its type.
    ///
    /// # Errors
    /// As for [`push_task`](Self::push_task).
    pub async fn push_task_message<T: Typed>(&self, worker: &str, task: &T) -> Result<()> {
        self.push_task(worker, &Tagged::of(task)).await
    }

    /// Pushes a task of the shared types to the worker that takes its type. If several do, those
    /// that name the type come before those that take any, and then the one with the fewest tasks
    /// outstanding.
    ///
    /// # Errors
    /// When no worker takes it; otherwise as for [`push_task`](Self::push_task).
    pub async fn route_task<T: Typed>(&self, task: &T) -> Result<()> {
        let open = self.opened()?;
        let takers = open.workers.iter().filter(|(_, worker)| worker.takes(T::TYPE));
        let best = takers
            .min_by_key(|(_, worker)| (worker.message_types.is_empty(), worker.link.outstanding()));
        let Some((name, _)) = best else {
            let takes = open.workers.iter().map(|(name, worker)| {
                format!("`{name}` takes {}", worker.message_types.join(", "))
            });
            let takes = takes.collect::<Vec<_>>().join("; ");
            let takes = if takes.is_empty() { "there is none".to_owned() } else { takes };
            let kind = T::TYPE;
            return Err(Error::invalid(format!("no worker takes tasks of type `{kind}`: {takes}")));
        };
        self.push_task_message(name, task).await
    }

    /// Pushes the same task to every worker, each as soon as its own queue has room. Answers with
    /// those that did not get it, and why; with all of them when the task has no JSON form.
    pub async fn send_to_all_workers(&self, task: &impl Serialize) -> Vec<(String, Error)> {
        let Some(open) = &self.open else { return Vec::new() };
        let pushes = open.workers.keys().map(async |name| {
            let pushed = self.push_task(name, task).await;
            pushed.err().map(|error| (name.clone(), error))
        });
        join_all(pushes).await.into_iter().flatten().collect()
    }

    /// The names of the workers.
    pub fn workers(&self) -> impl Iterator<Item = &str> {
        self.open.iter().flat_map(|open| open.workers.keys()).map(String::as_str)
    }

    /// How many tasks this instance pushed to a worker that have no result yet; a task that was lost
    /// counts for ever, or until [`forget_outstanding`](Self::forget_outstanding). 0 for an unknown
    /// worker.
    #[must_use]
    pub fn outstanding(&self, worker: &str) -> u64 {
        self.worker(worker).map_or(0, |(_, worker)| worker.link.outstanding())
    }

    /// Waits no longer for the tasks that a worker has now: they are lost, or will be pushed again.
    pub fn forget_outstanding(&self, worker: &str) {
        if let Ok((ctx, worker)) = self.worker(worker) {
            worker.link.results.set(worker.link.pushed.get());
            worker.link.heard(ctx, "nothing is waited for any more");
        }
    }

    /// What it publishes with; `controller.publish(…)` is short for
    /// `controller.pub_sub().publish(…)`.
    #[must_use]
    pub const fn pub_sub(&self) -> &PubSub {
        &self.pub_sub
    }

    fn opened(&self) -> Result<&Open> {
        self.open.as_deref().ok_or_else(|| {
            Error::invalid(
                "these sockets are not open; open them in start() with ctx.controller(…)",
            )
        })
    }

    fn worker(&self, name: &str) -> Result<(&Context, &Worker)> {
        let open = self.opened()?;
        let worker = open.workers.get(name).ok_or_else(|| {
            let known = open.workers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none" } else { &known };
            Error::invalid(format!("there is no worker `{name}` in `zmq.workers`, but {known}"))
        })?;
        Ok((&open.ctx, worker))
    }
}

impl Deref for Controller {
    type Target = PubSub;

    fn deref(&self) -> &PubSub {
        &self.pub_sub
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let workers = self.workers().collect::<Vec<_>>();
        f.debug_struct("Controller").field("workers", &workers).finish_non_exhaustive()
    }
}
