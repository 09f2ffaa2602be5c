//! The layer that turns events into lines and sends each where it belongs.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use jiff::Zoned;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::console::Console;
use super::files::Files;
use super::line::{Line, Values};
use super::scope;
use super::settings::Format;

/// Names longer than this do not widen the column for everybody.
const WIDEST_NAME: usize = 20;

/// Where lines go. The console always exists, for words about logging itself; whether events are
/// written to it is another question.
pub(super) struct Output {
    pub(super) files: Option<Arc<Files>>,
    pub(super) file_format: Format,
    pub(super) console: Arc<Console>,
    pub(super) console_format: Option<Format>,
    pub(super) color: bool,
    /// Width of the widest name so far.
    pub(super) width: AtomicUsize,
}

impl Output {
    fn write(&self, line: &Line<'_>) {
        let json = std::cell::OnceCell::new();
        let json = || json.get_or_init(|| line.json()).as_bytes();
        if let Some(files) = &self.files {
            let trouble = match self.file_format {
                Format::Text => files.write(line.service, line.text().as_bytes(), Instant::now()),
                Format::Json => files.write(line.service, json(), Instant::now()),
            };
            if let Some(trouble) = trouble {
                self.console.notice(&trouble);
            }
        }
        match self.console_format {
            None => {}
            Some(Format::Json) => self.console.write_line(json()),
            Some(Format::Text) => {
                let name = line.service.unwrap_or("exphost").chars().count().min(WIDEST_NAME);
                let width = self.width.fetch_max(name, Ordering::Relaxed).max(name);
                self.console.write_line(line.console(width, self.color).as_bytes());
            }
        }
    }
}

/// A host span's fields, as text.
struct SpanFields(String);

impl SpanFields {
    fn add(&mut self, values: &Values) {
        for (name, value) in &values.fields {
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            let _ = write!(self.0, "{name}=");
            value.write_text(&mut self.0);
        }
    }
}

impl<S> Layer<S> for Output
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut values = Values::default();
        attributes.record(&mut values);
        let mut fields = SpanFields(String::new());
        fields.add(&values);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let mut values = Values::default();
        record.record(&mut values);
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<SpanFields>()
        {
            fields.add(&values);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        scope::with_current(|service, plugin_spans| {
            let mut spans = String::new();
            for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
                push_span(&mut spans, span.name());
                if let Some(fields) = span.extensions().get::<SpanFields>()
                    && !fields.0.is_empty()
                {
                    let _ = write!(spans, "{{{}}}", fields.0);
                }
            }
            if !plugin_spans.is_empty() {
                push_span(&mut spans, plugin_spans);
            }
            self.write(&Line {
                time: Zoned::now(),
                level: *event.metadata().level(),
                service,
                target: event.metadata().target(),
                spans: &spans,
                values: &values,
            });
        });
    }
}

fn push_span(spans: &mut String, span: &str) {
    if !spans.is_empty() {
        spans.push(':');
    }
    spans.push_str(span);
}
