//! The values of an event, written out, and their form at the boundary.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::ops::Range;

use tracing::field::{Field, Visit};

use crate::abi::{FieldKind, LogField, RStr};

/// Values in the order in which they came. All text is in one buffer.
#[derive(Default)]
pub(super) struct Values {
    text: String,
    values: Vec<Value>,
}

struct Value {
    index: usize,
    kind: FieldKind,
    bits: u64,
    text: Range<usize>,
}

impl Values {
    /// Adds a text.
    pub(super) fn text(&mut self, index: usize, text: impl fmt::Display) {
        let start = self.text.len();
        // A `Display` that fails has said what it could.
        let _ = write!(self.text, "{text}");
        let text = start..self.text.len();
        self.values.push(Value { index, kind: FieldKind::Text, bits: 0, text });
    }

    fn bits(&mut self, field: &Field, kind: FieldKind, bits: u64) {
        self.values.push(Value { index: field.index(), kind, bits, text: 0..0 });
    }

    /// The values as they cross the boundary.
    pub(super) fn fields(&self) -> Vec<LogField<'_>> {
        let field = |value: &Value| LogField {
            index: u32::try_from(value.index).unwrap_or(u32::MAX),
            kind: value.kind.code(),
            bits: value.bits,
            text: RStr::from_str(&self.text[value.text.clone()]),
        };
        self.values.iter().map(field).collect()
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.bits(field, FieldKind::Float, value.to_bits());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bits(field, FieldKind::Signed, value.cast_unsigned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bits(field, FieldKind::Unsigned, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bits(field, FieldKind::Bool, u64::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.index(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field.index(), Chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.index(), format_args!("{value:?}"));
    }
}

/// An error and what caused it.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
