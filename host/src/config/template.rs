//! A service's file to begin with: every key with its default, as a comment, and what it is for.

use plugin_api::manifest::Manifest;
use serde_json::Value;

use super::defaults_of;
use super::leaves::Leaf;
use super::path::Segment;
use super::schema::Schema;
use super::toml_text;

/// The width that comments keep to.
const WIDTH: usize = 98;

/// The template. A key without a default is no comment: it has to be given.
#[must_use]
pub fn template(service: &str, manifest: &Manifest) -> String {
    let schema = Schema::new(&manifest.config_schema);
    let defaults = defaults_of(manifest);
    let mut leaves = schema.leaves(&defaults, &defaults);
    // What stands at the top must stand before the first table.
    leaves.sort_by_key(|leaf| leaf.path.segments().len() > 1);
    let mut text = format!(
        "# The configuration of `{service}`, for the plugin {} {}. Each key shows its default.\n",
        manifest.name, manifest.version
    );
    let mut table: Vec<&str> = Vec::new();
    for leaf in &leaves {
        let keys: Vec<&str> = leaf.path.segments().iter().filter_map(key_of).collect();
        let Some((name, above)) = keys.split_last() else { continue };
        let is_given = above.iter().try_fold(&defaults, |value, key| value.get(key));
        // A table that is absent by default would be there with its header.
        let is_there = is_given.is_some_and(Value::is_object);
        text.push('\n');
        if table != above {
            let mark = if is_there { "" } else { "# " };
            text.push_str(&format!("{mark}{}\n", toml_text::header(above)));
            table = above.to_vec();
        }
        about(leaf, &mut text);
        let default = leaf.default.as_ref().filter(|_| !leaf.is_secret);
        let default = default.and_then(toml_text::value);
        match default {
            Some(default) => text.push_str(&format!("# {} = {default}\n", toml_text::key(name))),
            None if is_required(&schema, leaf) && is_there => {
                text.push_str(&format!("{} = {}\n", toml_text::key(name), example(leaf)));
            }
            None => text.push_str(&format!("# {} = {}\n", toml_text::key(name), example(leaf))),
        }
    }
    text
}

fn key_of(segment: &Segment) -> Option<&str> {
    match segment {
        Segment::Key(key) => Some(key),
        Segment::Index(_) => None,
    }
}

/// What it is for and what it may be, in comments of whole words.
fn about(leaf: &Leaf<'_>, text: &mut String) {
    let kind = match &leaf.range {
        Some(range) => format!("{}, {range}", leaf.kind()),
        None => leaf.kind(),
    };
    let about = match &leaf.about {
        Some(about) => format!("{about}: {kind}."),
        None => format!("{}{}.", kind[..1].to_uppercase(), &kind[1..]),
    };
    let mut line = "#".to_owned();
    for word in about.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

fn is_required(schema: &Schema<'_>, leaf: &Leaf<'_>) -> bool {
    let above = leaf.path.parent().unwrap_or_default();
    let required = schema.find(&above).and_then(|node| schema.resolve(node).get("required"));
    let names = required.and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).any(|name| Some(name) == leaf.path.last_key())
}

/// Something of the right kind, to be written over.
fn example(leaf: &Leaf<'_>) -> String {
    match (leaf.choices.first(), leaf.types.first().copied()) {
        (Some(choice), _) => format!("\"{choice}\""),
        (None, Some("integer" | "number")) => {
            let least = leaf.node.get("minimum").and_then(toml_text::value);
            least.unwrap_or_else(|| "0".to_owned())
        }
        (None, Some("boolean")) => "false".to_owned(),
        (None, Some("array")) => "[]".to_owned(),
        (None, Some("object")) => "{}".to_owned(),
        _ => "\"\"".to_owned(),
    }
}
