//! Decoding a whole reply.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{citation, detail, finish, legacy, usage};
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::translate::Answer;

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    logprobs: Option<Vec<Logprob>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_plan: Option<Str<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
    citations: Option<Value>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow)]
    arguments: Option<Str<'a>>,
}

/// A piece of text and what its tokens were worth.
#[derive(Deserialize)]
struct Logprob {
    text: Option<String>,
    #[serde(default)]
    logprobs: Vec<f64>,
}

/// Reads a reply.
pub fn read(body: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let message = match reply.message {
        Some(message) if message.get().starts_with('{') && reply.error.is_none() => message,
        None if reply.text.is_some() && reply.error.is_none() => return legacy::read(body, answer),
        None if reply.error.is_none() => return Err(unreadable()),
        _ => return Err(DecodeError::Fault(super::error(200, body))),
    };
    let message: Message<'_> = serde_json::from_str(message.get()).map_err(|_| unreadable())?;
    answer.id(reply.id.as_deref().unwrap_or_default());
    tell(message, answer)?;
    if let Some(logprobs) = reply.logprobs {
        answer.logprobs(
            0,
            json!({"content": logprobs.iter().map(logprob).collect::<Vec<_>>(), "refusal": null}),
        );
    }
    if let Some(raw) = reply.usage {
        usage::tell(raw, answer);
    }
    finish::tell(reply.finish_reason.as_deref(), None, answer)
}

fn tell(message: Message<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
    let mut places = citation::Blocks::default();
    for (index, block) in (0..).zip(blocks(message.content)?) {
        if let Some(thinking) = block.thinking.filter(|text| !text.is_empty()) {
            answer.reasoning(0, &thinking);
            answer.detail(0, detail::thinking(thinking.0.into_owned()))?;
        }
        if let Some(text) = block.text {
            places.begin(index, answer);
            answer.text(0, &text);
        }
    }
    if let Some(plan) = message.tool_plan.filter(|plan| !plan.is_empty()) {
        answer.detail(0, detail::plan(plan.0.into_owned()))?;
    }
    for call in message.tool_calls.into_iter().flatten() {
        let index = answer.open_call(0, call.id.as_deref().unwrap_or_default(), &call.function.name);
        answer.call_arguments(0, index, call.function.arguments.as_deref().unwrap_or_default());
    }
    if let Some(citations) = &message.citations {
        citation::tell(citations, &places, answer);
    }
    Ok(())
}

/// The blocks of a content; a plain string is one.
fn blocks(content: Option<&RawValue>) -> Result<Vec<Block<'_>>, DecodeError> {
    match content.map(RawValue::get) {
        None => Ok(Vec::new()),
        Some(text) if text.starts_with('"') => {
            let text = serde_json::from_str(text).map_err(|_| unreadable())?;
            Ok(vec![Block { text: Some(text), thinking: None }])
        }
        Some(list) => serde_json::from_str(list).map_err(|_| unreadable()),
    }
}

/// One entry in OpenAI's shape. An entry of several tokens has one text: it is worth their sum.
fn logprob(entry: &Logprob) -> Value {
    let text = entry.text.as_deref().unwrap_or_default();
    let sum: f64 = entry.logprobs.iter().sum();
    json!({"token": text, "logprob": sum, "bytes": text.as_bytes(), "top_logprobs": []})
}

fn unreadable() -> DecodeError {
    DecodeError::invalid("its body is not a chat reply")
}
