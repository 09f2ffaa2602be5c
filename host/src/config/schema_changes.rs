//! What a new version of a plugin changes about its configuration, in words.

use serde_json::{Map, Value};

use super::messages::shown;

/// The differences between two schemas that whoever writes the file should know of: keys that came
/// or went, and another type, default or bound of those that stayed.
#[must_use]
pub fn schema_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut changes = Vec::new();
    compare(Side { root: old, node: old }, Side { root: new, node: new }, "", 0, &mut changes);
    changes
}

#[derive(Clone, Copy)]
struct Side<'a> {
    root: &'a Value,
    node: &'a Value,
}

/// Deeper than any configuration that people write; schemas may refer to themselves.
const DEPTH: usize = 16;

impl<'a> Side<'a> {
    fn properties(self) -> Option<&'a Map<String, Value>> {
        self.resolved().get("properties")?.as_object()
    }

    /// The node, or what it refers to. An optional table is `anyOf` it and null.
    fn resolved(self) -> &'a Value {
        let mut node = self.node;
        for _ in 0..DEPTH {
            let choice = node.get("anyOf").and_then(Value::as_array);
            let choice = choice.and_then(|all| all.iter().find(|it| it["type"] != "null"));
            let reference = node.get("$ref").and_then(Value::as_str);
            let target = reference.and_then(|it| self.root.pointer(it.strip_prefix('#')?));
            match target.or(choice) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// A word of the node itself, which goes before one of what it refers to.
    fn word(self, name: &str) -> Option<&'a Value> {
        self.node.get(name).or_else(|| self.resolved().get(name))
    }
}

fn compare(old: Side<'_>, new: Side<'_>, path: &str, depth: usize, changes: &mut Vec<String>) {
    let (Some(before), Some(after)) = (old.properties(), new.properties()) else { return };
    if depth > DEPTH {
        return;
    }
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        changes.push(format!("`{}` is gone", at(key)));
    }
    for (key, node) in after {
        let now = Side { node, ..new };
        match before.get(key) {
            None => changes.push(match now.word("default") {
                Some(default) => format!("`{}` is new, {} unless given", at(key), shown(default)),
                None => format!("`{}` is new", at(key)),
            }),
            Some(node) => {
                let then = Side { node, ..old };
                changes.extend(differences(then, now, &at(key)));
                compare(then, now, &at(key), depth + 1, changes);
            }
        }
    }
}

fn differences(old: Side<'_>, new: Side<'_>, key: &str) -> Vec<String> {
    const WORDS: [&str; 9] = [
        "type",
        "default",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "pattern",
        "enum",
        "format",
    ];
    let told = |word: Option<&Value>| word.map_or_else(|| "none".to_owned(), shown);
    let is_table = old.properties().is_some() && new.properties().is_some();
    let differs = |name: &&&str| {
        // The default of a table is told by those of its keys.
        old.word(name) != new.word(name) && !(is_table && **name == "default")
    };
    let changed = WORDS.iter().filter(differs);
    changed
        .map(|name| format!("`{key}`: {name} {} -> {}", told(old.word(name)), told(new.word(name))))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_came_went_or_changed_are_told() {
        let old = json!({"type": "object", "properties": {
            "fps": {"type": "integer", "default": 30, "maximum": 60},
            "dark": {"type": "boolean"},
            "zmq": {"$ref": "#/$defs/Zmq"},
        }, "$defs": {"Zmq": {"properties": {"port": {"type": "integer", "default": 5555}}}}});
        let new = json!({"type": "object", "properties": {
            "fps": {"type": "number", "default": 30, "maximum": 120},
            "name": {"type": "string", "default": "lamp"},
            "zmq": {"anyOf": [{"$ref": "#/$defs/Z"}, {"type": "null"}]},
        }, "$defs": {"Z": {"properties": {"port": {"type": "integer", "default": 5556}}}}});
        assert_eq!(
            schema_changes(&old, &new),
            [
                "`dark` is gone",
                "`fps`: type `integer` -> `number`",
                "`fps`: maximum 60 -> 120",
                "`name` is new, `lamp` unless given",
                "`zmq.port`: default 5555 -> 5556",
            ]
        );
        assert!(schema_changes(&new, &new).is_empty());
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_survived() {
        let own = json!({"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}}}}});
        assert!(schema_changes(&own, &own).is_empty());
    }
}
