//! OpenAI's Responses, as strict as the API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Frames;
use super::frame::{Piece, joined, named};
use super::rules::{list, only, set, sign, text, within};
use crate::stub::answer::{Answer, Call, PICTURE, Usage};
use crate::stub::chunk::Facts;
use crate::stub::fault::Fault;
use crate::stub::parts::Part;
use crate::stub::request::{Format, Function, Request, ToolChoice};

const FIELDS: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "include",
    "store",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_p",
    "top_logprobs",
    "metadata",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "truncation",
    "previous_response_id",
    "stream_options",
    "background",
];
const OUTPUT_TOKENS_MIN: u64 = 16;

/// Reads a request.
pub fn parse(body: &Value) -> Result<Request, Fault> {
    only(body, FIELDS, "Unknown parameter: ")?;
    if body.get("max_output_tokens").and_then(Value::as_u64).is_some_and(|most| most < OUTPUT_TOKENS_MIN) {
        return Err(Fault::invalid("Invalid 'max_output_tokens': integer below minimum value."));
    }
    let choice = &body["tool_choice"];
    let format = within(body, "/text/format");
    let mut request = Request {
        model: text(body, "model").to_owned(),
        tools: tools(body)?,
        stream: body.get("stream") == Some(&json!(true)),
        tool_choice: match choice.as_str() {
            Some("required") => ToolChoice::Required,
            Some("none") => ToolChoice::None,
            None if text(choice, "type") == "function" => ToolChoice::Named(text(choice, "name").to_owned()),
            _ => ToolChoice::Auto,
        },
        format: match text(format, "type") {
            "json_schema" if format["name"].is_string() => Format::Schema(format["schema"].clone()),
            "json_schema" => return Err(Fault::invalid("Missing required parameter: 'text.format.name'.")),
            "json_object" => Format::Object,
            _ => Format::Text,
        },
        ..Request::default()
    };
    if let Some(said) = body["input"].as_str() {
        request.text = said.to_owned();
        return Ok(request);
    }
    input(list(body, "input"), &mut request)?;
    Ok(request)
}

fn tools(body: &Value) -> Result<Vec<Function>, Fault> {
    let functions = list(body, "tools").iter().filter(|tool| text(tool, "type") == "function");
    let read = |tool: &Value| match tool["name"].as_str() {
        Some(name) => Ok(Function { name: name.to_owned(), parameters: tool["parameters"].clone() }),
        None => Err(Fault::invalid("Missing required parameter: 'tools[0].name'.")),
    };
    functions.map(read).collect()
}

fn input(items: &[Value], request: &mut Request) -> Result<(), Fault> {
    let mut open: Vec<&str> = Vec::new();
    let mut was = "";
    for (at, item) in items.iter().enumerate() {
        let kind = item.get("type").and_then(Value::as_str).unwrap_or("message");
        match kind {
            "message" => message(item, request)?,
            "reasoning" => reasoning(item, items.get(at + 1))?,
            "function_call" => {
                if !item["arguments"].is_string() || text(item, "call_id").is_empty() {
                    return Err(Fault::invalid(format!(
                        "Missing required parameter: 'input[{at}].arguments'."
                    )));
                }
                if was != "function_call" {
                    request.rounds += 1;
                }
                open.push(text(item, "call_id"));
                request.called.push(text(item, "name").to_owned());
            }
            "function_call_output" => {
                let id = text(item, "call_id");
                let Some(place) = open.iter().position(|known| *known == id) else {
                    return Err(Fault::invalid(format!(
                        "No tool call found for function call output with call_id {id}."
                    )));
                };
                open.remove(place);
                request.tool_result = Some(match &item["output"] {
                    Value::String(text) => text.clone(),
                    parts => parts.as_array().into_iter().flatten().map(|part| text(part, "text")).collect(),
                });
            }
            other => return Err(Fault::invalid(format!("Invalid value: '{other}' at input[{at}].type."))),
        }
        was = kind;
    }
    match open.first() {
        Some(id) => Err(Fault::invalid(format!("No tool output found for function call {id}."))),
        None if items.is_empty() => Err(Fault::invalid("Invalid 'input': empty array.")),
        None => Ok(()),
    }
}

fn message(item: &Value, request: &mut Request) -> Result<(), Fault> {
    let role = text(item, "role");
    let parts = list(item, "content");
    let wanted = if role == "assistant" { "output_text" } else { "input_text" };
    let fits = |part: &Value| match text(part, "type") {
        "input_text" | "output_text" => text(part, "type") == wanted,
        "input_image" | "input_file" | "input_audio" => role == "user",
        "refusal" => role == "assistant",
        _ => false,
    };
    if !matches!(role, "user" | "assistant" | "system" | "developer") || !parts.iter().all(fits) {
        return Err(Fault::invalid(format!("Invalid value in a message of role '{role}'.")));
    }
    if role != "user" {
        return Ok(());
    }
    request.images += parts.iter().filter(|part| text(part, "type") == "input_image").count();
    request.tool_result = None;
    request.text = match item["content"].as_str() {
        Some(said) => said.to_owned(),
        None => parts.iter().map(|part| text(part, "text")).collect(),
    };
    Ok(())
}

/// A reasoning item is followed by what it led to, and can be read by whoever made it.
fn reasoning(item: &Value, next: Option<&Value>) -> Result<(), Fault> {
    let id = text(item, "id");
    let follows = next.map(|next| next.get("type").and_then(Value::as_str).unwrap_or("message"));
    let own = next.is_some_and(|next| next.get("role").is_none_or(|role| role == "assistant"));
    if !own || !matches!(follows, Some("function_call" | "message" | "reasoning")) {
        let message =
            format!("Item '{id}' of type 'reasoning' was provided without its required following item.");
        return Err(Fault::invalid(message));
    }
    let summary: String = list(item, "summary").iter().map(|part| text(part, "text")).collect();
    if text(item, "encrypted_content") != sign(&format!("{id}{summary}")) {
        return Err(Fault::invalid(format!("The encrypted content for item {id} could not be verified.")));
    }
    Ok(())
}

fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens()}, "total_tokens": usage.total_tokens,
    })
}

fn reasoning_item(answer: &Answer) -> Value {
    let id = "rs_stub1";
    let encrypted = sign(&format!("{id}{}", answer.reasoning));
    json!({
        "id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": answer.reasoning}],
        "encrypted_content": encrypted,
    })
}

fn message_item(text: &str) -> Value {
    json!({
        "id": "msg_stub1", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    })
}

fn call_item(call: &Call, arguments: &str) -> Value {
    json!({
        "id": format!("fc_{}", call.id), "type": "function_call", "status": "completed", "call_id": call.id,
        "name": call.name, "arguments": arguments,
    })
}

fn image_item() -> Value {
    let data = PICTURE.split_once(";base64,").map_or("", |(_, data)| data);
    json!({"id": "ig_stub1", "type": "image_generation_call", "status": "completed", "output_format": "png", "result": data})
}

fn output(answer: &Answer) -> Vec<Value> {
    let words = answer.words.clone().into_text();
    let mut output = Vec::new();
    output.extend((!answer.reasoning.is_empty()).then(|| reasoning_item(answer)));
    output.extend((!words.is_empty()).then(|| message_item(&words)));
    output.extend(answer.calls.iter().map(|call| call_item(call, &call.arguments)));
    output.extend(answer.image.then(image_item));
    output
}

/// A whole answer.
pub fn whole(answer: &Answer, facts: &Facts) -> Value {
    let (status, reason) = match answer.finish {
        "length" => ("incomplete", Some("max_output_tokens")),
        "content_filter" => ("incomplete", Some("content_filter")),
        _ => ("completed", None),
    };
    json!({
        "id": facts.id.replace("chatcmpl-", "resp_"), "object": "response", "created_at": facts.created,
        "status": status, "error": null, "incomplete_details": reason.map(|reason| json!({"reason": reason})),
        "model": facts.model, "output": output(answer), "usage": answer.usage.as_ref().map(usage),
        "service_tier": "default",
    })
}

/// A stream: items open and close one after the other.
pub struct Stream {
    facts: Facts,
    sequence: u64,
    index: usize,
    open: Option<Open>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Reasoning,
    Text,
    Call(usize),
}

impl Stream {
    pub fn new(facts: &Facts) -> Self {
        Self { facts: facts.clone(), sequence: 0, index: 0, open: None }
    }

    fn event(&mut self, kind: &str, mut data: Value) -> Bytes {
        set(&mut data, "type", json!(kind));
        set(&mut data, "sequence_number", json!(self.sequence));
        self.sequence += 1;
        named(kind, &data)
    }

    /// Ends the open item.
    fn close(&mut self, answer: &Answer) -> Bytes {
        let Some(open) = self.open.take() else { return Bytes::new() };
        let index = self.index;
        self.index += 1;
        let words = answer.words.clone().into_text();
        let (first, item) = match open {
            Open::Reasoning => (None, reasoning_item(answer)),
            Open::Text => {
                let done =
                    json!({"output_index": index, "content_index": 0, "item_id": "msg_stub1", "text": words});
                (Some(("response.output_text.done", done)), message_item(&words))
            }
            Open::Call(at) => {
                let Some(call) = answer.calls.get(at) else { return Bytes::new() };
                let done = json!({"output_index": index, "item_id": format!("fc_{}", call.id), "arguments": call.arguments});
                (Some(("response.function_call_arguments.done", done)), call_item(call, &call.arguments))
            }
        };
        let first = first.map_or_else(Bytes::new, |(kind, data)| self.event(kind, data));
        let done = self.event("response.output_item.done", json!({"output_index": index, "item": item}));
        joined(&[first, done])
    }

    /// Opens an item unless it is the open one.
    fn open(&mut self, open: Open, answer: &Answer) -> Bytes {
        if self.open == Some(open) {
            return Bytes::new();
        }
        let closed = self.close(answer);
        self.open = Some(open);
        let item = match open {
            Open::Reasoning => json!({"id": "rs_stub1", "type": "reasoning", "summary": []}),
            Open::Text => {
                json!({"id": "msg_stub1", "type": "message", "status": "in_progress", "role": "assistant", "content": []})
            }
            Open::Call(at) => answer.calls.get(at).map_or(Value::Null, |call| call_item(call, "")),
        };
        let added =
            self.event("response.output_item.added", json!({"output_index": self.index, "item": item}));
        joined(&[closed, added])
    }

    fn delta(&mut self, open: Open, kind: &str, item: &str, delta: &str, answer: &Answer) -> Bytes {
        let opened = self.open(open, answer);
        let data = json!({"output_index": self.index, "item_id": item, "content_index": 0, "summary_index": 0, "delta": delta});
        let delta = self.event(kind, data);
        joined(&[opened, delta])
    }
}

impl Frames for Stream {
    fn role(&mut self, _: u32, _: &Answer) -> Bytes {
        let id = self.facts.id.replace("chatcmpl-", "resp_");
        let response = json!({"id": id, "object": "response", "status": "in_progress", "model": self.facts.model, "output": []});
        self.event("response.created", json!({"response": response}))
    }

    fn part(&mut self, _: u32, part: &Part, answer: &Answer) -> Bytes {
        match Piece::of(part, answer) {
            Some(Piece::Reasoning(text)) => {
                self.delta(Open::Reasoning, "response.reasoning_summary_text.delta", "rs_stub1", text, answer)
            }
            Some(Piece::Text(text)) => {
                self.delta(Open::Text, "response.output_text.delta", "msg_stub1", &text, answer)
            }
            Some(Piece::Call(at, _)) => self.open(Open::Call(at), answer),
            Some(Piece::Arguments(at, fragment)) => {
                let id = answer.calls.get(at).map_or_else(String::new, |call| format!("fc_{}", call.id));
                self.delta(Open::Call(at), "response.function_call_arguments.delta", &id, fragment, answer)
            }
            Some(Piece::Image) => {
                let closed = self.close(answer);
                let data = json!({"output_index": self.index, "item": image_item()});
                self.index += 1;
                let done = self.event("response.output_item.done", data);
                joined(&[closed, done])
            }
            None => Bytes::new(),
        }
    }

    fn finish(&mut self, _: u32, answer: &Answer) -> Bytes {
        let closed = self.close(answer);
        let response = whole(answer, &self.facts);
        let kind = format!("response.{}", text(&response, "status"));
        let end = self.event(&kind, json!({"response": response}));
        joined(&[closed, end])
    }

    fn usage(&mut self, _: &Answer) -> Option<Bytes> {
        None
    }

    fn done(&mut self) -> Bytes {
        Bytes::new()
    }

    fn error(&mut self, fault: &Fault) -> Bytes {
        self.event("error", json!({"code": "server_error", "message": fault.message, "param": null}))
    }
}
