//! Events that are one JSON value per line, read from any split of the bytes.
//!
//! Lines end in LF or CRLF, empty ones are passed over; at most [`EVENT_BYTES_MAX`] bytes are held.

use super::sse::{EVENT_BYTES_MAX, TooLarge};

/// Reads lines from bytes as they come.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Start of the line being read.
    line: usize,
    /// How far it was searched for its end.
    searched: usize,
}

impl Reader {
    /// Takes more bytes.
    ///
    /// # Errors
    /// [`TooLarge`] when one line grows beyond the bound.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        self.buffer.drain(..self.line);
        self.searched -= self.line;
        self.line = 0;
        if self.buffer.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLarge);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line that is not empty, if there is one.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        loop {
            let rest = self.buffer.get(self.searched..)?;
            let Some(found) = memchr::memchr(b'\n', rest) else {
                self.searched = self.buffer.len();
                return None;
            };
            let (start, end) = (self.line, self.searched + found);
            self.line = end + 1;
            self.searched = self.line;
            if !self.buffer.get(start..end)?.trim_ascii().is_empty() {
                return self.buffer.get(start..end).map(<[u8]>::trim_ascii);
            }
        }
    }

    /// At the end of the stream: the line that was never ended, if any.
    pub fn finish(&mut self) -> Option<&[u8]> {
        let start = std::mem::replace(&mut self.line, self.buffer.len());
        self.searched = self.buffer.len();
        self.buffer.get(start..).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_the_same_whatever_the_split() {
        let bytes = b"{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}";
        for size in 1..=bytes.len() {
            let mut reader = Reader::default();
            let mut lines: Vec<Vec<u8>> = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece).unwrap();
                while let Some(line) = reader.next_line() {
                    lines.push(line.to_vec());
                }
            }
            lines.extend(reader.finish().map(<[u8]>::to_vec));
            assert_eq!(lines, [b"{\"a\":1}", b"{\"b\":2}", b"{\"c\":3}"], "{size}");
            assert_eq!(reader.finish(), None);
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_bound() {
        let mut reader = Reader::default();
        reader.push(&vec![b'x'; EVENT_BYTES_MAX]).unwrap();
        assert_eq!(reader.next_line(), None);
        assert_eq!(reader.push(b"x"), Err(TooLarge));
    }
}
