//! Deadlines of attempts: a provider's own, and those of some of its models.

use serde_json::{Value, json};

use super::effective::ms;
use super::reader::Reader;
use super::settings::{ModelTimeouts, Timeouts};

/// Those of a row: its own, and those of its models.
pub fn read(row: &Value) -> (Timeouts, Vec<ModelTimeouts>) {
    let read = Reader::new(row, "providers.*.");
    let own = Timeouts {
        connect: read.duration("timeouts.connect"),
        head: read.duration("timeouts.head"),
        first_event: read.duration("timeouts.first_event"),
        idle: read.duration("timeouts.idle"),
        total: read.duration("timeouts.total"),
    };
    let listed = row.get("model_timeouts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entry = |item: &Value| {
        let read = Reader::new(item, "providers.*.model_timeouts.#.");
        let or = |key: &str, own| if read.given(key).is_some() { read.duration(key) } else { own };
        ModelTimeouts {
            models: read.names("models").unwrap_or_default(),
            timeouts: Timeouts {
                connect: or("connect", own.connect),
                head: or("head", own.head),
                first_event: or("first_event", own.first_event),
                idle: or("idle", own.idle),
                total: or("total", own.total),
            },
        }
    };
    (own, listed.iter().map(entry).collect())
}

/// As they are shown.
pub fn shown(timeouts: &Timeouts) -> Value {
    json!({
        "connect": ms(timeouts.connect),
        "head": ms(timeouts.head),
        "first_event": ms(timeouts.first_event),
        "idle": ms(timeouts.idle),
        "total": ms(timeouts.total),
    })
}

/// Those of models as they are shown.
pub fn models_shown(all: &[ModelTimeouts]) -> Value {
    let shown = |entry: &ModelTimeouts| {
        let mut shown = shown(&entry.timeouts);
        if let Some(fields) = shown.as_object_mut() {
            fields.shift_insert(0, "models".to_owned(), json!(entry.models));
        }
        shown
    };
    all.iter().map(shown).collect()
}
