//! Decoding a stream: events about items, each known by its place in the output.
//!
//! What deltas brought is not told again by the event that closes it; what came without deltas is told by that one.
//! The end is `response.completed`, `response.incomplete`, `response.failed` or `error`, and nothing else.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::ending::{Response, fault};
use super::open::{Open, OpenPart};
use super::output::{self, Item, Kind, Part, Tools};
use super::reasoning::{self, Place};
use crate::chat::conversation::Str;
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Events, Flow, Frame, unreadable};

/// Items of one answer at most.
const ITEMS_MAX: usize = 4096;

/// Events that bring a piece of an item. What other events say is said again when the item is complete.
const PIECES: [&str; 11] = [
    "output_text.delta",
    "output_text.done",
    "output_text.annotation.added",
    "content_part.added",
    "refusal.delta",
    "refusal.done",
    "reasoning_summary_text.delta",
    "reasoning_text.delta",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "custom_tool_call_input.delta",
];

/// Bytes of items that are held until the end.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Starts reading a stream.
pub fn start() -> Box<dyn Events> {
    Box::new(Stream::default())
}

#[derive(Debug, Default)]
struct Stream {
    items: Vec<Open>,
    tools: Tools,
    held: Vec<Held>,
    held_bytes: usize,
}

/// An item that must come back with the next turn, held until the end: what only its minter can read is minted anew
/// for the terminal event, and that is the one which counts.
#[derive(Debug)]
struct Held {
    place: Option<u64>,
    id: String,
    at: Place,
    raw: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Str<'a>,
    output_index: Option<u64>,
    content_index: Option<u64>,
    #[serde(borrow)]
    item_id: Option<Str<'a>>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    /// The whole of what deltas brought has one of these names.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
    annotation: Option<Value>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    error: Option<Value>,
}

impl Events for Stream {
    fn event(&mut self, frame: Frame<'_>, answer: &mut Answer) -> Result<Flow, DecodeError> {
        if frame.data.trim_ascii() == b"[DONE]" {
            return Ok(Flow::Continue);
        }
        let event: Event<'_> = serde_json::from_slice(frame.data).map_err(|_| unreadable())?;
        let kind = event.kind.strip_prefix("response.").unwrap_or(&event.kind);
        match kind {
            "created" | "in_progress" | "queued" => {
                if let Some(response) = event.response {
                    Response::read(response.get())?.introduce(answer);
                }
            }
            "completed" | "incomplete" | "failed" | "cancelled" => {
                let written = event.response.map_or("{}", RawValue::get);
                self.end(&Response::read(written)?, kind, answer)?;
                return Ok(Flow::End);
            }
            "error" => return Err(DecodeError::Fault(error(frame.data))),
            "" if event.error.is_some() => return Err(DecodeError::Fault(error(frame.data))),
            "output_item.added" => self.added(&event, answer)?,
            "output_item.done" => self.done(&event, answer)?,
            kind if PIECES.contains(&kind) => self.piece(kind, &event, answer),
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

/// An error inside the stream: written in the event itself, or under `error`.
fn error(data: &[u8]) -> crate::wire::Fault {
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    fault(200, Some(value.get("error").filter(|error| error.is_object()).unwrap_or(&value)))
}

impl Stream {
    /// The item that an event is about, new if need be. By place, else by id, else the last one.
    fn find(&mut self, place: Option<u64>, id: Option<&str>) -> Result<&mut Open, DecodeError> {
        let found = match (place, id) {
            (Some(place), _) => self.items.iter().rposition(|item| item.place == Some(place)),
            (None, Some(id)) => self.items.iter().rposition(|item| item.id == id),
            (None, None) => self.items.len().checked_sub(1),
        };
        match found {
            Some(at) => self.items.get_mut(at).ok_or_else(unreadable),
            None => self.open(place, id.unwrap_or("")),
        }
    }

    /// A new item.
    fn open(&mut self, place: Option<u64>, id: &str) -> Result<&mut Open, DecodeError> {
        if self.items.len() >= ITEMS_MAX {
            return Err(DecodeError::invalid("its stream has more items than can be kept"));
        }
        self.items.push(Open::new(place, id));
        self.items.last_mut().ok_or_else(unreadable)
    }

    /// An item opens. A call that is known by now is told at once.
    fn added(&mut self, event: &Event<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        let Some(raw) = event.item else { return Ok(()) };
        let item = output::read(raw)?;
        let id = item.id.as_deref().unwrap_or("");
        let open = self.find(event.output_index, Some(id).filter(|id| !id.is_empty()))?;
        let another = open.done || !id.is_empty() && !open.id.is_empty() && open.id != id;
        let open = if another { self.open(event.output_index, id)? } else { open };
        if open.id.is_empty() {
            open.id = id.to_owned();
        }
        let named = |text: &Option<Str<'_>>| text.as_deref().is_some_and(|text| !text.is_empty());
        if item.kind() == Kind::Call && open.call.is_none() && named(&item.name) && named(&item.call_id) {
            open.call = Some(output::open_call(&item, answer));
        }
        Ok(())
    }

    /// An item is complete.
    fn done(&mut self, event: &Event<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        let Some(raw) = event.item else { return Ok(()) };
        let item = output::read(raw)?;
        self.close(event.output_index, &item, raw, answer)
    }

    fn close(
        &mut self,
        place: Option<u64>,
        item: &Item<'_>,
        raw: &RawValue,
        answer: &mut Answer,
    ) -> Result<(), DecodeError> {
        let open = self.find(place, item.id.as_deref())?;
        if std::mem::replace(&mut open.done, true) {
            return Ok(());
        }
        let at = reasoning::place(answer);
        match item.kind() {
            Kind::Message => open.close_message(item, answer),
            Kind::Call => open.close_call(item, answer),
            Kind::Reasoning if !open.reasoned => output::tell_reasoning(item, answer),
            Kind::ServerTool => self.tools.tell(item, raw, answer),
            Kind::Reasoning | Kind::Other => {}
        }
        if matches!(item.kind(), Kind::Reasoning | Kind::ServerTool) {
            self.held_bytes = self.held_bytes.saturating_add(raw.get().len());
            if self.held_bytes > HELD_BYTES_MAX {
                return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
            }
            let id = item.id.as_deref().unwrap_or("").to_owned();
            self.held.push(Held { place, id, at, raw: raw.to_owned() });
        }
        Ok(())
    }

    /// Tells what must come back with the next turn, as the terminal event has it, or as it was when it was done.
    fn keep(&mut self, last: &[&RawValue], answer: &mut Answer) -> Result<(), DecodeError> {
        let mut fresh = Vec::with_capacity(last.len());
        for (place, raw) in (0..).zip(last) {
            fresh.push((place, output::read(raw)?, *raw));
        }
        for held in std::mem::take(&mut self.held) {
            let done = output::read(&held.raw)?;
            let minted = fresh.iter().find(|(place, item, _)| {
                let id = item.id.as_deref().filter(|id| !id.is_empty() && !held.id.is_empty());
                item.kind == done.kind && id.map_or(held.place == Some(*place), |id| id == held.id)
            });
            let (item, raw) = minted.map_or((&done, held.raw.as_ref()), |(_, item, raw)| (item, *raw));
            reasoning::keep(item, raw, held.at, answer)?;
        }
        Ok(())
    }

    /// A piece of an item.
    fn piece(&mut self, kind: &str, event: &Event<'_>, answer: &mut Answer) {
        let delta = || event.delta.map(output::text).unwrap_or_default();
        let content = event.content_index.unwrap_or(0);
        let Ok(open) = self.find(event.output_index, event.item_id.as_deref()) else { return };
        if open.done {
            return;
        }
        match kind {
            "output_text.delta" => {
                let part = open.part(content, answer);
                part.told = true;
                answer.text(0, &delta());
                output::tell_logprobs(event.logprobs, answer);
            }
            "refusal.delta" => {
                open.part(content, answer).told = true;
                answer.refusal(0, &delta());
            }
            "output_text.done" => {
                let part =
                    Part { text: event.text.map(output::text), logprobs: event.logprobs, ..Part::default() };
                open.close_part(content, &part, answer);
            }
            "refusal.done" => {
                let part = Part { refusal: event.refusal.map(output::text), ..Part::default() };
                open.close_part(content, &part, answer);
            }
            "content_part.added" => drop(open.part(content, answer)),
            "output_text.annotation.added" => {
                let part: &mut OpenPart = open.part(content, answer);
                part.annotations += 1;
                let base = part.base;
                if let Some(annotation) = &event.annotation {
                    output::annotation(annotation, base, answer);
                }
            }
            "reasoning_summary_text.delta" | "reasoning_text.delta" => {
                open.reasoned = true;
                answer.reasoning(0, &delta());
            }
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                open.argue(&delta(), answer);
            }
            "function_call_arguments.done" => {
                let whole = event.arguments.map(output::text).unwrap_or_default();
                open.argued_whole(&whole, answer);
            }
            _ => {}
        }
    }

    /// The terminal event. What it holds and no event before it told is told now.
    fn end(&mut self, response: &Response<'_>, kind: &str, answer: &mut Answer) -> Result<(), DecodeError> {
        response.introduce(answer);
        let untold = self.items.is_empty();
        for (place, raw) in (0..).zip(response.output.iter().flatten()) {
            let item = output::read(raw)?;
            let id = item.id.as_deref().filter(|id| !id.is_empty());
            let open = self.items.iter().find(|open| match id {
                Some(id) if !open.id.is_empty() => open.id == id,
                _ => open.place == Some(place),
            });
            let place = match open {
                Some(open) if open.done => continue,
                Some(open) => open.place,
                None if untold => Some(place),
                None => continue,
            };
            self.close(place, &item, raw, answer)?;
        }
        self.keep(response.output.as_deref().unwrap_or_default(), answer)?;
        let status = response.status.as_deref().unwrap_or(kind);
        response.conclude(status, &mut self.tools, answer)
    }
}
