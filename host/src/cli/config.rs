//! `exphost config`: what a service can be told, what it is told, and by whom.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Common, Exit, output};
use crate::config::show::{Difference, differences, effective, effective_json};
use crate::config::{Schema, directives, reference, service_file, template, toml_text};
use crate::environment::Process;
use crate::prepare::{self, One};
use crate::problem::Problem;

/// What to show of a configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the configuration as the service gets it, each value with where it came from
    Show {
        /// The service
        service: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the service's file, for editors: `#:schema FILE` on its first line
    Schema {
        /// The service
        service: String,
    },
    /// Print a file to begin with: every key with its default, as a comment
    Init {
        /// The service
        service: String,
    },
    /// Print what differs from the defaults, and where it came from
    Diff {
        /// The service
        service: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print all keys of all plugins as a Markdown document
    Reference {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn config(common: &Common, process: &Process<'_>, command: &ConfigCommand) -> Exit {
    match command {
        ConfigCommand::Show { service, json } => {
            with(common, process, service, |one| show(one, *json))
        }
        ConfigCommand::Schema { service } => with(common, process, service, |one| {
            output::json(&schema(one));
            Exit::Done
        }),
        ConfigCommand::Init { service } => with(common, process, service, |one| {
            let text = template::template(&one.file.name, &one.manifest);
            output::line(text.trim_end());
            Exit::Done
        }),
        ConfigCommand::Diff { service, json } => {
            with(common, process, service, |one| diff(one, *json))
        }
        ConfigCommand::Reference { json } => of_all(common, process, *json),
    }
}

fn with(
    common: &Common,
    process: &Process<'_>,
    service: &str,
    command: impl FnOnce(&One) -> Exit,
) -> Exit {
    match prepare::one(&common.wishes(), process, service) {
        Ok(one) => command(&one),
        Err(problems) => output::refuse(&problems),
    }
}

fn show(one: &One, json: bool) -> Exit {
    if json {
        let mut document = json!({
            "service": one.file.name,
            "plugin": one.manifest.name,
            "version": one.manifest.version,
            "file": one.file.exists.then_some(&one.file.file),
            "problems": one.problems,
        });
        if let (Value::Object(document), Value::Object(more)) =
            (&mut document, effective_json(&one.resolved, &one.manifest))
        {
            document.extend(more);
        }
        output::json(&document);
    } else {
        let from = match one.file.exists {
            true => one.file.file.display().to_string(),
            false => format!("no file ({} does not exist)", one.file.file.display()),
        };
        output::line(&format!("# {}: {from}", one.file.name));
        output::line(effective(&one.resolved, &one.manifest).trim_end());
        output::all_problems(&one.problems);
    }
    if one.problems.iter().any(Problem::is_error) { Exit::BadConfig } else { Exit::Done }
}

/// The schema of the whole file: the plugin's, and the host's own table.
fn schema(one: &One) -> Value {
    let mut schema = Schema::new(&one.manifest.config_schema).strict();
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(service_file::HOST_TABLE.to_owned(), directives::table_schema());
    }
    if let Value::Object(keywords) = &mut schema {
        keywords.insert("title".to_owned(), format!("{}.toml", one.file.name).into());
    }
    schema
}

fn diff(one: &One, json: bool) -> Exit {
    let differences = differences(&one.resolved, &one.manifest);
    if json {
        let object = |it: &Difference| {
            json!({
                "key": it.key.to_string(), "value": it.value, "default": it.default,
                "origin": it.origin,
            })
        };
        output::json(&differences.iter().map(object).collect::<Vec<_>>());
    } else if differences.is_empty() {
        output::line(&format!("# {}: nothing differs from the defaults", one.file.name));
    }
    for it in differences.iter().filter(|_| !json) {
        let text = |value| toml_text::value(value).unwrap_or_else(|| "not set".to_owned());
        let (value, default) = (text(&it.value), text(&it.default));
        output::line(&format!("{} = {value}  # default: {default}; {}", it.key, it.origin));
    }
    output::all_problems(&one.problems);
    if one.problems.iter().any(Problem::is_error) { Exit::BadConfig } else { Exit::Done }
}

fn of_all(common: &Common, process: &Process<'_>, json: bool) -> Exit {
    let manifests = match prepare::manifests(&common.wishes(), process) {
        Ok(manifests) => manifests,
        Err(problem) => return output::refuse(&[*problem]),
    };
    if json {
        output::json(&manifests.iter().map(reference::json).collect::<Vec<_>>());
    } else {
        let sections = manifests.iter().map(reference::markdown).collect::<Vec<_>>();
        output::line(sections.join("\n").trim_end());
    }
    Exit::Done
}
