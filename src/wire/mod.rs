//! Wire formats: one upstream API each. Pure: bytes and values in, bytes and values out; no I/O, no clock.

pub mod quirks;

use serde::{Deserialize, Serialize};

pub use quirks::Quirks;

/// The wire format a provider speaks. A provider is a row of data; a format is code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireFormat {
    /// POST {base}/chat/completions as OpenAI defined it.
    #[default]
    Openai,
}
