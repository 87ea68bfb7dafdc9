//! Decoding a stream.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::blocks::{Begun, Blocks, Piece};
use super::reply::told;
use super::usage::Tally;
use super::{fault_of, refusal};
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Events, Flow, Frame, unreadable};

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream::default())
}

#[derive(Debug, Default)]
struct Stream {
    blocks: Blocks,
    tally: Tally,
    stop: Option<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Str<'a>,
    index: Option<u64>,
    message: Option<Value>,
    #[serde(borrow)]
    content_block: Option<Begun<'a>>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    usage: Option<Value>,
    error: Option<Value>,
}

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        let event: Event<'_> = serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
        let index = event.index.unwrap_or(0);
        match event.kind.as_ref() {
            "message_start" => {
                let message = event.message.unwrap_or_default();
                answer.id(message.get("id").and_then(Value::as_str).unwrap_or_default());
                // Its output is what was made so far: reported, it would be booked for a client that leaves.
                if let Some(usage) = message.get("usage") {
                    self.tally.add(usage);
                    told(usage, answer);
                    if let Some(usage) = self.tally.usage() {
                        answer.tell_usage(usage);
                    }
                }
            }
            "content_block_start" => {
                self.blocks.start(index, event.content_block.unwrap_or_default(), answer)?;
            }
            "content_block_delta" => {
                let piece: Piece<'_> = event.delta.map_or(Ok(Piece::default()), read)?;
                self.blocks.piece(index, piece, answer)?;
            }
            "content_block_stop" => self.blocks.stop(index, answer)?,
            "message_delta" => {
                let delta: Value = event.delta.map_or(Ok(Value::Null), read)?;
                self.ends(&delta, event.usage.as_ref(), answer);
            }
            "message_stop" => return self.over(answer),
            "error" => return Err(DecodeError::Fault(fault_of(0, &json!({ "error": event.error })))),
            // An error without an envelope.
            "" if event.error.is_some() => {
                return Err(DecodeError::Fault(fault_of(0, &json!({ "error": event.error }))));
            }
            // Pings, and what later versions add.
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|_| unreadable())
}

impl Stream {
    /// How it ends, and what it came to.
    fn ends(&mut self, delta: &Value, usage: Option<&Value>, answer: &mut Answer) {
        if let Some(usage) = usage {
            self.tally.add(usage);
            told(usage, answer);
            if let Some(usage) = self.tally.usage() {
                answer.report_usage(usage);
            }
        }
        if let Some(reason) = delta.get("stop_reason").and_then(Value::as_str) {
            self.stop = Some(reason.to_owned());
            answer.refusal(0, refusal(delta));
        }
    }

    fn over(&mut self, answer: &mut Answer) -> Result<Flow, DecodeError> {
        // A message that stops without saying why was cut short by someone on the way.
        let Some(reason) = self.stop.take() else { return Err(DecodeError::Truncated) };
        self.blocks.finish(&reason, answer)?;
        if let Some(usage) = self.tally.usage() {
            answer.report_usage(usage);
        }
        Ok(Flow::End)
    }
}
