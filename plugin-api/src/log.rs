//! The plugin's end of the log bridge: `tracing`, `log` and panics of this library reach the host.
//!
//! A plugin has its own copies of `tracing`, `log` and the standard library, so whatever it logs
//! would end in a subscriber that nobody installed. [`install`] puts small ones in their places,
//! which ask the host what it wants and hand over the rest. What holds:
//!
//! * **The host is called only while it is there.** The handle lives behind a lock for the whole
//!   library; every call of the host's log functions happens under its read guard, and
//!   [`uninstall`], which `run` calls before it returns, takes the write guard. So when it returns
//!   no call is under way on any thread, and a thread that outlives the service finds no handle.
//!   The host's functions never call back into the plugin, so no thread takes the guard twice.
//! * **No lock is held while code of the author runs.** Values are written out first (a `Debug` may
//!   log, or panic), then handed over.
//! * **What is not wanted costs one load.** The host's answer is `tracing`'s own cached interest;
//!   after a change of level [`level_changed`] makes `tracing` ask again.
//! * Without a host nothing is wanted, and a panic is printed as usual.

mod logger;
mod panics;
mod spans;
mod values;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::abi::{CallsiteInfo, HostHandle, LogRecord, RSlice, RStr};
use values::Values;

/// The host that is called at present.
static HOST: RwLock<Slot> = RwLock::new(Slot { installed: 0, host: None });

/// The host's numbers of this library's `tracing` callsites, by the address of their metadata,
/// which is static and so names the callsite.
static NUMBERS: RwLock<Option<HashMap<usize, u64>>> = RwLock::new(None);

struct Slot {
    /// How often a handle was installed.
    installed: u64,
    host: Option<HostHandle>,
}

thread_local! {
    /// Which installation is this thread's; 0 for none.
    static MINE: Cell<u64> = const { Cell::new(0) };
}

/// Sends what this library logs to `host` from now on. To be called on the service's thread before
/// any code of the author; a later instance of the service in the same library replaces the host.
pub(crate) fn install(host: HostHandle) {
    {
        let mut slot = HOST.write().unwrap_or_else(PoisonError::into_inner);
        slot.installed += 1;
        slot.host = Some(host);
        MINE.set(slot.installed);
    }
    forget_answers();
    // Both fail for every instance but the first, and when the author put something else there.
    let _ = tracing::subscriber::set_global_default(Bridge);
    let _ = ::log::set_logger(&logger::Logger).map(|()| {
        ::log::set_max_level(::log::LevelFilter::Trace);
    });
    panics::install_hook();
    tracing::callsite::rebuild_interest_cache();
}

/// Ends what [`install`] began on this thread: when it returns, no thread of this library is inside
/// one of the host's log functions, and none will call them. An instance that was replaced
/// leaves the newer one's host alone.
pub(crate) fn uninstall() {
    {
        let mut slot = HOST.write().unwrap_or_else(PoisonError::into_inner);
        if slot.installed != MINE.get() {
            return;
        }
        slot.host = None;
    }
    // Also gives the memory back, which would be lost when the library is unloaded.
    forget_answers();
    spans::give_back();
    tracing::callsite::rebuild_interest_cache();
}

/// The host's level is another: ask it again about every callsite.
pub(crate) fn level_changed() {
    logger::forget();
    tracing::callsite::rebuild_interest_cache();
}

fn forget_answers() {
    *NUMBERS.write().unwrap_or_else(PoisonError::into_inner) = None;
    logger::forget();
}

/// Calls `f` with the host, if there is one. `f` calls the host's functions and nothing else.
fn with_host<R>(f: impl FnOnce(&HostHandle) -> R) -> Option<R> {
    HOST.read().unwrap_or_else(PoisonError::into_inner).host.as_ref().map(f)
}

/// Makes a callsite known to the host; its number, and whether the host wants its events.
fn register(
    (name, target, level): (&str, &str, u8),
    (file, line): (&str, u32),
    fields: &[&str],
) -> Option<(u64, bool)> {
    let fields: Vec<RStr<'_>> = fields.iter().map(|field| RStr::from_str(field)).collect();
    let callsite = CallsiteInfo {
        name: RStr::from_str(name),
        target: RStr::from_str(target),
        level,
        file: RStr::from_str(file),
        line,
        fields: RSlice::from_slice(&fields),
    };
    with_host(|host| {
        let number = (host.vtable.register_callsite())(host.context, &callsite);
        (number, (host.vtable.callsite_enabled())(host.context, number))
    })
}

/// Hands an event to the host; false when there is none.
fn send(callsite: u64, values: &Values) -> bool {
    let spans = spans::current_text(None);
    send_within(callsite, &spans, values)
}

fn send_within(callsite: u64, spans: &str, values: &Values) -> bool {
    let fields = values.fields();
    let record =
        LogRecord { callsite, spans: RStr::from_str(spans), fields: RSlice::from_slice(&fields) };
    with_host(|host| (host.vtable.log())(host.context, &record)).is_some()
}

fn level_code(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Makes a `tracing` callsite known and remembers its number.
fn ask(metadata: &'static Metadata<'static>) -> Option<(u64, bool)> {
    let fields: Vec<&str> = metadata.fields().iter().map(|field| field.name()).collect();
    let answer = register(
        (metadata.name(), metadata.target(), level_code(*metadata.level())),
        (metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default()),
        &fields,
    )?;
    NUMBERS
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .get_or_insert_default()
        .insert(address(metadata), answer.0);
    Some(answer)
}

fn number_of(metadata: &'static Metadata<'static>) -> Option<u64> {
    let known = NUMBERS
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|numbers| numbers.get(&address(metadata)).copied());
    known.or_else(|| Some(ask(metadata)?.0))
}

fn address(metadata: &Metadata<'_>) -> usize {
    std::ptr::from_ref(metadata).addr()
}

/// The subscriber: asks, keeps the spans, forwards the events.
struct Bridge;

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match ask(metadata) {
            Some((_, true)) => Interest::always(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let known = NUMBERS
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .and_then(|numbers| numbers.get(&address(metadata)).copied());
        let enabled =
            |number| with_host(|host| (host.vtable.callsite_enabled())(host.context, number));
        known.and_then(enabled).unwrap_or(false)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        spans::open(attributes)
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        spans::record(span, record);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(number) = number_of(event.metadata()) else { return };
        let mut values = Values::default();
        event.record(&mut values);
        send_within(number, &spans::current_text(Some(event)), &values);
    }

    fn enter(&self, span: &Id) {
        spans::enter(span);
    }

    fn exit(&self, span: &Id) {
        spans::exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        spans::hold(span);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        spans::release(&span)
    }

    fn current_span(&self) -> Current {
        spans::current()
    }
}

#[cfg(test)]
pub(crate) mod tests;
