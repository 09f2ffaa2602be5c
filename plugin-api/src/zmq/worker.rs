//! The handle of a service that works on tasks.

use std::ops::Deref;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{
    PublisherConfig, ResultPushConfig, SubscriberConfig, TaskPullConfig, messages,
};
use super::outlet::{Outlet, Tagged};
use super::pub_sub::PubSub;
use super::seconds;
use super::spec::{SocketSpec, option_name};
use super::task::Intake;
use crate::context::{Context, Source};
use crate::error::{Error, Result};
use crate::schemas::Typed;

/// `zmq` of a service that works on tasks: it pulls them, and pushes the results.
///
/// By default it connects to a [`Controller`](super::Controller) of the same machine.
///
/// ```toml
/// [zmq]
/// max_concurrent_tasks = 2
/// work_timeout = 120.0
///
/// [zmq.pull]
/// address = "tcp://10.0.0.5"
/// port = 5564
///
/// [zmq.push]
/// address = "tcp://10.0.0.5"
/// port = 5565
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Where the service publishes.
    pub publisher: Option<PublisherConfig>,
    /// What the service listens to.
    pub subscriber: Option<SubscriberConfig>,
    /// Where tasks come from.
    pub pull: TaskPullConfig,
    /// Where results go. A worker need not answer.
    pub push: Option<ResultPushConfig>,
    /// Seconds that a task may take; then it is cut off, and that is recorded as an error.
    #[schemars(range(min = 0.001))]
    pub work_timeout: f64,
    /// Tasks that are worked on at the same time. Further ones wait in the host, and where they come
    /// from.
    #[schemars(range(min = 1))]
    pub max_concurrent_tasks: u32,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            publisher: None,
            subscriber: None,
            pull: TaskPullConfig::default(),
            push: Some(ResultPushConfig::default()),
            work_timeout: 60.0,
            max_concurrent_tasks: 10,
        }
    }
}

/// How many tasks a worker takes ahead, at least. What it has taken is lost to the others when its
/// process dies, and they have nothing to do while it hoards; but with less than some hundreds, small
/// tasks leave it waiting for the next ones.
const TAKEN_AHEAD: u32 = 256;

impl WorkerConfig {
    /// The socket by which tasks come, as the host is asked for it.
    #[must_use]
    pub fn pull_spec(&self) -> SocketSpec {
        let ahead = self.max_concurrent_tasks.max(TAKEN_AHEAD);
        let queue = self.pull.max_queue_size.unwrap_or(ahead);
        let mut spec = self.pull.socket("zmq.pull");
        spec.max_queue_size = messages(Some(queue));
        // ZeroMQ keeps as many again for each peer.
        if !spec.socket_options.keys().any(|name| option_name(name) == "RCVHWM") {
            spec.socket_options.insert("RCVHWM".to_owned(), i64::from(queue));
        }
        spec
    }

    /// The socket by which results go, as the host is asked for it.
    #[must_use]
    pub fn push_spec(&self) -> Option<SocketSpec> {
        let push = self.push.as_ref()?;
        let max_queue_size = messages(push.max_queue_size);
        Some(SocketSpec { max_queue_size, ..push.socket("zmq.push") })
    }
}

/// What a worker answers with. It publishes and listens too, as a [`PubSub`] does, if its
/// configuration says where.
///
/// Tasks come to [`Service::on_task`](crate::Service::on_task). The default value is connected to
/// nothing: pushing with it is an error.
///
/// ```
/// use plugin_api::prelude::*;
///
/// config! {
///     /// Configuration of the painter.
///     pub struct Config {
///         /// Where tasks come from, and where results go.
///         pub zmq: WorkerConfig = WorkerConfig::default(),
///     }
/// }
///
/// struct Painter { config: Config, zmq: Worker }
///
/// impl Service for Painter {
///     type Config = Config;
///
///     async fn new(config: Config, _: &Context) -> Result<Self> {
///         Ok(Self { config, zmq: Worker::default() })
///     }
///     async fn start(&mut self, ctx: &Context) -> Result<()> {
///         self.zmq = ctx.worker(&self.config.zmq)?;
///         Ok(())
///     }
///     async fn on_task(&mut self, _: &Context, task: Task) -> Result<()> {
///         let zmq = self.zmq.clone();
///         // Up to `max_concurrent_tasks` at the same time, each for `work_timeout` at most.
///         task.spawn(async move |task| {
///             let request: RenderRequest = task.json()?;
///             let image = paint(&request).await?;
///             zmq.push_result(&image).await
///         });
///         Ok(())
///     }
/// }
///
/// # use plugin_api::schemas::RenderRequest;
/// async fn paint(request: &RenderRequest) -> Result<Value> {
///     Ok(json!({"type": "ImageReady", "request_id": request.request_id, "uri": "file:///…"}))
/// }
///
/// export_service!(Painter);
/// # fn main() {}
/// ```
#[derive(Clone, Default)]
pub struct Worker {
    pub_sub: PubSub,
    push: Option<Rc<Outlet>>,
    open: bool,
}

impl Worker {
    pub(crate) fn open(ctx: &Context, config: &WorkerConfig) -> Result<Self> {
        let shared = ctx.shared();
        let (publisher, subscriber) = (config.publisher.as_ref(), config.subscriber.as_ref());
        let pub_sub = PubSub::open_parts(ctx, publisher, subscriber)?;
        let push = config.push_spec().map(|spec| Outlet::open(ctx, &spec)).transpose()?;
        // The last one: a task that comes finds all that it takes to answer it.
        let pull = shared.host.open_socket(&config.pull_spec()).map_err(Error::new)?;
        let timeout = seconds(config.work_timeout);
        let intake = Intake::new(pull, config.max_concurrent_tasks.max(1), timeout);
        shared.sources.borrow_mut().insert(pull, Source::Tasks(Rc::new(intake)));
        shared.listens.set(true);
        Ok(Self { pub_sub, push: push.map(Rc::new), open: true })
    }

    /// Pushes a result as JSON, as soon as the queue of `zmq.push` has room for it.
    ///
    /// # Errors
    /// When `body` has no JSON form or is too large, when there is no `zmq.push`, and (kind
    /// [`ErrorKind::Stopping`](crate::ErrorKind::Stopping)) when the service is stopping and there is
    /// no room; a task that ends so is given to the next instance, if one takes over.
    pub async fn push_result(&self, body: &impl Serialize) -> Result<()> {
        let push = self.push()?;
        push.serialized_while(body, async |json| push.send_when_room(json).await).await
    }

    /// Pushes a result now or not at all.
    ///
    /// # Errors
    /// Kind [`ErrorKind::Retryable`](crate::ErrorKind::Retryable) when the queue is full; otherwise
    /// as for [`push_result`](Self::push_result).
    pub fn try_push_result(&self, body: &impl Serialize) -> Result<()> {
        let push = self.push()?;
        push.serialized(body, |json| push.send_if_room(json))
    }

    /// Pushes a result of the shared types, tagged with its type, as soon as there is room.
    ///
    /// # Errors
    /// As for [`push_result`](Self::push_result).
    pub async fn send_response<T: Typed>(&self, message: &T) -> Result<()> {
        self.push_result(&Tagged::of(message)).await
    }

    /// What it publishes with; `worker.publish(…)` is short for `worker.pub_sub().publish(…)`.
    #[must_use]
    pub const fn pub_sub(&self) -> &PubSub {
        &self.pub_sub
    }

    fn push(&self) -> Result<&Outlet> {
        self.push.as_deref().ok_or_else(|| {
            Error::invalid(if self.open {
                "there is no `zmq.push` in the configuration to push results with"
            } else {
                "these sockets are not open; open them in start() with ctx.worker(…)"
            })
        })
    }
}

impl Deref for Worker {
    type Target = PubSub;

    fn deref(&self) -> &PubSub {
        &self.pub_sub
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("open", &self.open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zmq::{ControllerConfig, SocketOptions, WorkerLink};

    #[test]
    fn a_worker_meets_a_controller_by_default() {
        let (worker, link) = (WorkerConfig::default(), WorkerLink::default());
        let (pull, push) = (worker.pull_spec(), worker.push_spec().expect("it answers"));
        let (tasks, results) = (link.push_spec("a"), link.pull_spec("a"));
        assert_eq!((pull.key.as_str(), push.key.as_str()), ("zmq.pull", "zmq.push"));
        assert_eq!((pull.port, pull.bind, tasks.bind), (tasks.port, false, true));
        assert_eq!((push.port, push.bind, results.bind), (results.port, false, true));
        assert_eq!(pull.endpoint(), "tcp://localhost:5564");
    }

    #[test]
    fn a_worker_takes_little_ahead_unless_it_is_told_to() {
        let of = |json: &str| {
            let spec = serde_json::from_str::<WorkerConfig>(json).expect(json).pull_spec();
            (spec.max_queue_size, spec.socket_options)
        };
        let hwm = |name: &str, value| SocketOptions::from([(name.to_owned(), value)]);
        assert_eq!(of("{}"), (Some(256), hwm("RCVHWM", 256)));
        assert_eq!(of(r#"{"max_concurrent_tasks": 500}"#), (Some(500), hwm("RCVHWM", 500)));
        assert_eq!(of(r#"{"pull": {"max_queue_size": 1}}"#), (Some(1), hwm("RCVHWM", 1)));
        let own = r#"{"pull": {"socket_options": {"zmq_rcvhwm": 7}}}"#;
        assert_eq!(of(own), (Some(256), hwm("zmq_rcvhwm", 7)));
    }

    #[test]
    fn the_schema_says_what_the_keys_mean_and_where_they_end() {
        let schema = schemars::schema_for!(WorkerConfig).to_value();
        let property = |name: &str| schema["properties"][name].clone();
        assert_eq!(property("max_concurrent_tasks")["minimum"], 1);
        assert_eq!(property("work_timeout")["default"], 60.0);
        let schema = schemars::schema_for!(ControllerConfig).to_value();
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["max_workers"]["default"], 4);
        let link = &schema["$defs"]["WorkerLink"]["properties"];
        assert_eq!(link["max_queue_size"]["minimum"], 1);
        assert!(link["message_types"]["description"].is_string());
    }
}
