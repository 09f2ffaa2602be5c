//! JSON values as TOML writes them.

use serde_json::Value;

use super::path::is_bare;

/// A value on one line. Null, for which TOML has no word, is left out of lists and tables; on its own
/// it is `None`.
#[must_use]
pub fn value(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (None, Some(float)) => toml::Value::Float(float).to_string(),
            _ => number.to_string(),
        },
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().filter_map(self::value).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) => {
            let entries = table.iter().filter_map(|(name, inner)| {
                Some(format!("{} = {}", key(name), self::value(inner)?))
            });
            match entries.collect::<Vec<_>>() {
                entries if entries.is_empty() => "{}".to_owned(),
                entries => format!("{{ {} }}", entries.join(", ")),
            }
        }
    })
}

/// A key, in quotes where TOML wants them.
#[must_use]
pub fn key(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { toml::Value::String(name.to_owned()).to_string() }
}

/// The header of a table: `[zmq.publisher]`.
#[must_use]
pub fn header(keys: &[&str]) -> String {
    format!("[{}]", keys.iter().map(|name| key(name)).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        let written = json!({
            "text": "a \"quoted\"\\ line\nand more", "float": 2.0, "big": u64::MAX >> 1, "no": false,
            "list": [1, {"a b": ["x"]}], "empty": {}, "tiny": 1e-9,
        });
        let line = format!("v = {}", value(&written).expect("it is no null"));
        let read: toml::Table = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        let read = serde_json::to_value(&read["v"]).expect("a JSON value");
        assert_eq!(read, written);
        assert_eq!(header(&["a", "b c"]), "[a.\"b c\"]");
        assert_eq!(value(&json!([null, 1])).as_deref(), Some("[1]"));
    }
}
