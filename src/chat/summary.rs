//! What the messages of a request use and how much text they hold.
//!
//! Messages are most of a body, so they are read in one pass that keeps nothing. What that pass does not take is read
//! again, slowly, by `Message`, which finds the words for what is wrong.

use super::fields;
use super::message::{Message, PartKind, Role, Url};
use crate::error::Error;
use crate::json::scan::{Cursor, Written};

/// What all messages of a request come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages.
    pub count: usize,
    /// Bytes of their text.
    pub text_bytes: u64,
    /// A message has role `developer`.
    pub developer_role: bool,
    /// A message brings reasoning of an earlier turn back.
    pub reasoning_back: bool,
    /// An `image_url` part.
    pub images: bool,
    /// An `input_audio` part.
    pub audio: bool,
    /// A `file` part.
    pub files: bool,
}

/// The names that were met in an object.
#[derive(Default)]
struct Met(u8);

impl Met {
    /// `None` for a name that was met before: serde refuses that.
    fn once(&mut self, at: u8) -> Option<()> {
        let before = self.0;
        self.0 |= 1 << at;
        (before != self.0).then_some(())
    }
}

impl Summary {
    /// Checks the messages and sums them up.
    ///
    /// # Errors
    /// 400 with the path of what is wrong.
    pub fn of(value: &str) -> Result<Self, Error> {
        match Self::scan(value) {
            Some(summary) => Ok(summary),
            None => Self::read(value),
        }
    }

    /// In one pass; `None` when something is wrong, or unusual.
    fn scan(value: &str) -> Option<Self> {
        let mut summary = Self::default();
        let mut cursor = Cursor::new(value);
        cursor.array(|cursor| summary.message(cursor))?;
        cursor.end()?;
        Some(summary)
    }

    /// Message by message.
    fn read(value: &str) -> Result<Self, Error> {
        let messages: Vec<Message> = fields::typed("messages", value)?;
        let mut summary = Self { count: messages.len(), ..Self::default() };
        for (at, message) in messages.iter().enumerate() {
            message.check(at)?;
            summary.text_bytes += message.text_bytes();
            summary.developer_role |= message.role == Role::Developer;
            summary.reasoning_back |= message.has_reasoning();
            for part in message.parts() {
                summary.uses(part.kind);
            }
        }
        Ok(summary)
    }

    fn uses(&mut self, kind: PartKind) {
        self.images |= kind == PartKind::ImageUrl;
        self.audio |= kind == PartKind::InputAudio;
        self.files |= kind == PartKind::File;
    }

    fn message(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let (mut met, mut role) = (Met::default(), None);
        self.count += 1;
        cursor.object(|cursor, name| match name.plain()? {
            "role" => {
                met.once(0)?;
                role = Some(Role::of(cursor.string()?.plain()?)?);
                Some(())
            }
            "content" => {
                met.once(1)?;
                self.content(cursor)
            }
            "name" => met.once(2).and_then(|()| text_or_null(cursor)),
            "tool_call_id" => met.once(3).and_then(|()| text_or_null(cursor)),
            "tool_calls" => {
                met.once(4)?;
                self.calls(cursor)
            }
            "reasoning" => met.once(5).and_then(|()| self.reasoning(cursor)),
            "reasoning_details" => met.once(6).and_then(|()| self.reasoning(cursor)),
            _ => cursor.skip(),
        })?;
        self.developer_role |= role? == Role::Developer;
        Some(())
    }

    fn reasoning(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        self.reasoning_back |= cursor.given()?;
        Some(())
    }

    fn content(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        match cursor.peek()? {
            b'[' => cursor.array(|cursor| self.part(cursor)),
            _ => self.text(cursor.string_or_null()?),
        }
    }

    fn text(&mut self, text: Option<Written<'_>>) -> Option<()> {
        if let Some(text) = text {
            self.text_bytes += text.length()? as u64;
        }
        Some(())
    }

    fn part(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let mut met = Met::default();
        let (mut kind, mut text, mut image, mut audio, mut file) = (None, false, None, false, false);
        cursor.object(|cursor, name| match name.plain()? {
            "type" => {
                met.once(0)?;
                kind = Some(PartKind::of(cursor.string()?.plain()?));
                Some(())
            }
            "text" => {
                met.once(1)?;
                let written = cursor.string_or_null()?;
                text = written.is_some();
                self.text(written)
            }
            "image_url" => {
                met.once(2)?;
                if !cursor.null()? {
                    image = Some(image_url(cursor)?);
                }
                Some(())
            }
            "input_audio" => {
                met.once(3)?;
                audio = !cursor.null()?;
                if audio { input_audio(cursor) } else { Some(()) }
            }
            "file" => {
                met.once(4)?;
                file = cursor.given()?;
                Some(())
            }
            _ => cursor.skip(),
        })?;
        let kind = kind?;
        self.uses(kind);
        let complete = match kind {
            PartKind::Text => text,
            PartKind::ImageUrl => matches!(image, Some(Url::Https | Url::Data)),
            PartKind::InputAudio => audio,
            PartKind::File => file,
            PartKind::Other => true,
        };
        complete.then_some(())
    }

    fn calls(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        if cursor.null()? {
            return Some(());
        }
        cursor.array(|cursor| {
            self.text_bytes += Message::CALL_BYTES;
            let mut met = Met::default();
            cursor.object(|cursor, name| match name.plain()? {
                "id" => met.once(0).and_then(|()| text_or_null(cursor)),
                "function" => {
                    met.once(1)?;
                    if cursor.null()? { Some(()) } else { called_function(cursor) }
                }
                _ => cursor.skip(),
            })
        })
    }
}

/// A string or null, of which nothing counts but that it is one.
fn text_or_null(cursor: &mut Cursor<'_>) -> Option<()> {
    cursor.string_or_null()?.map_or(Some(()), |text| text.length().map(drop))
}

/// A string, of which nothing counts but that it is one.
fn text(cursor: &mut Cursor<'_>) -> Option<()> {
    cursor.string()?.length().map(drop)
}

fn called_function(cursor: &mut Cursor<'_>) -> Option<()> {
    let (mut met, mut named) = (Met::default(), false);
    cursor.object(|cursor, name| match name.plain()? {
        "name" => {
            met.once(0)?;
            named = true;
            text(cursor)
        }
        "arguments" => met.once(1).and_then(|()| text_or_null(cursor)),
        _ => cursor.skip(),
    })?;
    named.then_some(())
}

fn image_url(cursor: &mut Cursor<'_>) -> Option<Url> {
    if cursor.peek()? == b'"' {
        return cursor.string()?.decode().map(|url| Url::of(&url));
    }
    let (mut met, mut url) = (Met::default(), None);
    cursor.object(|cursor, name| match name.plain()? {
        "url" => {
            met.once(0)?;
            url = Some(Url::of(&cursor.string()?.decode()?));
            Some(())
        }
        "detail" => met.once(1).and_then(|()| text_or_null(cursor)),
        _ => cursor.skip(),
    })?;
    url
}

fn input_audio(cursor: &mut Cursor<'_>) -> Option<()> {
    let (mut met, mut data) = (Met::default(), false);
    cursor.object(|cursor, name| match name.plain()? {
        "data" => {
            met.once(0)?;
            data = true;
            text(cursor)
        }
        "format" => met.once(1).and_then(|()| text_or_null(cursor)),
        _ => cursor.skip(),
    })?;
    data.then_some(())
}

#[cfg(test)]
mod tests;
