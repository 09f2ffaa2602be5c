//! `exphost reload`: has the running host take the newest build of a service, and waits for the
//! verdict.

use serde_json::Value;

use super::{Common, Exit, output, reports, running};
use crate::control::client::NoAnswer;
use crate::control::protocol::{Code, Request};
use crate::environment::Process;
use crate::supervisor::orders::{Decision, Report, Verdict};

/// What is to be reloaded, and how it is told.
pub(super) struct Reload {
    /// The service; `None` for all.
    pub(super) service: Option<String>,
    /// Whether a lower version may take the place of a higher one.
    pub(super) force: bool,
    /// Whether to print JSON.
    pub(super) json: bool,
}

pub(super) fn reload(common: &Common, process: &Process<'_>, wanted: Reload) -> Exit {
    let mut client = match running::connect(common, process) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let Reload { service, force, json } = wanted;
    let request = Request::Reload { all: service.is_none(), service: service.clone(), force };
    let mut before = None;
    let answer = client
        .ask(&request, |item| if json { running::object(&item) } else { show(item, &mut before) });
    match answer {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(NoAnswer::Refused(failure)) if json && failure.code == Code::Refused => {
            // Whoever reads the stream finds a verdict at its end here too.
            running::object(&Verdict {
                service: service.unwrap_or_default(),
                verdict: Decision::Refused,
                from: None,
                to: None,
                ms: 0.0,
                gap_ms: None,
                reason: Some(failure.message),
                hint: failure.hint,
            });
            Exit::Failed
        }
        Err(no_answer) => running::complain(no_answer),
    }
}

/// Shows a report as it comes; each service's steps stand below its name.
fn show(item: Value, before: &mut Option<String>) {
    // A kind of report that a newer host has is not for this version to show.
    let Ok(report) = serde_json::from_value::<Report>(item) else { return };
    let service = reports::service(&report);
    if matches!(report, Report::Step(_)) && before.as_deref() != service {
        output::line(&reports::plain(service.unwrap_or_default()));
        *before = service.map(str::to_owned);
    }
    for line in reports::lines(&report) {
        output::line(&line);
    }
}
