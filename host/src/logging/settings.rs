//! What is logged, in which form and where to: the settings, and where they come from.
//!
//! Everything here is a value that is worked out from other values; nothing is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

use crate::environment::{Env, Mode};
use crate::problem::Problem;

/// The variable that sets the level, below `--log-level` and above `exphost.toml`.
pub const LEVEL_VARIABLE: &str = "EXPERIMANCE_LOG_LEVEL";

/// The variable that turns the console on or off whatever else is the case.
pub const CONSOLE_VARIABLE: &str = "EXPERIMANCE_LOG_CONSOLE";

/// How much is logged: everything at this level and above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Level {
    /// Every detail.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What happens in normal operation.
    Info,
    /// What somebody should look at some time.
    Warning,
    /// What has gone wrong.
    Error,
    /// The Python system's highest level. There are no events of this level here, so it is the
    /// same as [`Level::Error`].
    Critical,
}

impl Level {
    /// The names, as they are documented and printed.
    pub const NAMES: [&'static str; 6] = ["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

    /// The name in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// What `tracing` lets through at this level.
    #[must_use]
    pub const fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<Level> for &'static str {
    fn from(level: Level) -> Self {
        level.name()
    }
}

/// A text that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {given:?}: use TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL")]
pub struct UnknownLevel {
    given: String,
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_uppercase().as_str() {
            "TRACE" => Ok(Self::Trace),
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            "CRITICAL" => Ok(Self::Critical),
            _ => Err(UnknownLevel { given: text.chars().take(40).collect() }),
        }
    }
}

impl TryFrom<String> for Level {
    type Error = UnknownLevel;

    fn try_from(text: String) -> Result<Self, UnknownLevel> {
        text.parse()
    }
}

/// The form of a line in files and on a console that is no terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line. People at a terminal still get text.
    Json,
}

/// The table `[log]` of `exphost.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// Level of the host and the services.
    pub level: Option<Level>,
    /// Level of the libraries they use.
    pub libraries: Option<Level>,
    /// Form of the lines.
    pub format: Option<Format>,
    /// Where the files go instead of the place that is usual for the mode.
    pub directory: Option<PathBuf>,
    /// Whether to write to the console, instead of finding out.
    pub console: Option<bool>,
}

/// All that [`init`](super::init) needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Decides where the files go and whether a console is wanted when nobody says so.
    pub mode: Mode,
    /// Level of the host and the services.
    pub level: Level,
    /// Level of everything else.
    pub libraries: Level,
    /// Form of the lines.
    pub format: Format,
    /// Where the files go; `None` for the place that is usual for the mode.
    pub directory: Option<PathBuf>,
    /// Whether to write to the console; `None` to find out.
    pub console: Option<bool>,
    /// Whether colours are allowed; they are used on a terminal only.
    pub color: bool,
}

impl LogSettings {
    /// The settings of a mode when nobody says anything.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            level: Level::Info,
            libraries: Level::Warning,
            format: Format::Text,
            directory: None,
            console: None,
            color: true,
        }
    }

    /// The effective settings: the defaults, overridden by `exphost.toml`, overridden by the
    /// environment, overridden by the command line.
    ///
    /// # Errors
    /// When a variable holds something that cannot be understood.
    pub fn resolve(
        mode: Mode,
        env: &dyn Env,
        cli_level: Option<Level>,
        file: &LogSection,
    ) -> Result<Self, LoggingError> {
        let default = Self::new(mode);
        let from_env = match env.get_non_empty(LEVEL_VARIABLE) {
            Some(text) => Some(text.parse().map_err(LoggingError::LevelVariable)?),
            None => None,
        };
        let console = match env.get_non_empty(CONSOLE_VARIABLE) {
            Some(text) => Some(truth(&text).ok_or(LoggingError::ConsoleVariable { given: text })?),
            None => file.console,
        };
        Ok(Self {
            mode,
            level: cli_level.or(from_env).or(file.level).unwrap_or(default.level),
            libraries: file.libraries.unwrap_or(default.libraries),
            format: file.format.unwrap_or(default.format),
            directory: file.directory.clone(),
            console,
            color: env.get_non_empty("NO_COLOR").is_none(),
        })
    }

    /// Where the files go.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| match self.mode {
            Mode::Development => PathBuf::from("logs"),
            Mode::Production => PathBuf::from("/var/log/experimance"),
        })
    }

    /// Whether to write to the console: as was said, or else in development, at a terminal and
    /// under systemd, whose journal reads standard error.
    #[must_use]
    pub fn writes_to_console(&self, surroundings: Surroundings) -> bool {
        self.console.unwrap_or(
            self.mode == Mode::Development || surroundings.terminal || surroundings.systemd,
        )
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// What standard error is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Somebody sits in front of it.
    pub terminal: bool,
    /// systemd started the process.
    pub systemd: bool,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process(env: &dyn Env) -> Self {
        Self {
            terminal: std::io::IsTerminal::is_terminal(&std::io::stderr()),
            systemd: Self::is_systemd(env, std::os::unix::process::parent_id()),
        }
    }

    fn is_systemd(env: &dyn Env, parent: u32) -> bool {
        env.get_non_empty("JOURNAL_STREAM").is_some()
            || env.get_non_empty("SYSTEMD_EXEC_PID").is_some()
            || parent == 1
    }
}

/// Why logging could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// `EXPERIMANCE_LOG_LEVEL` is no level.
    #[error("EXPERIMANCE_LOG_LEVEL: {0}")]
    LevelVariable(UnknownLevel),
    /// `EXPERIMANCE_LOG_CONSOLE` is neither yes nor no.
    #[error("EXPERIMANCE_LOG_CONSOLE: {given:?} is neither true nor false")]
    ConsoleVariable {
        /// What it holds.
        given: String,
    },
    /// [`init`](super::init) was called twice.
    #[error("logging was set up twice in this process")]
    AlreadySet,
}

impl LoggingError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::LevelVariable(_) => "unset the variable, or set it to INFO",
            Self::ConsoleVariable { .. } => "unset the variable, or set it to true or false",
            Self::AlreadySet => "call `logging::init` once, in `main`",
        }
    }
}

impl From<LoggingError> for Problem {
    fn from(error: LoggingError) -> Self {
        Self::error(error.to_string()).hint(error.hint())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn levels_are_read_in_either_case() {
        for (text, level) in [
            ("trace", Level::Trace),
            ("Debug", Level::Debug),
            ("INFO", Level::Info),
            ("warn", Level::Warning),
            ("WARNING", Level::Warning),
            ("error", Level::Error),
            ("critical", Level::Critical),
        ] {
            assert_eq!(text.parse::<Level>().unwrap(), level, "{text}");
        }
        assert!("".parse::<Level>().is_err());
        let error = "verbose".parse::<Level>().unwrap_err().to_string();
        assert!(error.contains("\"verbose\"") && error.contains("WARNING"), "{error}");
        assert_eq!(Level::Critical.filter(), LevelFilter::ERROR);
    }

    #[test]
    fn the_nearer_source_wins() {
        let section: LogSection =
            toml::from_str("level = 'debug'\nlibraries = 'info'\nformat = 'json'").unwrap();
        let level = |env: &dyn Env, cli, section: &LogSection| {
            LogSettings::resolve(Mode::Development, env, cli, section).unwrap().level
        };
        let (none, set) = (env(&[]), env(&[(LEVEL_VARIABLE, "error")]));
        assert_eq!(level(&none, None, &LogSection::default()), Level::Info);
        assert_eq!(level(&none, None, &section), Level::Debug);
        assert_eq!(level(&set, None, &section), Level::Error);
        assert_eq!(level(&set, Some(Level::Trace), &section), Level::Trace);
        let resolved = LogSettings::resolve(Mode::Production, &none, None, &section).unwrap();
        assert_eq!((resolved.libraries, resolved.format), (Level::Info, Format::Json));
        assert!(toml::from_str::<LogSection>("levle = 'debug'").is_err());
        assert!(toml::from_str::<LogSection>("level = 'loud'").is_err());
    }

    #[test]
    fn variables_that_make_no_sense_are_refused_by_name() {
        for name in [LEVEL_VARIABLE, CONSOLE_VARIABLE] {
            let env = env(&[(name, "perhaps")]);
            let error = LogSettings::resolve(Mode::Development, &env, None, &LogSection::default())
                .unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
            assert!(!error.to_string().contains('\n') && !error.hint().is_empty());
        }
    }

    #[test]
    fn the_console_follows_mode_terminal_systemd_and_orders() {
        let wanted = |mode, console: Option<&str>, terminal, systemd| {
            let env = console.map_or_else(BTreeMap::new, |text| env(&[(CONSOLE_VARIABLE, text)]));
            LogSettings::resolve(mode, &env, None, &LogSection::default())
                .unwrap()
                .writes_to_console(Surroundings { terminal, systemd })
        };
        assert!(wanted(Mode::Development, None, false, false));
        assert!(!wanted(Mode::Production, None, false, false));
        assert!(wanted(Mode::Production, None, true, false));
        assert!(wanted(Mode::Production, None, false, true));
        assert!(wanted(Mode::Production, Some("TRUE"), false, false));
        assert!(!wanted(Mode::Production, Some("false"), true, true));
        assert!(!wanted(Mode::Development, Some("0"), true, false));
    }

    #[test]
    fn systemd_shows_in_its_variables_or_as_the_parent() {
        assert!(Surroundings::is_systemd(&env(&[("JOURNAL_STREAM", "8:1")]), 400));
        assert!(Surroundings::is_systemd(&env(&[("SYSTEMD_EXEC_PID", "77")]), 400));
        assert!(Surroundings::is_systemd(&env(&[]), 1));
        assert!(!Surroundings::is_systemd(&env(&[("JOURNAL_STREAM", "")]), 400));
    }
}
