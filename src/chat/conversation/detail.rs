//! One entry of `reasoning_details`: what a model's reasoning has to bring back on the next turn.

use serde::{Deserialize, Serialize};

use super::Str;

/// One block of reasoning, in the shape that `reasoning_details` has in answers and requests.
///
/// `format` names the scheme that minted it: a block never goes to an upstream of another one. `after_text` and
/// `after_calls` say where it stood among the other blocks of its message, so that it can be put back there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail<'a> {
    /// `reasoning.text`, `reasoning.summary`, or `reasoning.encrypted` for what only its minter can read.
    #[serde(rename = "type", borrow)]
    pub kind: Str<'a>,
    /// The reasoning, for `reasoning.text`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub text: Option<Str<'a>>,
    /// The summary, for `reasoning.summary`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Str<'a>>,
    /// The opaque content, for `reasoning.encrypted`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub data: Option<Str<'a>>,
    /// The minter's signature over a `reasoning.text`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Str<'a>>,
    /// The minter's id of the block, or the id of the tool call that it belongs to.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub id: Option<Str<'a>>,
    /// Scheme that minted it, e.g. `openai-responses-v1`.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub format: Option<Str<'a>>,
    /// Place among the details of its message, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Characters (Unicode scalar values) of the message's text that came before it; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_text: Option<u64>,
    /// Tool calls of the message that came before it; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_calls: Option<u64>,
    /// Characters of the message's text, directly before its place, that were one piece with it and that it signs;
    /// `None`: it stands alone, or belongs to a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<u64>,
}

impl Detail<'_> {
    /// `reasoning.text`
    pub const TEXT: &'static str = "reasoning.text";
    /// `reasoning.summary`
    pub const SUMMARY: &'static str = "reasoning.summary";
    /// `reasoning.encrypted`
    pub const ENCRYPTED: &'static str = "reasoning.encrypted";

    /// True when this scheme minted it. One without a format is nobody's.
    pub fn is_of(&self, format: &str) -> bool {
        self.format.as_deref() == Some(format)
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Detail<'static> {
        let own = |text: Option<Str<'_>>| text.map(|text| Str::from(text.0.into_owned()));
        Detail {
            kind: Str::from(self.kind.0.into_owned()),
            text: own(self.text),
            summary: own(self.summary),
            data: own(self.data),
            signature: own(self.signature),
            id: own(self.id),
            format: own(self.format),
            index: self.index,
            after_text: self.after_text,
            after_calls: self.after_calls,
            covers: self.covers,
        }
    }
}
