//! Anthropic's Messages API, as Anthropic, Google Cloud, Azure and Bedrock's invoke endpoint serve it.

mod assistant;
mod block;
mod blocks;
mod citation;
mod content;
mod controls;
mod form;
mod ids;
mod reply;
mod request;
mod schema;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

use crate::wire::Fault;
use crate::wire::format::Codec;

/// What this format is made of.
pub const CODEC: Codec = Codec {
    fields: request::FIELDS,
    write: request::write,
    events: stream::start,
    reply: reply::read,
    error: reply::error,
    path: "/v1/messages",
    stream_path: "/v1/messages",
    stream_type: "text/event-stream",
    headers: &[("anthropic-version", request::VERSION)],
    inline_images: false,
    readable: &[],
    details: "anthropic-claude-v1",
};

/// The status behind an error's type, for errors that come without one.
fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

/// An error object, with or without its envelope.
fn fault_of(status: u16, value: &serde_json::Value) -> Fault {
    let mut fault = crate::wire::openai::fault_of(status, value);
    if fault.status == 0 {
        let kind = value.pointer("/error/type").or_else(|| value.get("type")).and_then(|kind| kind.as_str());
        fault.status = status_of(kind.unwrap_or_default());
    }
    fault
}

/// Why an answer was refused, in the vendor's words, if it says so.
fn refusal(ended: &serde_json::Value) -> &str {
    ended.pointer("/stop_details/explanation").and_then(|words| words.as_str()).unwrap_or_default()
}
