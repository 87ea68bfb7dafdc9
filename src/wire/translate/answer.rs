//! What an answer is made of, piece by piece, and the rules that hold whatever format it came in: the first delta
//! has the role, tool calls are counted, a finish reason comes once and is never made up, usage goes last.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::chunk::Chunks;
use crate::chat::Usage;
use crate::chat::conversation::{Detail, Str};
use crate::wire::DecodeError;
use crate::wire::decode::Delivered;
use crate::wire::envelope::Envelope;

/// Reasoning kept of one answer, bytes: it travels back with the next turn.
const DETAILS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Choices of one answer at most.
const CHOICES_MAX: usize = 1024;
/// Tool calls of one choice at most.
const CALLS_MAX: usize = 4096;

/// How a choice ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// OpenAI's word; `None` when it has none for what happened: the client then sees null, and the vendor's word.
    pub reason: Option<&'static str>,
    /// The vendor's word.
    pub native: String,
}

impl Ending {
    /// An ending for which OpenAI has a word.
    pub fn known(reason: &'static str, native: impl Into<String>) -> Self {
        Self { reason: Some(reason), native: native.into() }
    }

    /// An ending for which OpenAI has no word.
    pub fn unknown(native: impl Into<String>) -> Self {
        Self { reason: None, native: native.into() }
    }
}

/// A tool call.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub id: String,
    pub name: String,
    /// It is of a custom tool: its arguments are any text.
    pub custom: bool,
    /// Kept for whole replies only.
    pub arguments: String,
    /// Something of its arguments went out.
    argued: bool,
}

/// One choice so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub index: u32,
    pub role_sent: bool,
    /// Kept for whole replies only, like the next two.
    pub text: String,
    pub reasoning: String,
    pub refusal: String,
    text_chars: u64,
    digest: Sha256,
    pub calls: Vec<Call>,
    pub details: Vec<Detail<'static>>,
    pub images: Vec<Value>,
    /// Sound: an id and base64.
    pub audio: Option<(String, String)>,
    pub annotations: Vec<Value>,
    pub logprobs: Option<Value>,
    pub ending: Option<Ending>,
    pub ending_sent: bool,
}

impl Choice {
    /// OpenAI's word for its ending: any tool call means `tool_calls`.
    pub fn finish_reason(&self) -> Option<&'static str> {
        match self.ending.as_ref()?.reason {
            Some("stop") if !self.calls.is_empty() => Some("tool_calls"),
            reason => reason,
        }
    }
}

/// An answer under way: in a stream each piece becomes a chunk at once, in a whole reply it is gathered.
#[derive(Debug)]
pub struct Answer {
    pub(super) chunks: Option<Chunks>,
    pub(super) choices: Vec<Choice>,
    pub(super) id: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) extras: Vec<(String, Value)>,
    usage: Option<Usage>,
    told: Option<Usage>,
    delivered: Delivered,
    details_bytes: usize,
    content: bool,
    made_up: String,
    scheme: Option<Str<'static>>,
}

/// Reasoning that an answer minted and that the next turn must bring back.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Ids of the answer's tool calls.
    pub call_ids: Vec<String>,
    /// SHA-256 of the answer's text.
    pub text_digest: [u8; 32],
    /// The details, in order.
    pub details: Vec<Detail<'static>>,
}

impl Answer {
    /// The answer of a stream. `n`: choices the client asked for.
    pub fn streamed(envelope: &Envelope, include_usage: bool, n: u32) -> Self {
        Self::new(Some(Chunks::new(envelope, include_usage, n.max(1) as usize)), envelope)
    }

    /// The answer of a whole reply.
    pub fn gathered(envelope: &Envelope) -> Self {
        Self::new(None, envelope)
    }

    fn new(chunks: Option<Chunks>, envelope: &Envelope) -> Self {
        Self {
            chunks,
            choices: Vec::new(),
            id: None,
            service_tier: None,
            extras: Vec::new(),
            usage: None,
            told: None,
            delivered: Delivered::default(),
            details_bytes: 0,
            content: false,
            made_up: envelope.fallback_id.trim_start_matches("chatcmpl-").to_owned(),
            scheme: None,
        }
    }

    /// Reasoning is minted by a scheme of the vendor's own, not by the format's.
    #[must_use]
    pub fn minting(mut self, scheme: Option<&str>) -> Self {
        self.scheme = scheme.map(|scheme| Str::from(scheme.to_owned()));
        self
    }

    /// The upstream's id of the answer; before the first content.
    pub fn id(&mut self, id: &str) {
        if self.id.is_none() && !id.is_empty() {
            self.id = Some(id.to_owned());
            if let Some(chunks) = &mut self.chunks {
                chunks.identify(id);
            }
        }
    }

    /// The service tier that was served.
    pub fn tier(&mut self, tier: &str) {
        self.service_tier = Some(tier.to_owned());
    }

    /// A top-level member of the vendor's own that clients may want, e.g. its search results.
    pub fn extra(&mut self, name: &str, value: Value) {
        self.extras.retain(|(known, _)| known != name);
        self.extras.push((name.to_owned(), value));
    }

    /// Usage so far; the last one counts.
    pub fn report_usage(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// What the upstream told of usage before the answer was made: exact of the prompt, a beginning of the rest.
    pub fn tell_usage(&mut self, usage: Usage) {
        self.told = Some(usage);
    }

    /// A piece of text.
    pub fn text(&mut self, choice: u32, text: &str) {
        if text.is_empty() {
            return;
        }
        self.delivered.note(text);
        let Some((state, chunks)) = self.open(choice) else { return };
        state.text_chars += text.chars().count() as u64;
        state.digest.update(text.as_bytes());
        match chunks {
            Some(chunks) => chunks.string(state, "content", text),
            None => state.text.push_str(text),
        }
    }

    /// A piece of reasoning.
    pub fn reasoning(&mut self, choice: u32, text: &str) {
        if text.is_empty() {
            return;
        }
        self.delivered.note(text);
        let Some((state, chunks)) = self.open(choice) else { return };
        match chunks {
            Some(chunks) => chunks.string(state, "reasoning", text),
            None => state.reasoning.push_str(text),
        }
    }

    /// A piece of a refusal.
    pub fn refusal(&mut self, choice: u32, text: &str) {
        if text.is_empty() {
            return;
        }
        self.delivered.note(text);
        let Some((state, chunks)) = self.open(choice) else { return };
        match chunks {
            Some(chunks) => chunks.string(state, "refusal", text),
            None => state.refusal.push_str(text),
        }
    }

    /// A block of reasoning that must travel back, complete. Its place among text and calls is noted here.
    ///
    /// # Errors
    /// More reasoning than is kept.
    pub fn detail(&mut self, choice: u32, detail: Detail<'static>) -> Result<(), DecodeError> {
        let place = (self.text_chars(choice), self.calls(choice) as u64);
        self.detail_at(choice, detail, place)
    }

    /// The same for one that stood elsewhere: characters of text and tool calls before it.
    ///
    /// # Errors
    /// More reasoning than is kept.
    pub fn detail_at(
        &mut self,
        choice: u32,
        mut detail: Detail<'static>,
        (text_chars, calls): (u64, u64),
    ) -> Result<(), DecodeError> {
        if let (Some(own), Some(format)) = (&self.scheme, &mut detail.format) {
            *format = own.clone();
        }
        let size = |text: &Option<Str<'_>>| text.as_ref().map_or(0, |t| t.len());
        self.details_bytes +=
            64 + size(&detail.text) + size(&detail.summary) + size(&detail.data) + size(&detail.signature);
        if self.details_bytes > DETAILS_BYTES_MAX {
            return Err(DecodeError::invalid("it sent more reasoning than can be kept"));
        }
        let Some((state, chunks)) = self.open(choice) else { return Ok(()) };
        detail.index = Some(state.details.len() as u64);
        detail.after_text = Some(text_chars).filter(|chars| *chars > 0);
        detail.after_calls = Some(calls).filter(|calls| *calls > 0);
        if let Some(chunks) = chunks {
            chunks.list(state, "reasoning_details", &detail);
        }
        state.details.push(detail);
        Ok(())
    }

    /// Opens a tool call and gives its index; an id is made up for one that came without.
    pub fn open_call(&mut self, choice: u32, id: &str, name: &str) -> usize {
        self.open_any_call(choice, id, name, false)
    }

    /// The same for a call of a custom tool, whose arguments are any text.
    pub fn open_custom_call(&mut self, choice: u32, id: &str, name: &str) -> usize {
        self.open_any_call(choice, id, name, true)
    }

    fn open_any_call(&mut self, choice: u32, id: &str, name: &str, custom: bool) -> usize {
        self.delivered.note(name);
        let made_up = format!("call_{}_{}", self.made_up, self.calls_in_all());
        let Some((state, chunks)) = self.open(choice) else { return usize::MAX };
        if state.calls.len() >= CALLS_MAX {
            return usize::MAX;
        }
        let id = if id.is_empty() { made_up } else { id.to_owned() };
        let index = state.calls.len();
        let call = Call { id, name: name.to_owned(), custom, ..Call::default() };
        if let Some(chunks) = chunks {
            chunks.open_call(state, index, &call);
        }
        state.calls.push(call);
        index
    }

    /// A fragment of a call's arguments.
    pub fn call_arguments(&mut self, choice: u32, call: usize, fragment: &str) {
        if fragment.is_empty() {
            return;
        }
        self.delivered.note(fragment);
        let Some((state, chunks)) = self.open(choice) else { return };
        let Some(known) = state.calls.get_mut(call) else { return };
        known.argued = true;
        let custom = known.custom;
        match chunks {
            Some(chunks) => chunks.call_arguments(state, call, custom, fragment),
            None => known.arguments.push_str(fragment),
        }
    }

    /// The id of a call, made up or not.
    pub fn call_id(&self, choice: u32, call: usize) -> Option<&str> {
        let state = self.choices.iter().find(|state| state.index == choice)?;
        state.calls.get(call).map(|call| call.id.as_str())
    }

    /// Tool calls of a choice so far.
    pub fn calls(&self, choice: u32) -> usize {
        self.choices.iter().find(|state| state.index == choice).map_or(0, |state| state.calls.len())
    }

    /// Characters of text of a choice so far: where an annotation begins or ends.
    pub fn text_chars(&self, choice: u32) -> u64 {
        self.choices.iter().find(|state| state.index == choice).map_or(0, |state| state.text_chars)
    }

    /// An image, base64.
    pub fn image(&mut self, choice: u32, mime: &str, data: &str) {
        let url = format!("data:{mime};base64,{data}");
        let image = serde_json::json!({"type": "image_url", "image_url": {"url": url}});
        let Some((state, chunks)) = self.open(choice) else { return };
        match chunks {
            Some(chunks) => chunks.list(state, "images", &image),
            None => state.images.push(image),
        }
    }

    /// A piece of sound, base64.
    pub fn audio(&mut self, choice: u32, data: &str) {
        let id = format!("audio_{}_{choice}", self.made_up);
        let Some((state, chunks)) = self.open(choice) else { return };
        match chunks {
            Some(chunks) => chunks.audio(state, &id, data),
            None => state.audio.get_or_insert_with(|| (id, String::new())).1.push_str(data),
        }
    }

    /// Log probabilities of the last piece of text, in OpenAI's shape. For whole replies.
    pub fn logprobs(&mut self, choice: u32, logprobs: Value) {
        if let Some((state, None)) = self.open(choice) {
            state.logprobs = Some(logprobs);
        }
    }

    /// Log probabilities of a further piece of text: entries of `content` in OpenAI's shape.
    pub fn more_logprobs(&mut self, choice: u32, entries: Vec<Value>) {
        let Some((state, chunks)) = self.open(choice) else { return };
        if let Some(chunks) = chunks {
            return chunks.logprobs(state, &entries);
        }
        let logprobs = state.logprobs.get_or_insert_with(|| serde_json::json!({"content": []}));
        if let Some(content) = logprobs.get_mut("content").and_then(Value::as_array_mut) {
            content.extend(entries);
        }
    }

    /// An annotation, e.g. `{"type": "url_citation", ...}`.
    pub fn annotation(&mut self, choice: u32, annotation: Value) {
        let Some((state, chunks)) = self.open(choice) else { return };
        match chunks {
            Some(chunks) => chunks.list(state, "annotations", &annotation),
            None => state.annotations.push(annotation),
        }
    }

    /// The choice ended. The first ending counts; in a stream it goes out once the event is read.
    pub fn finish(&mut self, choice: u32, ending: Ending) {
        // A call of a function without parameters: clients parse what they get, and nothing is no JSON.
        let bare: Vec<usize> = self
            .choices
            .iter()
            .filter(|state| state.index == choice)
            .flat_map(|state| {
                state
                    .calls
                    .iter()
                    .enumerate()
                    .filter(|(_, call)| !call.argued && !call.custom)
                    .map(|(at, _)| at)
            })
            .collect();
        for call in bare {
            self.call_arguments(choice, call, "{}");
        }
        let Some((state, _)) = self.open(choice) else { return };
        state.ending.get_or_insert(ending);
    }

    /// Every choice that has not ended ends here, cut short.
    pub(super) fn cut(&mut self) {
        for choice in self.choices.iter_mut().filter(|choice| choice.ending.is_none()) {
            choice.ending = Some(Ending::known("length", "length"));
        }
    }

    /// True once the choice ended.
    pub fn finished(&self, choice: u32) -> bool {
        self.choices.iter().any(|state| state.index == choice && state.ending.is_some())
    }

    /// True once there was something of the answer itself.
    pub fn has_content(&self) -> bool {
        self.content
    }

    /// The usage that was reported.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// The usage that was told before the answer was made.
    pub fn told(&self) -> Option<&Usage> {
        self.told.as_ref()
    }

    /// The service tier that was served.
    pub fn service_tier(&self) -> Option<&str> {
        self.service_tier.as_deref()
    }

    /// What was delivered.
    pub fn delivered(&self) -> &Delivered {
        &self.delivered
    }

    /// Reasoning of the first choice that must come back; `None` when there is none.
    pub fn minted(&self) -> Option<Minted> {
        let choice = self.choices.first().filter(|choice| !choice.details.is_empty())?;
        Some(Minted {
            call_ids: choice.calls.iter().map(|call| call.id.clone()).collect(),
            text_digest: choice.digest.clone().finalize().into(),
            details: choice.details.clone(),
        })
    }

    fn calls_in_all(&self) -> usize {
        self.choices.iter().map(|choice| choice.calls.len()).sum()
    }

    /// The state of a choice, new if need be; `None` beyond the bound. Whatever is told of it is content.
    fn open(&mut self, index: u32) -> Option<(&mut Choice, Option<&mut Chunks>)> {
        self.content = true;
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None if self.choices.len() == CHOICES_MAX => return None,
            None => {
                self.choices.push(Choice { index, ..Choice::default() });
                self.choices.len() - 1
            }
        };
        Some((self.choices.get_mut(at)?, self.chunks.as_mut()))
    }
}
