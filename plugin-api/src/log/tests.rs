//! A made-up host, and everything that can be logged.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use tracing::{Instrument as _, debug, error, info, info_span, trace, warn};

use super::*;
use crate::abi::{FieldKind, HostVtable, PrefixTypeTrait as _, idle_host};

/// The subscriber is the whole process's, so one test at a time has a host.
pub(crate) static ONE_HOST_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What the made-up host has heard. The table's functions take a pointer that means nothing here.
static HEARD: Mutex<Heard> = Mutex::new(Heard::new());
static GATE: (Mutex<Gate>, Condvar) =
    (Mutex::new(Gate { inside: false, open: false }), Condvar::new());

struct Gate {
    inside: bool,
    open: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Said {
    target: String,
    level: u8,
    line: u32,
    spans: String,
    fields: BTreeMap<String, String>,
}

impl Said {
    fn message(&self) -> &str {
        self.fields.get("message").map_or("", String::as_str)
    }
}

struct Heard {
    level: u8,
    /// target, level, line, fields
    callsites: Vec<(String, u8, u32, Vec<String>)>,
    asked: usize,
    said: Vec<Said>,
}

impl Heard {
    const fn new() -> Self {
        Self { level: 3, callsites: Vec::new(), asked: 0, said: Vec::new() }
    }
}

fn heard() -> MutexGuard<'static, Heard> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the host was asked and told something. One guard for all: two in one expression would
/// wait for each other.
fn figures() -> (usize, usize, usize) {
    let heard = heard();
    (heard.asked, heard.callsites.len(), heard.said.len())
}

extern "C" fn register_callsite(_: *const (), callsite: &CallsiteInfo<'_>) -> u64 {
    let key = (
        callsite.target.as_str().to_owned(),
        callsite.level,
        callsite.line,
        callsite.fields.iter().map(|field| field.as_str().to_owned()).collect::<Vec<_>>(),
    );
    let mut heard = heard();
    let at = heard.callsites.iter().position(|known| *known == key).unwrap_or_else(|| {
        heard.callsites.push(key);
        heard.callsites.len() - 1
    });
    at as u64 + 1000
}

extern "C" fn callsite_enabled(_: *const (), callsite: u64) -> bool {
    let mut heard = heard();
    heard.asked += 1;
    let at = usize::try_from(callsite - 1000).unwrap();
    heard.callsites[at].1 <= heard.level
}

extern "C" fn log(_: *const (), record: &LogRecord<'_>) {
    let said = {
        let mut heard = heard();
        let at = usize::try_from(record.callsite - 1000).unwrap();
        let (target, level, line, names) = heard.callsites[at].clone();
        let fields = record.fields.iter().map(|field| {
            let value = match FieldKind::from_code(field.kind) {
                Some(FieldKind::Text) => field.text.as_str().to_owned(),
                Some(FieldKind::Signed) => field.bits.cast_signed().to_string(),
                Some(FieldKind::Unsigned) => field.bits.to_string(),
                Some(FieldKind::Float) => f64::from_bits(field.bits).to_string(),
                Some(FieldKind::Bool) => (field.bits == 1).to_string(),
                None => "unknown kind".to_owned(),
            };
            (names[field.index as usize].clone(), value)
        });
        let spans = record.spans.as_str().to_owned();
        let said = Said { target, level, line, spans, fields: fields.collect() };
        heard.said.push(said.clone());
        said
    };
    if said.target == "waits" {
        let mut gate = GATE.0.lock().unwrap();
        gate.inside = true;
        GATE.1.notify_all();
        while !gate.open {
            gate = GATE.1.wait(gate).unwrap();
        }
        gate.inside = false;
    }
}

fn handle() -> HostHandle {
    let vtable = HostVtable { register_callsite, callsite_enabled, log, ..idle_host() };
    HostHandle { context: std::ptr::null(), vtable: vtable.leak_into_prefix() }
}

/// A host at `level`, from now to the end of the test.
struct Host(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Host {
    fn at(level: u8) -> Self {
        let guard = ONE_HOST_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        *heard() = Heard { level, ..Heard::new() };
        install(handle());
        Self(guard)
    }

    fn set_level(&self, level: u8) {
        heard().level = level;
        level_changed();
    }

    /// What was said of one target, for other tests log as well.
    fn said(&self, target: &str) -> Vec<Said> {
        heard().said.iter().filter(|said| said.target == target).cloned().collect()
    }

    fn messages(&self, target: &str) -> Vec<String> {
        self.said(target).iter().map(|said| said.message().to_owned()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        uninstall();
    }
}

#[derive(Debug, thiserror::Error)]
#[error("outside")]
struct Outside(#[from] Inside);

#[derive(Debug, thiserror::Error)]
#[error("inside")]
struct Inside;

#[test]
fn an_event_arrives_with_every_kind_of_value() {
    let host = Host::at(3);
    let error = Outside(Inside);
    let (error, line) = (&error as &(dyn std::error::Error + 'static), line!() + 1);
    info!(
        target: "kinds", low = i64::MIN, high = u64::MAX, part = 0.25, yes = true, text = "a\nb",
        shown = %"x y", debug = ?Some("z"), error, "hello {}", "world"
    );
    let said = host.said("kinds");
    assert_eq!(said.len(), 1);
    let value = |name: &str| said[0].fields[name].as_str();
    assert_eq!((said[0].level, said[0].line), (3, line));
    assert_eq!(value("message"), "hello world");
    assert_eq!(value("low"), i64::MIN.to_string());
    assert_eq!(value("high"), u64::MAX.to_string());
    assert_eq!((value("part"), value("yes"), value("text")), ("0.25", "true", "a\nb"));
    assert_eq!((value("shown"), value("debug")), ("x y", "Some(\"z\")"));
    assert_eq!(value("error"), "outside: inside");
}

#[test]
fn what_is_not_wanted_is_not_even_written_out_and_asks_nobody() {
    struct MustNotBeShown;
    impl std::fmt::Debug for MustNotBeShown {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("written out");
        }
    }
    let host = Host::at(2);
    let quiet = |n: u32| debug!(target: "quiet", value = ?MustNotBeShown, n);
    quiet(0);
    let asked = heard().asked;
    (1..1000).for_each(quiet);
    // Other tests of this crate log nothing while the host is ours; a callsite new to the process
    // would be the only reason to ask.
    assert_eq!(heard().asked, asked);
    assert!(host.said("quiet").is_empty());
}

#[test]
fn a_level_change_reaches_tracing_and_log() {
    let host = Host::at(3);
    let talk = |n: u32| {
        trace!(target: "levels", "tracing {n}");
        ::log::trace!(target: "levels", "log {n}");
        warn!(target: "levels", "warning {n}");
    };
    talk(1);
    host.set_level(5);
    talk(2);
    host.set_level(1);
    talk(3);
    assert_eq!(host.messages("levels"), ["warning 1", "tracing 2", "log 2", "warning 2"]);
}

#[test]
fn log_records_come_with_their_place_and_ask_once() {
    let host = Host::at(3);
    let line = line!() + 1;
    let talk = |n: u32| ::log::error!(target: "old", "n is {n}");
    talk(1);
    let asked = heard().asked;
    talk(2);
    ::log::debug!(target: "old", "not wanted");
    ::log::info!(target: "old other", "another target");
    assert_eq!(heard().asked, asked + 2);
    assert!(::log::log_enabled!(target: "old", ::log::Level::Info));
    assert!(!::log::log_enabled!(target: "old", ::log::Level::Debug));
    let said = host.said("old");
    assert_eq!(host.messages("old"), ["n is 1", "n is 2"]);
    assert!(said.iter().all(|said| (said.level, said.line) == (1, line)));
    assert_eq!(host.messages("old other"), ["another target"]);
}

#[tracing::instrument(target = "spans")]
fn inner(depth: u32) {
    info!(target: "spans", "inside");
}

#[test]
fn spans_travel_as_text() {
    let host = Host::at(3);
    let outer = info_span!(target: "spans", "outer", name = "a b", later = tracing::field::Empty);
    outer.in_scope(|| inner(2));
    outer.record("later", 7);
    let hidden = tracing::debug_span!(target: "spans", "hidden");
    let entered = (outer.enter(), hidden.enter());
    info!(target: "spans", "recorded");
    info!(target: "spans", parent: None, "root");
    drop(entered);
    info!(target: "spans", "left");
    info!(target: "spans", parent: &outer, "named");
    let spans: Vec<String> = host.said("spans").into_iter().map(|said| said.spans).collect();
    let whole = "outer{name=\"a b\" later=7}";
    assert_eq!(spans, ["outer{name=\"a b\"}:inner{depth=2}", whole, "", "", whole]);
}

#[test]
fn async_spans_are_open_only_while_their_future_is_polled() {
    let host = Host::at(3);
    let work = |name: &'static str| {
        async move {
            info!(target: "async", "{name} 1");
            tokio::task::yield_now().await;
            info!(target: "async", "{name} 2");
        }
        .instrument(info_span!(target: "async", "work", name))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (a, b) = (tokio::spawn(work("a")), tokio::spawn(work("b")));
        tokio::task::yield_now().await;
        info!(target: "async", "between");
        a.await.unwrap();
        b.await.unwrap();
    });
    let said = host.said("async");
    assert_eq!(said.len(), 5);
    for said in &said {
        let expected = match said.message().split_once(' ') {
            Some((name, _)) => format!("work{{name={name}}}"),
            None => String::new(),
        };
        assert_eq!(said.spans, expected, "{}", said.message());
    }
}

#[test]
fn a_closed_span_is_forgotten_and_its_child_keeps_it_alive() {
    let host = Host::at(3);
    let outer = info_span!(target: "closing", "outer");
    let (outer_id, handle) = (outer.id().unwrap(), outer.clone());
    let child = outer.in_scope(|| info_span!(target: "closing", "child"));
    let is_open = || spans::is_open(&outer_id);
    drop(outer);
    assert!(is_open());
    drop(handle);
    assert!(!is_open());
    child.in_scope(|| info!(target: "closing", "still nested"));
    assert_eq!(host.said("closing")[0].spans, "outer:child");
    assert_eq!(child.in_scope(tracing::Span::current).id(), child.id());
}

#[test]
fn a_panic_is_logged_with_its_place() {
    let host = Host::at(3);
    let line = line!() + 3;
    let thread = std::thread::Builder::new().name("panicker".into()).spawn(|| {
        let _span = info_span!(target: "panics", "work").entered();
        panic!("number {}", 17);
    });
    assert!(thread.unwrap().join().is_err());
    let said = host.said("panic");
    let said = said.iter().find(|said| said.fields["thread"] == "panicker").unwrap();
    assert_eq!((said.message(), said.level), ("panicked: number 17", 1));
    assert!(said.fields["location"].contains(&format!("tests.rs:{line}:")), "{said:?}");
    assert_eq!(said.spans, "work");
}

#[test]
fn a_panic_while_a_value_is_written_out_leaves_logging_intact() {
    struct Panics;
    impl std::fmt::Debug for Panics {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            error!(target: "nested", "from within");
            panic!("while shown");
        }
    }
    let host = Host::at(3);
    let span = info_span!(target: "nested", "span", value = tracing::field::Empty);
    let attempt = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    assert!(attempt(&|| info!(target: "nested", value = ?Panics, "never said")).is_err());
    let record = || {
        span.record("value", tracing::field::debug(Panics));
    };
    assert!(attempt(&record).is_err());
    span.in_scope(|| info!(target: "nested", "afterwards"));
    assert_eq!(host.messages("nested"), ["from within", "from within", "afterwards"]);
    assert!(host.messages("panic").contains(&"panicked: while shown".to_owned()));
}

#[test]
fn after_the_end_nothing_calls_the_host() {
    let host = Host::at(5);
    let talk = || {
        info!(target: "stray", "tracing");
        ::log::info!(target: "stray", "log");
        let _span = info_span!(target: "stray", "span").entered();
    };
    talk();
    uninstall();
    let before = figures();
    talk();
    std::thread::spawn(move || {
        talk();
        info!(target: "stray", "new callsite");
    })
    .join()
    .unwrap();
    level_changed();
    assert_eq!(figures(), before);
    install(handle());
    talk();
    assert_eq!(host.messages("stray"), ["tracing", "log", "tracing", "log"]);
}

#[test]
fn the_end_waits_for_a_call_that_is_under_way() {
    let host = Host::at(3);
    *GATE.0.lock().unwrap() = Gate { inside: false, open: false };
    let stray = std::thread::spawn(|| info!(target: "waits", "in the host"));
    let mut gate = GATE.0.lock().unwrap();
    while !gate.inside {
        gate = GATE.1.wait(gate).unwrap();
    }
    drop(gate);
    let mine = MINE.get();
    let over = std::thread::spawn(move || {
        MINE.set(mine);
        uninstall();
        GATE.0.lock().unwrap().inside
    });
    // The lock refuses readers once a writer waits for it, which is when the gate may open; a
    // writer that did not wait would be found inside.
    while HOST.try_read().is_ok() && !over.is_finished() {
        std::thread::yield_now();
    }
    GATE.0.lock().unwrap().open = true;
    GATE.1.notify_all();
    assert!(!over.join().unwrap(), "uninstall returned while a thread was in the host");
    stray.join().unwrap();
    drop(host);
}

#[test]
fn an_instance_that_was_replaced_leaves_the_newer_host_alone() {
    let host = Host::at(3);
    std::thread::spawn(|| install(handle())).join().unwrap();
    uninstall();
    info!(target: "replaced", "still heard");
    assert_eq!(host.messages("replaced"), ["still heard"]);
    // So that the guard's own `uninstall` finds this thread's.
    install(handle());
}
