//! OpenAI's Responses API as an upstream of chat clients.

mod reply;
mod request;
mod stream;

use crate::wire::Fault;
use crate::wire::format::Codec;

/// What this format is made of.
pub const CODEC: Codec = Codec {
    fields: request::FIELDS,
    write: request::write,
    events: stream::start,
    reply: reply::read,
    error,
    path: "/responses",
    stream_path: "/responses",
    stream_type: "text/event-stream",
    inline_images: false,
    details: "openai-responses-v1",
};

/// Reads an error answer; never fails.
fn error(status: u16, body: &[u8]) -> Fault {
    crate::wire::openai::decode_error(status, body)
}
