//! What has to travel back of an answer's reasoning: thinking blocks, and the plan made before tool calls.
//!
//! A plan is no reasoning text: it is said to the user beside the calls. It travels as a summary, so that nothing
//! of it is lost and the next turn can put it back where it was.

use crate::chat::conversation::{Detail, Str};

/// The scheme of these details.
pub const FORMAT: &str = "cohere-v2";

fn detail(kind: &'static str) -> Detail<'static> {
    Detail { kind: kind.into(), format: Some(FORMAT.into()), ..Detail::default() }
}

/// A thinking block, complete.
pub fn thinking(text: String) -> Detail<'static> {
    Detail { text: Some(text.into()), ..detail(Detail::TEXT) }
}

/// A plan, complete.
pub fn plan(text: String) -> Detail<'static> {
    Detail { summary: Some(text.into()), ..detail(Detail::SUMMARY) }
}

/// The text of a thinking block that this vendor wrote.
pub fn as_thinking<'a>(detail: &'a Detail<'_>) -> Option<&'a Str<'a>> {
    detail.text.as_ref().filter(|_| detail.is_of(FORMAT) && detail.kind == Detail::TEXT)
}

/// The text of a plan that this vendor wrote.
pub fn as_plan<'a>(detail: &'a Detail<'_>) -> Option<&'a str> {
    detail.summary.as_deref().filter(|_| detail.is_of(FORMAT) && detail.kind == Detail::SUMMARY)
}
