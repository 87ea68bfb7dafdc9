//! Quirks: how one vendor's dialect of a wire format departs from the format. Data, never code.
//!
//! A provider row in `config/providers.yaml` sets these fields; the wire format honours them. All patterns are
//! globs (`*` matches any run of characters) over the upstream model name.

use serde::{Deserialize, Serialize};

/// The name under which a vendor takes the output limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// Both names are understood: send what the client sent.
    #[default]
    AsSent,
    /// Only `max_tokens` is understood.
    MaxTokens,
    /// Only `max_completion_tokens` is understood.
    MaxCompletionTokens,
}

/// How a vendor takes `reasoning_effort`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffortStyle {
    /// As OpenAI's own field.
    #[default]
    Field,
    /// As `reasoning: {effort}`.
    ReasoningObject,
    /// As `thinking: {type: enabled | disabled}`; the level is lost.
    ThinkingObject,
    /// As `enable_thinking: bool`; the level is lost.
    EnableThinking,
    /// Not at all: the field is dropped and named.
    None,
}

/// What a vendor wants of the reasoning that a client sends back in an assistant message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningBack {
    /// The client's fields stay as they are.
    #[default]
    AsSent,
    /// `reasoning` travels as `reasoning_content`.
    ReasoningContent,
    /// `reasoning` and `reasoning_details` are taken out: the vendor refuses unknown message fields.
    Remove,
}

/// How a family of models is told to think, where one vendor serves many families under one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingStyle {
    /// `thinking: {type: adaptive}` and `output_config: {effort}`.
    Adaptive,
    /// `thinking: {type: enabled, budget_tokens}`.
    Budget,
    /// `reasoningConfig: {type: enabled, maxReasoningEffort}`.
    MaxEffort,
    /// `reasoning_effort: effort`.
    Effort,
    /// `reasoning_config: low | high`.
    Config,
}

/// Departures of one vendor from OpenAI's chat format. Defaults are OpenAI's own behaviour, read leniently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// Name of the output limit.
    pub max_tokens_field: MaxTokensField,
    /// Models that take only `max_completion_tokens`, whatever `max_tokens_field` says.
    pub max_completion_tokens_models: Vec<String>,
    /// Models that take no `temperature`, `top_p`, penalties or `logprobs` other than the default (reasoning models).
    pub fixed_sampling_models: Vec<String>,
    /// Top-level request fields the vendor refuses: dropped and named, or refused under strict.
    pub drop_params: Vec<String>,
    /// Top-level request fields the vendor knows under another name: ours -> theirs.
    pub rename_params: std::collections::BTreeMap<String, String>,
    /// Word the vendor uses for `tool_choice: "required"`.
    pub tool_choice_required: Option<String>,
    /// How `reasoning_effort` is taken.
    pub reasoning_effort: EffortStyle,
    /// Whether role `developer` is understood; if not it is sent as `system`.
    pub developer_role: bool,
    /// Whether `stream_options.include_usage` is understood; if not usage is not asked for.
    pub stream_options: bool,
    /// `response_format.json_schema` is sent as `{schema}` only.
    pub bare_json_schema: bool,
    /// `n` above 1 is understood.
    pub multiple_choices: bool,
    /// What is done with reasoning that comes back in assistant messages.
    pub reasoning_back: ReasoningBack,
    /// Scheme of the reasoning that the vendor mints, where the format's own name would let other vendors pass for it.
    pub reasoning_scheme: Option<String>,
    /// JSON pointers, in order, under which usage may be found; the last event that has any wins.
    pub usage_pointers: Vec<String>,
    /// `completion_tokens` leaves reasoning out: it is added.
    pub completion_excludes_reasoning: bool,
    /// Version of the format that goes into the body, where the model is named in the path instead (`anthropic`).
    pub body_version: Option<String>,
    /// `stream` is said in the body; if not, the path alone says it (`anthropic`).
    pub stream_field: bool,
    /// Models that take `temperature` and `top_p` at once; the others take one of them (`anthropic`).
    pub both_sampling_models: Vec<String>,
    /// Models that the catalogue does not know, whose thinking is steered by an effort and not by a budget.
    pub adaptive_thinking_models: Vec<String>,
    /// Models that cannot be kept from thinking.
    pub always_thinking_models: Vec<String>,
    /// Models that the catalogue does not know, which take a JSON schema as the form of the answer.
    pub native_schema_models: Vec<String>,
    /// Models that put reasoning into the text between `<think>` and `</think>`.
    pub think_tags_models: Vec<String>,
    /// Models that are told a budget, in [`ThinkingStyle::Budget`].
    pub budget_thinking_models: Vec<String>,
    /// Models that are told an effort in [`ThinkingStyle::MaxEffort`].
    pub max_effort_models: Vec<String>,
    /// Models that are told an effort in [`ThinkingStyle::Effort`].
    pub plain_effort_models: Vec<String>,
    /// Models that are told an effort in [`ThinkingStyle::Config`].
    pub reasoning_config_models: Vec<String>,
    /// Models that take `temperature` or `top_p`, but not both.
    pub exclusive_sampling_models: Vec<String>,
    /// Models that cannot be made to call a tool.
    pub free_tools_models: Vec<String>,
    /// Models that refuse cache marks.
    pub uncached_models: Vec<String>,
    /// Models that refuse cache marks on tools.
    pub uncached_tools_models: Vec<String>,
}

impl Quirks {
    /// How a model is told to think, by its name; `None` when the row does not say.
    pub fn thinking_style(&self, model: &str) -> Option<ThinkingStyle> {
        [
            (ThinkingStyle::Adaptive, &self.adaptive_thinking_models),
            (ThinkingStyle::Budget, &self.budget_thinking_models),
            (ThinkingStyle::MaxEffort, &self.max_effort_models),
            (ThinkingStyle::Effort, &self.plain_effort_models),
            (ThinkingStyle::Config, &self.reasoning_config_models),
        ]
        .into_iter()
        .find(|(_, globs)| any_glob(globs, model))
        .map(|(style, _)| style)
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            max_tokens_field: MaxTokensField::AsSent,
            max_completion_tokens_models: Vec::new(),
            fixed_sampling_models: Vec::new(),
            drop_params: Vec::new(),
            rename_params: std::collections::BTreeMap::new(),
            tool_choice_required: None,
            reasoning_effort: EffortStyle::Field,
            developer_role: false,
            stream_options: true,
            bare_json_schema: false,
            multiple_choices: true,
            reasoning_back: ReasoningBack::AsSent,
            reasoning_scheme: None,
            usage_pointers: ["/usage", "/x_groq/usage", "/choices/0/usage"].map(str::to_owned).to_vec(),
            completion_excludes_reasoning: false,
            body_version: None,
            stream_field: true,
            both_sampling_models: Vec::new(),
            adaptive_thinking_models: Vec::new(),
            always_thinking_models: Vec::new(),
            native_schema_models: Vec::new(),
            think_tags_models: Vec::new(),
            budget_thinking_models: Vec::new(),
            max_effort_models: Vec::new(),
            plain_effort_models: Vec::new(),
            reasoning_config_models: Vec::new(),
            exclusive_sampling_models: Vec::new(),
            free_tools_models: Vec::new(),
            uncached_models: Vec::new(),
            uncached_tools_models: Vec::new(),
        }
    }
}

/// True when `pattern` (with `*` for any run of characters) matches the whole of `name`.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut tail) = name.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let Some(last) = pieces.pop() else { return true };
    for piece in pieces {
        match tail.find(piece) {
            Some(at) => tail = tail.get(at + piece.len()..).unwrap_or(""),
            None => return false,
        }
    }
    tail.ends_with(last)
}

/// True when any of the patterns matches.
pub fn any_glob(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| glob_matches(pattern, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, expected) in [
            ("gpt-5*", "gpt-5-mini", true),
            ("gpt-5*", "openai/gpt-5", false),
            ("*", "", true),
            ("o1", "o1", true),
            ("o1", "o1-mini", false),
            ("*/o1*", "openai/o1-mini", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(glob_matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
