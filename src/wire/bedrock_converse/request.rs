//! Encoding a request. The model's name and whether to stream are in the address, not in the body.

mod extra;
mod media;
mod message;
mod thinking;
mod tools;

use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;

use self::thinking::Thinking;
use crate::chat::Trait;
use crate::chat::conversation::Str;
use crate::error::Error;
use crate::wire::encode::{FieldTable, Given, Handling, Job, Notes, Written};
use crate::wire::quirks::any_glob;

/// What becomes of each field.
pub const FIELDS: FieldTable = &[
    ("model", Handling::Passed),
    ("messages", Handling::Mapped),
    ("temperature", Handling::Mapped),
    ("max_tokens", Handling::Mapped),
    ("top_p", Handling::Mapped),
    ("frequency_penalty", Handling::Dropped),
    ("presence_penalty", Handling::Dropped),
    ("max_completion_tokens", Handling::Mapped),
    ("n", Handling::Refused),
    ("stop", Handling::Passed),
    ("seed", Handling::Dropped),
    ("logprobs", Handling::Dropped),
    ("top_logprobs", Handling::Dropped),
    ("logit_bias", Handling::Dropped),
    ("user", Handling::Dropped),
    ("parallel_tool_calls", Handling::Mapped),
    ("stream_options", Handling::Mapped),
    ("service_tier", Handling::Mapped),
    ("prompt_cache_key", Handling::Dropped),
    ("metadata", Handling::Mapped),
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
    ("thinking", Handling::Passed),
    ("additionalModelRequestFields", Handling::Passed),
    ("additionalModelResponseFieldPaths", Handling::Passed),
    ("guardrailConfig", Handling::Passed),
    ("performanceConfig", Handling::Passed),
    ("requestMetadata", Handling::Passed),
];

/// The highest temperature that is taken; OpenAI's scale goes to 2.
const TEMPERATURE_MAX: f64 = 1.0;
/// The least `top_p` that is taken beside thinking.
const THINKING_TOP_P_MIN: f64 = 0.95;

/// The body. What changes least from turn to turn comes first, and messages last, so that the bytes of a prefix stay.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_config: Option<Inference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_request_fields: Option<extra::Fields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_response_field_paths: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guardrail_config: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    performance_config: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<extra::Tier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<tools::OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<tools::Config<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<message::Block<'a>>,
    messages: Vec<message::Turn<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<&'a [Str<'a>]>,
}

impl Given<'_> {
    fn has(self, one: Trait) -> bool {
        self.0.facts.traits.has(one)
    }

    /// The model takes a JSON schema as the form of its answer.
    fn takes_schema(self) -> bool {
        if self.0.facts.known {
            return self.has(Trait::NativeSchema);
        }
        self.is_any(&self.0.quirks.native_schema_models)
    }

    /// The model's name is one of these.
    fn is_any(self, globs: &[String]) -> bool {
        any_glob(globs, self.0.model)
    }
}

/// Writes a request.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let given = Given(job);
    let fields = extra::Fields::of(given)?;
    let thinking = thinking::of(given, &fields, notes);
    let tools = tools::write(given, &thinking, notes);
    let (system, messages) = message::write(given, notes)?;
    let body = Body {
        inference_config: inference(given, &thinking, notes),
        additional_model_request_fields: fields.with(&thinking),
        additional_model_response_field_paths: given.raw("additionalModelResponseFieldPaths"),
        guardrail_config: given.raw("guardrailConfig"),
        performance_config: given.raw("performanceConfig"),
        service_tier: extra::tier(given, notes),
        request_metadata: extra::metadata(given, notes),
        output_config: tools.output,
        tool_config: tools.config,
        system,
        messages,
    };
    let body = serde_json::to_vec(&body).map_err(|_| Error::Internal)?;
    Ok(Written { body, ..Written::default() })
}

/// `inferenceConfig`: what the model takes beside its thinking.
fn inference<'a>(given: Given<'a>, thinking: &Thinking, notes: &mut Notes) -> Option<Inference<'a>> {
    let quirks = given.0.quirks;
    let fixed = given.has(Trait::FixedSampling)
        || given.is_any(&quirks.fixed_sampling_models)
        || thinking.takes_nothing_beside();
    let mut kept = |name: &str, fits: &dyn Fn(f64) -> bool| {
        let number = given.number(name)?;
        let value = number.as_f64().unwrap_or(f64::NAN);
        // 1 is what everyone does anyway, and what thinking asks for.
        let idle = (fixed || thinking.is_claudes()) && (value - 1.0).abs() < f64::EPSILON;
        if fixed || !fits(value) {
            if !idle {
                notes.drop_param(name);
            }
            return None;
        }
        Some(number)
    };
    let temperature = kept("temperature", &|value| !thinking.is_claudes() && value <= TEMPERATURE_MAX);
    let top_p = kept("top_p", &|value| {
        let exclusive = temperature.is_some() && given.is_any(&quirks.exclusive_sampling_models);
        !exclusive && (!thinking.is_claudes() || value >= THINKING_TOP_P_MIN)
    });
    let stop = given.0.conversation.stop.as_slice();
    let config = Inference {
        max_tokens: thinking.max_tokens(given, notes),
        temperature,
        top_p,
        stop_sequences: Some(stop).filter(|stop| !stop.is_empty() && given.takes("stop")),
    };
    let Inference { max_tokens, temperature, top_p, stop_sequences } = &config;
    let any = max_tokens.is_some() || temperature.is_some() || top_p.is_some() || stop_sequences.is_some();
    any.then_some(config)
}
