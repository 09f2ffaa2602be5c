//! What nearly every service uses: `use plugin_api::prelude::*;`.

pub use std::time::Duration;

pub use schemars::JsonSchema;
pub use serde::{Deserialize, Serialize};
pub use serde_json::{Value, json};

pub use crate::argument::Argument;
pub use crate::context::Context;
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::handlers::Handlers;
pub use crate::handover::{ConfigChange, SavedState};
pub use crate::manifest::ConfigProblems;
pub use crate::message::Message;
pub use crate::schemas::MessageType;
pub use crate::secret::Secret;
pub use crate::service::Service;
pub use crate::state::{HealthStatus, ServiceState};
pub use crate::zmq::{
    Controller, ControllerConfig, PubSub, PubSubConfig, PublisherConfig, SubscriberConfig, Task,
    Worker, WorkerConfig, WorkerLink,
};
pub use crate::{config, export_service, saved_state};
