//! An item of a stream that is not complete yet: what of it was told already.

use super::output::{self, Item, Part};
use crate::wire::translate::Answer;

/// Parts of one item at most; what is beyond is told without knowing its place.
const PARTS_MAX: usize = 1024;
/// Bytes of arguments held back until their call is known.
const EARLY_BYTES_MAX: usize = 1024 * 1024;

/// An item.
#[derive(Debug, Default)]
pub struct Open {
    /// Its place in the output.
    pub place: Option<u64>,
    /// Its id; empty while it is not known.
    pub id: String,
    /// The call that it is, once that was told.
    pub call: Option<usize>,
    /// Some of its reasoning was told.
    pub reasoned: bool,
    /// It is complete.
    pub done: bool,
    argued: bool,
    early: String,
    parts: Vec<OpenPart>,
    spare: OpenPart,
}

/// A part of a message.
#[derive(Debug, Default)]
pub struct OpenPart {
    at: u64,
    /// Characters of the answer before it.
    pub base: u64,
    /// Some of its words were told.
    pub told: bool,
    /// Annotations that were told.
    pub annotations: usize,
}

impl Open {
    /// One of which nothing was told yet.
    pub fn new(place: Option<u64>, id: &str) -> Self {
        Self { place, id: id.to_owned(), ..Self::default() }
    }

    /// The part at a place, new if need be.
    pub fn part(&mut self, at: u64, answer: &Answer) -> &mut OpenPart {
        let found = match self.parts.iter().rposition(|part| part.at == at) {
            Some(found) => found,
            None if self.parts.len() >= PARTS_MAX => return &mut self.spare,
            None => {
                self.parts.push(OpenPart { at, base: answer.text_chars(0), ..OpenPart::default() });
                self.parts.len() - 1
            }
        };
        self.parts.get_mut(found).unwrap_or(&mut self.spare)
    }

    /// A part is complete: tells what was not told by its deltas.
    pub fn close_part(&mut self, at: u64, whole: &Part<'_>, answer: &mut Answer) {
        let part = self.part(at, answer);
        if !part.told {
            part.told = true;
            answer.text(0, whole.text.as_deref().unwrap_or(""));
            answer.refusal(0, whole.refusal.as_deref().unwrap_or(""));
            output::tell_logprobs(whole.logprobs, answer);
        }
        let (base, told) = (part.base, part.annotations);
        let annotations = whole.annotations();
        for one in annotations.get(told..).unwrap_or_default() {
            output::annotation(one, base, answer);
        }
        self.part(at, answer).annotations = told.max(annotations.len());
    }

    /// A message is complete.
    pub fn close_message(&mut self, item: &Item<'_>, answer: &mut Answer) {
        for (at, part) in (0..).zip(output::parts(item.content)) {
            self.close_part(at, &part, answer);
        }
    }

    /// A fragment of a call's arguments. The call may not be known yet: then it waits.
    pub fn argue(&mut self, fragment: &str, answer: &mut Answer) {
        self.argued |= !fragment.is_empty();
        match self.call {
            Some(call) => answer.call_arguments(0, call, fragment),
            None if self.early.len() + fragment.len() <= EARLY_BYTES_MAX => self.early.push_str(fragment),
            None => {}
        }
    }

    /// All arguments of a call: they count where no fragment came.
    pub fn argued_whole(&mut self, arguments: &str, answer: &mut Answer) {
        if !self.argued {
            self.argue(arguments, answer);
        }
    }

    /// A call is complete.
    pub fn close_call(&mut self, item: &Item<'_>, answer: &mut Answer) {
        let call = match self.call {
            Some(call) => call,
            None => {
                let call = output::open_call(item, answer);
                self.call = Some(call);
                let early = std::mem::take(&mut self.early);
                answer.call_arguments(0, call, &early);
                call
            }
        };
        if !std::mem::replace(&mut self.argued, true) {
            answer.call_arguments(0, call, &item.arguments());
        }
    }
}
