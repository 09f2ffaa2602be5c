//! Write a service for exphost: implement [`Service`], name it in [`export_service!`], build a
//! `cdylib`, drop the `.so` into the plugin directory.
//!
//! A complete plugin; its Cargo.toml says `crate-type = ["cdylib"]` and depends on this crate alone:
//!
//! ```
//! use plugin_api::prelude::*;
//!
//! config! {
//!     /// Configuration of the lamp.
//!     pub struct Config {
//!         /// Seconds from one blink to the next.
//!         #[schemars(range(min = 0.1))]
//!         pub interval: f64 = 1.0,
//!         /// Where to publish and what to listen to.
//!         pub zmq: PubSubConfig = PubSubConfig::default(),
//!     }
//! }
//!
//! struct Lamp { config: Config, zmq: PubSub, lit: bool }
//!
//! impl Service for Lamp {
//!     type Config = Config;
//!
//!     async fn new(config: Config, _: &Context) -> Result<Self> {
//!         Ok(Self { config, zmq: PubSub::default(), lit: false })
//!     }
//!     async fn start(&mut self, ctx: &Context) -> Result<()> {
//!         self.zmq = ctx.pub_sub(&self.config.zmq)?;
//!         ctx.tick_every(Duration::from_secs_f64(self.config.interval));
//!         Ok(())
//!     }
//!     async fn on_tick(&mut self, _: &Context) -> Result<()> {
//!         self.lit = !self.lit;
//!         self.zmq.publish("lamp", &json!({"type": "lamp", "lit": self.lit}))
//!     }
//! }
//!
//! export_service!(Lamp);
//! # fn main() {}
//! ```
//!
//! `plugins/heartbeat` is the service to copy: it also handles commands.
//!
//! * [`Service`]: what an author writes. [`Context`]: what a service asks and tells its host.
//! * [`SavedState`]: what a service hands over when a new build takes its place.
//! * [`Message`]: what comes in, and [`Handlers`]: which method it goes to. [`schemas`]: the messages
//!   that the services of an installation share.
//! * [`zmq`]: sockets, their configuration and handles. [`Worker`](zmq::Worker) and
//!   [`Controller`](zmq::Controller): tasks, results, and a plugin of each.
//! * [`Secret`]: a text of the configuration that nobody is shown. [`Argument`]: what the command line
//!   takes for a service besides its configuration.
//! * [`Error`]: kinds of failure, and what becomes of the service. [`state`]: its life.
//! * `tracing` and `log` macros, and panics, end up in the host's log under the service's name.
//! * [`abi`]: the frozen boundary; authors need nothing of it.

extern crate self as plugin_api;

pub mod abi;
pub mod argument;
pub mod constants;
pub mod context;
pub mod error;
mod export;
pub mod handlers;
pub mod handover;
mod json;
mod log;
pub mod manifest;
pub mod message;
pub mod prelude;
mod runtime;
pub mod schemas;
pub mod secret;
pub mod service;
pub mod state;
pub mod stats;
pub mod zmq;

pub use argument::Argument;
pub use context::Context;
pub use error::{Error, ErrorKind, Result};
pub use handlers::Handlers;
pub use handover::{ConfigChange, SavedState};
pub use message::Message;
pub use secret::Secret;
pub use service::Service;
pub use zmq::Task;

// So that a plugin needs no other dependency, and never another version of one of these.
pub use {schemars, serde, serde_json, tokio, tracing};
