//! Encoding a request.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

use super::SCHEMA_TOOL;
use super::block::{Block, limit_marks};
use super::content::{Turn, Turns};
use super::controls::{self, Controls, OutputConfig, Thinking};
use crate::chat::Trait;
use crate::chat::conversation::{ResponseFormat, Str, Tool, ToolChoice};
use crate::error::Error;
use crate::wire::encode::Handling::{Dropped, Mapped, Passed, Refused};
use crate::wire::encode::{FieldTable, Job, Notes, Written, unsupported};

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
    ("service_tier", Dropped),
    ("prompt_cache_key", Dropped),
    ("metadata", Dropped),
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
];

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
    stream: Option<bool>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: Str<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolOut<'a> {
    Function {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Cow<'a, RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Raw(&'a RawValue),
    Search(Value),
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

/// Writes a request.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let mut turns = Turns::of(job, notes)?;
    let controls = controls::settle(job, &turns.turns, notes);
    let stand_in = stand_in(job, &controls, notes);
    let mut tools = tools(job, stand_in, notes)?;
    let tool_choice = choice(job, &controls, stand_in.is_some(), tools.is_empty(), notes);
    let own_marks = tools.iter_mut().filter_map(|tool| match tool {
        ToolOut::Function { cache_control, .. } => Some(cache_control),
        ToolOut::Raw(_) | ToolOut::Search(_) => None,
    });
    let system_marks = turns.system.iter_mut().filter_map(Block::mark);
    let said = turns.turns.iter_mut().flat_map(|turn| turn.content.iter_mut()).filter_map(Block::mark);
    if limit_marks(own_marks.chain(system_marks).chain(said).collect()) {
        notes.drop_param("cache_control");
    }
    let format = controls::native_format(job);
    let output_config = (format.is_some() || controls.effort.is_some())
        .then_some(OutputConfig { effort: controls.effort, format });
    let version = job.quirks.body_version.as_deref();
    let Controls { max_tokens, thinking, temperature, top_p, top_k, .. } = controls;
    let request = Request {
        anthropic_version: version,
        model: version.is_none().then_some(job.model),
        max_tokens,
        tools,
        tool_choice,
        system: turns.system,
        messages: turns.turns,
        thinking,
        output_config,
        temperature,
        top_p,
        top_k,
        stop_sequences: stops(job, notes),
        metadata: job.conversation.string("user").map(|user_id| Metadata { user_id }),
        stream: (job.conversation.request().stream && job.quirks.stream_field).then_some(true),
    };
    let mut headers = Vec::new();
    if version.is_none() {
        headers.push(("anthropic-version", "2023-06-01".to_owned()));
    }
    if turns.file_ids {
        headers.push(("anthropic-beta", "files-api-2025-04-14".to_owned()));
    }
    let body = serde_json::to_vec(&request).map_err(|_| Error::Internal)?;
    Ok(Written { body, headers })
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

/// The schema for which a tool has to stand in, because the model takes none as the form of its answer.
fn stand_in<'a>(job: &Job<'a>, controls: &Controls<'_>, notes: &mut Notes) -> Option<&'a RawValue> {
    match &job.conversation.response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonSchema { schema: Some(schema), .. } if !controls::takes_schema(job) => {
            // A tool cannot be forced on a model that thinks first.
            if controls.thinks() || job.facts.traits.has(Trait::FreeToolsOnly) {
                notes.drop_param("response_format");
                return None;
            }
            Some(schema)
        }
        ResponseFormat::JsonSchema { schema: Some(_), .. } => None,
        ResponseFormat::JsonSchema { schema: None, .. } | ResponseFormat::JsonObject => {
            notes.drop_param("response_format");
            None
        }
    }
}

fn tools<'a>(
    job: &Job<'a>,
    stand_in: Option<&'a RawValue>,
    notes: &mut Notes,
) -> Result<Vec<ToolOut<'a>>, Error> {
    let mut out = Vec::with_capacity(job.conversation.tools.len());
    for (at, tool) in job.conversation.tools.iter().enumerate() {
        out.push(match tool {
            Tool::Function { name, description, parameters, strict, cache_control } => {
                let strict = strict.filter(|strict| *strict);
                if strict.is_some() && !controls::takes_schema(job) {
                    notes.drop_param("tools.strict");
                }
                ToolOut::Function {
                    name,
                    description: description.as_deref(),
                    input_schema: schema(*parameters)?,
                    strict: strict.filter(|_| controls::takes_schema(job)),
                    cache_control: *cache_control,
                }
            }
            // The vendor's own tools carry the day of their version.
            Tool::Other { kind, raw } if kind.contains("_20") => ToolOut::Raw(raw),
            Tool::Other { .. } => {
                let advice = "describe it as a function";
                return Err(unsupported(&format!("tools[{at}].type"), job.model, advice));
            }
        });
    }
    if let Some(options) = job.conversation.field("web_search_options") {
        out.push(ToolOut::Search(web_search(options)));
    }
    if let Some(schema) = stand_in {
        out.push(ToolOut::Function {
            name: SCHEMA_TOOL,
            description: Some("Call this with your answer. It is the only way to answer."),
            input_schema: Cow::Borrowed(schema),
            strict: None,
            cache_control: None,
        });
    }
    Ok(out)
}

/// The schema of a function's arguments; the API wants that of an object.
fn schema(given: Option<&RawValue>) -> Result<Cow<'_, RawValue>, Error> {
    let given = given.filter(|schema| schema.get().replace(char::is_whitespace, "") != "{}");
    match given {
        Some(schema) => Ok(Cow::Borrowed(schema)),
        None => RawValue::from_string(r#"{"type":"object","properties":{}}"#.to_owned())
            .map(Cow::Owned)
            .map_err(|_| Error::Internal),
    }
}

fn web_search(options: &RawValue) -> Value {
    let options: Value = serde_json::from_str(options.get()).unwrap_or_default();
    let mut tool = json!({"type": "web_search_20250305", "name": "web_search"});
    let place = options.pointer("/user_location/approximate").or_else(|| options.get("user_location"));
    if let (Some(Value::Object(place)), Some(tool)) = (place, tool.as_object_mut()) {
        let mut place = place.clone();
        place.insert("type".to_owned(), json!("approximate"));
        tool.insert("user_location".to_owned(), Value::Object(place));
    }
    tool
}

fn choice<'a>(
    job: &Job<'a>,
    controls: &Controls<'_>,
    stand_in: bool,
    no_tools: bool,
    notes: &mut Notes,
) -> Option<Choice<'a>> {
    if no_tools {
        return None;
    }
    let parallel = job.conversation.parallel_tool_calls.map(|parallel| !parallel);
    let make = |kind, name| Some(Choice { r#type: kind, name, disable_parallel_tool_use: parallel });
    if stand_in {
        // The client's own tools may be called first: any of them, or the one that answers.
        let alone = job.conversation.tools.is_empty();
        return if alone { make("tool", Some(SCHEMA_TOOL)) } else { make("any", None) };
    }
    let unforced = controls.thinks() || job.facts.traits.has(Trait::FreeToolsOnly);
    match &job.conversation.tool_choice {
        wanted if wanted.forces() && unforced => {
            notes.drop_param("tool_choice");
            make("auto", None)
        }
        ToolChoice::Unset => parallel.and_then(|_| make("auto", None)),
        ToolChoice::Auto => make("auto", None),
        ToolChoice::Required => make("any", None),
        ToolChoice::Function(name) => make("tool", Some(name)),
        ToolChoice::None => Some(Choice { r#type: "none", name: None, disable_parallel_tool_use: None }),
    }
}
