//! An assistant's message: its text and calls, and what it minted put back between them.

use std::borrow::Cow;

use super::CODEC;
use super::block::Block;
use super::ids::Ids;
use crate::chat::conversation::{Body, Detail, Message};
use crate::error::Error;

/// Its blocks, in the order in which they were made.
pub fn blocks<'a>(message: &'a Message<'a>, at: usize, ids: &mut Ids<'a>) -> Result<Vec<Block<'a>>, Error> {
    let mut details = message.details.iter().filter(|detail| detail.is_of(CODEC.details)).peekable();
    let mut blocks = Vec::new();
    let mut chars = 0;
    let texts = message.parts.iter().filter_map(|part| match &part.body {
        Body::Text(text) | Body::Refusal(text) => Some((text.as_ref(), part.cache_control)),
        _ => None,
    });
    let refusal = message.refusal.as_ref().map(|text| (text.as_ref(), None));
    for (text, cache_control) in texts.chain(refusal) {
        let mut rest = text;
        while !rest.is_empty() {
            while let Some(detail) = details.next_if(|detail| place(detail) <= (chars, 0)) {
                blocks.extend(thought(detail));
            }
            let next = details.peek().filter(|detail| detail.after_calls.is_none());
            let until = next.map_or(u64::MAX, |detail| place(detail).0).saturating_sub(chars);
            let (said, more) = split_chars(rest, until);
            chars += said.chars().count() as u64;
            // The mark ends its part. Models write white space between blocks, which the API does not take back.
            let cache_control = cache_control.filter(|_| more.is_empty());
            if !said.trim().is_empty() {
                blocks.push(Block::Text { text: Cow::Borrowed(said), cache_control });
            }
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
        blocks.push(Block::ToolUse { id: ids.call(&call.id), name: &call.name, input, cache_control });
    }
    for detail in details {
        blocks.extend(thought(detail));
    }
    let last = blocks.iter_mut().rev().find_map(Block::mark);
    if let (Some(mark), Some(last)) = (message.cache_control, last) {
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
    let at = if count >= text.len() {
        text.len()
    } else {
        text.char_indices().nth(count).map_or(text.len(), |(at, _)| at)
    };
    text.split_at(at)
}

fn thought<'a>(detail: &'a Detail<'a>) -> Option<Block<'a>> {
    match (&detail.signature, &detail.data) {
        (Some(signature), _) if !signature.is_empty() => Some(Block::Thinking {
            thinking: Cow::Borrowed(detail.text.as_deref().unwrap_or_default()),
            signature: Cow::Borrowed(signature.as_ref()),
        }),
        (_, Some(data)) => Some(Block::RedactedThinking { data: Cow::Borrowed(data.as_ref()) }),
        _ => None,
    }
}
