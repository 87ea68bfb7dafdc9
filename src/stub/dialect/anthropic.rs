//! Anthropic's messages, as strict as the API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Frames;
use super::frame::{Piece, joined, named};
use super::rules::{list, object_schema, only, paired, set, sign, text, within};
use crate::stub::answer::{Answer, Usage};
use crate::stub::chunk::Facts;
use crate::stub::fault::Fault;
use crate::stub::parts::Part;
use crate::stub::request::{Format, Function, Request, ToolChoice};

const FIELDS: &[&str] = &[
    "model",
    "max_tokens",
    "messages",
    "system",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "service_tier",
];
const CACHE_MARKS_MAX: usize = 4;

/// Reads a request.
pub fn parse(body: &Value) -> Result<Request, Fault> {
    only(body, FIELDS, "")?;
    let max_tokens = body.get("max_tokens").and_then(Value::as_u64).filter(|count| *count > 0);
    let Some(max_tokens) = max_tokens else { return Err(Fault::invalid("max_tokens: Field required")) };
    let thinks = thinking(body, max_tokens)?;
    if body.to_string().matches("\"cache_control\"").count() > CACHE_MARKS_MAX {
        return Err(Fault::invalid("A maximum of 4 blocks with cache_control may be provided."));
    }
    let mut request = Request {
        model: text(body, "model").to_owned(),
        tools: tools(body)?,
        stream: body.get("stream") == Some(&json!(true)),
        tool_choice: match text(&body["tool_choice"], "type") {
            "any" => ToolChoice::Required,
            "none" => ToolChoice::None,
            "tool" => ToolChoice::Named(text(&body["tool_choice"], "name").to_owned()),
            _ => ToolChoice::Auto,
        },
        ..Request::default()
    };
    let schema = [body.pointer("/output_config/format/schema"), body.pointer("/output_format/schema")];
    if let Some(schema) = schema.into_iter().flatten().next() {
        request.format = Format::Schema(schema.clone());
    }
    messages(list(body, "messages"), thinks, &mut request)?;
    Ok(request)
}

/// Whether it thinks; the rules for the rest when it does.
fn thinking(body: &Value, max_tokens: u64) -> Result<bool, Fault> {
    let temperature = body.get("temperature").and_then(Value::as_f64);
    if temperature.is_some_and(|heat| !(0.0..=1.0).contains(&heat)) {
        return Err(Fault::invalid("temperature: range: 0..1"));
    }
    if temperature.is_some() && body.get("top_p").is_some() {
        return Err(Fault::invalid("`temperature` and `top_p` cannot both be specified for this model."));
    }
    let kind = text(&body["thinking"], "type");
    if kind == "enabled" {
        let budget = within(body, "/thinking/budget_tokens").as_u64().unwrap_or(0);
        if budget < 1024 {
            return Err(Fault::invalid(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
            ));
        }
        if budget >= max_tokens {
            return Err(Fault::invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
        }
    }
    let thinks = matches!(kind, "enabled" | "adaptive");
    if thinks && temperature.is_some_and(|heat| heat < 1.0) {
        return Err(Fault::invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if thinks && body.get("top_k").is_some() {
        return Err(Fault::invalid("`top_k` must be unset when thinking is enabled."));
    }
    if thinks && matches!(text(&body["tool_choice"], "type"), "any" | "tool") {
        return Err(Fault::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(thinks)
}

fn tools(body: &Value) -> Result<Vec<Function>, Fault> {
    let mut tools = Vec::new();
    for (at, tool) in list(body, "tools").iter().enumerate() {
        if tool.get("type").is_some_and(|kind| kind != "custom") {
            continue;
        }
        object_schema(&tool["input_schema"], &format!("tools.{at}.custom.input_schema"))?;
        tools
            .push(Function { name: text(tool, "name").to_owned(), parameters: tool["input_schema"].clone() });
    }
    Ok(tools)
}

fn messages(messages: &[Value], thinks: bool, request: &mut Request) -> Result<(), Fault> {
    let mut calls: Vec<String> = Vec::new();
    let mut role = "assistant";
    let mut uses_tools = false;
    for (at, message) in messages.iter().enumerate() {
        let next = text(message, "role");
        if next == role || !matches!(next, "user" | "assistant") {
            return Err(Fault::invalid(format!(
                "messages.{at}: roles must alternate between \"user\" and \"assistant\", starting with \"user\""
            )));
        }
        role = next;
        let blocks = blocks(&message["content"], at)?;
        uses_tools |= blocks.iter().any(|block| matches!(text(block, "type"), "tool_use" | "tool_result"));
        if role == "assistant" {
            calls = assistant(&blocks, at, thinks, request)?;
        } else {
            user(&blocks, at, &calls, request)?;
            calls.clear();
        }
    }
    if messages.is_empty() || !calls.is_empty() {
        return Err(Fault::invalid("messages: at least one message, and a result for each `tool_use`"));
    }
    if uses_tools && request.tools.is_empty() {
        let message = "Requests which include `tool_use` or `tool_result` blocks must define tools.";
        return Err(Fault::invalid(message));
    }
    Ok(())
}

/// Content as blocks.
fn blocks(content: &Value, at: usize) -> Result<Vec<Value>, Fault> {
    let blocks = match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(blocks) => blocks.clone(),
        _ => return Err(Fault::invalid(format!("messages.{at}.content: Field required"))),
    };
    if blocks.iter().any(|block| text(block, "type") == "text" && text(block, "text").is_empty()) {
        return Err(Fault::invalid("messages: text content blocks must be non-empty"));
    }
    if blocks.is_empty() {
        return Err(Fault::invalid(format!("messages.{at}: all messages must have non-empty content")));
    }
    Ok(blocks)
}

/// Checks a turn of the model; gives the ids of its calls.
fn assistant(blocks: &[Value], at: usize, thinks: bool, request: &mut Request) -> Result<Vec<String>, Fault> {
    for block in blocks.iter().filter(|block| text(block, "type") == "thinking") {
        if text(block, "signature") != sign(text(block, "thinking")) {
            return Err(Fault::invalid(format!("messages.{at}: Invalid `signature` in `thinking` block")));
        }
    }
    let calls: Vec<&Value> = blocks.iter().filter(|block| text(block, "type") == "tool_use").collect();
    let first = blocks.first().map_or("", |block| text(block, "type"));
    if thinks && !calls.is_empty() && !matches!(first, "thinking" | "redacted_thinking") {
        return Err(Fault::invalid(format!(
            "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`."
        )));
    }
    if calls.iter().any(|call| !call["input"].is_object()) {
        return Err(Fault::invalid(format!(
            "messages.{at}: tool_use.input: Input should be a valid dictionary"
        )));
    }
    request.rounds += u64::from(!calls.is_empty());
    request.called.extend(calls.iter().map(|call| text(call, "name").to_owned()));
    Ok(calls.iter().map(|call| text(call, "id").to_owned()).collect())
}

/// Checks a turn of the user.
fn user(blocks: &[Value], at: usize, calls: &[String], request: &mut Request) -> Result<(), Fault> {
    let is_result = |block: &&Value| text(block, "type") == "tool_result";
    let results: Vec<&Value> = blocks.iter().take_while(is_result).collect();
    if blocks.iter().filter(is_result).count() != results.len() {
        return Err(Fault::invalid(format!("messages.{at}: `tool_result` blocks must come first")));
    }
    let ids: Vec<String> = results.iter().map(|result| text(result, "tool_use_id").to_owned()).collect();
    paired(calls, &ids)?;
    request.images += blocks.iter().filter(|block| text(block, "type") == "image").count();
    let said: String =
        blocks.iter().filter(|block| text(block, "type") == "text").map(|b| text(b, "text")).collect();
    request.tool_result = results.last().map(|result| match &result["content"] {
        Value::String(text) => text.clone(),
        content => content.as_array().into_iter().flatten().map(|block| text(block, "text")).collect(),
    });
    if !said.is_empty() {
        request.text = said;
        request.tool_result = None;
    }
    Ok(())
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return json!({}) };
    json!({
        "input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
    })
}

fn message(facts: &Facts, content: Vec<Value>, stop: Value, usage: Value) -> Value {
    json!({
        "id": facts.id.replace("chatcmpl-", "msg_"), "type": "message", "role": "assistant", "model": facts.model,
        "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage,
    })
}

/// A whole answer.
pub fn whole(answer: &Answer, facts: &Facts) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        let signature = sign(&answer.reasoning);
        content.push(json!({"type": "thinking", "thinking": answer.reasoning, "signature": signature}));
    }
    let words = answer.words.clone().into_text();
    if !words.is_empty() {
        content.push(json!({"type": "text", "text": words}));
    }
    for call in &answer.calls {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
    }
    message(facts, content, json!(stop_reason(answer)), usage(answer.usage.as_ref()))
}

/// An error.
pub fn fault(fault: &Fault) -> Value {
    let kind = match fault.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 | 503 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": fault.message}, "request_id": "req_stub"})
}

/// A stream: blocks open and close one after the other.
pub struct Stream {
    facts: Facts,
    usage: Value,
    signature: String,
    index: usize,
    open: Option<&'static str>,
}

impl Stream {
    pub fn new(answer: &Answer, facts: &Facts) -> Self {
        let mut first = usage(answer.usage.as_ref());
        if answer.usage.is_some() {
            set(&mut first, "output_tokens", json!(1));
        }
        Self { facts: facts.clone(), usage: first, signature: sign(&answer.reasoning), index: 0, open: None }
    }

    /// Ends the open block.
    fn close(&mut self) -> Bytes {
        let Some(kind) = self.open.take() else { return Bytes::new() };
        let index = self.index;
        self.index += 1;
        let stop = named("content_block_stop", &json!({"type": "content_block_stop", "index": index}));
        if kind != "thinking" {
            return stop;
        }
        let delta = json!({"type": "signature_delta", "signature": self.signature});
        joined(&[self.delta_of(index, &delta), stop])
    }

    fn delta_of(&self, index: usize, delta: &Value) -> Bytes {
        named("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
    }

    /// A delta of a block of this kind, which is opened if it is not open.
    fn delta(&mut self, kind: &'static str, block: &Value, delta: &Value) -> Bytes {
        let mut events = Vec::new();
        if self.open != Some(kind) {
            events.push(self.close());
            events.push(self.start(kind, block));
        }
        events.push(self.delta_of(self.index, delta));
        joined(&events)
    }

    fn start(&mut self, kind: &'static str, block: &Value) -> Bytes {
        self.open = Some(kind);
        let event = json!({"type": "content_block_start", "index": self.index, "content_block": block});
        named("content_block_start", &event)
    }
}

impl Frames for Stream {
    fn role(&mut self, _: u32, _: &Answer) -> Bytes {
        let message = message(&self.facts, Vec::new(), Value::Null, self.usage.clone());
        let start = named("message_start", &json!({"type": "message_start", "message": message}));
        joined(&[start, named("ping", &json!({"type": "ping"}))])
    }

    fn part(&mut self, _: u32, part: &Part, answer: &Answer) -> Bytes {
        match Piece::of(part, answer) {
            Some(Piece::Reasoning(text)) => self.delta(
                "thinking",
                &json!({"type": "thinking", "thinking": "", "signature": ""}),
                &json!({"type": "thinking_delta", "thinking": text}),
            ),
            Some(Piece::Text(text)) => self.delta(
                "text",
                &json!({"type": "text", "text": ""}),
                &json!({"type": "text_delta", "text": text}),
            ),
            Some(Piece::Call(_, call)) => {
                let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
                let closed = self.close();
                joined(&[closed, self.start("tool_use", &block)])
            }
            Some(Piece::Arguments(_, fragment)) => {
                self.delta_of(self.index, &json!({"type": "input_json_delta", "partial_json": fragment}))
            }
            Some(Piece::Image) | None => Bytes::new(),
        }
    }

    fn finish(&mut self, _: u32, answer: &Answer) -> Bytes {
        let closed = self.close();
        let delta = json!({"stop_reason": stop_reason(answer), "stop_sequence": null});
        let event = json!({"type": "message_delta", "delta": delta, "usage": usage(answer.usage.as_ref())});
        joined(&[closed, named("message_delta", &event)])
    }

    fn usage(&mut self, _: &Answer) -> Option<Bytes> {
        None
    }

    fn done(&mut self) -> Bytes {
        named("message_stop", &json!({"type": "message_stop"}))
    }

    fn error(&mut self, told: &Fault) -> Bytes {
        named("error", &fault(told))
    }
}
