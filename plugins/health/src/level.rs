//! How bad something is, for those who are told.

use std::fmt;

use plugin_api::prelude::*;

config! {
    /// How bad something is.
    #[derive(PartialOrd, Ord)]
    pub enum Level {
        /// Works, with something to look at.
        #[default]
        Warning,
        /// Something failed, or nothing is heard of it.
        Error,
        /// It cannot go on.
        Fatal,
    }
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
