//! `exphost start`, `stop` and `restart`: has the running host start or stop a service, or both, and waits until
//! it has come about.

use serde_json::{Value, json};

use super::{Common, Exit, output, reports, running};
use crate::control::client::NoAnswer;
use crate::control::protocol::{Code, Request};
use crate::environment::Process;
use crate::supervisor::orders::Report;

pub(super) fn start(common: &Common, process: &Process<'_>, service: String, json: bool) -> Exit {
    order(common, process, &Request::Start { service: service.clone() }, &service, json)
}

pub(super) fn restart(common: &Common, process: &Process<'_>, service: String, json: bool) -> Exit {
    order(common, process, &Request::Restart { service: service.clone() }, &service, json)
}

pub(super) fn stop(common: &Common, process: &Process<'_>, service: String, json: bool) -> Exit {
    order(common, process, &Request::Stop { service: service.clone() }, &service, json)
}

fn order(
    common: &Common,
    process: &Process<'_>,
    request: &Request,
    service: &str,
    json: bool,
) -> Exit {
    let mut client = match running::connect(common, process) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let answer = client.ask(request, |item| if json { running::object(&item) } else { show(item) });
    match answer {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(NoAnswer::Refused(failure)) if json && failure.code == Code::Refused => {
            let detail = match failure.hint {
                Some(hint) => format!("{} (hint: {hint})", failure.message),
                None => failure.message,
            };
            running::object(&json!({
                "service": service, "state": null, "done": true, "ok": false, "detail": detail,
            }));
            Exit::Failed
        }
        Err(no_answer) => running::complain(no_answer),
    }
}

fn show(item: Value) {
    // A kind of report that a newer host has is not for this version to show.
    let Ok(report) = serde_json::from_value::<Report>(item) else { return };
    for line in reports::lines(&report) {
        output::line(&line);
    }
}
