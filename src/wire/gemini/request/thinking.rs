//! `reasoning_effort` as a level or a budget of thinking.

use serde::Serialize;

use crate::chat::Trait;
use crate::chat::request::Effort;
use crate::wire::encode::{Job, Notes};
use crate::wire::quirks::any_glob;

/// Tokens of thinking for each effort. What is above most models' limit is for those that take `xhigh`.
const MINIMAL_TOKENS: u32 = 1024;
const LOW_TOKENS: u32 = 2048;
const MEDIUM_TOKENS: u32 = 8192;
const HIGH_TOKENS: u32 = 24_576;
const XHIGH_TOKENS: u32 = 32_768;
/// The least for models that always think.
const LEAST_TOKENS: u32 = 128;

/// How to think.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thinking {
    #[serde(skip_serializing_if = "Option::is_none")]
    include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
}

/// The thinking that a request asks for.
pub fn config(job: &Job<'_>, notes: &mut Notes) -> Option<Thinking> {
    super::taken(job, "reasoning_effort")?;
    let Some(effort) = job.conversation.effort() else {
        notes.drop_param("reasoning_effort");
        return None;
    };
    let always = any_glob(&job.quirks.always_thinking_models, job.model);
    // Whoever asks for no thinking wants no thoughts either.
    let include_thoughts = (effort != Effort::None).then_some(true);
    if any_glob(&job.quirks.thinking_level_models, job.model) {
        return Some(Thinking {
            include_thoughts,
            thinking_level: Some(level(effort, always)),
            ..Thinking::default()
        });
    }
    if job.facts.known && !job.facts.traits.has(Trait::BudgetThinking) {
        // A model that does not think has no control for it; to ask for none asks for nothing.
        if effort != Effort::None {
            notes.drop_param("reasoning_effort");
        }
        return None;
    }
    let budget = match effort {
        Effort::None if always => LEAST_TOKENS,
        Effort::None => 0,
        Effort::Minimal => MINIMAL_TOKENS,
        Effort::Low => LOW_TOKENS,
        Effort::Medium => MEDIUM_TOKENS,
        Effort::Xhigh if job.facts.traits.has(Trait::XhighEffort) => XHIGH_TOKENS,
        Effort::High | Effort::Xhigh => HIGH_TOKENS,
    };
    Some(Thinking { include_thoughts, thinking_budget: Some(budget), ..Thinking::default() })
}

/// The word for an effort. These models think always; some take not even `minimal`.
fn level(effort: Effort, always: bool) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal if always => "low",
        Effort::None | Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh => "high",
    }
}
