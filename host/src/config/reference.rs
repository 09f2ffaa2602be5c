//! The reference of a plugin's configuration, as Markdown.

use plugin_api::manifest::Manifest;
use plugin_api::secret::MASK;
use serde_json::{Value, json};

use super::defaults_of;
use super::layers::variable;
use super::leaves::Leaf;
use super::schema::Schema;
use super::toml_text;

/// One section: the plugin's name, what its configuration is for, and a table of its keys.
#[must_use]
pub fn markdown(manifest: &Manifest) -> String {
    let schema = Schema::new(&manifest.config_schema);
    let mut text = format!("## {}\n\n", manifest.name);
    if let Some(about) = schema.description(&manifest.config_schema) {
        text.push_str(&format!("{about}. Version {}.\n\n", manifest.version));
    }
    text.push_str("| key | default | what it may be | what it is for |\n|---|---|---|---|\n");
    let defaults = defaults_of(manifest);
    for leaf in schema.leaves(&defaults, &defaults) {
        let default = shown(&leaf).and_then(|default| toml_text::value(&default));
        let default = default.map_or_else(|| "–".to_owned(), |it| format!("`{}`", cell(&it)));
        let about = leaf.about.clone().unwrap_or_default();
        let kind = what_it_may_be(&leaf);
        text.push_str(&format!("| `{}` | {default} | {kind} | {} |\n", leaf.path, cell(&about)));
    }
    if !manifest.arguments.is_empty() {
        text.push_str("\n| argument | default | what it is for |\n|---|---|---|\n");
        for argument in &manifest.arguments {
            let default = toml_text::value(&argument.default);
            let default = default.map_or_else(|| "–".to_owned(), |it| format!("`{}`", cell(&it)));
            let (name, help) = (&argument.name, cell(&argument.help));
            text.push_str(&format!("| `--{name}` | {default} | {help} |\n"));
        }
    }
    text
}

/// The default, masked when it is a secret that is there.
fn shown(leaf: &Leaf<'_>) -> Option<Value> {
    let default = leaf.default.clone()?;
    let is_empty = default.is_null() || default == "";
    Some(if leaf.is_secret && !is_empty { MASK.into() } else { default })
}

fn what_it_may_be(leaf: &Leaf<'_>) -> String {
    let kind = cell(&leaf.kind());
    let kind = if leaf.is_secret { format!("{kind}, secret") } else { kind };
    match &leaf.range {
        Some(range) => format!("{kind}, {range}"),
        None => kind,
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The same as one JSON object.
#[must_use]
pub fn json(manifest: &Manifest) -> Value {
    let schema = Schema::new(&manifest.config_schema);
    let defaults = defaults_of(manifest);
    let keys = schema.leaves(&defaults, &defaults).into_iter().map(|leaf| {
        json!({
            "key": leaf.path.to_string(),
            "types": leaf.types,
            "choices": leaf.choices,
            "range": leaf.range,
            "default": shown(&leaf),
            "secret": leaf.is_secret,
            "about": leaf.about,
            "variable": variable(&leaf.path),
        })
    });
    json!({
        "plugin": manifest.name,
        "version": manifest.version,
        "keys": keys.collect::<Vec<_>>(),
        "arguments": manifest.arguments,
    })
}
