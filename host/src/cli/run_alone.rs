//! `exphost run SERVICE`: one service of a project, with a flag for each key of its configuration.
//!
//! Which flags there are is known only when its plugin has been asked, and which plugin that is
//! follows from the flags of the host. So the command line is gone through twice: first for the
//! few that say where things are, then, with all flags known, for everything.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, Args, Command, FromArgMatches};

use super::flags::Flags;
use super::{Common, Exit, output, run};
use crate::environment::{Env, Process};
use crate::prepare::{self, One};
use crate::project::Alone;

/// The command line of one service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    service: String,
    /// Everything but the words `run` and the service.
    rest: Vec<OsString>,
}

impl Request {
    /// The request in the arguments without the program's name, if they ask for one service.
    pub(super) fn find(arguments: &[OsString]) -> Option<Self> {
        let mut words = words(arguments);
        let (command, service) = (words.next()?, words.next()?);
        (arguments.get(command)? == "run").then_some(())?;
        // Help before the service is that of `run`.
        let asks_for_help = |it: &OsString| it == "--help" || it == "-h";
        if arguments.iter().take(service).any(asks_for_help) {
            return None;
        }
        let rest = arguments.iter().enumerate();
        let rest = rest.filter(|(index, _)| ![command, service].contains(index));
        Some(Self {
            service: arguments.get(service)?.to_str()?.to_owned(),
            rest: rest.map(|(_, word)| word.clone()).collect(),
        })
    }

    /// The value of a flag of the host, wherever it stands.
    fn value(&self, long: &str, short: Option<&str>) -> Option<&OsStr> {
        let mut rest = self.rest.iter();
        let mut found = None;
        while let Some(word) = rest.next() {
            if word == "--" {
                break;
            }
            let text = word.to_str().unwrap_or_default();
            if text == long || Some(text) == short {
                found = rest.next().map(OsString::as_os_str);
            } else if let Some(value) = text.strip_prefix(long).and_then(|it| it.strip_prefix('='))
            {
                found = Some(OsStr::new(value));
            } else if let Some(value) = short.and_then(|short| text.strip_prefix(short)) {
                // As clap has it: `-px` and `-p=x`.
                found = Some(OsStr::new(value.strip_prefix('=').unwrap_or(value)));
            }
        }
        found
    }

    /// The flags that say where things are.
    fn surroundings(&self, env: &dyn Env) -> Common {
        let text = |value: &OsStr| value.to_string_lossy().into_owned();
        let variable = |name: &str| env.get_non_empty(name).map(OsString::from);
        let path = |long: &str, name: &str| {
            self.value(long, None)
                .map(OsStr::to_owned)
                .or_else(|| variable(name))
                .map(PathBuf::from)
        };
        Common {
            project: self.value("--project", Some("-p")).map(text),
            plugins: path("--plugins", "EXPHOST_PLUGINS"),
            projects: path("--projects", "EXPHOST_PROJECTS"),
            alone: Some(Alone {
                service: self.service.clone(),
                config: self.value("--config", Some("-c")).map(PathBuf::from),
            }),
            ..Common::default()
        }
    }
}

/// The places of the words that are no flags and no values of the host's flags.
fn words(arguments: &[OsString]) -> impl Iterator<Item = usize> + '_ {
    let takes_value = |flag: &str| {
        let command = Common::augment_args(Command::new(""));
        command.get_arguments().any(|arg| {
            let long = arg.get_long().is_some_and(|long| flag == format!("--{long}"));
            let short = arg.get_short().is_some_and(|short| flag == format!("-{short}"));
            (long || short) && arg.get_action().takes_values()
        })
    };
    let mut is_value = false;
    arguments.iter().enumerate().filter_map(move |(index, word)| {
        let text = word.to_str().unwrap_or_default();
        let skip = std::mem::take(&mut is_value) || text.starts_with('-');
        is_value = skip && takes_value(text);
        (!skip).then_some(index)
    })
}

/// Runs the one service, or shows its help.
pub(super) fn run_alone(request: &Request, process: &Process<'static>) -> Exit {
    let surroundings = request.surroundings(process.env);
    let one = match prepare::one(&surroundings.wishes(), process, &request.service) {
        Ok(one) => one,
        Err(problems) => return output::refuse(&problems),
    };
    let flags = Flags::new(&one.manifest, &one.resolved.value, &taken());
    let command = command(&one, &flags);
    let words = std::iter::once(OsString::from("exphost")).chain(request.rest.iter().cloned());
    let matches = match command.try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return super::told_by_clap(&error),
    };
    let mut common = match Common::from_arg_matches(&matches) {
        Ok(common) => common,
        Err(error) => return super::told_by_clap(&error),
    };
    common.alone = surroundings.alone;
    common.flags = flags.overrides(&request.service, &matches);
    run::run(&common, process)
}

/// `exphost run SERVICE` with everything that it takes.
fn command(one: &One, flags: &Flags<'_>) -> Command {
    let about = one.about.clone().unwrap_or_default();
    let command = Command::new("exphost")
        .bin_name(format!("exphost run {}", one.file.name))
        .about(format!("{about} (plugin {} {})", one.manifest.name, one.manifest.version))
        .after_help(
            "A flag outranks the environment, which outranks the file. `--set SERVICE.KEY=VALUE` reaches \
             what has no flag; `exphost config show` says what comes of it all.",
        )
        .max_term_width(80)
        .next_help_heading("Options of the host");
    flags.add_to(Common::augment_args(command).arg(config_arg()))
}

fn config_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .short('c')
        .value_name("PATH")
        .value_hint(clap::ValueHint::FilePath)
        .help("File of the service's configuration, in the place of the project's")
}

/// The names of the flags that no key of a configuration can have.
pub(super) fn taken() -> Vec<String> {
    let command = Common::augment_args(Command::new("")).arg(config_arg());
    let own = command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned));
    own.chain(["help".to_owned(), "version".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn find(line: &str) -> Option<Request> {
        Request::find(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn one_service_is_asked_for_by_the_word_after_run() {
        let request = find("--project a/b run core --camera-fps 3 -l debug").expect("one service");
        assert_eq!(request.service, "core");
        assert_eq!(request.rest, ["--project", "a/b", "--camera-fps", "3", "-l", "debug"]);
        let request = find("run -p run core").expect("one service");
        assert_eq!((request.service.as_str(), request.rest.len()), ("core", 2));
        for line in ["", "run", "run --help", "run --help core", "-p run check", "run -p core"] {
            assert_eq!(find(line), None, "{line}");
        }
    }

    #[test]
    fn the_hosts_flags_are_found_wherever_they_stand() {
        let request = find("--projects=x run core --fps 3 -p y -cz.toml -- -p w");
        let common = request.expect("one service").surroundings(&BTreeMap::new());
        assert_eq!(common.project.as_deref(), Some("y"));
        assert_eq!(common.projects, Some(PathBuf::from("x")));
        assert_eq!(common.alone.and_then(|it| it.config), Some(PathBuf::from("z.toml")));
        let request = find("run core -p=y").expect("one service");
        assert_eq!(request.surroundings(&BTreeMap::new()).project.as_deref(), Some("y"));
    }
}
