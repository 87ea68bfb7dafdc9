//! One log line as one flat JSON object: `timestamp`, `level`, `message`, the event's fields, the spans' fields.
//!
//! Why not the library's own: it nests the spans' fields, and what an operator filters by, `request_id` above
//! all, should have one name at one level on every line.
//!
//! Invariants: one line per event, whatever is in it; an event's field wins over a span's, an inner span's over
//! an outer one's; a field that takes a name in use gets a `_` behind it.

use std::error::Error;
use std::fmt::{self, Debug};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::rfc3339;

/// Formats events as flat JSON objects.
pub(super) struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(rfc3339::MAX_MS);
        line.put("timestamp", rfc3339::format_ms(now_ms));
        line.put("level", event.metadata().level().as_str());
        // Holds the place after the level: fields are recorded in any order.
        line.put("message", "");
        event.record(&mut line);
        let target = event.metadata().target();
        // Where a line comes from is of interest only when it is not from here.
        if !target.starts_with("llm_gateway") {
            line.put("target", target);
        }
        let spans = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current());
        for span in spans.iter().flat_map(|span| span.scope()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            line.put_missing(fields.map_or("", |fields| fields.fields.as_str()));
        }
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

/// The object under construction.
#[derive(Default)]
struct Line(Map<String, Value>);

impl Line {
    /// Adds a field under its own name, or behind a `_` when that is in use.
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let mut name = name.trim_start_matches("r#").to_owned();
        while self.0.contains_key(&name) {
            name.push('_');
        }
        self.0.insert(name, value.into());
    }

    /// Adds what a span recorded, a JSON object, where it adds something.
    fn put_missing(&mut self, fields: &str) {
        if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
            for (name, value) in fields {
                self.0.entry(name).or_insert(value);
            }
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.insert("message".to_owned(), value.into());
        } else {
            self.put(field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }
}
