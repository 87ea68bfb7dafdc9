//! Messages: the same roles as OpenAI's, contents of text, images, thinking and documents.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::conversation::{Body, Message, Part, Role, ToolCall};
use crate::error::Error;
use crate::wire::cohere::detail;
use crate::wire::encode::{Job, Notes, unsupported};

#[derive(Serialize)]
pub struct Out<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Block<'a>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Text { r#type: &'static str, text: &'a str },
    Thinking { r#type: &'static str, thinking: &'a str },
    Image { r#type: &'static str, image_url: Image<'a> },
    AsGiven(&'a RawValue),
}

#[derive(Serialize)]
struct Image<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Writes `messages`.
pub fn write<'a>(job: &Job<'a>, notes: &mut Notes) -> Result<Vec<Out<'a>>, Error> {
    let mut out = Vec::with_capacity(job.conversation.messages.len());
    for (at, message) in job.conversation.messages.iter().enumerate() {
        // A result's name is the function's, which its call has said.
        if message.name.is_some() && message.role != Role::Tool {
            notes.drop_param("messages.name");
        }
        let marks = message.parts.iter().filter_map(|part| part.cache_control);
        let calls = message.tool_calls.iter().filter_map(|call| call.cache_control);
        if message.cache_control.into_iter().chain(marks).chain(calls).next().is_some() {
            notes.drop_param("cache_control");
        }
        if message.role == Role::Assistant && is_empty(message) {
            // The vendor refuses a turn of nothing, and leaving it out loses nothing.
            continue;
        }
        out.push(match message.role {
            Role::System | Role::Developer => said("system", at, message, job)?,
            Role::User => said("user", at, message, job)?,
            Role::Assistant => assistant(at, message, job)?,
            Role::Tool | Role::Function => {
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                Out { tool_call_id: Some(id), ..said("tool", at, message, job)? }
            }
        });
    }
    Ok(out)
}

/// An assistant's message without text, calls, refusal or anything of the vendor's own to bring back.
fn is_empty(message: &Message<'_>) -> bool {
    let empty = |part: &Part<'_>| matches!(&part.body, Body::Text(text) if text.is_empty());
    let ours = message.details.iter().any(|detail| detail.is_of(detail::FORMAT));
    message.parts.iter().all(empty) && message.tool_calls.is_empty() && message.refusal.is_none() && !ours
}

/// A message that is nothing but content.
fn said<'a>(
    role: &'static str,
    at: usize,
    message: &'a Message<'a>,
    job: &Job<'a>,
) -> Result<Out<'a>, Error> {
    let content = match message.parts.as_slice() {
        [] => Content::Text(""),
        [Part { body: Body::Text(text), raw: None, .. }] => Content::Text(text),
        parts => {
            let blocks = parts.iter().enumerate().map(|(inner, part)| {
                block(role, part).ok_or_else(|| {
                    unsupported(&format!("messages[{at}].content[{inner}]"), job.model, advice(part))
                })
            });
            Content::Blocks(blocks.collect::<Result<_, _>>()?)
        }
    };
    Ok(Out { role, tool_call_id: None, content: Some(content), tool_plan: None, tool_calls: Vec::new() })
}

fn text_block(text: &str) -> Block<'_> {
    Block::Text { r#type: "text", text }
}

/// One part; `None` when such a message cannot hold it.
fn block<'a>(role: &str, part: &'a Part<'a>) -> Option<Block<'a>> {
    match &part.body {
        Body::Text(text) | Body::Refusal(text) => Some(text_block(text)),
        Body::Image(image) if role == "user" => Some(Block::Image {
            r#type: "image_url",
            image_url: Image { url: &image.url, detail: image.detail.as_deref() },
        }),
        // The vendor's own form of a result that can be cited.
        Body::Other { kind } if role == "tool" && *kind == "document" => part.raw.map(Block::AsGiven),
        _ => None,
    }
}

fn advice(part: &Part<'_>) -> &'static str {
    match &part.body {
        Body::Image(_) => "images can be sent in messages of the user only",
        Body::File(_) => "send the document's text, in a message or in `documents`",
        _ => "send it as text or choose another model",
    }
}

/// An assistant's message: its text, with thinking where it stood, and its calls, with the plan for them.
fn assistant<'a>(at: usize, message: &'a Message<'a>, job: &Job<'a>) -> Result<Out<'a>, Error> {
    let thinks = message.details.iter().any(|detail| detail::as_thinking(detail).is_some());
    let mut out = if thinks { thoughtful(at, message, job)? } else { said("assistant", at, message, job)? };
    if message.parts.is_empty() && !thinks {
        out.content = message.refusal.as_deref().map(Content::Text);
    }
    let plans: Vec<&str> = message.details.iter().filter_map(detail::as_plan).collect();
    out.tool_plan = Some(plans.concat()).filter(|plan| !plan.is_empty());
    out.tool_calls = message.tool_calls.iter().map(call).collect();
    Ok(out)
}

fn call<'a>(call: &'a ToolCall<'a>) -> Call<'a> {
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    Call { id: &call.id, r#type: "function", function: Function { name: &call.name, arguments } }
}

/// The text cut where thinking stood, and the thinking put back there.
fn thoughtful<'a>(at: usize, message: &'a Message<'a>, job: &Job<'a>) -> Result<Out<'a>, Error> {
    let mut thoughts = message
        .details
        .iter()
        .filter_map(|detail| Some((detail.after_text.unwrap_or(0), detail::as_thinking(detail)?)))
        .peekable();
    let mut blocks = Vec::new();
    let mut before = 0;
    for (inner, part) in message.parts.iter().enumerate() {
        let (Body::Text(text) | Body::Refusal(text)) = &part.body else {
            let path = format!("messages[{at}].content[{inner}]");
            return Err(unsupported(&path, job.model, advice(part)));
        };
        let mut rest: &str = text;
        let end = before + rest.chars().count() as u64;
        while let Some((after, thinking)) = thoughts.next_if(|(after, _)| *after < end) {
            if after > before {
                blocks.push(text_block(split(&mut rest, after - before)));
                before = after;
            }
            blocks.push(Block::Thinking { r#type: "thinking", thinking });
        }
        if !rest.is_empty() {
            blocks.push(text_block(rest));
        }
        before = end;
    }
    blocks.extend(thoughts.map(|(_, thinking)| Block::Thinking { r#type: "thinking", thinking }));
    Ok(Out {
        role: "assistant",
        tool_call_id: None,
        content: Some(Content::Blocks(blocks)),
        tool_plan: None,
        tool_calls: Vec::new(),
    })
}

/// Cuts this many characters off the front.
fn split<'a>(rest: &mut &'a str, chars: u64) -> &'a str {
    let chars = usize::try_from(chars).unwrap_or(usize::MAX);
    let cut = rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at);
    let (head, tail) = rest.split_at(cut);
    *rest = tail;
    head
}
