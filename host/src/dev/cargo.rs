//! The cargo that builds, and the surroundings it is given.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::environment::Env;
use crate::problem::Problem;

/// Prefixes of the variables that an outer `cargo run` sets for this process alone. Build scripts
/// that ask for one of them would run again whenever somebody builds without the outer cargo.
const OF_THE_OUTER_CARGO: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// How cargo is called.
#[derive(Clone, Debug)]
pub struct Cargo {
    program: PathBuf,
    without: Vec<OsString>,
    release: bool,
}

impl Cargo {
    /// The cargo that started this process, which spares rustup's detour; else the one on the path.
    #[must_use]
    pub fn new(env: &dyn Env, release: bool) -> Self {
        let is_outer = |name: &String| OF_THE_OUTER_CARGO.iter().any(|it| name.starts_with(it));
        Self {
            program: env.get_non_empty("CARGO").unwrap_or_else(|| "cargo".to_owned()).into(),
            without: env.all().into_keys().filter(is_outer).map(OsString::from).collect(),
            release,
        }
    }

    /// `cargo build` of one package alone: built together with another, the two would get the
    /// features of both in what they share.
    ///
    /// It is called in the workspace's root as people do, so that it reuses what they have built.
    pub(super) fn build(&self, root: &Path, package: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(root).stdin(Stdio::null());
        command.args(["build", "--lib", "--package", package]);
        command.arg("--message-format=json-diagnostic-rendered-ansi");
        if self.release {
            command.arg("--release");
        }
        for name in &self.without {
            command.env_remove(name);
        }
        command
    }

    /// What `cargo metadata` says of the workspace of a manifest, or of the working directory.
    ///
    /// # Errors
    /// When there is no cargo or no workspace, with what cargo said.
    pub(super) fn metadata(&self, manifest: Option<&Path>) -> Result<Metadata, Box<Problem>> {
        let mut command = MetadataCommand::new();
        command.cargo_path(&self.program);
        // Packages that only other platforms need would have to be downloaded for nothing.
        let platform = plugin_api::abi::identity::TARGET;
        command.other_options(["--filter-platform".to_owned(), platform.to_owned()]);
        for name in &self.without {
            command.env_remove(name);
        }
        if let Some(manifest) = manifest {
            let manifest = std::path::absolute(manifest).unwrap_or_else(|_| manifest.to_owned());
            if let Some(directory) = manifest.parent() {
                // Where cargo finds the configuration that it will build with.
                command.current_dir(directory);
            }
            command.manifest_path(manifest);
        }
        command.exec().map_err(|error| Box::new(self.unusable(manifest, error)))
    }

    fn unusable(&self, manifest: Option<&Path>, error: cargo_metadata::Error) -> Problem {
        use cargo_metadata::Error;
        let (message, hint) = match error {
            Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => (
                format!("there is no `{}` to build with", self.program.display()),
                "install Rust from https://rustup.rs, or start `exphost` with the plugins as they are",
            ),
            Error::CargoMetadata { stderr } => (
                stderr.trim().trim_start_matches("error: ").to_owned(),
                "start it in the workspace of the plugins, or name its Cargo.toml with --manifest-path",
            ),
            error => (error.to_string(), "see what `cargo metadata` says"),
        };
        let problem = Problem::error(message).hint(hint);
        match manifest {
            Some(manifest) => problem.in_file(manifest),
            None => problem,
        }
    }
}
