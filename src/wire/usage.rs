//! Usage of an answer: the counts, and the object that the client gets. Shared by all formats.

use serde_json::{Map, Number, Value};

use crate::chat::Usage;
use crate::money::Usd;

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
pub fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    let whole = value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (float >= 0.0 && float.fract() == 0.0 && float < 9e15).then_some(float as u64)
    });
    whole.filter(|count| *count <= COUNT_MAX)
}

impl Metered {
    /// Counts that a format read, as the object that a client gets.
    pub fn of(usage: Usage) -> Self {
        let mut object = Map::new();
        complete(&mut object, &usage, Some(usage.cache_read));
        let mut detail = |group: &str, name: &str, value: u64| {
            let details = object.entry(group).or_insert_with(|| Value::Object(Map::new()));
            if let Some(details) = details.as_object_mut() {
                details.insert(name.to_owned(), Value::Number(Number::from(value)));
            }
        };
        detail("prompt_tokens_details", "cache_write_tokens", usage.cache_write_5m + usage.cache_write_1h);
        for (group, name, value) in [
            ("prompt_tokens_details", "audio_tokens", usage.audio_input),
            ("prompt_tokens_details", "image_tokens", usage.image_input),
            ("completion_tokens_details", "audio_tokens", usage.audio_output),
            ("completion_tokens_details", "image_tokens", usage.image_output),
        ] {
            if value > 0 {
                detail(group, name, value);
            }
        }
        if usage.web_searches > 0 {
            object.insert("num_search_queries".to_owned(), Value::Number(Number::from(usage.web_searches)));
        }
        Self { usage, object }
    }
}

/// Fills in what the contract promises and the vendor said elsewhere or left to be summed.
pub fn complete(object: &mut Map<String, Value>, usage: &Usage, cached: Option<u64>) {
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

    #[test]
    fn cost_is_written_digit_by_digit() {
        let rendered = render(object(r#"{"cost":0.5,"x":1}"#), Some(Usd::from_units(1)));
        assert_eq!(String::from_utf8(rendered).unwrap(), r#"{"x":1,"cost":0.000000000001}"#);
    }
}
