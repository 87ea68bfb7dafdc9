//! Cohere's native chat, version 2.
//!
//! What its OpenAI-compatible endpoint leaves out is here: citations with their sources, thinking as blocks that go
//! back, the plan before tool calls, documents. Answers of version 1 of the API can be told apart and are read, too.

mod citation;
mod detail;
mod finish;
mod legacy;
mod reply;
mod request;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

use crate::wire::format::Codec;
use crate::wire::{Fault, openai};

/// What this format is made of.
pub const CODEC: Codec = Codec {
    fields: request::FIELDS,
    write: request::write,
    events: stream::start,
    reply: reply::read,
    error,
    path: "/v2/chat",
    stream_path: "/v2/chat",
    stream_type: "text/event-stream",
    headers: &[],
    inline_images: false,
    readable: &[],
    details: detail::FORMAT,
};

/// Status of the vendor's own for a text that it does not accept, in the prompt or the answer.
const REFUSED_TEXT: u16 = 498;

/// Reads an error answer; never fails.
///
/// Errors are `{"message": ...}` with an id and a type that say nothing more.
fn error(status: u16, body: &[u8]) -> Fault {
    let mut fault = openai::decode_error(status, body);
    if fault.status == REFUSED_TEXT {
        fault.status = 400;
    }
    fault
}
