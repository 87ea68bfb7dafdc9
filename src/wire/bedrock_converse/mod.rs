//! AWS Bedrock's Converse and ConverseStream.

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
    path: "/model/{model}/converse",
    stream_path: "/model/{model}/converse-stream",
    stream_type: "application/vnd.amazon.eventstream",
    inline_images: true,
    details: "anthropic-claude-v1",
};

/// Reads an error answer; never fails.
fn error(status: u16, body: &[u8]) -> Fault {
    crate::wire::openai::decode_error(status, body)
}
