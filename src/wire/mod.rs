//! Wire formats: one upstream API each. Pure: bytes and values in, bytes and values out; no I/O, no clock.
//!
//! A format has the same four parts: encode a request, decode a reply, decode an error, and one stateful stream
//! decoder object per stream. What they share is here; `format` is the table of them and the way to use any.

pub mod anthropic;
pub mod base64;
pub mod bedrock_converse;
pub mod cohere;
#[cfg(test)]
mod conformance;
pub mod decode;
pub mod encode;
pub mod envelope;
pub mod eventstream;
pub mod fault;
pub mod format;
pub mod gemini;
#[cfg(test)]
mod golden;
pub mod lines;
pub mod openai;
pub mod quirks;
#[cfg(test)]
pub mod recorded;
pub mod responses;
pub mod sse;
#[cfg(test)]
pub mod testing;
pub mod translate;
pub mod usage;

pub use decode::{DecodeError, Fed};
pub use encode::{Encoded, Media, Order};
pub use envelope::{Cut, Envelope};
pub use fault::Fault;
pub use format::{Decoder, Reading, Reply, WireFormat};
pub use quirks::Quirks;
