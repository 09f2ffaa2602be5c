//! The `log` crate's logger, for the libraries that use it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use ::log::{Level, Log, Metadata, Record};

use super::values::Values;

/// So many places are remembered; then it begins anew, for targets may be made up at run time.
const MOST_SITES: usize = 4096;

static SITES: RwLock<Sites> = RwLock::new(Sites { age: 0, count: 0, by_target: None });

/// What the host said of the places that have logged. `log` has no callsites; a place is known by
/// its target, level, file and line.
struct Sites {
    /// How often everything was forgotten: an answer from before that must not be put in after.
    age: u64,
    count: usize,
    by_target: Option<HashMap<String, SitesOfTarget>>,
}

/// By level and line; two files of one target may share a line.
type SitesOfTarget = HashMap<(Level, u32), Vec<Site>>;

#[derive(Clone)]
struct Site {
    file: String,
    number: u64,
    enabled: bool,
}

/// Forgets what the host said.
pub(super) fn forget() {
    let mut sites = SITES.write().unwrap_or_else(PoisonError::into_inner);
    sites.clear();
}

impl Sites {
    fn clear(&mut self) {
        self.age += 1;
        self.count = 0;
        self.by_target = None;
    }

    fn find(&self, target: &str, level: Level, file: &str, line: u32) -> Option<(u64, bool)> {
        let sites = self.by_target.as_ref()?.get(target)?.get(&(level, line))?;
        let site = sites.iter().find(|site| site.file == file)?;
        Some((site.number, site.enabled))
    }
}

/// The place's number, and whether the host wants its events.
fn site(target: &str, level: Level, file: &str, line: u32) -> Option<(u64, bool)> {
    let sites = SITES.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = sites.find(target, level, file, line) {
        return Some(known);
    }
    let age = sites.age;
    drop(sites);
    let (number, enabled) =
        super::register(("log record", target, code(level)), (file, line), &["message"])?;
    let mut sites = SITES.write().unwrap_or_else(PoisonError::into_inner);
    if sites.age == age && sites.find(target, level, file, line).is_none() {
        if sites.count >= MOST_SITES {
            sites.clear();
        }
        sites.count += 1;
        sites
            .by_target
            .get_or_insert_default()
            .entry(target.to_owned())
            .or_default()
            .entry((level, line))
            .or_default()
            .push(Site { file: file.to_owned(), number, enabled });
    }
    Some((number, enabled))
}

fn code(level: Level) -> u8 {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    }
}

/// Takes `log`'s records the same way as `tracing`'s events.
pub(super) struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        site(metadata.target(), metadata.level(), "", 0).is_some_and(|(_, enabled)| enabled)
    }

    fn log(&self, record: &Record<'_>) {
        let (file, line) = (record.file().unwrap_or_default(), record.line().unwrap_or_default());
        let Some((number, true)) = site(record.target(), record.level(), file, line) else {
            return;
        };
        let mut values = Values::default();
        values.text(0, record.args());
        super::send(number, &values);
    }

    fn flush(&self) {}
}
