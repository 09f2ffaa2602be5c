//! A running instance, here or in a process of its own: what the supervisor does with either.

use std::io;
use std::sync::Arc;

use plugin_api::abi::RunOutcome;

use crate::config::isolation::Isolation;
use crate::isolated::{Child, ChildRequest};
use crate::plugin::code::Code;
use crate::plugin::host_side::ServiceHost;
use crate::plugin::instance::Instance as Thread;
use crate::plugin::library::RunRequest;
use crate::prepare::Present;

/// A running instance of a service.
pub(super) enum Instance {
    /// On a thread of this process.
    Here(Thread),
    /// In a process of its own.
    Apart(Apart),
}

pub(super) struct Apart {
    child: Child,
    /// Whether it was killed because it did not stop.
    is_killed: bool,
}

impl Instance {
    /// Runs an instance of what is there.
    ///
    /// # Errors
    /// When the operating system gives no thread, or more services run than the host has room for.
    pub(super) fn spawn(
        present: &Present,
        host: Arc<dyn ServiceHost>,
        run: RunRequest,
        on_end: impl FnOnce(RunOutcome) + Send + 'static,
    ) -> io::Result<Self> {
        match &present.library {
            Code::Here(library) => {
                Thread::spawn(Arc::clone(library), host, run, on_end).map(Self::Here)
            }
            Code::Apart(staged) => {
                let memory_limit = match present.terms.isolation {
                    Isolation::Process { memory_limit } => memory_limit,
                    Isolation::Thread => None,
                };
                let request = ChildRequest { staged: Arc::clone(staged), run, memory_limit };
                let child = Child::spawn(host, request, on_end)?;
                Ok(Self::Apart(Apart { child, is_killed: false }))
            }
        }
    }

    /// Kills it, if it has a process and was not killed before; its end then comes as any other's.
    pub(super) fn kill(&mut self, why: impl FnOnce() -> String) -> bool {
        match self {
            Self::Apart(apart) if !apart.is_killed => {
                apart.child.kill(why());
                apart.is_killed = true;
                true
            }
            Self::Here(_) | Self::Apart(_) => false,
        }
    }

    /// Takes the host away from it: when this returns nothing of it reaches the host any more.
    pub(super) fn cut_off(&self) {
        match self {
            Self::Here(thread) => thread.cut_off(),
            Self::Apart(apart) => apart.child.cut_off(),
        }
    }

    /// Waits for the end of its thread, which has reported its end.
    pub(super) fn join(self) {
        match self {
            Self::Here(thread) => thread.join(),
            Self::Apart(apart) => apart.child.join(),
        }
    }

    /// The number of its process, if it has one.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Here(_) => None,
            Self::Apart(apart) => apart.child.pid(),
        }
    }

    /// The number of its thread in this process, if it runs on one.
    pub(super) fn thread(&self) -> Option<u32> {
        match self {
            Self::Here(thread) => thread.number(),
            Self::Apart(_) => None,
        }
    }
}
