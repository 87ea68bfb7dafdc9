//! Reading rows, one at a time, in bounded memory.
//!
//! Invariants: every record knows the line it begins on; no record is longer than [`RECORD_BYTES_MAX`]; a file that
//! ends within a quoted cell is an error and not a shorter file.

use std::fmt;
use std::io::{BufRead, Read as _};

/// Bytes of one record at most.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// What some programs put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Line it begins on, from 1.
    pub line: usize,
    /// Its cells, without their quotes.
    pub cells: Vec<String>,
}

/// Why a file cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvError {
    /// Line, from 1.
    pub line: usize,
    /// Cell of the record, from 1; 0 when no single one is to blame.
    pub cell: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if self.cell > 0 {
            write!(f, ", cell {}", self.cell)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for CsvError {}

/// Reads records; cells are parted by commas, or by tabs where the first line holds a tab, no comma and no quote.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: usize,
    separator: Option<char>,
}

impl<R: BufRead> Reader<R> {
    /// From the start of a file.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, separator: None }
    }

    /// The next record that is not a blank line; `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read, is not UTF-8, or is not of this form.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Record>, CsvError> {
        loop {
            let Some(mut text) = self.physical_line(0)? else { return Ok(None) };
            if text.trim_end_matches(['\n', '\r']).is_empty() {
                continue;
            }
            let line = self.line;
            let separator = *self.separator.get_or_insert_with(|| {
                if text.contains('\t') && !text.contains([',', '\"']) { '\t' } else { ',' }
            });
            loop {
                match split(&text, separator) {
                    Split::Whole(cells) => return Ok(Some(Record { line, cells })),
                    Split::Wrong { cell, message } => {
                        return Err(CsvError { line, cell, message: message.to_owned() });
                    }
                    Split::Open { cell } => self.close(&mut text, line, cell)?,
                }
            }
        }
    }

    /// Adds the lines up to the one that closes a quoted cell: within it quotes come in pairs, so that one with an
    /// odd number of them ends it. No line is looked at more than once, however many there are.
    fn close(&mut self, text: &mut String, line: usize, cell: usize) -> Result<(), CsvError> {
        loop {
            let Some(more) = self.physical_line(text.len())? else {
                let message = "the file ends within a quoted cell".to_owned();
                return Err(CsvError { line, cell, message });
            };
            text.push_str(&more);
            if more.matches('"').count() % 2 == 1 {
                return Ok(());
            }
        }
    }

    /// The next line as it stands, with its end; `None` at the end of the file.
    ///
    /// # Errors
    /// The input cannot be read, is not UTF-8, or the line is too long.
    pub fn line(&mut self) -> Result<Option<String>, CsvError> {
        self.physical_line(0)
    }

    /// Lines read so far.
    pub fn lines_read(&self) -> usize {
        self.line
    }

    /// A line with its end; `before` bytes of its record came already.
    fn physical_line(&mut self, before: usize) -> Result<Option<String>, CsvError> {
        let wrong = |line: usize, message: String| CsvError { line, cell: 0, message };
        let room = RECORD_BYTES_MAX.saturating_sub(before);
        let mut bytes = Vec::new();
        let limit = u64::try_from(room).unwrap_or(u64::MAX).saturating_add(1);
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut bytes);
        read.map_err(|error| wrong(self.line + 1, format!("cannot be read: {error}")))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if bytes.len() > room {
            return Err(wrong(self.line, format!("a record of more than {RECORD_BYTES_MAX} bytes")));
        }
        if self.line == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        String::from_utf8(bytes).map(Some).map_err(|_| wrong(self.line, "not UTF-8".to_owned()))
    }
}

/// What became of a text that may be a record.
enum Split {
    Whole(Vec<String>),
    /// A quoted cell goes on behind it.
    Open {
        cell: usize,
    },
    Wrong {
        cell: usize,
        message: &'static str,
    },
}

fn split(text: &str, separator: char) -> Split {
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        let cell = cells.len() + 1;
        if let Some(quoted) = rest.strip_prefix('"') {
            let Some((content, behind)) = unquote(quoted) else { return Split::Open { cell } };
            cells.push(content);
            match behind.strip_prefix(separator) {
                Some(next) => rest = next,
                None if behind.is_empty() => return Split::Whole(cells),
                None => return Split::Wrong { cell, message: "something follows a closing quote" },
            }
        } else {
            match rest.split_once(separator) {
                Some((content, next)) => {
                    cells.push(content.to_owned());
                    rest = next;
                }
                None => {
                    cells.push(rest.to_owned());
                    return Split::Whole(cells);
                }
            }
        }
    }
}

/// What stands before the closing quote, and what behind; `None` when it never closes.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut content, mut rest) = (String::new(), text);
    loop {
        let (before, behind) = rest.split_once('"')?;
        content.push_str(before);
        match behind.strip_prefix('"') {
            Some(next) => {
                content.push('"');
                rest = next;
            }
            None => return Some((content, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<(usize, Vec<String>)>, CsvError> {
        let mut reader = Reader::new(text.as_bytes());
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push((record.line, record.cells));
        }
        Ok(records)
    }

    #[test]
    fn records_are_read_whatever_their_line_ends_quotes_and_separators() {
        for (text, expected) in [
            ("", vec![]),
            ("\n\r\n", vec![]),
            ("a,b\n1,2", vec![(1, vec!["a", "b"]), (2, vec!["1", "2"])]),
            ("\u{feff}a\r\n\r\nb\r\n", vec![(1, vec!["a"]), (3, vec!["b"])]),
            ("\"a,\"\"b\"\"\",,\"\"\n", vec![(1, vec!["a,\"b\"", "", ""])]),
            ("\"two\r\nlines\",x\ny,z\n", vec![(1, vec!["two\r\nlines", "x"]), (3, vec!["y", "z"])]),
            ("a\tb\n1,5\t2\n", vec![(1, vec!["a", "b"]), (2, vec!["1,5", "2"])]),
            ("a \"b\",c\n", vec![(1, vec!["a \"b\"", "c"])]),
        ] {
            let owned = |cells: Vec<&str>| cells.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let expected: Vec<_> = expected.into_iter().map(|(line, cells)| (line, owned(cells))).collect();
            assert_eq!(all(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_cell() {
        for (text, line, cell, says) in [
            ("a,b\n1,\"2", 2, 2, "ends within a quoted cell"),
            ("a\n\"1\"2\n", 2, 1, "follows a closing quote"),
            ("a\n\"1\n2\" 3,4\n", 2, 1, "follows a closing quote"),
        ] {
            let error = all(text).unwrap_err();
            assert_eq!((error.line, error.cell), (line, cell), "{text:?}: {error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        let bad = Reader::new(&b"a\n\xff\n"[..]);
        let mut bad = bad;
        assert!(bad.next().unwrap().is_some());
        assert_eq!(bad.next().unwrap_err().to_string(), "line 2: not UTF-8");
        let long = "x".repeat(RECORD_BYTES_MAX + 1);
        assert!(all(&long).unwrap_err().message.contains("more than"));
        let open = format!("\"{}", "x\n".repeat(RECORD_BYTES_MAX));
        assert!(all(&open).unwrap_err().message.contains("more than"));
    }
}
