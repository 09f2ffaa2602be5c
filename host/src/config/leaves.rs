//! What can be configured, key by key: what flags, templates and the reference are made of.

use plugin_api::secret::MASK;
use serde_json::Value;

use super::messages::type_words;
use super::path::KeyPath;
use super::schema::Schema;

/// A key whose value has no keys of its own that are known beforehand.
#[derive(Clone, Debug)]
pub struct Leaf<'s> {
    /// Its path.
    pub path: KeyPath,
    /// Its schema.
    pub node: &'s Value,
    /// The JSON types it may have; none when any will do.
    pub types: Vec<&'s str>,
    /// The texts it may be, when they are named.
    pub choices: Vec<&'s str>,
    /// The numbers it may be, in words.
    pub range: Option<String>,
    /// What it is when nothing is said, if its table is there at all.
    pub default: Option<Value>,
    /// What the author says about it.
    pub about: Option<String>,
    /// Whether nobody is to be shown its value.
    pub is_secret: bool,
}

impl Leaf<'_> {
    /// What it may be, in words: a type, or what it chooses among.
    #[must_use]
    pub fn kind(&self) -> String {
        match &self.choices[..] {
            [] if self.types.is_empty() => "anything".to_owned(),
            [] => type_words(&self.types),
            choices => {
                let choices: Vec<_> = choices.iter().map(|it| format!("`{it}`")).collect();
                super::messages::listed(&choices)
            }
        }
    }
}

impl<'s> Schema<'s> {
    /// Every key without known keys of its own. Of tables with names of the user's choosing those
    /// that `value` has are gone into. `defaults` is what an empty file gives.
    #[must_use]
    pub fn leaves(&self, value: &Value, defaults: &Value) -> Vec<Leaf<'s>> {
        let fields = self.fields(value).into_iter();
        // One with names of the user's choosing can be given as a whole, too.
        let leaves = fields.filter(|field| self.keys(field.node).is_empty());
        leaves
            .map(|field| Leaf {
                path: field.path.clone(),
                node: field.node,
                types: self.types(field.node),
                choices: self.choices(field.node),
                range: self.range(field.node),
                default: field.path.find(defaults).or_else(|| field.node.get("default")).cloned(),
                about: self.description(field.node),
                is_secret: self.is_secret(field.node),
            })
            .collect()
    }

    /// The texts that a value chooses among.
    #[must_use]
    pub fn choices(&self, node: &'s Value) -> Vec<&'s str> {
        let node = self.resolve(node);
        let named = node.get("enum").and_then(Value::as_array).into_iter().flatten();
        let consts = self.branches(node).into_iter().flat_map(|branch| {
            let branch = self.resolve(branch);
            let several = branch.get("enum").and_then(Value::as_array).into_iter().flatten();
            several.chain(branch.get("const")).collect::<Vec<_>>()
        });
        let all: Vec<_> = named.chain(consts).filter(|it| !it.is_null()).collect();
        let texts: Vec<_> = all.iter().filter_map(|it| it.as_str()).collect();
        if texts.len() == all.len() { texts } else { Vec::new() }
    }

    /// The numbers that a value may be: `1 to 120`, `0.1 or more`.
    #[must_use]
    pub fn range(&self, node: &'s Value) -> Option<String> {
        let node = self.resolve(node);
        let bound = |keyword: &str| node.get(keyword).filter(|it| it.is_number());
        let range = match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => match bound("exclusiveMaximum") {
                Some(limit) => format!("{least} to less than {limit}"),
                None => format!("{least} or more"),
            },
            (None, most) => match (bound("exclusiveMinimum"), most) {
                (Some(limit), Some(most)) => format!("more than {limit}, to {most}"),
                (Some(limit), None) => format!("more than {limit}"),
                (None, Some(most)) => format!("{most} or less"),
                (None, None) => return None,
            },
        };
        Some(range)
    }

    /// Whether nobody is to be shown a value.
    #[must_use]
    pub fn is_secret(&self, node: &'s Value) -> bool {
        let marked = |node: &Value| node.get("writeOnly") == Some(&Value::Bool(true));
        marked(node) || marked(self.resolve(node))
    }

    /// The secrets that a configuration has, those in lists among them.
    #[must_use]
    pub fn secrets(&self, value: &Value) -> Vec<KeyPath> {
        let mut secrets = Vec::new();
        self.collect_secrets(self.root(), value, &KeyPath::root(), &mut secrets);
        secrets
    }

    fn collect_secrets(
        &self,
        node: &'s Value,
        value: &Value,
        path: &KeyPath,
        secrets: &mut Vec<KeyPath>,
    ) {
        if self.is_secret(node) {
            return secrets.push(path.clone());
        }
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    if let Some(node) = self.property(node, key) {
                        self.collect_secrets(node, value, &path.key(key), secrets);
                    }
                }
            }
            Value::Array(items) => {
                let Some(node) = self.items(node) else { return };
                for (index, value) in items.iter().enumerate() {
                    self.collect_secrets(node, value, &path.index(index), secrets);
                }
            }
            _ => {}
        }
    }

    /// A configuration with a mask in the place of each secret that it has.
    #[must_use]
    pub fn masked(&self, value: &Value) -> Value {
        let mut masked = value.clone();
        for secret in self.secrets(value) {
            let is_set = |value: &Value| !value.is_null() && *value != "";
            if let Some(secret) = secret.find_mut(&mut masked).filter(|it| is_set(it)) {
                *secret = MASK.into();
            }
        }
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "fps": {"type": "integer", "minimum": 1, "maximum": 120, "description": "Pictures a second."},
            "ratio": {"type": "number", "exclusiveMinimum": 0},
            "style": {"oneOf": [{"const": "morph"}, {"enum": ["dissolve", "wipe"]}]},
            "token": {"type": ["string", "null"], "writeOnly": true},
            "logins": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Login"}},
            "keys": {"type": "array", "items": {"type": "string", "writeOnly": true}},
        }, "$defs": {"Login": {"type": "object", "properties": {
            "user": {"type": "string"}, "password": {"type": "string", "writeOnly": true},
        }}}})
    }

    #[test]
    fn leaves_say_what_they_may_be() {
        let schema = schema();
        let value = json!({"logins": {"a": {"user": "x"}}});
        let leaves = Schema::new(&schema).leaves(&value, &json!({}));
        let told = leaves.iter().map(|leaf| {
            format!("{}: {}, {:?}", leaf.path, leaf.kind(), leaf.range.as_deref().unwrap_or(""))
        });
        let expected = [
            r#"fps: a whole number, "1 to 120""#,
            r#"keys: a list, """#,
            r#"logins.a.password: text, """#,
            r#"logins.a.user: text, """#,
            r#"logins: a table, """#,
            r#"ratio: a number, "more than 0""#,
            r#"style: `morph`, `dissolve` or `wipe`, """#,
            r#"token: text, """#,
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(leaves[0].about.as_deref(), Some("Pictures a second"));
    }

    #[test]
    fn secrets_are_masked_wherever_they_are() {
        let schema = schema();
        let value = json!({
            "token": "t", "fps": 3, "keys": ["k"], "logins": {"a": {"user": "x", "password": "p"}},
        });
        let masked = json!({
            "token": MASK, "fps": 3, "keys": [MASK], "logins": {"a": {"user": "x", "password": MASK}},
        });
        assert_eq!(Schema::new(&schema).masked(&value), masked);
        assert_eq!(Schema::new(&schema).masked(&json!({"token": ""})), json!({"token": ""}));
    }
}
