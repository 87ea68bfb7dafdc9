//! Turns and their parts, as they are written.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::conversation::{Body, Part as Given};

/// One turn.
#[derive(Serialize)]
pub struct Content<'a> {
    pub role: &'static str,
    pub parts: Vec<Part<'a>>,
}

/// One part of a turn.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Part<'a> {
    Plain(Box<Plain<'a>>),
    /// Google's own, going back as it came.
    Raw(Box<RawValue>),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plain<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_data: Option<Stored<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_response: Option<FunctionResponse<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<&'a str>,
}

/// Bytes, base64.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob<'a> {
    pub mime_type: &'a str,
    pub data: &'a str,
}

/// A file that Google can reach.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<&'a str>,
    pub file_uri: &'a str,
}

#[derive(Serialize)]
pub struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub name: &'a str,
    pub args: Cow<'a, RawValue>,
}

#[derive(Serialize)]
pub struct FunctionResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub name: &'a str,
    pub response: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
}

impl<'a> Part<'a> {
    /// Text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Plain { text: Some(text.into()), ..Plain::default() }.into()
    }

    /// Bytes, base64.
    pub fn inline(mime_type: &'a str, data: &'a str) -> Self {
        Plain { inline_data: Some(Blob { mime_type, data }), ..Plain::default() }.into()
    }

    /// A file that Google can reach.
    pub fn stored(mime_type: Option<&'a str>, file_uri: &'a str) -> Self {
        Plain { file_data: Some(Stored { mime_type, file_uri }), ..Plain::default() }.into()
    }

    /// The same with a signature.
    pub fn signed(mut self, signature: Option<&'a str>) -> Self {
        if let Self::Plain(plain) = &mut self {
            plain.thought_signature = signature;
        }
        self
    }
}

impl<'a> From<Plain<'a>> for Part<'a> {
    fn from(plain: Plain<'a>) -> Self {
        Self::Plain(Box::new(plain))
    }
}

/// The text of a part that is text and not empty.
pub fn text<'a>(part: &'a Given<'a>) -> Option<Part<'a>> {
    match &part.body {
        Body::Text(text) | Body::Refusal(text) if !text.is_empty() => Some(Part::text(text.as_ref())),
        _ => None,
    }
}
