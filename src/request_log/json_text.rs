//! The texts of a JSON document, found without reading it as a whole: it may be cut, or no JSON at all.

use std::borrow::Cow;
use std::ops::Range;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it is; of a string without its quotes.
    pub(super) range: Range<usize>,
    /// It is a string's inside.
    pub(super) quoted: bool,
}

/// Splits a document into the insides of its strings and what is between them.
pub(super) fn parts(text: &str) -> impl Iterator<Item = Part> {
    let (mut at, mut quoted) = (0, false);
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty() || quoted)?;
        let end = at + if quoted { inside(rest) } else { rest.find('"').unwrap_or(rest.len()) };
        let part = Part { range: at..end, quoted };
        at = end + 1;
        quoted = !quoted && end < text.len();
        Some(part)
    })
}

/// Bytes up to the quote that ends a string, or all of them.
fn inside(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    rest.len()
}

/// What the inside of a string says, its escapes undone; one that is broken or cut stands for itself.
pub(super) fn unescaped(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let (said, length) = rest.get(at..).and_then(escape).unwrap_or(('\\', 1));
        out.push(said);
        rest = rest.get(at + length..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character that an escape stands for, and the escape's length.
fn escape(text: &str) -> Option<(char, usize)> {
    let plain = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return unicode(text),
        other => char::from(*other).is_ascii_punctuation().then_some(char::from(*other))?,
    };
    Some((plain, 2))
}

/// The same of `\uXXXX`, or two of them.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    if let Some(said) = char::from_u32(first) {
        return Some((said, 6));
    }
    let low = unit(6).filter(|low| (0xDC00..0xE000).contains(low) && first < 0xDC00);
    match low {
        Some(low) => {
            char::from_u32(0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00)).map(|said| (said, 12))
        }
        // Half a pair says nothing.
        None => Some((char::REPLACEMENT_CHARACTER, 6)),
    }
}

/// A text as the inside of a string.
pub(super) fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_told_from_what_is_between_them() {
        let split = |text: &'static str| -> Vec<(&str, bool)> {
            parts(text).map(|part| (&text[part.range], part.quoted)).collect()
        };
        assert_eq!(
            split(r#"{"a":"b\"c",1}"#),
            [("{", false), ("a", true), (":", false), (r#"b\"c"#, true), (",1}", false)]
        );
        assert_eq!(split(r#"["cut \"#), [("[", false), (r"cut \", true)]);
        assert_eq!(split(r#""""#), [("", false), ("", true)]);
        assert_eq!(split("no quotes"), [("no quotes", false)]);
        assert_eq!(split(""), []);
        assert_eq!(split(r#"""#), [("", false), ("", true)]);
    }

    #[test]
    fn escapes_are_undone_and_broken_ones_stay() {
        for (inside, said) in [
            (r"a\u0040b", "a@b"),
            (r#"\"\\\/\n"#, "\"\\/\n"),
            (r"\ud83d\ude00!", "😀!"),
            (r"\ud83d!", "\u{fffd}!"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"cut \u00", r"cut \u00"),
            (r"cut \", r"cut \"),
            (r"odd \q \u0040 x", r"odd \q @ x"),
        ] {
            assert_eq!(unescaped(inside), said, "{inside}");
        }
        assert_eq!(escaped("a\"\n"), r#"a\"\n"#);
    }
}
