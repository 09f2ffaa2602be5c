//! Closing a library, when it is proved that nothing leads into it any more.
//!
//! # Safety
//! Code that is unmapped while somebody may still come back to it takes the host down, at some later
//! time and in some other place. So a library is closed only when **all** of this holds, and otherwise
//! stays mapped, which costs about a megabyte and harms nobody:
//!
//! 1. **It has one owner left.** [`unload`] takes the [`Library`] itself; an instance keeps a share of
//!    it until its thread is joined ([`Instance::join`](super::instance::Instance::join)), so no
//!    service's thread runs its code, not even destructors of thread-locals. The calls beside `run`
//!    had threads of their own, which are gone.
//! 2. **No thread that its code started lives**, by the plugin's own account, which rests on functions
//!    that everything in it is linked to (`plugin-api/src/abi/pthreads.rs`).
//! 3. **It brought no other library along** that the host does not have: threads of such a one are not
//!    in that account and may call back.
//! 4. **No signal handler of the process is in it.** (The host's own handlers call those that were
//!    there before them; they are all in place before the first plugin is opened.)
//! 5. **Its pthread keys are known.** Their destructors are its code, so they are deleted as soon as
//!    it is closed, on the thread that closed it, before that or any other thread ends with a value in
//!    one.
//! 6. **No value of the host's has its types.** Nothing is kept of what a plugin hands out: bytes are
//!    copied, and the payloads of panics stay on its side.
//!
//! The dynamic linker knows some more: a thread with a destructor of the library's still to run, a
//! symbol that must be unique in the process. Then it closes nothing, which is asked after, and the
//! library is held for ever, so that it cannot go at some later moment with its keys undeleted.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use libloading::os::unix::{Library as Mapping, RTLD_LOCAL, RTLD_NOW};
use plugin_api::abi::{ByteSink, LiveThreads, PluginModuleRef};
use serde::de::DeserializeOwned;

use super::dependencies::brought_along;
use super::library::{Library, Opened, apart, one_line};

/// How long the threads of a library usually need at most to end after its service has.
pub const WITHIN: Duration = Duration::from_secs(2);

/// What became of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unloaded {
    /// It is closed, and its private copy deleted.
    Closed,
    /// It stays mapped for ever, and its private copy where it is, for backtraces: deleting it would
    /// give no memory back.
    Kept {
        /// Why.
        reason: KeptReason,
    },
}

/// Why a library stays mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptReason {
    /// Its plugin-api is from before 1.1.
    #[error("built with plugin-api {api}, which cannot tell whether it is still in use")]
    TooOld {
        /// The plugin's plugin-api.
        api: semver::Version,
    },
    /// It says that it does not know, or its answer makes no sense.
    #[error("{0}")]
    CannotTell(String),
    /// Threads that it started did not end in time.
    #[error("{}", threads(alive))]
    Threads {
        /// Number and name of each.
        alive: Vec<(i32, String)>,
    },
    /// It started more threads at once than are followed.
    #[error("it started more threads at once than can be followed ({uncounted} too many)")]
    TooManyThreads {
        /// How many are not followed.
        uncounted: usize,
    },
    /// A library that came with it may have threads of its own.
    #[error("it brought {} along, whose threads are not known", libraries.join(" and "))]
    BroughtAlong {
        /// Their names.
        libraries: Vec<String>,
    },
    /// A signal leads into it.
    #[error("the handler of {signal} is in it")]
    SignalHandler {
        /// The signal's name.
        signal: String,
    },
    /// The dynamic linker did not close it.
    #[error("the dynamic linker keeps it mapped")]
    Linker,
}

fn threads(alive: &[(i32, String)]) -> String {
    const SHOWN: usize = 3;
    let named = |(number, name): &(i32, String)| format!("{number} ({name})");
    let mut list = alive.iter().take(SHOWN).map(named).collect::<Vec<_>>().join(", ");
    if let Some(more) = alive.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        list = format!("{list} and {more} more");
    }
    match alive.len() {
        1 => format!("a thread of it still runs: {list}"),
        _ => format!("threads of it still run: {list}"),
    }
}

/// Closes a library if that is safe; waits up to `within` for its threads to end.
///
/// It must be the last share of it: every instance joined. Blocks, so call it on a thread that has the
/// time.
#[must_use]
pub fn unload(library: Library, within: Duration) -> Unloaded {
    let Library { opened: Opened { mapping, module }, staged } = library;
    let api = &staged.identity().api_version;
    let file = staged.path();
    let closed = on_a_thread(|| prove_unused(module, file, api, within))
        .and_then(|keys| on_a_thread(|| close(ManuallyDrop::into_inner(mapping), file, &keys)));
    match closed {
        Ok(()) => {
            drop(ManuallyDrop::into_inner(staged));
            Unloaded::Closed
        }
        Err(reason) => Unloaded::Kept { reason },
    }
}

fn on_a_thread<T: Send>(
    work: impl FnOnce() -> Result<T, KeptReason> + Send,
) -> Result<T, KeptReason> {
    apart(work).unwrap_or_else(|error| Err(KeptReason::CannotTell(error.to_string())))
}

/// Points 2 to 5 of the argument; returns the library's keys.
fn prove_unused(
    module: PluginModuleRef,
    file: &Path,
    api: &semver::Version,
    within: Duration,
) -> Result<Vec<u32>, KeptReason> {
    let (Some(live_threads), Some(unload)) = (module.live_threads(), module.unload()) else {
        return Err(KeptReason::TooOld { api: api.clone() });
    };
    wait_for_threads(live_threads, within)?;
    let libraries = brought_along(file)
        .map_err(|error| KeptReason::CannotTell(format!("its file cannot be read: {error}")))?;
    if !libraries.is_empty() {
        return Err(KeptReason::BroughtAlong { libraries });
    }
    if let Some(signal) = handled_signal(module)? {
        return Err(KeptReason::SignalHandler { signal });
    }
    ask(unload)
}

/// Calls one of the functions that write JSON, or else a reason.
fn ask<T: DeserializeOwned>(function: extern "C" fn(ByteSink) -> bool) -> Result<T, KeptReason> {
    let mut written = Vec::new();
    // SAFETY: the one copy of the sink goes to one call, which keeps none, and `written` is not
    // touched before it has returned.
    let sink = unsafe { ByteSink::appending_to(&mut written) };
    if !function(sink) {
        let reason = one_line(&String::from_utf8_lossy(&written));
        return Err(KeptReason::CannotTell(reason));
    }
    serde_json::from_slice(&written).map_err(|error| {
        KeptReason::CannotTell(format!("its account of itself cannot be read: {error}"))
    })
}

fn wait_for_threads(
    live_threads: extern "C" fn(ByteSink) -> bool,
    within: Duration,
) -> Result<(), KeptReason> {
    let until = Instant::now() + within;
    loop {
        let LiveThreads { alive, uncounted } = ask(live_threads)?;
        if uncounted > 0 {
            return Err(KeptReason::TooManyThreads { uncounted });
        }
        if alive.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            let named = |number| (number, thread_name(number));
            return Err(KeptReason::Threads { alive: alive.into_iter().map(named).collect() });
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a thread of the plugin's ends without telling anybody"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn thread_name(number: i32) -> String {
    std::fs::read_to_string(format!("/proc/self/task/{number}/comm"))
        .map_or_else(|_| "without a name".to_owned(), |name| name.trim_end().to_owned())
}

/// The first signal whose handler is code of the library.
fn handled_signal(module: PluginModuleRef) -> Result<Option<String>, KeptReason> {
    const LAST_SIGNAL: i32 = 64;
    let library = base_of(module.run() as *const c_void).ok_or_else(|| {
        KeptReason::CannotTell("the dynamic linker does not know where it is".to_owned())
    })?;
    let leads_there =
        |signal: &i32| handler_of(*signal).is_some_and(|handler| base_of(handler) == Some(library));
    Ok((1..=LAST_SIGNAL).find(leads_there).map(signal_name))
}

/// The function that handles a signal.
fn handler_of(signal: i32) -> Option<*const c_void> {
    // SAFETY: the structure is of integers and bits, for which zeros are valid.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    // SAFETY: with no new action it only writes the present one, to a local. It refuses the numbers
    // that the C library keeps for itself.
    let answered = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
    let handler = action.sa_sigaction;
    let is_function = handler != libc::SIG_DFL && handler != libc::SIG_IGN;
    (answered && is_function).then(|| std::ptr::without_provenance(handler))
}

/// Where the library begins that an address lies in.
fn base_of(address: *const c_void) -> Option<usize> {
    // SAFETY: the structure is of pointers, for which zeros are valid.
    let mut found = unsafe { std::mem::zeroed::<libc::Dl_info>() };
    // SAFETY: the address is compared and not followed; the result goes to a local.
    let is_known = unsafe { libc::dladdr(address, &raw mut found) } != 0;
    is_known.then(|| found.dli_fbase.addr())
}

fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(signal - 1).ok().and_then(|at| NAMES.get(at));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name}"))
}

/// Closes it and deletes its keys. Runs on a thread that ends after it.
fn close(mapping: Mapping, file: &Path, keys: &[u32]) -> Result<(), KeptReason> {
    if mapping.close().is_err() || is_mapped(file) {
        return Err(KeptReason::Linker);
    }
    for key in keys {
        // SAFETY: the library took this key and has not deleted it, by its own account. Nobody else
        // knows it, and the library is gone.
        let code = unsafe { libc::pthread_key_delete(*key) };
        if code != 0 {
            let error = io::Error::from_raw_os_error(code);
            tracing::warn!(key, %error, "a pthread key of a closed plugin cannot be deleted");
        }
    }
    Ok(())
}

/// Whether the linker still has it; if so, it shall have it for ever.
fn is_mapped(file: &Path) -> bool {
    // SAFETY: nothing is opened that is not open already, so no code of it runs.
    let again = unsafe { Mapping::open(Some(file), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NOLOAD) };
    again.map(std::mem::forget).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_runs_is_named() {
        let reason = |count: i32| {
            let alive = (1..=count).map(|number| (number, "pool".to_owned())).collect();
            KeptReason::Threads { alive }.to_string()
        };
        assert_eq!(reason(1), "a thread of it still runs: 1 (pool)");
        assert_eq!(reason(2), "threads of it still run: 1 (pool), 2 (pool)");
        assert_eq!(reason(5), "threads of it still run: 1 (pool), 2 (pool), 3 (pool) and 2 more");
    }

    #[test]
    fn signals_have_the_names_that_people_know() {
        let named = [libc::SIGHUP, libc::SIGCHLD, libc::SIGSYS, 34].map(signal_name);
        assert_eq!(named, ["SIGHUP", "SIGCHLD", "SIGSYS", "signal 34"]);
    }

    #[test]
    fn a_handler_is_found_where_it_is() {
        let here = base_of(signal_name as *const c_void).expect("this program");
        assert_eq!(base_of(handler_of as *const c_void), Some(here));
        assert_ne!(base_of(libc::getpid as *const c_void), Some(here));
        assert_eq!(handler_of(libc::SIGUSR2), None);
        // The standard library's, which names what overflowed its stack.
        assert_eq!(handler_of(libc::SIGSEGV).and_then(base_of), Some(here));
    }
}
