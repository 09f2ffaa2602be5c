//! The values of the arguments that a service declares besides its configuration.
//!
//! They go to the plugin in the host's own table, which no configuration has as a key.

use plugin_api::argument::{Argument, ArgumentKind};
use plugin_api::manifest::{ARGUMENTS_KEY, Manifest};
use serde_json::{Map, Value, json};

use super::layers::{Layers, Override};
use super::path::KeyPath;
use super::schema::Schema;
use super::service_file::{HOST_TABLE, ServiceFile};
use super::validate::validate;
use crate::problem::Problem;

/// The path of an argument in what the plugin is given.
#[must_use]
pub fn path_of(argument: &str) -> KeyPath {
    KeyPath::of_keys([HOST_TABLE, ARGUMENTS_KEY, argument])
}

/// Whether an override is for an argument, and not for the configuration.
#[must_use]
pub fn is_for_argument(it: &Override) -> bool {
    let above = KeyPath::of_keys([HOST_TABLE, ARGUMENTS_KEY]);
    above.contains(&it.path) && it.path.segments().len() > above.segments().len()
}

/// What the plugin is given besides its configuration: `{"arguments": {…}}`, or null when it declares
/// none. Those that are not given have their defaults.
#[must_use]
pub fn resolve(
    service: &ServiceFile,
    manifest: &Manifest,
    overrides: &[Override],
) -> (Value, Vec<Problem>) {
    if manifest.arguments.is_empty() && overrides.is_empty() {
        return (Value::Null, Vec::new());
    }
    let schema = schema(&manifest.arguments);
    let given = manifest.arguments.iter().filter(|it| !it.default.is_null());
    let defaults: Map<_, _> = given.map(|it| (it.name.clone(), it.default.clone())).collect();
    let defaults = json!({ HOST_TABLE: { ARGUMENTS_KEY: defaults } });
    let mut layers = Layers::new(Schema::new(&schema), defaults, &service.name, &service.file);
    layers.add_overrides(overrides);
    let Layers { value, origins, mut problems, .. } = layers;
    problems.extend(validate(&schema, &value, &origins));
    (value.get(HOST_TABLE).cloned().unwrap_or_default(), problems)
}

fn schema(arguments: &[Argument]) -> Value {
    let of_each = arguments.iter().map(|it| (it.name.clone(), of_argument(it)));
    let of_each: Map<String, Value> = of_each.collect();
    let mut schema = json!({"type": "object", "properties": of_each});
    for table in [ARGUMENTS_KEY, HOST_TABLE] {
        schema = json!({"type": "object", "properties": { table: schema }});
    }
    schema
}

/// The schema of one argument.
#[must_use]
pub fn of_argument(argument: &Argument) -> Value {
    let mut schema = match &argument.kind {
        ArgumentKind::Switch => json!({"type": "boolean"}),
        ArgumentKind::Whole => json!({"type": "integer"}),
        ArgumentKind::Number => json!({"type": "number"}),
        ArgumentKind::Text => json!({"type": "string"}),
        ArgumentKind::Path => json!({"type": "string", "format": "path"}),
        ArgumentKind::Choice { choices } => json!({"enum": choices}),
    };
    schema["description"] = argument.help.clone().into();
    schema
}
