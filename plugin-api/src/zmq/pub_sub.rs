//! The handle of a service that publishes, subscribes, or both.

use std::rc::Rc;

use serde::Serialize;

use super::config::{PubSubConfig, PublisherConfig, SubscriberConfig};
use super::outlet::{Outlet, Tagged};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::message::type_of;
use crate::schemas::Typed;

/// What a service publishes with and listens by. The host owns the sockets; this is a handle.
///
/// The default value is connected to nothing: publishing with it is an error.
#[derive(Clone, Default)]
pub struct PubSub(Option<Rc<Connected>>);

struct Connected {
    publisher: Option<Outlet>,
    default_topic: Option<String>,
}

impl PubSub {
    pub(crate) fn open(ctx: &Context, config: &PubSubConfig) -> Result<Self> {
        if config.publisher.is_none() && config.subscriber.is_none() {
            return Err(Error::invalid(
                "zmq: neither `zmq.publisher` nor `zmq.subscriber` is configured; give at least one",
            ));
        }
        Self::open_parts(ctx, config.publisher.as_ref(), config.subscriber.as_ref())
    }

    /// Both parts are left out where a worker or a controller needs neither.
    pub(super) fn open_parts(
        ctx: &Context,
        publisher: Option<&PublisherConfig>,
        subscriber: Option<&SubscriberConfig>,
    ) -> Result<Self> {
        // The subscriber first: what others answer to the first message must find it there.
        if let Some(subscriber) = subscriber {
            ctx.shared().host.open_socket(&subscriber.spec()).map_err(Error::new)?;
            ctx.shared().listens.set(true);
        }
        let default_topic = publisher.and_then(|config| config.default_topic.clone());
        let publisher = publisher.map(|config| Outlet::open(ctx, &config.spec())).transpose()?;
        Ok(Self(Some(Rc::new(Connected { publisher, default_topic }))))
    }

    /// Publishes `body` as JSON on `topic`. The host sends it; this does not wait.
    ///
    /// # Errors
    /// When the topic is empty or contains a space, when `body` has no JSON form, when there is no
    /// publisher, when the host is closing, and (kind
    /// [`ErrorKind::Retryable`](crate::ErrorKind::Retryable)) when the publisher's queue is full, in
    /// which case the message is dropped and counted.
    pub fn publish(&self, topic: &str, body: &impl Serialize) -> Result<()> {
        let (_, publisher) = self.publisher()?;
        publisher.serialized(body, |json| send(publisher, topic, json))
    }

    /// Publishes a message of the shared types, tagged with its type, which is also the topic.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_message<T: Typed>(&self, message: &T) -> Result<()> {
        self.publish(T::TYPE, &Tagged::of(message))
    }

    /// Publishes JSON on the topic that its own `type` names, or else on the publisher's
    /// `default_topic`.
    ///
    /// # Errors
    /// When there is neither; otherwise as for [`publish`](Self::publish).
    pub fn publish_json(&self, body: &impl Serialize) -> Result<()> {
        let (connected, publisher) = self.publisher()?;
        publisher.serialized(body, |json| {
            let topic = type_of(json).or(connected.default_topic.as_deref().map(Into::into));
            let topic = topic.ok_or_else(|| {
                Error::invalid(
                    "the message names no topic: it has no `type`, and `zmq.publisher.default_topic` is not set",
                )
            })?;
            send(publisher, &topic, json)
        })
    }

    fn publisher(&self) -> Result<(&Connected, &Outlet)> {
        let connected = self.0.as_deref().ok_or_else(|| {
            Error::invalid(
                "these sockets are not open; open them in start() with ctx.pub_sub(…), \
                 ctx.worker(…) or ctx.controller(…)",
            )
        })?;
        let publisher = connected.publisher.as_ref().ok_or_else(|| {
            Error::invalid("there is no `zmq.publisher` in the configuration to publish with")
        })?;
        Ok((connected, publisher))
    }
}

fn send(publisher: &Outlet, topic: &str, json: &[u8]) -> Result<()> {
    if topic.is_empty() || topic.contains(' ') {
        return Err(Error::invalid(format!(
            "`{topic}` is not a topic: it must not be empty or contain a space"
        )));
    }
    publisher.send(topic, json)
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub").field("open", &self.0.is_some()).finish_non_exhaustive()
    }
}
