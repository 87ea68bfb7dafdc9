//! Token counts.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::chat::Usage;
use crate::wire::translate::Answer;
use crate::wire::usage::count;

#[derive(Deserialize)]
struct Written<'a> {
    tokens: Option<Value>,
    #[serde(borrow)]
    billed_units: Option<&'a RawValue>,
    cached_tokens: Option<Value>,
}

/// Tells an answer what it used. What cannot be read counts as not told.
///
/// `tokens` is what the model read and wrote, `billed_units` what of it is charged: that leaves out the vendor's own
/// part of the prompt. Images are the exception, they are in the latter only. So the larger count of the two is
/// nearest to what was read. What is charged goes to the client as it is, too.
pub fn tell(raw: &RawValue, answer: &mut Answer) {
    let Ok(written) = serde_json::from_str::<Written<'_>>(raw.get()) else { return };
    let billed: Option<Value> = written.billed_units.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let tokens = written.tokens.as_ref();
    let of = |group: Option<&Value>, name: &str| count(group.and_then(|group| group.get(name)));
    let both = |name: &str| (of(tokens, name), of(billed.as_ref(), name));
    let prompt = match both("input_tokens") {
        (Some(read), Some(charged)) => Some(read.max(charged)),
        (read, charged) => read.or(charged),
    };
    let (wrote, charged) = both("output_tokens");
    let completion = wrote.or(charged);
    if prompt.is_none() && completion.is_none() {
        return;
    }
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    answer.report_usage(Usage {
        prompt,
        completion,
        total: prompt.saturating_add(completion),
        cache_read: count(written.cached_tokens.as_ref()).unwrap_or(0).min(prompt),
        image_input: of(tokens, "image_tokens").unwrap_or(0).min(prompt),
        reasoning: of(tokens, "reasoning_tokens").map(|tokens| tokens.min(completion)),
        ..Usage::default()
    });
    if let Some(billed) = billed.filter(Value::is_object) {
        answer.extra("billed_units", billed);
    }
}
