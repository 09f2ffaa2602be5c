//! The words in which mistakes of configuration are told.

use serde_json::Value;

/// What people call a JSON type.
#[must_use]
pub fn type_word(name: &str) -> &'static str {
    match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "nothing",
    }
}

/// Several of them: `a number or text`.
#[must_use]
pub fn type_words(names: &[&str]) -> String {
    let wide = names.contains(&"number");
    let names = names.iter().filter(|name| !(wide && **name == "integer"));
    listed(&names.map(|name| type_word(name).to_owned()).collect::<Vec<_>>())
}

/// `a`, `a or b`, `a, b or c`.
#[must_use]
pub fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// How a value of these types is written in TOML.
#[must_use]
pub fn how_to_write(types: &[&str]) -> Option<String> {
    let how = match types {
        ["string"] => "put the text in quotes: \"…\"",
        ["integer"] => "write a whole number without quotes or decimals",
        ["number"] => "write the number without quotes",
        ["boolean"] => "write true or false, without quotes",
        ["array"] => "write a list: [ …, … ]",
        ["object"] => "write a table: [its.key] on a line of its own, or { key = … }",
        _ => return None,
    };
    Some(how.to_owned())
}

/// How a value of these types is written in a variable or on the command line.
#[must_use]
pub fn how_to_write_text(types: &[&str]) -> String {
    let how = match types {
        ["boolean"] => "use true, yes, 1, on or false, no, 0, off",
        ["integer"] => "use a whole number that fits 64 bits",
        ["number"] => "use a finite number, with a point for decimals",
        ["array"] => "write a JSON list: [\"a\", \"b\"]",
        ["object"] => "write a JSON object: {\"key\": …}",
        _ => "write it as JSON does",
    };
    how.to_owned()
}

/// A value as a message shows it; what is long or has parts is named by its type.
#[must_use]
pub fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    match value {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) if text.chars().count() <= LONGEST => {
            format!("`{}`", text.escape_debug())
        }
        Value::String(_) => "a longer text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// A number of things: `1 item`, `2 items`.
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
