//! One log line as one flat JSON object: `timestamp`, `level`, `message`, the event's fields, the spans' fields.
//!
//! Why not the library's own: it nests the spans' fields, and what an operator filters by, `request_id` above
//! all, should have one name at one level on every line.
//!
//! Invariants: one line per event, whatever is in it; an event's field wins over a span's, an inner span's over
//! an outer one's; a field that takes a name in use gets a `_` behind it.

use std::error::Error;
use std::fmt::{self, Debug, Write};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::rfc3339;

/// Names that every line has.
const OURS: [&str; 3] = ["timestamp", "level", "message"];

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
        let mut line = Line::new(event.metadata().level().as_str());
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
        line.text.push_str("}\n");
        writer.write_str(&line.text)
    }
}

/// The object under construction, straight as text: there is a line for every call.
struct Line {
    text: String,
    /// Where the message stands in it: before all fields, in whatever order they are recorded.
    message: Range<usize>,
    /// One bit for each name in use: a name whose bit is not set is new, and is looked for nowhere.
    marks: u64,
}

/// The bit of a name. Names differ in their length or at one of their ends, mostly.
fn mark(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let end = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
    1 << ((end(bytes.first()) + 2 * end(bytes.last()) + 29 * bytes.len()) % 64)
}

/// The name of a field; one that is a word of the language stands in the source with `r#` before it.
fn name(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

impl Line {
    /// A line of this moment that says nothing yet.
    fn new(level: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(rfc3339::MAX_MS);
        // The line of a call fits into it.
        let mut text = String::with_capacity(896);
        text.push_str("{\"timestamp\":\"");
        rfc3339::push_ms(now_ms, &mut text);
        text.push_str("\",\"level\":\"");
        text.push_str(level);
        text.push_str("\",\"message\":\"");
        let message = text.len()..text.len();
        text.push('"');
        Self { text, message, marks: OURS.iter().fold(0, |marks, name| marks | mark(name)) }
    }

    /// True for a name in use, escaped. The line itself tells which are: within texts no quote stands bare, and no value
    /// is an object.
    fn has(&self, name: &str) -> bool {
        let stands = |(at, _): (usize, &str)| {
            let (before, rest) = self.text.split_at(at);
            before.ends_with(",\"") && rest.get(name.len()..).is_some_and(|rest| rest.starts_with("\":"))
        };
        self.marks & mark(name) != 0 && (OURS.contains(&name) || self.text.match_indices(name).any(stands))
    }

    /// Begins a field under its own name, or behind a `_` when that is in use.
    fn begin(&mut self, name: &str) {
        if is_plain(name.as_bytes()) && self.marks & mark(name) == 0 {
            return self.begin_new(name);
        }
        let mut name = escaped(name);
        while self.has(&name) {
            name.push('_');
        }
        self.begin_new(&name);
    }

    /// Begins a field of a name that is not in use, escaped.
    fn begin_new(&mut self, name: &str) {
        self.marks |= mark(name);
        self.text.push_str(",\"");
        self.text.push_str(name);
        self.text.push_str("\":");
    }

    /// Adds a text.
    fn put(&mut self, name: &str, value: &str) {
        self.begin(name);
        self.text.push('"');
        escape(value, &mut self.text);
        self.text.push('"');
    }

    /// Adds what is no text.
    fn put_as_is(&mut self, name: &str, value: &str) {
        self.begin(name);
        self.text.push_str(value);
    }

    /// Adds what a span recorded, a JSON object, where it adds something.
    fn put_missing(&mut self, fields: &str) {
        if let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(fields) {
            for (name, value) in fields {
                if !self.has(&escaped(&name)) {
                    self.put_as_is(&name, &value.to_string());
                }
            }
        }
    }

    /// Says this, escaped, in place of what was said.
    fn say(&mut self, message: &str) {
        self.text.drain(self.message.clone());
        self.text.insert_str(self.message.start, message);
        self.message.end = self.message.start + message.len();
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match name(field) {
            "message" => self.say(&escaped(value)),
            name => self.put(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail, and what fails to show itself is shown as far as it came.
        if name(field) == "message" {
            let mut message = String::new();
            let _ = write!(Escaping(&mut message), "{value:?}");
            self.say(&message);
        } else {
            self.begin(name(field));
            self.text.push('"');
            let _ = write!(Escaping(&mut self.text), "{value:?}");
            self.text.push('"');
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_as_is(name(field), if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_as_is(name(field), itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_as_is(name(field), itoa::Buffer::new().format(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put_as_is(name(field), &Value::from(value).to_string());
    }
}

/// Writes into a text of JSON.
struct Escaping<'t>(&'t mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// A text as it stands in one of JSON.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape(text, &mut escaped);
    escaped
}

/// Adds a text to one of JSON: quotes, backslashes and control characters are escaped.
pub(super) fn escape(text: &str, out: &mut String) {
    if is_plain(text.as_bytes()) {
        return out.push_str(text);
    }
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        // A byte below 0x80 is a whole character.
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = escaped.chars();
        match characters.next() {
            Some('\n') => out.push_str("\\n"),
            Some('\t') => out.push_str("\\t"),
            Some('\r') => out.push_str("\\r"),
            Some(character @ ('"' | '\\')) => out.extend(['\\', character]),
            Some(control) => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// True when nothing is to be escaped, as in almost every name and value: eight bytes are looked at in one step.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    if !words.iter().all(|word| is_plain_word(*word)) {
        return false;
    }
    match text.last_chunk::<8>() {
        _ if rest.is_empty() => true,
        // The last word overlaps the one before.
        Some(last) => is_plain_word(*last),
        None => rest.iter().all(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)),
    }
}

fn is_plain_word(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let word = u64::from_ne_bytes(word);
    // Sets the top bit of a byte that is below `limit`, perhaps also of ones after it, and of none when no byte is.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & TOPS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_escaped_is_seen_wherever_it_stands() {
        for length in 0..=20 {
            // The neighbours are those that an arithmetic of eight bytes could take for others.
            for neighbour in ["a", " ", "!", "#", "[", "]", "\u{7f}", "\u{a2}", "\u{dc}"] {
                let plain: String = std::iter::repeat_n(neighbour, length).collect();
                assert!(is_plain(plain.as_bytes()), "{plain:?}");
                for special in ["\"", "\\", "\0", "\u{1f}", "\n"] {
                    for at in 0..=length {
                        let (before, after) = (neighbour.repeat(at), neighbour.repeat(length - at));
                        let text = [&before, special, &after].concat();
                        assert!(!is_plain(text.as_bytes()), "{text:?}");
                        let read: String = serde_json::from_str(&format!("\"{}\"", escaped(&text))).unwrap();
                        assert_eq!(read, text);
                    }
                }
            }
        }
    }
}
