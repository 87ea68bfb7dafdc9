//! What decoding leads to, in every format.

use crate::error::Error;
use crate::wire::Fault;

/// Text of the answer that is kept for counting tokens, bytes; beyond it only the length is.
const DELIVERED_BYTES_MAX: usize = 64 * 1024;

/// Why a reply or a stream is not an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The upstream said so itself.
    Fault(Fault),
    /// It cannot be read; the text completes "provider sent an answer that cannot be used: ...".
    Invalid(String),
    /// It ended before its end.
    Truncated,
}

impl DecodeError {
    /// What cannot be read.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    /// The error a client sees.
    pub fn into_error(self, provider: &str) -> Error {
        match self {
            Self::Fault(fault) => fault.into_error(provider),
            Self::Invalid(what) => Error::upstream(
                format!("{provider} sent an answer that cannot be used: {what}."),
                "upstream_invalid_response",
            ),
            Self::Truncated => Error::upstream(
                format!("{provider} broke the stream off before its end; what was sent is incomplete."),
                "stream_truncated",
            ),
        }
    }
}

/// What feeding bytes to a decoder led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Something of the answer itself is in the output.
    pub content: bool,
    /// The terminal event was read: call `finish`.
    pub ended: bool,
}

/// What was delivered: its text up to a bound, and its length in all.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    text: String,
    length: usize,
}

impl Delivered {
    /// Notes text that goes to the client.
    pub fn note(&mut self, text: &str) {
        self.length += text.len();
        let room = DELIVERED_BYTES_MAX.saturating_sub(self.text.len());
        if room == 0 {
            return;
        }
        let mut cut = text.len().min(room);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        self.text.push_str(text.get(..cut).unwrap_or(""));
    }

    /// The text that was kept.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes in all.
    pub fn length(&self) -> usize {
        self.length
    }
}
