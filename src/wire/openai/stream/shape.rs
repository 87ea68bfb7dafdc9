//! The fastest path of a stream: events that differ from the one before in their text alone.
//!
//! Providers write the events of a stream in one way: the same members in the same order, the same id, and a piece of text.
//! What was found out about such an event (that it passes as it is, what becomes of its `model` and its `usage`, that it tells
//! no usage and no error) holds for the next one, too, where the bytes around the text are the same and what stands between
//! them is a JSON string. So neither is looked into again.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::scan::Cursor;

/// Events in a row whose bytes are kept for nothing, at most: some providers put something random into each.
const TRIES: u8 = 8;
/// Bytes around a text that are kept at most.
const BYTES_MAX: usize = 4 * 1024;

/// The bytes around the text of the last event that could be kept, upstream's and the client's.
#[derive(Debug, Default)]
pub struct Shape {
    before: String,
    after: String,
    out_before: Vec<u8>,
    out_after: Vec<u8>,
    /// Events kept since one of them was of use.
    tries: u8,
}

impl Shape {
    /// One that keeps nothing.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { tries: TRIES, ..Self::default() }
    }

    /// True when there is an event to compare others with.
    #[cfg(test)]
    pub fn is_known(&self) -> bool {
        !self.before.is_empty()
    }

    /// Keeps an event: `text` has its `choices` at `choices`, the text of the answer at `place` within them, and is passed on
    /// as `out`.
    pub fn keep(&mut self, text: &str, choices: Range<usize>, place: Range<usize>, out: &[u8]) {
        if self.tries == TRIES {
            return;
        }
        self.tries += 1;
        self.before.clear();
        if text.len().saturating_sub(place.len()) > BYTES_MAX {
            return;
        }
        let Some(written) = text.get(choices.clone()) else { return };
        let mut found = memchr::memmem::find_iter(out, written.as_bytes());
        // Where the same bytes stand twice, it cannot be told which are the choices.
        let (Some(at), None) = (found.next(), found.next()) else { return };
        let within = choices.start + place.start..choices.start + place.end;
        let parts = (
            text.get(..within.start),
            text.get(within.end..),
            out.get(..at + place.start),
            out.get(at + place.end..),
        );
        let (Some(before), Some(after), Some(out_before), Some(out_after)) = parts else { return };
        self.after.clear();
        self.after.push_str(after);
        self.out_before.clear();
        self.out_before.extend_from_slice(out_before);
        self.out_after.clear();
        self.out_after.extend_from_slice(out_after);
        self.before.push_str(before);
    }

    /// Passes an event on if it differs from the one kept in its text alone, which is given back.
    pub fn pass<'t>(&mut self, text: &'t str, out: &mut Vec<u8>) -> Option<Cow<'t, str>> {
        if self.before.is_empty() {
            return None;
        }
        let raw = text.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        // With the quotes that the bytes around it end and begin with.
        let start = self.before.len().checked_sub(1)?;
        let mut cursor = Cursor::new(text.get(start..start + raw.len() + 2)?);
        let said = cursor.string()?.decode()?;
        cursor.end()?;
        self.tries = 0;
        out.reserve(self.out_before.len() + raw.len() + self.out_after.len());
        out.extend_from_slice(&self.out_before);
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(&self.out_after);
        Some(said)
    }
}
