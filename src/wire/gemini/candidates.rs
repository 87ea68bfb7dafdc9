//! What an answer consists of: candidates and their parts. The same for a whole reply and for a stream, which is
//! the same object again and again, each with what is new.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::grounding::Citation;
use super::shape::{Blob, Candidate, Feedback, Part, Response};
use super::{detail, error, finish};
use crate::chat::conversation::Detail;
use crate::wire::DecodeError;
use crate::wire::translate::{Answer, Ending};

/// Candidates of one answer at most.
const CANDIDATES_MAX: usize = 1024;
/// Text kept to find the places of citations, bytes, of all candidates together.
const TEXT_BYTES_MAX: usize = 128 * 1024;
/// Pieces of code that Google ran, and their outcomes, at most.
const CODE_MAX: usize = 64;

/// What is known of the candidates of one answer.
#[derive(Debug, Default)]
pub struct Candidates {
    known: Vec<State>,
    text_bytes: usize,
    code: Vec<Value>,
}

#[derive(Debug, Default)]
struct State {
    index: u32,
    ending: Option<Ending>,
    explanation: Option<String>,
    text: String,
    images: usize,
    searches: u64,
    grounded: Vec<Citation>,
    recited: Vec<Citation>,
}

impl Candidates {
    /// Takes one object, or an array of them.
    ///
    /// # Errors
    /// It is an error of the upstream's, or cannot be read.
    pub fn read(&mut self, data: &[u8], answer: &mut Answer) -> Result<(), DecodeError> {
        let responses: Vec<Response<'_>> = if data.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice(data).map_err(|_| unreadable())?
        } else {
            vec![serde_json::from_slice(data).map_err(|_| unreadable())?]
        };
        responses.into_iter().try_for_each(|response| self.response(response, answer))
    }

    fn response(&mut self, response: Response<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        if let Some(told) = response.error {
            let body = format!("{{\"error\":{told}}}");
            return Err(DecodeError::Fault(error::read(0, body.as_bytes())));
        }
        if let Some(id) = &response.response_id {
            answer.id(id);
        }
        let candidates = response.candidates.unwrap_or_default();
        if let Some(Feedback { block_reason: Some(reason), block_reason_message }) = response.prompt_feedback
            && candidates.is_empty()
        {
            self.blocked(&reason, block_reason_message.as_deref());
        }
        for (at, candidate) in candidates.into_iter().enumerate() {
            let index = candidate.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX));
            self.candidate(index, candidate, answer)?;
        }
        if let Some(usage) = response.usage_metadata {
            let searches = self.known.iter().map(|state| state.searches).sum();
            usage.tell(searches, answer);
        }
        Ok(())
    }

    /// The prompt was not let through: nothing was generated, and that is how it ended.
    fn blocked(&mut self, reason: &str, message: Option<&str>) {
        let Some(state) = self.open(0) else { return };
        state.ending = Some(finish::filtered(reason));
        let words = format!("The prompt was blocked ({reason}). {}", message.unwrap_or_default());
        state.explanation = Some(words.trim_end().to_owned());
    }

    fn candidate(
        &mut self,
        index: u32,
        candidate: Candidate<'_>,
        answer: &mut Answer,
    ) -> Result<(), DecodeError> {
        for part in candidate.content.and_then(|content| content.parts).into_iter().flatten() {
            self.part(index, part, answer)?;
        }
        if let Some(logprobs) = candidate.logprobs_result {
            answer.more_logprobs(index, logprobs.content());
        }
        let Some(state) = self.open(index) else { return Ok(()) };
        if let Some(native) = candidate.finish_reason {
            let ending = finish::ending(&native);
            // Words about what was filtered are for the reader; those about a clean end are not.
            state.explanation = candidate
                .finish_message
                .filter(|_| ending.reason == Some("content_filter"))
                .map(|words| words.to_string());
            state.ending = Some(ending);
        }
        if let Some(metadata) = candidate.grounding_metadata {
            let citations = metadata.citations();
            state.searches = state.searches.max(metadata.searches());
            if !citations.is_empty() {
                state.grounded = citations;
            }
        }
        if let Some(recited) = candidate.citation_metadata {
            recited.add_to(&mut state.recited);
        }
        Ok(())
    }

    fn part(&mut self, index: u32, part: Part<'_>, answer: &mut Answer) -> Result<(), DecodeError> {
        let signature = part.thought_signature.as_deref().filter(|signature| !signature.is_empty());
        let minted: Option<Detail<'static>> = if let Some(call) = part.function_call {
            let at = answer.open_call(
                index,
                call.id.as_deref().unwrap_or_default(),
                call.name.as_deref().unwrap_or_default(),
            );
            if let Some(args) = call.args.map(RawValue::get).filter(|args| *args != "null") {
                answer.call_arguments(index, at, &compact(args));
            }
            signature.and_then(|signature| {
                answer.call_id(index, at).map(|call_id| detail::of_call(signature, call_id))
            })
        } else if let Some(blob) = part.inline_data {
            self.blob(index, &blob, part.thought == Some(true), signature, answer)
        } else if part.tool_call.is_some() || part.tool_response.is_some() {
            server_part(part.tool_call, part.tool_response, signature)
        } else if let Some(code) = part.executable_code.or(part.code_execution_result) {
            if self.code.len() < CODE_MAX {
                self.code.push(code);
            }
            signature.map(|signature| detail::of_text(signature, 0))
        } else if part.thought == Some(true) {
            let thought = part.text.as_deref().unwrap_or_default();
            answer.reasoning(index, thought);
            signature.map(|signature| detail::of_thought(signature, thought))
        } else {
            let text = part.text.as_deref().unwrap_or_default();
            answer.text(index, text);
            self.keep(index, text);
            signature.map(|signature| detail::of_text(signature, text.chars().count() as u64))
        };
        minted.map_or(Ok(()), |minted| answer.detail(index, minted))
    }

    /// An image or a sound.
    fn blob(
        &mut self,
        index: u32,
        blob: &Blob<'_>,
        thought: bool,
        signature: Option<&str>,
        answer: &mut Answer,
    ) -> Option<Detail<'static>> {
        let mime = blob.mime_type.as_deref().unwrap_or("application/octet-stream");
        let data = blob.data.as_deref().unwrap_or_default();
        // What it drew while it thought is no answer.
        if thought || data.is_empty() {
            return signature.map(|signature| detail::of_text(signature, 0));
        }
        if mime.starts_with("audio/") {
            answer.audio(index, data);
            return signature.map(|signature| detail::of_text(signature, 0));
        }
        answer.image(index, mime, data);
        let state = self.open(index)?;
        state.images += 1;
        signature.map(|signature| detail::of_image(signature, state.images - 1))
    }

    /// Keeps text that citations may point into.
    fn keep(&mut self, index: u32, text: &str) {
        self.text_bytes += text.len();
        if self.text_bytes <= TEXT_BYTES_MAX
            && let Some(state) = self.open(index)
        {
            state.text.push_str(text);
        }
    }

    fn open(&mut self, index: u32) -> Option<&mut State> {
        let at = match self.known.iter().position(|state| state.index == index) {
            Some(at) => at,
            None if self.known.len() == CANDIDATES_MAX => return None,
            None => {
                self.known.push(State { index, ..State::default() });
                self.known.len() - 1
            }
        };
        self.known.get_mut(at)
    }

    /// The upstream said all: tells what goes last. True when every candidate finished.
    pub fn close(&mut self, answer: &mut Answer) -> bool {
        if !self.code.is_empty() {
            answer.extra("code_execution", Value::Array(std::mem::take(&mut self.code)));
        }
        for state in &mut self.known {
            let chars = answer.text_chars(state.index);
            for citation in state.grounded.drain(..).chain(state.recited.drain(..)) {
                answer.annotation(state.index, citation.annotation(&state.text, chars));
            }
            if let Some(words) = state.explanation.take() {
                answer.refusal(state.index, &words);
            }
            if let Some(ending) = &state.ending {
                answer.finish(state.index, ending.clone());
            }
        }
        !self.known.is_empty() && self.known.iter().all(|state| state.ending.is_some())
    }
}

/// A tool that Google ran itself: its call and its result go back as they came.
fn server_part(
    call: Option<&RawValue>,
    response: Option<&RawValue>,
    signature: Option<&str>,
) -> Option<Detail<'static>> {
    let (name, raw) = call.map(|raw| ("toolCall", raw)).or(response.map(|raw| ("toolResponse", raw)))?;
    let signed = signature.map(|signature| format!(",\"thoughtSignature\":{}", json!(signature)));
    let part = format!("{{\"{name}\":{raw}{}}}", signed.unwrap_or_default());
    Some(detail::of_part(signature, part))
}

/// JSON without white space between its tokens: whole replies come indented.
fn compact(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in written.chars() {
        if quoted || !letter.is_ascii_whitespace() {
            out.push(letter);
        }
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    out
}

fn unreadable() -> DecodeError {
    DecodeError::invalid("what it sent is not an answer of generateContent")
}
