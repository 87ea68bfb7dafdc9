//! Writing an answer as chunks. The part that all chunks of a stream share is written once and copied.

use serde::Serialize;
use serde_json::Value;

use super::answer::{Answer, Call, Choice};
use crate::json;
use crate::money::Usd;
use crate::wire::envelope::Envelope;
use crate::wire::usage::{UsageObject, render};

/// The chunks of one stream, written as they come.
#[derive(Debug)]
pub(super) struct Chunks {
    /// `data: {"id":..,"object":..,"created":..,"model":..`
    head: Vec<u8>,
    model: String,
    created_s: i64,
    include_usage: bool,
    expected: usize,
    metadata_sent: bool,
    pub out: Vec<u8>,
}

impl Chunks {
    pub fn new(envelope: &Envelope, include_usage: bool, expected: usize) -> Self {
        let mut chunks = Self {
            head: Vec::new(),
            model: envelope.model.clone(),
            created_s: envelope.created_s,
            include_usage,
            expected,
            metadata_sent: false,
            out: Vec::new(),
        };
        chunks.identify(&envelope.fallback_id);
        chunks
    }

    /// Gives the chunks from here on their id.
    pub fn identify(&mut self, id: &str) {
        self.head.clear();
        self.head.extend_from_slice(b"data: {\"id\":");
        json::write_string(id, &mut self.head);
        self.head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        self.head.extend_from_slice(self.created_s.to_string().as_bytes());
        self.head.extend_from_slice(b",\"model\":");
        json::write_string(&self.model, &mut self.head);
    }

    /// Opens a chunk up to its delta's members.
    fn delta(&mut self, choice: &mut Choice) {
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(b",\"choices\":[{\"index\":");
        self.out.extend_from_slice(choice.index.to_string().as_bytes());
        self.out.extend_from_slice(b",\"delta\":{");
        if !std::mem::replace(&mut choice.role_sent, true) {
            self.out.extend_from_slice(b"\"role\":\"assistant\",");
        }
    }

    fn close_delta(&mut self) {
        self.out.extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
    }

    /// A delta with one string.
    pub fn string(&mut self, choice: &mut Choice, name: &str, text: &str) {
        self.delta(choice);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        json::write_string(text, &mut self.out);
        self.close_delta();
    }

    /// A delta with a list of one.
    pub fn list(&mut self, choice: &mut Choice, name: &str, one: &impl Serialize) {
        let Ok(written) = serde_json::to_vec(one) else { return };
        self.delta(choice);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":[");
        self.out.extend_from_slice(&written);
        self.out.push(b']');
        self.close_delta();
    }

    /// A delta with a piece of sound.
    pub fn audio(&mut self, choice: &mut Choice, id: &str, data: &str) {
        self.delta(choice);
        self.out.extend_from_slice(b"\"audio\":{\"id\":");
        json::write_string(id, &mut self.out);
        self.out.extend_from_slice(b",\"data\":");
        json::write_string(data, &mut self.out);
        self.out.push(b'}');
        self.close_delta();
    }

    /// A chunk with log probabilities alone: they are about the text before it.
    pub fn logprobs(&mut self, choice: &mut Choice, entries: &[Value]) {
        let Ok(written) = serde_json::to_vec(entries) else { return };
        self.delta(choice);
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.extend_from_slice(b"},\"logprobs\":{\"content\":");
        self.out.extend_from_slice(&written);
        self.out.extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
    }

    /// A call's first chunk: all of it but its arguments.
    pub fn open_call(&mut self, choice: &mut Choice, index: usize, call: &Call) {
        let (kind, argument) = words(call.custom);
        self.delta(choice);
        self.out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
        self.out.extend_from_slice(index.to_string().as_bytes());
        self.out.extend_from_slice(b",\"id\":");
        json::write_string(&call.id, &mut self.out);
        self.out.extend_from_slice(format!(",\"type\":\"{kind}\",\"{kind}\":{{\"name\":").as_bytes());
        json::write_string(&call.name, &mut self.out);
        self.out.extend_from_slice(format!(",\"{argument}\":\"\"}}}}]").as_bytes());
        self.close_delta();
    }

    pub fn call_arguments(&mut self, choice: &mut Choice, index: usize, custom: bool, fragment: &str) {
        let (kind, argument) = words(custom);
        self.delta(choice);
        self.out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
        self.out.extend_from_slice(index.to_string().as_bytes());
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.extend_from_slice(b"\":{\"");
        self.out.extend_from_slice(argument.as_bytes());
        self.out.extend_from_slice(b"\":");
        json::write_string(fragment, &mut self.out);
        self.out.extend_from_slice(b"}}]");
        self.close_delta();
    }

    /// The chunk that says how a choice ended.
    fn ending(&mut self, choice: &mut Choice, tail: &Tail<'_>) {
        self.delta(choice);
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.extend_from_slice(b"},\"finish_reason\":");
        let reason = choice.finish_reason();
        match reason {
            Some(reason) => json::write_string(reason, &mut self.out),
            None => self.out.extend_from_slice(b"null"),
        }
        if let (None, Some(ending)) = (reason, &choice.ending) {
            self.out.extend_from_slice(b",\"native_finish_reason\":");
            json::write_string(&ending.native, &mut self.out);
        }
        self.out.extend_from_slice(b"}]");
        self.tail(tail);
        self.out.extend_from_slice(b"}\n\n");
    }

    /// Top-level members after the choices.
    fn tail(&mut self, tail: &Tail<'_>) {
        if let Some(tier) = tail.service_tier {
            self.out.extend_from_slice(b",\"service_tier\":");
            json::write_string(tier, &mut self.out);
        }
        for (name, value) in tail.extras {
            self.out.push(b',');
            json::write_string(name, &mut self.out);
            self.out.push(b':');
            self.out.extend_from_slice(value.to_string().as_bytes());
        }
        if let Some(metadata) = &tail.metadata {
            self.out.extend_from_slice(b",\"metadata\":");
            self.out.extend_from_slice(metadata);
        }
    }
}

/// What a call is, and what its arguments are called.
fn words(custom: bool) -> (&'static str, &'static str) {
    if custom { ("custom", "input") } else { ("function", "arguments") }
}

/// Top-level members that go with an end.
struct Tail<'a> {
    service_tier: Option<&'a str>,
    extras: &'a [(String, Value)],
    metadata: Option<Vec<u8>>,
}

impl Answer {
    /// After each event of a stream: endings that came with it go out, the last of them with the metadata.
    pub(super) fn settle(&mut self, envelope: &Envelope, latency_ms: u64) {
        let Self { chunks: Some(chunks), choices, service_tier, extras, .. } = self else { return };
        if !choices.iter().any(|choice| choice.ending.is_some() && !choice.ending_sent) {
            return;
        }
        let finished = choices.iter().filter(|choice| choice.ending.is_some()).count();
        let mut waiting: Vec<&mut Choice> =
            choices.iter_mut().filter(|choice| choice.ending.is_some() && !choice.ending_sent).collect();
        let last = waiting.len() - 1;
        for (at, choice) in waiting.iter_mut().enumerate() {
            choice.ending_sent = true;
            let all = at == last && finished >= chunks.expected;
            let rides = all && !chunks.include_usage && !chunks.metadata_sent;
            let tail = Tail {
                service_tier: service_tier.as_deref().filter(|_| all),
                extras: if all { extras } else { &[] },
                metadata: rides.then(|| envelope.metadata(latency_ms)),
            };
            chunks.metadata_sent |= rides;
            chunks.ending(choice, &tail);
        }
    }

    /// The end of a stream: the usage chunk where asked for, and the metadata if it did not go out yet.
    pub(super) fn close(
        &mut self,
        envelope: &Envelope,
        latency_ms: u64,
        usage: UsageObject,
        cost: Option<Usd>,
    ) {
        let Some(chunks) = &mut self.chunks else { return };
        let metadata = Some(envelope.metadata(latency_ms));
        let tail = Tail { service_tier: self.service_tier.as_deref(), extras: &[], metadata };
        if chunks.include_usage {
            chunks.out.extend_from_slice(&chunks.head);
            chunks.out.extend_from_slice(b",\"choices\":[],\"usage\":");
            chunks.out.extend_from_slice(&render(usage, cost));
        } else if !chunks.metadata_sent {
            // Fewer choices than were asked for: nothing else is left for the metadata to ride on.
            chunks.out.extend_from_slice(&chunks.head);
            chunks.out.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]");
        } else {
            return;
        }
        chunks.tail(&tail);
        chunks.out.extend_from_slice(b"}\n\n");
    }

    /// Moves what was written to `out`.
    pub(super) fn take_output(&mut self, out: &mut Vec<u8>) {
        if let Some(chunks) = &mut self.chunks {
            if out.is_empty() {
                std::mem::swap(out, &mut chunks.out);
            } else {
                out.append(&mut chunks.out);
            }
        }
    }
}
