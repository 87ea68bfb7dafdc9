//! Cohere's chat, version 2, as strict as the API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Frames;
use super::frame::{Piece, joined, named};
use super::rules::{list, only, paired, set, text};
use crate::stub::answer::{Answer, Call, Usage};
use crate::stub::chunk::Facts;
use crate::stub::fault::Fault;
use crate::stub::parts::Part;
use crate::stub::request::{Format, Function, Request, ToolChoice};

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "tools",
    "strict_tools",
    "documents",
    "citation_options",
    "response_format",
    "safety_mode",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "logprobs",
    "tool_choice",
    "thinking",
    "priority",
    "raw_prompting",
];

/// Reads a request.
pub fn parse(body: &Value) -> Result<Request, Fault> {
    only(body, FIELDS, "invalid request: unknown field ")?;
    let format = &body["response_format"];
    let mut request = Request {
        model: text(body, "model").to_owned(),
        tools: list(body, "tools").iter().map(tool).collect::<Result<_, _>>()?,
        stream: body.get("stream") == Some(&json!(true)),
        tool_choice: match text(body, "tool_choice") {
            "" => ToolChoice::Auto,
            "REQUIRED" => ToolChoice::Required,
            "NONE" => ToolChoice::None,
            other => return Err(Fault::invalid(format!("invalid tool_choice: {other}"))),
        },
        format: match (text(format, "type"), format.get("json_schema")) {
            ("json_object", Some(schema)) => Format::Schema(schema.clone()),
            ("json_object", None) => Format::Object,
            _ => Format::Text,
        },
        ..Request::default()
    };
    messages(list(body, "messages"), &mut request)?;
    Ok(request)
}

fn tool(tool: &Value) -> Result<Function, Fault> {
    match tool.pointer("/function/name").and_then(Value::as_str) {
        Some(name) => Ok(Function {
            name: name.to_owned(),
            parameters: tool.pointer("/function/parameters").cloned().unwrap_or_default(),
        }),
        None => Err(Fault::invalid("invalid request: a tool needs a function with a name")),
    }
}

fn messages(messages: &[Value], request: &mut Request) -> Result<(), Fault> {
    let (mut calls, mut results): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for message in messages {
        let role = text(message, "role");
        if role != "tool" {
            paired(&calls, &results)?;
            calls.clear();
            results.clear();
        }
        let said = said(&message["content"]);
        match role {
            "system" => {}
            "user" => {
                request.images +=
                    list(message, "content").iter().filter(|part| text(part, "type") == "image_url").count();
                request.text = said;
                request.tool_result = None;
            }
            "assistant" => {
                let made = list(message, "tool_calls");
                if made.is_empty() && said.is_empty() {
                    return Err(Fault::invalid(
                        "invalid request: an assistant message needs content or tool_calls",
                    ));
                }
                request.rounds += u64::from(!made.is_empty());
                let names = made.iter().filter_map(|call| call.pointer("/function/name")?.as_str());
                request.called.extend(names.map(str::to_owned));
                calls = made.iter().map(|call| text(call, "id").to_owned()).collect();
            }
            "tool" => {
                results.push(text(message, "tool_call_id").to_owned());
                request.tool_result = Some(said);
            }
            other => return Err(Fault::invalid(format!("invalid request: no role {other}"))),
        }
    }
    paired(&calls, &results)?;
    if messages.is_empty() {
        return Err(Fault::invalid("invalid request: message must be at least 1 token long"));
    }
    Ok(())
}

/// The text of a content: a string, or parts.
fn said(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        parts => parts
            .as_array()
            .into_iter()
            .flatten()
            .map(|part| match part.pointer("/document/data") {
                Some(Value::String(text)) => text.clone(),
                Some(data) => data
                    .get("data")
                    .or(data.get("text"))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                None => text(part, "text").to_owned(),
            })
            .collect(),
    }
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        "length" => "MAX_TOKENS",
        "tool_calls" => "TOOL_CALL",
        "content_filter" => "ERROR_TOXIC",
        _ => "COMPLETE",
    }
}

fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return Value::Null };
    let tokens = json!({"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens});
    json!({"billed_units": tokens, "tokens": tokens})
}

fn call(call: &Call, arguments: &str) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

/// A whole answer.
pub fn whole(answer: &Answer, facts: &Facts) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": answer.reasoning}));
    }
    let words = answer.words.clone().into_text();
    if !words.is_empty() {
        content.push(json!({"type": "text", "text": words}));
    }
    let mut message = json!({"role": "assistant"});
    if !content.is_empty() {
        set(&mut message, "content", json!(content));
    }
    if !answer.calls.is_empty() {
        set(&mut message, "tool_calls", answer.calls.iter().map(|one| call(one, &one.arguments)).collect());
    }
    json!({
        "id": facts.id, "finish_reason": finish_reason(answer), "message": message, "usage": usage(answer.usage.as_ref()),
    })
}

/// A stream: contents and calls open and close one after the other.
pub struct Stream {
    facts: Facts,
    index: usize,
    open: Option<&'static str>,
}

impl Stream {
    pub fn new(facts: &Facts) -> Self {
        Self { facts: facts.clone(), index: 0, open: None }
    }

    fn close(&mut self) -> Bytes {
        let Some(kind) = self.open.take() else { return Bytes::new() };
        let index = self.index;
        self.index += 1;
        let name = if kind == "call" { "tool-call-end" } else { "content-end" };
        named(name, &json!({"type": name, "index": index}))
    }

    /// A piece of a content of this kind, which is opened if it is not open.
    fn content(&mut self, kind: &'static str, piece: &str) -> Bytes {
        let mut events = Vec::new();
        if self.open != Some(kind) {
            events.push(self.close());
            self.open = Some(kind);
            let content = json!({"type": kind, kind: ""});
            let delta = json!({"message": {"content": content}});
            let start = json!({"type": "content-start", "index": self.index, "delta": delta});
            events.push(named("content-start", &start));
        }
        let delta = json!({"message": {"content": {kind: piece}}});
        events.push(named(
            "content-delta",
            &json!({"type": "content-delta", "index": self.index, "delta": delta}),
        ));
        joined(&events)
    }
}

impl Frames for Stream {
    fn role(&mut self, _: u32, _: &Answer) -> Bytes {
        let message =
            json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let start = json!({"type": "message-start", "id": self.facts.id, "delta": {"message": message}});
        named("message-start", &start)
    }

    fn part(&mut self, _: u32, part: &Part, answer: &Answer) -> Bytes {
        match Piece::of(part, answer) {
            Some(Piece::Reasoning(text)) => self.content("thinking", text),
            Some(Piece::Text(text)) => self.content("text", &text),
            Some(Piece::Call(_, one)) => {
                let closed = self.close();
                self.open = Some("call");
                let delta = json!({"message": {"tool_calls": call(one, "")}});
                let start = json!({"type": "tool-call-start", "index": self.index, "delta": delta});
                joined(&[closed, named("tool-call-start", &start)])
            }
            Some(Piece::Arguments(_, fragment)) => {
                let delta = json!({"message": {"tool_calls": {"function": {"arguments": fragment}}}});
                let delta = json!({"type": "tool-call-delta", "index": self.index, "delta": delta});
                named("tool-call-delta", &delta)
            }
            Some(Piece::Image) | None => Bytes::new(),
        }
    }

    fn finish(&mut self, _: u32, answer: &Answer) -> Bytes {
        let closed = self.close();
        let delta = json!({"finish_reason": finish_reason(answer), "usage": usage(answer.usage.as_ref())});
        joined(&[closed, named("message-end", &json!({"type": "message-end", "delta": delta}))])
    }

    fn usage(&mut self, _: &Answer) -> Option<Bytes> {
        None
    }

    fn done(&mut self) -> Bytes {
        Bytes::new()
    }

    fn error(&mut self, fault: &Fault) -> Bytes {
        let delta = json!({"finish_reason": "ERROR", "error": fault.message});
        named("message-end", &json!({"type": "message-end", "delta": delta}))
    }
}
