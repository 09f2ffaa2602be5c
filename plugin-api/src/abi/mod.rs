//! The frozen part: everything whose bytes the host and a plugin must agree on.
//!
//! This is the only module of the crate that names `abi_stable`. The rules that keep it sound:
//!
//! * **No future, waker, runtime or socket crosses.** The host calls one blocking function on a
//!   thread of its own ([`PluginModule::run`]); everything asynchronous lives inside the plugin.
//! * **No heap memory of a plugin crosses.** What a plugin hands out is a borrowed slice that the
//!   host copies before the call returns, or goes through a [`ByteSink`] of the host's. What the
//!   host hands in is [`HostBytes`], freed by host code.
//! * **No panic crosses.** Every function on either side runs its body under `catch_unwind`.
//! * Plain structs are frozen for a major version of this crate. Only the two prefix types,
//!   [`PluginModule`] and [`HostVtable`], may grow, at their end, with
//!   `#[sabi(missing_field(option))]`.

mod bytes;
mod client;
mod codes;
mod host;
pub mod identity;
#[cfg(test)]
mod idle;
mod module;
#[cfg(pthread_hooks)]
pub mod pthreads;
#[cfg(not(pthread_hooks))]
#[path = "pthreads_absent.rs"]
mod pthreads;
pub mod runner;

pub(crate) use client::{Host, Word};

pub(crate) use bytes::CheckedEnvelope;
pub use bytes::{ByteSink, HostBytes, RawEnvelope};
pub(crate) use codes::codes;
pub use codes::{
    ConfigOutcome, Counter, EnvelopeKind, Restored, RunOutcome, SendOutcome, Severity, Step,
};
pub use host::{
    CallsiteInfo, FieldKind, HostHandle, HostVtable, HostVtableRef, LogField, LogRecord,
    NO_HANDLER, TransitionReply,
};
pub use module::{LiveThreads, PluginModule, PluginModuleRef, RunArguments};

// Tests build host tables of their own.
#[cfg(test)]
pub(crate) use abi_stable::prefix_type::PrefixTypeTrait;
#[cfg(test)]
pub(crate) use idle::{idle_host, with_mailbox};

// The export macro and the host reach abi_stable through these names alone.
pub use abi_stable::std_types::{RSlice, RStr};

#[doc(hidden)]
pub mod export {
    //! What `export_service!` expands to; not for use by hand.
    pub use abi_stable::abi_stability::stable_abi_trait::StableAbi;
    pub use abi_stable::library::{
        __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult,
    };
    pub use abi_stable::prefix_type::{PrefixRefTrait, WithMetadata};
}
