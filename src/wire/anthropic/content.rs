//! Messages to turns: system apart, roles alternating, results first, reasoning back in its place.

use std::borrow::Cow;

use serde::Serialize;

use super::CODEC;
use super::block::{Block, Result as ToolContent, Source};
use crate::chat::conversation::{Body, Detail, File, Image, Message, Part, Role};
use crate::error::Error;
use crate::wire::encode::{Job, Notes, unsupported};

/// One turn.
#[derive(Debug, Serialize)]
pub struct Turn<'a> {
    pub role: &'static str,
    pub content: Vec<Block<'a>>,
}

/// System prompt and turns of a conversation.
#[derive(Debug, Default)]
pub struct Turns<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<'a>>,
    /// A file is named by its id, which is a beta.
    pub file_ids: bool,
}

impl<'a> Turns<'a> {
    /// Reads a conversation.
    pub fn of(job: &Job<'a>, notes: &mut Notes) -> Result<Self, Error> {
        let mut turns = Self::default();
        for (at, message) in job.conversation.messages.iter().enumerate() {
            if message.name.is_some() && matches!(message.role, Role::User | Role::Assistant) {
                notes.drop_param("name");
            }
            match message.role {
                Role::System | Role::Developer => {
                    let blocks = turns.parts(job, at, message, notes)?;
                    turns.system.extend(blocks);
                }
                Role::User => {
                    let blocks = turns.parts(job, at, message, notes)?;
                    turns.push("user", blocks);
                }
                Role::Tool | Role::Function => {
                    let block = turns.result(job, at, message, notes)?;
                    turns.push_result(block);
                }
                Role::Assistant => {
                    let blocks = assistant(message, at)?;
                    turns.push("assistant", blocks);
                }
            }
        }
        Ok(turns)
    }

    /// Adds blocks to the last turn of this role, or opens one. No blocks are no turn.
    fn push(&mut self, role: &'static str, blocks: Vec<Block<'a>>) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => self.turns.push(Turn { role, content: blocks }),
        }
    }

    /// Adds a tool's result before whatever else the user said in that turn.
    fn push_result(&mut self, block: Block<'a>) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == "user" => {
                let results =
                    turn.content.iter().take_while(|block| matches!(block, Block::ToolResult { .. })).count();
                turn.content.insert(results, block);
            }
            _ => self.turns.push(Turn { role: "user", content: vec![block] }),
        }
    }

    /// The parts of a message as blocks. An empty text says nothing, and the API takes none.
    fn parts(
        &mut self,
        job: &Job<'a>,
        at: usize,
        message: &'a Message<'a>,
        notes: &mut Notes,
    ) -> Result<Vec<Block<'a>>, Error> {
        let mut blocks = Vec::with_capacity(message.parts.len());
        for (inner, part) in message.parts.iter().enumerate() {
            let empty = matches!(&part.body, Body::Text(text) if text.is_empty());
            if !(empty && message.parts.len() > 1) {
                blocks.push(self.part(job, part, &format_args!("messages[{at}].content[{inner}]"), notes)?);
            }
        }
        if let (Some(mark), Some(last)) = (message.cache_control, blocks.last_mut().and_then(Block::mark)) {
            last.get_or_insert(mark);
        }
        Ok(blocks)
    }

    fn part(
        &mut self,
        job: &Job<'a>,
        part: &'a Part<'a>,
        path: &std::fmt::Arguments<'_>,
        notes: &mut Notes,
    ) -> Result<Block<'a>, Error> {
        let cache_control = part.cache_control;
        let other = |what: &str, advice: &str| Err(unsupported(&format!("{path}.{what}"), job.model, advice));
        match (&part.body, part.raw) {
            (Body::Text(text) | Body::Refusal(text), _) => {
                Ok(Block::Text { text: Cow::Borrowed(text.as_ref()), cache_control })
            }
            (Body::Image(image), _) => {
                Ok(Block::Image { source: image_source(image, path, notes)?, cache_control })
            }
            (Body::File(file), _) => {
                self.file_ids |= file.file_id.is_some() && file.file_data.is_none();
                let Some(source) = document(file) else {
                    return other("file", "send a PDF or a text as base64, or the id of an uploaded file");
                };
                Ok(Block::Document { source, title: file.filename.as_deref(), cache_control })
            }
            (Body::Audio { .. }, _) => other("input_audio", "the model takes no sound"),
            // The vendor's own words.
            (Body::Other { kind }, Some(raw))
                if matches!(kind.as_ref(), "image" | "document" | "search_result" | "container_upload") =>
            {
                Ok(Block::Raw(raw))
            }
            (Body::Other { .. }, _) => other("type", "the model takes no part of this kind"),
        }
    }

    fn result(
        &mut self,
        job: &Job<'a>,
        at: usize,
        message: &'a Message<'a>,
        notes: &mut Notes,
    ) -> Result<Block<'a>, Error> {
        let plain = match message.parts.as_slice() {
            [] => Some(""),
            [Part { body: Body::Text(text), cache_control: None, .. }] => Some(text.as_ref()),
            _ => None,
        };
        let content = match plain {
            Some(text) => ToolContent::Text(Cow::Borrowed(text)),
            None => ToolContent::Blocks(self.parts(job, at, message, notes)?),
        };
        let tool_use_id = message.tool_call_id.as_deref().unwrap_or_default();
        Ok(Block::ToolResult { tool_use_id, content, cache_control: message.cache_control })
    }
}

fn image_source<'a>(
    image: &'a Image<'a>,
    path: &std::fmt::Arguments<'_>,
    notes: &mut Notes,
) -> Result<Source<'a>, Error> {
    if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
        notes.drop_param("image_url.detail");
    }
    match image.data_url() {
        Some((media_type, data)) => Ok(Source::Base64 { media_type, data }),
        None if image.url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) => {
            let param = format!("{path}.image_url");
            Err(Error::invalid(format!("`{param}.url` must be a data URL in base64."), param))
        }
        None => Ok(Source::Url { url: &image.url }),
    }
}

/// A document that the API takes.
fn document<'a>(file: &'a File<'a>) -> Option<Source<'a>> {
    match (file.inline(), file.file_id.as_deref()) {
        (Some((media_type @ "application/pdf", data)), _) => Some(Source::Base64 { media_type, data }),
        (Some((media_type, data)), _) if media_type.starts_with("text/") => {
            let text = String::from_utf8(crate::wire::base64::decode(data)?).ok()?;
            Some(Source::Text { media_type: "text/plain", data: text })
        }
        (Some(_), _) => None,
        (None, Some(file_id)) => Some(Source::File { file_id }),
        (None, None) => None,
    }
}

/// An assistant's message: its text and calls, and what it minted put back between them.
fn assistant<'a>(message: &'a Message<'a>, at: usize) -> Result<Vec<Block<'a>>, Error> {
    let mut details = message.details.iter().filter(|detail| detail.is_of(CODEC.details)).peekable();
    let mut blocks = Vec::new();
    let mut chars = 0;
    let texts = message.parts.iter().filter_map(|part| match &part.body {
        Body::Text(text) | Body::Refusal(text) => Some((text.as_ref(), part.cache_control)),
        _ => None,
    });
    let refusal = message.refusal.as_ref().map(|text| (text.as_ref(), None));
    for (text, cache_control) in texts.chain(refusal).filter(|(text, _)| !text.is_empty()) {
        let mut rest = text;
        while !rest.is_empty() {
            while let Some(detail) = details.next_if(|detail| place(detail) <= (chars, 0)) {
                blocks.extend(thought(detail));
            }
            let next = details.peek().filter(|detail| detail.after_calls.is_none());
            let until = next.map_or(u64::MAX, |detail| place(detail).0) - chars;
            let (said, more) = split_chars(rest, until);
            chars += said.chars().count() as u64;
            blocks.push(Block::Text { text: Cow::Borrowed(said), cache_control });
            rest = more;
        }
    }
    for (made, call) in message.tool_calls.iter().enumerate() {
        while let Some(detail) = details.next_if(|detail| detail.after_calls.unwrap_or(0) <= made as u64) {
            blocks.extend(thought(detail));
        }
        let input = call.object().ok_or_else(|| {
            let param = format!("messages[{at}].tool_calls[{made}].function.arguments");
            Error::invalid(format!("`{param}` must be a JSON object in a string."), param)
        })?;
        let cache_control = call.cache_control;
        blocks.push(Block::ToolUse { id: &call.id, name: &call.name, input, cache_control });
    }
    for detail in details {
        blocks.extend(thought(detail));
    }
    if let (Some(mark), Some(last)) = (message.cache_control, blocks.last_mut().and_then(Block::mark)) {
        last.get_or_insert(mark);
    }
    Ok(blocks)
}

/// Where a block stood: characters of text and calls before it.
fn place(detail: &Detail<'_>) -> (u64, u64) {
    (detail.after_text.unwrap_or(0), detail.after_calls.unwrap_or(0))
}

/// The first so many characters, and the rest.
fn split_chars(text: &str, count: u64) -> (&str, &str) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let at = text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}

fn thought<'a>(detail: &'a Detail<'a>) -> Option<Block<'a>> {
    match (&detail.signature, &detail.data) {
        (Some(signature), _) => Some(Block::Thinking {
            thinking: Cow::Borrowed(detail.text.as_deref().unwrap_or_default()),
            signature: Cow::Borrowed(signature.as_ref()),
        }),
        (None, Some(data)) => Some(Block::RedactedThinking { data: Cow::Borrowed(data.as_ref()) }),
        (None, None) => None,
    }
}
