//! Thinking, limits and sampling: what they are called here, and which of them exclude each other.

use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

use super::block::Block;
use super::content::Turn;
use crate::chat::{Effort, Trait};
use crate::wire::encode::{Job, Notes};
use crate::wire::quirks::any_glob;

/// Output tokens asked for when nobody says how many, and nobody knows how many there can be.
const MAX_TOKENS_DEFAULT: u64 = 4096;
/// Least budget the API takes.
const BUDGET_MIN: u64 = 1024;
/// Least `top_p` that a model takes while it thinks.
const TOP_P_THINKING_MIN: f64 = 0.95;

/// `thinking`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Thinking<'a> {
    /// In the client's own words.
    Raw(&'a RawValue),
    /// So many tokens.
    Enabled { r#type: &'static str, budget_tokens: u64 },
    /// As the model sees fit.
    Adaptive {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<&'static str>,
    },
    /// Not at all.
    Disabled { r#type: &'static str },
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
            None | Some(Thinking::Disabled { .. }) => false,
            Some(Thinking::Raw(raw)) => Given::of(raw).kind != "disabled",
            Some(Thinking::Enabled { .. } | Thinking::Adaptive { .. }) => true,
        }
    }
}

/// `thinking` as a client gave it.
#[derive(Default, Deserialize)]
struct Given {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    budget_tokens: u64,
}

impl Given {
    /// What cannot be read is for the API to refuse.
    fn of(raw: &RawValue) -> Self {
        serde_json::from_str(raw.get()).unwrap_or_default()
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
    match job.conversation.field("thinking") {
        Some(raw) => think_as_given(job, raw, turns, &mut controls, notes),
        None => think(job, turns, &mut controls, notes),
    }
    sample(job, &mut controls, notes);
    controls
}

/// The client speaks the vendor's words: they go as they are, and the limit is kept above the budget all the same.
fn think_as_given<'a>(
    job: &Job<'a>,
    raw: &'a RawValue,
    turns: &[Turn<'a>],
    controls: &mut Controls<'a>,
    notes: &mut Notes,
) {
    let given = Given::of(raw);
    if let Some(effort) = job.conversation.effort() {
        match given.kind.as_str() {
            "adaptive" if effort != Effort::None => controls.effort = Some(word(job, effort)),
            _ => notes.drop_param("reasoning_effort"),
        }
    }
    if given.kind == "enabled" {
        if lost_its_reasoning(turns) {
            notes.drop_param("thinking");
            return;
        }
        if controls.max_tokens <= given.budget_tokens {
            let raised = controls.max_tokens.saturating_add(given.budget_tokens);
            controls.max_tokens = job.facts.max_output.map_or(raised, |most| raised.min(most));
        }
    }
    controls.thinking = Some(Thinking::Raw(raw));
}

fn think<'a>(job: &Job<'a>, turns: &[Turn<'a>], controls: &mut Controls<'a>, notes: &mut Notes) {
    let Some(effort) = job.conversation.effort() else { return };
    if effort == Effort::None {
        if any_glob(&job.quirks.always_thinking_models, job.model) {
            notes.drop_param("reasoning_effort");
            controls.effort = Some(word(job, effort));
        } else if is_adaptive(job) {
            controls.thinking = Some(Thinking::Disabled { r#type: "disabled" });
        }
        // Others think only when they are told to.
        return;
    }
    if is_adaptive(job) {
        // Newer models keep what they think to themselves unless asked; the older ones, which take a budget as well,
        // say it anyway.
        let says = job.facts.traits.has(Trait::BudgetThinking);
        let display = (!says).then_some("summarized");
        controls.thinking = Some(Thinking::Adaptive { r#type: "adaptive", display });
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

/// True when the turns end in results of tools, and the answer that they belong to began without the thinking that led
/// to it. An answer begins after the user's last words; in later rounds of its tools the model may well not think.
fn lost_its_reasoning(turns: &[Turn<'_>]) -> bool {
    let is_result = |block: &Block<'_>| matches!(block, Block::ToolResult { .. });
    let answers = |turn: &Turn<'_>| turn.content.iter().all(is_result);
    if !turns.last().is_some_and(|turn| turn.role == "user" && turn.content.first().is_some_and(is_result)) {
        return false;
    }
    let earlier = turns.get(..turns.len() - 1).unwrap_or_default();
    let asked = earlier.iter().rposition(|turn| turn.role == "user" && !answers(turn));
    let first = earlier.get(asked.map_or(0, |at| at + 1)..).unwrap_or_default().first();
    first.is_some_and(|turn| !turn.content.first().is_some_and(Block::is_thought))
}

/// Sampling: `temperature` goes to 1 only, and most models take it or `top_p`; while thinking hardly any of it.
fn sample(job: &Job<'_>, controls: &mut Controls<'_>, notes: &mut Notes) {
    let fixed =
        job.facts.traits.has(Trait::FixedSampling) || any_glob(&job.quirks.fixed_sampling_models, job.model);
    let both = any_glob(&job.quirks.both_sampling_models, job.model);
    let thinks = controls.thinks();
    // What everyone does anyway, so that leaving it out changes nothing.
    let usual = |number: &Number| number.as_f64() == Some(1.0);
    let mut temperature = job.conversation.number("temperature");
    let mut top_p = job.conversation.number("top_p");
    if let Some(heat) = &temperature {
        let in_range = heat.as_f64().is_some_and(|heat| (0.0..=1.0).contains(&heat));
        if !in_range || (fixed || thinks) && !usual(heat) {
            notes.drop_param("temperature");
            temperature = None;
        } else if usual(heat) && (fixed || !both && top_p.as_ref().is_some_and(|mass| !usual(mass))) {
            temperature = None;
        }
    }
    if let Some(mass) = &top_p {
        let low = mass.as_f64().is_none_or(|mass| mass < TOP_P_THINKING_MIN);
        let excluded = fixed || thinks && low || temperature.is_some() && !both;
        if excluded {
            if !usual(mass) {
                notes.drop_param("top_p");
            }
            top_p = None;
        }
    }
    controls.temperature = temperature;
    controls.top_p = top_p;
    controls.top_k = job.conversation.number("top_k").filter(|_| !(fixed || thinks));
    if controls.top_k.is_none() && job.conversation.field("top_k").is_some() {
        notes.drop_param("top_k");
    }
}
