//! `exphost dev`: runs a project with plugins that are built from source, and anew at each save.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;

use super::run::{self, Company};
use super::{Common, Exit, output};
use crate::dev::bench::{Asked, Bench, Ready};
use crate::environment::{Mode, Process};

#[derive(Clone, Debug, Args)]
pub(super) struct DevArguments {
    /// Cargo.toml of the plugins' workspace [default: that of the working directory]
    #[arg(long, value_name = "FILE")]
    manifest_path: Option<PathBuf>,
    /// Build with optimisations
    #[arg(long)]
    release: bool,
}

pub(super) fn dev(common: &Common, process: &Process<'static>, arguments: &DevArguments) -> Exit {
    let executable = process.executable.clone();
    // Whoever builds at this machine develops at it, root or not.
    let process = Process { env: process.env, mode: Mode::Development, executable };
    let asked = Asked {
        wishes: common.wishes(),
        manifest: arguments.manifest_path.as_deref(),
        release: arguments.release,
    };
    let ready = Bench::set_up(&asked, &process, Box::new(output::line));
    let Ready { mut work, plugins, projects } = match ready {
        Ok(ready) => ready,
        Err(problem) => {
            output::note(&output::problem(&problem));
            return Exit::BadConfig;
        }
    };
    work.get_ready();
    let common = Common { plugins: Some(plugins), projects: Some(projects), ..common.clone() };
    let running = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&running);
    let companion = Box::new(move |orders| match work.spawn(orders) {
        Ok(handle) => *slot.borrow_mut() = Some(handle),
        Err(error) => tracing::error!(%error, "no thread to build on; nothing is rebuilt"),
    });
    // The loop orders reloads itself, and when a build is complete.
    let company = Company { stay: true, watch_plugins: false, companion };
    let exit = run::run_with(&common, &process, company);
    if let Some(handle) = running.take() {
        handle.end();
    }
    exit
}
