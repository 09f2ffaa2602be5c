//! A text that is shown to nobody: a password, a token.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What stands in a secret's place wherever one is shown.
pub const MASK: &str = "********";

/// A text of a configuration that is shown to nobody. `{:?}` and `{}` give [`MASK`], and so do the
/// host's messages and `exphost config`; [`expose`](Self::expose) gives the text itself.
///
/// Serialised it is the plain text: a configuration has to survive being written and read. So do not
/// publish one that has secrets in it.
///
/// The schema marks it with `"writeOnly": true`. Any other field is marked in the same way by
/// `#[schemars(extend("writeOnly" = true))]`.
///
/// ```
/// use plugin_api::Secret;
///
/// let token = Secret::from("hunter2");
/// assert_eq!(format!("{token:?} {token}"), "******** ********");
/// assert_eq!(token.expose(), "hunter2");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none: the usual default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "password", "writeOnly": true})
    }
}
