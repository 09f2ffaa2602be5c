//! Logging: what the host and its services have to say, in files and on the console.
//!
//! The host logs with `tracing`; plugins log with their own copy of it, whose events come in through
//! [`bridge`]. From there on both are alike:
//!
//! * **One filter.** The host, plugin-api and the loaded plugins' crates count as our own and are
//!   logged at the chosen level; all other crates are libraries, at WARNING unless asked.
//! * **One line per event**, whatever is in it, to one file: the service's when the event belongs to
//!   a service (see [`service_scope`]), the host's otherwise; and to the console when there is one.
//! * **Logging never stops the host.** What cannot be written is counted and mentioned on standard
//!   error, at most once a minute.

pub mod bridge;
mod console;
mod files;
mod filter;
mod line;
mod output;
mod scope;
mod settings;
pub mod tail;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, reload};

pub use files::{HOST_FILE, file_name};
pub(crate) use line::escape;
pub use scope::{ScopeGuard, service_scope};
pub use settings::{
    CONSOLE_VARIABLE, Format, LEVEL_VARIABLE, Level, LogSection, LogSettings, LoggingError,
    Surroundings, UnknownLevel,
};

use console::Console;
use files::Files;
use filter::Filter;
use output::Output;

/// Sets up logging for the whole process.
///
/// A log directory that cannot be written is no error: the console takes over, and says so.
///
/// # Errors
/// When it was set up before.
pub fn init(settings: &LogSettings, surroundings: Surroundings) -> Result<LogHandle, LoggingError> {
    // Only a process whose logging is not yet set up may open files and say things.
    if tracing::dispatcher::has_been_set() {
        return Err(LoggingError::AlreadySet);
    }
    let (subscriber, handle) = build(settings, surroundings, Console::stderr());
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySet)?;
    Ok(handle)
}

/// What may be changed and asked while the host runs; cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    /// The filter as it should be; the reload handle's own copy goes with its subscriber.
    filter: Arc<Mutex<Filter>>,
    reload: reload::Handle<Filter, Registry>,
    files: Option<Arc<Files>>,
    /// The level that the host was started with.
    initial: Level,
}

/// What is logged at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Level of the host, and of the services that have none of their own.
    pub level: Level,
    /// The level that the host was started with.
    pub default: Level,
    /// Level of the libraries that they use.
    pub libraries: Level,
    /// Services with a level of their own.
    pub services: BTreeMap<String, Level>,
}

impl LogHandle {
    /// Changes the level of the host and of the services that have none of their own; `None` stands
    /// for the one that the host was started with. When this returns, the host's filter is the new
    /// one; the plugins must then be told to ask again.
    pub fn set_level(&self, level: Option<Level>) {
        self.change(|filter| filter.level = level.unwrap_or(self.initial));
    }

    /// Gives a service a level of its own, or takes that away. The service must then be told to ask
    /// again.
    pub fn set_service_level(&self, service: &str, level: Option<Level>) {
        self.change(|filter| match level {
            Some(level) => drop(filter.services.insert(service.to_owned(), level)),
            None => drop(filter.services.remove(service)),
        });
    }

    /// The levels in force.
    #[must_use]
    pub fn levels(&self) -> Levels {
        let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        Levels {
            level: filter.level,
            default: self.initial,
            libraries: filter.libraries,
            services: filter.services.clone(),
        }
    }

    /// Counts a plugin's crate among our own, so that its events are logged at the chosen level.
    pub fn add_own_target(&self, crate_name: &str) {
        self.change(|filter| filter.add_own(crate_name));
    }

    /// The directory of the log files; `None` when there are none.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.files.as_deref().map(Files::directory)
    }

    /// How many lines could not be written to their files.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.files.as_deref().map_or(0, Files::lost)
    }

    fn change(&self, change: impl FnOnce(&mut Filter)) {
        let mut filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut filter);
        // Fails only when the subscriber is gone, and with it everything there was to filter.
        // Rebuilds `tracing`'s cache of what is wanted before it returns.
        let _ = self.reload.reload(filter.clone());
    }
}

/// The subscriber and its handle, without making it the process's.
fn build(
    settings: &LogSettings,
    surroundings: Surroundings,
    console: Console,
) -> (impl Subscriber + Send + Sync + use<>, LogHandle) {
    let directory = settings.directory();
    let mut to_console = settings.writes_to_console(surroundings);
    let files = match Files::open(&directory) {
        Ok(files) => Some(Arc::new(files)),
        Err(error) => {
            to_console = true;
            console.notice(&format!(
                "cannot write logs in {}: {error}; logging to standard error instead (hint: let the \
                 host's user write there, or set `directory` in `[log]` of exphost.toml)",
                directory.display(),
            ));
            None
        }
    };
    if !to_console {
        console.notice(&only_files(settings, &directory));
    }
    // People at a terminal read text, whatever the files are.
    let format = if surroundings.terminal { Format::Text } else { settings.format };
    let output = Output {
        files: files.clone(),
        file_format: settings.format,
        console: Arc::new(console),
        console_format: to_console.then_some(format),
        color: settings.color && surroundings.terminal,
        width: AtomicUsize::new("exphost".len()),
    };
    let filter = Filter::new(settings.level, settings.libraries);
    let (layer, reload) = reload::Layer::new(filter.clone());
    let subscriber = Registry::default().with(layer).with(output);
    let initial = settings.level;
    (subscriber, LogHandle { filter: Arc::new(Mutex::new(filter)), reload, files, initial })
}

/// Why there is silence, for somebody who looks at standard error.
fn only_files(settings: &LogSettings, directory: &Path) -> String {
    let why = match settings.console {
        Some(_) => "the console was turned off",
        None => "production, without terminal or systemd",
    };
    format!(
        "logging only to {}/exphost.log and a file beside it for each service ({why}); \
         set {CONSOLE_VARIABLE}=true to have it here",
        directory.display(),
    )
}

#[cfg(test)]
mod tests;
