//! Decoding a whole reply, and an error.

use serde::Deserialize;
use serde_json::Value;

use super::blocks::{Begun, Blocks};
use super::usage::Tally;
use super::{fault_of, refusal};
use crate::chat::conversation::Str;
use crate::wire::translate::Answer;
use crate::wire::{DecodeError, Fault, openai};

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Str<'a>,
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Begun<'a>>>,
    #[serde(borrow)]
    stop_reason: Option<Str<'a>>,
    stop_details: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
}

/// Reads a reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let reply: Reply<'_> = match serde_json::from_slice(body) {
        Ok(reply) => reply,
        Err(error) if error.is_data() => {
            return Err(DecodeError::invalid("its answer is not a message"));
        }
        Err(_) => return Err(DecodeError::invalid("its answer is not a JSON object")),
    };
    if reply.kind == "error" || reply.error.is_some() {
        return Err(DecodeError::Fault(fault_of(0, &serde_json::json!({ "error": reply.error }))));
    }
    let Some(content) = reply.content else {
        return Err(DecodeError::invalid("its answer has no content"));
    };
    answer.id(reply.id.as_deref().unwrap_or_default());
    let mut blocks = Blocks::default();
    for (index, block) in (0..).zip(content) {
        blocks.start(index, block, answer)?;
        blocks.stop(index, answer)?;
    }
    if let Some(usage) = &reply.usage {
        let mut tally = Tally::default();
        tally.add(usage);
        told(usage, answer);
        if let Some(usage) = tally.usage() {
            answer.report_usage(usage);
        }
    }
    if let Some(reason) = reply.stop_reason {
        if let Some(details) = reply.stop_details {
            answer.refusal(0, refusal(&serde_json::json!({ "stop_details": details })));
        }
        blocks.finish(&reason, answer)?;
    }
    Ok(())
}

/// The service tier, in OpenAI's word for the ordinary one.
pub fn told(usage: &Value, answer: &mut Answer) {
    match usage.get("service_tier").and_then(Value::as_str) {
        Some("standard") => answer.tier("default"),
        Some(tier) => answer.tier(tier),
        None => {}
    }
}

/// Reads an error answer; never fails.
pub fn error(status: u16, body: &[u8]) -> Fault {
    match serde_json::from_slice::<Value>(body) {
        Ok(value @ Value::Object(_)) => fault_of(status, &value),
        _ => openai::decode_error(status, body),
    }
}
