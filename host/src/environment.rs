//! The process's surroundings, handed in so that tests can make them up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environment variables.
pub trait Env: Send + Sync {
    /// The value of a variable; `None` when it is unset or not UTF-8.
    fn get(&self, name: &str) -> Option<String>;
    /// All variables, by name.
    fn all(&self) -> BTreeMap<String, String>;

    /// What people are told of where a variable is set: its name, and the file when one sets it.
    fn told(&self, name: &str) -> String {
        name.to_owned()
    }

    /// The value of a variable; `None` when it is unset or empty.
    fn get_non_empty(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

/// The variables of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

#[allow(clippy::disallowed_methods, reason = "this is the one place that the reason points to")]
impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn all(&self) -> BTreeMap<String, String> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }
}

impl Env for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn all(&self) -> BTreeMap<String, String> {
        self.clone()
    }
}

/// Where the host runs: it decides where logs go and how strict file ownership is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On somebody's desk: logs below the working directory and on the console.
    Development,
    /// In an installation: logs below `/var/log`, ownership of plugin files enforced.
    Production,
}

impl Mode {
    /// Production when running as root, when `EXPERIMANCE_ENV` (or `EXPERIMANCE_ENVIRONMENT`) is
    /// `production`, or when `/etc/experimance` exists; `development` in the variable wins over all.
    #[must_use]
    pub fn detect(env: &dyn Env, is_root: bool, etc: &Path) -> Self {
        let named = env
            .get_non_empty("EXPERIMANCE_ENV")
            .or_else(|| env.get_non_empty("EXPERIMANCE_ENVIRONMENT"))
            .map(|value| value.to_ascii_lowercase());
        match named.as_deref() {
            Some("development") => Self::Development,
            Some("production") => Self::Production,
            _ if is_root || etc.exists() => Self::Production,
            _ => Self::Development,
        }
    }

    /// [`Mode::detect`] for this process and machine.
    #[must_use]
    pub fn of_this_machine(env: &dyn Env) -> Self {
        Self::detect(env, rustix::process::geteuid().is_root(), Path::new("/etc/experimance"))
    }
}

/// What every command knows of the process it runs in.
#[derive(Clone)]
pub struct Process<'a> {
    /// The environment.
    pub env: &'a dyn Env,
    /// Development or production.
    pub mode: Mode,
    /// This executable, which is also the probe.
    pub executable: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_wins_over_root_and_the_directory() {
        let set = |value: &str| BTreeMap::from([("EXPERIMANCE_ENV".to_owned(), value.to_owned())]);
        let (here, nowhere) = (Path::new("/"), Path::new("/nonexistent"));
        assert_eq!(Mode::detect(&set("development"), true, here), Mode::Development);
        assert_eq!(Mode::detect(&set("production"), false, nowhere), Mode::Production);
        assert_eq!(Mode::detect(&BTreeMap::new(), true, nowhere), Mode::Production);
        assert_eq!(Mode::detect(&BTreeMap::new(), false, here), Mode::Production);
        assert_eq!(Mode::detect(&BTreeMap::new(), false, nowhere), Mode::Development);
    }
}
