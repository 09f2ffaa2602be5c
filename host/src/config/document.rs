//! A TOML file as JSON values, each with its place in the file.
//!
//! Reading never stops at the first mistake: what can be made out of a broken file is returned
//! beside its problems, so that the other mistakes in it are found in the same run.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::origin::{Origin, Origins, Position};
use super::path::KeyPath;
use crate::problem::Problem;

/// A TOML file, read.
#[derive(Clone, Debug)]
pub struct Document {
    /// The top-level table.
    pub table: Map<String, Value>,
    /// Where each value stands.
    pub origins: Origins,
    /// What does not parse.
    pub problems: Vec<Problem>,
    /// Whether a line begins the host's table, which may stand below what does not parse.
    pub names_host: bool,
}

impl Document {
    /// The document of a file that does not exist.
    #[must_use]
    pub fn absent(service: &str, file: &Path) -> Self {
        Self {
            table: Map::new(),
            origins: Origins::new(service, file),
            problems: Vec::new(),
            names_host: false,
        }
    }

    /// Reads the file of a service; for files of no service, `service` is empty.
    #[must_use]
    pub fn read(service: &str, file: &Path) -> Self {
        let unreadable = |problem: Problem, text: &str| {
            let mut document = Self::absent(service, file);
            document.names_host = names_host(text);
            document.problems.push(problem.in_file(file));
            document
        };
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                let problem = Problem::error(format!("cannot be read: {error}"));
                return unreadable(problem.hint("check that it is a file and who may read it"), "");
            }
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(service, file, text),
            Err(error) => {
                let (good, _) = bytes.split_at(error.valid_up_to());
                let good = String::from_utf8_lossy(good);
                let at = position(&good, good.len());
                unreadable(
                    Problem::error("is not UTF-8 text")
                        .at(at.line, at.column)
                        .hint("save the file with the encoding UTF-8"),
                    &String::from_utf8_lossy(&bytes),
                )
            }
        }
    }

    /// Reads the text of a file.
    #[must_use]
    pub fn parse(service: &str, file: &Path, text: &str) -> Self {
        // The parser takes a byte order mark for a part of the first key.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut reader = Reader {
            text,
            file: file.into(),
            origins: Origins::new(service, file),
            problems: Vec::new(),
        };
        let table = reader.table(table.get_ref(), &KeyPath::root());
        let mut problems: Vec<_> = errors.iter().map(|error| broken(file, text, error)).collect();
        // What comes after a list without an end is taken for its items, line by line.
        let endless = problems.iter().find(|problem| problem.message.ends_with(OPEN_LIST));
        if let Some(line) = endless.map(|problem| problem.line) {
            problems.retain(|it| {
                it.line < line || (it.line == line && it.message.ends_with(OPEN_LIST))
            });
        }
        // One slip makes the parser stumble several times on the same line.
        problems.dedup_by_key(|problem| problem.line);
        let names_host = names_host(text);
        let mut document = Self { table, origins: reader.origins, problems, names_host };
        reader.problems.retain(|problem| !document.repeats(problem));
        document.problems.append(&mut reader.problems);
        document
    }

    /// Whether a problem stands on a line that does not parse, and so says nothing new.
    #[must_use]
    pub fn repeats(&self, problem: &Problem) -> bool {
        let place = |problem: &Problem| (problem.file.clone(), problem.line);
        problem.line.is_some() && self.problems.iter().any(|known| place(known) == place(problem))
    }
}

/// Whether the line has a quote between its beginning and a place.
fn has_open_quote(text: &str, offset: usize) -> bool {
    let before = text.get(..offset).unwrap_or(text);
    before.rsplit('\n').next().is_some_and(|line| line.contains(['"', '\'']))
}

/// What is said where a list goes on that somebody thought was over.
const OPEN_LIST: &str = "the list that begins above has no end, or lacks a comma";

fn names_host(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("[exphost"))
}

fn broken(file: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let offset = error.span().map_or(text.len(), |span| span.start);
    let at = position(text, offset);
    let rest = text.get(offset..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let message = error.message();
    let about_value = message.starts_with("invalid") || message.starts_with("string values");
    let word: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
    let small = word.to_lowercase();
    let (message, hint) = if about_value && rest.trim().is_empty() && has_open_quote(text, offset) {
        ("the text has no closing quote", "write `key = \"text\"`")
    } else if about_value && ["true", "false"].contains(&small.as_str()) {
        ("true and false are written in small letters", "write true or false")
    } else if message.starts_with("missing comma between array elements") {
        (OPEN_LIST, "write a comma between the items, and ] behind the last")
    } else if rest.starts_with(',') {
        (
            "there is a comma after the value",
            "write a number with a point, and several values in [ ]",
        )
    } else if about_value && rest.trim_start().trim_start_matches('=').is_empty() {
        ("the value is missing", "write `key = value`, or remove the line")
    } else if about_value && rest.starts_with(char::is_alphabetic) {
        ("text must stand in quotes", "write `key = \"text\"`; true and false have no quotes")
    } else if message.starts_with("duplicate") {
        (message, "keep one of the two")
    } else {
        (message, "write `key = value`, with text in quotes and lists in [ ]")
    };
    Problem::error(format!("is not TOML: {message}"))
        .in_file(file)
        .at(at.line, at.column)
        .hint(hint)
}

/// The line and column of a byte; an offset beyond the end is the end.
fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
    }
}

struct Reader<'t> {
    text: &'t str,
    file: Arc<Path>,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &KeyPath) -> Map<String, Value> {
        let mut values = Map::new();
        for (key, value) in table {
            let path = path.key(key.get_ref().as_ref());
            self.place(&path, key.span().start, value.span().start);
            if let Some(value) = self.value(value, &path) {
                values.insert(key.get_ref().to_string(), value);
            }
        }
        values
    }

    fn place(&mut self, path: &KeyPath, key: usize, value: usize) {
        let origin = Origin::File {
            path: Arc::clone(&self.file),
            key: position(self.text, key),
            value: position(self.text, value),
        };
        self.origins.record(path.clone(), origin);
    }

    /// The value as JSON; one that JSON has no word for is a problem and left out.
    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &KeyPath) -> Option<Value> {
        let number = match value.get_ref() {
            DeValue::String(text) => return Some(Value::String(text.to_string())),
            DeValue::Boolean(flag) => return Some(Value::Bool(*flag)),
            DeValue::Datetime(time) => return Some(Value::String(time.to_string())),
            DeValue::Table(table) => return Some(Value::Object(self.table(table, path))),
            DeValue::Array(items) => {
                let mut values = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    self.place(&path, item.span().start, item.span().start);
                    // A place is kept for what cannot be read, so that the others keep their index.
                    values.push(self.value(item, &path).unwrap_or(Value::Null));
                }
                return Some(Value::Array(values));
            }
            DeValue::Integer(integer) => integer_value(integer),
            DeValue::Float(float) => float_value(float),
        };
        if number.is_none() {
            let at = position(self.text, value.span().start);
            self.problems.push(
                Problem::error("is a number that does not fit")
                    .in_file(&*self.file)
                    .at(at.line, at.column)
                    .key(path.to_string())
                    .hint("give a finite number; whole numbers have at most 64 bits"),
            );
        }
        number.map(Value::Number)
    }
}

fn integer_value(integer: &DeInteger<'_>) -> Option<Number> {
    let (digits, radix) = (integer.as_str(), integer.radix());
    let signed = i64::from_str_radix(digits, radix).ok().map(Number::from);
    signed.or_else(|| u64::from_str_radix(digits, radix).ok().map(Number::from))
}

fn float_value(float: &DeFloat<'_>) -> Option<Number> {
    float.as_str().parse().ok().and_then(Number::from_f64)
}

/// Reads one TOML value on its own, as `--set` gives it.
#[must_use]
pub fn parse_value(text: &str) -> Option<Value> {
    let value = DeValue::parse(text).ok()?;
    let mut reader = Reader {
        text,
        file: Path::new("").into(),
        origins: Origins::default(),
        problems: Vec::new(),
    };
    let value = reader.value(&value, &KeyPath::root())?;
    reader.problems.is_empty().then_some(value)
}

/// Reads a dotted key as TOML does, with quotes where a key has dots in it.
#[must_use]
pub fn parse_key(text: &str) -> Option<KeyPath> {
    if text.contains(char::is_control) || text.contains(['=', '#']) {
        return None;
    }
    let line = format!("{text} = 0");
    let table = DeTable::parse(&line).ok()?;
    let mut path = KeyPath::root();
    let mut here = table.get_ref();
    loop {
        let (key, value) = here.iter().next()?;
        path = path.key(key.get_ref().as_ref());
        match value.get_ref() {
            DeValue::Table(inner) => here = inner,
            _ => return Some(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Document {
        Document::parse("core", Path::new("core.toml"), text)
    }

    fn problems(text: &str) -> Vec<String> {
        parse(text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_become_json_with_places() {
        let document = parse(
            "a = 1\nb = 0x1F\nc = 18446744073709551615\nwhen = 2024-05-01T10:00:00Z\n\
             list = [\n  \"ü\", 2.5,\n]\n[t.u]\nx = true\n",
        );
        assert_eq!(
            Value::Object(document.table),
            json!({
                "a": 1, "b": 31, "c": 18_446_744_073_709_551_615_u64,
                "when": "2024-05-01T10:00:00Z", "list": ["ü", 2.5], "t": {"u": {"x": true}},
            })
        );
        assert_eq!(document.problems, []);
        let place = |path: KeyPath| match document.origins.get(&path) {
            Origin::File { key, value, .. } => ((key.line, key.column), (value.line, value.column)),
            other => panic!("{path} has the origin {other:?}"),
        };
        assert_eq!(place(KeyPath::of_keys(["b"])), ((2, 1), (2, 5)));
        assert_eq!(place(KeyPath::root().key("list").index(1)), ((6, 8), (6, 8)));
        assert_eq!(place(KeyPath::of_keys(["t", "u"])).0, (8, 4));
        assert_eq!(place(KeyPath::of_keys(["t", "u", "x"])), ((9, 1), (9, 5)));
    }

    #[test]
    fn every_broken_line_is_named_and_the_rest_is_read() {
        let document = parse("good = 1\nbad = \nworse = nonsense\nlast = 2\n");
        assert_eq!(document.table.get("good"), Some(&json!(1)));
        assert_eq!(document.table.get("last"), Some(&json!(2)));
        let lines: Vec<_> = document.problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [Some(2), Some(3)], "{:?}", document.problems);
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        assert_eq!(
            problems("a = 1\na = 2\n"),
            ["core.toml:2:1: error: is not TOML: duplicate key\n  hint: keep one of the two"]
        );
    }

    #[test]
    fn numbers_that_json_has_no_word_for_are_refused() {
        for text in ["x = nan", "x = -inf", "x = 99999999999999999999", "x = 1e999"] {
            assert_eq!(problems(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_utf_8_names_the_byte() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("core.toml");
        std::fs::write(&file, b"a = 1\nb = \"\xff\"\n").expect("written");
        let document = Document::read("core", &file);
        assert_eq!((document.problems[0].line, document.problems[0].column), (Some(2), Some(6)));
        let missing = Document::read("core", &directory.path().join("none.toml"));
        assert!(missing.problems[0].message.starts_with("cannot be read"));
    }

    #[test]
    fn keys_and_values_are_read_as_in_a_file() {
        let key = |text| parse_key(text).map(|path| path.to_string());
        assert_eq!(key("zmq.publisher.port").as_deref(), Some("zmq.publisher.port"));
        assert_eq!(key("map.\"a.b\".c").as_deref(), Some("map.\"a.b\".c"));
        for odd in ["", ".", "a..b", "a b", "[a]", "a\nb", "a = 1 #", "a #"] {
            assert_eq!(key(odd), None, "{odd:?}");
        }
        assert_eq!(parse_value("[1, 2]"), Some(json!([1, 2])));
        assert_eq!(parse_value("{a = 1}"), Some(json!({"a": 1})));
        assert_eq!(parse_value("plain text"), None);
        assert_eq!(parse_value("nan"), None);
    }
}
