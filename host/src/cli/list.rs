//! `exphost list`: the plugin files, good and bad.

use std::path::Path;

use comfy_table::Table;
use serde_json::{Value, json};

use super::{Common, Exit, output};
use crate::environment::Process;
use crate::plugin::error::LoadError;
use crate::plugin::identify::Identity;
use crate::plugin::scan::{self, Candidate};
use crate::prepare;

pub(super) fn list(common: &Common, process: &Process<'_>, json: bool) -> Exit {
    let directory = match prepare::plugins_dir(&common.wishes(), process) {
        Ok(directory) => directory,
        Err(problem) => {
            output::note(&output::problem(&problem));
            return Exit::BadConfig;
        }
    };
    let candidates = match scan::scan(&directory) {
        Ok(candidates) => candidates,
        Err(error) => {
            output::note(&output::problem(&prepare::load_problem(&error)));
            return Exit::BadConfig;
        }
    };
    let candidates: Vec<_> =
        candidates.into_iter().map(|candidate| prepare::examined(candidate, process).0).collect();
    if json {
        output::json(&candidates.iter().map(entry).collect::<Vec<_>>());
    } else if candidates.is_empty() {
        output::line(&format!("no plugin files (*.so) in {}", directory.display()));
    } else {
        show(&candidates);
    }
    Exit::Done
}

fn entry(candidate: &Candidate) -> Value {
    let (identity, error) = (candidate.identity.as_ref().ok(), candidate.identity.as_ref().err());
    object(&candidate.file, identity, error)
}

/// One object of `list --json`, which `inspect --json` begins with.
pub(super) fn object(file: &Path, identity: Option<&Identity>, error: Option<&LoadError>) -> Value {
    json!({
        "file": file,
        "name": identity.map(|it| &it.name),
        "version": identity.map(|it| it.version.to_string()),
        "api_version": identity.map(|it| it.api_version.to_string()),
        "ok": error.is_none(),
        "error": error.map(ToString::to_string),
    })
}

fn show(candidates: &[Candidate]) {
    let mut table = Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header(["PLUGIN", "VERSION", "API", "FILE"]);
    for candidate in candidates {
        if let Ok(identity) = &candidate.identity {
            table.add_row([
                identity.name.clone(),
                identity.version.to_string(),
                identity.api_version.to_string(),
                candidate.file.display().to_string(),
            ]);
        }
    }
    if table.row_count() > 0 {
        for line in table.to_string().lines() {
            output::line(line.trim_end());
        }
    }
    for candidate in candidates {
        if let Err(error) = &candidate.identity {
            output::line(&output::problem(&prepare::load_problem(error)));
        }
    }
}
