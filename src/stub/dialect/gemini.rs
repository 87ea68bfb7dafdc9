//! Google's generateContent, as strict as the API.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Frames;
use super::frame::{Piece, unnamed};
use super::rules::{list, only, set, sign, text};
use crate::stub::answer::{Answer, Call, PICTURE, Usage};
use crate::stub::chunk::Facts;
use crate::stub::fault::Fault;
use crate::stub::parts::Part;
use crate::stub::request::{Format, Function, Request, ToolChoice};

const FIELDS: &[&str] = &[
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "labels",
];
/// What the dialect of OpenAPI that schemas are written in does not have.
const NOT_IN_SCHEMAS: [&str; 5] = ["$ref", "$schema", "$defs", "additionalProperties", "const"];

/// Reads a request.
pub fn parse(body: &Value) -> Result<Request, Fault> {
    only(body, FIELDS, "Invalid JSON payload received. Unknown name ")?;
    let config = &body["generationConfig"];
    for place in ["responseSchema", "responseJsonSchema"] {
        plain_schema(place, &config[place])?;
    }
    let mode = body.pointer("/toolConfig/functionCallingConfig").cloned().unwrap_or_default();
    let allowed = list(&mode, "allowedFunctionNames");
    let schema = config.get("responseJsonSchema").or(config.get("responseSchema"));
    let mut request = Request {
        tools: tools(body)?,
        tool_choice: match (text(&mode, "mode"), allowed) {
            ("ANY", [name]) => ToolChoice::Named(name.as_str().unwrap_or_default().to_owned()),
            ("ANY", _) => ToolChoice::Required,
            ("NONE", _) => ToolChoice::None,
            _ => ToolChoice::Auto,
        },
        format: match (text(config, "responseMimeType"), schema) {
            ("application/json", Some(schema)) => Format::Schema(lower_case(schema)),
            ("application/json", None) => Format::Object,
            _ => Format::Text,
        },
        n: config.get("candidateCount").and_then(Value::as_u64).map_or(1, |n| u32::try_from(n).unwrap_or(1)),
        ..Request::default()
    };
    contents(list(body, "contents"), &mut request)?;
    Ok(request)
}

/// Types are written in capitals there, or not.
fn lower_case(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| match value {
                    Value::String(word) if name == "type" => (name.clone(), json!(word.to_lowercase())),
                    value => (name.clone(), lower_case(value)),
                })
                .collect(),
        ),
        Value::Array(items) => items.iter().map(lower_case).collect(),
        other => other.clone(),
    }
}

/// A schema of the OpenAPI kind holds only what that has; one of the JSON kind may hold more.
fn plain_schema(place: &str, schema: &Value) -> Result<(), Fault> {
    let written = schema.to_string();
    if place.contains("Json") {
        return Ok(());
    }
    match NOT_IN_SCHEMAS.iter().find(|name| written.contains(&format!("\"{name}\":"))) {
        Some(name) => Err(Fault::invalid(format!(
            "Invalid JSON payload received. Unknown name \"{name}\" at '{place}'"
        ))),
        None => Ok(()),
    }
}

fn tools(body: &Value) -> Result<Vec<Function>, Fault> {
    let mut tools = Vec::new();
    for declaration in list(body, "tools").iter().flat_map(|tool| list(tool, "functionDeclarations")) {
        plain_schema("parameters", &declaration["parameters"])?;
        let parameters = declaration.get("parametersJsonSchema").or(declaration.get("parameters"));
        tools.push(Function {
            name: text(declaration, "name").to_owned(),
            parameters: parameters.map(lower_case).unwrap_or_default(),
        });
    }
    Ok(tools)
}

fn contents(contents: &[Value], request: &mut Request) -> Result<(), Fault> {
    let mut calls: Vec<String> = Vec::new();
    let mut role = "model";
    // Signatures are asked for from the last thing that a person said on.
    let said = |content: &Value| {
        text(content, "role") != "model" && list(content, "parts").iter().any(|p| p.get("text").is_some())
    };
    let current = contents.iter().rposition(said).unwrap_or(0);
    for (at, content) in contents.iter().enumerate() {
        let next = text(content, "role");
        let parts = list(content, "parts");
        if next == role || !matches!(next, "user" | "model") || parts.is_empty() {
            return Err(Fault::invalid(format!(
                "contents[{at}]: please ensure that roles alternate between user and model, and parts are not empty"
            )));
        }
        role = next;
        if role == "model" {
            calls = model(parts, at > current, request)?;
        } else {
            user(parts, &calls, request)?;
            calls.clear();
        }
    }
    if contents.is_empty() || role == "model" {
        return Err(Fault::invalid("Please ensure that single turn requests end with a user role."));
    }
    Ok(())
}

/// Checks a turn of the model; gives the names of its calls.
fn model(parts: &[Value], signed: bool, request: &mut Request) -> Result<Vec<String>, Fault> {
    let calls: Vec<&Value> = parts.iter().filter(|part| part.get("functionCall").is_some()).collect();
    for (at, part) in calls.iter().enumerate() {
        let call = &part["functionCall"];
        if !call["args"].is_object() {
            return Err(Fault::invalid("functionCall.args: expected an object"));
        }
        let told = text(part, "thoughtSignature");
        if at == 0 && signed && told != signature(text(call, "name"), &call["args"]) {
            let message = format!(
                "Function call `{}` is missing a thought_signature in functionCall parts.",
                text(call, "name")
            );
            return Err(Fault::invalid(message));
        }
        if at > 0 && !told.is_empty() {
            return Err(Fault::invalid("Thought signature is not valid: it belongs to the first call."));
        }
    }
    request.rounds += u64::from(!calls.is_empty());
    let names: Vec<String> =
        calls.iter().map(|part| text(&part["functionCall"], "name").to_owned()).collect();
    request.called.extend(names.iter().cloned());
    Ok(names)
}

/// Checks a turn of the user.
fn user(parts: &[Value], calls: &[String], request: &mut Request) -> Result<(), Fault> {
    let results: Vec<&Value> = parts.iter().filter_map(|part| part.get("functionResponse")).collect();
    let mut names: Vec<&str> = results.iter().map(|result| text(result, "name")).collect();
    let mut called: Vec<&str> = calls.iter().map(String::as_str).collect();
    names.sort_unstable();
    called.sort_unstable();
    if names != called {
        return Err(Fault::invalid(
            "Please ensure that the number of function response parts is equal to the number of function call parts \
             of the function call turn.",
        ));
    }
    if results.iter().any(|result| !result["response"].is_object()) {
        return Err(Fault::invalid("functionResponse.response: expected an object"));
    }
    request.images += parts.iter().filter(|part| part.get("inlineData").is_some()).count();
    request.tool_result = results.last().map(|result| {
        let response = &result["response"];
        let only = response.as_object().filter(|members| members.len() == 1).and_then(|m| m.values().next());
        match only {
            Some(Value::String(text)) => text.clone(),
            _ => response.to_string(),
        }
    });
    let said: String = parts.iter().map(|part| text(part, "text")).collect();
    if !said.is_empty() {
        request.text = said;
        request.tool_result = None;
    }
    Ok(())
}

/// The signature beside a call.
fn signature(name: &str, args: &Value) -> String {
    let sorted: std::collections::BTreeMap<&str, &Value> =
        args.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
    sign(&format!("{name}{}", json!(sorted)))
}

fn call_part(at: usize, call: &Call) -> Value {
    let args: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    let mut part = json!({"functionCall": {"name": call.name, "args": args}});
    if at == 0 {
        set(&mut part, "thoughtSignature", json!(signature(&call.name, &args)));
    }
    part
}

fn image_part() -> Value {
    let (mime, data) = PICTURE.trim_start_matches("data:").split_once(";base64,").unwrap_or_default();
    json!({"inlineData": {"mimeType": mime, "data": data}})
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        _ => "STOP",
    }
}

fn usage(usage: &Usage) -> Value {
    let thoughts = usage.reasoning_tokens();
    json!({
        "promptTokenCount": usage.prompt_tokens, "candidatesTokenCount": usage.completion_tokens - thoughts,
        "thoughtsTokenCount": thoughts, "totalTokenCount": usage.total_tokens,
    })
}

fn reply(facts: &Facts, candidates: Vec<Value>, told: Option<&Usage>) -> Value {
    let mut reply = Map::new();
    reply.insert("candidates".to_owned(), Value::Array(candidates));
    if let Some(told) = told {
        reply.insert("usageMetadata".to_owned(), usage(told));
    }
    reply.insert("modelVersion".to_owned(), json!(facts.model));
    reply.insert("responseId".to_owned(), json!(facts.id.replace("chatcmpl-", "")));
    Value::Object(reply)
}

/// A whole answer.
pub fn whole(request: &Request, answer: &Answer, facts: &Facts) -> Value {
    let mut parts = Vec::new();
    if !answer.reasoning.is_empty() {
        parts.push(json!({"text": answer.reasoning, "thought": true}));
    }
    let words = answer.words.clone().into_text();
    if !words.is_empty() {
        parts.push(json!({"text": words}));
    }
    parts.extend(answer.calls.iter().enumerate().map(|(at, call)| call_part(at, call)));
    parts.extend(answer.image.then(image_part));
    let content = json!({"role": "model", "parts": parts});
    let candidate =
        |index| json!({"index": index, "content": content, "finishReason": finish_reason(answer)});
    reply(facts, (0..request.n).map(candidate).collect(), answer.usage.as_ref())
}

/// An error.
pub fn fault(fault: &Fault) -> Value {
    let status = match fault.status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": fault.status, "message": fault.message, "status": status}})
}

/// A stream: each event is a reply of its own.
pub struct Stream {
    facts: Facts,
}

impl Stream {
    pub fn new(facts: &Facts) -> Self {
        Self { facts: facts.clone() }
    }

    fn event(&self, choice: u32, part: &Value) -> Bytes {
        let candidate = json!({"index": choice, "content": {"role": "model", "parts": [part]}});
        unnamed(&reply(&self.facts, vec![candidate], None))
    }
}

impl Frames for Stream {
    fn role(&mut self, _: u32, _: &Answer) -> Bytes {
        Bytes::new()
    }

    fn part(&mut self, choice: u32, part: &Part, answer: &Answer) -> Bytes {
        let part = match Piece::of(part, answer) {
            Some(Piece::Reasoning(text)) => json!({"text": text, "thought": true}),
            Some(Piece::Text(text)) => json!({"text": text}),
            Some(Piece::Call(at, call)) => call_part(at, call),
            Some(Piece::Image) => image_part(),
            // Arguments come with their call.
            Some(Piece::Arguments(..)) | None => return Bytes::new(),
        };
        self.event(choice, &part)
    }

    fn finish(&mut self, choice: u32, answer: &Answer) -> Bytes {
        let content = json!({"role": "model", "parts": [{"text": ""}]});
        let candidate = json!({"index": choice, "content": content, "finishReason": finish_reason(answer)});
        unnamed(&reply(&self.facts, vec![candidate], answer.usage.as_ref()))
    }

    fn usage(&mut self, _: &Answer) -> Option<Bytes> {
        None
    }

    fn done(&mut self) -> Bytes {
        Bytes::new()
    }

    fn error(&mut self, told: &Fault) -> Bytes {
        unnamed(&fault(told))
    }
}
