//! Decoding a whole reply.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{citation, error, finish, reasoning, usage};
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::encode::ANSWER_TOOL;
use crate::wire::translate::Answer;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Str<'a>>,
    #[serde(flatten, borrow)]
    beside: Beside<'a>,
}

/// What a reply says beside its answer, and the last event of a stream says too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside<'a> {
    #[serde(borrow)]
    usage: Option<usage::Written<'a>>,
    trace: Option<Value>,
    performance_config: Option<Value>,
    additional_model_response_fields: Option<Value>,
    #[serde(borrow)]
    service_tier: Option<Tier<'a>>,
}

#[derive(Deserialize)]
struct Tier<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
}

/// One block: one of these is there. What a server's own tools did is not, and is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<reasoning::Told<'a>>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    citations_content: Option<Cited<'a>>,
    #[serde(borrow)]
    image: Option<Image<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow)]
    tool_use_id: Option<Str<'a>>,
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(borrow)]
    content: Option<Vec<CitedText<'a>>>,
    citations: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct CitedText<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
}

/// An image that a model made.
#[derive(Deserialize)]
pub struct Image<'a> {
    #[serde(borrow)]
    format: Str<'a>,
    #[serde(borrow)]
    source: Source<'a>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    bytes: Option<Str<'a>>,
}

/// The type of a tool that the vendor runs itself: its calls are no concern of the client's.
pub const SERVER_TOOL: &str = "server_tool_use";

/// Reads a reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let unreadable = || DecodeError::invalid("it is not a reply of the Converse API");
    let reply: Reply<'_> = match serde_json::from_slice(body) {
        Ok(reply) => reply,
        Err(_) => return Err(error::told(0, body).map_or_else(unreadable, DecodeError::Fault)),
    };
    let Some(message) = reply.output.and_then(|output| output.message) else {
        return Err(error::told(0, body).map_or_else(unreadable, DecodeError::Fault));
    };
    let mut in_form = false;
    for block in message.content.into_iter().flatten() {
        in_form |= tell(block, answer)?;
    }
    reply.beside.tell(answer);
    answer.finish(0, finish::ending(reply.stop_reason.as_deref().unwrap_or(""), in_form, answer));
    Ok(())
}

/// Tells an answer one block; true when it was the answer in the form that was asked for.
fn tell(block: Block<'_>, answer: &mut Answer) -> Result<bool, DecodeError> {
    if let Some(text) = block.text {
        answer.text(0, &text);
    }
    if let Some(reasoning) = block.reasoning_content {
        think(&reasoning, answer)?;
    }
    if let Some(cited) = block.citations_content {
        let start = answer.text_chars(0);
        for text in cited.content.iter().flatten().filter_map(|content| content.text.as_deref()) {
            answer.text(0, text);
        }
        for one in cited.citations.iter().flatten() {
            citation::tell(one, start, answer.text_chars(0), answer);
        }
    }
    if let Some(image) = block.image {
        image.tell(answer);
    }
    let Some(call) = block.tool_use.filter(|call| call.kind.as_deref() != Some(SERVER_TOOL)) else {
        return Ok(false);
    };
    let input = call.input.map_or("{}", RawValue::get);
    if call.name == ANSWER_TOOL {
        answer.text(0, input);
        return Ok(true);
    }
    let at = answer.open_call(0, call.tool_use_id.as_deref().unwrap_or_default(), &call.name);
    answer.call_arguments(0, at, input);
    Ok(false)
}

fn think(told: &reasoning::Told<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
    if let Some(block) = &told.reasoning_text {
        let text = block.text.as_deref().unwrap_or("");
        answer.reasoning(0, text);
        if let Some(signature) = block.signature.as_deref().filter(|signature| !signature.is_empty()) {
            answer.detail(0, reasoning::signed(text, signature))?;
        }
    }
    if let Some(data) = told.redacted_content.as_deref().filter(|data| !data.is_empty()) {
        answer.detail(0, reasoning::redacted(data.to_owned()))?;
    }
    Ok(())
}

impl Image<'_> {
    /// Tells an answer the image.
    pub fn tell(&self, answer: &mut Answer) {
        if let Some(bytes) = &self.source.bytes {
            answer.image(0, &format!("image/{}", self.format), bytes);
        }
    }
}

impl Beside<'_> {
    /// Tells an answer what it says.
    pub fn tell(self, answer: &mut Answer) {
        if let Some(usage) = self.usage.as_ref().and_then(usage::Written::usage) {
            answer.report_usage(usage);
        }
        if let Some(tier) = self.service_tier {
            answer.tier(&tier.kind);
        }
        for (name, value) in [
            // What a guardrail found, and did.
            ("trace", self.trace),
            ("performanceConfig", self.performance_config),
            ("additionalModelResponseFields", self.additional_model_response_fields),
        ] {
            if let Some(value) = value {
                answer.extra(name, value);
            }
        }
    }
}
