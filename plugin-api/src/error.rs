//! Errors of a service, and what the host makes of each kind.

use std::fmt;

/// The result of everything an author writes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is: it decides what happens to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something failed. From a handler it is recorded and the service goes on; from a task, `start`
    /// or `run` it ends the service.
    Failed,
    /// As `Failed`, and trying again may help.
    Retryable,
    /// What came in, or was asked for, makes no sense; trying again will not help.
    Invalid,
    /// The service cannot go on: it is recorded as fatal and the service stops.
    Fatal,
    /// No handler takes the message; it is counted, and warned about now and then.
    Unhandled,
    /// The payload is not JSON, or not of the shape that was asked for.
    BadMessage,
    /// From [`restore_state`](crate::Service::restore_state): the service would rather start fresh
    /// than fail. From anywhere else it is like `Failed`.
    StartFresh,
    /// The service is stopping, so the operation was not begun.
    Stopping,
    /// A panic was caught and has been recorded already.
    Panicked,
}

/// An error of a service.
///
/// Any standard error becomes one through `?`, of kind [`ErrorKind::Failed`].
///
/// ```
/// use plugin_api::{Error, ErrorKind};
///
/// fn port(text: &str) -> plugin_api::Result<u16> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(port("door").unwrap_err().kind(), ErrorKind::Failed);
/// assert_eq!(Error::fatal("the camera is gone").kind(), ErrorKind::Fatal);
/// ```
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error>>,
}

impl Error {
    /// An error of the given kind.
    #[must_use]
    pub fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Something failed.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Failed, message)
    }

    /// Something failed that may succeed at another time.
    #[must_use]
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Retryable, message)
    }

    /// Something makes no sense.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Invalid, message)
    }

    /// The service cannot go on.
    #[must_use]
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Fatal, message)
    }

    /// What `on_message` answers for a topic that it does not know.
    #[must_use]
    pub fn unhandled() -> Self {
        Self::of(ErrorKind::Unhandled, "no handler")
    }

    /// What [`restore_state`](crate::Service::restore_state) answers to a state that it cannot use
    /// and can do without: a warning is logged, and the service starts as if there were none.
    #[must_use]
    pub fn start_fresh(reason: impl Into<String>) -> Self {
        Self::of(ErrorKind::StartFresh, reason)
    }

    /// The same error, of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error with what was being done in front: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self { kind: ErrorKind::Failed, message: error.to_string(), source: Some(Box::new(error)) }
    }
}

/// The message, and those of its causes that it does not repeat.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut said = self.message.clone();
        let mut cause = self.source.as_deref().and_then(std::error::Error::source);
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}
