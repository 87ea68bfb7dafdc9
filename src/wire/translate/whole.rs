//! Writing an answer as one chat completion.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answer::{Answer, Call, Choice};
use crate::chat::conversation::Detail;
use crate::money::Usd;
use crate::wire::DecodeError;
use crate::wire::envelope::Envelope;
use crate::wire::usage::{UsageObject, render};

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<ChoiceOut<'a>>,
    usage: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(flatten)]
    extras: Map<String, Value>,
    metadata: &'a RawValue,
}

#[derive(Serialize)]
struct ChoiceOut<'a> {
    index: u32,
    message: MessageOut<'a>,
    logprobs: Option<&'a Value>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasoning_details: &'a [Detail<'static>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallOut<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    images: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioOut<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    annotations: &'a [Value],
}

/// Sound as OpenAI has it. Nobody keeps it, so it is expired from the start; nobody wrote down what is said.
#[derive(Serialize)]
struct AudioOut<'a> {
    id: &'a str,
    data: &'a str,
    expires_at: i64,
    transcript: &'static str,
}

#[derive(Serialize)]
struct CallOut<'a> {
    id: &'a str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<FunctionOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<CustomOut<'a>>,
}

#[derive(Serialize)]
struct CustomOut<'a> {
    name: &'a str,
    input: &'a str,
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl Answer {
    /// A reply is an answer when there is something in it.
    ///
    /// # Errors
    /// There is nothing in it.
    pub fn checked(self) -> Result<Self, DecodeError> {
        if self.has_content() { Ok(self) } else { Err(DecodeError::invalid("its answer is empty")) }
    }

    /// The body for the client.
    pub fn render(
        &self,
        envelope: &Envelope,
        latency_ms: u64,
        usage: UsageObject,
        cost: Option<Usd>,
    ) -> Vec<u8> {
        let usage = raw(render(usage, cost));
        let metadata = raw(envelope.metadata(latency_ms));
        let completion = Completion {
            id: self.id.as_deref().unwrap_or(&envelope.fallback_id),
            object: "chat.completion",
            created: envelope.created_s,
            model: &envelope.model,
            choices: self.choices.iter().map(|state| choice(state, envelope.created_s)).collect(),
            usage: &usage,
            service_tier: self.service_tier.as_deref(),
            extras: self.extras.iter().cloned().collect(),
            metadata: &metadata,
        };
        serde_json::to_vec(&completion).unwrap_or_default()
    }
}

/// JSON that was written here.
fn raw(written: Vec<u8>) -> Box<RawValue> {
    String::from_utf8(written)
        .ok()
        .and_then(|text| RawValue::from_string(text).ok())
        .unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn choice(state: &Choice, created_s: i64) -> ChoiceOut<'_> {
    let finish_reason = state.finish_reason();
    let native = state.ending.as_ref().map(|ending| ending.native.as_str());
    let given = |text: &'_ str| -> bool { !text.is_empty() };
    // Null where something else is the answer, as OpenAI has it; an empty text is a text.
    let else_answered =
        !state.calls.is_empty() || given(&state.refusal) || !state.images.is_empty() || state.audio.is_some();
    ChoiceOut {
        index: state.index,
        message: MessageOut {
            role: "assistant",
            content: Some(state.text.as_str()).filter(|text| given(text) || !else_answered),
            refusal: Some(state.refusal.as_str()).filter(|text| given(text)),
            reasoning: Some(state.reasoning.as_str()).filter(|text| given(text)),
            reasoning_details: &state.details,
            tool_calls: state.calls.iter().map(call).collect(),
            images: &state.images,
            audio: state.audio.as_ref().map(|(id, data)| AudioOut {
                id,
                data,
                expires_at: created_s,
                transcript: "",
            }),
            annotations: &state.annotations,
        },
        logprobs: state.logprobs.as_ref(),
        finish_reason,
        native_finish_reason: native.filter(|_| finish_reason.is_none()),
    }
}

fn call(call: &Call) -> CallOut<'_> {
    let Call { id, name, arguments, .. } = call;
    if call.custom {
        return CallOut {
            id,
            r#type: "custom",
            function: None,
            custom: Some(CustomOut { name, input: arguments }),
        };
    }
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    CallOut { id, r#type: "function", function: Some(FunctionOut { name, arguments }), custom: None }
}
