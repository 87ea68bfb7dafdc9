//! How a response ended, what it cost in tokens, and what went wrong.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::output::Tools;
use crate::chat::Usage;
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::Fault;
use crate::wire::openai;
use crate::wire::translate::{Answer, Ending};
use crate::wire::usage::count;

/// A response object, as far as it is read.
#[derive(Debug, Deserialize)]
pub struct Response<'a> {
    #[serde(borrow)]
    pub id: Option<Str<'a>>,
    #[serde(borrow)]
    pub status: Option<Str<'a>>,
    #[serde(borrow)]
    pub output: Option<Vec<&'a RawValue>>,
    pub usage: Option<Value>,
    #[serde(borrow)]
    service_tier: Option<Str<'a>>,
    incomplete_details: Option<Value>,
    pub error: Option<Value>,
}

impl<'a> Response<'a> {
    /// Reads one.
    pub fn read(written: &'a str) -> Result<Self, DecodeError> {
        serde_json::from_str(written).map_err(|_| DecodeError::invalid("its response object cannot be read"))
    }

    /// Tells what is known from the beginning.
    pub fn introduce(&self, answer: &mut Answer) {
        answer.id(self.id.as_deref().unwrap_or(""));
    }

    /// Tells what is known at the end, the ending last.
    pub fn conclude(&self, status: &str, tools: &mut Tools, answer: &mut Answer) -> Result<(), DecodeError> {
        tools.conclude(answer);
        if let Some(mut usage) = self.usage.as_ref().and_then(usage) {
            usage.web_searches = tools.searches;
            answer.report_usage(usage);
        }
        if let Some(tier) = self.service_tier.as_deref().filter(|tier| !tier.is_empty()) {
            answer.tier(tier);
        }
        let reason = || {
            let reason = self.incomplete_details.as_ref()?.get("reason")?;
            reason.as_str()
        };
        match status {
            "completed" => answer.finish(0, Ending::known("stop", status)),
            "incomplete" => answer.finish(0, incomplete(reason())),
            "failed" => return Err(DecodeError::Fault(fault(200, self.error.as_ref()))),
            "cancelled" => return Err(DecodeError::Fault(failed("its response was cancelled"))),
            other => return Err(DecodeError::invalid(format!("its response is not finished ({other})"))),
        }
        Ok(())
    }
}

fn incomplete(reason: Option<&str>) -> Ending {
    let native = format!("incomplete:{}", reason.unwrap_or("unknown"));
    match reason {
        Some("max_output_tokens" | "max_tokens") => Ending::known("length", native),
        Some("content_filter") => Ending::known("content_filter", native),
        _ => Ending::unknown(native),
    }
}

/// Usage; `None` when it is missing or contradicts itself.
fn usage(written: &Value) -> Option<Usage> {
    let number = |pointer: &str| count(written.pointer(pointer));
    let (prompt, completion) = (number("/input_tokens")?, number("/output_tokens")?);
    let total = number("/total_tokens").unwrap_or(prompt + completion);
    if total < prompt.max(completion) {
        return None;
    }
    Some(Usage {
        prompt,
        completion,
        total,
        cache_read: number("/input_tokens_details/cached_tokens").unwrap_or(0),
        cache_write_5m: number("/input_tokens_details/cache_write_tokens").unwrap_or(0),
        reasoning: number("/output_tokens_details/reasoning_tokens"),
        ..Usage::default()
    })
}

fn failed(message: &str) -> Fault {
    Fault { message: message.to_owned(), ..Fault::default() }
}

/// An error object. Inside a 200 it names no status: its code stands for one.
pub fn fault(status: u16, error: Option<&Value>) -> Fault {
    let Some(error) = error.filter(|error| !error.is_null()) else {
        return failed("its response failed, and it does not say why");
    };
    let mut fault = openai::fault_of(status, error);
    if fault.status == 0 {
        let code = fault.code.as_deref().or_else(|| error.get("type").and_then(Value::as_str));
        fault.status = code.map_or(0, status_of);
    }
    fault
}

/// The status with which an error would have come, had it come before the answer; 0 for one that is not known.
fn status_of(code: &str) -> u16 {
    match code {
        "server_error" | "internal_error" => 500,
        "rate_limit_exceeded" | "insufficient_quota" | "rate_limit_error" => 429,
        "server_is_overloaded" | "slow_down" | "overloaded_error" => 503,
        "vector_store_timeout" | "timeout" => 504,
        "invalid_prompt" | "invalid_request_error" | "context_length_exceeded" | "bio_policy" => 400,
        code if code.contains("image") => 400,
        _ => 0,
    }
}
