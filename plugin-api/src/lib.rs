//! Write a service for exphost.

extern crate self as plugin_api;

pub mod abi;
pub mod constants;
pub mod context;
pub mod error;
mod export;
mod log;
pub mod manifest;
pub mod message;
pub mod prelude;
mod runtime;
pub mod schemas;
pub mod service;
pub mod state;
pub mod stats;
pub mod zmq;

pub use context::Context;
pub use error::{Error, ErrorKind, Result};
pub use message::Message;
pub use service::Service;

#[doc(hidden)]
pub use {schemars, serde, serde_json, tokio, tracing};
