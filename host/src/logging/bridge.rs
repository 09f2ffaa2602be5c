//! The host's end of the plugins' log.

/// A place in a plugin's code that logs.
#[derive(Debug)]
pub struct Callsite<'a> {
    /// `tracing`'s name of it.
    pub name: &'a str,
    /// Usually the module path.
    pub target: &'a str,
    /// 1 error … 5 trace.
    pub level: u8,
    /// Source file.
    pub file: Option<&'a str>,
    /// Line in it.
    pub line: Option<u32>,
    /// Names of the fields, in order.
    pub fields: Vec<&'a str>,
}

/// A field's value.
#[derive(Debug)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A floating-point number.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

/// Makes a callsite known.
#[must_use]
pub fn register(_callsite: &Callsite<'_>) -> u64 {
    0
}

/// Whether events of a callsite are wanted.
#[must_use]
pub fn enabled(_service: &str, _callsite: u64) -> bool {
    true
}

/// Logs an event.
pub fn emit(_service: &str, _callsite: u64, _spans: &str, _fields: &[(usize, Value<'_>)]) {}
