//! Encoding a request.
//!
//! What stays the same from turn to turn is written first and the turns last, so that an unchanged prefix of a
//! conversation is an unchanged prefix of bytes.

mod generation;
pub mod media;
mod model;
mod part;
mod thinking;
mod tools;
mod turns;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::conversation::{ResponseFormat, Role};
use crate::error::Error;
use crate::wire::encode::{FieldTable, Handling, Job, Notes, Written};
use crate::wire::quirks::any_glob;

use part::Content;

/// What becomes of each field. The last ones are Google's own.
pub const FIELDS: FieldTable = &[
    ("model", Handling::Mapped),
    ("messages", Handling::Mapped),
    ("temperature", Handling::Passed),
    ("max_tokens", Handling::Passed),
    ("top_p", Handling::Passed),
    ("frequency_penalty", Handling::Passed),
    ("presence_penalty", Handling::Passed),
    ("max_completion_tokens", Handling::Passed),
    ("n", Handling::Passed),
    ("stop", Handling::Passed),
    ("seed", Handling::Mapped),
    ("logprobs", Handling::Mapped),
    ("top_logprobs", Handling::Mapped),
    ("logit_bias", Handling::Dropped),
    ("user", Handling::Dropped),
    ("parallel_tool_calls", Handling::Mapped),
    ("stream_options", Handling::Mapped),
    ("service_tier", Handling::Dropped),
    ("prompt_cache_key", Handling::Dropped),
    ("metadata", Handling::Dropped),
    ("modalities", Handling::Mapped),
    ("prediction", Handling::Dropped),
    ("store", Handling::Dropped),
    ("verbosity", Handling::Dropped),
    ("web_search_options", Handling::Mapped),
    ("audio", Handling::Mapped),
    ("response_format", Handling::Mapped),
    ("stream", Handling::Mapped),
    ("tools", Handling::Mapped),
    ("tool_choice", Handling::Mapped),
    ("reasoning_effort", Handling::Mapped),
    ("top_k", Handling::Passed),
    ("safety_settings", Handling::Passed),
    ("cached_content", Handling::Passed),
    ("thinking_config", Handling::Passed),
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tools: &'a [tools::Tool<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<&'a tools::Config<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_settings: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<Box<RawValue>>,
    contents: Vec<Content<'a>>,
}

/// Writes a request.
///
/// # Errors
/// 400 for what cannot be said in this format and cannot be left out either.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let mut offered = tools::read(job, notes)?;
    let combining = any_glob(&job.quirks.combining_models, job.model);
    if offered.functions() && offered.searches() && !combining {
        offered.leave_out_servers(notes);
    }
    let mut form = match taken(job, "response_format") {
        Some(_) => job.conversation.response_format.clone(),
        None => ResponseFormat::Text,
    };
    if !matches!(form, ResponseFormat::Text) && !offered.list.is_empty() && !combining {
        notes.drop_param("response_format");
        form = ResponseFormat::Text;
    }
    let tool_config = tools::config(job, &offered, notes);
    let generation = generation::config(job, &form, notes)?;
    let generation = serde_json::value::to_raw_value(&generation).map_err(|_| Error::Internal)?;
    let (system, contents) = split(job)?;
    let body = Body {
        system_instruction: system,
        tools: &offered.list,
        tool_config: tool_config.as_ref(),
        safety_settings: taken(job, "safety_settings"),
        cached_content: taken(job, "cached_content"),
        generation_config: Some(generation).filter(|config| config.get() != "{}"),
        contents,
    };
    let body = serde_json::to_vec(&body).map_err(|_| Error::Internal)?;
    Ok(Written { body, headers: Vec::new() })
}

/// The instructions, and the turns. Instructions with nothing to answer to are said by the user.
fn split<'a>(job: &Job<'a>) -> Result<(Option<Content<'a>>, Vec<Content<'a>>), Error> {
    let instructs = |role: Role| matches!(role, Role::System | Role::Developer);
    let messages = job.conversation.messages.iter().filter(|message| instructs(message.role));
    let texts = messages.flat_map(|message| &message.parts).filter_map(part::text);
    let parts: Vec<_> = texts.collect();
    let mut contents = turns::write(job)?;
    let system = (!parts.is_empty()).then_some(Content { role: "user", parts });
    if contents.is_empty() {
        contents.extend(system);
        return Ok((None, contents));
    }
    Ok((system, contents))
}

/// A field that was given and that the row does not say to leave out.
fn taken<'a>(job: &Job<'a>, name: &str) -> Option<&'a RawValue> {
    if job.quirks.drop_params.iter().any(|param| param == name) {
        return None;
    }
    job.conversation.field(name)
}
