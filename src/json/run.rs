//! How many bytes of a JSON string come before the next that means something: a quote, a backslash, a control character.
//!
//! Names and tokens of a stream are a few bytes long, prompts a megabyte: words of eight bytes find the end of the short
//! ones at once, and whole lines of the cache, which the compiler tests with wide instructions, lead through the long ones.

/// Bytes in a word.
const WORD: usize = 8;
/// Bytes that are tested together once a string is long.
const BLOCK: usize = 64;
/// Words that are looked at before blocks are: a longer string is worth them.
const SHORT: usize = 6;

/// A word of the same byte.
const fn each(byte: u8) -> u64 {
    u64::MAX / 255 * byte as u64
}

/// Where, from `at` on, the first byte is that ends a string, begins an escape or may not stand in one; the end if none is.
#[inline]
pub fn end(text: &[u8], mut at: usize) -> usize {
    for _ in 0..SHORT {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) else { return last(text, at) };
        if let Some(found) = in_word(word) {
            return at + found;
        }
        at += WORD;
    }
    long(text, at)
}

/// [`end`] of a string that is long.
#[inline(never)]
fn long(text: &[u8], mut at: usize) -> usize {
    let (blocks, _) = text.get(at..).unwrap_or_default().as_chunks::<BLOCK>();
    at += BLOCK * blocks.iter().take_while(|block| is_plain(block)).count();
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) {
        if let Some(found) = in_word(word) {
            return at + found;
        }
        at += WORD;
    }
    last(text, at)
}

/// [`end`] where less than a word is left.
#[cold]
fn last(text: &[u8], at: usize) -> usize {
    at + text.get(at..).unwrap_or_default().iter().take_while(|byte| !stops(**byte)).count()
}

/// True for a byte that is no text of a string.
fn stops(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || byte < b' '
}

/// Where the first byte is that stops, if one does. The lowest bit that is set tells exactly: only above it may a carry lie.
#[inline]
fn in_word(word: &[u8; WORD]) -> Option<usize> {
    let word = u64::from_le_bytes(*word);
    let control = word.wrapping_sub(each(b' ')) & !word;
    let quote = word ^ each(b'"');
    let quote = quote.wrapping_sub(each(1)) & !quote;
    let backslash = word ^ each(b'\\');
    let backslash = backslash.wrapping_sub(each(1)) & !backslash;
    let found = (control | quote | backslash) & each(0x80);
    (found != 0).then(|| (found.trailing_zeros() / u8::BITS) as usize)
}

/// True when no byte of the block stops; without a branch, so that it is done many bytes at a time.
fn is_plain(block: &[u8; BLOCK]) -> bool {
    !block.iter().fold(false, |found, byte| found | stops(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_stops_is_found_wherever_it_is() {
        for stop in (0..b' ').chain([b'"', b'\\']) {
            for length_all in 0..200 {
                let plain: Vec<u8> =
                    (0..length_all).map(|at| [b' ', b'a', 0x7f, 0x80, 0xff, b'!'][at % 6]).collect();
                assert_eq!(end(&plain, 0), length_all);
                let mut stopped = plain.clone();
                for at in (0..length_all).rev() {
                    stopped[at] = stop;
                    assert_eq!(end(&stopped, 0), at, "{stop} of {length_all}");
                    assert_eq!(end(&stopped, at / 2), at, "{stop} of {length_all}");
                }
            }
        }
    }
}
