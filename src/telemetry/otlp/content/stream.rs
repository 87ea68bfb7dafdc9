//! A stream, put together: what its deltas say of a choice is the message of that choice.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Said;

/// Choices of a stream, and entries of a list in one, at most. Each delta is looked for among them, and who wrote it may
/// not mean well.
const LIST_MAX: usize = 512;
/// Fields that are given whole each time, and not in pieces.
const WORDS: [&str; 5] = ["format", "id", "role", "status", "type"];

/// True for what is a stream.
pub(super) fn is_one(body: &str) -> bool {
    body.starts_with("data:")
}

/// What it says; `None` where some of it cannot be read.
pub(super) fn whole(body: &str) -> Option<Said> {
    let mut choices = BTreeMap::new();
    let mut error = None;
    for event in body.split("\n\n") {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        let data = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n");
        if matches!(data.as_str(), "" | "[DONE]") {
            continue;
        }
        let mut said: Value = serde_json::from_str(&data).ok()?;
        match (said.get_mut("error").map(Value::take), said.get_mut("choices").map(Value::take)) {
            // It is the end of a stream.
            (Some(told), _) if !told.is_null() => error = Some(told),
            (_, Some(Value::Array(deltas))) => {
                for delta in deltas {
                    take(&mut choices, delta)?;
                }
            }
            _ => return None,
        }
    }
    Some(Said { choices: choices.into_values().collect(), error })
}

/// Takes what is said of one choice.
fn take(choices: &mut BTreeMap<u64, Value>, mut delta: Value) -> Option<()> {
    let index = delta.get("index").and_then(Value::as_u64).unwrap_or(0);
    if choices.len() >= LIST_MAX && !choices.contains_key(&index) {
        return None;
    }
    let empty = || json!({"message": Map::new(), "finish_reason": null});
    let choice = choices.entry(index).or_insert_with(empty);
    if let Some(said) = delta.get_mut("delta").map(Value::take) {
        add("", choice.get_mut("message")?, said)?;
    }
    if let Some(reason) = delta.get_mut("finish_reason").map(Value::take).filter(|reason| !reason.is_null()) {
        *choice.get_mut("finish_reason")? = reason;
    }
    Some(())
}

/// Adds what came to what was said: texts go on, entries of a list are told apart by their `index`. `None` where the two
/// do not fit together.
fn add(name: &str, said: &mut Value, more: Value) -> Option<()> {
    match (said, more) {
        (_, Value::Null) => {}
        (said @ Value::Null, more @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => *said = more,
        (said @ Value::Null, more @ Value::Object(_)) => {
            *said = Map::new().into();
            add(name, said, more)?;
        }
        (said @ Value::Null, more @ Value::Array(_)) => {
            *said = Vec::<Value>::new().into();
            add(name, said, more)?;
        }
        (Value::String(said), Value::String(more)) => {
            if !WORDS.contains(&name) {
                // Some vendors give the name of a call with every piece of it.
                if name != "name" || *said != more {
                    said.push_str(&more);
                }
            } else if !more.is_empty() {
                *said = more;
            }
        }
        (Value::Object(said), Value::Object(more)) => {
            for (name, more) in more {
                add(&name, said.entry(name.as_str()).or_insert(Value::Null), more)?;
            }
        }
        (Value::Array(said), Value::Array(more)) => {
            for more in more {
                list(said, more)?;
            }
        }
        (said @ (Value::Number(_) | Value::Bool(_)), more @ (Value::Number(_) | Value::Bool(_))) => {
            *said = more;
        }
        _ => return None,
    }
    Some(())
}

/// Adds an entry to a list, or to the entry that it goes on with.
fn list(said: &mut Vec<Value>, more: Value) -> Option<()> {
    let index = more.get("index").and_then(Value::as_u64);
    let same = |entry: &Value| entry.get("index").and_then(Value::as_u64) == index;
    let found = index.and_then(|_| said.iter().position(same));
    if let Some(entry) = found.and_then(|at| said.get_mut(at)) {
        return add("", entry, more);
    }
    (said.len() < LIST_MAX).then(|| said.push(more))
}
