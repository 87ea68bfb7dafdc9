//! Usage: `usageMetadata`. Each one replaces the one before.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::chat::Usage;
use crate::wire::translate::Answer;

/// Tokens beyond which a count is not believed; no sum of a few can overflow.
const COUNT_MAX: u64 = 9_000_000_000_000_000;

/// What Google counted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    prompt_token_count: Count,
    tool_use_prompt_token_count: Count,
    cached_content_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    total_token_count: Count,
    prompt_tokens_details: Option<Vec<Share>>,
    candidates_tokens_details: Option<Vec<Share>>,
    service_tier: Option<String>,
}

/// The share of one modality.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Share {
    modality: Option<String>,
    token_count: Count,
}

/// A count, if it is one: as a number or, as protocol buffers write large ones, as a string.
#[derive(Clone, Copy, Debug, Default)]
struct Count(Option<u64>);

impl Metadata {
    /// Tells an answer. `searches`: what Google looked up for it.
    pub fn tell(&self, searches: u64, answer: &mut Answer) {
        // Some say only what kind of traffic it was: that is no count of nothing.
        let counts = [self.prompt_token_count, self.candidates_token_count, self.total_token_count];
        if counts.iter().any(|count| count.0.is_some()) {
            answer.report_usage(self.usage(searches));
        }
        if let Some(tier) = &self.service_tier {
            answer.tier(if tier == "standard" { "default" } else { tier });
        }
    }

    fn usage(&self, searches: u64) -> Usage {
        let given = |count: Count| count.0.unwrap_or(0);
        let prompt = given(self.prompt_token_count) + given(self.tool_use_prompt_token_count);
        let thoughts = given(self.thoughts_token_count);
        // Left out of some answers that stopped early; the total has it then.
        let rest = given(self.total_token_count).saturating_sub(prompt + thoughts);
        let completion = self.candidates_token_count.0.unwrap_or(rest) + thoughts;
        Usage {
            prompt,
            completion,
            total: self.total_token_count.0.unwrap_or(prompt + completion),
            cache_read: given(self.cached_content_token_count),
            // A count of zero is left out.
            reasoning: Some(thoughts),
            audio_input: share(&self.prompt_tokens_details, "AUDIO"),
            image_input: share(&self.prompt_tokens_details, "IMAGE"),
            audio_output: share(&self.candidates_tokens_details, "AUDIO"),
            image_output: share(&self.candidates_tokens_details, "IMAGE"),
            web_searches: searches,
            ..Usage::default()
        }
    }
}

fn share(shares: &Option<Vec<Share>>, modality: &str) -> u64 {
    let of_it = shares.iter().flatten().filter(|share| share.modality.as_deref() == Some(modality));
    of_it.filter_map(|share| share.token_count.0).fold(0, u64::saturating_add)
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens")
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                Ok(Count(Some(count).filter(|count| *count <= COUNT_MAX)))
            }
            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(count).ok()))
            }
            fn visit_f64<E: de::Error>(self, count: f64) -> Result<Count, E> {
                let whole = count >= 0.0 && count.fract() == 0.0 && count < 9e15;
                Ok(Count(whole.then_some(count as u64)))
            }
            fn visit_str<E: de::Error>(self, count: &str) -> Result<Count, E> {
                Ok(Count(count.parse().ok().filter(|count| *count <= COUNT_MAX)))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Count, E> {
                Ok(Count(None))
            }
        }
        deserializer.deserialize_any(Number)
    }
}
