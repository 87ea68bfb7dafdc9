//! Messages to turns: system apart, roles alternating, results first, reasoning back in its place.

use std::borrow::Cow;

use serde::Serialize;

use super::block::{Block, Result as ToolContent};
use super::ids::Ids;
use super::{assistant, source};
use crate::chat::conversation::{Body, Message, Part, Role};
use crate::error::Error;
use crate::wire::encode::{Job, Notes, unsupported};

/// What the user says where the conversation begins with the model: the API wants the user to begin.
const OPENING: &str = ".";

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
        let mut ids = Ids::default();
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
                    let block = turns.result(job, at, message, &ids, notes)?;
                    turns.push_result(block);
                }
                Role::Assistant => {
                    let blocks = assistant::blocks(message, at, &mut ids)?;
                    turns.push("assistant", blocks);
                }
            }
        }
        turns.tidy();
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

    /// What the API refuses although it says nothing: blank texts beside others, white space at the end of an answer
    /// that is to be continued, a conversation in which the user does not begin.
    fn tidy(&mut self) {
        self.system.retain(|block| !block.is_blank());
        for turn in &mut self.turns {
            // A turn that is blank altogether stays: the API says best what is wrong with it.
            if turn.content.iter().any(|block| !block.is_blank()) {
                turn.content.retain(|block| !block.is_blank());
            }
        }
        if let Some(Turn { role: "assistant", content }) = self.turns.last_mut()
            && let Some(Block::Text { text, .. }) = content.last_mut()
        {
            *text = match std::mem::take(text) {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
                Cow::Owned(text) => Cow::Owned(text.trim_end().to_owned()),
            };
        }
        let opening = match self.turns.first() {
            Some(Turn { role: "user", .. }) => return,
            Some(_) => Block::plain(OPENING),
            // Instructions alone: the last of them is what is asked.
            None => match self.system.pop() {
                Some(block) => block,
                None => return,
            },
        };
        self.turns.insert(0, Turn { role: "user", content: vec![opening] });
    }

    /// The parts of a message as blocks.
    fn parts(
        &mut self,
        job: &Job<'a>,
        at: usize,
        message: &'a Message<'a>,
        notes: &mut Notes,
    ) -> Result<Vec<Block<'a>>, Error> {
        let mut blocks = Vec::with_capacity(message.parts.len());
        for (inner, part) in message.parts.iter().enumerate() {
            blocks.push(self.part(job, part, &format_args!("messages[{at}].content[{inner}]"), notes)?);
        }
        let said = blocks.iter_mut().rev().find(|block| !block.is_blank());
        if let (Some(mark), Some(last)) = (message.cache_control, said.and_then(Block::mark)) {
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
                Ok(Block::Image { source: source::image(image, job.media, path, notes)?, cache_control })
            }
            (Body::File(file), _) => {
                self.file_ids |= file.file_id.is_some() && file.file_data.is_none();
                match source::file(file) {
                    Some(source::File::Document(source)) => {
                        Ok(Block::Document { source, title: file.filename.as_deref(), cache_control })
                    }
                    Some(source::File::Image(source)) => Ok(Block::Image { source, cache_control }),
                    None => other("file", "send a PDF or a text as base64, or the id of an uploaded file"),
                }
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
        ids: &Ids<'a>,
        notes: &mut Notes,
    ) -> Result<Block<'a>, Error> {
        let plain = match message.parts.as_slice() {
            [] => Some(""),
            [Part { body: Body::Text(text), cache_control: None, .. }] => Some(text.as_ref()),
            _ => None,
        };
        let content = match plain {
            Some(text) => ToolContent::Text(Cow::Borrowed(text)),
            None => {
                let mut blocks = self.parts(job, at, message, notes)?;
                blocks.retain(|block| !block.is_blank());
                ToolContent::Blocks(blocks)
            }
        };
        let tool_use_id = ids.result(message.tool_call_id.as_deref().unwrap_or_default());
        // A mark on the message has gone to the last of its blocks, where it has any.
        let marked = matches!(content, ToolContent::Text(_));
        let cache_control = message.cache_control.filter(|_| marked);
        Ok(Block::ToolResult { tool_use_id, content, cache_control })
    }
}
