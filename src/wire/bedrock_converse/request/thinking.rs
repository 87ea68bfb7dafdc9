//! How a model is told to think: each family has its own control, and its own rules for what may stand beside it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Given;
use super::extra::Fields;
use crate::chat::conversation::Role;
use crate::chat::{Effort, Trait};
use crate::wire::bedrock_converse::reasoning;
use crate::wire::encode::Notes;
use crate::wire::quirks::ThinkingStyle;

/// The least budget that is taken, tokens.
const BUDGET_MIN: u64 = 1_024;
/// Tokens left for the answer itself where no limit is known.
const ANSWER_TOKENS: u64 = 4_096;

/// What is asked for.
pub enum Thinking {
    /// Nothing, or what the model does anyway.
    Off,
    /// The client's own `thinking` object: on or off, with this budget.
    Given { on: bool, budget: Option<u64> },
    /// A budget of tokens, with this limit for thinking and answer together.
    Budget { tokens: u64, limit: u64 },
    /// An effort; the model decides how much it needs.
    Adaptive(&'static str),
    /// `reasoningConfig`
    MaxEffort(&'static str),
    /// `reasoning_effort`
    Effort(&'static str),
    /// `reasoning_config`
    Config(&'static str),
}

/// Reads what the client asks for.
pub fn of(given: Given<'_>, fields: &Fields<'_>, notes: &mut Notes) -> Thinking {
    let effort = given.0.conversation.request().effort.filter(|_| given.takes("reasoning_effort"));
    // The client's own fields say it more precisely.
    let own = ["thinking", "reasoningConfig", "reasoning_config", "reasoning_effort"];
    if own.iter().any(|name| fields.get(name).is_some()) {
        if effort.is_some() {
            notes.drop_param("reasoning_effort");
        }
        return fields.get("thinking").map_or(Thinking::Off, read);
    }
    let Some(effort) = effort else { return Thinking::Off };
    let thinking = match (style(given), effort) {
        // It thinks whether it is told to or not.
        (Some(ThinkingStyle::Effort), Effort::None) => None,
        (_, Effort::None) => Some(Thinking::Off),
        (Some(ThinkingStyle::Adaptive), _) => Some(Thinking::Adaptive(adaptive(given, effort))),
        (Some(ThinkingStyle::Budget), _) => budget(given, effort),
        (Some(ThinkingStyle::MaxEffort), _) => Some(Thinking::MaxEffort(three(effort))),
        (Some(ThinkingStyle::Effort), _) => Some(Thinking::Effort(word(given, effort))),
        (Some(ThinkingStyle::Config), Effort::Minimal | Effort::Low) => Some(Thinking::Config("low")),
        (Some(ThinkingStyle::Config), _) => Some(Thinking::Config("high")),
        (None, _) => None,
    };
    thinking.unwrap_or_else(|| {
        notes.drop_param("reasoning_effort");
        Thinking::Off
    })
}

/// What the client's own `thinking` object says.
fn read(raw: &RawValue) -> Thinking {
    #[derive(Deserialize)]
    struct Written<'a> {
        r#type: Option<&'a str>,
        budget_tokens: Option<u64>,
    }
    match serde_json::from_str::<Written<'_>>(raw.get()) {
        Ok(written) => {
            Thinking::Given { on: written.r#type != Some("disabled"), budget: written.budget_tokens }
        }
        Err(_) => Thinking::Given { on: true, budget: None },
    }
}

/// The control that the model has: the row says whose it is by the model's name, the catalogue which of Claude's.
fn style(given: Given<'_>) -> Option<ThinkingStyle> {
    let by_name = given.0.quirks.thinking_style(given.0.model)?;
    Some(match by_name {
        ThinkingStyle::Adaptive | ThinkingStyle::Budget if given.has(Trait::AdaptiveThinking) => {
            ThinkingStyle::Adaptive
        }
        ThinkingStyle::Adaptive if given.has(Trait::BudgetThinking) => ThinkingStyle::Budget,
        other => other,
    })
}

fn three(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh => "high",
    }
}

/// OpenAI's own word, where the model takes it.
fn word(given: Given<'_>, effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal if given.has(Trait::MinimalEffort) => "minimal",
        Effort::Xhigh if given.has(Trait::XhighEffort) => "xhigh",
        effort => three(effort),
    }
}

fn adaptive(given: Given<'_>, effort: Effort) -> &'static str {
    match effort {
        Effort::Xhigh if given.has(Trait::XhighEffort) => "xhigh",
        Effort::Xhigh if given.has(Trait::MaxEffort) => "max",
        effort => three(effort),
    }
}

/// A budget for an effort. The output limit covers thinking and answer: a limit that the budget would eat up is for
/// the answer alone, as far as the model's own limit allows. `None`: the model cannot think here.
fn budget(given: Given<'_>, effort: Effort) -> Option<Thinking> {
    if breaks_off(given) {
        return None;
    }
    let wanted: u64 = match effort {
        Effort::None | Effort::Minimal => BUDGET_MIN,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::Xhigh => 32_768,
    };
    let ceiling = given.0.facts.max_output;
    let limit = match output_limit(given) {
        None => ceiling.unwrap_or(wanted + ANSWER_TOKENS),
        Some(limit) if limit > wanted => limit,
        Some(limit) => limit.saturating_add(wanted).min(ceiling.unwrap_or(u64::MAX)),
    };
    let tokens = if wanted < limit { wanted } else { (limit / 2).max(BUDGET_MIN) };
    (tokens < limit).then_some(Thinking::Budget { tokens, limit })
}

/// The client's limit on the output.
fn output_limit(given: Given<'_>) -> Option<u64> {
    let takes = given.takes("max_tokens") && given.takes("max_completion_tokens");
    given.0.conversation.request().max_output.filter(|_| takes)
}

/// True when the answer that is to be continued called tools without the reasoning that led to the calls: a model
/// with a budget refuses to go on thinking there.
fn breaks_off(given: Given<'_>) -> bool {
    let messages = given.0.conversation.messages.iter();
    let last = messages.rev().find(|message| message.role == Role::Assistant);
    last.is_some_and(|message| {
        !message.tool_calls.is_empty()
            && !message.details.iter().any(|detail| reasoning::back(detail).is_some())
    })
}

impl Thinking {
    /// True for the thinking that refuses other temperatures and forced tools beside it.
    pub fn is_claudes(&self) -> bool {
        matches!(self, Self::Budget { .. } | Self::Adaptive(_) | Self::Given { on: true, .. })
    }

    /// True for the thinking that refuses all of `inferenceConfig` beside it but stop sequences.
    pub fn takes_nothing_beside(&self) -> bool {
        matches!(self, Self::MaxEffort("high"))
    }

    /// `maxTokens`
    pub fn max_tokens(&self, given: Given<'_>, notes: &mut Notes) -> Option<u64> {
        let wanted = output_limit(given);
        match self {
            Self::Budget { limit, .. } => Some(*limit),
            Self::Given { on: true, budget: Some(budget) } if wanted.is_none() => {
                let least = budget.saturating_add(ANSWER_TOKENS);
                Some(given.0.facts.max_output.filter(|most| *most > *budget).unwrap_or(least))
            }
            _ if self.takes_nothing_beside() => {
                if wanted.is_some() {
                    let legacy = given.0.conversation.field("max_completion_tokens").is_none();
                    notes.drop_param(if legacy { "max_tokens" } else { "max_completion_tokens" });
                }
                None
            }
            _ => wanted,
        }
    }

    /// What goes into `additionalModelRequestFields`.
    pub fn fields(&self) -> Vec<(&'static str, Box<RawValue>)> {
        let written = match self {
            Self::Off | Self::Given { .. } => Vec::new(),
            Self::Budget { tokens, .. } => {
                vec![("thinking", format!(r#"{{"type":"enabled","budget_tokens":{tokens}}}"#))]
            }
            Self::Adaptive(effort) => vec![
                ("thinking", r#"{"type":"adaptive"}"#.to_owned()),
                ("output_config", format!(r#"{{"effort":"{effort}"}}"#)),
            ],
            Self::MaxEffort(effort) => {
                vec![("reasoningConfig", format!(r#"{{"type":"enabled","maxReasoningEffort":"{effort}"}}"#))]
            }
            Self::Effort(effort) => vec![("reasoning_effort", format!("\"{effort}\""))],
            Self::Config(effort) => vec![("reasoning_config", format!("\"{effort}\""))],
        };
        written
            .into_iter()
            .filter_map(|(name, json)| Some((name, RawValue::from_string(json).ok()?)))
            .collect()
    }
}
