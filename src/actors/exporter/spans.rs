//! Spans that wait to be sent: bounded in number and, since some hold prompts and answers, in bytes.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Spans that wait at most; without content one is some 2 KB.
const SPANS_MAX: usize = 4_096;
/// Bytes of them.
const BYTES_MAX: usize = 32 << 20;

/// Spans that wait to be sent.
#[derive(Debug, Default)]
pub struct Spans {
    spans: VecDeque<String>,
    bytes: usize,
    /// When the first of them came, or the last parcel was taken.
    since: Option<Instant>,
}

impl Spans {
    /// Adds one; false, and it is gone, where there is no room.
    pub fn push(&mut self, span: String) -> bool {
        let bytes = self.bytes.saturating_add(span.len());
        if self.spans.len() >= SPANS_MAX || bytes > BYTES_MAX {
            return false;
        }
        if self.spans.is_empty() {
            self.since = Some(Instant::now());
        }
        self.bytes = bytes;
        self.spans.push_back(span);
        true
    }

    /// True while a small one would find room: nothing large is masked in vain.
    pub fn has_room(&self) -> bool {
        self.spans.len() < SPANS_MAX && self.bytes < BYTES_MAX
    }

    /// Takes the first ones: so many at most, and so many bytes, but one in any case.
    pub fn take(&mut self, spans_max: usize, bytes_max: usize) -> Vec<String> {
        let mut bytes = 0_usize;
        let fits = |span: &&String| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(span.len());
            is_first || bytes <= bytes_max
        };
        let count = self.spans.iter().take(spans_max).take_while(fits).count();
        let taken: Vec<String> = self.spans.drain(..count).collect();
        self.bytes = self.bytes.saturating_sub(taken.iter().map(String::len).sum());
        self.since = Some(Instant::now());
        taken
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when some wait, if any do.
    pub fn since(&self) -> Option<Instant> {
        self.since.filter(|_| !self.spans.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_bounded_by_number_and_bytes_and_leave_in_parcels() {
        let mut spans = Spans::default();
        assert!(spans.since().is_none());
        assert!((0..SPANS_MAX).all(|_| spans.has_room() && spans.push("a".to_owned())));
        assert!(!spans.has_room() && !spans.push("a".to_owned()));
        assert_eq!((spans.take(512, 9_999).len(), spans.len(), spans.bytes()), (512, 3_584, 3_584));
        assert_eq!(spans.take(9_999, 100).len(), 100);
        let mut spans = Spans::default();
        let large = "a".repeat(BYTES_MAX / 4);
        assert!((0..4).all(|_| spans.has_room() && spans.push(large.clone())));
        assert!(!spans.has_room() && !spans.push("a".to_owned()));
        // One goes in any case, and room comes back.
        assert_eq!((spans.take(512, 10).len(), spans.len()), (1, 3));
        assert!(spans.push(large) && spans.since().is_some());
        assert_eq!((spans.take(512, BYTES_MAX).len(), spans.bytes(), spans.since()), (4, 0, None));
    }
}
