//! Base64 of bytes as they come, so that a large image is never encoded in one go on a cell's thread, nor held twice.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Text under way.
#[derive(Debug, Default)]
pub struct Encoder {
    text: Vec<u8>,
    /// Bytes that do not make a group of three yet.
    rest: Vec<u8>,
}

/// Length of the base64 of this many bytes.
pub fn length(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

impl Encoder {
    /// Room for this many bytes, so that the text need not move as it grows.
    pub fn reserve(&mut self, bytes: usize) {
        self.text.reserve_exact(length(bytes));
    }

    /// Bytes that fit without moving the text.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.text.capacity() - self.text.len() >= length(bytes + self.rest.len())
    }

    /// Length that the text may have without being moved.
    #[cfg(test)]
    pub fn room(&self) -> usize {
        self.text.capacity()
    }

    /// Appends bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !self.rest.is_empty() && self.rest.len() < 3 {
            let Some((first, others)) = bytes.split_first() else { return };
            self.rest.push(*first);
            bytes = others;
        }
        if let [a, b, c] = *self.rest {
            self.text.extend_from_slice(&group(a, b, c));
            self.rest.clear();
        }
        let (groups, rest) = bytes.as_chunks::<3>();
        self.text.extend(groups.iter().flat_map(|[a, b, c]| group(*a, *b, *c)));
        self.rest.extend_from_slice(rest);
    }

    /// The text, padded.
    pub fn finish(mut self) -> String {
        match *self.rest {
            [a] => {
                let [first, second, ..] = group(a, 0, 0);
                self.text.extend_from_slice(&[first, second, b'=', b'=']);
            }
            [a, b] => {
                let [first, second, third, _] = group(a, b, 0);
                self.text.extend_from_slice(&[first, second, third, b'=']);
            }
            _ => {}
        }
        // All of it is of the alphabet.
        String::from_utf8(self.text).unwrap_or_default()
    }
}

fn group(a: u8, b: u8, c: u8) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, a, b, c]);
    // Six bits are always a place of the alphabet.
    [18, 12, 6, 0].map(|shift| ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(pieces: &[&[u8]]) -> String {
        let mut encoder = Encoder::default();
        pieces.iter().for_each(|piece| encoder.push(piece));
        encoder.finish()
    }

    #[test]
    fn the_examples_of_the_standard_come_out() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(&[bytes.as_bytes()]), text);
            assert_eq!(length(bytes.len()), text.len());
        }
        assert_eq!(encoded(&[&[0xfb, 0xff, 0xfe]]), "+//+");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_text(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9)) {
            let parts: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(encoded(&parts), encoded(&[&pieces.concat()]));
        }
    }
}
