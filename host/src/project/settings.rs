//! `exphost.toml`: what concerns the host itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::HOST_FILE;
use crate::config::directives::{duration, timeout_schema};
use crate::config::document::Document;
use crate::config::supervision::{self, Given};
use crate::config::validate::validate;
use crate::config::{KeyPath, Layers, Origin, Origins, Part, Schema};
use crate::problem::Problem;

/// What concerns the host itself. What is not given is `None`, and the host decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSettings {
    /// The directory with the plugins.
    pub plugins_dir: Option<PathBuf>,
    /// Logging.
    pub log: LogSettings,
    /// Messages and their queues.
    pub bus: BusSettings,
    /// How the host is talked to while it runs.
    pub control: ControlSettings,
    /// How a new build takes the place of a running one.
    pub reload: ReloadSettings,
    /// What of the services' figures goes to the log.
    pub stats: StatsSettings,
    /// Health files.
    pub health: HealthSettings,
    /// What services have that do not say otherwise.
    pub defaults: ServiceDefaults,
}

/// `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LogSettings {
    /// The least level that is logged, in upper case.
    pub level: Option<String>,
    /// The same for libraries outside the project.
    pub libraries: Option<String>,
    /// How files are written.
    pub format: LogFormat,
    /// Where the files are.
    pub directory: Option<PathBuf>,
    /// Whether to log on the console too.
    pub console: Option<bool>,
}

/// How log files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `[bus]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BusSettings {
    /// What moves the bytes, by its name.
    pub transport: Option<String>,
    /// Whether zeromq may be bound beyond loopback.
    pub zeromq_beyond_loopback: Option<bool>,
    /// Threads of ZeroMQ itself.
    pub io_threads: Option<u32>,
    /// The longest message that is taken in, in bytes.
    pub max_message_size: Option<u64>,
    /// Messages that wait at a socket; 0 for no limit.
    pub high_water_mark: Option<u32>,
    /// How long unsent messages are kept when the host stops.
    #[serde(skip)]
    pub linger: Option<Duration>,
    /// Messages that wait for a service.
    pub mailbox_messages: Option<usize>,
    /// Bytes that wait for a service.
    pub mailbox_bytes: Option<usize>,
    /// Messages of services that wait for the bus.
    pub outbox_messages: Option<usize>,
    /// Bytes of services that wait for the bus.
    pub outbox_bytes: Option<usize>,
}

/// `[control]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlSettings {
    /// The socket that the host listens on; one of its own for each project if not given.
    pub socket: Option<PathBuf>,
}

/// `[reload]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Whether files are watched; in development they are, in production only if this says so.
    pub watch: Option<bool>,
    /// How long a file must have been left alone before it is looked at.
    pub settle: Duration,
    /// How often the folders are looked through, for what the system does not tell of.
    pub rescan: Duration,
    /// How long a new build must have run before the old one is let go.
    pub probation: Duration,
    /// How many old builds may stay mapped because they could not be unloaded.
    pub max_kept: usize,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self {
            watch: None,
            settle: Duration::from_millis(250),
            rescan: Duration::from_secs(1),
            probation: Duration::from_millis(500),
            max_kept: 200,
        }
    }
}

/// `[stats]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsSettings {
    /// Whether each service's figures are logged at regular times.
    pub display: bool,
    /// How often.
    pub interval: Duration,
}

impl Default for StatsSettings {
    fn default() -> Self {
        Self { display: false, interval: Duration::from_secs(60) }
    }
}

/// `[health]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthSettings {
    /// Where the health files go; the place that is usual for the mode if not given.
    pub directory: Option<PathBuf>,
}

/// `[defaults]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDefaults {
    /// How long a service may take to start.
    pub start_timeout: Duration,
    /// How long a service may take to stop.
    pub stop_timeout: Duration,
    /// How services are looked after.
    pub supervision: Given,
}

impl Default for ServiceDefaults {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
            supervision: Given::default(),
        }
    }
}

/// The levels there are, as `[log]` and `--log-level` take them in either case.
pub const LEVELS: [&str; 7] = ["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"];

/// What may move the bytes, and whether this build has it.
const TRANSPORTS: [(&str, bool); 2] =
    [("libzmq", cfg!(feature = "libzmq")), ("zeromq", cfg!(feature = "zeromq"))];

/// Tables with names that are settled and that are not built yet.
const NOT_YET: [&str; 1] = ["http"];

impl HostSettings {
    /// Reads the `exphost.toml` of the folders, the first of which has the last word. Without any,
    /// and where something is wrong, the defaults stand.
    #[must_use]
    pub fn read(folders: &[PathBuf]) -> (Self, Vec<Problem>) {
        let files = folders.iter().map(|folder| folder.join(HOST_FILE));
        let documents = files.filter(|file| file.exists()).map(|file| Document::read("", &file));
        Self::of_documents(&documents.collect::<Vec<_>>())
    }

    /// The same for files already read.
    #[must_use]
    pub fn of_documents(documents: &[Document]) -> (Self, Vec<Problem>) {
        let schema = schema();
        let file = documents.last().and_then(|document| document.origins.file());
        let file = file.unwrap_or(Path::new(HOST_FILE));
        let mut layers = Layers::new(Schema::new(&schema), Value::Object(Map::new()), "", file);
        for document in documents.iter().rev() {
            layers.add_file(&document.table, &document.origins);
        }
        let Layers { mut value, origins, .. } = layers;

        let mut problems: Vec<Problem> =
            documents.iter().flat_map(|document| document.problems.clone()).collect();
        problems.extend(not_built(&mut value, &origins));
        problems.extend(transport_not_built(&value, &origins));
        upper_case_levels(&mut value);
        let found = validate(&schema, &value, &origins);
        let is_new = |problem: &Problem| !documents.iter().any(|it| it.repeats(problem));
        problems.extend(found.into_iter().filter(is_new));
        problems.extend(contradictions(&value, &origins));
        if problems.is_empty() {
            (Self::of_value(&value, &origins), problems)
        } else {
            (Self::default(), problems)
        }
    }

    /// The settings in a value that fits the schema.
    fn of_value(value: &Value, origins: &Origins) -> Self {
        let table = |name: &str| value.get(name).cloned().unwrap_or(Value::Object(Map::new()));
        let seconds = |table: &Value, key: &str| table.get(key).and_then(duration);
        let mut log: LogSettings = serde_json::from_value(table("log")).unwrap_or_default();
        log.directory = log.directory.map(|it| beside(&it, &["log", "directory"], origins));
        let mut bus: BusSettings = serde_json::from_value(table("bus")).unwrap_or_default();
        bus.linger = seconds(&table("bus"), "linger");
        let socket = value.pointer("/control/socket").and_then(Value::as_str).map(Path::new);
        let health = value.pointer("/health/directory").and_then(Value::as_str).map(Path::new);
        let plugins_dir = value.get("plugins_dir").and_then(Value::as_str).map(Path::new);
        let (given, usual) = (table("defaults"), ServiceDefaults::default());
        let (stats, usual_stats) = (table("stats"), StatsSettings::default());
        let display = stats.get("display").and_then(Value::as_bool);
        Self {
            plugins_dir: plugins_dir.map(|it| beside(it, &["plugins_dir"], origins)),
            log,
            bus,
            control: ControlSettings {
                socket: socket.map(|it| beside(it, &["control", "socket"], origins)),
            },
            reload: ReloadSettings::of_table(&table("reload")),
            stats: StatsSettings {
                display: display.unwrap_or(usual_stats.display),
                interval: seconds(&stats, "interval").unwrap_or(usual_stats.interval),
            },
            health: HealthSettings {
                directory: health.map(|it| beside(it, &["health", "directory"], origins)),
            },
            defaults: ServiceDefaults {
                start_timeout: seconds(&given, "start_timeout").unwrap_or(usual.start_timeout),
                stop_timeout: seconds(&given, "stop_timeout").unwrap_or(usual.stop_timeout),
                supervision: Given::read(&given),
            },
        }
    }
}

impl ReloadSettings {
    /// The settings in a table that fits the schema.
    fn of_table(table: &Value) -> Self {
        let usual = Self::default();
        let seconds = |key: &str, usual| table.get(key).and_then(duration).unwrap_or(usual);
        let max_kept = table.get("max_kept").and_then(Value::as_u64);
        Self {
            watch: table.get("watch").and_then(Value::as_bool),
            settle: seconds("settle", usual.settle),
            rescan: seconds("rescan", usual.rescan),
            probation: seconds("probation", usual.probation),
            max_kept: max_kept.and_then(|it| it.try_into().ok()).unwrap_or(usual.max_kept),
        }
    }
}

/// A path as seen from the file it is written in.
fn beside(path: &Path, key: &[&str], origins: &Origins) -> PathBuf {
    match origins.get(&KeyPath::of_keys(key.iter().copied())) {
        Origin::File { path: file, .. } => file.parent().unwrap_or(Path::new("")).join(path),
        _ => path.to_owned(),
    }
}

/// Takes the tables out that are not built yet, and says so.
fn not_built(value: &mut Value, origins: &Origins) -> Vec<Problem> {
    let Some(table) = value.as_object_mut() else { return Vec::new() };
    let found = NOT_YET.iter().filter(|name| table.remove(**name).is_some());
    found
        .map(|name| {
            let message = format!("[{name}] is not available in this version of exphost");
            let problem = Problem::error(message).hint("remove the table");
            origins.place(problem, &KeyPath::of_keys([*name]), Part::Key)
        })
        .collect()
}

/// A transport that this build was made without.
fn transport_not_built(value: &Value, origins: &Origins) -> Option<Problem> {
    let asked = value.pointer("/bus/transport")?.as_str()?;
    let (name, _) = TRANSPORTS.iter().find(|(name, built)| *name == asked && !built)?;
    let message = format!("bus.transport: this build of exphost has no transport {name}");
    let problem = Problem::error(message)
        .hint(format!("remove the line, or build exphost with --features {name}"));
    Some(origins.place(problem, &KeyPath::of_keys(["bus", "transport"]), Part::Value))
}

/// Keys of `[defaults]` that make no sense together.
fn contradictions(value: &Value, origins: &Origins) -> Vec<Problem> {
    let given = Given::read(value.get("defaults").unwrap_or(&Value::Null));
    let place =
        |(key, problem)| origins.place(problem, &KeyPath::of_keys(["defaults", key]), Part::Value);
    given.contradictions().into_iter().map(place).collect()
}

/// Levels are good in either case; the schema and the host know one.
fn upper_case_levels(value: &mut Value) {
    for key in ["level", "libraries"] {
        if let Some(Value::String(level)) = value.pointer_mut(&format!("/log/{key}")) {
            let upper = level.to_ascii_uppercase();
            if LEVELS.contains(&upper.as_str()) {
                *level = upper;
            }
        }
    }
}

fn schema() -> Value {
    let seconds = |least: Value, most: u64, description: &str| json!({"type": "number", "minimum": least, "maximum": most, "description": description});
    let whole = |least: u64, most: u64, description: &str| json!({"type": "integer", "minimum": least, "maximum": most, "description": description});
    let table = |properties: Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
    const MANY: u64 = u32::MAX as u64;
    const HUGE: u64 = i64::MAX as u64;
    let mut defaults = Value::Object(supervision::properties());
    defaults["start_timeout"] = timeout_schema("Seconds a service may take to start");
    defaults["stop_timeout"] = timeout_schema("Seconds a service may take to stop");
    table(json!({
        "plugins_dir": {"type": "string", "minLength": 1,
            "description": "The directory with the plugins, as seen from this file"},
        "log": table(json!({
            "level": {"enum": LEVELS},
            "libraries": {"enum": LEVELS},
            "format": {"enum": ["text", "json"]},
            "directory": {"type": "string", "minLength": 1},
            "console": {"type": "boolean"},
        })),
        "bus": table(json!({
            "transport": {"enum": TRANSPORTS.map(|(name, _)| name)},
            "zeromq_beyond_loopback": {"type": "boolean"},
            "io_threads": whole(1, 64, "Threads of ZeroMQ itself"),
            "max_message_size": whole(1, HUGE, "Bytes of the longest message that is taken in"),
            "high_water_mark": whole(0, 0x7fff_ffff, "Messages that wait at a socket; 0 for no limit"),
            "linger": seconds(json!(0), 3600, "Seconds that unsent messages are kept when the host stops"),
            "mailbox_messages": whole(1, MANY, "Messages that wait for a service"),
            "mailbox_bytes": whole(1, HUGE, "Bytes that wait for a service"),
            "outbox_messages": whole(1, MANY, "Messages of services that wait for the bus"),
            "outbox_bytes": whole(1, HUGE, "Bytes of services that wait for the bus"),
        })),
        "control": table(json!({
            "socket": {"type": "string", "minLength": 1,
                "description": "The socket that the host listens on, as seen from this file"},
        })),
        "reload": table(json!({
            "watch": {"type": "boolean"},
            "settle": seconds(json!(0.01), 60, "Seconds a file must have been left alone before it is looked at"),
            "rescan": seconds(json!(0.05), 3600, "Seconds between two looks through the folders"),
            "probation": seconds(json!(0), 3600, "Seconds a new build must have run before the old one is let go"),
            "max_kept": whole(1, MANY, "Old builds that may stay mapped"),
        })),
        "stats": table(json!({
            "display": {"type": "boolean"},
            "interval": seconds(json!(0.1), 86_400, "Seconds between two lines of a service's figures in the log"),
        })),
        "health": table(json!({
            "directory": {"type": "string", "minLength": 1,
                "description": "Where the health files go, as seen from this file"},
        })),
        "defaults": table(defaults),
    }))
}
