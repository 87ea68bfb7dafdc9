//! An answer in OpenAI's shape: one body, or the events of a stream.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::request::Request;

/// `created` of every answer: the same request gets the same bytes.
const CREATED: u64 = 1_767_225_600;
/// `id` of every answer.
const ID: &str = "chatcmpl-stub";
/// Bytes of tool arguments in one event.
const FRAGMENT: usize = 8;
/// Choices at most.
const CHOICES_MAX: u32 = 128;

fn choices(request: &Request) -> u32 {
    request.n.unwrap_or(1).clamp(1, CHOICES_MAX)
}

fn usage(answer: &Answer) -> Value {
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    })
}

fn call_id(choice: u32, at: usize) -> String {
    format!("call_stub_{choice}_{at}")
}

/// Log probabilities of one piece.
fn logprobs(piece: &str) -> Value {
    json!({"content": [{"token": piece, "logprob": -0.25, "bytes": piece.as_bytes(), "top_logprobs": []}], "refusal": null})
}

/// The whole body.
pub fn whole(request: &Request, answer: &Answer, with_usage: bool) -> Bytes {
    let text = answer.pieces.concat();
    let list: Vec<Value> = (0..choices(request)).map(|index| {
        let mut message = Map::new();
        message.insert("role".to_owned(), json!("assistant"));
        message.insert("content".to_owned(), if answer.pieces.is_empty() { Value::Null } else { json!(text) });
        message.insert("refusal".to_owned(), Value::Null);
        if let Some(reasoning) = answer.reasoning {
            message.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if !answer.calls.is_empty() {
            let call = |(at, (name, arguments)): (usize, &(String, String))| {
                json!({"id": call_id(index, at), "type": "function", "function": {"name": name, "arguments": arguments}})
            };
            message.insert("tool_calls".to_owned(), answer.calls.iter().enumerate().map(call).collect());
        }
        if let Some(url) = answer.image {
            message.insert("images".to_owned(), json!([{"type": "image_url", "image_url": {"url": url}}]));
        }
        let logprobs = if request.logprobs == Some(true) { logprobs(&text) } else { Value::Null };
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": answer.finish})
    }).collect();
    let mut body = json!({
        "id": ID, "object": "chat.completion", "created": CREATED, "model": request.model, "choices": list,
        "system_fingerprint": "fp_stub",
    });
    if let (true, Some(body)) = (with_usage, body.as_object_mut()) {
        body.insert("usage".to_owned(), usage(answer));
    }
    Bytes::from(body.to_string())
}

/// The events of a stream.
#[derive(Debug, Default)]
pub struct Events {
    /// What goes out at once: the role.
    pub opening: Vec<Bytes>,
    /// Content, each at its own time.
    pub content: Vec<Bytes>,
    /// Finish, usage and the end marker.
    pub closing: Vec<Bytes>,
}

/// Writes a stream.
pub fn events(request: &Request, answer: &Answer, with_usage: bool) -> Events {
    let model = &request.model;
    let event = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": choices,
        });
        if let (Some(usage), Some(chunk)) = (usage, chunk.as_object_mut()) {
            chunk.insert("usage".to_owned(), usage);
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let one = |index: u32, delta: Value, finish: Option<&str>, logprobs: Value| {
        event(json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}]), None)
    };
    let mut events = Events::default();
    for index in 0..choices(request) {
        events.opening.push(one(index, json!({"role": "assistant", "content": ""}), None, Value::Null));
        if let Some(reasoning) = answer.reasoning {
            for piece in reasoning.split_inclusive(' ') {
                events.content.push(one(index, json!({"reasoning_content": piece}), None, Value::Null));
            }
        }
        // Equal pieces are written once: the load test's streams hold nothing else.
        let mut last: Option<(&String, Bytes)> = None;
        for piece in &answer.pieces {
            let written = match &last {
                Some((same, written)) if *same == piece => written.clone(),
                _ => {
                    let probable = if request.logprobs == Some(true) { logprobs(piece) } else { Value::Null };
                    one(index, json!({"content": piece}), None, probable)
                }
            };
            last = Some((piece, written.clone()));
            events.content.push(written);
        }
        for (at, (name, arguments)) in answer.calls.iter().enumerate() {
            let opening = json!({"tool_calls": [{"index": at, "id": call_id(index, at), "type": "function", "function": {"name": name, "arguments": ""}}]});
            events.content.push(one(index, opening, None, Value::Null));
            for fragment in fragments(arguments) {
                let delta = json!({"tool_calls": [{"index": at, "function": {"arguments": fragment}}]});
                events.content.push(one(index, delta, None, Value::Null));
            }
        }
        if let Some(url) = answer.image {
            let delta = json!({"images": [{"type": "image_url", "image_url": {"url": url}}]});
            events.content.push(one(index, delta, None, Value::Null));
        }
        events.closing.push(one(index, json!({}), Some(answer.finish), Value::Null));
    }
    if with_usage && request.include_usage() {
        events.closing.push(event(json!([]), Some(usage(answer))));
    }
    events.closing.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

/// A text in pieces of some bytes, cut between characters.
fn fragments(text: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    for letter in text.chars() {
        if list.last().is_some_and(|last| last.len() >= FRAGMENT) {
            list.push(String::new());
        }
        if let Some(last) = list.last_mut() {
            last.push(letter);
        }
    }
    list
}

/// An error event or body.
pub fn error(status: u16, message: &str) -> Bytes {
    let (kind, code) = match status {
        400 | 413 => ("invalid_request_error", "bad_request"),
        401 | 403 => ("authentication_error", "invalid_api_key"),
        404 => ("invalid_request_error", "model_not_found"),
        402 => ("insufficient_quota", "insufficient_quota"),
        429 => ("rate_limit_error", "rate_limit_exceeded"),
        _ => ("server_error", "server_error"),
    };
    let error = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    Bytes::from(error.to_string())
}
