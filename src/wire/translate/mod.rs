//! Decoding what is not in OpenAI's format: a format reads its own events and replies and says what it found to an
//! [`Answer`], which writes it in OpenAI's words. So every format has the same rules for roles, indices, ends.

mod answer;
mod chunk;
mod whole;

pub use answer::{Answer, Ending, Minted};

use std::fmt;

use super::usage::{Metered, UsageObject};
use super::{DecodeError, Envelope, Fed};
use super::{eventstream, lines, sse};
use crate::chat::Usage;
use crate::money::Usd;

/// One event of a stream, whatever framed it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Name of the event where the framing carries one apart from the data (never for server-sent events: formats
    /// on top of those repeat it in the data).
    pub event: &'a str,
    /// Its data.
    pub data: &'a [u8],
}

/// Where a stream stands after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More is to come.
    Continue,
    /// That was the terminal event.
    End,
}

/// A format's reading of one stream. One object per stream.
pub trait Events: fmt::Debug {
    /// Takes one event.
    ///
    /// # Errors
    /// The upstream reports a failure, or the event cannot be read. What was told to `answer` before is good.
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError>;

    /// The upstream closed without a terminal event: true when what came is complete all the same.
    fn end_of_input(&mut self, answer: &mut Answer) -> Result<bool, DecodeError> {
        let _ = answer;
        Ok(false)
    }
}

/// How events are cut out of the bytes.
#[derive(Debug)]
pub enum Framing {
    /// Server-sent events.
    Sse(sse::Reader),
    /// Frames of AWS.
    EventStream(eventstream::Reader),
    /// One JSON value per line.
    Lines(lines::Reader),
}

/// Content types of streams of lines.
const LINES: [&str; 3] = ["application/stream+json", "application/x-ndjson", "application/jsonl"];

impl Framing {
    /// By the content type of the answer.
    pub fn of(content_type: &str) -> Self {
        let mime = content_type.split(';').next().unwrap_or_default().trim();
        if mime.eq_ignore_ascii_case(eventstream::CONTENT_TYPE) {
            return Self::EventStream(eventstream::Reader::default());
        }
        if Self::is_lines(content_type) {
            return Self::Lines(lines::Reader::default());
        }
        Self::Sse(sse::Reader::default())
    }

    /// True for a content type of one JSON value per line.
    pub fn is_lines(content_type: &str) -> bool {
        let mime = content_type.split(';').next().unwrap_or_default().trim();
        LINES.iter().any(|lines| mime.eq_ignore_ascii_case(lines))
    }
}

/// Decoder of one stream in a foreign format.
#[derive(Debug)]
pub struct Decoder {
    framing: Option<Framing>,
    events: Box<dyn Events>,
    answer: Answer,
    ended: bool,
}

impl Decoder {
    /// For one stream; `answer` is a fresh one.
    pub fn new(framing: Framing, events: Box<dyn Events>, answer: Answer) -> Self {
        Self { framing: Some(framing), events, answer, ended: false }
    }

    /// What was read so far.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// Usage as reported, once.
    pub fn take_metered(&mut self) -> Option<Metered> {
        self.answer.usage().copied().map(Metered::of)
    }

    /// Usage as reported so far.
    pub fn reported(&self) -> Option<Usage> {
        self.answer.usage().copied()
    }

    /// As [`super::openai::Decoder::feed`].
    ///
    /// # Errors
    /// See [`DecodeError`]; what is in `out` then is still good.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Fed, DecodeError> {
        let Some(framing) = self.framing.take().filter(|_| !self.ended) else {
            return Ok(Fed { ended: self.ended, content: false });
        };
        let before = self.answer.has_content();
        let mut framing = framing;
        let result = self.read(&mut framing, bytes, envelope, latency_ms);
        self.framing = Some(framing);
        self.answer.take_output(out);
        let content = self.answer.has_content() && (!before || !out.is_empty());
        result.map(|()| Fed { content, ended: self.ended })
    }

    fn read(
        &mut self,
        framing: &mut Framing,
        bytes: &[u8],
        envelope: &Envelope,
        latency_ms: u64,
    ) -> Result<(), DecodeError> {
        match framing {
            Framing::Sse(reader) => {
                reader.push(bytes).map_err(|_| too_large())?;
                while !self.ended {
                    let Some(data) = reader.next_event() else { break };
                    self.take(Frame { event: "", data: &data }, envelope, latency_ms)?;
                }
            }
            Framing::EventStream(reader) => {
                reader.push(bytes)?;
                while !self.ended {
                    let Some(event) = reader.next_event()? else { break };
                    self.take(Frame { event: event.name(), data: event.data() }, envelope, latency_ms)?;
                }
            }
            Framing::Lines(reader) => {
                reader.push(bytes).map_err(|_| too_large())?;
                while !self.ended {
                    let Some(data) = reader.next_line() else { break };
                    self.take(Frame { event: "", data }, envelope, latency_ms)?;
                }
            }
        }
        Ok(())
    }

    /// Hands one event to the format.
    fn take(&mut self, frame: Frame<'_>, envelope: &Envelope, latency_ms: u64) -> Result<(), DecodeError> {
        if frame.event.is_empty() && frame.data.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let flow = self.events.event(frame, &mut self.answer);
        self.answer.settle(envelope, latency_ms);
        if flow? == Flow::End {
            self.ended = true;
            return self.check_content();
        }
        Ok(())
    }

    /// As [`super::openai::Decoder::end_of_input`].
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the stream is not complete.
    pub fn end_of_input(
        &mut self,
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Fed, DecodeError> {
        let last = match self.framing.as_mut() {
            Some(Framing::Sse(reader)) if !self.ended => reader.finish().map(|data| data.into_owned()),
            Some(Framing::Lines(reader)) if !self.ended => reader.finish().map(<[u8]>::to_vec),
            _ => None,
        };
        let mut result = match self.framing.as_ref() {
            // Half a frame: whatever it would have said, this is no clean end.
            Some(Framing::EventStream(reader)) if !self.ended && !reader.is_empty() => {
                Err(DecodeError::Truncated)
            }
            _ => Ok(()),
        };
        if let Some(data) = last {
            // A last event without its blank line counts if it can be read; half an event does not.
            result = match self.take(Frame { event: "", data: &data }, envelope, latency_ms) {
                Err(DecodeError::Invalid(_)) => Err(DecodeError::Truncated),
                other => other,
            };
        }
        let stray = match self.framing.as_mut() {
            Some(Framing::Sse(reader)) if !self.ended && result.is_ok() => reader.take_stray(),
            _ => None,
        };
        if let Some(data) = stray {
            // What a format cannot read of it is nothing of the stream's.
            result = match self.take(Frame { event: "", data: &data }, envelope, latency_ms) {
                Err(DecodeError::Invalid(_)) => Ok(()),
                other => other,
            };
        }
        if result.is_ok() && !self.ended {
            match self.events.end_of_input(&mut self.answer) {
                Ok(complete) => self.ended = complete,
                Err(error) => result = Err(error),
            }
            self.answer.settle(envelope, latency_ms);
            if result.is_ok() && self.ended {
                result = self.check_content();
            } else if result.is_ok() {
                result = Err(DecodeError::Truncated);
            }
        }
        self.answer.take_output(out);
        result.map(|()| Fed { content: self.answer.has_content(), ended: self.ended })
    }

    /// As [`super::openai::Decoder::cut`].
    pub fn cut(&mut self, envelope: &Envelope, latency_ms: u64, out: &mut Vec<u8>) {
        self.ended = true;
        self.answer.cut();
        self.answer.settle(envelope, latency_ms);
        self.answer.take_output(out);
    }

    /// Writes what goes last: the usage chunk, where asked for, and `[DONE]`.
    pub fn finish(
        &mut self,
        envelope: &Envelope,
        latency_ms: u64,
        usage: UsageObject,
        cost: Option<Usd>,
        out: &mut Vec<u8>,
    ) {
        self.answer.close(envelope, latency_ms, usage, cost);
        self.answer.take_output(out);
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// A stream that ends without having said anything is not an answer.
    fn check_content(&self) -> Result<(), DecodeError> {
        if self.answer.has_content() {
            return Ok(());
        }
        Err(DecodeError::invalid("its stream ended without an answer"))
    }
}

/// An event that is not what the format has.
pub fn unreadable() -> DecodeError {
    DecodeError::invalid("an event of its stream is not a JSON object")
}

fn too_large() -> DecodeError {
    DecodeError::invalid(format!("an event of its stream is larger than {} bytes", sse::EVENT_BYTES_MAX))
}

#[cfg(test)]
mod tests;
