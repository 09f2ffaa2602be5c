//! What the supervisor can be told, and what it answers, while it runs. Whoever gives orders (the
//! control socket, the watcher, a signal) holds an [`Orders`]; nobody else reaches the services.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::status::Status;
use crate::bus::tap::Listening;
use crate::logging::{Level, Levels, UnknownLevel};

/// One order.
#[derive(Debug)]
pub enum Order {
    /// Tell how everything is.
    Status(oneshot::Sender<Status>),
    /// Have a service run what its plugin file and its configuration say now.
    Reload {
        /// The service.
        service: String,
        /// Whether a lower version may take the place of a higher one.
        force: bool,
        /// Who hears of it.
        listener: Listener,
    },
    /// Start a service that does not run.
    Start {
        /// The service.
        service: String,
        /// Who hears of it.
        listener: Listener,
    },
    /// Stop a service; it stays stopped until it is started by order.
    Stop {
        /// The service.
        service: String,
        /// Who hears of it.
        listener: Listener,
    },
    /// Stop a service and start it again, with the build and the configuration that it has; one that
    /// does not run is started.
    Restart {
        /// The service.
        service: String,
        /// Who hears of it.
        listener: Listener,
    },
    /// Tell the levels of the log, after a change if one is wanted.
    LogLevel {
        /// The service that is meant; the host and all others when there is none.
        service: Option<String>,
        /// What is to be changed.
        change: Option<LevelChange>,
        /// The levels that are in force then.
        reply: oneshot::Sender<Result<Levels, Refused>>,
    },
    /// Tell where the log files are.
    LogFiles {
        /// The service whose file is meant; all files when there is none.
        service: Option<String>,
        /// The files, the host's own first.
        reply: oneshot::Sender<Result<Vec<LogFile>, Refused>>,
    },
    /// Publish a message by a service's own publisher.
    Publish {
        /// The message.
        publication: Publication,
        /// How it went.
        reply: oneshot::Sender<Result<Published, Refused>>,
    },
    /// Listen to the messages that pass the bus.
    Listen {
        /// The beginning of their topics.
        topic: String,
        /// What is heard.
        reply: oneshot::Sender<Result<Listening, Refused>>,
    },
    /// Look for plugin files that changed, and reload what they concern.
    LookForPlugins,
    /// Look for configuration files that changed, and apply what they say.
    LookForConfig,
}

/// A change of the log's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum LevelChange {
    /// To this level.
    To(Level),
    /// Back: of a service to the host's level, of the host to the one that it was started with.
    Default,
}

impl From<LevelChange> for &'static str {
    fn from(change: LevelChange) -> Self {
        match change {
            LevelChange::To(level) => level.name(),
            LevelChange::Default => "DEFAULT",
        }
    }
}

impl TryFrom<String> for LevelChange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("default") {
            return Ok(Self::Default);
        }
        text.parse().map(Self::To).map_err(|error: UnknownLevel| format!("{error}, or DEFAULT"))
    }
}

/// A log file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// The service; null for the host's own.
    pub service: Option<String>,
    /// Where it is. It may not exist yet.
    pub file: PathBuf,
}

/// A message that the operator publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The service by whose publisher; it may be left open when there is one only.
    pub service: Option<String>,
    /// Its topic.
    pub topic: String,
    /// Its payload, as JSON.
    pub payload: Vec<u8>,
}

/// A message that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The service by whose publisher.
    pub service: String,
    /// The configuration key of the publisher.
    pub key: String,
    /// Where the publisher is.
    pub endpoint: String,
    /// The topic.
    pub topic: String,
    /// Bytes of the payload.
    pub size: usize,
    /// Connections that the publisher had.
    pub connections: usize,
    /// Subscribers of the same host that it was joined with.
    pub joined: usize,
}

/// Gives orders to the supervisor; cheap to clone. The channel is bounded, so that a flood of orders
/// waits at its sender.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::Sender<Order>);

/// How many orders wait.
const WAITING: usize = 64;

impl Orders {
    /// A channel for orders.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Gives an order.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn give(&self, order: Order) -> Result<(), Ended> {
        self.0.send(order).await.map_err(|_| Ended)
    }

    /// Waits until the supervisor has ended.
    pub async fn ended(&self) {
        self.0.closed().await;
    }

    /// Gives an order from a thread that has no async runtime; waits while the channel is full.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub fn give_blocking(&self, order: Order) -> Result<(), Ended> {
        self.0.blocking_send(order).map_err(|_| Ended)
    }
}

/// The supervisor has ended and takes no orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host is ending")]
pub struct Ended;

/// Where the course of an order is reported: any number of [`Report::Step`], then the one report
/// that ends it, after which the channel is closed. A listener that went away changes nothing.
pub type Listener = mpsc::UnboundedSender<Report>;

/// What a listener hears. On the wire each is one JSON object, told apart by its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// A step of a reload has ended.
    Step(Step),
    /// The reload is over.
    Verdict(Verdict),
    /// A service that was to start or to stop has come this far.
    Progress(Progress),
    /// The order makes no sense: there is no such service, or it is already so.
    Refused(Refused),
}

/// One step of a reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The service.
    pub service: String,
    /// `identify`, `stage`, `probe`, `load`, `config`, `stop`, `start`, `commit` or `rollback`.
    pub step: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What there is to say of it; null when nothing.
    pub detail: Option<String>,
}

/// How a reload ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The service.
    pub service: String,
    /// How.
    pub verdict: Decision,
    /// The version that ran before; null when none did.
    pub from: Option<String>,
    /// The version that was to run; null when there was none to be had.
    pub to: Option<String>,
    /// How long the whole took, in milliseconds.
    pub ms: f64,
    /// For how long no instance of the service was running, in milliseconds; null when the old one
    /// was never stopped.
    pub gap_ms: Option<f64>,
    /// Why the new build does not run; null when it does.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The possible ends of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The new build runs.
    Reloaded,
    /// The new build was turned away before the running one was touched.
    Refused,
    /// The new build failed; the old one was started again.
    RolledBack,
}

impl Decision {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reloaded => "reloaded",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// How far a start or a stop is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The service.
    pub service: String,
    /// Its state, as `status` names it.
    pub state: String,
    /// Whether this is the end of the order.
    pub done: bool,
    /// Whether it came to the end that was ordered.
    pub ok: bool,
    /// What there is to say of it.
    pub detail: Option<String>,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub error: String,
    /// What to do instead.
    pub hint: Option<String>,
}
