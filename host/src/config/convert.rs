//! Text from the environment or the command line, made into a value of the field's own type.
//!
//! The field decides, not the text: `1` is a number for a number and true for a switch.

use serde_json::{Number, Value};

use super::document;
use super::messages::type_words;
use super::schema::Schema;

const TRUE_WORDS: [&str; 4] = ["true", "yes", "1", "on"];
const FALSE_WORDS: [&str; 4] = ["false", "no", "0", "off"];

/// The value that `text` gives for the field that `node` describes, or what was expected instead.
pub fn convert<'s>(schema: &Schema<'s>, node: &'s Value, text: &str) -> Result<Value, String> {
    let types = schema.types(node);
    if types.is_empty() {
        return Ok(any(text));
    }
    // The narrower type first, so that text does not swallow a number.
    let order = ["integer", "number", "boolean", "array", "object", "string"];
    let fitting = order.iter().filter(|name| types.contains(name));
    match fitting.filter_map(|name| as_type(name, text)).next() {
        Some(value) => Ok(value),
        None => Err(format!("expected {}, is {}", type_words(&types), shown(text))),
    }
}

fn as_type(name: &str, text: &str) -> Option<Value> {
    let trimmed = text.trim();
    match name {
        "integer" => integer(trimmed).map(Value::Number),
        "number" => integer(trimmed)
            .or_else(|| trimmed.parse().ok().and_then(Number::from_f64))
            .map(Value::Number),
        "boolean" => boolean(trimmed).map(Value::Bool),
        "array" => structured(trimmed).filter(Value::is_array),
        "object" => structured(trimmed).filter(Value::is_object),
        _ => Some(Value::String(text.to_owned())),
    }
}

fn integer(text: &str) -> Option<Number> {
    let signed = text.parse::<i64>().ok().map(Number::from);
    signed.or_else(|| text.parse::<u64>().ok().map(Number::from))
}

fn boolean(text: &str) -> Option<bool> {
    let word = text.to_ascii_lowercase();
    if TRUE_WORDS.contains(&word.as_str()) {
        return Some(true);
    }
    FALSE_WORDS.contains(&word.as_str()).then_some(false)
}

/// A list or table: JSON as the Python services take it, else as TOML writes it.
fn structured(text: &str) -> Option<Value> {
    text.starts_with(['[', '{'])
        .then(|| serde_json::from_str(text).ok().or_else(|| document::parse_value(text)))
        .flatten()
}

fn any(text: &str) -> Value {
    structured(text.trim())
        .or_else(|| document::parse_value(text.trim()))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.is_empty() {
        "empty".to_owned()
    } else if text.chars().count() > LONGEST {
        "a longer text".to_owned()
    } else {
        format!("`{}`", text.escape_debug())
    }
}
