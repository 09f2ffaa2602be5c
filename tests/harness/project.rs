//! A project in a temporary directory, and the commands that work on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::artefacts::{exphost, library_name, plugin};
use super::host::Host;

/// The name of every test's project.
pub const PROJECT: &str = "test";

/// A working directory with `projects/test/` and `plugins/` in it.
#[derive(Debug)]
pub struct Project {
    directory: TempDir,
    /// Where the control socket is: every test's project has the same name, and the path of a
    /// socket must be short.
    runtime: TempDir,
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// A project without services, and no plugins.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("project-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory can be written");
        fs::create_dir_all(directory.path().join("projects").join(PROJECT)).expect("a directory");
        fs::create_dir(directory.path().join("plugins")).expect("a directory");
        let runtime = tempfile::Builder::new().prefix("exphost-test-").tempdir();
        Self { directory, runtime: runtime.expect("the temporary directory can be written") }
    }

    /// The working directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The control socket of its host.
    pub fn socket(&self) -> PathBuf {
        self.runtime.path().join("exphost").join(format!("{PROJECT}.sock"))
    }

    /// The plugin directory.
    pub fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    /// Path of a file of the project.
    pub fn config_path(&self, service: &str) -> PathBuf {
        self.path().join("projects").join(PROJECT).join(format!("{service}.toml"))
    }

    /// Writes `<service>.toml`; `exphost` for the host's own file.
    #[must_use]
    pub fn config(self, service: &str, toml: impl AsRef<str>) -> Self {
        fs::write(self.config_path(service), toml.as_ref()).expect("the project can be written");
        self
    }

    /// Puts the built plugin of a package into the plugin directory.
    #[must_use]
    pub fn plugin(self, package: &str) -> Self {
        self.library(&library_name(package), &plugin(package))
    }

    /// Puts a library into the plugin directory under another name.
    #[must_use]
    pub fn library(self, name: &str, library: &Path) -> Self {
        fs::copy(library, self.plugins().join(name))
            .unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        self
    }

    /// Puts a file with these bytes into the plugin directory.
    #[must_use]
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.plugins().join(name), bytes).expect("the plugin directory can be written");
        self
    }

    /// Both files of a service that runs `package` under another name.
    #[must_use]
    pub fn service(self, service: &str, package: &str, toml: impl AsRef<str>) -> Self {
        let directive = format!("\n[exphost]\nplugin = \"{package}\"\n");
        self.plugin(package).config(service, toml.as_ref().to_owned() + &directive)
    }

    /// `exphost --project test` with `arguments`, in development mode whoever runs the test.
    pub fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(exphost());
        command
            .current_dir(self.path())
            .env_remove("SERVICES")
            .env_remove("PROJECT_ENV")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            // Whoever runs the tests may have it; in a debug build it makes a panic take 0.1 s.
            .env_remove("RUST_BACKTRACE")
            .env("EXPERIMANCE_ENV", "development")
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .args(["--project", PROJECT])
            .arg("--plugins")
            .arg(self.plugins())
            .arg("--projects")
            .arg(self.path().join("projects"))
            .args(arguments)
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EXPHOST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Runs a command to its end.
    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary can be started")
    }

    /// Runs a read command with `--json`: its exit code and its document.
    pub fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.command(arguments.iter().copied().chain(["--json"])).output();
        let output = output.expect("the binary can be started");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let document = serde_json::from_str(&stdout).unwrap_or_else(|error| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            panic!("{arguments:?}: not one JSON document: {error}\n{stdout}\n{stderr}")
        });
        (output.status.code().unwrap_or(-1), document)
    }

    /// Runs a command with `--json` that prints one object a line: its exit code and the objects.
    pub fn json_lines(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let output = self.command(arguments.iter().copied().chain(["--json"])).output();
        let output = output.expect("the binary can be started");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let object = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
        };
        let objects: Vec<Value> = stdout.lines().map(object).collect();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!objects.is_empty(), "{arguments:?} printed nothing; it said: {stderr}");
        (output.status.code().unwrap_or(-1), objects)
    }

    /// Starts the host.
    pub fn start(self) -> Host {
        self.start_with(&[])
    }

    /// Starts the host with more in its environment.
    pub fn start_in(self, environment: &[(&str, &str)]) -> Host {
        let mut command = self.command::<&str>([]);
        command.envs(environment.iter().copied());
        Host::of(self, command)
    }

    /// Starts the host with more arguments.
    pub fn start_with(self, arguments: &[&str]) -> Host {
        Host::start(self, arguments)
    }
}
