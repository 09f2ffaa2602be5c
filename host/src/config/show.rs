//! A configuration as TOML, with the origin of each value beside it.

use serde_json::{Map, Value, json};

use super::path::KeyPath;
use super::schema::Schema;
use super::toml_text;
use super::{Resolved, defaults_of};
use plugin_api::manifest::Manifest;

/// How far comments are moved to the right to stand below each other.
const WIDEST: usize = 40;

/// The effective configuration, secrets masked, with the origin of each value as a comment.
#[must_use]
pub fn effective(resolved: &Resolved, manifest: &Manifest) -> String {
    let masked = Schema::new(&manifest.config_schema).masked(&resolved.value);
    let mut text = String::new();
    if let Value::Object(table) = &masked {
        table_text(table, &mut Vec::new(), &KeyPath::root(), resolved, &mut text);
    }
    text
}

fn table_text<'v>(
    table: &'v Map<String, Value>,
    keys: &mut Vec<&'v str>,
    path: &KeyPath,
    resolved: &Resolved,
    text: &mut String,
) {
    let is_table = |value: &Value| value.as_object().is_some_and(|table| !table.is_empty());
    let lines = table.iter().filter(|(_, value)| !is_table(value));
    let lines: Vec<_> = lines
        .map(|(name, value)| {
            let path = path.key(name);
            let name = toml_text::key(name);
            match toml_text::value(value) {
                Some(value) => {
                    (format!("{name} = {value}"), resolved.origins.get(&path).to_string())
                }
                None => (format!("# {name} is not set"), String::new()),
            }
        })
        .collect();
    if !keys.is_empty() && !lines.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&toml_text::header(keys));
        text.push('\n');
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|it| *it <= WIDEST).max();
    for (line, origin) in &lines {
        let pad = width.unwrap_or(0).saturating_sub(line.chars().count());
        text.push_str(line);
        if !origin.is_empty() {
            text.push_str(&format!("{:pad$}  # {origin}", ""));
        }
        text.push('\n');
    }
    for (name, value) in table {
        if let Value::Object(inner) = value
            && !inner.is_empty()
        {
            keys.push(name);
            table_text(inner, keys, &path.key(name), resolved, text);
            keys.pop();
        }
    }
}

/// The same as one JSON object: the value, and the origin of each key that is not a default.
#[must_use]
pub fn effective_json(resolved: &Resolved, manifest: &Manifest) -> Value {
    let origins = resolved
        .origins
        .iter()
        .map(|(path, origin)| (path.to_string(), Value::from(origin.to_string())));
    json!({
        "value": Schema::new(&manifest.config_schema).masked(&resolved.value),
        "origins": Value::Object(origins.collect()),
    })
}

/// A value that is not the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its key.
    pub key: KeyPath,
    /// What it is, masked when it is a secret; null when it is not set.
    pub value: Value,
    /// What it is by default, in the same way.
    pub default: Value,
    /// Where it came from.
    pub origin: String,
}

/// What differs from the defaults, key by key; lists are compared as wholes.
#[must_use]
pub fn differences(resolved: &Resolved, manifest: &Manifest) -> Vec<Difference> {
    let mut found = Vec::new();
    let defaults = defaults_of(manifest);
    compare(&defaults, &resolved.value, &KeyPath::root(), &mut found);
    let schema = Schema::new(&manifest.config_schema);
    let (value, defaults) = (schema.masked(&resolved.value), schema.masked(&defaults));
    let difference = |key: KeyPath| Difference {
        value: key.find(&value).cloned().unwrap_or_default(),
        default: key.find(&defaults).cloned().unwrap_or_default(),
        origin: resolved.origins.nearest(&key).to_string(),
        key,
    };
    found.into_iter().map(difference).collect()
}

fn compare(default: &Value, value: &Value, path: &KeyPath, found: &mut Vec<KeyPath>) {
    match (default, value) {
        (Value::Object(default), Value::Object(table)) => {
            let mut keys: Vec<_> = default.keys().chain(table.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let of = |table: &Map<String, Value>| table.get(key).cloned().unwrap_or_default();
                compare(&of(default), &of(table), &path.key(key), found);
            }
        }
        // A table that is there only now is told by its keys.
        (Value::Null, Value::Object(table)) if !table.is_empty() => {
            for (key, value) in table {
                compare(&Value::Null, value, &path.key(key), found);
            }
        }
        _ if default != value => found.push(path.clone()),
        _ => {}
    }
}
