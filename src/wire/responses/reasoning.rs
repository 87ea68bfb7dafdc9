//! Reasoning items: taken apart into details that a client can carry, and put together again from them.
//!
//! An item becomes consecutive details with its id: its summaries, its texts, and last what only its minter can
//! read. One that brings neither of the last two cannot be believed by anyone and is not kept. What the vendor did on
//! its own between two of them (a search, say) is kept with them: without it the next turn does not fit together.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::output::{Item, Kind, parts};
use crate::chat::conversation::{Detail, Str};
use crate::wire::DecodeError;
use crate::wire::translate::Answer;

/// Kind of a detail that is an item of the vendor's own tools, as written, in `text`.
const SERVER_TOOL: &str = "server_tool_call";
/// Bytes of such an item; a longer one is not kept.
const SERVER_TOOL_BYTES_MAX: usize = 256 * 1024;

/// A reasoning item as it goes back.
#[derive(Debug, Serialize)]
pub struct Reasoning<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    summary: Vec<Piece<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content: Vec<Piece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_content: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Piece<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// What goes back of a turn besides its text and calls.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Kept<'a> {
    /// A reasoning item.
    Reasoning(Reasoning<'a>),
    /// What a tool of the vendor's did, as the vendor wrote it.
    ServerTool(&'a RawValue),
}

/// Where something stood in its turn: characters of text and calls before it.
pub type Place = (u64, u64);

/// The place that an answer has come to.
pub fn place(answer: &Answer) -> Place {
    (answer.text_chars(0), answer.calls(0) as u64)
}

/// Tells an answer the details of an item that must come back; of other kinds of items there are none.
pub fn keep(item: &Item<'_>, raw: &RawValue, at: Place, answer: &mut Answer) -> Result<(), DecodeError> {
    match item.kind() {
        Kind::Reasoning => keep_reasoning(item, at, answer),
        // An image is told as one; twice it would be sent twice.
        Kind::ServerTool if item.kind == "image_generation_call" => Ok(()),
        Kind::ServerTool if raw.get().len() <= SERVER_TOOL_BYTES_MAX => {
            let (text, id) = (Some(own(raw.get())), item.id.as_deref().map(own));
            answer.detail_at(0, Detail { kind: SERVER_TOOL.into(), text, id, ..super::detail() }, at)
        }
        _ => Ok(()),
    }
}

fn keep_reasoning(item: &Item<'_>, at: Place, answer: &mut Answer) -> Result<(), DecodeError> {
    let content = parts(item.content);
    let encrypted = item.encrypted_content.as_deref().filter(|data| !data.is_empty());
    if encrypted.is_none() && content.iter().all(|part| part.text.is_none()) {
        return Ok(());
    }
    let id = || item.id.as_deref().filter(|id| !id.is_empty()).map(own);
    let detail = |kind: &'static str| Detail { kind: kind.into(), id: id(), ..super::detail() };
    for part in parts(item.summary) {
        let summary = part.text.as_deref().map(own);
        answer.detail_at(0, Detail { summary, ..detail(Detail::SUMMARY) }, at)?;
    }
    for text in content.iter().filter_map(|part| part.text.as_deref()) {
        answer.detail_at(0, Detail { text: Some(own(text)), ..detail(Detail::TEXT) }, at)?;
    }
    if let Some(data) = encrypted {
        answer.detail_at(0, Detail { data: Some(own(data)), ..detail(Detail::ENCRYPTED) }, at)?;
    }
    Ok(())
}

fn own(text: &str) -> Str<'static> {
    Str::from(text.to_owned())
}

/// Puts items together from the details of a turn that this scheme minted, each with its place, in order.
pub fn restore<'a>(details: &'a [Detail<'a>], scheme: &str) -> Vec<(Place, Kept<'a>)> {
    let mut items: Vec<(Place, Kept<'a>)> = Vec::new();
    // The place and id of the item that still takes details.
    let mut open: Option<(Place, Option<&str>)> = None;
    for detail in details.iter().filter(|detail| detail.is_of(scheme)) {
        let place = (detail.after_text.unwrap_or(0), detail.after_calls.unwrap_or(0));
        let id = detail.id.as_deref();
        if detail.kind == SERVER_TOOL {
            open = None;
            items.extend(server_tool(detail).map(|raw| (place, Kept::ServerTool(raw))));
            continue;
        }
        if open != Some((place, id)) {
            let item = Reasoning {
                r#type: "reasoning",
                id,
                summary: Vec::new(),
                content: Vec::new(),
                encrypted_content: None,
            };
            items.push((place, Kept::Reasoning(item)));
            open = Some((place, id));
        }
        let Some((_, Kept::Reasoning(item))) = items.last_mut() else { continue };
        match (detail.kind.as_ref(), &detail.summary, &detail.text, &detail.data) {
            (Detail::SUMMARY, Some(text), ..) => item.summary.push(Piece { r#type: "summary_text", text }),
            (Detail::TEXT, _, Some(text), _) => item.content.push(Piece { r#type: "reasoning_text", text }),
            (Detail::ENCRYPTED, .., Some(data)) => {
                item.encrypted_content = Some(data);
                open = None;
            }
            _ => {}
        }
    }
    items.retain(|(_, item)| match item {
        Kept::Reasoning(item) => item.encrypted_content.is_some() || !item.content.is_empty(),
        Kept::ServerTool(_) => true,
    });
    items
}

/// The item of a tool of the vendor's; `None` for what is not one: it may not pass for a message or a result.
fn server_tool<'a>(detail: &'a Detail<'a>) -> Option<&'a RawValue> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: Str<'a>,
    }
    let text = detail.text.as_deref()?;
    let item: Kind<'_> = serde_json::from_str(text).ok()?;
    super::output::is_server_tool(&item.kind).then(|| serde_json::from_str(text).ok()).flatten()
}
