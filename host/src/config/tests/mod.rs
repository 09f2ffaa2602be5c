//! Whole configurations: what is given, and every problem that is told, word for word.

use std::collections::BTreeMap;
use std::path::Path;

use plugin_api::manifest::{ConfigProblem, Manifest};
use plugin_api::zmq::{PubSubConfig, PublisherConfig, SubscriberConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

mod host_table;
mod layers;
mod mistakes;
mod properties;
mod sockets;

/// How pictures are made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Style {
    /// Slowly.
    #[default]
    Dissolve,
    Morph,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Source {
    Camera { device: u8 },
    File { path: String, looping: bool },
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Camera {
    /// Pictures a second.
    #[schemars(range(min = 1, max = 120))]
    fps: u32,
    name: String,
    auto: bool,
    roi: Option<[u32; 2]>,
}

impl Default for Camera {
    fn default() -> Self {
        Self { fps: 30, name: "front".to_owned(), auto: true, roi: None }
    }
}

/// The configuration of a service as an author writes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Work loop interval in seconds.
    #[schemars(range(min = 0.1))]
    work_interval: f64,
    retries: Option<u16>,
    offset: i64,
    camera: Camera,
    backup: Option<Camera>,
    style: Style,
    source: Source,
    tags: Vec<String>,
    workers: BTreeMap<String, Camera>,
    stages: Vec<Camera>,
    extra: Value,
    zmq: PubSubConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            work_interval: 1.0,
            retries: None,
            offset: 0,
            camera: Camera::default(),
            backup: None,
            style: Style::Dissolve,
            source: Source::Camera { device: 0 },
            tags: vec!["a".to_owned()],
            workers: BTreeMap::new(),
            stages: Vec::new(),
            extra: Value::Null,
            zmq: PubSubConfig {
                publisher: Some(PublisherConfig { port: 5600, ..Default::default() }),
                subscriber: None::<SubscriberConfig>,
            },
        }
    }
}

/// A configuration of which one key has no default.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Needy {
    /// Who is greeted.
    name: String,
    #[serde(default)]
    camera: Camera,
    inner: Option<Inner>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Inner {
    key: String,
}

fn manifest_of<C: JsonSchema>(defaults: Value) -> Manifest {
    Manifest {
        name: "core".to_owned(),
        version: "1.0.0".to_owned(),
        crate_name: "core".to_owned(),
        config_schema: schemars::schema_for!(C).to_value(),
        config_defaults: defaults,
        arguments: Vec::new(),
    }
}

fn manifest() -> Manifest {
    manifest_of::<Config>(serde_json::to_value(Config::default()).expect("a JSON value"))
}

fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve_with(
    manifest: &Manifest,
    toml: &str,
    variables: &[(&str, &str)],
    sets: &[&str],
) -> Resolved {
    let service = ServiceFile::parse("core", Path::new("core.toml"), toml);
    let sets: Vec<_> =
        sets.iter().map(|set| Override::parse(set).expect("a good argument")).collect();
    resolve(&service, manifest, &env(variables), &sets)
}

/// The value of a configuration that has no problems.
fn good(toml: &str, variables: &[(&str, &str)], sets: &[&str]) -> Value {
    let resolved = resolve_with(&manifest(), toml, variables, sets);
    assert_eq!(resolved.problems, [], "{toml}");
    let read: Result<Config, _> = serde_json::from_value(resolved.value.clone());
    assert!(read.is_ok(), "the plugin's type refuses what was found good: {read:?}");
    resolved.value
}

fn told(resolved: &Resolved) -> Vec<String> {
    resolved.problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(toml: &str, expected: &[&str]) {
    assert_told(&told(&resolve_with(&manifest(), toml, &[], &[])), expected);
}

#[track_caller]
fn assert_told(found: &[String], expected: &[&str]) {
    assert_eq!(found, expected);
}

#[track_caller]
fn check_outside(variables: &[(&str, &str)], sets: &[&str], expected: &[&str]) {
    assert_told(&told(&resolve_with(&manifest(), "", variables, sets)), expected);
}
