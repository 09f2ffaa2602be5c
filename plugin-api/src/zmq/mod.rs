//! Sockets as a service's configuration names them, and the handles a service holds.
//!
//! A service has one of three handles in a field of its own, made in
//! [`start`](crate::Service::start): [`PubSub`] by [`Context::pub_sub`](crate::Context::pub_sub),
//! [`Worker`] by [`Context::worker`](crate::Context::worker), or [`Controller`] by
//! [`Context::controller`](crate::Context::controller). The latter two publish as well.

mod config;
mod controller;
mod outlet;
mod pub_sub;
mod roster;
mod spec;
mod task;
mod worker;

pub use config::{
    PubSubConfig, PublisherConfig, ResultPullConfig, ResultPushConfig, SubscriberConfig,
    TaskPullConfig, TaskPushConfig,
};
pub use controller::Controller;
pub use pub_sub::PubSub;
pub use roster::{ControllerConfig, WorkerLink};
pub use spec::{SocketOptions, SocketRole, SocketSpec, WhenFull, option_name, overlap};
pub use task::Task;
pub use worker::{Worker, WorkerConfig};

pub(crate) use controller::Link;
pub(crate) use task::{InHand, Intake};

use std::time::Duration;

/// Seconds of a configuration; what is no duration at all is one that never ends.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
