//! Anthropic's Messages API, as Anthropic, Google Cloud, Azure and Bedrock's invoke endpoint serve it.

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
    path: "/v1/messages",
    stream_path: "/v1/messages",
    stream_type: "text/event-stream",
    inline_images: false,
    details: "anthropic-claude-v1",
};

/// Reads an error answer; never fails.
fn error(status: u16, body: &[u8]) -> Fault {
    crate::wire::openai::decode_error(status, body)
}
