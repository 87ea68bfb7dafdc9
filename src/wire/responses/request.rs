//! Encoding a request. What changes from turn to turn goes last, so that equal beginnings make equal bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::input::{Item, items};
use super::tools::{Choice, Text, ToolOut, choice, text, tools};
use crate::chat::conversation::{Str, Tool};
use crate::chat::fields::typed;
use crate::chat::{Facts, Trait};
use crate::error::Error;
use crate::json::{Edit, Members};
use crate::wire::encode::{Job, Notes, Written};
use crate::wire::quirks::{EffortStyle, any_glob};

/// The smallest output limit that the API takes.
const OUTPUT_TOKENS_MIN: u64 = 16;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(flatten)]
    passed: Passed<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    input: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_obfuscation: bool,
}

/// Fields that go upstream as the client wrote them, in this order.
const PASSED: [&str; 12] = [
    "temperature",
    "top_p",
    "top_logprobs",
    "parallel_tool_calls",
    "max_tool_calls",
    "truncation",
    "service_tier",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "user",
    "safety_identifier",
];

/// Members as the client wrote them.
struct Passed<'a>(Vec<(&'static str, &'a RawValue)>);

impl Serialize for Passed<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Writes a request.
///
/// # Errors
/// 400 naming what the API has no word for and what cannot be left out.
pub fn write(job: &Job<'_>, notes: &mut Notes) -> Result<Written, Error> {
    let body = Encoder { job, notes }.request()?;
    let body = serde_json::to_vec(&body).map_err(|_| Error::Internal)?;
    Ok(Written { body, ..Written::default() })
}

/// One request under way.
struct Encoder<'j, 'a> {
    job: &'j Job<'a>,
    notes: &'j mut Notes,
}

impl<'a> Encoder<'_, 'a> {
    /// A field of the client's, unless the vendor's row drops it.
    fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.job.conversation.field(name).filter(|_| self.takes(name))
    }

    /// True unless the vendor's row drops a field.
    fn takes(&self, name: &str) -> bool {
        !self.job.quirks.drop_params.iter().any(|dropped| dropped == name)
    }

    fn request(mut self) -> Result<Request<'a>, Error> {
        let conversation = self.job.conversation;
        let sampling = self.sampling();
        let verbosity = conversation.string("verbosity").filter(|_| self.takes("verbosity"));
        let scheme = self.job.quirks.reasoning_scheme.as_deref().unwrap_or(super::SCHEME);
        let marked = |tool: &Tool<'_>| matches!(tool, Tool::Function { cache_control: Some(_), .. });
        if conversation.tools.iter().any(marked) {
            self.notes.drop_param("cache_control");
        }
        Ok(Request {
            model: self.job.model,
            store: self.takes("store").then(|| self.given("store").is_some_and(|word| word.get() == "true")),
            include: self.include(sampling)?,
            reasoning: self.reasoning(),
            text: text(&conversation.response_format, verbosity),
            max_output_tokens: self.output_limit(),
            passed: self.passed(sampling),
            tool_choice: choice(conversation).filter(|_| self.takes("tool_choice")),
            tools: tools(conversation, self.takes("web_search_options")),
            stream_options: self.stream_options(),
            stream: conversation.request().stream,
            input: items(self.job, scheme, self.notes)?,
        })
    }

    /// Whether sampling parameters go upstream; those that do not are named.
    fn sampling(&mut self) -> bool {
        let job = self.job;
        let fixed = any_glob(&job.quirks.fixed_sampling_models, job.model)
            || job.facts.traits.has(Trait::FixedSampling);
        if !fixed {
            return true;
        }
        for name in ["temperature", "top_p", "logprobs", "top_logprobs"] {
            let asks = |raw: &RawValue| !matches!(raw.get(), "false" | "0") && raw.get().parse() != Ok(1.0);
            if self.given(name).is_some_and(asks) {
                self.notes.drop_param(name);
            }
        }
        false
    }

    /// What the answer shall hold besides itself.
    fn include(&self, sampling: bool) -> Result<Vec<Str<'a>>, Error> {
        let mut include: Vec<Str<'a>> = match self.given("include") {
            Some(written) => typed("include", written.get())?,
            None => Vec::new(),
        };
        let mut add = |what: &'static str| {
            if !include.iter().any(|known| *known == what) {
                include.push(what.into());
            }
        };
        if self.takes("include") && thinks(self.job.facts) {
            add("reasoning.encrypted_content");
        }
        if sampling && self.given("logprobs").is_some_and(|word| word.get() == "true") {
            add("message.output_text.logprobs");
        }
        Ok(include)
    }

    /// How hard the model shall think: the API's own field, given by the client, says it more exactly.
    fn reasoning(&mut self) -> Option<Cow<'a, RawValue>> {
        let own = self.given("reasoning").filter(|own| own.get().starts_with('{'));
        let effort = self.given("reasoning_effort");
        if effort.is_some() && self.job.quirks.reasoning_effort == EffortStyle::None {
            self.notes.drop_param("reasoning_effort");
            return own.map(Cow::Borrowed);
        }
        let Some(effort) = effort else { return own.map(Cow::Borrowed) };
        let own = own.map_or("{}", RawValue::get);
        let members = Members::parse(own).unwrap_or_default();
        let mut out = Vec::with_capacity(own.len() + 32);
        let edit = Edit::Set("effort", Cow::Borrowed(effort.get().as_bytes()));
        let edits = if members.has(own, "effort") { vec![] } else { vec![edit] };
        members.splice(own, &edits, &mut out);
        let written = String::from_utf8(out).ok().and_then(|text| RawValue::from_string(text).ok())?;
        Some(Cow::Owned(written))
    }

    /// The output limit. One below what the API takes is raised to that, and named.
    fn output_limit(&mut self) -> Option<u64> {
        let names = ["max_completion_tokens", "max_tokens"];
        let given = names.into_iter().filter(|name| self.given(name).is_some());
        let name = given.clone().next()?;
        let limit = self.job.conversation.request().max_output?;
        if limit < OUTPUT_TOKENS_MIN {
            self.notes.drop_param(name);
        }
        Some(limit.max(OUTPUT_TOKENS_MIN))
    }

    fn passed(&self, sampling: bool) -> Passed<'a> {
        let tuned = |name: &str| matches!(name, "temperature" | "top_p" | "top_logprobs");
        let names = PASSED.into_iter().filter(|name| sampling || !tuned(name));
        Passed(names.filter_map(|name| Some((name, self.given(name)?))).collect())
    }

    /// Of the options of streams the API has one.
    fn stream_options(&self) -> Option<StreamOptions> {
        #[derive(Deserialize)]
        struct Options {
            include_obfuscation: Option<bool>,
        }
        let written = self.given("stream_options").filter(|_| self.job.conversation.request().stream)?;
        let options: Options = serde_json::from_str(written.get()).ok()?;
        Some(StreamOptions { include_obfuscation: options.include_obfuscation? })
    }
}

/// True unless the model is known not to reason: one that does not is refused encrypted reasoning.
fn thinks(facts: Facts) -> bool {
    let reasons = [Trait::BudgetThinking, Trait::AdaptiveThinking];
    !facts.known || reasons.into_iter().any(|one| facts.traits.has(one))
}
