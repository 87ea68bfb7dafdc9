//! Rules that several APIs share.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::stub::fault::Fault;

/// The signature of a text: what a real vendor makes with a key of its own.
pub fn sign(text: &str) -> String {
    let digest = Sha256::digest(format!("stub:{text}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The list under a name; an empty one when it is not there.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The string under a name; empty when it is not there.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Only these members.
///
/// # Errors
/// 400 for another one.
pub fn only(value: &Value, known: &[&str], place: &str) -> Result<(), Fault> {
    let members = value.as_object().into_iter().flatten().map(|(name, _)| name);
    match members.into_iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Fault::invalid(format!("{place}{name}: Extra inputs are not permitted"))),
        None => Ok(()),
    }
}

/// Calls and results belong together: each call of a turn has one result in the very next one, and no result is
/// without its call.
///
/// # Errors
/// 400 naming the id.
pub fn paired(calls: &[String], results: &[String]) -> Result<(), Fault> {
    if let Some(id) = calls.iter().find(|id| !results.contains(id)) {
        return Err(Fault::invalid(format!(
            "`tool_use` ids were found without `tool_result` blocks immediately after: {id}"
        )));
    }
    if let Some(id) = results.iter().find(|id| !calls.contains(id)) {
        return Err(Fault::invalid(format!(
            "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a \
             corresponding `tool_use` block in the previous message."
        )));
    }
    if results.len() != calls.len() {
        return Err(Fault::invalid("each tool_use must have a single result"));
    }
    Ok(())
}

/// A tool's schema is that of an object.
///
/// # Errors
/// 400.
pub fn object_schema(schema: &Value, place: &str) -> Result<(), Fault> {
    if schema.get("type").and_then(Value::as_str) == Some("object") {
        return Ok(());
    }
    Err(Fault::invalid(format!("{place}.type: Input should be 'object'")))
}

/// What a pointer leads to; null when there is nothing.
pub fn within<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    value.pointer(pointer).unwrap_or(NOTHING)
}

/// Gives an object a member.
pub fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
