//! A plugin opened in this process: the only file of the host that opens a library, and the only one
//! that names `abi_stable`.
//!
//! # Safety
//! The order of [`Library::open`] is the argument; see the module above. `abi_stable` gives the
//! types, the derive and the layout checker. Its own loading functions are not used: they hand out
//! one module for all files, bind lazily, and keep pointers into libraries in a cache.
//!
//! A library stays mapped until [`unload`](super::unload) has proved that nothing leads into it any
//! more; one that is merely dropped, or was refused after it was opened, stays for ever: its
//! constructors have run by then, and may have left threads, thread-local destructors or handlers
//! that lead into its code.
//!
//! **Whatever of a library runs in the host runs on a thread that ends soon** and is joined: that of
//! the instance, or one made for the call ([`apart`]). A thread-local of the plugin's that was used on
//! a thread of the host's would be destroyed at that thread's end, by code of the library: until then
//! the dynamic linker keeps it, or, worse, does not know that it has to.
#![allow(unsafe_code)]

use std::error::Error;
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, AbiInstabilityErrors, CheckingGlobals, ExpectedFound,
    check_layout_compatibility_with_globals,
};
use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError, ROOT_MODULE_LOADER_NAME};
use abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};
use libloading::os::unix::{Library as Mapping, RTLD_LOCAL, RTLD_NOW};
use plugin_api::abi::{ByteSink, PluginModuleRef, RSlice, RStr, RunArguments, RunOutcome};
use plugin_api::manifest::{ConfigProblem, Manifest};

use super::dependencies::remember_the_hosts_own_libraries;
use super::desk::Desk;
use super::error::{Fault, LoadError, OpenFault};
use super::host_side::ServiceHost;
use super::identify::Identity;
use super::stage::Staged;
use super::vtable;

/// A plugin whose functions may be called. Dropped, it stays mapped, and its file where it is for
/// backtraces; see [`unload`](super::unload::unload).
pub struct Library {
    pub(super) opened: Opened,
    pub(super) staged: ManuallyDrop<Staged>,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("file", &self.staged.path()).finish_non_exhaustive()
    }
}

/// What one run of a service is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// The service's name in its project.
    pub service: String,
    /// The project's name, with its variant.
    pub project: String,
    /// The effective configuration, as JSON.
    pub config: Vec<u8>,
    /// How long the service may take to stop.
    pub stop_timeout: Duration,
}

impl Library {
    /// Opens a staged plugin in this process; the private copy stays as long as the value lives.
    ///
    /// Call it for a file that passed the probe only.
    ///
    /// # Errors
    /// When the dynamic linker refuses the file, or its types are not the host's.
    pub fn open(staged: Staged) -> Result<Self, LoadError> {
        remember_the_hosts_own_libraries();
        let opened = apart(|| open_module(staged.path()))
            .unwrap_or_else(|error| Err(OpenFault::Module { reason: error.to_string() }))
            .map_err(|fault| LoadError::new(&staged.identity().file, fault))?;
        Ok(Self { opened, staged: ManuallyDrop::new(staged) })
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.staged.identity()
    }

    /// The plugin's description of itself, which must agree with its identity record.
    ///
    /// # Errors
    /// When the plugin cannot give it, or gives another plugin's.
    pub fn manifest(&self) -> Result<Manifest, LoadError> {
        let identity = self.identity();
        apart(|| manifest_of(self.opened.module))
            .unwrap_or_else(|error| Err(OpenFault::Manifest { reason: error.to_string() }))
            .and_then(|manifest| {
                agrees(&manifest, &identity.name, &identity.version.to_string())?;
                Ok(manifest)
            })
            .map_err(|fault| LoadError::new(&identity.file, fault))
    }

    /// Reads a configuration as the service's own type would; empty when it fits.
    #[must_use]
    pub fn check_config(&self, config: &[u8]) -> Vec<ConfigProblem> {
        apart(|| check_config_of(self.opened.module, config)).unwrap_or_else(|error| {
            vec![ConfigProblem { key: String::new(), message: error.to_string() }]
        })
    }

    /// Runs one instance of the service, from `new` to `stop`, on the calling thread, which must be
    /// the instance's own: whatever the plugin leaves behind on it ends with it.
    #[must_use]
    pub fn run(&self, host: Arc<dyn ServiceHost>, request: &RunRequest) -> RunOutcome {
        let desk = match Desk::open(host) {
            Ok(desk) => desk,
            Err(error) => {
                let service = request.service.as_str();
                tracing::error!(service, %error, "the service cannot run");
                return RunOutcome::NoRuntime;
            }
        };
        let outcome = self.run_at(desk, request);
        desk.close();
        outcome
    }

    /// As [`run`](Self::run), at a desk of the caller's.
    pub(super) fn run_at(&self, desk: Desk, request: &RunRequest) -> RunOutcome {
        run_module(self.opened.module, desk, request)
    }
}

/// Opens a file that passed the probe and runs one instance of its service on the calling thread, in
/// a process that has nothing else to do and ends afterwards: the library stays mapped until then.
///
/// # Errors
/// With one line that says why it cannot be opened.
pub fn run_alone(
    file: &Path,
    host: Arc<dyn ServiceHost>,
    request: &RunRequest,
) -> Result<RunOutcome, String> {
    let module = open_module(file).map_err(|fault| Fault::from(fault).to_string())?.module;
    let desk = Desk::open(host).map_err(|error| error.to_string())?;
    let outcome = run_module(module, desk, request);
    desk.close();
    Ok(outcome)
}

fn run_module(module: PluginModuleRef, desk: Desk, request: &RunRequest) -> RunOutcome {
    let arguments = RunArguments {
        service: RStr::from_str(&request.service),
        project: RStr::from_str(&request.project),
        config: RSlice::from_slice(&request.config),
        stop_timeout: request.stop_timeout.as_secs_f64(),
    };
    let code = module.run()(vtable::handle(desk), &arguments);
    RunOutcome::from_code(code).unwrap_or_else(|| {
        let service = request.service.as_str();
        tracing::error!(service, code, "the plugin returned an unknown outcome");
        RunOutcome::Failed
    })
}

/// Makes a call into a plugin on a thread of its own, and returns when that thread is gone.
///
/// # Errors
/// When the operating system gives no thread, or the host's part of the call panicked.
pub(super) fn apart<T: Send>(call: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("plugin-call".to_owned()).spawn_scoped(scope, call)?;
        // By `join` and not by the scope's end, which waits for the call alone: the thread's
        // destructors may be code of the plugin's.
        thread.join().map_err(|payload| {
            std::mem::forget(payload);
            io::Error::other("the host panicked in a call to the plugin")
        })
    })
}

/// A library that was opened.
pub(super) struct Opened {
    /// Closed by nobody but `unload`.
    pub(super) mapping: ManuallyDrop<Mapping>,
    pub(super) module: PluginModuleRef,
}

/// Steps 1 to 4 of the load order; see the module above.
pub(super) fn open_module(file: &Path) -> Result<Opened, OpenFault> {
    // SAFETY: opening runs the library's constructors, which may be anything. In the host it is
    // done only with a file that a child process has opened before without harm, and that nobody
    // else can write; in that child process, harm is what is to be found out.
    let opened = unsafe { Mapping::open(Some(file), RTLD_NOW | RTLD_LOCAL) };
    // Not closed when it is refused below: see the argument at the top.
    let mapping = ManuallyDrop::new(opened.map_err(|error| linker_fault(&error, file))?);
    // SAFETY: `identify` saw that the file defines the symbol. Whoever defines this name exports an
    // `AbiHeader` at it; the first bytes of that are checked by `upgrade` before anything is
    // followed, which is all that can be done about a library that lies.
    let header = unsafe { mapping.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME.as_bytes()) };
    let header = header.map(|symbol| *symbol).map_err(|error| linker_fault(&error, file))?;
    let header = header.upgrade().map_err(|error| header_fault(&error))?;
    check_layout(header)?;
    // SAFETY: the layout of everything that the module leads to has just been found equal, or
    // older in a way that the accessors know (fields that are missing at the end of a prefix type).
    let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() };
    let module = module.map_err(|error| match error {
        LibraryError::RootModule { err, .. } => OpenFault::Module { reason: one_line(&err) },
        other => header_fault(&other),
    })?;
    Ok(Opened { mapping, module })
}

/// Asks the plugin for its manifest.
pub(super) fn manifest_of(module: PluginModuleRef) -> Result<Manifest, OpenFault> {
    let mut written = Vec::new();
    // SAFETY: the one copy of the sink goes to one call, which keeps none, and `written` is not
    // touched before it has returned.
    let sink = unsafe { ByteSink::appending_to(&mut written) };
    if !module.manifest()(sink) {
        let reason = one_line(&String::from_utf8_lossy(&written));
        let reason = if reason.is_empty() { "it panicked".to_owned() } else { reason };
        return Err(OpenFault::Manifest { reason });
    }
    serde_json::from_slice(&written)
        .map_err(|error| OpenFault::Manifest { reason: format!("it is no manifest: {error}") })
}

/// Checks that file and code are of one plugin.
pub(super) fn agrees(manifest: &Manifest, name: &str, version: &str) -> Result<(), OpenFault> {
    for (what, said, written) in
        [("name", &manifest.name, name), ("version", &manifest.version, version)]
    {
        if said != written {
            return Err(OpenFault::OtherSelf {
                what: what.to_owned(),
                manifest: one_line(said),
                identity: written.to_owned(),
            });
        }
    }
    Ok(())
}

/// Lets the plugin read a configuration.
pub(super) fn check_config_of(module: PluginModuleRef, config: &[u8]) -> Vec<ConfigProblem> {
    let mut written = Vec::new();
    // SAFETY: as in `manifest_of`.
    let sink = unsafe { ByteSink::appending_to(&mut written) };
    if module.check_config()(RSlice::from_slice(config), sink) {
        return Vec::new();
    }
    let unreadable = |text: String| vec![ConfigProblem { key: String::new(), message: text }];
    match serde_json::from_slice::<Vec<ConfigProblem>>(&written) {
        Ok(problems) if !problems.is_empty() => problems,
        Ok(_) => unreadable("the plugin refuses the configuration without a reason".to_owned()),
        Err(_) if written.is_empty() => {
            unreadable("the plugin panicked while reading the configuration".to_owned())
        }
        Err(error) => unreadable(format!("the plugin's answer cannot be read: {error}")),
    }
}

/// The linker's own words, which libloading keeps in the source; without the private copy's path.
fn linker_fault(error: &libloading::Error, file: &Path) -> OpenFault {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    let prefix = format!("{}: ", file.display());
    OpenFault::Linker { reason: one_line(text.strip_prefix(&prefix).unwrap_or(&text)) }
}

fn header_fault(error: &LibraryError) -> OpenFault {
    let reason = match error {
        LibraryError::InvalidAbiHeader(found) => {
            format!("it was made by abi_stable {}.{}", found.abi_major, found.abi_minor)
        }
        LibraryError::InvalidCAbi { .. } => "its C calling convention is another one".to_owned(),
        LibraryError::IncompatibleVersionNumber { actual_version, expected_version, .. } => {
            format!("plugin-api {actual_version} where {expected_version} is needed")
        }
        other => one_line(other),
    };
    OpenFault::Header { reason }
}

pub(super) fn one_line(text: &(impl std::fmt::Display + ?Sized)) -> String {
    let text = text.to_string();
    let words: Vec<&str> = text.split_whitespace().take(60).collect();
    words.join(" ")
}

/// Compares the plugin's types with the host's, forward and, for a plugin of an older minor,
/// backward. The checker's memory of earlier comparisons is new each time: it holds pointers into
/// libraries.
fn check_layout(header: &LibHeader) -> Result<(), OpenFault> {
    let host = <PluginModuleRef as StableAbi>::LAYOUT;
    let plugin = header.layout().ok_or(OpenFault::NoLayout)?;
    let compare = |interface: &'static TypeLayout, implementation: &'static TypeLayout| {
        let globals = CheckingGlobals::new();
        check_layout_compatibility_with_globals(interface, implementation, &globals)
    };
    let Err(forward) = compare(host, plugin) else { return Ok(()) };
    if compare(plugin, host).is_ok() {
        return Ok(());
    }
    Err(OpenFault::Layout { differences: differences(&forward), report: forward.to_string() })
}

/// The first few differences, each as `type: what: the host's figure, the plugin's figure`.
fn differences(errors: &AbiInstabilityErrors) -> Vec<String> {
    const SHOWN: usize = 3;
    let mut all: Vec<String> = Vec::new();
    for error in &errors.errors {
        for difference in &error.errs {
            let line = format!("{}: {}", place_of(error), describe(difference));
            if !all.contains(&line) {
                all.push(line);
            }
        }
    }
    if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        all.truncate(SHOWN);
        all.push(format!("and {more} more"));
    }
    all
}

/// Where the checker was: the innermost type and the named fields on the way there,
/// `TransitionReply (at run.vtable.transition)`.
fn place_of(error: &AbiInstabilityError) -> String {
    let mut names = Vec::new();
    let mut innermost = "PluginModule";
    for step in &error.stack_trace {
        // A function has the name of the field that holds it.
        let TLFieldOrFunction::Field(field) = step.expected else { continue };
        innermost = field.layout().name();
        // What the author did not name, the checker calls `0`, `,` or `__returns`.
        let given = |name: &&str| name.starts_with(|c: char| c.is_ascii_alphabetic());
        names.extend(Some(field.name()).filter(given));
    }
    let names = names.join(".");
    if names.is_empty() { innermost.to_owned() } else { format!("{innermost} (at {names})") }
}

fn describe(difference: &AbiInstability) -> String {
    use AbiInstability as Ai;
    fn pair<T: std::fmt::Display>(what: &str, both: &ExpectedFound<T>) -> String {
        let (host, plugin) = (one_line(&both.expected), one_line(&both.found));
        format!("{what}: {host} in the host, {plugin} in the plugin")
    }
    match difference {
        Ai::Size(both) => pair("size in bytes", both),
        Ai::Alignment(both) => pair("alignment", both),
        Ai::FieldCountMismatch(both) => pair("number of fields", both),
        Ai::TooManyVariants(both) => pair("number of variants", both),
        Ai::Name(both) => pair("type", both),
        Ai::Package(both) => pair("package", both),
        Ai::PackageVersion(both) => pair("package version", both),
        Ai::MismatchedPrefixSize(both) => pair("size of the frozen part", both),
        Ai::NonZeroness(both) => pair("never zero", both),
        Ai::UnexpectedVariant(both) => pair("variant", both),
        Ai::UnexpectedField(both) => {
            let (host, plugin) = (both.expected.name(), both.found.name());
            format!("field: `{host}` in the host, `{plugin}` in the plugin")
        }
        Ai::FieldLifetimeMismatch(both) => format!("lifetimes of field `{}`", both.expected.name()),
        Ai::FnLifetimeMismatch(both) => format!("lifetimes of function `{}`", both.expected.name),
        Ai::FnQualifierMismatch(both) => format!("kind of function `{}`", both.expected.name),
        Ai::MismatchedPrimitive(both) => {
            let ExpectedFound { expected, found } = both;
            format!("type: {expected:?} in the host, {found:?} in the plugin")
        }
        _ => "another difference, see the whole report".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One name of the entry is read out of the file, the other looked up in memory.
    #[test]
    fn the_entry_that_is_looked_for_in_the_file_is_the_one_that_is_opened() {
        assert_eq!(super::super::identify::ENTRY_SYMBOL, ROOT_MODULE_LOADER_NAME);
    }
}
