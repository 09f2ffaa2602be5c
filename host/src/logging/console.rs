//! Standard error: the console, and the few words the host must get out when files fail.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The one place that writes to standard error.
pub(super) struct Console {
    out: Mutex<Box<dyn Write + Send>>,
}

impl Console {
    pub(super) fn stderr() -> Self {
        Self::to(std::io::stderr())
    }

    pub(super) fn to(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)) }
    }

    /// Writes one finished line. A console that went away is nobody's loss, so errors are dropped.
    pub(super) fn write_line(&self, line: &[u8]) {
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(line);
    }

    /// Says something about logging itself, which therefore cannot be logged.
    pub(super) fn notice(&self, text: &str) {
        self.write_line(format!("exphost: {text}\n").as_bytes());
    }
}
