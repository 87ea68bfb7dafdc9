//! AWS Bedrock's Converse and ConverseStream.

mod citation;
mod error;
mod finish;
mod reasoning;
mod reply;
mod request;
mod stream;
mod usage;

#[cfg(test)]
mod tests;

use crate::wire::format::Codec;

/// What this format is made of.
pub const CODEC: Codec = Codec {
    fields: request::FIELDS,
    write: request::write,
    events: stream::start,
    reply: reply::read,
    error: error::decode_error,
    path: "/model/{model}/converse",
    stream_path: "/model/{model}/converse-stream",
    stream_type: crate::wire::eventstream::CONTENT_TYPE,
    headers: &[],
    inline_images: true,
    readable: &[],
    // Signatures are good on every platform that serves the models that sign.
    details: "anthropic-claude-v1",
};
