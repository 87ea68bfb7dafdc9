//! Tests of the whole format.

mod agent;
mod answers;
mod errors;
mod fuzz;
mod recorded;
mod requests;
mod schemas;
mod signatures;

use serde_json::{Value, json};

use super::super::testing::{self, Target};
use crate::wire::{Quirks, WireFormat};

/// A target with the dialect of the shipped row.
fn target() -> Target {
    let globs = |list: &[&str]| list.iter().map(|glob| (*glob).to_owned()).collect();
    let quirks = Quirks {
        thinking_level_models: globs(&["gemini-3*"]),
        always_thinking_models: globs(&["gemini-2.5-pro*", "gemini-3-pro*", "gemini-3.1-pro*"]),
        combining_models: globs(&["gemini-3*"]),
        openapi_schema_models: globs(&["gemini-1*"]),
        show_server_tools: true,
        ..Quirks::default()
    };
    Target { quirks, ..Target::default() }
}

/// What goes upstream for a model, and what was dropped.
fn sent(model: &str, body: &Value) -> (Value, Vec<String>) {
    let encoded = testing::encode_for(WireFormat::Gemini, model, &body.to_string(), &target()).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

/// A request with one question and these further members.
fn asking(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A request with these messages.
fn saying(messages: &Value) -> Value {
    json!({"model": "m", "messages": messages})
}

/// A stream of these objects, as the API writes one.
fn sse(events: &[Value]) -> Vec<u8> {
    events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect::<String>().into_bytes()
}

/// An answer of one candidate.
fn reply(parts: &Value, finish: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}, "responseId": "r1"})
}

/// What a client gets of a whole reply.
fn whole(body: &Value) -> Value {
    testing::whole(WireFormat::Gemini, body.to_string().as_bytes()).unwrap()
}
