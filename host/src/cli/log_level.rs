//! `exphost log-level`: how much the running host logs.

use clap::Args;

use super::reports::plain;
use super::{Common, Exit, running};
use crate::control::protocol::Request;
use crate::environment::Process;
use crate::logging::Levels;
use crate::supervisor::orders::LevelChange;

#[derive(Debug, Args)]
pub(super) struct LogLevelArguments {
    /// The level that is wanted: trace, debug, info, warning, error, critical; or default, for the one
    /// that the host was started with, or that of the host for a service. Without it the levels are shown
    #[arg(value_parser = |text: &str| LevelChange::try_from(text.to_owned()))]
    level: Option<LevelChange>,
    /// The service that is meant; the host and all services without a level of their own unless it is
    /// given
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn log_level(common: &Common, process: &Process<'_>, wanted: LogLevelArguments) -> Exit {
    let LogLevelArguments { level, service, json } = wanted;
    let request = Request::LogLevel { level, service: service.clone() };
    match running::answer(common, process, &request) {
        Ok(levels) => running::show(levels, json, |levels| text(levels, service.as_deref())),
        Err(exit) => exit,
    }
}

/// Those of all, or that of one service.
fn text(levels: &Levels, service: Option<&str>) -> Vec<String> {
    if let Some(service) = service {
        let (level, of) = match levels.services.get(service) {
            Some(level) => (*level, ""),
            None => (levels.level, ", as the host"),
        };
        return vec![format!("{}: {level}{of}", plain(service))];
    }
    let started = Some(format!(" (started with {})", levels.default))
        .filter(|_| levels.level != levels.default);
    let mut lines =
        vec![format!("host and services: {}{}", levels.level, started.unwrap_or_default())];
    lines.extend(levels.services.iter().map(|(it, level)| format!("{}: {level}", plain(it))));
    lines.push(format!("libraries: {}", levels.libraries));
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::logging::Level;

    #[test]
    fn a_service_has_the_level_of_the_host_unless_it_has_one_of_its_own() {
        let levels = Levels {
            level: Level::Info,
            default: Level::Warning,
            libraries: Level::Error,
            services: BTreeMap::from([("core".to_owned(), Level::Trace)]),
        };
        assert_eq!(text(&levels, Some("core")), ["core: TRACE"]);
        assert_eq!(text(&levels, Some("other")), ["other: INFO, as the host"]);
        let all =
            ["host and services: INFO (started with WARNING)", "core: TRACE", "libraries: ERROR"];
        assert_eq!(text(&levels, None), all);
    }
}
