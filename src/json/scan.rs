//! Reads JSON forwards, once, and builds nothing: the fast path beside serde.
//!
//! Every step gives `None` for what is not JSON, or not what was asked for, or beyond what is worth reading fast (nested
//! deeper than `DEPTH_MAX`). Then the caller has serde read it all again, so that what is accepted and what an error says
//! are serde's. What a step accepts serde accepts.

use std::borrow::Cow;

use super::run;

/// Arrays and objects in one another, within a value that is passed over.
const DEPTH_MAX: u32 = u128::BITS;

/// A place in a text.
#[derive(Debug)]
pub struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

/// What escapes a string has.
#[derive(Clone, Copy, Default)]
struct Escapes {
    /// Bytes that the string is shorter by once it is decoded.
    shrink: usize,
    /// One is half a character.
    surrogates: bool,
}

/// A string as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'t> {
    /// The string between its quotes.
    pub text: &'t str,
    /// Bytes that it is shorter by once it is decoded; 0 when it has no escapes.
    shrinks: usize,
    /// Halves of characters are in it, which may or may not belong together.
    surrogates: bool,
}

impl<'t> Written<'t> {
    /// The string itself if it is written without escapes: names, of which no one writes other ones.
    pub fn plain(&self) -> Option<&'t str> {
        (self.shrinks == 0).then_some(self.text)
    }

    /// The string itself; `None` when it is not Unicode (half a character).
    pub fn decode(&self) -> Option<Cow<'t, str>> {
        match self.plain() {
            Some(text) => Some(Cow::Borrowed(text)),
            None => serde_json::from_str(&format!("\"{}\"", self.text)).ok().map(Cow::Owned),
        }
    }

    /// Its bytes once it is decoded; `None` when it is not Unicode.
    pub fn length(&self) -> Option<usize> {
        if self.surrogates {
            self.decode().map(|text| text.len())
        } else {
            Some(self.text.len() - self.shrinks)
        }
    }
}

impl<'t> Cursor<'t> {
    /// At the start of a text.
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// Offset of the next byte that is read.
    pub fn at(&self) -> usize {
        self.at
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space, which is passed over.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            // All white space is below all that means something, so that most often this is one comparison.
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Takes this byte, after white space.
    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Nothing but white space is left.
    pub fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Reads an object; `each` reads the value of the member it is called with.
    pub fn object(&mut self, mut each: impl FnMut(&mut Self, Written<'t>) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.name()?;
            each(self, name)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Reads an array; `each` reads the element it is called for.
    pub fn array(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            each(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    /// Reads a name and its colon.
    fn name(&mut self) -> Option<Written<'t>> {
        let name = self.string()?;
        self.take(b':')?;
        Some(name)
    }

    /// Passes over a name and its colon.
    #[inline]
    fn pass_name(&mut self) -> Option<()> {
        self.take(b'"')?;
        self.pass_string()?;
        self.take(b':')
    }

    /// Reads a string.
    pub fn string(&mut self) -> Option<Written<'t>> {
        self.take(b'"')?;
        self.rest_of_string()
    }

    /// Reads a string after its first quote.
    fn rest_of_string(&mut self) -> Option<Written<'t>> {
        let start = self.at;
        let escapes = self.pass_string()?;
        let text = self.text.get(start..self.at - 1)?;
        Some(Written { text, shrinks: escapes.shrink, surrogates: escapes.surrogates })
    }

    /// Passes over a string after its first quote.
    #[inline]
    fn pass_string(&mut self) -> Option<Escapes> {
        self.at = run::end(self.text.as_bytes(), self.at);
        if self.byte()? == b'"' {
            self.at += 1;
            return Some(Escapes::default());
        }
        self.escapes()
    }

    /// Passes over the rest of a string, from its first byte on that is no plain text.
    fn escapes(&mut self) -> Option<Escapes> {
        let mut escapes = Escapes::default();
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => {
                    let (shorter, surrogate) = self.escape()?;
                    escapes.shrink += shorter;
                    escapes.surrogates |= surrogate;
                }
                _ => return None,
            }
            self.at = run::end(self.text.as_bytes(), self.at);
        }
        self.at += 1;
        Some(escapes)
    }

    /// Reads an escape: by how much it is longer than what it means, and whether it is half a character.
    fn escape(&mut self) -> Option<(usize, bool)> {
        let rest = self.text.as_bytes().get(self.at + 1..)?;
        let [kind, rest @ ..] = rest else { return None };
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 2;
                Some((1, false))
            }
            b'u' => {
                let code = rest.first_chunk::<4>()?.iter().try_fold(0, |code, digit| {
                    char::from(*digit).to_digit(16).map(|digit| code << 4 | digit)
                })?;
                self.at += 6;
                Some(match code {
                    0..0x80 => (5, false),
                    0x80..0x800 => (4, false),
                    0xd800..0xe000 => (1, true),
                    _ => (3, false),
                })
            }
            _ => None,
        }
    }

    /// Reads this word: `null`, `true`, `false`.
    fn word(&mut self, word: &str) -> Option<()> {
        if !self.text.as_bytes().get(self.at..)?.starts_with(word.as_bytes()) {
            return None;
        }
        self.at += word.len();
        Some(())
    }

    /// Reads `null`, if the next value is it.
    pub fn null(&mut self) -> Option<bool> {
        if self.peek()? != b'n' {
            return Some(false);
        }
        self.word("null").map(|()| true)
    }

    /// Reads a string or null.
    pub fn string_or_null(&mut self) -> Option<Option<Written<'t>>> {
        if self.null()? {
            return Some(None);
        }
        self.string().map(Some)
    }

    /// Reads a value of any kind: true unless it is null.
    pub fn given(&mut self) -> Option<bool> {
        if self.null()? {
            return Some(false);
        }
        self.skip().map(|()| true)
    }

    /// Reads digits: how many.
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// Reads a number.
    fn number(&mut self) -> Option<()> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.byte() == Some(b'0');
        match self.digits() {
            0 => return None,
            1 => {}
            _ if zero => return None,
            _ => {}
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return None;
            }
        }
        Some(())
    }

    /// Reads a whole number from 0 that is written as one.
    pub fn whole(&mut self) -> Option<u64> {
        self.peek()?;
        let start = self.at;
        self.number()?;
        self.text.get(start..self.at)?.parse().ok()
    }

    /// Passes over a value of any kind.
    pub fn skip(&mut self) -> Option<()> {
        // What is open, innermost in the lowest bit: 1 for an object.
        let (mut open, mut depth) = (0_u128, 0_u32);
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.pass_string()?;
                }
                byte @ (b'{' | b'[') => {
                    self.at += 1;
                    // Its close is two further in the table of characters.
                    if self.peek()? == byte + 2 {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return None;
                        }
                        depth += 1;
                        open = open << 1 | u128::from(byte == b'{');
                        if byte == b'{' {
                            self.pass_name()?;
                        }
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b'n' => self.word("null")?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                _ => return None,
            }
            loop {
                if depth == 0 {
                    return Some(());
                }
                match (self.peek()?, open & 1 == 1) {
                    (b',', in_object) => {
                        self.at += 1;
                        if in_object {
                            self.pass_name()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => self.at += 1,
                    _ => return None,
                }
                depth -= 1;
                open >>= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
