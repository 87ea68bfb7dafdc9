//! A model's turn: its text and calls, and every thought signature back on the part that it came on.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

use super::media;
use super::part::{FunctionCall, Part, Plain, text};
use super::turns::{given_id, wrapped};
use crate::chat::conversation::{Body, Detail, Message, ToolCall};
use crate::error::Error;
use crate::wire::encode::Job;
use crate::wire::gemini::detail;

/// Writes an assistant's message.
///
/// # Errors
/// 400 for an image that cannot be sent.
pub fn parts<'a>(at: usize, message: &'a Message<'a>, job: &Job<'a>) -> Result<Vec<Part<'a>>, Error> {
    let mut images = Vec::new();
    for (number, image) in message.images.iter().enumerate() {
        let path = format!("messages[{at}].images[{number}].image_url");
        images.push(Some(media::picture(&path, image, job)?));
    }
    for (inner, part) in message.parts.iter().enumerate() {
        if text(part).is_none() && !matches!(part.body, Body::Text(_) | Body::Refusal(_)) {
            images.push(Some(media::part(&format!("messages[{at}].content[{inner}]"), part, job)?));
        }
    }
    let ours = || message.details.iter().filter(|detail| detail.is_of(detail::FORMAT));
    let mut turn = Turn {
        said: said(message),
        said_chars: 0,
        calls: &message.tool_calls,
        called: 0,
        signatures: HashMap::new(),
        images,
        parts: Vec::new(),
    };
    for detail in ours() {
        if let (Some(id), Some(signature)) = (detail.id.as_deref(), detail.data.as_deref()) {
            turn.signatures.entry(id).or_insert(signature);
        }
    }
    ours().for_each(|detail| turn.place(detail));
    turn.finish();
    Ok(turn.parts)
}

/// The text of a message; a refusal is a text, too.
fn said<'a>(message: &'a Message<'a>) -> Cow<'a, str> {
    match (message.parts.as_slice(), &message.refusal) {
        ([], Some(refusal)) => Cow::Borrowed(refusal.as_ref()),
        ([], None) => Cow::Borrowed(""),
        ([part], _) => match &part.body {
            Body::Text(text) | Body::Refusal(text) => Cow::Borrowed(text.as_ref()),
            _ => Cow::Borrowed(""),
        },
        _ => Cow::Owned(message.text()),
    }
}

/// A turn under way: what is still to be said, called and shown, and what is written.
struct Turn<'a> {
    said: Cow<'a, str>,
    said_chars: u64,
    calls: &'a [ToolCall<'a>],
    called: usize,
    /// By the id of the call, or of the image, that they belong to.
    signatures: HashMap<&'a str, &'a str>,
    images: Vec<Option<Part<'a>>>,
    parts: Vec<Part<'a>>,
}

impl<'a> Turn<'a> {
    /// Writes up to where a block stood, and the block, unless it belongs to a call.
    fn place(&mut self, detail: &'a Detail<'a>) {
        let of_call = detail.id.as_deref().is_some_and(|id| self.calls.iter().any(|call| call.id == id));
        if of_call {
            return;
        }
        let covers = detail.covers.unwrap_or(0);
        let text_end = detail.after_text.unwrap_or(0);
        self.say(text_end.saturating_sub(covers), None);
        self.call(usize::try_from(detail.after_calls.unwrap_or(0)).unwrap_or(usize::MAX));
        if let Some(number) = detail::image_number(detail) {
            if let Some(image) = self.images.get_mut(number).and_then(Option::take) {
                self.parts.push(image.signed(detail.data.as_deref()));
            }
            return;
        }
        match (detail.kind.as_ref(), detail.text.as_deref()) {
            (Detail::TEXT, thought) => {
                // A thought without its signature says nothing to the model.
                let Some(signature) = detail.signature.as_deref() else { return };
                let text = Some(Cow::Borrowed(thought.unwrap_or_default()));
                let thought = Plain { text, thought: Some(true), ..Plain::default() };
                self.parts.push(Part::from(thought).signed(Some(signature)));
            }
            (_, Some(part)) => {
                if part.starts_with('{')
                    && let Ok(part) = RawValue::from_string(part.to_owned())
                {
                    self.parts.push(Part::Raw(part));
                }
            }
            (_, None) => {
                let Some(signature) = detail.data.as_deref() else { return };
                if !self.say(text_end, Some(signature)) {
                    self.parts.push(Part::text("").signed(Some(signature)));
                }
            }
        }
    }

    /// Writes the text up to a character; false when there is none.
    fn say(&mut self, until: u64, signature: Option<&'a str>) -> bool {
        let chars = usize::try_from(until.saturating_sub(self.said_chars)).unwrap_or(usize::MAX);
        let cut = self.said.char_indices().nth(chars).map_or(self.said.len(), |(at, _)| at);
        if cut == 0 {
            return false;
        }
        let (now, later) = match std::mem::take(&mut self.said) {
            Cow::Borrowed(text) => {
                let (now, later) = text.split_at(cut);
                (Cow::Borrowed(now), Cow::Borrowed(later))
            }
            Cow::Owned(mut text) => {
                let later = text.split_off(cut);
                (Cow::Owned(text), Cow::Owned(later))
            }
        };
        self.said_chars = until;
        self.said = later;
        self.parts.push(Part::text(now).signed(signature));
        true
    }

    /// Writes calls until there are so many.
    fn call(&mut self, until: usize) {
        while self.called < until
            && let Some(call) = self.calls.get(self.called)
        {
            self.called += 1;
            let args = match call.object() {
                Some(object) => Cow::Borrowed(object),
                // The model that wrote this, whichever it was, wrote no object.
                None => wrapped("arguments", &call.arguments),
            };
            let function_call = Some(FunctionCall { id: given_id(&call.id), name: &call.name, args });
            let signature = self.signatures.get(call.id.as_ref()).copied();
            self.parts.push(Part::from(Plain { function_call, ..Plain::default() }).signed(signature));
        }
    }

    /// Writes what is left.
    fn finish(&mut self) {
        self.say(u64::MAX, None);
        self.parts.extend(self.images.drain(..).flatten());
        self.call(usize::MAX);
    }
}
