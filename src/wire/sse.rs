//! Server-sent events, read from any split of the bytes.
//!
//! Lines end in LF, CRLF or CR; several `data:` lines join with a newline; comments, other fields and a leading
//! byte order mark are passed over. Invariants: the same events come out whatever the split; at most
//! [`EVENT_BYTES_MAX`] bytes are held; an event is a range of the buffer unless it had several `data:` lines.

use std::borrow::Cow;

/// Bytes of one event at most (image-producing models send megabytes in one event).
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes kept of JSON that stands in a stream outside of any event.
const STRAY_BYTES_MAX: usize = 1024 * 1024;

/// The event is larger than [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Reads events from bytes as they come.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Start of the line being read.
    line: usize,
    /// How far the current line was searched for its end.
    searched: usize,
    /// Ranges of the `data:` values of the event being read.
    data: Vec<(usize, usize)>,
    /// The last line ended in CR: a LF that follows belongs to it.
    skip_lf: bool,
    /// The first bytes have been checked for a byte order mark.
    started: bool,
    /// JSON outside of any event: from the first line that begins like it on, `None` beyond the bound.
    stray: Option<Vec<u8>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            line: 0,
            searched: 0,
            data: Vec::new(),
            skip_lf: false,
            started: false,
            stray: Some(Vec::new()),
        }
    }
}

impl Reader {
    /// JSON that stood outside of any event, once the stream is over: some servers write an error so when it
    /// comes after the first event, or answer with a document where a stream was asked for.
    pub fn take_stray(&mut self) -> Option<Vec<u8>> {
        self.stray.take().filter(|stray| !stray.is_empty())
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// [`TooLarge`] when one event grows beyond the bound.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        self.compact();
        if self.buffer.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLarge);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Forgets what was read, once no event is open.
    fn compact(&mut self) {
        let keep_from = self.data.first().map_or(self.line, |(start, _)| *start);
        if keep_from == 0 {
            return;
        }
        self.buffer.drain(..keep_from);
        self.line -= keep_from;
        self.searched -= keep_from.min(self.searched);
        for (start, end) in &mut self.data {
            *start -= keep_from;
            *end -= keep_from;
        }
    }

    /// The next whole event's data, if there is one.
    pub fn next_event(&mut self) -> Option<Cow<'_, [u8]>> {
        if !self.started && !self.start() {
            return None;
        }
        loop {
            let (end, next) = self.line_end()?;
            let line = self.line;
            self.line = next;
            self.searched = next;
            if end == line {
                if !self.data.is_empty() {
                    return Some(self.take_data());
                }
            } else {
                self.field(line, end);
            }
        }
    }

    /// At the end of the stream: the event that was never closed by a blank line, if any.
    pub fn finish(&mut self) -> Option<Cow<'_, [u8]>> {
        if !self.started && !self.start() {
            return None;
        }
        if self.line < self.buffer.len() {
            let (line, end) = (self.line, self.buffer.len());
            self.field(line, end);
            self.line = end;
            self.searched = end;
        }
        (!self.data.is_empty()).then(|| self.take_data())
    }

    /// Skips a byte order mark; false while too little is there to tell.
    fn start(&mut self) -> bool {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
            return false;
        }
        if self.buffer.starts_with(MARK) {
            self.line = MARK.len();
            self.searched = MARK.len();
        }
        self.started = true;
        true
    }

    /// End of the current line and start of the next.
    fn line_end(&mut self) -> Option<(usize, usize)> {
        if self.skip_lf {
            if *self.buffer.get(self.line)? == b'\n' {
                self.line += 1;
            }
            self.searched = self.searched.max(self.line);
            self.skip_lf = false;
        }
        let rest = self.buffer.get(self.searched..)?;
        let Some(found) = memchr::memchr2(b'\n', b'\r', rest) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        if rest.get(found) == Some(&b'\r') {
            match rest.get(found + 1) {
                Some(b'\n') => return Some((end, end + 2)),
                Some(_) => {}
                None => self.skip_lf = true,
            }
        }
        Some((end, end + 1))
    }

    /// Takes one line: only `data` counts.
    fn field(&mut self, line: usize, end: usize) {
        let Some(text) = self.buffer.get(line..end) else { return };
        let start = match text.strip_prefix(b"data") {
            Some([]) => end,
            Some([b':', b' ', ..]) => line + 6,
            Some([b':', ..]) => line + 5,
            _ => return keep_stray(&mut self.stray, text),
        };
        self.data.push((start, end));
    }

    /// The data of the event that just ended.
    fn take_data(&mut self) -> Cow<'_, [u8]> {
        if let [(start, end)] = *self.data.as_slice() {
            self.data.clear();
            return Cow::Borrowed(self.buffer.get(start..end).unwrap_or_default());
        }
        let ranges = std::mem::take(&mut self.data);
        let slices: Vec<&[u8]> =
            ranges.iter().map(|(start, end)| self.buffer.get(*start..*end).unwrap_or_default()).collect();
        Cow::Owned(slices.join(&b'\n'))
    }
}

/// Keeps a line that is no field, from the first on that begins like JSON.
fn keep_stray(stray: &mut Option<Vec<u8>>, line: &[u8]) {
    let Some(kept) = stray else { return };
    if kept.is_empty() && !matches!(line.first(), Some(b'{' | b'[')) {
        return;
    }
    if kept.len() + line.len() >= STRAY_BYTES_MAX {
        *stray = None;
        return;
    }
    kept.extend_from_slice(line);
    kept.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = Reader::default();
        let mut out = Vec::new();
        for piece in pieces {
            reader.push(piece).unwrap();
            while let Some(event) = reader.next_event() {
                out.push(String::from_utf8_lossy(&event).into_owned());
            }
        }
        out.extend(reader.finish().map(|event| String::from_utf8_lossy(&event).into_owned()));
        out
    }

    #[test]
    fn every_form_of_an_event_is_read() {
        for (text, expected) in [
            ("data: a\n\ndata:b\n\n", vec!["a", "b"]),
            ("\u{feff}data: a\r\n\r\n: note\r\n\r\ndata:  b\r\rdata", vec!["a", " b", ""]),
            ("event: x\nid: 1\ndata: a\ndata: b\nretry: 5\n\n", vec!["a\nb"]),
            ("database: no\ndata: tail", vec!["tail"]),
            ("\n\n: only a comment\n\n", vec![]),
            ("data: [DONE]\r\n", vec!["[DONE]"]),
            ("", vec![]),
        ] {
            assert_eq!(events(&[text.as_bytes()]), expected, "{text:?}");
        }
    }

    #[test]
    fn an_endless_line_is_capped() {
        let mut reader = Reader::default();
        let mut refused = false;
        for _ in 0..20 {
            refused |= reader.push(&vec![b'x'; 1024 * 1024]).is_err();
            assert!(reader.buffer.len() <= EVENT_BYTES_MAX);
            let _ = reader.next_event();
        }
        assert!(refused);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            text in "(data: ?[a-zé]{0,3}(\n|\r|\r\n)|: c(\n|\r\n)|event:x\n|\n|\r\n|\r|\u{feff}){0,12}",
            cuts in proptest::collection::vec(0_usize..80, 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(events(&pieces), events(&[bytes]));
            prop_assert_eq!(events(&single), events(&[bytes]));
        }
    }
}
