//! The configuration of a service: layers of values, each with its origin, checked against the
//! schema of the plugin.
//!
//! Everything here is a function of what it is given: files are read where a path is handed in,
//! variables come through [`Env`]. Mistakes are collected, never thrown: one run names them all.

pub mod arguments;
pub mod convert;
pub mod directives;
pub mod document;
pub mod endpoints;
pub mod isolation;
pub mod layers;
pub mod leaves;
pub mod messages;
pub mod nearest;
pub mod origin;
pub mod path;
pub mod reference;
pub mod schema;
pub mod schema_changes;
pub mod service_file;
pub mod show;
pub mod supervision;
pub mod template;
pub mod toml_text;
pub mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use plugin_api::manifest::{ConfigProblem, Manifest};
use serde_json::{Map, Value};

pub use directives::{Directives, Unload};
pub use endpoints::Endpoint;
pub use layers::{Layers, Override, overrides_of_no_service};
pub use origin::{Origin, Origins, Part, Position};
pub use path::KeyPath;
pub use schema::Schema;
pub use service_file::ServiceFile;
pub use supervision::Supervision;

use crate::environment::Env;
use crate::problem::Problem;

/// The configuration of a service as it will be used.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the plugin is given; only to be used when there are no problems.
    pub value: Value,
    /// Where each value came from.
    pub origins: Origins,
    /// What the plugin is given besides: the arguments that it declares, or null.
    pub arguments: Value,
    /// All mistakes in file, environment and command line.
    pub problems: Vec<Problem>,
    /// Variables that begin like those for services and match no key of this one.
    pub ignored_env: Vec<String>,
}

impl Resolved {
    /// Adds the problems that the plugin's own type has with it and that nothing else explains.
    pub fn add_objections(&mut self, service: &ServiceFile, found: &[ConfigProblem]) {
        let more = problems_from_plugin(found, &self.origins, &self.problems);
        self.problems.extend(more.into_iter().filter(|problem| !service.is_noise(problem)));
    }

    /// What the plugin is given: its configuration, and in the host's table what comes besides.
    #[must_use]
    pub fn for_plugin(&self) -> Value {
        let mut given = self.value.clone();
        if let (Value::Object(table), false) = (&mut given, self.arguments.is_null()) {
            table.insert(service_file::HOST_TABLE.to_owned(), self.arguments.clone());
        }
        given
    }
}

/// Puts the layers of a service's configuration together and checks the whole:
/// defaults < file < environment < command line.
#[must_use]
pub fn resolve(
    service: &ServiceFile,
    manifest: &Manifest,
    env: &dyn Env,
    overrides: &[Override],
) -> Resolved {
    let schema = Schema::new(&manifest.config_schema);
    let mut layers = Layers::new(schema, defaults_of(manifest), &service.name, &service.file);
    layers.add_file(&service.table, &service.origins);
    let ignored_env = layers.add_environment(env);
    let (for_arguments, overrides): (Vec<_>, Vec<_>) =
        overrides.iter().cloned().partition(arguments::is_for_argument);
    layers.add_overrides(&overrides);
    let Layers { mut value, mut origins, problems: mistakes, .. } = layers;
    // Tables that a layer has only now brought into being.
    schema.fill_defaults(&mut value);
    schema.secrets(&value).into_iter().for_each(|secret| origins.keep_secret(secret));

    let (arguments, wrong) = arguments::resolve(service, manifest, &for_arguments);
    let mut problems = service.problems.clone();
    problems.extend(mistakes);
    problems.extend(wrong);
    let found = validate::validate(&manifest.config_schema, &value, &origins);
    problems.extend(found.into_iter().filter(|problem| !service.is_noise(problem)));
    // In the order of the file, and what concerns no line of it at the end.
    problems.sort_by_key(|problem| (problem.line.is_none(), problem.line, problem.column));
    Resolved { value, origins, arguments, problems, ignored_env }
}

/// The configuration that an empty file gives, as far as there are defaults.
#[must_use]
pub fn defaults_of(manifest: &Manifest) -> Value {
    let mut defaults = match &manifest.config_defaults {
        Value::Object(defaults) => Value::Object(defaults.clone()),
        // Without defaults for everything there may still be some.
        _ => Value::Object(Map::new()),
    };
    Schema::new(&manifest.config_schema).fill_defaults(&mut defaults);
    defaults
}

/// The problems that the plugin's own type has with a configuration, placed where the values came
/// from. Those at keys of which `known` already speaks are left out.
#[must_use]
pub fn problems_from_plugin(
    found: &[ConfigProblem],
    origins: &Origins,
    known: &[Problem],
) -> Vec<Problem> {
    let known: BTreeSet<_> =
        known.iter().filter(|problem| problem.is_error()).filter_map(told_key).collect();
    let mut problems: Vec<Problem> = Vec::new();
    for ConfigProblem { key, message } in found {
        let path = origins.path_of(key);
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let problem = origins.place(Problem::error(message), &path, Part::Value);
        let is_known = told_key(&problem).is_none_or(|key| {
            // A table with a mistake in it cannot be read either.
            known.iter().any(|known| *known == key || known.starts_with(&format!("{key}.")))
        });
        // What concerns the whole is said only when nothing else explains it.
        let is_known = if path.is_root() { !known.is_empty() } else { is_known };
        if !is_known && !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

fn told_key(problem: &Problem) -> Option<String> {
    problem.key.clone()
}
