//! Which events are wanted: our own at the chosen level, those of libraries at another.
//!
//! `tracing_subscriber`'s `Targets` compares beginnings, so that a plugin `core` would let the
//! noise of `core_graphics` through. This filter compares whole path segments.

use std::collections::BTreeSet;

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::settings::Level;

/// Targets that are our own from the start: the host's two crates, and panics anywhere.
const OWN: [&str; 3] = ["exphost", "plugin_api", "panic"];

/// The levels in force and the crates that count as our own.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) level: Level,
    pub(super) libraries: Level,
    own: BTreeSet<String>,
}

impl Filter {
    pub(super) fn new(level: Level, libraries: Level) -> Self {
        Self { level, libraries, own: OWN.into_iter().map(str::to_owned).collect() }
    }

    /// Counts a crate, and its modules, among our own.
    pub(super) fn add_own(&mut self, crate_name: &str) {
        self.own.insert(crate_name.replace('-', "_"));
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let root = metadata.target().split("::").next().unwrap_or_default();
        let level = if self.own.contains(root) { self.level } else { self.libraries };
        *metadata.level() <= level.filter()
    }
}

impl<S: Subscriber> Layer<S> for Filter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.filter().max(self.libraries.filter()))
    }
}
