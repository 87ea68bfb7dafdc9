//! Usage: what was read from and written to the cache is not in `inputTokens`, and is part of the prompt.

use serde::Deserialize;
use serde_json::Value;

use crate::chat::Usage;
use crate::chat::conversation::Str;
use crate::wire::usage::count;

/// Entries of `cacheDetails` that are read; there are two life times.
const DETAILS_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written<'a> {
    input_tokens: Option<Value>,
    output_tokens: Option<Value>,
    total_tokens: Option<Value>,
    cache_read_input_tokens: Option<Value>,
    cache_read_input_token_count: Option<Value>,
    cache_write_input_tokens: Option<Value>,
    cache_write_input_token_count: Option<Value>,
    #[serde(borrow)]
    cache_details: Option<Vec<CacheDetail<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail<'a> {
    #[serde(borrow)]
    ttl: Option<Str<'a>>,
    input_tokens: Option<Value>,
}

impl Written<'_> {
    /// The counts in OpenAI's terms; `None` when the ones that matter are not there.
    pub fn usage(&self) -> Option<Usage> {
        let input = count(self.input_tokens.as_ref())?;
        let output = count(self.output_tokens.as_ref())?;
        let either = |one: &Option<Value>, other: &Option<Value>| {
            count(one.as_ref()).or_else(|| count(other.as_ref())).unwrap_or(0)
        };
        let read = either(&self.cache_read_input_tokens, &self.cache_read_input_token_count);
        let written = either(&self.cache_write_input_tokens, &self.cache_write_input_token_count);
        let prompt = input + read + written;
        let long_lived: u64 = self
            .cache_details
            .iter()
            .flatten()
            .take(DETAILS_MAX)
            .filter(|detail| detail.ttl.as_deref() == Some("1h"))
            .filter_map(|detail| count(detail.input_tokens.as_ref()))
            .sum();
        let long_lived = long_lived.min(written);
        // Some models' total leaves the cache out, although it was paid for: the sum of the parts counts then.
        let total = count(self.total_tokens.as_ref()).filter(|total| *total >= prompt + output);
        Some(Usage {
            prompt,
            completion: output,
            total: total.unwrap_or(prompt + output),
            cache_read: read,
            cache_write_5m: written - long_lived,
            cache_write_1h: long_lived,
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_includes_the_cache() {
        for (written, expected) in [
            (r#"{"inputTokens":3,"outputTokens":4,"totalTokens":7}"#, Some((3, 4, 7, 0, 0, 0))),
            (
                r#"{"inputTokens":11,"outputTokens":2,"totalTokens":1041,"cacheReadInputTokens":0,"cacheWriteInputTokens":1028}"#,
                Some((1039, 2, 1041, 0, 1028, 0)),
            ),
            (
                r#"{"inputTokens":1,"outputTokens":2,"totalTokens":3,"cacheReadInputTokenCount":5,"cacheWriteInputTokenCount":7,
                   "cacheDetails":[{"ttl":"1h","inputTokens":4},{"ttl":"5m","inputTokens":3}]}"#,
                Some((13, 2, 15, 5, 3, 4)),
            ),
            (r#"{"inputTokens":1,"outputTokens":0}"#, Some((1, 0, 1, 0, 0, 0))),
            (r#"{"outputTokens":4}"#, None),
            (r#"{"inputTokens":-1,"outputTokens":4}"#, None),
        ] {
            let usage = serde_json::from_str::<Written<'_>>(written).unwrap().usage();
            let told = usage
                .map(|u| (u.prompt, u.completion, u.total, u.cache_read, u.cache_write_5m, u.cache_write_1h));
            assert_eq!(told, expected, "{written}");
        }
    }
}
