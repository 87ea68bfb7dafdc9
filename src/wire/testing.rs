//! For tests of formats: a request in, what goes upstream out; an answer in, what the client gets out.

use bytes::Bytes;
use serde_json::Value;

use super::{DecodeError, Decoder, Encoded, Envelope, Media, Order, Quirks, Reading, Reply, WireFormat};
use crate::chat::{Facts, request};
use crate::error::Error;

/// What an encoding depends on besides the request.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Dialect.
    pub quirks: Quirks,
    /// What is known of the model.
    pub facts: Facts,
    /// Refuse instead of dropping.
    pub strict: bool,
    /// Fetched images.
    pub media: Media,
}

/// Encodes a client's body for model `m`.
pub fn encode(format: WireFormat, body: &str, target: &Target) -> Result<Encoded, Error> {
    encode_for(format, "m", body, target)
}

/// Encodes a client's body for a model.
pub fn encode_for(format: WireFormat, model: &str, body: &str, target: &Target) -> Result<Encoded, Error> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let parsed = request::parse(&body)?;
    format.encode(&Order {
        body: &body,
        request: &parsed,
        model,
        quirks: &target.quirks,
        facts: target.facts,
        strict: target.strict,
        media: &target.media,
        recall: &|_| Vec::new(),
    })
}

/// Encodes a client's body; the JSON that goes upstream and the names of what was dropped.
pub fn sent(format: WireFormat, body: &Value, target: &Target) -> (Value, Vec<String>) {
    let encoded = encode(format, &body.to_string(), target).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), encoded.dropped)
}

fn envelope() -> Envelope {
    Envelope { model: "p/m".into(), fallback_id: "chatcmpl-x".into(), created_s: 7, ..Envelope::default() }
}

/// Reads a stream cut into pieces, usage asked for: the client's chunks, and how it ended.
pub fn stream(
    format: WireFormat,
    content_type: &str,
    pieces: &[&[u8]],
) -> (Vec<Value>, Result<(), DecodeError>) {
    let quirks = Quirks::default();
    let reading = Reading { quirks: &quirks, think_tags: false, include_usage: true, n: 1 };
    let envelope = envelope();
    let mut decoder = Decoder::new(format, reading, content_type, &envelope);
    let mut out = Vec::new();
    let mut ended = Ok(false);
    for piece in pieces {
        ended = decoder.feed(piece, &envelope, 1, &mut out).map(|fed| fed.ended);
        if !matches!(ended, Ok(false)) {
            break;
        }
    }
    if ended == Ok(false) {
        ended = decoder.end_of_input(&envelope, 1, &mut out).map(|fed| fed.ended);
    }
    if ended == Ok(true) {
        let usage = decoder.take_metered().map(|metered| metered.object).unwrap_or_default();
        decoder.finish(&envelope, 1, usage, None, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let chunks =
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect();
    (chunks, ended.map(|_| ()))
}

/// Reads a whole reply: what the client gets.
pub fn whole(format: WireFormat, body: &[u8]) -> Result<Value, DecodeError> {
    let quirks = Quirks::default();
    let reading = Reading { quirks: &quirks, think_tags: false, include_usage: false, n: 1 };
    let mut reply = Reply::decode(format, body, reading, &envelope())?;
    let usage = reply.take_metered().map(|metered| metered.object).unwrap_or_default();
    Ok(serde_json::from_slice(&reply.render(&envelope(), 1, usage, None)).unwrap())
}
