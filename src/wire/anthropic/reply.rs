//! Decoding a whole reply, and an error.

use serde_json::Value;

use super::fault_of;
use super::stream::Blocks;
use super::usage::Tally;
use crate::wire::translate::Answer;
use crate::wire::{DecodeError, Fault, openai};

/// Reads a reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let reply: Value =
        serde_json::from_slice(body).map_err(|_| DecodeError::invalid("its answer is not a JSON object"))?;
    if reply.get("type").and_then(Value::as_str) == Some("error") || reply.get("error").is_some() {
        return Err(DecodeError::Fault(fault_of(0, &reply)));
    }
    let Some(content) = reply.get("content").and_then(Value::as_array) else {
        return Err(DecodeError::invalid("its answer has no content"));
    };
    answer.id(reply.get("id").and_then(Value::as_str).unwrap_or_default());
    let mut blocks = Blocks::default();
    for (index, block) in content.iter().enumerate() {
        let index = index as u64;
        blocks.start(index, block, answer)?;
        blocks.stop(index, answer)?;
    }
    if let Some(usage) = reply.get("usage") {
        let mut tally = Tally::default();
        tally.add(usage);
        if let Some(usage) = tally.usage() {
            answer.report_usage(usage);
        }
        if let Some(tier) = usage.get("service_tier").and_then(Value::as_str) {
            answer.tier(tier);
        }
    }
    if let Some(reason) = reply.get("stop_reason").and_then(Value::as_str) {
        answer.finish(0, blocks.ending(reason));
    }
    Ok(())
}

/// Reads an error answer; never fails.
pub fn error(status: u16, body: &[u8]) -> Fault {
    match serde_json::from_slice::<Value>(body) {
        Ok(value @ Value::Object(_)) => fault_of(status, &value),
        _ => openai::decode_error(status, body),
    }
}
