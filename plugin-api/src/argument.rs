//! Arguments of the command line that are no fields of a configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An argument that `exphost run SERVICE` takes for a service, beside the flags of its configuration.
/// It is for what belongs to one run and to no file. See [`Service::arguments`](crate::Service::arguments).
///
/// ```
/// use plugin_api::Argument;
///
/// let arguments = vec![
///     Argument::choice("model", ["gpt-4", "claude-3"]).default("gpt-4").help("AI model to use"),
///     Argument::whole("max-tokens").default(1000).help("Most tokens of an answer"),
///     Argument::switch("dry-run").help("Ask nobody, and answer at random"),
/// ];
/// assert_eq!(arguments[1].name, "max-tokens");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Argument {
    /// The flag without its dashes: `max-tokens`.
    pub name: String,
    /// What it takes.
    #[serde(flatten)]
    pub kind: ArgumentKind,
    /// What it is when it is not given; null for nothing.
    #[serde(default)]
    pub default: Value,
    /// What it is for, in one line.
    #[serde(default)]
    pub help: String,
}

/// What an argument takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "takes", rename_all = "snake_case")]
pub enum ArgumentKind {
    /// Nothing: it is there or not.
    Switch,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// Text.
    Text,
    /// The path of a file or a directory.
    Path,
    /// One of these texts.
    Choice {
        /// The texts.
        choices: Vec<String>,
    },
}

impl Argument {
    fn new(name: impl Into<String>, kind: ArgumentKind) -> Self {
        Self { name: name.into(), kind, default: Value::Null, help: String::new() }
    }

    /// One that is there or not.
    #[must_use]
    pub fn switch(name: impl Into<String>) -> Self {
        Self::new(name, ArgumentKind::Switch).default(false)
    }

    /// One that takes a whole number.
    #[must_use]
    pub fn whole(name: impl Into<String>) -> Self {
        Self::new(name, ArgumentKind::Whole)
    }

    /// One that takes a number.
    #[must_use]
    pub fn number(name: impl Into<String>) -> Self {
        Self::new(name, ArgumentKind::Number)
    }

    /// One that takes text.
    #[must_use]
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, ArgumentKind::Text)
    }

    /// One that takes the path of a file or a directory.
    #[must_use]
    pub fn path(name: impl Into<String>) -> Self {
        Self::new(name, ArgumentKind::Path)
    }

    /// One that takes one of `choices`.
    #[must_use]
    pub fn choice<C: Into<String>>(
        name: impl Into<String>,
        choices: impl IntoIterator<Item = C>,
    ) -> Self {
        let choices = choices.into_iter().map(Into::into).collect();
        Self::new(name, ArgumentKind::Choice { choices })
    }

    /// What it is when it is not given.
    #[must_use]
    pub fn default(mut self, default: impl Into<Value>) -> Self {
        self.default = default.into();
        self
    }

    /// What it is for, in one line.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// What the command line says for the arguments that a service declares, or their defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments(Map<String, Value>);

impl Arguments {
    /// Arguments by name.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self(values)
    }

    /// Whether a switch was given.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A whole number; `None` when it was not given and has no default.
    #[must_use]
    pub fn whole(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// A number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// A text or a choice.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }
}
