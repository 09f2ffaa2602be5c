//! The open spans. They stay inside of the plugin; with an event travels only their text.
//!
//! A span's parent is settled when it is made, as `tracing` has it: named, none, or the one that is
//! entered on the thread. An async span is entered and left at every poll, on whichever thread
//! polls, so the entered ones are a list per thread while the spans themselves are shared.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata};
use tracing_core::span::Current;

/// More text than this about one span is cut off.
const LONGEST_FIELDS: usize = 1024;

/// Deeper than this a span forgets its parents: a chain that grows for ever is a mistake that
/// shall not grow the memory as well.
const DEEPEST: usize = 64;

static OPEN: RwLock<BTreeMap<u64, Arc<Span>>> = RwLock::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How many spans are open. While it is zero no thread-local is touched: a thread-local with a
/// destructor would tie the thread that used it to this library.
static COUNT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ENTERED: RefCell<Vec<(Id, Arc<Span>)>> = const { RefCell::new(Vec::new()) };
}

struct Span {
    metadata: &'static Metadata<'static>,
    fields: Mutex<String>,
    parent: Option<Arc<Span>>,
    depth: usize,
    handles: AtomicUsize,
}

pub(super) fn open(attributes: &Attributes<'_>) -> Id {
    // Written out before any lock is taken: this runs the author's `Debug`.
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    let parent = if attributes.is_root() {
        None
    } else if let Some(parent) = attributes.parent() {
        find(parent)
    } else {
        innermost().map(|(_, span)| span)
    };
    let parent = parent.filter(|parent| parent.depth < DEEPEST);
    let id = Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed));
    let span = Arc::new(Span {
        metadata: attributes.metadata(),
        fields: Mutex::new(fields.finish()),
        depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
        parent,
        handles: AtomicUsize::new(1),
    });
    OPEN.write().unwrap_or_else(PoisonError::into_inner).insert(id.into_u64(), span);
    COUNT.fetch_add(1, Ordering::Relaxed);
    id
}

pub(super) fn record(id: &Id, record: &Record<'_>) {
    let mut added = Fields::default();
    record.record(&mut added);
    let Some(span) = find(id) else { return };
    let mut fields = span.fields.lock().unwrap_or_else(PoisonError::into_inner);
    if fields.len() >= LONGEST_FIELDS {
        return;
    }
    if !fields.is_empty() && !added.text.is_empty() {
        fields.push(' ');
    }
    fields.push_str(&added.finish());
}

pub(super) fn enter(id: &Id) {
    if let Some(span) = find(id) {
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().push((id.clone(), span)));
    }
}

pub(super) fn exit(id: &Id) {
    let left = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        // Usually the last one; guards may be dropped in another order.
        let at = entered.iter().rposition(|(entered, _)| entered == id)?;
        Some(entered.remove(at))
    });
    drop(left);
}

pub(super) fn hold(id: &Id) {
    if let Some(span) = find(id) {
        span.handles.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether that was the last handle.
pub(super) fn release(id: &Id) -> bool {
    let Some(span) = find(id) else { return false };
    if span.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
        return false;
    }
    let removed = OPEN.write().unwrap_or_else(PoisonError::into_inner).remove(&id.into_u64());
    if removed.is_some() {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
    removed.is_some()
}

/// Gives the memory back that the map keeps when nothing is in it.
pub(super) fn give_back() {
    let mut open = OPEN.write().unwrap_or_else(PoisonError::into_inner);
    if open.is_empty() {
        *open = BTreeMap::new();
    }
}

#[cfg(test)]
pub(super) fn is_open(id: &Id) -> bool {
    find(id).is_some()
}

pub(super) fn current() -> Current {
    innermost().map_or_else(Current::none, |(id, span)| Current::new(id, span.metadata))
}

/// `outer{field=value}:inner`, for the event's own parent or else for what is entered here.
pub(super) fn current_text(event: Option<&Event<'_>>) -> String {
    if COUNT.load(Ordering::Relaxed) == 0 || event.is_some_and(Event::is_root) {
        return String::new();
    }
    let innermost = match event.and_then(Event::parent) {
        Some(parent) => find(parent),
        None => innermost().map(|(_, span)| span),
    };
    let mut chain = Vec::new();
    let mut next = innermost.as_ref();
    while let Some(span) = next {
        chain.push(span);
        next = span.parent.as_ref();
    }
    let mut text = String::new();
    for span in chain.into_iter().rev() {
        if !text.is_empty() {
            text.push(':');
        }
        text.push_str(span.metadata.name());
        let fields = span.fields.lock().unwrap_or_else(PoisonError::into_inner);
        if !fields.is_empty() {
            let _ = write!(text, "{{{fields}}}");
        }
    }
    text
}

fn find(id: &Id) -> Option<Arc<Span>> {
    OPEN.read().unwrap_or_else(PoisonError::into_inner).get(&id.into_u64()).cloned()
}

fn innermost() -> Option<(Id, Arc<Span>)> {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    ENTERED.try_with(|entered| entered.try_borrow().ok()?.last().cloned()).ok().flatten()
}

/// Fields as text, `name=value` with spaces between.
#[derive(Default)]
struct Fields {
    text: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let _ = write!(self.text, "{}={value}", field.name());
    }

    fn finish(mut self) -> String {
        if self.text.len() > LONGEST_FIELDS {
            self.text.truncate(self.text.floor_char_boundary(LONGEST_FIELDS));
            self.text.push('…');
        }
        self.text
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c == '"') {
            self.add(field, format_args!("{value:?}"));
        } else {
            self.add(field, format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
