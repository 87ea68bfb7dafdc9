//! The door of POST /v1/chat/completions: checks a request's shape and takes from it what routing needs.
//!
//! The bytes stay what they are; [`ChatRequest`] holds offsets into them and a summary. Nothing here knows a
//! provider. Every complaint names the path of the field, e.g. `messages[2].content[0].image_url`.

use super::fields::{self, Kind};
use super::message;
use super::routing::Routing;
use super::summary::Summary;
use crate::error::Error;
use crate::json::{Members, ObjectError};

/// How hard a model should think, in OpenAI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// As much as possible.
    Xhigh,
}

impl Effort {
    /// Parses OpenAI's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" => Self::Xhigh,
            _ => return None,
        })
    }
}

/// What a request uses of a model: each needs the matching capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// `tools` is not empty.
    pub tools: bool,
    /// An `image_url` part.
    pub images: bool,
    /// An `input_audio` part.
    pub audio: bool,
    /// A `file` part.
    pub files: bool,
    /// `response_format` of type `json_schema`.
    pub json_schema: bool,
    /// `reasoning_effort` other than `none`.
    pub reasoning: bool,
}

/// A checked request: offsets into the body, and the summary that routing needs.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    /// Offsets of the top-level members.
    pub members: Members,
    /// The model string, as sent.
    pub model: String,
    /// `stream: true`.
    pub stream: bool,
    /// `stream_options.include_usage: true`.
    pub include_usage: bool,
    /// Choices asked for; 1 when not given.
    pub n: u32,
    /// The larger of `max_tokens` and `max_completion_tokens`.
    pub max_output: Option<u64>,
    /// `reasoning_effort`.
    pub effort: Option<Effort>,
    /// `free_models_only: true`.
    pub free_only: bool,
    /// `fallbacks`.
    pub fallbacks: Vec<String>,
    /// `routing`: what counts most in choosing a target.
    pub routing: Option<Routing>,
    /// `prompt_cache_key`, else `user`: calls with the same one belong together.
    pub affinity: Option<String>,
    /// Capabilities that are needed.
    pub uses: Uses,
    /// Tokens of the prompt, roughly: a quarter of the bytes of its text.
    pub prompt_estimate: u64,
    /// A message has role `developer`.
    pub developer_role: bool,
    /// An assistant message brings `reasoning` or `reasoning_details` back.
    pub reasoning_back: bool,
    /// Known fields whose value is null: not given, so not sent on.
    pub nulls: Vec<&'static str>,
}

/// Reads a body as a chat request.
///
/// # Errors
/// 400 with code `invalid_json` (line and column) or with the path of the field that is wrong.
pub fn parse(body: &[u8]) -> Result<ChatRequest, Error> {
    let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
    let members = Members::parse(text).map_err(object_error)?;
    let mut request = ChatRequest { n: 1, ..ChatRequest::default() };
    for (name, value) in members.iter(text) {
        let Some(field) = fields::find(name) else { continue };
        if value == "null" {
            if field.required {
                return Err(Error::invalid(format!("`{name}` must not be null."), name));
            }
            request.nulls.push(field.name);
            continue;
        }
        fields::check(field, value)?;
        take(&mut request, field.name, value)?;
    }
    for field in fields::FIELDS.iter().filter(|field| field.required) {
        if !members.has(text, field.name) {
            return Err(Error::invalid(format!("Missing required parameter: `{}`.", field.name), field.name));
        }
    }
    request.members = members;
    Ok(request)
}

/// Takes one checked, non-null field into the summary.
fn take(request: &mut ChatRequest, name: &'static str, value: &str) -> Result<(), Error> {
    match name {
        "model" => request.model = fields::string(name, value)?,
        "messages" => take_messages(request, value)?,
        "stream" => request.stream = value == "true",
        "free_models_only" => request.free_only = value == "true",
        "n" => request.n = u32::try_from(fields::positive(name, value)?).unwrap_or(u32::MAX),
        "max_tokens" | "max_completion_tokens" => {
            let given = fields::positive(name, value)?;
            request.max_output = Some(request.max_output.map_or(given, |other| other.max(given)));
        }
        "fallbacks" => request.fallbacks = fields::strings(name, value)?,
        "routing" => {
            let word = fields::string(name, value)?;
            let routing = Routing::parse(&word).ok_or_else(|| {
                let message = format!("`routing` is not one of {}.", Routing::WORDS.join(", "));
                Error::invalid(message, name)
            })?;
            request.routing = Some(routing);
        }
        "prompt_cache_key" => request.affinity = Some(fields::string(name, value)?),
        "user" if request.affinity.is_none() => request.affinity = Some(fields::string(name, value)?),
        "reasoning_effort" => {
            let word = fields::string(name, value)?;
            let effort = Effort::parse(&word).ok_or_else(|| {
                let message = "`reasoning_effort` is not one of none, minimal, low, medium, high, xhigh.";
                Error::invalid(message, name)
            })?;
            request.effort = Some(effort);
            request.uses.reasoning = effort != Effort::None;
        }
        "tools" => {
            let (count, text_bytes) = message::check_tools(value)?;
            request.uses.tools = count > 0;
            request.prompt_estimate += text_bytes / BYTES_PER_TOKEN;
        }
        "stream_options" => request.include_usage = fields::stream_options(value)?,
        "response_format" => request.uses.json_schema = fields::response_format(value)?,
        "tool_choice" => fields::tool_choice(value)?,
        "stop" => fields::stop(value)?,
        _ => {}
    }
    Ok(())
}

/// OpenAI's own words.
const EMPTY_MESSAGES: &str = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";

/// Bytes of text that make a token, roughly; only for choosing a model that is large enough.
const BYTES_PER_TOKEN: u64 = 4;

/// Checks the messages and takes what they use.
fn take_messages(request: &mut ChatRequest, value: &str) -> Result<(), Error> {
    let summary = Summary::of(value)?;
    if summary.count == 0 {
        return Err(Error::invalid(EMPTY_MESSAGES, "messages"));
    }
    request.developer_role = summary.developer_role;
    request.reasoning_back = summary.reasoning_back;
    request.uses.images = summary.images;
    request.uses.audio = summary.audio;
    request.uses.files = summary.files;
    request.prompt_estimate += summary.text_bytes / BYTES_PER_TOKEN;
    Ok(())
}

impl ChatRequest {
    /// The written value of a known field, if it was given and is not null.
    pub fn field<'t>(&self, body: &'t str, name: &str) -> Option<&'t str> {
        self.members.get(body, name).filter(|value| *value != "null")
    }
}

/// Longest field name that a complaint repeats, bytes.
const SHOWN_NAME_BYTES_MAX: usize = 64;

/// 400 for a body that is not an object.
fn object_error(error: ObjectError) -> Error {
    match error {
        ObjectError::Syntax(error) => invalid_json(&error),
        ObjectError::NotAnObject => {
            Error::invalid_code("The body must be a JSON object.", None, "invalid_json")
        }
        // A name is the client's text, of any size; one of no API is not worth repeating.
        ObjectError::Duplicate(name) if name.len() > SHOWN_NAME_BYTES_MAX => {
            Error::invalid_code("A field is given twice; send it once.", None, "duplicate_field")
        }
        ObjectError::Duplicate(name) => {
            let message = format!("`{name}` is given twice; send it once.");
            Error::InvalidRequest { message, param: Some(name), code: Some("duplicate_field") }
        }
        ObjectError::TooMany => Error::invalid_code(
            format!("More than {} top-level fields.", crate::json::MEMBERS_MAX),
            None,
            "too_many_fields",
        ),
    }
}

/// 400 with line and column.
fn invalid_json(error: &serde_json::Error) -> Error {
    Error::invalid_code(format!("The body is not valid JSON: {error}."), None, "invalid_json")
}

/// 400 for bytes that are not UTF-8, with line and column as for other syntax errors.
fn not_utf8(body: &[u8], at: usize) -> Error {
    let before = body.get(..at).unwrap_or_default();
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = at - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1) + 1;
    let message = format!("The body is not valid JSON: invalid UTF-8 at line {line} column {column}.");
    Error::invalid_code(message, None, "invalid_json")
}

/// The kinds of the table, for documents and tests.
pub fn known_fields() -> impl Iterator<Item = (&'static str, Kind)> {
    fields::FIELDS.iter().map(|field| (field.name, field.kind))
}

#[cfg(test)]
mod tests;
