//! Messages: turns of user and assistant that alternate, made of blocks. Results of tools come first in a turn.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Given, media};
use crate::chat::conversation::{Body, Detail, Message, Part, Role, Str, ToolCall};
use crate::error::Error;
use crate::wire::bedrock_converse::reasoning;
use crate::wire::encode::{Notes, unsupported};

/// Characters of a call's id at most.
const ID_CHARS_MAX: usize = 64;

/// One turn.
#[derive(Serialize)]
pub struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
    /// Blocks at its beginning that are results of tools, and their cache marks.
    #[serde(skip)]
    results: usize,
}

/// One block.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Block<'a> {
    Text(&'a str),
    Image(media::Medium<'a>),
    Audio(media::Medium<'a>),
    Document(media::Document<'a>),
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: &'a str,
        input: Input<'a>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Block<'a>>,
    },
    ReasoningContent(reasoning::Back<'a>),
    CachePoint(CachePoint<'a>),
    Json(&'a RawValue),
    #[serde(untagged)]
    Own(Own<'a>),
}

/// Arguments of a call.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Input<'a> {
    Object(&'a RawValue),
    /// A model wrote something else than an object; an object is all that is taken.
    Unreadable {
        arguments: &'a str,
    },
}

/// `cachePoint`
#[derive(Serialize)]
pub struct CachePoint<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Str<'a>>,
}

/// A block in the vendor's own words: one of these.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Own<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    guard_content: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    cache_point: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    document: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    image: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    video: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    search_result: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
}

impl Own<'_> {
    fn members(&self) -> usize {
        let Self { guard_content, cache_point, document, image, video, search_result, json } = self;
        let all = [guard_content, cache_point, document, image, video, search_result, json];
        all.into_iter().flatten().count()
    }
}

/// The cache point for a mark, where the model has any.
pub fn cache_point<'a>(
    mark: Option<&'a RawValue>,
    given: Given<'_>,
    notes: &mut Notes,
) -> Option<CachePoint<'a>> {
    #[derive(Default, Deserialize)]
    struct Mark<'a> {
        #[serde(borrow)]
        ttl: Option<Str<'a>>,
    }
    let mark = mark?;
    if given.is_any(&given.0.quirks.uncached_models) {
        notes.drop_param("cache_control");
        return None;
    }
    let Mark { ttl } = serde_json::from_str(mark.get()).unwrap_or_default();
    Some(CachePoint { r#type: "default", ttl })
}

/// Writes `system` and `messages`.
pub fn write<'a>(given: Given<'a>, notes: &mut Notes) -> Result<(Vec<Block<'a>>, Vec<Turn<'a>>), Error> {
    let mut writer =
        Writer { given, notes, names: media::Names::default(), system: Vec::new(), turns: Vec::new() };
    for (at, message) in given.0.conversation.messages.iter().enumerate() {
        writer.message(at, message)?;
    }
    Ok((writer.system, writer.turns))
}

struct Writer<'a, 'n> {
    given: Given<'a>,
    notes: &'n mut Notes,
    names: media::Names,
    system: Vec<Block<'a>>,
    turns: Vec<Turn<'a>>,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, at: usize, message: &'a Message<'a>) -> Result<(), Error> {
        // A result's name is the function's, which its call has said.
        if message.name.is_some() && message.role != Role::Tool {
            self.notes.drop_param("messages.name");
        }
        match message.role {
            Role::System | Role::Developer => {
                let blocks = self.said(at, message)?;
                self.system.extend(blocks);
            }
            Role::User => {
                let blocks = self.said(at, message)?;
                self.turn("user", blocks);
            }
            Role::Assistant => {
                let blocks = self.assistant(at, message)?;
                self.turn("assistant", blocks);
            }
            Role::Tool | Role::Function => self.result(at, message)?,
        }
        Ok(())
    }

    /// Adds blocks to a role's turn; one that says nothing is none.
    fn turn(&mut self, role: &'static str, blocks: Vec<Block<'a>>) {
        if blocks.is_empty() {
            return;
        }
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn { role, content: Vec::new(), results: 0 });
        }
        if let Some(turn) = self.turns.last_mut() {
            turn.content.extend(blocks);
        }
    }

    /// A message that is nothing but content.
    fn said(&mut self, at: usize, message: &'a Message<'a>) -> Result<Vec<Block<'a>>, Error> {
        let mut blocks = Vec::with_capacity(message.parts.len());
        for (inner, part) in message.parts.iter().enumerate() {
            blocks.extend(self.block(at, inner, message.role, part)?);
            self.mark(part.cache_control, &mut blocks);
        }
        self.mark(message.cache_control, &mut blocks);
        Ok(blocks)
    }

    /// Adds a cache mark, where there is something to mark.
    fn mark(&mut self, mark: Option<&'a RawValue>, blocks: &mut Vec<Block<'a>>) {
        let marked = matches!(blocks.last(), None | Some(Block::CachePoint(_)));
        if let Some(point) = cache_point(mark, self.given, self.notes).filter(|_| !marked) {
            blocks.push(Block::CachePoint(point));
        }
    }

    /// One part; `None` for text that is blank, which is refused.
    fn block(
        &mut self,
        at: usize,
        inner: usize,
        role: Role,
        part: &'a Part<'a>,
    ) -> Result<Option<Block<'a>>, Error> {
        let path = format!("messages[{at}].content[{inner}]");
        let talks = matches!(role, Role::User | Role::Tool | Role::Function);
        let block = match &part.body {
            Body::Text(text) | Body::Refusal(text) => text_block(text),
            Body::Image(image) if talks => {
                if image.detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.notes.drop_param("messages.image_url.detail");
                }
                Some(Block::Image(media::image(&path, image, self.given)?))
            }
            Body::File(file) if talks => {
                Some(Block::Document(media::document(&path, part, file, self.given, &mut self.names)?))
            }
            Body::Audio { data, format } if role == Role::User => {
                Some(Block::Audio(media::audio(format, data)))
            }
            _ => {
                let own = part.raw.and_then(|raw| serde_json::from_str::<Own<'_>>(raw.get()).ok());
                let own = own.filter(|own| own.members() == 1);
                let own = own.ok_or_else(|| {
                    unsupported(&path, self.given.0.model, "send it as text or choose another model")
                })?;
                Some(Block::Own(own))
            }
        };
        Ok(block)
    }

    /// The result of a tool goes to the results of the user's turn.
    fn result(&mut self, at: usize, message: &'a Message<'a>) -> Result<(), Error> {
        let mut content = Vec::with_capacity(message.parts.len());
        match message.parts.as_slice() {
            [Part { body: Body::Text(text), .. }] => {
                content.extend(object(text).or_else(|| text_block(text)))
            }
            parts => {
                for (inner, part) in parts.iter().enumerate() {
                    content.extend(self.block(at, inner, message.role, part)?);
                }
            }
        }
        let tool_use_id = id(message.tool_call_id.as_deref().unwrap_or_default());
        let mut blocks = vec![Block::ToolResult { tool_use_id, content }];
        let marks = message.parts.iter().rev().find_map(|part| part.cache_control);
        self.mark(message.cache_control.or(marks), &mut blocks);
        if self.turns.last().is_none_or(|turn| turn.role != "user") {
            self.turns.push(Turn { role: "user", content: Vec::new(), results: 0 });
        }
        if let Some(turn) = self.turns.last_mut() {
            for block in blocks {
                turn.content.insert(turn.results, block);
                turn.results += 1;
            }
        }
        Ok(())
    }

    /// An assistant's message: text and calls, with reasoning where it stood.
    fn assistant(&mut self, at: usize, message: &'a Message<'a>) -> Result<Vec<Block<'a>>, Error> {
        let mut thoughts = Thoughts::of(message);
        let mut blocks = Vec::new();
        let mut chars = 0;
        for (inner, part) in message.parts.iter().enumerate() {
            match &part.body {
                Body::Text(text) | Body::Refusal(text) => thoughts.within(text, &mut chars, &mut blocks),
                _ => blocks.extend(self.block(at, inner, Role::Assistant, part)?),
            }
            self.mark(part.cache_control, &mut blocks);
        }
        if message.parts.is_empty() {
            blocks.extend(message.refusal.as_deref().and_then(text_block));
        }
        for (before, call) in message.tool_calls.iter().enumerate() {
            thoughts.before_call(before as u64, &mut blocks);
            blocks.push(called(call));
            self.mark(call.cache_control, &mut blocks);
        }
        // Reasoning that led to nothing may not end a message; nothing was said after it.
        self.mark(message.cache_control, &mut blocks);
        Ok(blocks)
    }
}

/// Reasoning of a message that goes back, in order, each with its place.
struct Thoughts<'a> {
    left: std::iter::Peekable<std::vec::IntoIter<(u64, u64, reasoning::Back<'a>)>>,
}

impl<'a> Thoughts<'a> {
    fn of(message: &'a Message<'a>) -> Self {
        let place = |detail: &'a Detail<'a>| {
            let back = reasoning::back(detail)?;
            Some((detail.after_text.unwrap_or(0), detail.after_calls.unwrap_or(0), back))
        };
        let list: Vec<_> = message.details.iter().filter_map(place).collect();
        Self { left: list.into_iter().peekable() }
    }

    /// Writes a text, cut where reasoning stood in it. `chars`: what came before it, and then what came up to its end.
    fn within(&mut self, text: &'a str, chars: &mut u64, blocks: &mut Vec<Block<'a>>) {
        let mut rest = text;
        let end = *chars + text.chars().count() as u64;
        while let Some((after, _, back)) = self.left.next_if(|(after, calls, _)| *after < end && *calls == 0)
        {
            if after > *chars {
                blocks.extend(text_block(split(&mut rest, after - *chars)));
                *chars = after;
            }
            blocks.push(Block::ReasoningContent(back));
        }
        blocks.extend(text_block(rest));
        *chars = end;
    }

    /// Writes what stood before the call after `calls` others.
    fn before_call(&mut self, calls: u64, blocks: &mut Vec<Block<'a>>) {
        while let Some((_, _, back)) = self.left.next_if(|(_, after_calls, _)| *after_calls <= calls) {
            blocks.push(Block::ReasoningContent(back));
        }
    }
}

/// Cuts this many characters off the front.
fn split<'a>(rest: &mut &'a str, chars: u64) -> &'a str {
    let chars = usize::try_from(chars).unwrap_or(usize::MAX);
    let cut = rest.char_indices().nth(chars).map_or(rest.len(), |(at, _)| at);
    let (head, tail) = rest.split_at(cut);
    *rest = tail;
    head
}

fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text(text))
}

/// A result that is a JSON object goes as one.
fn object(text: &str) -> Option<Block<'_>> {
    let written = text.trim();
    if !written.starts_with('{') {
        return None;
    }
    serde_json::from_str(written).ok().map(Block::Json)
}

fn called<'a>(call: &'a ToolCall<'a>) -> Block<'a> {
    let input = match call.object() {
        Some(object) => Input::Object(object),
        None => Input::Unreadable { arguments: &call.arguments },
    };
    Block::ToolUse { tool_use_id: id(&call.id), name: &call.name, input }
}

/// A call's id in the alphabet and length that are taken; the same id becomes the same.
fn id(written: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if written.len() <= ID_CHARS_MAX && written.chars().all(fits) {
        return Cow::Borrowed(written);
    }
    // A digest keeps ids apart that differ only in what is replaced.
    let digest = Sha256::digest(written.as_bytes());
    let mut id: String = written.chars().take(40).map(|c| if fits(c) { c } else { '_' }).collect();
    id.push('_');
    for byte in digest.iter().take(8) {
        id.push_str(&format!("{byte:02x}"));
    }
    Cow::Owned(id)
}
