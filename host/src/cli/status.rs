//! `exphost status`: how the running host and its services are.

use anstyle::Style;
use comfy_table::{CellAlignment, Table, TableStyle};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use plugin_api::state::HealthStatus;
use serde_json::Value;

use super::reports::{BAD, ODD, duration, plain};
use super::{Common, Exit, output, running};
use crate::config::nearest::known_names;
use crate::control::protocol::Request;
use crate::environment::Process;
use crate::problem::Problem;
use crate::supervisor::status::{ServiceStatus, Status, Whereabouts};

pub(super) fn status(
    common: &Common,
    process: &Process<'_>,
    service: Option<&str>,
    json: bool,
) -> Exit {
    let mut document = match running::answer(common, process, &Request::Status {}) {
        Ok(document) => document,
        Err(exit) => return exit,
    };
    if let Some(service) = service
        && let Err(problem) = keep_only(&mut document, service)
    {
        output::note(&output::problem(&problem));
        return Exit::Failed;
    }
    running::show(document, json, |status| text(status, &TimeZone::system()))
}

/// Takes every service but one out of the document.
fn keep_only(document: &mut Value, service: &str) -> Result<(), Box<Problem>> {
    let name = |it: &Value| it.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let services = document.get_mut("services").and_then(Value::as_array_mut);
    let Some(services) = services else { return Ok(()) };
    let names: Vec<_> = services.iter().map(name).collect();
    services.retain(|it| name(it) == service);
    if services.is_empty() {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let problem = Problem::error(format!("there is no service `{service}`"));
        return Err(Box::new(Problem {
            hint: known_names(service, &names, "services"),
            ..problem
        }));
    }
    Ok(())
}

/// All of it: who the host is, a table, and what needs attention.
fn text(status: &Status, zone: &TimeZone) -> Vec<String> {
    let (project, version) = (plain(&status.project), plain(&status.version));
    let up = duration(status.uptime);
    let mut lines = vec![
        format!("{project}: exphost {version}, process {}, up {up}", status.pid),
        String::new(),
    ];
    if status.services.is_empty() {
        lines.push("no services".to_owned());
        return lines;
    }
    lines.extend(table(status, zone));
    let notes: Vec<_> = status.services.iter().flat_map(|it| notes(it, zone)).collect();
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines
}

/// One line for each service, coloured as a whole when something is the matter with it: the width of
/// a cell is counted with its colours.
fn table(status: &Status, zone: &TimeZone) -> Vec<String> {
    const HEADER: [&str; 13] = [
        "SERVICE",
        "STATE",
        "HEALTH",
        "VERSION",
        "GENERATION",
        "RESTARTS",
        "RUNS AS",
        "SINCE",
        "UP",
        "RECEIVED",
        "SENT",
        "QUEUE",
        "DROPPED",
    ];
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(HEADER);
    for service in &status.services {
        table.add_row([
            plain(&service.name),
            plain(&service.state),
            service.health.to_string(),
            plain(&service.version),
            service.generation.to_string(),
            service.restarts.to_string(),
            runs_as(&service.whereabouts),
            moment(service.since, zone),
            service.uptime.map_or_else(|| "-".to_owned(), duration),
            service.messages_received.to_string(),
            service.messages_sent.to_string(),
            service.queue_depth.to_string(),
            service.dropped.to_string(),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if matches!(index, 4 | 5) || index >= 9 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let styles = [Style::new()].into_iter().chain(status.services.iter().map(style));
    let lines = table.to_string();
    let lines = lines.lines().map(str::trim_end);
    lines.zip(styles).map(|(line, style)| format!("{style}{line}{style:#}")).collect()
}

/// `thread 4243`, `process 4250`.
fn runs_as(whereabouts: &Whereabouts) -> String {
    match (whereabouts.pid, whereabouts.thread) {
        (Some(pid), _) => format!("process {pid}"),
        (None, Some(thread)) => format!("thread {thread}"),
        (None, None) => "-".to_owned(),
    }
}

fn style(service: &ServiceStatus) -> Style {
    if service.state == "failed" || service.health >= HealthStatus::Error {
        BAD
    } else if service.state != "running" || service.health == HealthStatus::Warning {
        ODD
    } else {
        Style::new()
    }
}

/// What needs attention with a service.
fn notes(service: &ServiceStatus, zone: &TimeZone) -> Vec<String> {
    let name = plain(&service.name);
    let note = |style: Style, text: String| format!("{style}{name}:{style:#} {text}");
    let mut notes = Vec::new();
    if let Some(hang) = &service.unresponsive {
        let (since, what) = (moment(hang.since, zone), plain(&hang.in_words()));
        notes.push(note(BAD, format!("does not respond since {since}: {what}")));
    }
    if let Some(step) = &service.reloading {
        notes.push(note(ODD, format!("is being reloaded, at {}", plain(step))));
    }
    if let Some(pending) = &service.pending {
        let version = pending.version.as_deref().unwrap_or("a build of unknown version");
        notes.push(note(
            BAD,
            format!(
                "{} {}, generation {}; {} refused {} at {}: {}",
                plain(&service.state),
                plain(&service.version),
                service.generation,
                plain(version),
                moment(pending.at, zone),
                plain(&pending.step),
                plain(&pending.reason)
            ),
        ));
    }
    notes.extend(restart_notes(service, zone).into_iter().map(|(style, text)| note(style, text)));
    if service.file_missing {
        let file = plain(&service.file.display().to_string());
        let text = format!("its plugin file is gone; what was loaded from it runs on: {file}");
        notes.push(note(ODD, text));
    }
    for kept in &service.kept {
        let (version, reason) = (plain(&kept.version), plain(&kept.reason));
        let generation = kept.generation;
        let text = format!("generation {generation} ({version}) could not be unloaded: {reason}");
        notes.push(note(ODD, text));
    }
    if let Some(error) = &service.last_error {
        let (at, place) = (moment(error.at, zone), plain(&error.place));
        let text = format!("latest error {at}, in {place}: {}", plain(&error.message));
        notes.push(note(BAD, text));
    }
    notes
}

/// What a service waits for, and how its policy goes on with it.
fn restart_notes(service: &ServiceStatus, zone: &TimeZone) -> Vec<(Style, String)> {
    let restart = &service.restart;
    let mut notes = Vec::new();
    if !restart.waits_for.is_empty() {
        let names: Vec<_> = restart.waits_for.iter().map(|name| plain(name)).collect();
        notes.push((ODD, format!("waits for {}", names.join(", "))));
    }
    if service.state == "running" && !service.ready {
        notes.push((ODD, "runs, and has not said that it is ready".to_owned()));
    }
    let times = match service.restarts {
        1 => "restarted once".to_owned(),
        times => format!("restarted {times} times"),
    };
    let how = match (restart.next_at, restart.gave_up) {
        (Some(at), true) => format!("fails again and again, is tried at {}", moment(at, zone)),
        (Some(at), false) => format!("is started again at {}", moment(at, zone)),
        (None, true) => "failed too often and is given up".to_owned(),
        (None, false) => "came back after a failure".to_owned(),
    };
    if let Some(reason) = &restart.reason {
        notes.push((BAD, format!("{how} ({times}): {}", plain(reason))));
    } else if restart.next_at.is_some() {
        notes.push((ODD, format!("{how} ({times})")));
    }
    notes
}

/// The time of day, and the day when it is not today.
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), Zoned::now().with_time_zone(zone.clone()));
    let format = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    at.strftime(format).to_string()
}
