//! `exphost inspect FILE`: what a plugin file says of itself, and whether it can be loaded.

use std::path::Path;

use plugin_api::manifest::Manifest;
use serde_json::{Value, json};

use super::{Exit, list, output};
use crate::environment::Process;
use crate::plugin::error::LoadError;
use crate::plugin::identify::{self, Identity};
use crate::prepare;

pub(super) fn inspect(process: &Process<'_>, file: &Path, json: bool) -> Exit {
    let identified = identify::identify(file);
    let identity = identified.as_ref().ok().cloned();
    let loaded = identified.and_then(|identity| prepare::manifest_of(&identity, process));
    if json {
        output::json(&document(file, identity.as_ref(), loaded.as_ref()));
    } else {
        if let Some(identity) = &identity {
            show(identity, loaded.as_ref().ok());
        }
        if let Err(error) = &loaded {
            output::line(&output::problem(&prepare::load_problem(error)));
        }
    }
    if loaded.is_ok() { Exit::Done } else { Exit::BadConfig }
}

fn document(
    file: &Path,
    identity: Option<&Identity>,
    loaded: Result<&Manifest, &LoadError>,
) -> Value {
    let mut document = list::object(file, identity, loaded.err());
    let more = json!({
        "rustc": identity.map(|it| &it.rustc),
        "target": identity.map(|it| &it.target),
        "unwind": identity.map(|it| it.unwind),
        "description": identity.map(|it| &it.description),
        "authors": identity.map(|it| &it.authors),
        "sha256": identity.map(|it| &it.sha256),
        "config_schema": loaded.ok().map(|it| &it.config_schema),
    });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    document
}

fn show(identity: &Identity, manifest: Option<&Manifest>) {
    let row = |name: &str, value: &str| output::line(&format!("{name:<12} {value}"));
    row("file", &identity.file.display().to_string());
    row("name", &identity.name);
    row("version", &identity.version.to_string());
    row("plugin-api", &identity.api_version.to_string());
    row("rustc", &identity.rustc);
    row("target", &identity.target);
    row("panics", if identity.unwind { "unwind" } else { "abort" });
    row("description", &identity.description);
    row("authors", &identity.authors.join(", "));
    row("sha256", &identity.sha256);
    let properties = manifest.and_then(|it| it.config_schema.get("properties"));
    if let Some(Value::Object(properties)) = properties {
        output::line("configuration");
        for (key, schema) in properties {
            let help = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            output::line(&format!("  {key:<18} {help}"));
        }
    }
}
