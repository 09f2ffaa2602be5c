//! `exphost why`: why a service is as it is, and what to do about it.

use jiff::tz::TimeZone;

use super::reports::{BAD, GOOD, plain};
use super::status::moment;
use super::{Common, Exit, running};
use crate::control::protocol::Request;
use crate::environment::Process;
use crate::supervisor::why::Why;

pub(super) fn why(common: &Common, process: &Process<'_>, service: String, json: bool) -> Exit {
    match running::answer(common, process, &Request::Why { service }) {
        Ok(why) => running::show(why, json, |why| text(why, &TimeZone::system())),
        Err(exit) => exit,
    }
}

/// The chain of causes, each below what it causes, and what to do.
fn text(why: &Why, zone: &TimeZone) -> Vec<String> {
    let (service, state) = (plain(&why.service), plain(&why.state));
    if why.well {
        return vec![format!(
            "{service}: {GOOD}{state}{GOOD:#}, and nothing is the matter with it"
        )];
    }
    let mut lines = vec![format!("{service}: {BAD}{state}{BAD:#}")];
    for cause in &why.causes {
        let indent = "  ".repeat(cause.depth + 1);
        let name = plain(&cause.service);
        let at = cause.at.map(|at| format!(" ({})", moment(at, zone))).unwrap_or_default();
        let text = plain(&cause.text);
        let line = match cause.kind.as_str() {
            // What was said, in the words of whoever said it.
            "failed" if cause.depth > 0 => format!("{indent}because: {text}{at}"),
            _ => format!("{indent}{name}: {text}{at}"),
        };
        lines.push(line);
    }
    lines.extend(why.hints.iter().map(|hint| format!("hint: {}", plain(hint))));
    lines
}
