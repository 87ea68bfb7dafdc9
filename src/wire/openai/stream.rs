//! One stream: upstream events in, the client's events out. One object per stream, fed with any split of bytes.
//!
//! Invariants: the usage chunk goes out last and only if asked for; nothing is called complete without a
//! terminal event (`[DONE]`, or a finish reason of every choice before the end); no finish reason is made up.

mod shape;

use std::borrow::Cow;

use serde_json::Value;

use self::shape::Shape;
use super::choice::Choices;
use super::plain::{self, Seen};
use super::usage;
use super::{error, rewrite};
use crate::json::scan::Cursor;
use crate::json::{self, Edit, Members};
use crate::money::Usd;
use crate::wire::usage::{Metered, UsageObject, render};
use crate::wire::{DecodeError, Envelope, Fed, Quirks, sse};

/// Decoder of one stream.
#[derive(Debug)]
pub struct Decoder {
    reader: sse::Reader,
    quirks: Quirks,
    include_usage: bool,
    expected_choices: usize,
    choices: Choices,
    /// What the upstream reported last.
    pub metered: Option<Metered>,
    /// The service tier that was served.
    pub service_tier: Option<String>,
    /// The upstream's own usage chunk, held back to go out last.
    usage_chunk: Option<String>,
    /// Vendor members of chunks without choices, to ride on the next chunk.
    carried: Vec<(String, Vec<u8>)>,
    /// Identity members of the last chunk, for the usage chunk.
    identity: Identity,
    /// What the events are like whose text alone is new.
    shape: Shape,
    content_seen: bool,
    metadata_sent: bool,
    ended: bool,
}

/// `id` and `created` as the upstream writes them.
#[derive(Debug, Default)]
struct Identity {
    id: Option<Vec<u8>>,
    created: Option<Vec<u8>>,
}

/// Members of a chunk that every chunk has: no reason to carry them over.
const ORDINARY: [&str; 8] =
    ["id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"];

/// Carried members at most.
const CARRIED_MAX: usize = 16;

impl Decoder {
    /// For one stream. `n`: choices the client asked for.
    pub fn new(quirks: Quirks, think_tags: bool, include_usage: bool, n: u32) -> Self {
        Self {
            reader: sse::Reader::default(),
            choices: Choices::new(think_tags),
            quirks,
            include_usage,
            expected_choices: n.max(1) as usize,
            metered: None,
            service_tier: None,
            usage_chunk: None,
            carried: Vec::new(),
            identity: Identity::default(),
            shape: Shape::default(),
            content_seen: false,
            metadata_sent: false,
            ended: false,
        }
    }

    /// Text delivered so far (cut at a bound) and its length in all.
    pub fn delivered(&self) -> (&str, usize) {
        (self.choices.delivered.text(), self.choices.delivered.length())
    }

    /// True once there was something of the answer itself.
    pub fn has_content(&self) -> bool {
        self.content_seen
    }

    /// Takes bytes as they come and appends the client's events to `out`.
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
        let mut fed = Fed { ended: self.ended, content: false };
        if self.ended {
            return Ok(fed);
        }
        let mut reader = std::mem::take(&mut self.reader);
        let mut result = reader.push(bytes).map_err(|_| too_large());
        while result.is_ok() && !self.ended {
            let Some(event) = reader.next_event() else { break };
            result = self.event(&event, envelope, latency_ms, out).map(|content| fed.content |= content);
        }
        self.reader = reader;
        fed.ended = self.ended;
        result.map(|()| fed)
    }

    /// The upstream closed. True when the stream is complete.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when no terminal event came.
    pub fn end_of_input(
        &mut self,
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Fed, DecodeError> {
        let mut fed = Fed::default();
        let mut reader = std::mem::take(&mut self.reader);
        if !self.ended
            && let Some(event) = reader.finish()
        {
            // A last event without its blank line counts if it can be read; half an event does not.
            match self.event(&event, envelope, latency_ms, out) {
                Err(DecodeError::Invalid(_)) => return Err(DecodeError::Truncated),
                other => fed.content = other?,
            }
        }
        if self.ended || self.choices.all_finished() {
            fed.ended = true;
            self.ended = true;
            return self.check_content().map(|()| fed);
        }
        Err(DecodeError::Truncated)
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
        if self.include_usage {
            let held = self.usage_chunk.take().unwrap_or_else(|| "{}".to_owned());
            let members = Members::parse(&held).unwrap_or_default();
            let mut edits = vec![
                Edit::Set("choices", Cow::Borrowed(b"[]".as_slice())),
                Edit::Set("usage", Cow::Owned(render(usage, cost))),
                Edit::Set("metadata", Cow::Owned(envelope.metadata(latency_ms))),
            ];
            let carried = std::mem::take(&mut self.carried);
            edits.extend(carried.iter().map(|(name, value)| Edit::Set(name, Cow::Borrowed(value))));
            self.identify(&members, &held, envelope, &mut edits);
            write_event(&members, &held, &edits, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Ends the stream here, as one whose answer was cut short: a finish reason for every choice that has none.
    pub fn cut(&mut self, envelope: &Envelope, latency_ms: u64, out: &mut Vec<u8>) {
        self.ended = true;
        let unfinished = self.choices.unfinished();
        for (at, index) in unfinished.iter().enumerate() {
            let written = format!(
                "{{\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":\"length\"}}]}}"
            );
            let members = Members::parse(&written).unwrap_or_default();
            let mut edits = Vec::with_capacity(5);
            self.identify(&members, &written, envelope, &mut edits);
            if at + 1 == unfinished.len() && !self.include_usage && !self.metadata_sent {
                self.metadata_sent = true;
                edits.push(Edit::Set("metadata", Cow::Owned(envelope.metadata(latency_ms))));
            }
            write_event(&members, &written, &edits, out);
        }
    }

    /// One event. True when it holds something of the answer.
    fn event(
        &mut self,
        data: &[u8],
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<bool, DecodeError> {
        let text = std::str::from_utf8(data).map_err(|_| unreadable())?;
        if self.carried.is_empty()
            && let Some(said) = self.shape.pass(text, out)
        {
            self.choices.deliver(&said);
            self.content_seen |= !said.is_empty();
            return Ok(!said.is_empty());
        }
        if !text.starts_with('{') {
            match text.trim() {
                "[DONE]" => {
                    self.ended = true;
                    return self.check_content().map(|()| false);
                }
                "" => return Ok(false),
                _ => {}
            }
        }
        let members = Members::parse(text).map_err(|_| unreadable())?;
        if members.get(text, "error").is_some_and(|error| !matches!(error, "null" | "\"\"")) {
            return Err(DecodeError::Fault(error::decode_error(0, data)));
        }
        let metered = usage::find(&members, text, &self.quirks, true);
        // Nothing of it is but for this one event.
        let ordinary = metered.is_none() && self.carried.is_empty();
        if metered.is_some() {
            self.metered = metered;
        }
        if let Some(tier) = members.get(text, "service_tier") {
            self.note_tier(tier);
        }
        match members.get(text, "choices") {
            None | Some("null") if error::stands_alone(&members, text) => {
                return Err(DecodeError::Fault(error::decode_error(0, data)));
            }
            None | Some("null") => self.without_choices(&members, text),
            Some(written) if is_empty_list(written) => self.without_choices(&members, text),
            Some(written) => {
                let start = out.len();
                let seen = self.with_choices(&members, text, written, envelope, latency_ms, out)?;
                if let (true, Some(place), Some(choices)) =
                    (ordinary, seen.text, members.range(text, "choices"))
                {
                    self.shape.keep(text, choices, place, out.get(start..).unwrap_or_default());
                }
                return Ok(seen.content);
            }
        }
        Ok(false)
    }

    /// Keeps the tier that an event names. All events of a stream name the same one.
    fn note_tier(&mut self, written: &str) {
        let Some(tier) = Cursor::new(written).string().and_then(|tier| tier.decode()) else { return };
        if self.service_tier.as_deref() != Some(&*tier) {
            self.service_tier = Some(tier.into_owned());
        }
    }

    /// A chunk without choices: usage is held back, anything else rides on the next chunk.
    fn without_choices(&mut self, members: &Members, text: &str) {
        if members.get(text, "usage").is_some_and(|usage| usage != "null") {
            self.usage_chunk = Some(text.to_owned());
            return;
        }
        for (name, value) in members.iter(text) {
            if !ORDINARY.contains(&name) && self.carried.len() < CARRIED_MAX {
                self.carried.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
    }

    /// A chunk with choices: passed on, rebuilt where a dialect needs it.
    fn with_choices(
        &mut self,
        members: &Members,
        text: &str,
        written: &str,
        envelope: &Envelope,
        latency_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Seen, DecodeError> {
        let mut edits = Vec::with_capacity(6);
        let seen = match plain::accept(written, &mut self.choices) {
            Some(seen) => seen,
            None => {
                let Some((rebuilt, seen)) = self.rebuild(written, envelope)? else {
                    self.without_choices(members, text);
                    return Ok(Seen::default());
                };
                edits.push(Edit::Set("choices", Cow::Owned(rebuilt)));
                seen
            }
        };
        self.content_seen |= seen.content;
        self.identify(members, text, envelope, &mut edits);
        edits.push(Edit::Remove("usage"));
        let carried = std::mem::take(&mut self.carried);
        edits.extend(carried.iter().map(|(name, value)| Edit::Set(name, Cow::Borrowed(value))));
        if seen.finish
            && !self.metadata_sent
            && !self.include_usage
            && self.choices.finished() >= self.expected_choices
        {
            self.metadata_sent = true;
            edits.push(Edit::Set("metadata", Cow::Owned(envelope.metadata(latency_ms))));
        }
        write_event(members, text, &edits, out);
        Ok(seen)
    }

    /// The slow path for one event's choices; `None` when nothing is left of them.
    fn rebuild(
        &mut self,
        written: &str,
        envelope: &Envelope,
    ) -> Result<Option<(Vec<u8>, Seen)>, DecodeError> {
        let mut list: Vec<Value> = serde_json::from_str(written).map_err(|_| unreadable())?;
        if let Some(failed) =
            list.iter().find(|choice| choice.get("error").is_some_and(|error| !error.is_null()))
        {
            return Err(DecodeError::Fault(error::from_value(0, failed)));
        }
        let made_up = format!("call_{}", envelope.fallback_id.trim_start_matches("chatcmpl-"));
        let seen = rewrite::event_choices(&mut list, &mut self.choices, &made_up);
        if list.is_empty() {
            return Ok(None);
        }
        let rebuilt = serde_json::to_vec(&list).map_err(|_| unreadable())?;
        Ok(Some((rebuilt, seen)))
    }

    /// Edits that give a chunk its id, object, created and model.
    fn identify<'e>(
        &mut self,
        members: &Members,
        text: &str,
        envelope: &Envelope,
        edits: &mut Vec<Edit<'e>>,
    ) {
        edits.push(Edit::Set("model", Cow::Owned(json::string(&envelope.model))));
        if members.get(text, "object") != Some("\"chat.completion.chunk\"") {
            edits.push(Edit::Set("object", Cow::Borrowed(b"\"chat.completion.chunk\"")));
        }
        let given = |name: &str| members.get(text, name).filter(|value| !matches!(*value, "null" | "\"\""));
        match given("id") {
            Some(id) if self.identity.id.is_none() => self.identity.id = Some(id.as_bytes().to_vec()),
            Some(_) => {}
            None => {
                let id = self.identity.id.get_or_insert_with(|| json::string(&envelope.fallback_id));
                edits.push(Edit::Set("id", Cow::Owned(id.clone())));
            }
        }
        match given("created") {
            Some(created) if self.identity.created.is_none() => {
                self.identity.created = Some(created.as_bytes().to_vec());
            }
            Some(_) => {}
            None => {
                let made = || envelope.created_s.to_string().into_bytes();
                let created = self.identity.created.get_or_insert_with(made);
                edits.push(Edit::Set("created", Cow::Owned(created.clone())));
            }
        }
    }

    /// A stream that ends without having said anything is not an answer.
    fn check_content(&self) -> Result<(), DecodeError> {
        if self.content_seen {
            return Ok(());
        }
        Err(DecodeError::Invalid("its stream ended without an answer".to_owned()))
    }
}

/// Writes one event; a line end within its JSON (white space there) becomes a space.
fn write_event(members: &Members, text: &str, edits: &[Edit<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    members.splice(text, edits, out);
    if let Some(written) = out.get_mut(start..)
        && memchr::memchr2(b'\n', b'\r', written).is_some()
    {
        for byte in written.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// True for a list of nothing. The value is known to be JSON.
fn is_empty_list(written: &str) -> bool {
    written.strip_prefix('[').is_some_and(|rest| rest.trim_start() == "]")
}

fn unreadable() -> DecodeError {
    DecodeError::Invalid("an event of its stream is not a JSON object".to_owned())
}

fn too_large() -> DecodeError {
    DecodeError::Invalid(format!("an event of its stream is larger than {} bytes", sse::EVENT_BYTES_MAX))
}

#[cfg(test)]
mod tests;
