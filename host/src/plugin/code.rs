//! Where the code of a service's build runs.

use std::sync::Arc;

use super::error::LoadError;
use super::identify::Identity;
use super::library::Library;
use super::stage::Staged;

/// A build that passed the probe.
#[derive(Clone, Debug)]
pub enum Code {
    /// Opened in this process, to run on a thread of it.
    Here(Arc<Library>),
    /// Not opened here: each instance runs in a process of its own, which opens the private copy.
    Apart(Arc<Staged>),
}

impl Code {
    /// Makes a staged build ready to run, here or apart.
    ///
    /// # Errors
    /// When it is to run here and cannot be opened.
    pub fn of(staged: Staged, apart: bool) -> Result<Self, LoadError> {
        if apart {
            return Ok(Self::Apart(Arc::new(staged)));
        }
        Library::open(staged).map(|library| Self::Here(Arc::new(library)))
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        match self {
            Self::Here(library) => library.identity(),
            Self::Apart(staged) => staged.identity(),
        }
    }

    /// Whether it runs in processes of its own.
    #[must_use]
    pub const fn is_apart(&self) -> bool {
        matches!(self, Self::Apart(_))
    }
}
