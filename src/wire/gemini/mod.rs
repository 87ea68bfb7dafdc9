//! Google's generateContent, as AI Studio and Vertex serve it.
//!
//! A stream is the same object again and again, each with what is new; it has no terminal event. An answer is
//! complete when the connection ends after every candidate said why it finished, so endings go out last.

mod candidates;
mod detail;
mod error;
mod finish;
mod grounding;
mod reply;
mod request;
mod schema;
mod shape;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

use crate::wire::format::Codec;

/// What this format is made of.
pub const CODEC: Codec = Codec {
    fields: request::FIELDS,
    write: request::write,
    events: stream::start,
    reply: reply::read,
    error: error::read,
    path: "/models/{model}:generateContent",
    stream_path: "/models/{model}:streamGenerateContent?alt=sse",
    stream_type: "text/event-stream",
    headers: &[],
    inline_images: true,
    readable: &request::media::READABLE,
    details: detail::FORMAT,
};
