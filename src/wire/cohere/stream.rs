//! Decoding a stream: events for the start, the pieces and the end of each block, the plan and each call.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{citation, detail, finish, legacy, usage};
use crate::chat::conversation::{Detail, Str};
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Events, Flow, Frame, unreadable};

/// Bytes of one thinking block or plan at most: it is held back until it is complete.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Tool calls at most whose place in the vendor's count is kept.
const CALLS_MAX: usize = 4096;

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream::default())
}

#[derive(Debug, Default)]
struct Stream {
    /// The thinking block under way.
    thinking: String,
    /// The plan under way.
    plan: String,
    /// The vendor's index of each call, and ours.
    calls: Vec<(u64, usize)>,
    blocks: citation::Blocks,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    event_type: Option<Str<'a>>,
    #[serde(borrow)]
    id: Option<Str<'a>>,
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<T> {
    message: T,
}

#[derive(Deserialize)]
struct InContent<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow)]
    text: Option<Str<'a>>,
    #[serde(borrow)]
    thinking: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct InPlan<'a> {
    #[serde(borrow)]
    tool_plan: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct InCall<'a> {
    #[serde(borrow)]
    tool_calls: Call<'a>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<Str<'a>>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Str<'a>>,
    #[serde(borrow)]
    arguments: Option<Str<'a>>,
}

#[derive(Deserialize)]
struct InCitation {
    citations: Value,
}

#[derive(Deserialize)]
struct End<'a> {
    #[serde(borrow)]
    finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        if frame.data == b"[DONE]" {
            // Says nothing: the answer is complete with `message-end`, which comes before it.
            return Ok(Flow::Continue);
        }
        let event: Event<'_> = serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
        match event.kind.as_deref() {
            Some("message-start") => answer.id(event.id.as_deref().unwrap_or_default()),
            Some(kind @ ("content-start" | "content-delta")) => {
                if kind == "content-start" {
                    self.settle_thinking(answer)?;
                }
                let InContent { content } = inner(event.delta)?;
                if let Some(content) = content {
                    self.content(event.index.unwrap_or(0), &content, answer)?;
                }
            }
            Some("content-end") => self.settle_thinking(answer)?,
            Some("tool-plan-delta") => {
                let InPlan { tool_plan } = inner(event.delta)?;
                hold(&mut self.plan, tool_plan.as_deref().unwrap_or_default())?;
            }
            Some("tool-call-start") => self.open_call(event.index, inner(event.delta)?, answer)?,
            Some("tool-call-delta") => self.call_piece(event.index, inner(event.delta)?, answer),
            Some("citation-start") => {
                let InCitation { citations } = inner(event.delta)?;
                citation::tell(&citations, &self.blocks, answer);
            }
            Some("message-end") => return self.end(event.delta, answer),
            _ => return other(&event, frame.data, answer),
        }
        Ok(Flow::Continue)
    }
}

/// Events without a known type: failures, the events of version 1, and what is to be passed over.
fn other(event: &Event<'_>, data: &[u8], answer: &mut Answer) -> Result<Flow, DecodeError> {
    let words = event.message.is_some_and(|message| message.get().starts_with('"'));
    if event.error.is_some() || words && event.delta.is_none() {
        return Err(DecodeError::Fault(super::error(200, data)));
    }
    match (&event.kind, &event.event_type) {
        (None, Some(kind)) => legacy::event(kind, data, answer),
        _ => Ok(Flow::Continue),
    }
}

impl Stream {
    fn content(&mut self, index: u64, content: &Content<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        if let Some(thinking) = content.thinking.as_deref().filter(|text| !text.is_empty()) {
            hold(&mut self.thinking, thinking)?;
            answer.reasoning(0, thinking);
        }
        if content.text.is_some() || content.kind.as_deref() == Some("text") {
            self.settle_thinking(answer)?;
            self.blocks.begin(index, answer);
            answer.text(0, content.text.as_deref().unwrap_or_default());
        }
        Ok(())
    }

    fn open_call(
        &mut self,
        index: Option<u64>,
        InCall { tool_calls: call }: InCall<'_>,
        answer: &mut Answer,
    ) -> Result<(), DecodeError> {
        self.settle_thinking(answer)?;
        self.settle_plan(answer)?;
        let name = call.function.name.as_deref().unwrap_or_default();
        let ours = answer.open_call(0, call.id.as_deref().unwrap_or_default(), name);
        if self.calls.len() < CALLS_MAX {
            self.calls.push((index.unwrap_or(ours as u64), ours));
        }
        answer.call_arguments(0, ours, call.function.arguments.as_deref().unwrap_or_default());
        Ok(())
    }

    /// A piece belongs to the call of its index; without one to the last call opened.
    fn call_piece(&self, index: Option<u64>, InCall { tool_calls: call }: InCall<'_>, answer: &mut Answer) {
        let known = self.calls.iter().rev().find(|(theirs, _)| index.is_none_or(|index| index == *theirs));
        if let Some((_, ours)) = known {
            answer.call_arguments(0, *ours, call.function.arguments.as_deref().unwrap_or_default());
        }
    }

    fn end(&mut self, delta: Option<&RawValue>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        let delta = delta.ok_or_else(unreadable)?;
        let end: End<'_> = serde_json::from_str(delta.get()).map_err(|_| unreadable())?;
        self.settle_thinking(answer)?;
        self.settle_plan(answer)?;
        if let Some(raw) = end.usage {
            usage::tell(raw, answer);
        }
        finish::tell(end.finish_reason.as_deref(), end.error, answer)?;
        Ok(Flow::End)
    }

    fn settle_thinking(&mut self, answer: &mut Answer) -> Result<(), DecodeError> {
        settle(&mut self.thinking, detail::thinking, answer)
    }

    fn settle_plan(&mut self, answer: &mut Answer) -> Result<(), DecodeError> {
        settle(&mut self.plan, detail::plan, answer)
    }
}

/// What is under `delta.message`.
fn inner<'a, T: Deserialize<'a>>(delta: Option<&'a RawValue>) -> Result<T, DecodeError> {
    let delta = delta.ok_or_else(unreadable)?;
    serde_json::from_str::<Delta<T>>(delta.get()).map(|delta| delta.message).map_err(|_| unreadable())
}

/// Holds back a piece of what must be complete before it can be told.
fn hold(held: &mut String, piece: &str) -> Result<(), DecodeError> {
    if held.len().saturating_add(piece.len()) > HELD_BYTES_MAX {
        return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
    }
    held.push_str(piece);
    Ok(())
}

/// Tells what was held back, if anything.
fn settle(
    held: &mut String,
    made: fn(String) -> Detail<'static>,
    answer: &mut Answer,
) -> Result<(), DecodeError> {
    if held.is_empty() {
        return Ok(());
    }
    answer.detail(0, made(std::mem::take(held)))
}
