//! Usage as OpenAI-compatible vendors report it: found wherever they put it, numbers kept exactly.

use serde_json::{Map, Value};

use crate::chat::Usage;
use crate::json::Members;
use crate::wire::Quirks;
use crate::wire::usage::{Metered, complete, count};

/// Reads a usage object. `None` when it is missing, null, negative or contradicts itself: then the caller
/// estimates and says so.
pub fn read(mut object: Map<String, Value>, quirks: &Quirks) -> Option<Metered> {
    let detail = |group: &str, name: &str| count(object.get(group).and_then(|details| details.get(name)));
    let prompt_detail = |name: &str| detail("prompt_tokens_details", name);
    let completion_detail = |name: &str| detail("completion_tokens_details", name);
    let prompt = count(object.get("prompt_tokens"))?;
    let mut completion = count(object.get("completion_tokens"))?;
    let mut total = count(object.get("total_tokens")).unwrap_or(prompt + completion);
    let cached = prompt_detail("cached_tokens")
        .or_else(|| count(object.get("prompt_cache_hit_tokens")))
        .or_else(|| count(object.get("cached_tokens")));
    let reasoning = completion_detail("reasoning_tokens").or_else(|| count(object.get("reasoning_tokens")));
    if quirks.completion_excludes_reasoning && total > prompt + completion {
        completion += reasoning.unwrap_or(0);
        total = prompt + completion;
    }
    // Azure's grok reports more cached than prompt tokens: passed on as it is, only the bill clamps it.
    if total < prompt.max(completion) {
        return None;
    }
    let usage = Usage {
        prompt,
        completion,
        total,
        cache_read: cached.unwrap_or(0),
        cache_write_5m: prompt_detail("cache_write_tokens")
            .or_else(|| count(object.get("cache_creation_input_tokens")))
            .unwrap_or(0),
        cache_write_1h: 0,
        reasoning,
        audio_input: prompt_detail("audio_tokens").unwrap_or(0),
        audio_output: completion_detail("audio_tokens").unwrap_or(0),
        image_input: prompt_detail("image_tokens").unwrap_or(0),
        image_output: completion_detail("image_tokens").unwrap_or(0),
        web_searches: count(object.get("num_search_queries")).unwrap_or(0),
        billed: None,
    };
    complete(&mut object, &usage, cached);
    Some(Metered { usage, object })
}

/// Finds usage in a reply or an event, at the places the row names.
pub fn find(members: &Members, text: &str, quirks: &Quirks) -> Option<Metered> {
    quirks.usage_pointers.iter().find_map(|pointer| {
        let pointer = pointer.strip_prefix('/')?;
        let (first, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
        let written = members.get(text, first)?;
        // Cheap and certain: what does not name usage does not hold it.
        if written == "null" || (!rest.is_empty() && !written.contains("\"usage\"")) {
            return None;
        }
        let mut value: Value = serde_json::from_str(written).ok()?;
        match value.pointer_mut(rest)?.take() {
            Value::Object(object) => read(object, quirks),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    fn counts(text: &str, quirks: &Quirks) -> Option<(u64, u64, u64, u64, Option<u64>)> {
        read(object(text), quirks).map(|m| {
            (m.usage.prompt, m.usage.completion, m.usage.total, m.usage.cache_read, m.usage.reasoning)
        })
    }

    #[test]
    fn numbers_are_kept_and_found_where_vendors_put_them() {
        let plain = Quirks::default();
        let xai = Quirks { completion_excludes_reasoning: true, ..Quirks::default() };
        for (quirks, text, expected) in [
            (&plain, r#"{"prompt_tokens":3,"completion_tokens":4,"total_tokens":9}"#, (3, 4, 9, 0, None)),
            (
                &plain,
                r#"{"prompt_tokens":3,"completion_tokens":4,"prompt_cache_hit_tokens":2}"#,
                (3, 4, 7, 2, None),
            ),
            (
                &xai,
                r#"{"prompt_tokens":32,"completion_tokens":31,"total_tokens":493,"completion_tokens_details":{"reasoning_tokens":430}}"#,
                (32, 461, 493, 0, Some(430)),
            ),
        ] {
            assert_eq!(counts(text, quirks), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_not_believed() {
        for text in [
            r#"{"prompt_tokens":-3,"completion_tokens":4}"#,
            r#"{"prompt_tokens":3}"#,
            r#"{"prompt_tokens":18446744073709551615,"completion_tokens":4,"total_tokens":5}"#,
            r#"{"prompt_tokens":3,"completion_tokens":"4"}"#,
            r#"{"prompt_tokens":3,"completion_tokens":40,"total_tokens":5}"#,
        ] {
            assert_eq!(counts(text, &Quirks::default()), None, "{text}");
        }
    }
}
