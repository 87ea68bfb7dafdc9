//! Wire formats: one upstream API each. Pure: bytes and values in, bytes and values out; no I/O, no clock.
//!
//! A format has the same four parts: encode a request, decode a reply, decode an error, and one stateful stream
//! decoder object per stream. What they share is here.

pub mod envelope;
pub mod fault;
pub mod openai;
pub mod quirks;
pub mod sse;

use serde::{Deserialize, Serialize};

pub use envelope::Envelope;
pub use fault::Fault;
pub use quirks::Quirks;

/// The wire format a provider speaks. A provider is a row of data; a format is code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireFormat {
    /// POST {base}/chat/completions as OpenAI defined it.
    #[default]
    Openai,
}
