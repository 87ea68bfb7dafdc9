//! Messages as input items: every turn of the assistant taken apart into what it thought, said and called.

use std::borrow::Cow;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::parts::{Content, Known, PartOut, input};
use super::reasoning::{Kept, Place, restore};
use crate::chat::conversation::{Body, Message, Role, ToolCall};
use crate::error::Error;
use crate::wire::encode::{Job, Notes, unsupported};

/// Characters that the API takes of a call's id.
const CALL_ID_MAX: usize = 64;

/// An input item.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Item<'a> {
    /// What someone said.
    Said {
        /// Who.
        role: &'static str,
        /// What.
        content: Content<'a>,
    },
    /// What came back of an earlier turn besides its text and calls.
    Kept(Kept<'a>),
    /// A call of a function.
    Call {
        /// `function_call`
        r#type: &'static str,
        /// Joins it and its result.
        call_id: Cow<'a, str>,
        /// The function.
        name: &'a str,
        /// JSON in a string, as the model wrote it.
        arguments: &'a str,
    },
    /// A call of a custom tool.
    CustomCall {
        /// `custom_tool_call`
        r#type: &'static str,
        /// Joins it and its result.
        call_id: Cow<'a, str>,
        /// The tool.
        name: &'a str,
        /// What the model wrote for it.
        input: &'a str,
    },
    /// A call's result.
    Output {
        /// `function_call_output` or `custom_tool_call_output`
        r#type: &'static str,
        /// The call.
        call_id: Cow<'a, str>,
        /// The result.
        output: Content<'a>,
    },
}

/// All input items of a request; `scheme` minted the reasoning that may come back.
///
/// # Errors
/// 400 naming a part that the API has no word for.
pub fn items<'a>(job: &Job<'a>, scheme: &str, notes: &mut Notes) -> Result<Vec<Item<'a>>, Error> {
    let conversation = job.conversation;
    let mut items = Vec::with_capacity(conversation.messages.len());
    for (at, message) in conversation.messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        if message.name.is_some() && message.role != Role::Tool {
            notes.drop_param("messages.name");
        }
        let marked =
            message.cache_control.is_some() || message.parts.iter().any(|part| part.cache_control.is_some());
        if marked {
            notes.drop_param("cache_control");
        }
        let role = match message.role {
            Role::Assistant => {
                assistant(message, &path, job.model, scheme, &mut items)?;
                continue;
            }
            Role::Tool | Role::Function => {
                let id = message.tool_call_id.as_deref().unwrap_or("");
                let custom = conversation.messages.get(..at).unwrap_or_default().iter().rev();
                let call = custom.flat_map(|message| &message.tool_calls).find(|call| call.id == id);
                items.push(Item::Output {
                    r#type: match call {
                        Some(ToolCall { custom: true, .. }) => "custom_tool_call_output",
                        _ => "function_call_output",
                    },
                    call_id: call_id(id),
                    output: input(&message.parts, &path, job.model)?,
                });
                continue;
            }
            Role::Developer if job.quirks.developer_role => "developer",
            Role::Developer | Role::System => "system",
            Role::User => "user",
        };
        items.push(Item::Said { role, content: input(&message.parts, &path, job.model)? });
    }
    Ok(items)
}

/// An id that the API takes: a longer one, from elsewhere, becomes its digest, the same each time.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= CALL_ID_MAX {
        return Cow::Borrowed(id);
    }
    let digest = Sha256::digest(id.as_bytes());
    Cow::Owned(digest.iter().take(20).fold("call_".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

/// A turn of the assistant: what it kept goes back to where it stood among text and calls.
fn assistant<'a>(
    message: &'a Message<'a>,
    path: &str,
    model: &str,
    scheme: &str,
    items: &mut Vec<Item<'a>>,
) -> Result<(), Error> {
    let start = items.len();
    let mut turn = Turn { text: said(message, path, model)?, calls: &message.tool_calls, told: (0, 0) };
    for (place, kept) in restore(&message.details, scheme) {
        turn.tell_until(place, items);
        items.push(Item::Kept(kept));
    }
    turn.tell_until((u64::MAX, 0), items);
    let refusals = message.parts.iter().filter_map(|part| match &part.body {
        Body::Refusal(refusal) => Some(refusal),
        _ => None,
    });
    for refusal in refusals.chain(&message.refusal) {
        let part = PartOut::Known(Known::Refusal { refusal });
        items.push(Item::Said { role: "assistant", content: Content::Parts(vec![part]) });
    }
    turn.tell_until((u64::MAX, u64::MAX), items);
    // Reasoning that led to nothing is refused: the answer was cut off in it, or the client cut off the rest.
    while items.len() > start && matches!(items.last(), Some(Item::Kept(Kept::Reasoning(_)))) {
        items.pop();
    }
    if items.len() == start {
        items.push(Item::Said { role: "assistant", content: Content::Text(Cow::Borrowed("")) });
    }
    Ok(())
}

/// What the assistant said, in one piece.
fn said<'a>(message: &'a Message<'a>, path: &str, model: &str) -> Result<Cow<'a, str>, Error> {
    let mut said = Cow::Borrowed("");
    for (at, part) in message.parts.iter().enumerate() {
        match &part.body {
            Body::Text(text) if said.is_empty() => said = Cow::Borrowed(text),
            Body::Text(text) => said.to_mut().push_str(text),
            Body::Refusal(_) => {}
            _ => {
                let path = format!("{path}.content[{at}]");
                return Err(unsupported(&path, model, "an assistant's message takes text alone"));
            }
        }
    }
    Ok(said)
}

/// Text and calls of a turn, told bit by bit.
struct Turn<'a> {
    text: Cow<'a, str>,
    calls: &'a [ToolCall<'a>],
    told: Place,
}

impl<'a> Turn<'a> {
    /// Tells what stood before a place: text first, as answers have it.
    fn tell_until(&mut self, (text, calls): Place, items: &mut Vec<Item<'a>>) {
        let more = usize::try_from(text.saturating_sub(self.told.0)).unwrap_or(usize::MAX);
        if more > 0 && !self.text.is_empty() {
            let cut = self.text.char_indices().nth(more).map_or(self.text.len(), |(at, _)| at);
            let (now, later) = split(std::mem::take(&mut self.text), cut);
            items.push(Item::Said { role: "assistant", content: Content::Text(now) });
            self.text = later;
        }
        self.told.0 = self.told.0.max(text);
        let more = usize::try_from(calls.saturating_sub(self.told.1)).unwrap_or(usize::MAX);
        let (now, later) = self.calls.split_at(more.min(self.calls.len()));
        items.extend(now.iter().map(call));
        self.calls = later;
        self.told.1 = self.told.1.max(calls);
    }
}

fn split(text: Cow<'_, str>, at: usize) -> (Cow<'_, str>, Cow<'_, str>) {
    match text {
        Cow::Borrowed(text) => {
            let (now, later) = text.split_at_checked(at).unwrap_or((text, ""));
            (Cow::Borrowed(now), Cow::Borrowed(later))
        }
        Cow::Owned(mut text) => {
            let later = if at < text.len() { text.split_off(at) } else { String::new() };
            (Cow::Owned(text), Cow::Owned(later))
        }
    }
}

fn call<'a>(call: &'a ToolCall<'a>) -> Item<'a> {
    let (call_id, name) = (call_id(&call.id), call.name.as_ref());
    if call.custom {
        return Item::CustomCall { r#type: "custom_tool_call", call_id, name, input: &call.arguments };
    }
    let arguments = if call.arguments.is_empty() { "{}" } else { call.arguments.as_ref() };
    Item::Call { r#type: "function_call", call_id, name, arguments }
}
