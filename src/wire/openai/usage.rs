//! Usage as OpenAI-compatible vendors report it: found wherever they put it, numbers kept exactly.

use serde_json::{Map, Number, Value};

use crate::chat::Usage;
use crate::json::Members;
use crate::money::Usd;
use crate::wire::Quirks;

/// Usage that an upstream reported: the counts, and the object to send on.
#[derive(Clone, Debug)]
pub struct Metered {
    /// The counts.
    pub usage: Usage,
    /// The upstream's object, completed: vendor fields kept, numbers exact.
    pub object: Map<String, Value>,
}

/// Tokens beyond which a count is not believed: far above any real one, and no sum of a few can overflow.
const COUNT_MAX: u64 = 9_000_000_000_000_000;

/// A whole, non-negative number, also when written as `12.0`.
fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    let whole = value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (float >= 0.0 && float.fract() == 0.0 && float < 9e15).then_some(float as u64)
    });
    whole.filter(|count| *count <= COUNT_MAX)
}

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

/// Fills in what the contract promises and the vendor said elsewhere or left to be summed.
fn complete(object: &mut Map<String, Value>, usage: &Usage, cached: Option<u64>) {
    let mut set = |name: &str, value: u64| {
        let value = Value::Number(Number::from(value));
        match object.get_mut(name) {
            Some(slot) => *slot = value,
            None => drop(object.insert(name.to_owned(), value)),
        }
    };
    set("prompt_tokens", usage.prompt);
    set("completion_tokens", usage.completion);
    set("total_tokens", usage.total);
    if let Some(reasoning) = usage.reasoning {
        set("reasoning_tokens", reasoning);
    }
    let mut detail = |group: &str, name: &str, value: Option<u64>| {
        let Some(value) = value else { return };
        let details = object.entry(group).or_insert_with(|| Value::Object(Map::new()));
        if !details.is_object() {
            *details = Value::Object(Map::new());
        }
        if let Some(details) = details.as_object_mut() {
            details.entry(name).or_insert_with(|| Value::Number(Number::from(value)));
        }
    };
    detail("prompt_tokens_details", "cached_tokens", cached);
    detail("completion_tokens_details", "reasoning_tokens", usage.reasoning);
}

/// The object for usage that was counted here and not reported.
pub fn estimated(usage: &Usage) -> Map<String, Value> {
    let mut object = Map::new();
    complete(&mut object, usage, None);
    object.insert("estimated".to_owned(), Value::Bool(true));
    object
}

/// Renders a usage object with `cost` in USD, where the price is known.
pub fn render(mut object: Map<String, Value>, cost: Option<Usd>) -> Vec<u8> {
    if cost.is_some() {
        object.shift_remove("cost");
    }
    let mut out = serde_json::to_vec(&object).unwrap_or_else(|_| b"{}".to_vec());
    if let Some(cost) = cost {
        // Written from the integer, digit by digit: a float would round.
        out.pop();
        if !object.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"cost\":{cost}}}").as_bytes());
    }
    out
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

    #[test]
    fn cost_is_written_digit_by_digit() {
        let rendered = render(object(r#"{"cost":0.5,"x":1}"#), Some(Usd::from_units(1)));
        assert_eq!(String::from_utf8(rendered).unwrap(), r#"{"x":1,"cost":0.000000000001}"#);
    }
}
