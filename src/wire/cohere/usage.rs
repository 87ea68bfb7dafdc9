//! Token counts.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::chat::{Billed, Usage};
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
/// nearest to what was read. What is charged is what a price applies to; it goes to the client as it is, too.
pub fn tell(raw: &RawValue, answer: &mut Answer) {
    let Ok(written) = serde_json::from_str::<Written<'_>>(raw.get()) else { return };
    let billed: Option<Value> = written.billed_units.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let tokens = written.tokens.as_ref();
    let of = |group: Option<&Value>, name: &str| count(group.and_then(|group| group.get(name)));
    let (read, wrote) = (of(tokens, "input_tokens"), of(tokens, "output_tokens"));
    let charged = |name: &str| of(billed.as_ref(), name);
    let (charged_in, charged_out) = (charged("input_tokens"), charged("output_tokens"));
    let prompt = match (read, charged_in) {
        (Some(read), Some(charged)) => Some(read.max(charged)),
        (read, charged) => read.or(charged),
    };
    let completion = wrote.or(charged_out);
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
        billed: charged_in.zip(charged_out).map(|(prompt, completion)| Billed { prompt, completion }),
        ..Usage::default()
    });
    if let Some(billed) = billed.filter(Value::is_object) {
        answer.extra("billed_units", billed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Envelope;

    #[test]
    fn what_is_charged_is_kept_apart_from_what_was_read() {
        for (usage, expected) in [
            (
                r#"{"billed_units":{"input_tokens":3,"output_tokens":2},"tokens":{"input_tokens":90,"output_tokens":4}}"#,
                Some((3, 2)),
            ),
            (
                r#"{"billed_units":{"input_tokens":0,"output_tokens":0},"tokens":{"input_tokens":90,"output_tokens":4}}"#,
                Some((0, 0)),
            ),
            (r#"{"billed_units":{"search_units":1},"tokens":{"input_tokens":90,"output_tokens":4}}"#, None),
            (r#"{"tokens":{"input_tokens":90,"output_tokens":4}}"#, None),
        ] {
            let mut answer = Answer::gathered(&Envelope::default());
            tell(serde_json::from_str(usage).unwrap(), &mut answer);
            let told = answer.usage().unwrap();
            assert_eq!((told.prompt, told.completion), (90, 4), "{usage}");
            assert_eq!(told.billed.map(|billed| (billed.prompt, billed.completion)), expected, "{usage}");
        }
    }
}
