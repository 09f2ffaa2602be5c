//! One event, ready to be written, and its two forms.
//!
//! Whatever is in an event, it makes exactly one line: control characters are escaped in either
//! form, so that a message can neither forge a line nor steer a terminal.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use jiff::Zoned;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tracing::Level;
use tracing::field::{Field, Visit};

/// Longest text of one value; what is beyond is cut off and counted.
const LONGEST_TEXT: usize = 64 * 1024;

/// What is known of an event.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: Zoned,
    pub(super) level: Level,
    /// `None` for the host itself.
    pub(super) service: Option<&'a str>,
    pub(super) target: &'a str,
    pub(super) spans: &'a str,
    pub(super) values: &'a Values,
}

impl Line<'_> {
    /// For files: everything, with the full time.
    pub(super) fn text(&self) -> String {
        let mut out = String::with_capacity(160);
        let _ = write!(out, "{} {:<5} ", self.iso_time(), short_name(self.level));
        escape(&mut out, self.service.unwrap_or("exphost"));
        out.push(' ');
        escape(&mut out, self.target);
        out.push_str(": ");
        self.body(&mut out, Style::new());
        out.push('\n');
        out
    }

    /// For people: the time of day, the name padded to `width`, the target only at debug and below.
    pub(super) fn console(&self, width: usize, color: bool) -> String {
        let style = |style: Style| if color { style } else { Style::new() };
        let (dim, bold) = (style(Style::new().dimmed()), style(Style::new().bold()));
        let paint = style(level_style(self.level));
        let mut name = String::new();
        escape(&mut name, self.service.unwrap_or("exphost"));
        let mut out = String::with_capacity(160);
        let _ = write!(
            out,
            "{dim}{}{dim:#} {paint}{:<5}{paint:#} {bold}{name:<width$}{bold:#}  ",
            self.time.strftime("%H:%M:%S%.3f"),
            short_name(self.level),
        );
        if self.level >= Level::DEBUG {
            let _ = write!(out, "{dim}");
            escape(&mut out, self.target);
            let _ = write!(out, ":{dim:#} ");
        }
        self.body(&mut out, dim);
        out.push('\n');
        out
    }

    fn body(&self, out: &mut String, dim: Style) {
        if !self.spans.is_empty() {
            let _ = write!(out, "{dim}");
            escape(out, self.spans);
            let _ = write!(out, ":{dim:#} ");
        }
        escape(out, &self.values.message);
        for (name, value) in &self.values.fields {
            let _ = write!(out, " {dim}{}={dim:#}", Escaped(name));
            value.write_text(out);
        }
    }

    /// One JSON object and a newline.
    pub(super) fn json(&self) -> String {
        let object = JsonLine {
            time: self.iso_time(),
            level: long_name(self.level),
            service: self.service,
            target: self.target,
            message: &self.values.message,
            fields: &self.values.fields,
            spans: Some(self.spans).filter(|spans| !spans.is_empty()),
        };
        // Text and numbers always serialise; should that ever fail, the message is still there.
        let mut out = serde_json::to_string(&object).unwrap_or_else(|error| {
            serde_json::json!({ "message": self.values.message, "error": error.to_string() })
                .to_string()
        });
        out.push('\n');
        out
    }

    fn iso_time(&self) -> String {
        self.time.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
    }
}

fn short_name(level: Level) -> &'static str {
    match level {
        Level::WARN => "WARN",
        other => long_name(other),
    }
}

/// The name as the command line and the environment take it.
fn long_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn level_style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => AnsiColor::Magenta.on_default(),
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: &'static str,
    service: Option<&'a str>,
    target: &'a str,
    message: &'a str,
    #[serde(serialize_with = "as_object")]
    fields: &'a [(&'static str, FieldValue)],
    spans: Option<&'a str>,
}

fn as_object<S: Serializer>(
    fields: &[(&'static str, FieldValue)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (name, value) in fields {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

/// One field's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum FieldValue {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl FieldValue {
    /// As it stands in a line of text: quoted where it would not be one word otherwise.
    pub(super) fn write_text(&self, out: &mut String) {
        let _ = match self {
            Self::Text(text) => {
                write_word(out, text);
                Ok(())
            }
            Self::Signed(number) => write!(out, "{number}"),
            Self::Unsigned(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{number}"),
            Self::Bool(truth) => write!(out, "{truth}"),
        };
    }
}

fn write_word(out: &mut String, text: &str) {
    let is_quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    if is_quoted || !(text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '"')) {
        escape(out, text);
        return;
    }
    out.push('"');
    for part in text.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(head) => {
                escape(out, head);
                out.push('\\');
                out.push_str(&part[head.len()..]);
            }
            None => escape(out, part),
        }
    }
    out.push('"');
}

/// Appends `text` with everything escaped that would end the line, steer a terminal, or turn the
/// direction of what follows.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            '\u{2028}'
            | '\u{2029}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        escape(&mut text, self.0);
        f.write_str(&text)
    }
}

/// The values of an event or a span, gathered.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, FieldValue)>,
}

impl Values {
    fn put(&mut self, field: &Field, value: FieldValue) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        if name == "message" {
            self.message = match value {
                FieldValue::Text(text) => text,
                other => {
                    let mut text = String::new();
                    other.write_text(&mut text);
                    text
                }
            };
        } else if let Some(known) = self.fields.iter_mut().find(|(known, _)| *known == name) {
            known.1 = value;
        } else {
            self.fields.push((name, value));
        }
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let value = if value.is_finite() {
            FieldValue::Float(value)
        } else {
            FieldValue::Text(value.to_string())
        };
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, FieldValue::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, FieldValue::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, FieldValue::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Limited::default();
        let _ = write!(text, "{value:?}");
        self.put(field, FieldValue::Text(text.finish()));
    }
}

/// Takes text up to the limit and counts the rest.
#[derive(Default)]
struct Limited {
    text: String,
    omitted: usize,
}

impl Limited {
    fn finish(mut self) -> String {
        if self.omitted > 0 {
            let _ = write!(self.text, "… ({} bytes more)", self.omitted);
        }
        self.text
    }
}

impl fmt::Write for Limited {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = if self.omitted > 0 { 0 } else { LONGEST_TEXT - self.text.len() };
        let kept = part.floor_char_boundary(room);
        self.text.push_str(&part[..kept]);
        self.omitted += part.len() - kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIRD: &str =
        "a\n2026-01-01 ERROR fake \"quoted\" \\ \u{1b}[31mred\u{0} \r\u{85}\u{202e}ü";

    fn with<R>(level: Level, values: &Values, spans: &str, f: impl Fn(&Line<'_>) -> R) -> R {
        let time = "2026-03-04T12:04:31.1234567+01:00[Europe/Berlin]".parse().unwrap();
        let service = Some("heartbeat");
        f(&Line { time, level, service, target: "heartbeat::beat", spans, values })
    }

    fn values(message: &str, fields: Vec<(&'static str, FieldValue)>) -> Values {
        Values { message: message.to_owned(), fields }
    }

    #[test]
    fn the_forms_for_people() {
        let values = values(
            "sent",
            vec![
                ("sequence", FieldValue::Unsigned(7)),
                ("topic", FieldValue::Text("a b".into())),
                ("debug", FieldValue::Text("\"x y\"".into())),
                ("empty", FieldValue::Text(String::new())),
                ("ok", FieldValue::Bool(true)),
            ],
        );
        let fields = r#"sequence=7 topic="a b" debug="x y" empty="" ok=true"#;
        with(Level::INFO, &values, "", |line| {
            assert_eq!(
                line.console(11, false),
                format!("12:04:31.123 INFO  heartbeat    sent {fields}\n")
            );
            assert_eq!(
                line.text(),
                format!(
                    "2026-03-04T12:04:31.123456+01:00 INFO  heartbeat heartbeat::beat: sent {fields}\n"
                )
            );
        });
        with(Level::DEBUG, &values, "outer{n=1}:inner", |line| {
            assert_eq!(
                line.console(9, false),
                format!(
                    "12:04:31.123 DEBUG heartbeat  heartbeat::beat: outer{{n=1}}:inner: sent {fields}\n"
                )
            );
        });
        with(Level::WARN, &values, "", |line| {
            assert!(line.console(9, true).contains("\u{1b}[33mWARN \u{1b}[0m"));
            assert!(!line.console(9, false).contains('\u{1b}'));
        });
    }

    #[test]
    fn no_text_makes_a_second_line_or_steers_the_terminal() {
        let values = values(WEIRD, vec![("weird", FieldValue::Text(WEIRD.into()))]);
        with(Level::ERROR, &values, WEIRD, |line| {
            for text in [line.text(), line.console(9, false), line.json()] {
                let body = text.strip_suffix('\n').unwrap();
                assert!(!body.contains(['\n', '\r', '\u{1b}', '\u{0}']), "{body}");
            }
            for text in [line.text(), line.console(9, false)] {
                assert!(!text.contains(['\u{85}', '\u{202e}']), "{text}");
            }
        });
    }

    #[test]
    fn json_gives_every_text_back() {
        let values = values(
            WEIRD,
            vec![
                ("weird", FieldValue::Text(WEIRD.into())),
                ("big", FieldValue::Unsigned(u64::MAX)),
                ("low", FieldValue::Signed(i64::MIN)),
                ("part", FieldValue::Float(0.5)),
            ],
        );
        let text = with(Level::WARN, &values, "", |line| line.json());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["message"], WEIRD);
        assert_eq!(json["fields"]["weird"], WEIRD);
        assert_eq!(json["fields"]["big"], u64::MAX);
        assert_eq!(json["fields"]["low"], i64::MIN);
        assert_eq!(json["fields"]["part"], 0.5);
        assert_eq!(json["level"], "WARNING");
        assert_eq!(json["service"], "heartbeat");
        assert_eq!(json["target"], "heartbeat::beat");
        assert_eq!(json["time"], "2026-03-04T12:04:31.123456+01:00");
        assert!(json["spans"].is_null());
        assert_eq!(json.as_object().unwrap().len(), 7);
    }

    #[test]
    fn endless_text_is_cut_at_a_character() {
        let mut limited = Limited::default();
        limited.write_str(&"a".repeat(LONGEST_TEXT - 1)).unwrap();
        limited.write_str("üb").unwrap();
        limited.write_str("c").unwrap();
        assert_eq!(limited.omitted, 4);
        assert!(limited.finish().ends_with("a… (4 bytes more)"));
    }
}
