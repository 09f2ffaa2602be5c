//! The layers of a configuration: defaults < file < environment < command line.
//!
//! Tables merge, lists and single values replace. An empty table replaces nothing.

use serde_json::{Map, Value};

use super::convert::convert;
use super::nearest::known_names;
use super::origin::{Origin, Origins, Part};
use super::path::{KeyPath, Segment};
use super::schema::{Field, Schema};
use crate::environment::Env;
use crate::problem::Problem;

/// What every variable for services begins with.
pub const ENV_PREFIX: &str = "EXPERIMANCE_";

/// Variables with that beginning which are for the host itself.
pub const HOST_VARIABLES: [&str; 4] = [
    "EXPERIMANCE_ENV",
    "EXPERIMANCE_ENVIRONMENT",
    "EXPERIMANCE_LOG_LEVEL",
    "EXPERIMANCE_LOG_CONSOLE",
];

/// A value of the command line: `--set service.key=value`, or a flag of `exphost run SERVICE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The service.
    pub service: String,
    /// The key within its configuration.
    pub path: KeyPath,
    /// The value, as text.
    pub text: String,
    /// The flag that says so, with its dashes; `None` for `--set`.
    pub flag: Option<String>,
}

impl Override {
    /// Reads the argument of `--set`.
    ///
    /// # Errors
    /// A problem that shows the form when the argument does not have it.
    pub fn parse(argument: &str) -> Result<Self, Box<Problem>> {
        let parts = argument.split_once('=').and_then(|(key, text)| {
            let (service, path) = key.trim().split_once('.')?;
            Some((service, super::document::parse_key(path)?, text))
        });
        match parts {
            Some((service, path, text)) if !service.is_empty() => {
                Ok(Self { service: service.to_owned(), path, text: text.to_owned(), flag: None })
            }
            _ => {
                let argument = argument.escape_debug();
                let message = format!("`--set {argument}` has not the form service.key=value");
                let problem = Problem::error(message);
                Err(Box::new(problem.hint("for example: --set heartbeat.work_interval=0.5")))
            }
        }
    }

    /// The argument without its value, which may be a secret.
    #[must_use]
    pub fn argument(&self) -> String {
        format!("{}.{}", self.service, self.path)
    }

    fn origin(&self) -> Origin {
        match &self.flag {
            Some(flag) => Origin::Flag { flag: flag.clone() },
            None => Origin::Set { argument: self.argument() },
        }
    }
}

/// Overrides for services that the project does not have.
#[must_use]
pub fn overrides_of_no_service(overrides: &[Override], services: &[&str]) -> Vec<Problem> {
    let lost = overrides.iter().filter(|it| !services.contains(&it.service.as_str()));
    lost.map(|it| {
        let mut problem = Problem::error(format!(
            "there is no service `{}` (from --set {})",
            it.service,
            it.argument()
        ))
        .key(it.argument());
        problem.hint = known_names(&it.service, services, "services");
        problem
    })
    .collect()
}

/// A configuration that layers are put upon.
#[derive(Debug)]
pub struct Layers<'s> {
    schema: Schema<'s>,
    /// The values so far.
    pub value: Value,
    /// Where they came from.
    pub origins: Origins,
    /// What was wrong with the layers.
    pub problems: Vec<Problem>,
}

impl<'s> Layers<'s> {
    /// The lowest layer. `origins` carries the names of service and file, and what the file gave.
    #[must_use]
    pub fn new(schema: Schema<'s>, defaults: Value, service: &str, file: &std::path::Path) -> Self {
        let origins = Origins::new(service, file);
        Self { schema, value: defaults, origins, problems: Vec::new() }
    }

    /// Puts the values of a file on top.
    pub fn add_file(&mut self, table: &Map<String, Value>, origins: &Origins) {
        self.add(&KeyPath::root(), Value::Object(table.clone()), &|path| origins.get(path).clone());
    }

    /// Puts the matching variables of the environment on top; returns those that match no key.
    pub fn add_environment(&mut self, env: &dyn Env) -> Vec<String> {
        let fields = self.schema.fields(&self.value);
        let mut ignored = Vec::new();
        let variables = env.all().into_iter().filter(|(name, _)| {
            name.starts_with(ENV_PREFIX) && !HOST_VARIABLES.contains(&name.as_str())
        });
        // Shorter names first: a whole table as JSON is the ground that single keys stand on.
        let mut variables: Vec<_> = variables.collect();
        variables.sort_by_key(|(name, _)| (name.len(), name.clone()));
        for (name, text) in variables {
            let said_by = env.told(&name);
            let matching: Vec<_> =
                fields.iter().filter(|field| variable(&field.path) == name).collect();
            match &matching[..] {
                [] => ignored.push(name),
                [field] => self.add_variable(&said_by, &text, field),
                several => self.problems.push(ambiguous(&self.origins, &said_by, several)),
            }
        }
        ignored.sort();
        ignored
    }

    fn add_variable(&mut self, name: &str, text: &str, field: &Field<'s>) {
        let origin = Origin::Env { name: name.to_owned() };
        self.add_text(&field.path, field.node, text, &origin);
    }

    /// Puts what the command line sets for this service on top.
    pub fn add_overrides(&mut self, overrides: &[Override]) {
        let service = self.origins.service().to_owned();
        for it in overrides.iter().filter(|it| it.service == service) {
            let origin = it.origin();
            match self.schema.find(&it.path) {
                Some(node) => self.add_text(&it.path, node, &it.text, &origin),
                None => self.problems.push(self.unknown_key(it)),
            }
        }
    }

    fn unknown_key(&self, it: &Override) -> Problem {
        // The first key of the path that the schema does not know.
        let mut known = KeyPath::root();
        let mut unknown = String::new();
        for segment in it.path.segments() {
            let Segment::Key(key) = segment else { continue };
            if self.schema.find(&known.key(key)).is_none() {
                unknown.clone_from(key);
                break;
            }
            known = known.key(key);
        }
        let keys = self.schema.find(&known).map(|node| self.schema.keys(node)).unwrap_or_default();
        let mut problem =
            Problem::error(format!("unknown key `{unknown}` (from --set {})", it.argument()))
                .key(it.argument());
        problem.hint = if known.is_root() && unknown == "exphost" {
            Some("the [exphost] table can be set in the service's file only".to_owned())
        } else {
            let no_keys = || Some(format!("`{known}` has no keys of its own"));
            known_names(&unknown, &keys, "keys").or_else(no_keys)
        };
        problem
    }

    fn add_text(&mut self, path: &KeyPath, node: &'s Value, text: &str, origin: &Origin) {
        match convert(&self.schema, node, text) {
            Ok(value) => self.add(path, value, &|_| origin.clone()),
            Err(message) => {
                let mut here = Origins::new(self.origins.service(), "");
                here.record(path.clone(), origin.clone());
                let problem = here.place(Problem::error(message), path, Part::Value);
                self.problems.push(
                    problem.hint(super::messages::how_to_write_text(&self.schema.types(node))),
                );
            }
        }
    }

    fn add(&mut self, path: &KeyPath, layer: Value, origin: &dyn Fn(&KeyPath) -> Origin) {
        // Keys that lead to the value may not exist yet.
        let mut here = &mut self.value;
        let mut above = KeyPath::root();
        for segment in path.segments() {
            let Segment::Key(key) = segment else { return };
            if !here.is_object() {
                *here = Value::Object(Map::new());
                self.origins.forget(&above);
                self.origins.record(above.clone(), origin(path));
            }
            above = above.key(key);
            let Value::Object(table) = here else { return };
            here = table.entry(key.clone()).or_insert(Value::Null);
        }
        merge(here, layer, &Merge { schema: self.schema, origin }, path, &mut self.origins);
    }
}

struct Merge<'a, 's> {
    schema: Schema<'s>,
    origin: &'a dyn Fn(&KeyPath) -> Origin,
}

fn merge(
    here: &mut Value,
    layer: Value,
    how: &Merge<'_, '_>,
    path: &KeyPath,
    origins: &mut Origins,
) {
    match (&mut *here, layer) {
        (Value::Object(table), Value::Object(layer)) => {
            let node = how.schema.find(path);
            if node.is_some_and(|node| how.schema.are_alternatives(node, table, &layer)) {
                table.clear();
                origins.forget(path);
            }
            if !path.is_root() {
                origins.record(path.clone(), (how.origin)(path));
            }
            for (key, layer) in layer {
                let path = path.key(&key);
                merge(table.entry(key).or_insert(Value::Null), layer, how, &path, origins);
            }
        }
        (_, layer) => {
            origins.forget(path);
            record_all(&layer, how, path, origins);
            *here = layer;
        }
    }
}

fn record_all(value: &Value, how: &Merge<'_, '_>, path: &KeyPath, origins: &mut Origins) {
    if !path.is_root() {
        origins.record(path.clone(), (how.origin)(path));
    }
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                record_all(value, how, &path.key(key), origins);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                record_all(value, how, &path.index(index), origins);
            }
        }
        _ => {}
    }
}

/// The variable that sets the value at `path`.
#[must_use]
pub fn variable(path: &KeyPath) -> String {
    let mut name = ENV_PREFIX.trim_end_matches('_').to_owned();
    for segment in path.segments() {
        name.push('_');
        match segment {
            Segment::Key(key) => name.push_str(&key.to_uppercase().replace(['-', '.', ' '], "_")),
            Segment::Index(index) => name.push_str(&index.to_string()),
        }
    }
    name
}

fn ambiguous(origins: &Origins, name: &str, fields: &[&Field<'_>]) -> Problem {
    let paths: Vec<_> = fields.iter().map(|field| format!("`{}`", field.path)).collect();
    Problem::error(format!("{name} could mean {}", paths.join(" or ")))
        .key(origins.service())
        .hint("unset the variable and set the key in the file or with --set")
}
