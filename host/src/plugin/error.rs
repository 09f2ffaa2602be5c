//! Why a plugin file was not loaded: one fault for each way, with what to do about it.
//!
//! The short line is for people and names the file; the long report, where there is one, is for the
//! log at debug level.

use std::io;
use std::path::{Path, PathBuf};

use plugin_api::abi::identity;
use serde::{Deserialize, Serialize};

/// A plugin file was refused.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", file.display())]
pub struct LoadError {
    file: PathBuf,
    #[source]
    fault: Box<Fault>,
}

impl LoadError {
    /// `file` was refused because of `fault`.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, fault: impl Into<Fault>) -> Self {
        Self { file: file.into(), fault: Box::new(fault.into()) }
    }

    /// The file, as the operator knows it.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is wrong; its Display is the message without the file.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// The step that refused it: `identify`, `permissions`, `stage`, `probe`, `open`, `layout` or
    /// `manifest`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.fault.step()
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.fault.hint()
    }

    /// The long report, for the log at debug level.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.fault.detail()
    }
}

/// One way for a plugin file to be bad.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A directory, a socket, a device.
    #[error("not a file but {what}")]
    NotAFile {
        /// `a directory`.
        what: &'static str,
    },
    /// The operating system refuses to open or read it.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// No bytes.
    #[error("empty file")]
    Empty,
    /// Larger than any plugin.
    #[error("{size} bytes long; a plugin file has at most {limit}")]
    TooLarge {
        /// Bytes in the file.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Text, an archive, anything else.
    #[error("not a shared library")]
    NotElf,
    /// An ELF file of another kind.
    #[error("not a shared library but {what}")]
    OtherKind {
        /// `an executable`.
        what: &'static str,
    },
    /// A 32-bit file.
    #[error("a 32-bit library; this host is 64-bit")]
    Bits32,
    /// Built for another processor.
    #[error("built for {file}; this host runs on {host}")]
    OtherMachine {
        /// The file's machine.
        file: String,
        /// The host's.
        host: &'static str,
    },
    /// Its tables promise more bytes than there are.
    #[error("truncated: {what} ends at byte {needs}, the file has {has}")]
    Truncated {
        /// `the section table`.
        what: &'static str,
        /// Bytes that would be needed.
        needs: u64,
        /// Bytes there are.
        has: u64,
    },
    /// Its tables contradict themselves.
    #[error("damaged library: {0}")]
    Damaged(String),
    /// A library, but no plugin.
    #[error("not an exphost plugin: no identity record, so no export_service!")]
    NotAPlugin,
    /// The identity is of another form.
    #[error("its identity record begins with `{found}`; this host reads `{}`", identity::MAGIC)]
    OtherIdentity {
        /// How it begins.
        found: String,
    },
    /// The identity makes no sense.
    #[error("its identity record cannot be read: {0}")]
    BadIdentity(String),
    /// A version that is not one.
    #[error("its {what} `{text}` is not a version: {reason}")]
    BadVersion {
        /// `version` or `plugin-api version`.
        what: &'static str,
        /// What stands there.
        text: String,
        /// Why it is not one.
        reason: String,
    },
    /// Built with another major of plugin-api.
    #[error("built with plugin-api {plugin}; this host has {host}, another major version")]
    OtherMajor {
        /// The plugin's.
        plugin: semver::Version,
        /// The host's.
        host: semver::Version,
    },
    /// Built with a newer minor of plugin-api.
    #[error("built with plugin-api {plugin}, newer than this host's {host}")]
    NewerMinor {
        /// The plugin's.
        plugin: semver::Version,
        /// The host's.
        host: semver::Version,
    },
    /// A panic in it would take the host down.
    #[error("built with panic = \"abort\": a panic in it would kill the host")]
    PanicAbort,
    /// The identity is there, the entry is not.
    #[error("exports no entry for the host ({symbol})")]
    NoEntry {
        /// The symbol.
        symbol: &'static str,
    },
    /// Others may change the file, or what the name stands for.
    #[error("{} may be written by others (mode {mode:04o})", path.display())]
    WritableByOthers {
        /// The file or a directory above it.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Somebody else may change the file.
    #[error("{} belongs to user {uid}, neither root nor the host's user", path.display())]
    ForeignOwner {
        /// The file or a directory above it.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Its owner and mode cannot be found out.
    #[error("the permissions of {} cannot be checked: {source}", path.display())]
    PermissionsUnknown {
        /// The file or a directory above it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Written to between two looks.
    #[error("changed while it was being loaded")]
    Changed,
    /// The private copy could not be made.
    #[error("no private copy at {}: {source}", path.display())]
    NoCopy {
        /// Where the copy would be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The probe is not possible at all.
    #[error("cannot be probed: {0}")]
    NoProbe(#[source] io::Error),
    /// The probe did not survive it.
    #[error("cannot be loaded safely: the probe was killed by signal {signal}{}", said(stderr))]
    ProbeKilled {
        /// `11 (SIGSEGV)`.
        signal: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The probe did not end.
    #[error("cannot be loaded safely: the probe did not end within {seconds} s{}", said(stderr))]
    ProbeTimeout {
        /// The deadline.
        seconds: f64,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The probe ended of the plugin's doing.
    #[error("cannot be loaded safely: the probe ended early with exit code {code}{}", said(stderr))]
    ProbeExited {
        /// The exit code.
        code: i32,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The probe ended and left no or an unreadable report.
    #[error("cannot be loaded safely: the probe's report cannot be read: {reason}")]
    ProbeGarbage {
        /// Why not.
        reason: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// Opening it in a process failed, the probe's or this one.
    #[error(transparent)]
    Open(#[from] OpenFault),
}

/// One way for a library to be bad that shows only when it is opened. It travels from the probe to
/// the host as JSON, so that both say the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum OpenFault {
    /// The dynamic linker refuses it.
    #[error("cannot be opened: {reason}")]
    Linker {
        /// The linker's own words.
        reason: String,
    },
    /// The entry is not the one that this host knows.
    #[error("its entry does not fit this host: {reason}")]
    Header {
        /// In the words of the library that checks it.
        reason: String,
    },
    /// Built so that its types cannot be checked.
    #[error("carries no description of its types, so they cannot be checked")]
    NoLayout,
    /// Built with types that differ from the host's.
    #[error("its types differ from this host's: {}", differences.join("; "))]
    Layout {
        /// The first few differences.
        differences: Vec<String>,
        /// All of them, at length.
        report: String,
    },
    /// Its own setting up failed.
    #[error("does not hand out its functions: {reason}")]
    Module {
        /// What it said.
        reason: String,
    },
    /// It cannot describe itself.
    #[error("cannot give its manifest: {reason}")]
    Manifest {
        /// What it said.
        reason: String,
    },
    /// File and manifest disagree.
    #[error("its manifest says {what} `{manifest}`, its identity record `{identity}`")]
    OtherSelf {
        /// `name` or `version`.
        what: String,
        /// What the manifest says.
        manifest: String,
        /// What the record says.
        identity: String,
    },
}

/// The last words of a probe, for the short line.
fn said(stderr: &str) -> String {
    let Some(last) = stderr.lines().map(str::trim).rfind(|line| !line.is_empty()) else {
        return String::new();
    };
    let last: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("; it said: {last}")
}

impl Fault {
    /// See [`LoadError::step`].
    #[must_use]
    pub fn step(&self) -> &'static str {
        match self {
            Self::WritableByOthers { .. }
            | Self::ForeignOwner { .. }
            | Self::PermissionsUnknown { .. } => "permissions",
            Self::Changed | Self::NoCopy { .. } => "stage",
            Self::NoProbe(_)
            | Self::ProbeKilled { .. }
            | Self::ProbeTimeout { .. }
            | Self::ProbeExited { .. }
            | Self::ProbeGarbage { .. } => "probe",
            Self::Open(fault) => fault.step(),
            _ => "identify",
        }
    }

    /// See [`LoadError::hint`].
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        const REMOVE: &str = "keep only plugin libraries in the plugin directory";
        const WRITING: &str = "is it still being written? copy it again if not";
        const REBUILD: &str = "build the plugin again, for this machine";
        let hint = match self {
            Self::NotAFile { .. } | Self::NotElf | Self::TooLarge { .. } => REMOVE.to_owned(),
            Self::OtherKind { .. } => {
                "a plugin is built with crate-type = [\"cdylib\"]; copy the lib….so file".to_owned()
            }
            Self::Unreadable(_) => "check that the host's user may read it".to_owned(),
            Self::Empty | Self::Truncated { .. } | Self::Damaged(_) => WRITING.to_owned(),
            Self::Bits32 => REBUILD.to_owned(),
            Self::OtherMachine { host, .. } => format!("build the plugin for {host}"),
            Self::NotAPlugin | Self::NoEntry { .. } => {
                "a plugin's lib.rs ends in export_service!(YourService)".to_owned()
            }
            Self::OtherIdentity { .. } | Self::BadIdentity(_) => rebuild(),
            Self::BadVersion { .. } => "give it a version like 1.2.3 in its Cargo.toml".to_owned(),
            Self::OtherMajor { plugin, host } if plugin.major > host.major => update(plugin),
            Self::OtherMajor { .. } => rebuild(),
            Self::NewerMinor { plugin, .. } => format!("{}, or {}", update(plugin), rebuild()),
            Self::PanicAbort => {
                "remove panic = \"abort\" from the profile it is built with".to_owned()
            }
            Self::WritableByOthers { path, .. } => format!("chmod go-w {}", path.display()),
            Self::ForeignOwner { path, .. } => format!("chown root {}", path.display()),
            Self::PermissionsUnknown { .. } => {
                "check that the host's user may look into the directory".to_owned()
            }
            Self::Changed => "wait until it is written completely, then try again".to_owned(),
            Self::NoCopy { .. } => {
                "check space and permissions there, or set XDG_RUNTIME_DIR to another directory"
                    .to_owned()
            }
            Self::NoProbe(_) => "check the limits on processes and open files".to_owned(),
            Self::ProbeKilled { .. } => {
                format!("{WRITING}; else a constructor or the manifest of the plugin is at fault")
            }
            Self::ProbeTimeout { .. } | Self::ProbeExited { .. } | Self::ProbeGarbage { .. } => {
                "a plugin must do nothing when it is loaded; look for constructors in its libraries"
                    .to_owned()
            }
            Self::Open(fault) => return fault.hint(),
        };
        Some(hint)
    }

    /// See [`LoadError::detail`].
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::ProbeKilled { stderr, .. }
            | Self::ProbeTimeout { stderr, .. }
            | Self::ProbeExited { stderr, .. }
            | Self::ProbeGarbage { stderr, .. } => Some(stderr.as_str()).filter(|s| !s.is_empty()),
            Self::Open(OpenFault::Layout { report, .. }) => Some(report),
            _ => None,
        }
    }
}

impl OpenFault {
    fn step(&self) -> &'static str {
        match self {
            Self::Linker { .. } | Self::Header { .. } | Self::Module { .. } => "open",
            Self::NoLayout | Self::Layout { .. } => "layout",
            Self::Manifest { .. } | Self::OtherSelf { .. } => "manifest",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Linker { reason } if reason.contains("failed to map segment") => {
                "is the directory of the private copies mounted noexec? set XDG_RUNTIME_DIR to another"
                    .to_owned()
            }
            Self::Linker { reason } if reason.contains("cannot open shared object file") => {
                "install the library that it names, or link it statically".to_owned()
            }
            Self::Linker { .. } => {
                "build it again on this machine, against the libraries of this machine".to_owned()
            }
            Self::Module { .. } | Self::Manifest { .. } => {
                "the fault is in the plugin: show this to its author".to_owned()
            }
            Self::OtherSelf { .. } => {
                "export it with export_service!, which writes both from its Cargo.toml".to_owned()
            }
            Self::Header { .. } | Self::NoLayout | Self::Layout { .. } => rebuild(),
        })
    }
}

fn rebuild() -> String {
    format!("rebuild the plugin with plugin-api {}", identity::API_VERSION)
}

fn update(plugin: &semver::Version) -> String {
    format!("update exphost to one with plugin-api {}.{}", plugin.major, plugin.minor)
}
