//! Encoding a request.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::block::{Block, is_marked, limit_marks};
use super::content::{Turn, Turns};
use super::controls::{self, Controls, Thinking};
use super::form::{self, Form, Format};
use super::tools::{self, Choice, ToolOut};
use crate::chat::conversation::Str;
use crate::error::Error;
use crate::wire::encode::Handling::{Dropped, Mapped, Passed, Refused};
use crate::wire::encode::{FieldTable, Job, Notes, Written};

/// What becomes of each field.
pub const FIELDS: FieldTable = &[
    ("model", Passed),
    ("messages", Mapped),
    ("temperature", Mapped),
    ("max_tokens", Mapped),
    ("top_p", Mapped),
    ("frequency_penalty", Dropped),
    ("presence_penalty", Dropped),
    ("max_completion_tokens", Mapped),
    ("n", Refused),
    ("stop", Passed),
    ("seed", Dropped),
    ("logprobs", Dropped),
    ("top_logprobs", Dropped),
    ("logit_bias", Dropped),
    ("user", Mapped),
    ("parallel_tool_calls", Mapped),
    ("stream_options", Mapped),
    ("service_tier", Mapped),
    ("prompt_cache_key", Dropped),
    ("metadata", Mapped),
    ("modalities", Dropped),
    ("prediction", Dropped),
    ("store", Dropped),
    ("verbosity", Dropped),
    ("web_search_options", Mapped),
    ("audio", Refused),
    ("response_format", Mapped),
    ("stream", Passed),
    ("tools", Mapped),
    ("tool_choice", Mapped),
    ("reasoning_effort", Mapped),
    ("top_k", Mapped),
    ("thinking", Passed),
    ("output_config", Passed),
    ("cache_control", Passed),
    ("context_management", Passed),
    ("anthropic_beta", Mapped),
    ("safety_identifier", Mapped),
];

/// The version that this is.
/// Version of the API, `anthropic-version`.
pub const VERSION: &str = "2023-06-01";
/// Files that are named by their id.
const FILES_BETA: &str = "files-api-2025-04-14";
/// Words of one list of betas at most, and their length in all.
const BETAS_BYTES_MAX: usize = 1024;
/// Longest id of a user that the API takes, characters.
const USER_CHARS_MAX: usize = 256;

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_management: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: Str<'a>,
}

/// `output_config`: the client's own members, and what the gateway has to say there.
#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(flatten)]
    given: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

/// Writes a request.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let mut turns = Turns::of(job, notes)?;
    let controls = controls::settle(job, &turns.turns, notes);
    let form = form::settle(job, &controls, notes);
    let mut tools = tools::tools(job, &form, notes)?;
    let tool_choice = tools::choice(job, &controls, &form, tools.is_empty(), notes);
    if let Form::Told(words) = &form {
        turns.system.push(Block::plain(words.clone()));
    }
    let cache_control = job.conversation.field("cache_control");
    keep_marks(&mut tools, &mut turns, cache_control.is_some(), notes);
    let headers = headers(job, turns.file_ids, notes);
    let version = job.quirks.body_version.as_deref();
    let Controls { max_tokens, thinking, effort, temperature, top_p, top_k } = controls;
    let format = if let Form::Native(format) = form { Some(format) } else { None };
    let request = Request {
        anthropic_version: version,
        model: version.is_none().then_some(job.model),
        max_tokens,
        tools,
        tool_choice,
        system: turns.system,
        messages: turns.turns,
        thinking,
        output_config: output_config(job, effort, format),
        context_management: job.conversation.field("context_management"),
        temperature,
        top_p,
        top_k,
        stop_sequences: stops(job, notes),
        metadata: metadata(job, notes),
        service_tier: service_tier(job, notes),
        cache_control,
        stream: (job.conversation.request().stream && job.quirks.stream_field).then_some(true),
    };
    let body = serde_json::to_vec(&request).map_err(|_| Error::Internal)?;
    Ok(Written { body, headers })
}

/// At most so many cache marks as the API takes; the latest, which save the most.
fn keep_marks<'a>(tools: &mut [ToolOut<'a>], turns: &mut Turns<'a>, on_top: bool, notes: &mut Notes) {
    let fixed = tools.iter().filter(|tool| tool.is_marked_for_good()).count()
        + turns
            .turns
            .iter()
            .flat_map(|turn| &turn.content)
            .filter(|block| matches!(block, Block::Raw(raw) if is_marked(raw)))
            .count()
        + usize::from(on_top);
    let marks = tools.iter_mut().filter_map(ToolOut::mark);
    let marks = marks.chain(turns.system.iter_mut().filter_map(Block::mark));
    let mut all: Vec<_> = marks.collect();
    turns.turns.iter_mut().flat_map(|turn| &mut turn.content).for_each(|block| block.marks(&mut all));
    if limit_marks(all, fixed) {
        notes.drop_param("cache_control");
    }
}

fn headers(job: &Job<'_>, file_ids: bool, notes: &mut Notes) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if job.quirks.body_version.is_none() {
        headers.push(("anthropic-version", VERSION.to_owned()));
    }
    let mut betas: Vec<String> = Vec::new();
    if let Some(given) = job.conversation.field("anthropic_beta") {
        let plain = |word: &String| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        match serde_json::from_str::<Vec<String>>(given.get()) {
            Ok(words) if words.iter().all(plain) && given.get().len() <= BETAS_BYTES_MAX => betas = words,
            _ => notes.drop_param("anthropic_beta"),
        }
    }
    if file_ids && !betas.iter().any(|beta| beta == FILES_BETA) {
        betas.push(FILES_BETA.to_owned());
    }
    if !betas.is_empty() {
        headers.push(("anthropic-beta", betas.join(",")));
    }
    headers
}

fn output_config<'a>(
    job: &Job<'a>,
    effort: Option<&'static str>,
    format: Option<Format<'a>>,
) -> Option<OutputConfig<'a>> {
    let given = job.conversation.field("output_config");
    let given: Map<String, Value> =
        given.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    // What the client says in the vendor's own words counts.
    let effort = effort.filter(|_| !given.contains_key("effort"));
    let format = format.filter(|_| !given.contains_key("format"));
    let any = !given.is_empty() || effort.is_some() || format.is_some();
    any.then_some(OutputConfig { given, effort, format })
}

/// Who the user is, for the vendor's watch over abuse. Other metadata is the client's own and has no place here.
fn metadata<'a>(job: &Job<'a>, notes: &mut Notes) -> Option<Metadata<'a>> {
    let given = job.conversation.field("metadata");
    let given: Map<String, Value> =
        given.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    if given.keys().any(|name| name != "user_id") {
        notes.drop_param("metadata");
    }
    let named = given.get("user_id").and_then(Value::as_str).map(|id| ("metadata", Str::from(id.to_owned())));
    let field = |name| job.conversation.string(name).map(|id| (name, id));
    let (name, user_id) = named.or_else(|| field("user")).or_else(|| field("safety_identifier"))?;
    if user_id.chars().count() > USER_CHARS_MAX {
        notes.drop_param(name);
        return None;
    }
    Some(Metadata { user_id })
}

/// Priority is bought beforehand here and not asked for; what can be said is to go without.
fn service_tier<'a>(job: &Job<'a>, notes: &mut Notes) -> Option<Str<'a>> {
    let tier = job.conversation.string("service_tier")?;
    if tier == "standard_only" {
        return Some(tier);
    }
    if tier != "auto" && tier != "default" {
        notes.drop_param("service_tier");
    }
    None
}

/// Sequences of white space alone are refused by the API.
fn stops<'a>(job: &Job<'a>, notes: &mut Notes) -> Vec<&'a str> {
    let given = &job.conversation.stop;
    let taken: Vec<&str> =
        given.iter().map(AsRef::as_ref).filter(|stop: &&str| !stop.trim().is_empty()).collect();
    if taken.len() < given.len() {
        notes.drop_param("stop");
    }
    taken
}
