//! `exphost logs`: the last lines of the logs, and those that come.
//!
//! The files are read here and not by the host, which only says where they are: so they can be read too
//! when no host runs, or one that answers nobody.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use serde_json::{Value, json};

use super::reports::plain;
use super::{Common, Exit, output, running};
use crate::control::protocol::Request;
use crate::environment::Process;
use crate::logging::tail::Tail;
use crate::logging::{HOST_FILE, file_name};
use crate::prepare;
use crate::problem::Problem;
use crate::supervisor::orders::LogFile;

/// How often the files are looked at, also when the system tells of no change.
const LOOK: Duration = Duration::from_secs(1);

/// The ending of log files.
const ENDING: &str = ".log";

#[derive(Debug, Args)]
pub(super) struct LogsArguments {
    /// The service; the host and all services, in the order of time, unless it is given
    service: Option<String>,
    /// Go on with what is written, also when the files are rotated, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// How many lines to begin with, at most; of each file no more than its last 4 MiB are read
    #[arg(long = "lines", short = 'n', value_name = "N", default_value_t = 50)]
    last: usize,
    /// Print one JSON object a line: `service` and `line`
    #[arg(long)]
    json: bool,
}

pub(super) fn logs(common: &Common, process: &Process<'_>, wanted: &LogsArguments) -> Exit {
    let files = match files(common, process, wanted.service.as_deref()) {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    let folders = files.iter().filter_map(|it| it.file.parent().map(Path::to_owned)).collect();
    let (mut sources, mut lines) = (Vec::new(), Vec::new());
    let mut failed = false;
    for LogFile { service, file } in files {
        match Tail::open(&file, wanted.last) {
            Ok((tail, last)) => {
                let mut source = Source { service, tail, at: None };
                lines.extend(source.lines(last));
                sources.push(source);
            }
            Err(error) => {
                failed = true;
                output::note(&output::problem(&unreadable(&file, &error)));
            }
        }
    }
    lines.sort_by_key(|line| line.at);
    lines.drain(..lines.len().saturating_sub(wanted.last));
    if show(&lines, wanted.json).is_continue() && wanted.follow && !sources.is_empty() {
        follow(sources, &folders, wanted.json);
    }
    if failed { Exit::Failed } else { Exit::Done }
}

/// Where the files are: as the host says, or where one of this project would write them.
fn files(
    common: &Common,
    process: &Process<'_>,
    service: Option<&str>,
) -> Result<Vec<LogFile>, Exit> {
    let mut client = match running::find(common, process) {
        Ok(client) => client,
        Err(absent) => {
            let directory = match prepare::log_directory(&common.wishes(), process) {
                Ok(directory) if directory.is_dir() => directory,
                // Then it matters most that there is no host.
                _ => return Err(absent.tell()),
            };
            let place = directory.display();
            output::note(&format!("note: no host answers; these are the files in {place}"));
            return Ok(files_in(&directory, service));
        }
    };
    let mut items = Vec::new();
    let request = Request::Logs { service: service.map(str::to_owned) };
    client.ask(&request, |item| items.push(item)).map_err(running::complain)?;
    let files: Result<Vec<LogFile>, _> = items.into_iter().map(serde_json::from_value).collect();
    files.map_err(|error| running::not_understood(&error))
}

/// The log files in a directory, or the one of a service.
fn files_in(directory: &Path, service: Option<&str>) -> Vec<LogFile> {
    if let Some(service) = service {
        let file = directory.join(file_name(service, ENDING));
        return vec![LogFile { service: Some(service.to_owned()), file }];
    }
    let entries = directory.read_dir().into_iter().flatten().flatten();
    let logs = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let service = Some(name.strip_suffix(ENDING)?.to_owned()).filter(|_| name != HOST_FILE);
        Some(LogFile { service, file: entry.path() })
    });
    logs.collect()
}

/// Shows what comes, until nobody reads it any more.
fn follow(mut sources: Vec<Source>, folders: &BTreeSet<PathBuf>, json: bool) {
    // One change that waits is as good as many.
    let (tell, changes) = sync_channel(1);
    let _watcher = watch(folders, tell.clone());
    let mut lines: Vec<Line> = Vec::new();
    loop {
        if lines.is_empty() {
            // A sender is kept, so there is no other error than that the time is up.
            let _ = changes.recv_timeout(LOOK);
        }
        lines.clear();
        sources.retain_mut(|source| match source.tail.more() {
            Ok(more) => {
                lines.extend(source.lines(more));
                true
            }
            Err(error) => {
                let service = source.service.as_deref().unwrap_or("exphost");
                output::note(&format!("error: the log of {service} is not followed: {error}"));
                false
            }
        });
        lines.sort_by_key(|line| line.at);
        if show(&lines, json).is_break() || sources.is_empty() {
            return;
        }
    }
}

/// Has the system tell of changes in the folders. Where it cannot, they are looked through all the same.
fn watch(folders: &BTreeSet<PathBuf>, tell: SyncSender<()>) -> Option<RecommendedWatcher> {
    let hear = move |event: notify::Result<Event>| {
        // To read a file is an event too, and not one to read it for.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            let _ = tell.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(hear).ok()?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    }
    Some(watcher)
}

fn show(lines: &[Line], json: bool) -> ControlFlow<()> {
    for line in lines {
        let text = if json {
            json!({ "service": line.service, "line": line.text }).to_string()
        } else {
            plain(&line.text)
        };
        if output::stream(&text).is_err() {
            return ControlFlow::Break(());
        }
    }
    ControlFlow::Continue(())
}

fn unreadable(file: &Path, error: &std::io::Error) -> Problem {
    let hint = "the log files belong to the host's user";
    Problem::error(format!("cannot read the log: {error}")).in_file(file).hint(hint)
}

/// A file whose lines are shown.
struct Source {
    service: Option<String>,
    tail: Tail,
    /// The time of its last line that has one.
    at: Option<Timestamp>,
}

/// A line with its place among those of other files.
struct Line {
    at: Option<Timestamp>,
    service: Option<String>,
    text: String,
}

impl Source {
    fn lines(&mut self, lines: Vec<String>) -> Vec<Line> {
        let line = |text: String| {
            // One that tells no time stays behind the one before.
            self.at = time_of(&text).or(self.at);
            Line { at: self.at, service: self.service.clone(), text }
        };
        lines.into_iter().map(line).collect()
    }
}

/// When a line was written, in either form of the log.
fn time_of(line: &str) -> Option<Timestamp> {
    if line.starts_with('{') {
        let line: Value = serde_json::from_str(line).ok()?;
        return line.get("time")?.as_str()?.parse().ok();
    }
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_either_form_tell_when_they_were_written() {
        let text = "2026-03-04T12:04:31.123456+01:00 INFO  core core: said";
        let json = r#"{"time":"2026-03-04T11:04:31.123456+00:00","level":"INFO"}"#;
        assert!(time_of(text).is_some());
        assert_eq!(time_of(text), time_of(json));
        for line in ["", "at last", "{", r#"{"time":7}"#, "2026-03-04 INFO"] {
            assert_eq!(time_of(line), None, "{line}");
        }
    }
}
