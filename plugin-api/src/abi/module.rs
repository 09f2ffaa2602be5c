//! What a plugin offers the host: one table of functions.
#![allow(unsafe_code, reason = "the derive reads the fields that an older plugin may lack by it")]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::RSlice;
use serde::{Deserialize, Serialize};

use super::bytes::ByteSink;
use super::host::HostHandle;

/// The plugin's functions. None of them unwinds.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef, prefix_fields = PluginModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// Writes the manifest (a JSON [`Manifest`](crate::manifest::Manifest)); false when that failed,
    /// with the reason in the sink instead.
    pub manifest: extern "C" fn(ByteSink) -> bool,
    /// Reads a configuration (JSON) as the service's own type would; false when it does not fit,
    /// with a JSON list of [`ConfigProblem`](crate::manifest::ConfigProblem) in the sink.
    pub check_config: extern "C" fn(RSlice<'_, u8>, ByteSink) -> bool,
    /// Runs one instance of the service on the calling thread, from `new` to `stop`, and returns a
    /// [`RunOutcome`](super::RunOutcome) code.
    #[sabi(last_prefix_field)]
    pub run: extern "C" fn(HostHandle, &RunArguments<'_>) -> u8,
    // Since 1.1.
    /// Writes which threads that this library's code started still live, as a JSON
    /// [`LiveThreads`]; false when it cannot tell, with the reason in the sink
    /// instead.
    #[sabi(missing_field(option))]
    pub live_threads: extern "C" fn(ByteSink) -> bool,
    /// The last call before the library is closed: gives back what can be given back, and writes
    /// the pthread keys that its code holds, as a JSON list of numbers. Whoever closes the library
    /// deletes them, once it is closed. False when it does not know them and so must not be closed,
    /// with the reason in the sink instead.
    #[sabi(missing_field(option))]
    pub unload: extern "C" fn(ByteSink) -> bool,
}

/// The threads that a library started and that still live, as JSON crosses the boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveThreads {
    /// Their numbers, as the kernel has them; 0 for one that is just being made.
    pub alive: Vec<i32>,
    /// How many were not followed, because too many lived at once: nobody knows of these.
    pub uncounted: usize,
}

/// What an instance is started with.
#[repr(C)]
#[derive(StableAbi)]
pub struct RunArguments<'a> {
    /// The service's name in its project.
    pub service: abi_stable::std_types::RStr<'a>,
    /// The project's name, with its variant.
    pub project: abi_stable::std_types::RStr<'a>,
    /// The effective configuration, as JSON.
    pub config: RSlice<'a, u8>,
    /// Seconds that the service may take to stop, after which it is given up.
    pub stop_timeout: f64,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "exphost_plugin";
    const NAME: &'static str = "exphost_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}
