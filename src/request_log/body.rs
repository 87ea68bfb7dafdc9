//! A body as it is kept: masked string by string, then cut.

use super::events;
use super::json_text::{escaped, parts, unescaped};
use super::rules::{Found, Rules};

/// Bytes beyond the bound that the rules look at, so that they know what is cut in half by it.
pub const MARGIN: usize = 4096;

/// A body as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its text.
    pub body: String,
    /// There was more of it.
    pub truncated: bool,
    /// Parts that were masked.
    pub redacted: u32,
}

/// What is kept of a body: `raw` is its beginning, [`MARGIN`] more than `max` where there was so much, and `length` how
/// long it was. At most `max` bytes are kept; of a stream whole events.
pub fn keep(raw: &[u8], length: usize, max: usize, rules: &Rules) -> Kept {
    let text = String::from_utf8_lossy(whole_characters(raw));
    let mut truncated = length > max;
    let limit = text.floor_char_boundary(max);
    let stream = events::masked(&text, limit, truncated, rules);
    let is_stream = stream.is_some();
    let (text, limit, before) = match stream {
        Some(masked) => (masked.text, masked.limit, masked.count),
        None => (text.into_owned(), limit, 0),
    };
    let (mut body, count) = masked(&text, limit, rules);
    if body.len() > max {
        // What stands in place of something short is longer.
        truncated = true;
        body.truncate(body.floor_char_boundary(max));
        if is_stream {
            body.truncate(body.rfind("\n\n").map_or(0, |end| end + 2));
        }
    }
    Kept { body, truncated, redacted: before.saturating_add(count) }
}

/// Without the beginning of a character at the end, which says only that there was more.
fn whole_characters(raw: &[u8]) -> &[u8] {
    match std::str::from_utf8(raw) {
        Err(error) if error.error_len().is_none() => raw.get(..error.valid_up_to()).unwrap_or(raw),
        _ => raw,
    }
}

/// The first `limit` bytes of a document, masked, and how many parts were.
fn masked(text: &str, limit: usize, rules: &Rules) -> (String, u32) {
    let mut out = String::with_capacity(limit);
    let mut count = 0_u32;
    for part in parts(text).take_while(|part| part.range.start <= limit) {
        let given = text.get(part.range.clone()).unwrap_or_default();
        let within = limit.saturating_sub(part.range.start).min(given.len());
        let kept = given.get(..within).unwrap_or_default();
        if part.quoted {
            out.push('"');
        }
        let said = if part.quoted { unescaped(given) } else { given.into() };
        let found = rules.find(&said);
        if found.is_empty() {
            out.push_str(kept);
        } else {
            let limit = if within == given.len() { said.len() } else { unescaped(kept).len() };
            let limit = if part.quoted { limit } else { within };
            let (replaced, replacements) = replace(&said, limit, found);
            out.push_str(&if part.quoted { escaped(&replaced) } else { replaced });
            count = count.saturating_add(replacements);
        }
        if part.quoted && part.range.end < limit.min(text.len()) {
            out.push('"');
        }
    }
    (out, count)
}

/// The first `limit` bytes of a text with what was found replaced. What begins before the limit is replaced as a whole.
fn replace(text: &str, limit: usize, found: Vec<Found>) -> (String, u32) {
    let (mut out, mut at, mut count) = (String::with_capacity(limit), 0, 0);
    for Found { range, instead } in found.into_iter().take_while(|found| found.range.start < limit) {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&instead);
        at = range.end;
        count += 1;
    }
    if at < limit {
        out.push_str(text.get(at..text.floor_char_boundary(limit)).unwrap_or_default());
    }
    (out, count)
}

#[cfg(test)]
mod tests {
    use super::super::BUILT_IN;
    use super::*;

    fn rules() -> Rules {
        let names: Vec<String> = BUILT_IN.iter().map(|name| (*name).to_owned()).collect();
        Rules::new(&names, [("staff", "EMP-[0-9]{4}")])
    }

    fn kept(raw: &str, max: usize) -> Kept {
        keep(&raw.as_bytes()[..raw.len().min(max + MARGIN)], raw.len(), max, &rules())
    }

    #[test]
    fn strings_are_masked_across_their_escapes_and_the_rest_stays_byte_for_byte() {
        for (raw, body, redacted) in [
            (r#"{ "a" : "plain \u00e9", "n": 1.50 }"#, r#"{ "a" : "plain \u00e9", "n": 1.50 }"#, 0),
            (r#"{"a":"x\u0040y.org\n","b@c.de":1}"#, r#"{"a":"[redacted:email]\n","[redacted:email]":1}"#, 2),
            (r#"{"card":4111111111111111}"#, r#"{"card":[redacted:card]}"#, 1),
            (r#"{"arguments":"{\"to\":\"a@b.de\"}"}"#, r#"{"arguments":"{\"to\":\"[redacted:email]\"}"}"#, 1),
            (r#"{"a":"odd \q a@b.de"}"#, r#"{"a":"odd \\q [redacted:email]"}"#, 1),
            ("no JSON: EMP-1234 \"x", "no JSON: [redacted:staff] \"x", 1),
            ("", "", 0),
        ] {
            let expected = Kept { body: body.to_owned(), truncated: false, redacted };
            assert_eq!(kept(raw, 10_000), expected, "{raw}");
        }
        assert_eq!(keep(b"\xff\"a@b.de\"", 9, 99, &rules()).body, "\u{fffd}\"[redacted:email]\"");
    }

    #[test]
    fn what_the_bound_would_cut_in_half_is_masked_whole() {
        let raw = r#"{"text":"see x\u0040example.org and more"}"#;
        for max in 0..raw.len() {
            let kept = kept(raw, max);
            assert!(kept.truncated && kept.body.len() <= max, "{max}: {kept:?}");
            let leaks = ["x\\", "x@", "exampl", ".org"].iter().any(|half| kept.body.contains(half));
            assert!(!leaks, "{max}: {kept:?}");
        }
        let emoji = "\"😀😀\"";
        assert_eq!(kept(emoji, 6).body, "\"😀");
        assert_eq!(kept(emoji, emoji.len()), Kept { body: emoji.to_owned(), ..Kept::default() });
    }

    #[test]
    fn a_file_that_reaches_beyond_the_bound_is_masked_and_nothing_after_it_is_lost_from_sight() {
        let raw = format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "A".repeat(20_000));
        let kept = kept(&raw, 1_000);
        assert!(kept.body.starts_with(r#"{"url":"[redacted:data_url "#), "{kept:?}");
        assert_eq!((kept.truncated, kept.redacted), (true, 1));
    }
}
