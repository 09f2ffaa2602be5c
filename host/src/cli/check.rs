//! `exphost check`: everything that `run` would refuse, and nothing is bound.

use serde_json::json;

use super::{Common, Exit, output};
use crate::environment::Process;
use crate::prepare::{self, Prepared};

pub(super) fn check(common: &Common, process: &Process<'_>, json: bool) -> Exit {
    let mut prepared = prepare::prepare(&common.wishes(), process);
    let around = prepare::around(&prepared, process);
    prepared.problems.extend(around);
    if json {
        output::json(&json!({"ok": prepared.is_good(), "problems": prepared.problems}));
    } else {
        show(&prepared);
    }
    if prepared.is_good() { Exit::Done } else { Exit::BadConfig }
}

fn show(prepared: &Prepared) {
    for problem in &prepared.problems {
        output::line(&output::problem(problem));
    }
    let errors = prepared.problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = prepared.problems.len() - errors;
    let services = output::counted(prepared.services.len(), "service");
    if errors == 0 {
        let warnings = match warnings {
            0 => String::new(),
            n => format!(", {}", output::counted(n, "warning")),
        };
        output::line(&format!("{}: {services} ready{warnings}", prepared.project));
    } else {
        output::line(&format!(
            "{}: {}, {}; nothing was started",
            prepared.project,
            output::counted(errors, "error"),
            output::counted(warnings, "warning"),
        ));
    }
}
