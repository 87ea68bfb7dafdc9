//! Encoding a request.

mod message;
mod tools;

use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;

use crate::chat::conversation::{ResponseFormat, Str};
use crate::chat::request::Effort;
use crate::error::Error;
use crate::wire::encode::{FieldTable, Given, Handling, Job, Notes, Written};

/// What becomes of each field.
pub const FIELDS: FieldTable = &[
    ("model", Handling::Passed),
    ("messages", Handling::Mapped),
    ("temperature", Handling::Passed),
    ("max_tokens", Handling::Passed),
    ("top_p", Handling::Mapped),
    ("frequency_penalty", Handling::Mapped),
    ("presence_penalty", Handling::Mapped),
    ("max_completion_tokens", Handling::Passed),
    ("n", Handling::Refused),
    ("stop", Handling::Passed),
    ("seed", Handling::Mapped),
    ("logprobs", Handling::Mapped),
    ("top_logprobs", Handling::Dropped),
    ("logit_bias", Handling::Dropped),
    ("user", Handling::Dropped),
    ("parallel_tool_calls", Handling::Mapped),
    ("stream_options", Handling::Mapped),
    ("service_tier", Handling::Dropped),
    ("prompt_cache_key", Handling::Dropped),
    ("metadata", Handling::Dropped),
    ("modalities", Handling::Dropped),
    ("prediction", Handling::Dropped),
    ("store", Handling::Dropped),
    ("verbosity", Handling::Dropped),
    ("web_search_options", Handling::Dropped),
    ("audio", Handling::Dropped),
    ("response_format", Handling::Mapped),
    ("stream", Handling::Passed),
    ("tools", Handling::Mapped),
    ("tool_choice", Handling::Mapped),
    ("reasoning_effort", Handling::Mapped),
    // The vendor's own.
    ("top_k", Handling::Passed),
    ("k", Handling::Passed),
    ("documents", Handling::Passed),
    ("citation_options", Handling::Passed),
    ("safety_mode", Handling::Passed),
    ("strict_tools", Handling::Passed),
    ("thinking", Handling::Passed),
    ("priority", Handling::Passed),
];

/// What the vendor takes for `p`. OpenAI's 1 means all tokens, and the nearest to it is not the default.
const P_MIN: f64 = 0.01;
const P_MAX: f64 = 0.99;
/// The largest penalty; there is none below zero.
const PENALTY_MAX: f64 = 1.0;
/// The largest thinking budget that the vendor recommends, tokens.
const THINKING_MAX: u64 = 31_000;
/// What the vendor recommends to leave of the output limit for the answer, tokens.
const ANSWER_MIN: u64 = 1_000;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<message::Out<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<tools::Out<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict_tools: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    citation_options: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_mode: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Form<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<&'a [Str<'a>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'a RawValue>,
    stream: bool,
}

#[derive(Serialize)]
struct Form<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Thinking<'a> {
    AsGiven(&'a RawValue),
    Made {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_budget: Option<u64>,
    },
}

/// Writes a request.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let conversation = job.conversation;
    let given = Given(job);
    let tools = tools::write(given, notes)?;
    let body = Body {
        model: job.model,
        messages: message::write(job, notes)?,
        tools: tools.list,
        tool_choice: tools.choice,
        strict_tools: tools.strict,
        documents: given.raw("documents"),
        citation_options: given.raw("citation_options"),
        safety_mode: given.raw("safety_mode"),
        response_format: form(given),
        thinking: thinking(given, notes),
        max_tokens: given.number("max_completion_tokens").or_else(|| given.number("max_tokens")),
        stop_sequences: Some(conversation.stop.as_slice())
            .filter(|stop| !stop.is_empty() && given.takes("stop")),
        temperature: given.number("temperature"),
        p: given.number("top_p").map(within_p),
        k: given.raw("k").or_else(|| given.raw("top_k")),
        seed: given.number("seed").filter(|seed| seed.is_u64() || dropped("seed", notes)),
        frequency_penalty: penalty(given, "frequency_penalty", notes),
        presence_penalty: penalty(given, "presence_penalty", notes),
        logprobs: logprobs(given, notes),
        priority: given.raw("priority"),
        stream: conversation.request().stream,
    };
    let body = serde_json::to_vec(&body).map_err(|_| Error::Internal)?;
    Ok(Written { body, ..Written::default() })
}

/// Names a value that cannot be sent; false, so that a filter leaves it out.
fn dropped(name: &str, notes: &mut Notes) -> bool {
    notes.drop_param(name);
    false
}

/// `top_p`, exactly as written where it can be.
fn within_p(written: Number) -> Number {
    let bounded = written.as_f64().map(|p| p.clamp(P_MIN, P_MAX));
    match bounded {
        Some(p) if written.as_f64() != Some(p) => Number::from_f64(p).unwrap_or(written),
        _ => written,
    }
}

fn penalty(given: Given<'_>, name: &str, notes: &mut Notes) -> Option<Number> {
    let fits = |number: &Number| number.as_f64().is_some_and(|value| (0.0..=PENALTY_MAX).contains(&value));
    given.number(name).filter(|number| fits(number) || dropped(name, notes))
}

/// Log probabilities are told of whole answers only.
fn logprobs(given: Given<'_>, notes: &mut Notes) -> Option<bool> {
    let asked = given.raw("logprobs")?.get() == "true";
    let streamed = given.0.conversation.request().stream;
    (asked && (!streamed || dropped("logprobs", notes))).then_some(true)
}

/// The form of the answer: a schema is a JSON object with conditions.
fn form(given: Given<'_>) -> Option<Form<'_>> {
    let json_schema = match &given.0.conversation.response_format {
        ResponseFormat::Text => return None,
        ResponseFormat::JsonObject => None,
        ResponseFormat::JsonSchema { schema, .. } => *schema,
    };
    given.takes("response_format").then_some(Form { r#type: "json_object", json_schema })
}

/// The vendor's own control where the client gave it, else a budget by effort. Models that think do so unless told
/// otherwise, so that no effort says nothing.
fn thinking<'a>(given: Given<'a>, notes: &mut Notes) -> Option<Thinking<'a>> {
    let effort = given.0.conversation.request().effort.filter(|_| given.takes("reasoning_effort"));
    if let Some(raw) = given.raw("thinking") {
        if effort.is_some() {
            notes.drop_param("reasoning_effort");
        }
        return Some(Thinking::AsGiven(raw));
    }
    let wanted = match effort? {
        Effort::None => return Some(Thinking::Made { r#type: "disabled", token_budget: None }),
        Effort::Minimal => 1_024,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::Xhigh => THINKING_MAX,
    };
    // Thinking counts as output: a budget that takes all of it would leave no answer.
    let limit = given.0.conversation.request().max_output.or(given.0.facts.max_output);
    let room = limit.map_or(THINKING_MAX, |limit| limit.saturating_sub(ANSWER_MIN).max(limit / 2).max(1));
    Some(Thinking::Made { r#type: "enabled", token_budget: Some(wanted.min(room)) })
}
