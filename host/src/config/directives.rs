//! The reserved table `[exphost]` of a service's file: what the host is told about the service.

use std::time::Duration;

use semver::VersionReq;
use serde_json::{Value, json};

use super::isolation::{self, Isolation};
use super::origin::{Origins, Part};
use super::path::KeyPath;
use super::service_file::HOST_TABLE;
use super::supervision::{self, Given};
use super::validate::validate;
use crate::problem::Problem;

/// What the host is told about a service. What is not given is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The plugin to run; the service's own name if not given.
    pub plugin: Option<String>,
    /// Which versions of it will do.
    pub version: VersionReq,
    /// Whether the service runs at all.
    pub enabled: bool,
    /// The services that must be started before this one.
    pub depends_on: Vec<String>,
    /// How long the service may take to start.
    pub start_timeout: Option<Duration>,
    /// How long the service may take to stop.
    pub stop_timeout: Option<Duration>,
    /// Where it runs.
    pub isolation: Isolation,
    /// What becomes of a build of it that another one has taken the place of.
    pub unload: Unload,
    /// How it is looked after.
    pub supervision: Given,
    /// The name of its health file, without ending; the service's own name if not given.
    pub service_type: Option<String>,
    /// Whether systemd's watchdog is to restart the host when the service is gone.
    pub critical: bool,
}

/// What becomes of a plugin's code when another build has taken its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unload {
    /// It is unloaded once nothing of it can run any more, and kept otherwise.
    #[default]
    Auto,
    /// It stays mapped: for a plugin with a library in it that cannot bear to be unloaded.
    Never,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            plugin: None,
            version: VersionReq::STAR,
            enabled: true,
            depends_on: Vec::new(),
            start_timeout: None,
            stop_timeout: None,
            isolation: Isolation::Thread,
            unload: Unload::Auto,
            supervision: Given::default(),
            service_type: None,
            critical: false,
        }
    }
}

/// The longest timeout, in seconds: a day.
pub const LONGEST_TIMEOUT: u64 = 86_400;

impl Directives {
    /// Reads the table; what is wrong in it is a problem and has its default.
    pub(super) fn read(
        service: &str,
        table: Option<Value>,
        origins: &Origins,
    ) -> (Self, Vec<Problem>) {
        let Some(table) = table else { return (Self::default(), Vec::new()) };
        let whole = json!({ HOST_TABLE: table });
        let mut problems = validate(&schema(), &whole, origins);
        let table = whole.get(HOST_TABLE).unwrap_or(&Value::Null);
        let mut wrong = |key: &str, problem: Problem| {
            let path = KeyPath::of_keys([HOST_TABLE, key]);
            problems.push(origins.place(problem, &path, Part::Value));
        };
        let isolation = Isolation::read(table, &mut wrong);
        let version = table.get("version").and_then(Value::as_str).map(VersionReq::parse);
        if let Some(Err(error)) = &version {
            let problem = Problem::error(format!("is not a version requirement: {error}"));
            wrong(
                "version",
                problem.hint("write for example \"1.2\", \">=1.2, <2\" or \"=1.2.3\""),
            );
        }
        let depends_on: Vec<String> = table
            .get("depends_on")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        if depends_on.iter().any(|name| name == service) {
            let problem = Problem::error(format!("`{service}` depends on itself"));
            wrong("depends_on", problem.hint("remove its own name from the list"));
        }
        let supervision = Given::read(table);
        for (key, problem) in supervision.contradictions() {
            wrong(key, problem);
        }
        let directives = Self {
            plugin: table.get("plugin").and_then(Value::as_str).map(str::to_owned),
            version: version.and_then(Result::ok).unwrap_or(VersionReq::STAR),
            enabled: table.get("enabled").and_then(Value::as_bool).unwrap_or(true),
            depends_on: depends_on.into_iter().filter(|name| name != service).collect(),
            start_timeout: table.get("start_timeout").and_then(duration),
            stop_timeout: table.get("stop_timeout").and_then(duration),
            isolation,
            supervision,
            service_type: table.get("service_type").and_then(Value::as_str).map(str::to_owned),
            critical: table.get("critical").and_then(Value::as_bool).unwrap_or(false),
            unload: match table.get("unload").and_then(Value::as_str) {
                Some("never") => Unload::Never,
                _ => Unload::Auto,
            },
        };
        (directives, problems)
    }
}

/// A number of seconds. What is no duration is `None`; the schema has spoken of it.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

/// The schema of seconds that must be more than none.
pub(crate) fn timeout_schema(description: &str) -> Value {
    json!({
        "type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT,
        "description": description,
    })
}

/// The schema of the table, as editors are given it.
pub(crate) fn table_schema() -> Value {
    schema()["properties"][HOST_TABLE].clone()
}

fn schema() -> Value {
    let own = json!({
        "plugin": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$",
            "description": "The plugin's name, as `exphost list` shows it"},
        "version": {"type": "string"},
        "enabled": {"type": "boolean"},
        "depends_on": {"type": "array", "items": {"type": "string"}, "uniqueItems": true,
            "description": "Names of services that are started before this one"},
        "unload": {"enum": ["auto", "never"]},
        "service_type": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$",
            "description": "The name of its health file, without ending"},
        "critical": {"type": "boolean",
            "description": "Whether systemd's watchdog is to restart the host when it is gone"},
        "start_timeout": timeout_schema("Seconds the service may take to start"),
        "stop_timeout": timeout_schema("Seconds the service may take to stop"),
    });
    let Value::Object(mut properties) = own else { return own };
    properties.extend(supervision::properties());
    properties.extend(isolation::properties());
    json!({"type": "object", "properties": {HOST_TABLE: {
        "type": "object", "additionalProperties": false, "properties": properties,
    }}, "additionalProperties": true})
}
