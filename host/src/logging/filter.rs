//! Which events are wanted: our own at the chosen level, those of libraries at another.
//!
//! A service may have a level of its own. Which service an event belongs to is known only when it comes
//! (see `scope`), so as long as one has, callsites on whose events two levels disagree are asked each
//! time; all others keep `tracing`'s cached answer.
//!
//! `tracing_subscriber`'s `Targets` compares beginnings, so that a plugin `core` would let the
//! noise of `core_graphics` through. This filter compares whole path segments.

use std::collections::{BTreeMap, BTreeSet};

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::scope;
use super::settings::Level;

/// Targets that are our own from the start: the host's two crates, and panics anywhere.
const OWN: [&str; 3] = ["exphost", "plugin_api", "panic"];

/// The levels in force and the crates that count as our own.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) level: Level,
    pub(super) libraries: Level,
    /// Services with a level of their own.
    pub(super) services: BTreeMap<String, Level>,
    own: BTreeSet<String>,
}

impl Filter {
    pub(super) fn new(level: Level, libraries: Level) -> Self {
        let own = OWN.into_iter().map(str::to_owned).collect();
        Self { level, libraries, services: BTreeMap::new(), own }
    }

    /// Counts a crate, and its modules, among our own.
    pub(super) fn add_own(&mut self, crate_name: &str) {
        self.own.insert(crate_name.replace('-', "_"));
    }

    fn is_own(&self, metadata: &Metadata<'_>) -> bool {
        self.own.contains(metadata.target().split("::").next().unwrap_or_default())
    }

    /// Every level that our own events may be logged at.
    fn levels(&self) -> impl Iterator<Item = Level> {
        std::iter::once(self.level).chain(self.services.values().copied())
    }

    /// The level of the events of a service, or of the host.
    fn level_of(&self, service: Option<&str>) -> Level {
        service.and_then(|service| self.services.get(service)).copied().unwrap_or(self.level)
    }
}

fn passes(metadata: &Metadata<'_>, level: Level) -> bool {
    *metadata.level() <= level.filter()
}

impl<S: Subscriber> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if !self.is_own(metadata) {
            return if passes(metadata, self.libraries) {
                Interest::always()
            } else {
                Interest::never()
            };
        }
        let wanted = self.levels().filter(|level| passes(metadata, *level)).count();
        match wanted {
            0 => Interest::never(),
            all if all == self.services.len() + 1 => Interest::always(),
            _ => Interest::sometimes(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if !self.is_own(metadata) {
            return passes(metadata, self.libraries);
        }
        if self.services.is_empty() {
            return passes(metadata, self.level);
        }
        passes(metadata, scope::with_current(|service, _| self.level_of(service)))
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        let own = self.levels().map(Level::filter).max();
        own.map(|own| own.max(self.libraries.filter()))
    }
}
