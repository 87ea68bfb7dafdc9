//! AWS Bedrock's Converse, as strict as the API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Frames;
use super::frame::{Piece, aws, joined};
use super::rules::{list, object_schema, only, paired, sign, text, within};
use crate::stub::answer::{Answer, Usage};
use crate::stub::fault::Fault;
use crate::stub::parts::Part;
use crate::stub::request::{Format, Function, Request, ToolChoice};

const FIELDS: &[&str] = &[
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "promptVariables",
    "requestMetadata",
    "performanceConfig",
    "serviceTier",
    "outputConfig",
];

/// Reads a request.
pub fn parse(body: &Value) -> Result<Request, Fault> {
    only(body, FIELDS, "")?;
    only(
        &body["inferenceConfig"],
        &["maxTokens", "temperature", "topP", "stopSequences"],
        "inferenceConfig.",
    )?;
    let choice = within(body, "/toolConfig/toolChoice");
    let mut request = Request {
        tools: tools(body)?,
        tool_choice: match choice.as_object().and_then(|choice| choice.iter().next()) {
            Some((kind, _)) if kind == "any" => ToolChoice::Required,
            Some((kind, tool)) if kind == "tool" => ToolChoice::Named(text(tool, "name").to_owned()),
            _ => ToolChoice::Auto,
        },
        ..Request::default()
    };
    let schema = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema").and_then(Value::as_str);
    if let Some(schema) = schema.and_then(|schema| serde_json::from_str(schema).ok()) {
        request.format = Format::Schema(schema);
    }
    let thinking = body.pointer("/additionalModelRequestFields/thinking/type").and_then(Value::as_str);
    let thinks = matches!(thinking, Some("enabled" | "adaptive"));
    messages(list(body, "messages"), thinks, &mut request)?;
    Ok(request)
}

fn tools(body: &Value) -> Result<Vec<Function>, Fault> {
    let mut tools = Vec::new();
    for (at, tool) in list(&body["toolConfig"], "tools").iter().enumerate() {
        let Some(spec) = tool.get("toolSpec") else { continue };
        object_schema(
            within(spec, "/inputSchema/json"),
            &format!("toolConfig.tools.{at}.toolSpec.inputSchema.json"),
        )?;
        tools.push(Function {
            name: text(spec, "name").to_owned(),
            parameters: within(spec, "/inputSchema/json").clone(),
        });
    }
    Ok(tools)
}

fn messages(messages: &[Value], thinks: bool, request: &mut Request) -> Result<(), Fault> {
    let mut calls: Vec<String> = Vec::new();
    let mut role = "assistant";
    let mut uses_tools = false;
    for (at, message) in messages.iter().enumerate() {
        let next = text(message, "role");
        let blocks = list(message, "content");
        let blank = |block: &Value| {
            block.get("text").and_then(Value::as_str).is_some_and(|text| text.trim().is_empty())
        };
        if next == role || !matches!(next, "user" | "assistant") {
            return Err(Fault::invalid(
                "A conversation must alternate between user and assistant roles, starting with a user message.",
            ));
        }
        if blocks.is_empty() || blocks.iter().any(blank) {
            return Err(Fault::invalid(format!(
                "The content field in the Message object at messages.{at} is empty, or a text in it is blank."
            )));
        }
        role = next;
        uses_tools |= blocks.iter().any(|b| b.get("toolUse").is_some() || b.get("toolResult").is_some());
        if role == "assistant" {
            calls = assistant(blocks, at, thinks, request)?;
        } else {
            user(blocks, &calls, request)?;
            calls.clear();
        }
    }
    if messages.is_empty() || !calls.is_empty() {
        return Err(Fault::invalid("A conversation must end with a user message, each tool use answered."));
    }
    if uses_tools && request.tools.is_empty() {
        return Err(Fault::invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ));
    }
    Ok(())
}

fn assistant(blocks: &[Value], at: usize, thinks: bool, request: &mut Request) -> Result<Vec<String>, Fault> {
    for reasoning in blocks.iter().filter_map(|block| block.pointer("/reasoningContent/reasoningText")) {
        if text(reasoning, "signature") != sign(text(reasoning, "text")) {
            return Err(Fault::invalid(format!("messages.{at}: Invalid `signature` in `thinking` block")));
        }
    }
    let calls: Vec<&Value> = blocks.iter().filter_map(|block| block.get("toolUse")).collect();
    if thinks
        && !calls.is_empty()
        && blocks.first().is_none_or(|block| block.get("reasoningContent").is_none())
    {
        return Err(Fault::invalid(format!("messages.{at}: Expected `thinking`, but found `tool_use`.")));
    }
    if calls.iter().any(|call| !call["input"].is_object()) {
        return Err(Fault::invalid(
            "The format of the value at toolUse.input is invalid. Provide a json object.",
        ));
    }
    request.rounds += u64::from(!calls.is_empty());
    request.called.extend(calls.iter().map(|call| text(call, "name").to_owned()));
    Ok(calls.iter().map(|call| text(call, "toolUseId").to_owned()).collect())
}

fn user(blocks: &[Value], calls: &[String], request: &mut Request) -> Result<(), Fault> {
    let results: Vec<&Value> = blocks.iter().filter_map(|block| block.get("toolResult")).collect();
    let ids: Vec<String> = results.iter().map(|result| text(result, "toolUseId").to_owned()).collect();
    paired(calls, &ids)?;
    request.images += blocks.iter().filter(|block| block.get("image").is_some()).count();
    request.tool_result = results.last().map(|result| {
        let said = |block: &Value| match block.get("json") {
            Some(json) => json.to_string(),
            None => text(block, "text").to_owned(),
        };
        list(result, "content").iter().map(said).collect()
    });
    let said: String = blocks.iter().map(|block| text(block, "text")).collect();
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
        "content_filter" => "content_filtered",
        _ => "end_turn",
    }
}

fn usage(usage: Option<&Usage>) -> Value {
    let Some(usage) = usage else { return json!({}) };
    json!({
        "inputTokens": usage.prompt_tokens, "outputTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
    })
}

/// A whole answer.
pub fn whole(answer: &Answer) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        let reasoning = json!({"text": answer.reasoning, "signature": sign(&answer.reasoning)});
        content.push(json!({"reasoningContent": {"reasoningText": reasoning}}));
    }
    let words = answer.words.clone().into_text();
    if !words.is_empty() {
        content.push(json!({"text": words}));
    }
    for call in &answer.calls {
        let input: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        content.push(json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": input}}));
    }
    json!({
        "output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop_reason(answer),
        "usage": usage(answer.usage.as_ref()), "metrics": {"latencyMs": 1},
    })
}

/// A stream: blocks open and close one after the other.
#[derive(Default)]
pub struct Stream {
    index: usize,
    open: Option<&'static str>,
}

fn event(kind: &str, payload: &Value) -> Bytes {
    aws(&[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")], payload)
}

impl Stream {
    fn close(&mut self, answer: &Answer) -> Bytes {
        let Some(kind) = self.open.take() else { return Bytes::new() };
        let index = self.index;
        self.index += 1;
        let stop = event("contentBlockStop", &json!({"contentBlockIndex": index}));
        if kind != "reasoning" {
            return stop;
        }
        let delta = json!({"reasoningContent": {"signature": sign(&answer.reasoning)}});
        joined(&[event("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta})), stop])
    }

    fn delta(&mut self, kind: &'static str, answer: &Answer, delta: &Value) -> Bytes {
        let closed = if self.open == Some(kind) { Bytes::new() } else { self.close(answer) };
        self.open = Some(kind);
        joined(&[
            closed,
            event("contentBlockDelta", &json!({"contentBlockIndex": self.index, "delta": delta})),
        ])
    }
}

impl Frames for Stream {
    fn role(&mut self, _: u32, _: &Answer) -> Bytes {
        event("messageStart", &json!({"role": "assistant"}))
    }

    fn part(&mut self, _: u32, part: &Part, answer: &Answer) -> Bytes {
        match Piece::of(part, answer) {
            Some(Piece::Reasoning(text)) => {
                self.delta("reasoning", answer, &json!({"reasoningContent": {"text": text}}))
            }
            Some(Piece::Text(text)) => self.delta("text", answer, &json!({"text": text})),
            Some(Piece::Call(_, call)) => {
                let closed = self.close(answer);
                self.open = Some("tool");
                let start = json!({"toolUse": {"toolUseId": call.id, "name": call.name}});
                let start = json!({"contentBlockIndex": self.index, "start": start});
                joined(&[closed, event("contentBlockStart", &start)])
            }
            Some(Piece::Arguments(_, fragment)) => {
                self.delta("tool", answer, &json!({"toolUse": {"input": fragment}}))
            }
            Some(Piece::Image) | None => Bytes::new(),
        }
    }

    fn finish(&mut self, _: u32, answer: &Answer) -> Bytes {
        let closed = self.close(answer);
        joined(&[closed, event("messageStop", &json!({"stopReason": stop_reason(answer)}))])
    }

    fn usage(&mut self, answer: &Answer) -> Option<Bytes> {
        let metadata = json!({"usage": usage(answer.usage.as_ref()), "metrics": {"latencyMs": 1}});
        Some(event("metadata", &metadata))
    }

    fn done(&mut self) -> Bytes {
        Bytes::new()
    }

    fn error(&mut self, fault: &Fault) -> Bytes {
        let headers = [
            (":exception-type", "internalServerException"),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ];
        aws(&headers, &json!({"message": fault.message}))
    }
}
