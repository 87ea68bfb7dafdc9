//! Usage of an answer: the counts, and the object that the client gets. Shared by all formats.

use serde_json::{Map, Number, Value};

use crate::chat::Usage;
use crate::money::{Usd, format_units};

/// Usage that an upstream reported: the counts, and the object to send on.
#[derive(Clone, Debug)]
pub struct Metered {
    /// The counts.
    pub usage: Usage,
    /// The upstream's object, completed: vendor fields kept, numbers exact.
    pub object: UsageObject,
}

/// The usage object of an answer.
#[derive(Clone, Debug)]
pub enum UsageObject {
    /// Its members.
    Members(Map<String, Value>),
    /// Its text, with at least one member and none called `cost`: what an upstream said needed no more than to be gone on with.
    Text(String),
}

impl Default for UsageObject {
    fn default() -> Self {
        Self::Members(Map::new())
    }
}

/// Tokens beyond which a count is not believed: far above any real one, and no sum of a few can overflow.
pub const COUNT_MAX: u64 = 9_000_000_000_000_000;

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
        Self { usage, object: UsageObject::Members(object) }
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
pub fn estimated(usage: &Usage) -> UsageObject {
    let mut object = Map::new();
    complete(&mut object, usage, None);
    object.insert("estimated".to_owned(), Value::Bool(true));
    UsageObject::Members(object)
}

/// Renders a usage object with `cost` in USD, where the price is known.
pub fn render(object: UsageObject, cost: Option<Usd>) -> Vec<u8> {
    let mut out = match object {
        UsageObject::Text(text) => text.into_bytes(),
        UsageObject::Members(mut members) => {
            if cost.is_some() {
                members.shift_remove("cost");
            }
            serde_json::to_vec(&members).unwrap_or_else(|_| b"{}".to_vec())
        }
    };
    if let Some(cost) = cost {
        // Written from the integer, digit by digit: a float would round.
        out.pop();
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(b"\"cost\":");
        out.extend_from_slice(format_units(i128::from(cost.units())).as_bytes());
        out.push(b'}');
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
        let written = |object, cost| String::from_utf8(render(object, cost)).unwrap();
        let cost = Some(Usd::from_units(1));
        let members = |text| UsageObject::Members(object(text));
        assert_eq!(written(members(r#"{"cost":0.5,"x":1}"#), cost), r#"{"x":1,"cost":0.000000000001}"#);
        assert_eq!(written(members(r#"{"cost":0.5}"#), cost), r#"{"cost":0.000000000001}"#);
        assert_eq!(written(members(r#"{"cost":0.5}"#), None), r#"{"cost":0.5}"#);
        let text = || UsageObject::Text(r#"{ "x": 1}"#.to_owned());
        assert_eq!(written(text(), cost), r#"{ "x": 1,"cost":0.000000000001}"#);
        assert_eq!(written(text(), None), r#"{ "x": 1}"#);
    }
}
