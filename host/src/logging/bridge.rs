//! The host's end of the log bridge: what plugins log becomes events of the host's `tracing`.
//!
//! A plugin has its own copy of `tracing`, with its own callsites, which go when it is unloaded.
//! Here every distinct place in a plugin's code gets one callsite that lives for ever, so that
//! filters and layers treat its events like the host's own and a reload of the same code adds
//! nothing. Their number is bounded: past [`MOST_CALLSITES`] the rest shares one per level.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, FieldSet};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};
use tracing_core::metadata::Kind;
use tracing_core::{dispatcher, identify_callsite};

use super::scope;

/// How many distinct callsites are kept.
pub const MOST_CALLSITES: usize = 16_384;

/// More fields than this an event does not keep; `message` stays in any case.
const MOST_FIELDS: usize = 64;

/// Longer names than this are cut: they are kept for ever.
const LONGEST_NAME: usize = 512;

/// A place in a plugin's code that logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Callsite<'a> {
    /// `tracing`'s name of it.
    pub name: &'a str,
    /// Usually the module path.
    pub target: &'a str,
    /// 1 error, 2 warning, 3 info, 4 debug, 5 trace.
    pub level: u8,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// Names of the fields, in order.
    pub fields: Vec<&'a str>,
}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value<'a> {
    /// A text, or anything that was written out as one.
    Text(&'a str),
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A floating-point number.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

impl Value<'_> {
    fn as_value(&self) -> &dyn tracing::Value {
        match self {
            Self::Text(text) => text,
            Self::Signed(number) => number,
            Self::Unsigned(number) => number,
            Self::Float(number) => number,
            Self::Bool(truth) => truth,
        }
    }
}

/// Makes a callsite known and returns its number. Equal callsites get equal numbers.
pub fn register(callsite: &Callsite<'_>) -> u64 {
    REGISTRY.register(callsite)
}

/// Whether events that the service logs at the callsite are wanted at present.
#[must_use]
pub fn enabled(service: &str, callsite: u64) -> bool {
    let _scope = scope::enter(service, "");
    REGISTRY.get(callsite).is_some_and(Site::is_wanted)
}

/// Logs an event of a plugin in the name of the service. `fields` are numbers of the callsite's
/// fields with their values; numbers that it does not have are left out, and so is an event of a
/// callsite that nobody registered.
pub fn emit(service: &str, callsite: u64, spans: &str, fields: &[(usize, Value<'_>)]) {
    let Some(site) = REGISTRY.get(callsite) else { return };
    let _scope = scope::enter(service, spans);
    if !site.is_wanted() {
        return;
    }
    if fields.len() <= 8 { site.emit::<8>(fields) } else { site.emit::<MOST_FIELDS>(fields) }
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(MOST_CALLSITES));

/// The known callsites. A number is an index into `sites`; nothing is ever removed.
struct Registry {
    most: usize,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    numbers: HashMap<Key, u64>,
    sites: Vec<&'static Site>,
}

/// What makes two callsites the same one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    target: String,
    level: u8,
    file: Option<String>,
    line: Option<u32>,
    fields: Vec<String>,
}

impl Key {
    fn of(callsite: &Callsite<'_>) -> Self {
        let cut = |text: &str| text[..text.floor_char_boundary(LONGEST_NAME)].to_owned();
        let mut fields: Vec<String> =
            callsite.fields.iter().take(MOST_FIELDS).map(|field| cut(field)).collect();
        if callsite.fields.iter().skip(MOST_FIELDS).any(|field| *field == "message")
            && let Some(last) = fields.last_mut()
        {
            *last = "message".to_owned();
        }
        Self {
            name: cut(callsite.name),
            target: cut(callsite.target),
            level: callsite.level,
            file: callsite.file.map(cut),
            line: callsite.line,
            fields,
        }
    }

    /// For callsites past the bound. `tracing`'s macros put the message first; the names of the
    /// other fields are lost.
    fn shared(level: u8) -> Self {
        let mut fields = vec!["message".to_owned()];
        fields.extend((1..16).map(|at| format!("field{at}")));
        let (name, target) = ("past the bound of callsites".to_owned(), "exphost::more".to_owned());
        Self { name, target, level, file: None, line: None, fields }
    }
}

impl Registry {
    fn new(most: usize) -> Self {
        Self { most, known: RwLock::default() }
    }

    fn get(&self, number: u64) -> Option<&'static Site> {
        let at = usize::try_from(number).ok()?;
        self.known.read().unwrap_or_else(PoisonError::into_inner).sites.get(at).copied()
    }

    fn register(&self, callsite: &Callsite<'_>) -> u64 {
        let key = Key::of(callsite);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(&key) {
            return *number;
        }
        let is_full = known.sites.len() >= self.most;
        drop(known);
        self.insert(if is_full { Key::shared(callsite.level.clamp(1, 5)) } else { key })
    }

    fn insert(&self, key: Key) -> u64 {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(&key) {
            return *number;
        }
        let site = Site::leak(key.clone());
        let number = known.sites.len() as u64;
        known.sites.push(site);
        known.numbers.insert(key, number);
        drop(known);
        // Outside of the lock, because this asks the host's layers. Until it is done the site's
        // interest is "ask each time", which is right at any time.
        tracing_core::callsite::register(site);
        number
    }
}

/// A callsite that is never freed, as `tracing` demands.
struct Site {
    interest: AtomicU8,
    metadata: OnceLock<Metadata<'static>>,
    fields: OnceLock<Vec<Field>>,
}

const ASK: u8 = 0;
const NEVER: u8 = 1;
const ALWAYS: u8 = 2;

impl Site {
    fn leak(key: Key) -> &'static Self {
        let site: &'static Self = Box::leak(Box::new(Self {
            interest: AtomicU8::new(ASK),
            metadata: OnceLock::new(),
            fields: OnceLock::new(),
        }));
        let names: Vec<&'static str> = key.fields.into_iter().map(|name| &*name.leak()).collect();
        let fields = FieldSet::new(names.leak(), identify_callsite!(site));
        let _ = site.fields.set(fields.iter().collect());
        let _ = site.metadata.set(Metadata::new(
            key.name.leak(),
            key.target.leak(),
            match key.level {
                0 | 1 => Level::ERROR,
                2 => Level::WARN,
                3 => Level::INFO,
                4 => Level::DEBUG,
                _ => Level::TRACE,
            },
            key.file.map(|file| &*file.leak()),
            key.line,
            None,
            fields,
            Kind::EVENT,
        ));
        site
    }

    /// What `leak` filled in before it showed the site to anybody.
    fn filled(&self) -> &Metadata<'static> {
        self.metadata.get().expect("`leak` fills in the metadata before it returns the site")
    }

    fn is_wanted(&self) -> bool {
        match self.interest.load(Ordering::Relaxed) {
            NEVER => false,
            ALWAYS => true,
            _ => dispatcher::get_default(|to| to.enabled(self.filled())),
        }
    }

    /// Sends an event with at most `N` values to the host's layers.
    fn emit<const N: usize>(&'static self, values: &[(usize, Value<'_>)]) {
        let metadata = self.filled();
        let (Some(fields), Some(unused)) =
            (self.fields.get(), self.fields.get().and_then(|f| f.first()))
        else {
            let nothing: [(&Field, Option<&dyn tracing::Value>); 0] = [];
            Event::dispatch(metadata, &metadata.fields().value_set(&nothing));
            return;
        };
        // `tracing` takes arrays of fixed length alone; an entry without value is skipped.
        let mut entries: [(&Field, Option<&dyn tracing::Value>); N] = [(unused, None); N];
        let known = values.iter().filter_map(|(at, value)| Some((fields.get(*at)?, value)));
        for (entry, (field, value)) in entries.iter_mut().zip(known) {
            *entry = (field, Some(value.as_value()));
        }
        Event::dispatch(metadata, &metadata.fields().value_set(&entries));
    }
}

impl tracing_core::Callsite for Site {
    fn set_interest(&self, interest: Interest) {
        let interest = if interest.is_never() {
            NEVER
        } else if interest.is_always() {
            ALWAYS
        } else {
            ASK
        };
        self.interest.store(interest, Ordering::Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.filled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callsite(line: u32) -> Callsite<'static> {
        Callsite {
            name: "event",
            target: "bridge_tests",
            level: 3,
            file: Some("src/lib.rs"),
            line: Some(line),
            fields: vec!["message", "n"],
        }
    }

    #[test]
    fn equal_callsites_are_one() {
        let registry = Registry::new(100);
        let first = registry.register(&callsite(1));
        assert_eq!(registry.register(&callsite(1)), first);
        assert_ne!(registry.register(&callsite(2)), first);
        assert_ne!(registry.register(&Callsite { level: 2, ..callsite(1) }), first);
        assert_ne!(registry.register(&Callsite { fields: vec!["message"], ..callsite(1) }), first);
    }

    #[test]
    fn past_the_bound_callsites_share_one_per_level() {
        let registry = Registry::new(3);
        let own: Vec<u64> = (0..3).map(|line| registry.register(&callsite(line))).collect();
        let shared = registry.register(&callsite(3));
        assert!(!own.contains(&shared));
        assert_eq!(registry.register(&callsite(4)), shared);
        let louder = registry.register(&Callsite { level: 1, ..callsite(5) });
        assert_ne!(louder, shared);
        for line in 10..1000 {
            registry.register(&Callsite { level: (line % 256) as u8, ..callsite(line) });
        }
        assert_eq!(registry.known.read().unwrap().sites.len(), 3 + 5);
        assert_eq!(registry.register(&callsite(0)), own[0]);
    }

    #[test]
    fn numbers_that_nobody_gave_out_are_ignored() {
        assert!(!enabled("core", u64::MAX));
        emit("core", u64::MAX, "", &[(0, Value::Text("lost"))]);
    }

    #[test]
    fn the_message_stays_among_very_many_fields() {
        let names: Vec<String> = (0..100).map(|at| format!("field{at}")).collect();
        let mut fields: Vec<&str> = names.iter().map(String::as_str).collect();
        fields.push("message");
        let key = Key::of(&Callsite { fields, ..callsite(1) });
        assert_eq!((key.fields.len(), key.fields.last().unwrap().as_str()), (64, "message"));
    }
}
