//! What a client sees of an answer, whole or streamed; on the way, everything that every answer must keep to.

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::case::Case;
use crate::support::{Answer, Event};

/// One choice, put together.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub index: u64,
    pub role: bool,
    pub text: String,
    pub reasoning: String,
    pub refusal: String,
    pub calls: Vec<Call>,
    pub finish: Option<String>,
    pub signatures: Vec<String>,
    /// What only its minter can read.
    pub encrypted_data: Vec<String>,
    /// Blocks of it that belong to no tool call.
    pub encrypted: usize,
    /// Media type, length and SHA-256 of each image.
    pub images: Vec<Value>,
    /// Name of a function called in the legacy way.
    pub function: Option<String>,
}

/// One tool call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// An answer, put together.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub choices: Vec<Choice>,
    pub usage: Option<Value>,
    pub error: Option<Value>,
    pub done: bool,
    /// Rules of the contract that the answer breaks.
    pub broken: Vec<String>,
}

/// Notes a broken rule.
macro_rules! rule {
    ($seen:expr, $holds:expr, $($words:tt)*) => {
        if !$holds {
            $seen.broken.push(format!($($words)*));
        }
    };
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

impl Seen {
    /// Reads an answer; `usage_asked`: the client asked for the usage chunk.
    pub fn of(answer: &Answer, case: &Case, usage_asked: bool) -> Self {
        let mut seen = Self::default();
        rule!(seen, !answer.broken, "the connection broke");
        let streams = answer.header("content-type").starts_with("text/event-stream");
        if answer.status != 200 || !streams {
            rule!(seen, !streams, "a refusal that is a stream");
            seen.whole(&answer.json(), answer, case);
        } else {
            rule!(seen, case.streamed(), "a stream nobody asked for");
            seen.stream(answer, case, usage_asked);
        }
        seen
    }

    fn metadata(&mut self, metadata: &Value, answer: &Answer, case: &Case) {
        rule!(self, metadata["requested_model"] == case.asked(), "requested_model: {metadata}");
        rule!(self, metadata["used_provider"] == case.provider, "used_provider: {metadata}");
        rule!(self, metadata["underlying_used_model"] == case.model(), "underlying_used_model: {metadata}");
        rule!(self, metadata["request_id"] == answer.header("x-request-id"), "request_id: {metadata}");
    }

    fn whole(&mut self, body: &Value, answer: &Answer, case: &Case) {
        if let Some(error) = body.get("error") {
            rule!(self, error["message"].is_string() && error["type"].is_string(), "shape of {error}");
            rule!(self, error.get("param").is_some() && error.get("code").is_some(), "shape of {error}");
            self.error = Some(error.clone());
            return;
        }
        rule!(self, answer.status == 200, "status {} without an error", answer.status);
        rule!(self, body["object"] == "chat.completion", "object: {}", body["object"]);
        rule!(self, body["model"] == case.asked(), "model: {}", body["model"]);
        rule!(self, !text(body, "id").is_empty(), "no id");
        rule!(self, body["created"].is_number(), "created: {}", body["created"]);
        rule!(self, answer.header("x-gateway-provider") == case.provider, "x-gateway-provider");
        self.metadata(&body["metadata"], answer, case);
        self.usage = body.get("usage").cloned();
        for choice in body["choices"].as_array().into_iter().flatten() {
            let message = &choice["message"];
            rule!(self, message["role"] == "assistant", "role: {message}");
            rule!(self, message["content"].is_string() || message["content"].is_null(), "content: {message}");
            rule!(
                self,
                message.get("reasoning_content").is_none_or(Value::is_null),
                "reasoning has one name"
            );
            let mut read = Choice {
                index: choice["index"].as_u64().unwrap_or(u64::MAX),
                finish: choice["finish_reason"].as_str().map(str::to_owned),
                ..Choice::default()
            };
            read.add(message);
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                let function = call.get("function").or(call.get("custom")).unwrap_or(&Value::Null);
                let arguments = function.get("arguments").or(function.get("input"));
                rule!(self, arguments.is_some_and(Value::is_string), "arguments: {call}");
                rule!(self, call["type"].is_string(), "type: {call}");
                read.calls.push(Call {
                    id: text(call, "id").to_owned(),
                    name: text(function, "name").to_owned(),
                    arguments: arguments.and_then(Value::as_str).unwrap_or("").to_owned(),
                });
            }
            self.choices.push(read);
        }
    }

    fn stream(&mut self, answer: &Answer, case: &Case, usage_asked: bool) {
        let events = answer.events();
        let mut metadata = 0;
        for (at, event) in events.iter().enumerate() {
            let last = at + 1 == events.len();
            rule!(self, !self.done, "an event after [DONE]");
            rule!(self, self.error.is_none(), "an event after an error");
            let chunk = match event {
                Event::Done => {
                    self.done = true;
                    rule!(self, last, "[DONE] is not last");
                    continue;
                }
                Event::Json(chunk) => chunk,
            };
            if let Some(error) = chunk.get("error") {
                self.error = Some(error.clone());
                continue;
            }
            if let Some(found) = chunk.get("metadata") {
                metadata += 1;
                self.metadata(found, answer, case);
                let finishes = chunk["choices"].as_array().is_some_and(|choices| {
                    choices.iter().any(|choice| {
                        !choice["finish_reason"].is_null() || choice.get("native_finish_reason").is_some()
                    })
                });
                rule!(
                    self,
                    if usage_asked { chunk["usage"].is_object() } else { finishes },
                    "metadata rides on {chunk}"
                );
            }
            self.chunk(chunk, case, usage_asked);
        }
        if self.error.is_none() {
            rule!(self, self.done, "neither [DONE] nor an error");
            rule!(self, metadata == 1, "{metadata} chunks with metadata");
            rule!(self, self.usage.is_some() == usage_asked, "usage chunk asked for: {usage_asked}");
        }
        self.choices.sort_by_key(|choice| choice.index);
    }

    fn chunk(&mut self, chunk: &Value, case: &Case, usage_asked: bool) {
        rule!(self, chunk["object"] == "chat.completion.chunk", "object: {}", chunk["object"]);
        rule!(self, chunk["model"] == case.asked(), "model: {}", chunk["model"]);
        rule!(self, !text(chunk, "id").is_empty(), "no id");
        rule!(self, chunk["created"].is_number(), "created: {}", chunk["created"]);
        rule!(self, self.usage.is_none(), "a chunk after the usage chunk: {chunk}");
        let choices = chunk["choices"].as_array().cloned().unwrap_or_default();
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            rule!(self, usage_asked, "usage nobody asked for");
            rule!(self, choices.is_empty(), "usage beside choices: {chunk}");
            self.usage = Some(usage.clone());
        } else {
            rule!(self, !choices.is_empty(), "an empty chunk: {chunk}");
        }
        for choice in &choices {
            self.delta(choice);
        }
    }

    fn delta(&mut self, choice: &Value) {
        let Some(index) = choice["index"].as_u64() else {
            return self.broken.push(format!("no index: {choice}"));
        };
        let at = self.choices.iter().position(|known| known.index == index).unwrap_or_else(|| {
            self.choices.push(Choice { index, ..Choice::default() });
            self.choices.len() - 1
        });
        let mut state = std::mem::take(&mut self.choices[at]);
        let delta = &choice["delta"];
        rule!(self, delta.is_object(), "no delta: {choice}");
        rule!(self, state.role || delta["role"] == "assistant", "the first delta carries no role: {choice}");
        rule!(self, delta.get("reasoning_content").is_none_or(Value::is_null), "reasoning has one name");
        rule!(self, delta.get("content").is_none_or(|c| c.is_string() || c.is_null()), "content: {delta}");
        state.role = true;
        state.add(delta);
        for fragment in delta["tool_calls"].as_array().into_iter().flatten() {
            self.fragment(&mut state, fragment);
        }
        if let Some(word) = choice["finish_reason"].as_str() {
            rule!(self, state.finish.is_none(), "two finish reasons");
            state.finish = Some(word.to_owned());
        }
        self.choices[at] = state;
    }

    fn fragment(&mut self, state: &mut Choice, fragment: &Value) {
        let index = fragment["index"].as_u64().map_or(usize::MAX, |index| index as usize);
        let (id, name) = (text(fragment, "id"), text(&fragment["function"], "name"));
        if index == state.calls.len() {
            rule!(self, !id.is_empty() && !name.is_empty(), "a call opens without id or name: {fragment}");
            rule!(self, fragment["type"].is_string(), "a call opens without type: {fragment}");
            state.calls.push(Call { id: id.to_owned(), name: name.to_owned(), arguments: String::new() });
        } else {
            rule!(self, id.is_empty() && name.is_empty(), "id or name twice: {fragment}");
        }
        match state.calls.get_mut(index) {
            Some(call) => call.arguments.push_str(text(&fragment["function"], "arguments")),
            None => self.broken.push(format!("the index does not count calls: {fragment}")),
        }
    }
}

impl Choice {
    /// Adds what a message and a delta share.
    fn add(&mut self, message: &Value) {
        self.text.push_str(text(message, "content"));
        self.reasoning.push_str(text(message, "reasoning"));
        self.refusal.push_str(text(message, "refusal"));
        if let Some(name) = message["function_call"]["name"].as_str() {
            self.function = Some(name.to_owned());
        }
        let details = message["reasoning_details"].as_array().into_iter().flatten();
        let details: Vec<&Value> = details.collect();
        let encrypted = details.iter().filter(|detail| detail["type"] == "reasoning.encrypted");
        self.encrypted_data
            .extend(encrypted.clone().filter_map(|detail| detail["data"].as_str()).map(str::to_owned));
        self.encrypted += encrypted.count();
        for image in message["images"].as_array().into_iter().flatten() {
            let url = image["image_url"]["url"].as_str().unwrap_or("");
            let (head, data) = url.split_once(";base64,").unwrap_or((url, ""));
            let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default();
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            self.images.push(json!([head.trim_start_matches("data:"), bytes.len(), digest]));
        }
        let signatures = details.into_iter().filter_map(|detail| detail["signature"].as_str());
        self.signatures.extend(signatures.filter(|signature| !signature.is_empty()).map(str::to_owned));
    }
}
