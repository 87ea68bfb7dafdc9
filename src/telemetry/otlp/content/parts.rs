//! Messages, their parts, and tools, in the words of the conventions' schemas.

use serde_json::{Map, Value, json};

use crate::request_log::{Rules, keep};

type Fields = Map<String, Value>;

/// A message of a request, or of a choice; `None` for what is none.
pub(super) fn message(message: &Value, rules: &Rules) -> Option<Value> {
    let fields = message.as_object()?;
    let role = fields.get("role")?.as_str()?;
    let mut said = json!({"role": role, "parts": parts(fields, role, rules)?});
    if let Some(name) = text(fields, "name") {
        put(&mut said, "name", name);
    }
    Some(said)
}

/// What a choice says; `None` for what is none.
pub(super) fn choice(choice: &Value, rules: &Rules) -> Option<Value> {
    let fields = choice.get("message")?.as_object()?;
    let role = text(fields, "role").unwrap_or("assistant");
    let mut said = json!({"role": role, "parts": parts(fields, role, rules)?});
    // One that never came is not made up.
    match choice.get("finish_reason").and_then(Value::as_str) {
        Some("tool_calls" | "function_call") => put(&mut said, "finish_reason", "tool_call"),
        Some(reason) => put(&mut said, "finish_reason", reason),
        None => {}
    }
    Some(said)
}

/// The definition of a tool: what it is, with its own fields beside its type.
pub(super) fn tool(tool: &Value) -> Value {
    let kind = tool.get("type").and_then(Value::as_str).unwrap_or("function");
    let nested = tool.get(kind).and_then(Value::as_object);
    let Some(fields) = nested.or_else(|| tool.as_object()) else { return tool.clone() };
    let mut defined = json!({"type": kind});
    for (name, value) in fields.iter().filter(|(name, _)| *name != "type") {
        put(&mut defined, name, value.clone());
    }
    defined
}

/// What a message holds: thoughts first, then what it says, then what it calls.
fn parts(fields: &Fields, role: &str, rules: &Rules) -> Option<Vec<Value>> {
    let mut parts: Vec<Value> = reasoning(fields)
        .map(|content| json!({"type": "reasoning", "content": content}))
        .into_iter()
        .collect();
    let content = fields.get("content").unwrap_or(&Value::Null);
    match content {
        content if matches!(role, "tool" | "function") => {
            let mut result = json!({"type": "tool_call_response"});
            if let Some(id) = text(fields, "tool_call_id") {
                put(&mut result, "id", id);
            }
            put(&mut result, "response", content.clone());
            parts.push(result);
        }
        Value::Null => {}
        // A model that only calls says nothing beside it.
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => parts.push(json!({"type": "text", "content": text})),
        Value::Array(list) => parts.extend(list.iter().map(part)),
        _ => return None,
    }
    if let Some(refusal) = text(fields, "refusal") {
        parts.push(json!({"type": "refusal", "content": refusal}));
    }
    if let Some(audio) = fields.get("audio").and_then(Value::as_object) {
        parts.push(spoken(audio));
    }
    if let Some(calls) = fields.get("tool_calls").and_then(Value::as_array) {
        parts.extend(calls.iter().map(|one| call(one, rules)));
    }
    if let Some(function) = fields.get("function_call").filter(|function| function.is_object()) {
        parts.push(call(&json!({"type": "function", "function": function}), rules));
    }
    Some(parts)
}

/// What a model thought, by whatever name; vendors give it under two of them at once.
fn reasoning(fields: &Fields) -> Option<String> {
    let told = ["reasoning", "reasoning_content"].into_iter().find_map(|name| text(fields, name));
    let readable = |detail: &Value| {
        let text = detail.get("text").or_else(|| detail.get("summary"));
        text.and_then(Value::as_str).map(str::to_owned)
    };
    let details = fields.get("reasoning_details").and_then(Value::as_array).into_iter().flatten();
    let said = told.map_or_else(|| details.filter_map(readable).collect(), str::to_owned);
    Some(said).filter(|said| !said.is_empty())
}

/// A part of a message's content.
fn part(part: &Value) -> Value {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let inner = part.get(kind).and_then(Value::as_object);
    let read = match (kind, inner) {
        ("text", _) => {
            part.get("text").and_then(Value::as_str).map(|text| json!({"type": "text", "content": text}))
        }
        ("refusal", _) => {
            part.get("refusal").and_then(Value::as_str).map(|text| json!({"type": "refusal", "content": text}))
        }
        ("image_url", Some(image)) => text(image, "url").map(|url| at(url, "image", image, &["url"])),
        ("input_audio", Some(audio)) => text(audio, "data").map(|data| {
            let format = text(audio, "format").unwrap_or("*");
            json!({"type": "blob", "mime_type": format!("audio/{format}"), "modality": "audio", "content": data})
        }),
        ("file", Some(file)) => attached(file),
        _ => None,
    };
    // Whatever else it is keeps its words: the schema takes any object with a type.
    read.unwrap_or_else(|| {
        if part.get("type").is_some_and(Value::is_string) {
            part.clone()
        } else {
            json!({"type": "unknown", "content": part})
        }
    })
}

/// A file that came with a message.
fn attached(file: &Fields) -> Option<Value> {
    if let Some(id) = text(file, "file_id") {
        return Some(beside(
            json!({"type": "file", "modality": "document", "file_id": id}),
            file,
            &["file_id"],
        ));
    }
    text(file, "file_data").map(|data| at(data, "document", file, &["file_data"]))
}

/// What an address leads to, or holds.
fn at(url: &str, modality: &str, fields: &Fields, read: &[&str]) -> Value {
    let data = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
    let part = match data {
        Some((kind, content)) => {
            json!({"type": "blob", "mime_type": kind, "modality": modality, "content": content})
        }
        // One that was masked, too: its words say so.
        None => json!({"type": "uri", "modality": modality, "uri": url}),
    };
    beside(part, fields, read)
}

/// What a model spoke.
fn spoken(audio: &Fields) -> Value {
    match text(audio, "data") {
        Some(data) => beside(
            json!({"type": "blob", "modality": "audio", "content": data}),
            audio,
            &["data", "expires_at"],
        ),
        None => beside(json!({"type": "audio"}), audio, &[]),
    }
}

/// A call of a tool.
fn call(call: &Value, rules: &Rules) -> Value {
    let kind = call.get("type").and_then(Value::as_str).unwrap_or("function");
    let called = call.get(kind).and_then(Value::as_object);
    let mut part = json!({"type": "tool_call"});
    if let Some(id) = call.get("id").and_then(Value::as_str) {
        put(&mut part, "id", id);
    }
    let Some(called) = called else {
        put(&mut part, "arguments", call.clone());
        return part;
    };
    put(&mut part, "name", text(called, "name").unwrap_or_default());
    match called.get("arguments").or_else(|| called.get("input")) {
        Some(Value::String(arguments)) => put(&mut part, "arguments", read(arguments, rules)),
        Some(arguments) => put(&mut part, "arguments", arguments.clone()),
        None => {}
    }
    part
}

/// Arguments are an object in a text; what is none stays the text that it is. The rules saw that text: what its own
/// escapes hid from them they see here.
fn read(arguments: &str, rules: &Rules) -> Value {
    let hides = arguments.contains('\\');
    let seen = hides.then(|| keep(arguments.as_bytes(), arguments.len(), usize::MAX, rules).body);
    let object = serde_json::from_str(seen.as_deref().unwrap_or(arguments)).ok().filter(Value::is_object);
    object.unwrap_or_else(|| arguments.into())
}

/// A part with the other fields of what it was made of beside its own.
fn beside(mut part: Value, fields: &Fields, read: &[&str]) -> Value {
    for (name, value) in fields.iter().filter(|(name, _)| !read.contains(&name.as_str())) {
        if part.get(name).is_none() {
            put(&mut part, name, value.clone());
        }
    }
    part
}

/// A text that is not empty.
fn text<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value.into());
    }
}
