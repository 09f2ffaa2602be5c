//! Handlers by topic, so that `on_message` need not be one long `match`.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::Result;
use crate::message::Message;
use crate::schemas::Typed;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A handler of plain messages.
trait Plain<S> {
    fn call<'a>(&'a self, service: &'a mut S, ctx: &'a Context, message: Message) -> Answer<'a>;
}

impl<S, F: AsyncFn(&mut S, &Context, Message) -> Result<()>> Plain<S> for F {
    fn call<'a>(&'a self, service: &'a mut S, ctx: &'a Context, message: Message) -> Answer<'a> {
        Box::pin(self(service, ctx, message))
    }
}

/// A handler of messages of one type; gives the service back when the payload does not fit it.
trait Parsing<S> {
    fn call<'a>(
        &'a self,
        service: &'a mut S,
        ctx: &'a Context,
        message: &Message,
    ) -> Result<Answer<'a>, &'a mut S>;
}

struct Of<T, F>(F, std::marker::PhantomData<fn() -> T>);

impl<S, T, F> Parsing<S> for Of<T, F>
where
    T: DeserializeOwned,
    F: AsyncFn(&mut S, &Context, T) -> Result<()>,
{
    fn call<'a>(
        &'a self,
        service: &'a mut S,
        ctx: &'a Context,
        message: &Message,
    ) -> Result<Answer<'a>, &'a mut S> {
        match message.json::<T>() {
            Ok(parsed) => Ok(Box::pin((self.0)(service, ctx, parsed))),
            Err(_) => Err(service),
        }
    }
}

/// Which method handles which messages. A service fills it in
/// [`Service::handlers`](crate::Service::handlers).
///
/// A message goes to the handler of its type, if its payload fits; else to the handler of exactly
/// its topic; else to the catch-all; else to [`on_message`](crate::Service::on_message).
///
/// ```
/// use plugin_api::prelude::*;
/// use plugin_api::schemas::SpaceTimeUpdate;
///
/// # config! { pub struct Config {} }
/// struct Lamp { lit: bool }
///
/// impl Lamp {
///     async fn on_status(&mut self, _: &Context, message: Message) -> Result<()> {
///         self.lit = message.json::<Value>()?["ok"] == true;
///         Ok(())
///     }
///     async fn on_update(&mut self, _: &Context, update: SpaceTimeUpdate) -> Result<()> {
///         self.lit = update.tags.is_some();
///         Ok(())
///     }
/// }
///
/// impl Service for Lamp {
///     type Config = Config;
///
///     async fn new(_: Config, _: &Context) -> Result<Self> {
///         Ok(Self { lit: false })
///     }
///     fn handlers(handlers: &mut Handlers<Self>) {
///         handlers.topic("status", Self::on_status).message::<SpaceTimeUpdate>(Self::on_update);
///     }
/// }
/// ```
pub struct Handlers<S> {
    types: HashMap<&'static str, Box<dyn Parsing<S>>>,
    topics: HashMap<String, Box<dyn Plain<S>>>,
    any: Option<Box<dyn Plain<S>>>,
}

impl<S: 'static> Handlers<S> {
    pub(crate) fn new() -> Self {
        Self { types: HashMap::new(), topics: HashMap::new(), any: None }
    }

    /// Messages of exactly this topic go to `handler`; `""` and `"*"` mean [`any`](Self::any). A
    /// second handler of a topic takes the place of the first.
    pub fn topic(
        &mut self,
        topic: impl Into<String>,
        handler: impl AsyncFn(&mut S, &Context, Message) -> Result<()> + 'static,
    ) -> &mut Self {
        let topic = topic.into();
        if matches!(topic.as_str(), "" | "*") {
            return self.any(handler);
        }
        self.topics.insert(topic, Box::new(handler));
        self
    }

    /// Messages of the topic that `T` is named by go to `handler` as a `T`. Those whose fields do not
    /// fit go on as they are, as if this handler were not there.
    pub fn message<T: Typed + DeserializeOwned + 'static>(
        &mut self,
        handler: impl AsyncFn(&mut S, &Context, T) -> Result<()> + 'static,
    ) -> &mut Self {
        self.types.insert(T::TYPE, Box::new(Of(handler, std::marker::PhantomData)));
        self
    }

    /// Messages that no handler is there for go to this one, and none to `on_message` any more.
    pub fn any(
        &mut self,
        handler: impl AsyncFn(&mut S, &Context, Message) -> Result<()> + 'static,
    ) -> &mut Self {
        self.any = Some(Box::new(handler));
        self
    }

    /// Begins to handle a message; gives the service back when that is `on_message`'s part.
    pub(crate) fn handle<'a>(
        &'a self,
        mut service: &'a mut S,
        ctx: &'a Context,
        message: &Message,
    ) -> Result<Answer<'a>, &'a mut S> {
        if let Some(handler) = self.types.get(message.topic()) {
            match handler.call(service, ctx, message) {
                Ok(answer) => return Ok(answer),
                Err(back) => service = back,
            }
        }
        match self.topics.get(message.topic()).or(self.any.as_ref()) {
            Some(handler) => Ok(handler.call(service, ctx, message.clone())),
            None => Err(service),
        }
    }
}

impl<S> fmt::Debug for Handlers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("types", &self.types.keys())
            .field("topics", &self.topics.keys())
            .field("any", &self.any.is_some())
            .finish()
    }
}
