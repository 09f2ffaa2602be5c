//! The command line: one file per command.

mod check;
mod completions;
mod config;
mod dev;
mod flags;
mod inspect;
mod list;
mod log_level;
mod logs;
mod output;
mod project;
mod publish;
mod reload;
mod reports;
mod run;
mod run_alone;
mod running;
mod service_order;
mod stats;
mod status;
mod tap;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Override;
use crate::environment::Process;
use crate::prepare::Wishes;
use crate::project::Alone;

pub use self::output::complain;

/// How a command ended. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Done,
    /// Something failed while running.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Configuration or a plugin is bad; nothing was begun.
    BadConfig,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::BadConfig => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed while running; 2 wrong usage; 78 bad configuration or plugin, before
anything was bound. Results go to standard output, logs to standard error.";

/// Runs the services of an installation from shared libraries, on a ZeroMQ bus of its own.
#[derive(Debug, Parser)]
#[command(name = "exphost", version, after_help = EXIT_CODES, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Default, Args)]
struct Common {
    /// Project to run, with a variant if wanted: `experimance/quiet` [default: $PROJECT_ENV, else
    /// the content of projects/.project, else experimance]
    #[arg(long, short, global = true, value_name = "NAME")]
    project: Option<String>,
    /// Directory of the plugins' .so files [default: that of this executable]
    #[arg(long, global = true, value_name = "DIR", env = "EXPHOST_PLUGINS")]
    plugins: Option<PathBuf>,
    /// Directory of the projects [default: projects]
    #[arg(long, global = true, value_name = "DIR", env = "EXPHOST_PROJECTS")]
    projects: Option<PathBuf>,
    /// Directory of what outlives the host: the operator's stops and the services' states [default:
    /// state, in production /var/lib/experimance/exphost]
    #[arg(long, global = true, value_name = "DIR", env = "EXPHOST_STATE")]
    state: Option<PathBuf>,
    /// Least level that is logged: trace, debug, info, warning, error, critical
    #[arg(long, short, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Sets a value of a service's configuration, over file and environment
    #[arg(long = "set", global = true, value_name = "SERVICE.KEY=VALUE")]
    sets: Vec<String>,
    /// The service of `run SERVICE`, and what its flags say.
    #[arg(skip)]
    alone: Option<Alone>,
    #[arg(skip)]
    flags: Vec<Override>,
}

impl Common {
    fn wishes(&self) -> Wishes<'_> {
        Wishes {
            project: self.project.as_deref(),
            plugins: self.plugins.as_deref(),
            projects: self.projects.as_deref(),
            state: self.state.as_deref(),
            log_level: self.log_level.as_deref(),
            sets: &self.sets,
            alone: self.alone.as_ref(),
            flags: &self.flags,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the project's services until told to stop (the default), or one of them
    Run {
        /// Run this service alone; `exphost run SERVICE --help` shows the flags of its configuration
        #[arg(value_name = "SERVICE")]
        service: Option<String>,
    },
    /// Look for everything that `run` would refuse, and bind nothing
    Check {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show what services can be told, what they are told, and by whom
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Make projects, list them, choose one
    Project {
        #[command(subcommand)]
        command: project::ProjectCommand,
    },
    /// Print a script that completes commands, services and their flags: bash, zsh, fish
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// List the plugin files
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Build the workspace's plugins, run the project, and reload what is saved
    Dev(dev::DevArguments),
    /// Show what a plugin file says of itself, and whether it can be loaded
    Inspect {
        /// The plugin's .so file
        file: PathBuf,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show how the running host and its services are
    Status {
        /// Show this service alone
        service: Option<String>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show what the running host has counted of its services and their sockets
    Stats {
        /// Show this service alone
        service: Option<String>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show the last lines of the logs, of all services and the host unless one is named
    Logs(logs::LogsArguments),
    /// Show or change how much the running host logs, until it ends
    LogLevel(log_level::LogLevelArguments),
    /// Show the messages that pass the running host's bus, as they do
    Tap(tap::TapArguments),
    /// Publish a message by the publisher of a running service
    Publish(publish::PublishArguments),
    /// Have a running service replaced by the newest build of its plugin, and its configuration read again
    Reload {
        /// The service
        #[arg(required_unless_present = "all")]
        service: Option<String>,
        /// Reload every service, one after the other
        #[arg(long, conflicts_with = "service")]
        all: bool,
        /// Let a lower version take the place of a higher one
        #[arg(long)]
        force: bool,
        /// Print one JSON object a line: the steps, and last the verdict
        #[arg(long)]
        json: bool,
    },
    /// Tell why a service of the running host is as it is, and what to do about it
    Why {
        /// The service
        service: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Stop a service of the running host and start it again as it is, without its state
    Restart {
        /// The service
        service: String,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Start a service of the running host, and wait until it runs
    Start {
        /// The service
        service: String,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Stop a service of the running host, and wait until it has stopped; it stays so until it is started
    Stop {
        /// The service
        service: String,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// Parses the command line and runs its command.
#[must_use]
pub fn main(process: &Process<'static>) -> Exit {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(request) = run_alone::Request::find(&words) {
        return run_alone::run_alone(&request, process);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return told_by_clap(&error),
    };
    let common = &arguments.common;
    match arguments.command.unwrap_or(Command::Run { service: None }) {
        // One with a service has been taken above.
        Command::Run { service: _ } => run::run(common, process),
        Command::Config { command } => config::config(common, process, &command),
        Command::Project { command } => project::project(common, process, &command),
        Command::Completions { shell } => completions::completions(common, process, shell),
        Command::Check { json } => check::check(common, process, json),
        Command::List { json } => list::list(common, process, json),
        Command::Dev(arguments) => dev::dev(common, process, &arguments),
        Command::Inspect { file, json } => inspect::inspect(process, &file, json),
        Command::Status { service, json } => {
            status::status(common, process, service.as_deref(), json)
        }
        Command::Stats { service, json } => stats::stats(common, process, service, json),
        Command::Logs(wanted) => logs::logs(common, process, &wanted),
        Command::LogLevel(wanted) => log_level::log_level(common, process, wanted),
        Command::Tap(wanted) => tap::tap(common, process, wanted),
        Command::Publish(wanted) => publish::publish(common, process, wanted),
        Command::Reload { service, force, json, all: _ } => {
            reload::reload(common, process, reload::Reload { service, force, json })
        }
        Command::Why { service, json } => why::why(common, process, service, json),
        Command::Restart { service, json } => {
            service_order::restart(common, process, service, json)
        }
        Command::Start { service, json } => service_order::start(common, process, service, json),
        Command::Stop { service, json } => service_order::stop(common, process, service, json),
    }
}

/// Help and version come as errors too; clap prints each where it belongs. A closed pipe is no reason
/// for another exit code.
fn told_by_clap(error: &clap::Error) -> Exit {
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}
