//! `exphost completions SHELL`: a script for the shell, made for one project.
//!
//! It knows the services of the project and the flags of their configurations as they are when it is
//! made, so that a press of the tab key starts no program.

use std::io::Write;

use clap::builder::PossibleValuesParser;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::flags::Flags;
use super::run_alone::taken;
use super::{Arguments, Common, Exit, output};
use crate::environment::Process;
use crate::prepare;

pub(super) fn completions(common: &Common, process: &Process<'_>, shell: Shell) -> Exit {
    let services = match prepare::each(&common.wishes(), process) {
        Ok(services) => services,
        Err(problem) => {
            // Without a project there are still the commands.
            output::note(&output::problem(&problem));
            Vec::new()
        }
    };
    let names: Vec<_> = services.iter().map(|(name, _)| name.clone()).collect();
    let mut command = with_services(Arguments::command(), &names);
    command = command.mut_subcommand("run", of_services);
    for (name, one) in services {
        // One that cannot be looked at has no flags to offer.
        let Some(one) = one else { continue };
        let flags = Flags::new(&one.manifest, &one.resolved.value, &taken());
        let of_service =
            flags.add_to(Command::new(name)).about(one.about.clone().unwrap_or_default());
        command = command.mut_subcommand("run", |run| run.subcommand(of_service));
    }
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "exphost", &mut script);
    // A reader that has gone away is not an error of ours.
    let _ = std::io::stdout().write_all(&script);
    Exit::Done
}

/// `run`, as a command of commands: a place for the name of a service beside these would be taken for
/// the first word by zsh, which then looks for the command in the second.
fn of_services(run: Command) -> Command {
    let flags = run.get_arguments().filter(|arg| !arg.is_positional()).cloned();
    let alone = Command::new("run").about(run.get_about().cloned().unwrap_or_default());
    alone.args(flags.collect::<Vec<_>>())
}

/// The commands, with the names of the services wherever one is asked for.
fn with_services(command: Command, names: &[String]) -> Command {
    let inner: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    // For `run` each of them is a command with flags.
    let asks =
        command.get_name() != "run" && command.get_arguments().any(|arg| arg.get_id() == "service");
    let command = inner.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| with_services(command, names))
    });
    if !asks || names.is_empty() {
        return command;
    }
    command.mut_arg("service", |arg| arg.value_parser(PossibleValuesParser::new(names.to_vec())))
}
