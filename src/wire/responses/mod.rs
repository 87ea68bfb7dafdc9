//! OpenAI's Responses API as an upstream of chat clients.
//!
//! Nothing is kept at the vendor unless the client says `store: true`. Reasoning therefore travels: it is asked for
//! encrypted, goes to the client as `reasoning_details`, and is put back where it stood.

mod ending;
mod fields;
mod input;
mod open;
mod output;
mod parts;
mod reasoning;
mod reply;
mod request;
mod stream;
mod tools;

use crate::chat::conversation::Detail;
use crate::wire::Fault;
use crate::wire::format::Codec;

/// What this format is made of.
pub const CODEC: Codec = Codec {
    fields: fields::FIELDS,
    write: request::write,
    events: stream::start,
    reply: reply::read,
    error,
    path: "/responses",
    stream_path: "/responses",
    stream_type: "text/event-stream",
    headers: &[],
    inline_images: false,
    readable: &[],
    details: SCHEME,
};

/// Scheme of the reasoning that it mints.
const SCHEME: &str = "openai-responses-v1";

/// A detail of this scheme, still empty.
fn detail() -> Detail<'static> {
    Detail { format: Some(SCHEME.into()), ..Detail::default() }
}

/// Reads an error answer; never fails.
fn error(status: u16, body: &[u8]) -> Fault {
    crate::wire::openai::decode_error(status, body)
}

#[cfg(test)]
mod tests;
