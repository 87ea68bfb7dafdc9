//! Thinking, limits and sampling: what they are called here, and which of them exclude each other.

use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::block::Block;
use super::content::Turn;
use crate::chat::conversation::ResponseFormat;
use crate::chat::{Effort, Trait};
use crate::wire::encode::{Job, Notes};
use crate::wire::quirks::any_glob;

/// Output tokens asked for when nobody says how many, and nobody knows how many there can be.
const MAX_TOKENS_DEFAULT: u64 = 4096;
/// Least budget the API takes.
const BUDGET_MIN: u64 = 1024;

/// `thinking`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Thinking<'a> {
    /// In the client's own words.
    Raw(&'a RawValue),
    /// So many tokens.
    Enabled { r#type: &'static str, budget_tokens: u64 },
    /// Without a budget.
    Plain { r#type: &'static str },
}

/// `output_config`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format<'a>>,
}

/// A schema as the form of the answer.
#[derive(Clone, Debug, Serialize)]
pub struct Format<'a> {
    pub r#type: &'static str,
    pub schema: &'a RawValue,
}

/// What was settled.
#[derive(Debug, Default)]
pub struct Controls<'a> {
    pub max_tokens: u64,
    pub thinking: Option<Thinking<'a>>,
    pub effort: Option<&'static str>,
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<Number>,
}

impl Controls<'_> {
    /// True when the model may think before it answers.
    pub fn thinks(&self) -> bool {
        match &self.thinking {
            None => false,
            Some(Thinking::Raw(raw)) => !raw.get().contains("\"disabled\""),
            Some(Thinking::Enabled { .. }) => true,
            Some(Thinking::Plain { r#type }) => *r#type != "disabled",
        }
    }
}

/// True when the model takes a JSON schema as the form of its answer.
pub fn takes_schema(job: &Job<'_>) -> bool {
    if job.facts.known {
        return job.facts.traits.has(Trait::NativeSchema);
    }
    any_glob(&job.quirks.native_schema_models, job.model)
}

fn is_adaptive(job: &Job<'_>) -> bool {
    if job.facts.known {
        return job.facts.traits.has(Trait::AdaptiveThinking);
    }
    any_glob(&job.quirks.adaptive_thinking_models, job.model)
}

/// Settles them.
pub fn settle<'a>(job: &Job<'a>, turns: &[Turn<'a>], notes: &mut Notes) -> Controls<'a> {
    let asked = job.conversation.request().max_output;
    let max_tokens = asked.or(job.facts.max_output).unwrap_or(MAX_TOKENS_DEFAULT);
    let mut controls = Controls { max_tokens, ..Controls::default() };
    think(job, turns, &mut controls, notes);
    sample(job, &mut controls, notes);
    controls
}

fn think<'a>(job: &Job<'a>, turns: &[Turn<'a>], controls: &mut Controls<'a>, notes: &mut Notes) {
    if let Some(raw) = job.conversation.field("thinking") {
        controls.thinking = Some(Thinking::Raw(raw));
        return;
    }
    let Some(effort) = job.conversation.request().effort else { return };
    if effort == Effort::None {
        controls.thinking = Some(Thinking::Plain { r#type: "disabled" });
        return;
    }
    if is_adaptive(job) {
        controls.thinking = Some(Thinking::Plain { r#type: "adaptive" });
        controls.effort = Some(word(job, effort));
        return;
    }
    if lost_its_reasoning(turns) {
        // The API refuses a tool turn whose thinking did not come back; without thinking it goes on.
        notes.drop_param("reasoning_effort");
        return;
    }
    let (budget, max_tokens) = budget(effort, controls.max_tokens, job.facts.max_output);
    controls.max_tokens = max_tokens;
    controls.thinking = Some(Thinking::Enabled { r#type: "enabled", budget_tokens: budget });
}

fn word(job: &Job<'_>, effort: Effort) -> &'static str {
    let takes = |one| job.facts.traits.has(one);
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh if takes(Trait::XhighEffort) => "xhigh",
        Effort::Xhigh if takes(Trait::MaxEffort) => "max",
        Effort::Xhigh => "high",
    }
}

/// Budget and limit: the limit counts the thinking, too, and must be above it. A limit that leaves no room is raised,
/// so that it is what remains for the answer; what the model can write at all bounds both.
fn budget(effort: Effort, max_tokens: u64, most: Option<u64>) -> (u64, u64) {
    let budget = match effort {
        Effort::None | Effort::Minimal => 1024,
        Effort::Low => 2048,
        Effort::Medium => 8192,
        Effort::High => 16384,
        Effort::Xhigh => 32768,
    };
    if max_tokens > budget {
        return (budget, max_tokens);
    }
    let raised = max_tokens.saturating_add(budget);
    match most {
        Some(most) if raised > most => (most.saturating_sub(max_tokens).max(BUDGET_MIN), most),
        _ => (budget, raised),
    }
}

/// True when the turns end in results of tools whose calls were made without the thinking that led to them.
fn lost_its_reasoning(turns: &[Turn<'_>]) -> bool {
    let [.., asked, answered] = turns else { return false };
    let is_result = |block: &Block<'_>| matches!(block, Block::ToolResult { .. });
    let is_thought =
        |block: &Block<'_>| matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. });
    answered.content.first().is_some_and(is_result) && !asked.content.first().is_some_and(is_thought)
}

fn sample(job: &Job<'_>, controls: &mut Controls<'_>, notes: &mut Notes) {
    let number = |name: &str| job.conversation.number(name);
    let fixed =
        job.facts.traits.has(Trait::FixedSampling) || any_glob(&job.quirks.fixed_sampling_models, job.model);
    let thinks = controls.thinks();
    let is = |number: &Number, value: f64| number.as_f64().is_some_and(|number| number == value);
    if let Some(temperature) = number("temperature") {
        let in_range = temperature.as_f64().is_some_and(|heat| (0.0..=1.0).contains(&heat));
        let taken = in_range && (!(fixed || thinks) || is(&temperature, 1.0));
        if taken {
            controls.temperature = Some(temperature);
        } else {
            notes.drop_param("temperature");
        }
    }
    if let Some(top_p) = number("top_p") {
        let high = top_p.as_f64().is_some_and(|mass| mass >= 0.95);
        let second = controls.temperature.is_some() && !any_glob(&job.quirks.both_sampling_models, job.model);
        if is(&top_p, 1.0) && (second || fixed) {
            // All of it: what the API does anyway.
        } else if second || fixed || (thinks && !high) {
            notes.drop_param("top_p");
        } else {
            controls.top_p = Some(top_p);
        }
    }
    if let Some(top_k) = number("top_k") {
        if fixed || thinks {
            notes.drop_param("top_k");
        } else {
            controls.top_k = Some(top_k);
        }
    }
}

/// The form of the answer, where the model takes it natively.
pub fn native_format<'a>(job: &Job<'a>) -> Option<Format<'a>> {
    match &job.conversation.response_format {
        ResponseFormat::JsonSchema { schema: Some(schema), .. } if takes_schema(job) => {
            Some(Format { r#type: "json_schema", schema })
        }
        _ => None,
    }
}
