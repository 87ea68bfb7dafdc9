//! Google's generateContent, as AI Studio and Vertex serve it.

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
    path: "/models/{model}:generateContent",
    stream_path: "/models/{model}:streamGenerateContent?alt=sse",
    stream_type: "text/event-stream",
    inline_images: true,
    details: "google-gemini-v1",
};

/// Reads an error answer; never fails.
fn error(status: u16, body: &[u8]) -> Fault {
    crate::wire::openai::decode_error(status, body)
}
