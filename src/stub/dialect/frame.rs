//! What the parts of an answer say, and how events are framed.

use bytes::Bytes;
use serde_json::Value;

use crate::stub::answer::{Answer, Call, Words};
use crate::stub::parts::Part;

/// One part, its text looked up.
pub enum Piece<'a> {
    /// A piece of the reasoning.
    Reasoning(&'a str),
    /// A piece of the text.
    Text(String),
    /// A call begins.
    Call(usize, &'a Call),
    /// A piece of a call's arguments.
    Arguments(usize, &'a str),
    /// A picture.
    Image,
}

impl<'a> Piece<'a> {
    /// Looks a part up in its answer.
    pub fn of(part: &Part, answer: &'a Answer) -> Option<Self> {
        Some(match part {
            Part::Reasoning(range) => Self::Reasoning(answer.reasoning.get(range.clone())?),
            Part::Text(range) => match &answer.words {
                Words::Text(text) => Self::Text(text.get(range.clone())?.to_owned()),
                Words::Drip { .. } => return None,
            },
            Part::Drip(at) => Self::Text(answer.words.drop(*at)),
            Part::CallStart(at) => Self::Call(*at, answer.calls.get(*at)?),
            Part::Arguments(at, range) => {
                Self::Arguments(*at, answer.calls.get(*at)?.arguments.get(range.clone())?)
            }
            Part::Image => Self::Image,
        })
    }
}

/// A named server-sent event.
pub fn named(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// A server-sent event without a name.
pub fn unnamed(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\r\n\r\n"))
}

/// Several events in one.
pub fn joined(events: &[Bytes]) -> Bytes {
    Bytes::from(events.concat())
}

/// A frame of AWS's event stream.
pub fn aws(headers: &[(&str, &str)], payload: &Value) -> Bytes {
    let payload = payload.to_string().into_bytes();
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = 16 + head.len() + payload.len();
    let mut frame = Vec::with_capacity(total);
    frame.extend_from_slice(&u32::try_from(total).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(&payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    Bytes::from(frame)
}
