//! Turns: `user` and `model` in alternation, the results of parallel calls in one.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::part::{Content, FunctionResponse, Part, Plain, text};
use super::{media, model};
use crate::chat::conversation::{Body, Message, Role};
use crate::error::Error;
use crate::wire::encode::Job;
use crate::wire::quirks::any_glob;

/// How ids of calls begin that were made up here or elsewhere: Google never gave them, so it gets none back.
const MADE_UP: &str = "call_";

/// The id of a call as Google gave it.
pub fn given_id(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty() && !id.starts_with(MADE_UP) && !id.starts_with("function_"))
}

/// Writes all turns.
///
/// # Errors
/// 400 for what cannot be sent.
pub fn write<'a>(job: &Job<'a>) -> Result<Vec<Content<'a>>, Error> {
    let messages = &job.conversation.messages;
    let mut contents: Vec<Content<'a>> = Vec::new();
    let mut at = 0;
    while let Some(message) = messages.get(at) {
        let mut next = at + 1;
        match message.role {
            Role::System | Role::Developer => {}
            Role::User => push(&mut contents, "user", said(at, message, job)?),
            Role::Assistant => push(&mut contents, "model", model::parts(at, message, job)?),
            Role::Tool | Role::Function => {
                let is_result = |message: &Message<'_>| message.role == Role::Tool;
                while messages.get(next).is_some_and(is_result) {
                    next += 1;
                }
                push(&mut contents, "user", results(at..next, job)?);
            }
        }
        at = next;
    }
    Ok(contents)
}

/// Adds to the last turn when it has the same role: the API wants them to alternate.
fn push<'a>(contents: &mut Vec<Content<'a>>, role: &'static str, parts: Vec<Part<'a>>) {
    if parts.is_empty() {
        return;
    }
    match contents.last_mut() {
        Some(last) if last.role == role => last.parts.extend(parts),
        _ => contents.push(Content { role, parts }),
    }
}

/// What a user said. Empty texts are left out, unless there is nothing else.
fn said<'a>(at: usize, message: &'a Message<'a>, job: &Job<'a>) -> Result<Vec<Part<'a>>, Error> {
    let mut parts = Vec::with_capacity(message.parts.len());
    for (inner, part) in message.parts.iter().enumerate() {
        if matches!(&part.body, Body::Text(text) if text.is_empty()) {
            continue;
        }
        parts.push(media::part(&format!("messages[{at}].content[{inner}]"), part, job)?);
    }
    if parts.is_empty() {
        parts.push(Part::text(""));
    }
    Ok(parts)
}

/// The results of the calls of one turn, in the order of the calls: where there are no ids the order joins them.
fn results<'a>(range: std::ops::Range<usize>, job: &Job<'a>) -> Result<Vec<Part<'a>>, Error> {
    let conversation = job.conversation;
    let earlier = conversation.messages.get(..range.start).unwrap_or_default();
    let calls = earlier.iter().rev().find(|message| !message.tool_calls.is_empty());
    let place = |message: &Message<'_>| {
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        calls.and_then(|turn| turn.tool_calls.iter().position(|call| call.id == id)).unwrap_or(usize::MAX)
    };
    let mut order: Vec<(usize, &'a Message<'a>)> =
        range.clone().filter_map(|at| Some((at, conversation.messages.get(at)?))).collect();
    order.sort_by_key(|(_, message)| place(message));
    let nested = any_glob(&job.quirks.combining_models, job.model);
    let (mut parts, mut beside) = (Vec::new(), Vec::new());
    for (at, message) in order {
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        let name = conversation.tool_name(id, at).or(message.name.as_deref()).ok_or_else(|| {
            let words = "A message with role `tool` must answer a call of an earlier assistant message.";
            Error::invalid(words, format!("messages[{at}].tool_call_id"))
        })?;
        let mut attached = Vec::new();
        for (inner, part) in message.parts.iter().enumerate() {
            if text(part).is_none() && !matches!(part.body, Body::Text(_) | Body::Refusal(_)) {
                attached.push(media::part(&format!("messages[{at}].content[{inner}]"), part, job)?);
            }
        }
        if !nested {
            beside.append(&mut attached);
        }
        let response =
            FunctionResponse { id: given_id(id), name, response: object(message), parts: attached };
        parts.push(Plain { function_response: Some(response), ..Plain::default() }.into());
    }
    parts.append(&mut beside);
    Ok(parts)
}

/// A result as an object: the object that it is, or one around its text.
fn object<'a>(message: &'a Message<'a>) -> Cow<'a, RawValue> {
    let whole = match message.parts.as_slice() {
        [part] => match &part.body {
            Body::Text(text) => Cow::Borrowed(text.as_ref()),
            _ => Cow::Borrowed(""),
        },
        _ => Cow::Owned(message.text()),
    };
    let is_object = |text: &str| text.trim_start().starts_with('{');
    let own = match &whole {
        Cow::Borrowed(text) if is_object(text) => {
            serde_json::from_str::<&RawValue>(text).ok().map(Cow::Borrowed)
        }
        Cow::Owned(text) if is_object(text) => RawValue::from_string(text.clone()).ok().map(Cow::Owned),
        _ => None,
    };
    own.unwrap_or_else(|| wrapped("result", &whole))
}

/// A text as the only member of an object.
pub fn wrapped(name: &'static str, text: &str) -> Cow<'static, RawValue> {
    let mut object = serde_json::Map::new();
    object.insert(name.to_owned(), serde_json::Value::from(text));
    match serde_json::value::to_raw_value(&object) {
        Ok(raw) => Cow::Owned(raw),
        Err(_) => Cow::Borrowed(RawValue::NULL),
    }
}
