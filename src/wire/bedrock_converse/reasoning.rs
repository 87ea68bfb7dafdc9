//! Reasoning blocks as `reasoning_details`, and back.
//!
//! Only what was signed or is readable by its minter alone has to travel back; reasoning without a signature is text
//! for the reader, and is not sent again.

use serde::{Deserialize, Serialize};

use super::CODEC;
use crate::chat::conversation::{Detail, Str};

/// `reasoningContent` of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told<'a> {
    #[serde(borrow)]
    pub reasoning_text: Option<Text<'a>>,
    #[serde(borrow)]
    pub redacted_content: Option<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Text<'a> {
    #[serde(borrow)]
    pub text: Option<Str<'a>>,
    #[serde(borrow)]
    pub signature: Option<Str<'a>>,
}

/// `reasoningContent` of a request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Back<'a> {
    /// With its signature.
    ReasoningText {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
    /// Base64.
    RedactedContent(&'a str),
}

/// The detail for a signed block.
pub fn signed(text: &str, signature: &str) -> Detail<'static> {
    Detail {
        kind: Detail::TEXT.into(),
        text: Some(text.to_owned().into()),
        signature: Some(signature.to_owned().into()),
        format: Some(CODEC.details.into()),
        ..Detail::default()
    }
}

/// The detail for a block that only its minter can read, base64.
pub fn redacted(data: String) -> Detail<'static> {
    Detail {
        kind: Detail::ENCRYPTED.into(),
        data: Some(data.into()),
        format: Some(CODEC.details.into()),
        ..Detail::default()
    }
}

/// The block for a detail that the client sent back; `None` for one that another scheme minted or nobody signed.
pub fn back<'a>(detail: &'a Detail<'_>) -> Option<Back<'a>> {
    if !detail.is_of(CODEC.details) {
        return None;
    }
    match detail.kind.as_ref() {
        // A signature is good without its text: the minter can keep that to itself.
        Detail::TEXT => {
            let signature = detail.signature.as_deref().filter(|signature| !signature.is_empty())?;
            Some(Back::ReasoningText {
                text: detail.text.as_deref().unwrap_or(""),
                signature: Some(signature),
            })
        }
        Detail::ENCRYPTED => {
            detail.data.as_deref().filter(|data| !data.is_empty()).map(Back::RedactedContent)
        }
        _ => None,
    }
}
