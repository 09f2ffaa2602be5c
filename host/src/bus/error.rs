//! Why the bus refused something.

use std::fmt;

/// One line that says what is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusError {
    /// What is wrong, naming the endpoint, the service and the key.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl BusError {
    /// An error without a hint.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts words before the message.
    #[must_use]
    pub fn within(self, before: impl fmt::Display) -> Self {
        Self { message: format!("{before}: {}", self.message), hint: self.hint }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for BusError {}
