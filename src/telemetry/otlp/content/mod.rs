//! What was asked and answered, as attributes in the words of the GenAI conventions: lists of messages, each a role and
//! parts, written as JSON texts. It comes here as it is stored: masked and cut.
//!
//! Instructions stay among the messages, in their order: that is where a chat's history has them, and
//! `gen_ai.system_instructions` is for interfaces that take them apart from it. What is no text, call, result, reasoning or
//! file keeps its own type and fields. What cannot be read, since it was cut or is something else, is shown as the text
//! that it is: nothing is guessed.

mod parts;
mod stream;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::attributes::Attributes;
use crate::request_log::{Kept, Rules};

/// What a response says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// Its choices, as one that is not streamed has them.
    choices: Vec<Value>,
    /// Its error, if it has one: a stream may say something before it fails.
    error: Option<Value>,
}

/// Writes what is kept of a call; `rules` are those that masked it.
pub fn write(attributes: &mut Attributes, request: Option<&Kept>, response: Option<&Kept>, rules: &Rules) {
    if let Some(kept) = request.filter(|kept| !kept.body.is_empty())
        && asked(attributes, &kept.body, rules).is_none()
    {
        attributes.text("llm_gateway.request.body", &kept.body);
    }
    if let Some(kept) = response.filter(|kept| !kept.body.is_empty())
        && answered(attributes, &kept.body, rules).is_none()
    {
        attributes.text("llm_gateway.response.body", &kept.body);
    }
    if [request, response].into_iter().flatten().any(|kept| kept.truncated) {
        attributes.flag("llm_gateway.content_truncated", true);
    }
}

/// Messages and tools; `None`, and nothing is written, where there are no messages to be read.
fn asked(attributes: &mut Attributes, body: &str, rules: &Rules) -> Option<()> {
    let request: Value = serde_json::from_str(body).ok()?;
    let messages = request.get("messages")?.as_array()?.iter().map(|one| parts::message(one, rules));
    let messages: Value = messages.collect::<Option<Vec<Value>>>()?.into();
    attributes.text("gen_ai.input.messages", &messages.to_string());
    let tools = |name| request.get(name).and_then(Value::as_array).into_iter().flatten();
    let tools: Vec<Value> = tools("tools").chain(tools("functions")).map(parts::tool).collect();
    if !tools.is_empty() {
        attributes.text("gen_ai.tool.definitions", &Value::from(tools).to_string());
    }
    Some(())
}

/// A message for each choice; `None`, and nothing is written, where there are none to be read.
fn answered(attributes: &mut Attributes, body: &str, rules: &Rules) -> Option<()> {
    let Said { choices, error } = if stream::is_one(body) { stream::whole(body)? } else { whole(body)? };
    let messages: Vec<Value> = choices.iter().map(|one| parts::choice(one, rules)).collect::<Option<_>>()?;
    if !messages.is_empty() {
        attributes.text("gen_ai.output.messages", &Value::from(messages).to_string());
    }
    attributes.maybe("llm_gateway.response.error", error.map(|error| error.to_string()).as_deref());
    Some(())
}

/// What a response says that is not streamed.
fn whole(body: &str) -> Option<Said> {
    let mut response: Value = serde_json::from_str(body).ok()?;
    let error = response.get_mut("error").map(Value::take).filter(|error| !error.is_null());
    let choices = match response.get_mut("choices").map(Value::take) {
        Some(Value::Array(choices)) => choices,
        _ => Vec::new(),
    };
    (error.is_some() || !choices.is_empty()).then_some(Said { choices, error })
}
