//! Items of an answer: what the model said, thought and called, and what the vendor's own tools did.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::reasoning;
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::translate::Answer;

/// An item, as far as it is read.
#[derive(Debug, Deserialize)]
pub struct Item<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Str<'a>,
    #[serde(borrow)]
    pub id: Option<Str<'a>>,
    /// Of a message or of reasoning: its parts.
    #[serde(borrow)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub summary: Option<&'a RawValue>,
    #[serde(borrow)]
    pub encrypted_content: Option<Str<'a>>,
    #[serde(borrow)]
    pub call_id: Option<Str<'a>>,
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// Of a function's call: JSON in a string; some servers send the JSON itself.
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
    /// Of a custom tool's call.
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    /// Of an image's making: base64.
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    output_format: Option<Str<'a>>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
}

/// A part of a message, a summary or a text of reasoning.
#[derive(Debug, Default, Deserialize)]
pub struct Part<'a> {
    #[serde(borrow)]
    pub text: Option<Str<'a>>,
    #[serde(borrow)]
    pub refusal: Option<Str<'a>>,
    #[serde(borrow)]
    pub annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub logprobs: Option<&'a RawValue>,
}

impl Part<'_> {
    /// What it is annotated with.
    pub fn annotations(&self) -> Vec<Value> {
        let written = self.annotations.map(RawValue::get);
        written.and_then(|written| serde_json::from_str(written).ok()).unwrap_or_default()
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message,
    Reasoning,
    Call,
    /// A tool that the vendor ran itself; never a call that the client has to answer.
    ServerTool,
    Other,
}

impl Item<'_> {
    pub fn kind(&self) -> Kind {
        match self.kind.as_ref() {
            "message" => Kind::Message,
            "reasoning" => Kind::Reasoning,
            "function_call" | "custom_tool_call" => Kind::Call,
            kind if is_server_tool(kind) => Kind::ServerTool,
            _ => Kind::Other,
        }
    }

    /// The arguments of a call, as text.
    pub fn arguments(&self) -> Str<'_> {
        self.arguments.or(self.input).map(text).unwrap_or_default()
    }
}

/// A string that some servers write as the JSON that it would hold.
pub fn text(written: &RawValue) -> Str<'_> {
    serde_json::from_str(written.get()).unwrap_or_else(|_| match written.get() {
        "null" => Str::default(),
        json => Str::from(json),
    })
}

/// True for the calls of the vendor's own tools.
pub fn is_server_tool(kind: &str) -> bool {
    kind.ends_with("_call") && !matches!(kind, "function_call" | "custom_tool_call")
        || matches!(kind, "mcp_list_tools" | "mcp_approval_request")
}

/// Parts, wherever they are; a bare string is one. One that cannot be read holds nothing that is known here.
pub fn parts(written: Option<&RawValue>) -> Vec<Part<'_>> {
    let Some(written) = written.map(RawValue::get) else { return Vec::new() };
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(written) {
        return list.into_iter().map(|raw| serde_json::from_str(raw.get()).unwrap_or_default()).collect();
    }
    let text: Option<Str<'_>> = serde_json::from_str(written).ok();
    text.map(|text| Part { text: Some(text), ..Part::default() }).into_iter().collect()
}

/// Tells an answer a whole item.
pub fn tell(raw: &RawValue, state: &mut Tools, answer: &mut Answer) -> Result<(), DecodeError> {
    let item = read(raw)?;
    reasoning::keep(&item, raw, reasoning::place(answer), answer)?;
    match item.kind() {
        Kind::Message => {
            for part in parts(item.content) {
                tell_part(&part, answer);
            }
        }
        Kind::Reasoning => tell_reasoning(&item, answer),
        Kind::Call => {
            let call = open_call(&item, answer);
            answer.call_arguments(0, call, &item.arguments());
        }
        Kind::ServerTool => state.tell(&item, raw, answer),
        Kind::Other => {}
    }
    Ok(())
}

/// Reads an item.
pub fn read(raw: &RawValue) -> Result<Item<'_>, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|_| DecodeError::invalid("an item of its output cannot be read"))
}

/// Opens the call that an item is.
pub fn open_call(item: &Item<'_>, answer: &mut Answer) -> usize {
    let id = item.call_id.as_deref().or(item.id.as_deref()).unwrap_or("");
    let name = item.name.as_deref().unwrap_or("");
    match item.kind.as_ref() {
        "custom_tool_call" => answer.open_custom_call(0, id, name),
        _ => answer.open_call(0, id, name),
    }
}

/// The words of a reasoning item: what was summed up, then what was thought.
pub fn tell_reasoning(item: &Item<'_>, answer: &mut Answer) {
    for part in parts(item.summary).into_iter().chain(parts(item.content)) {
        answer.reasoning(0, part.text.as_deref().unwrap_or(""));
    }
}

/// A part of a message.
pub fn tell_part(part: &Part<'_>, answer: &mut Answer) {
    let base = answer.text_chars(0);
    answer.text(0, part.text.as_deref().unwrap_or(""));
    answer.refusal(0, part.refusal.as_deref().unwrap_or(""));
    tell_logprobs(part.logprobs, answer);
    for one in &part.annotations() {
        annotation(one, base, answer);
    }
}

/// Log probabilities: the same entries as in chat completions, which has them under `content`.
pub fn tell_logprobs(written: Option<&RawValue>, answer: &mut Answer) {
    let read = written.and_then(|written| serde_json::from_str::<Vec<Value>>(written.get()).ok());
    if let Some(entries) = read.filter(|entries| !entries.is_empty()) {
        answer.more_logprobs(0, entries);
    }
}

/// An annotation in chat's shape: what it says goes under its own kind, and places count from the answer's start.
/// `base`: characters of the answer before the part that it is about.
pub fn annotation(written: &Value, base: u64, answer: &mut Answer) {
    let Some(members) = written.as_object() else { return };
    let Some(kind) = members.get("type").and_then(Value::as_str) else { return };
    if members.get(kind).is_some_and(Value::is_object) {
        return answer.annotation(0, written.clone());
    }
    let mut inner = Map::new();
    for (name, value) in members.iter().filter(|(name, _)| *name != "type") {
        let place = matches!(name.as_str(), "start_index" | "end_index" | "index");
        let value = match value.as_u64().filter(|_| place) {
            Some(at) => Value::from(at.saturating_add(base)),
            None => value.clone(),
        };
        inner.insert(name.clone(), value);
    }
    let mut outer = Map::new();
    outer.insert("type".to_owned(), Value::from(kind));
    outer.insert(kind.to_owned(), Value::Object(inner));
    answer.annotation(0, Value::Object(outer));
}

/// What the vendor's own tools did in one answer.
#[derive(Debug, Default)]
pub struct Tools {
    /// Searches of the web: they are charged for one by one.
    pub searches: u64,
    told: Vec<Value>,
    bytes: usize,
}

/// Bytes of the vendor's own tool calls that are told to the client in one answer; what is beyond is left out.
const TOLD_BYTES_MAX: usize = 1024 * 1024;

impl Tools {
    /// Tells an answer what a tool did: an image is an image, the rest goes beside the choices.
    pub fn tell(&mut self, item: &Item<'_>, raw: &RawValue, answer: &mut Answer) {
        if item.kind == "image_generation_call" {
            let data = item.result.map(text).unwrap_or_default();
            if !data.is_empty() {
                answer.image(0, mime(item.output_format.as_deref(), &data), bare(&data));
            }
            return;
        }
        if item.kind == "web_search_call" && searches(item.action) {
            self.searches = self.searches.saturating_add(1);
        }
        self.bytes = self.bytes.saturating_add(raw.get().len());
        if self.bytes <= TOLD_BYTES_MAX {
            self.told.extend(serde_json::from_str::<Value>(raw.get()).ok());
        }
    }

    /// Puts what was done beside the choices, once the answer is complete.
    pub fn conclude(&mut self, answer: &mut Answer) {
        if !self.told.is_empty() {
            answer.extra("server_tool_calls", Value::Array(std::mem::take(&mut self.told)));
        }
    }
}

/// True unless it only opened a page or looked through one: that is not charged as a search.
fn searches(action: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Action<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<Str<'a>>,
    }
    let action = action.and_then(|action| serde_json::from_str::<Action<'_>>(action.get()).ok());
    action.and_then(|action| action.kind).is_none_or(|kind| kind == "search")
}

/// Base64 without the head of a data URL.
fn bare(data: &str) -> &str {
    data.split_once(";base64,").map_or(data, |(_, data)| data)
}

/// Media type of an image: as named, else by how its bytes begin.
fn mime(named: Option<&str>, data: &str) -> &'static str {
    match (named, bare(data)) {
        (Some("jpeg" | "jpg"), _) => "image/jpeg",
        (Some("webp"), _) => "image/webp",
        (Some("png"), _) => "image/png",
        (_, data) if data.starts_with("/9j/") => "image/jpeg",
        (_, data) if data.starts_with("UklGR") => "image/webp",
        _ => "image/png",
    }
}
