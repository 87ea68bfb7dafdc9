//! The rules that are built in. Each is written for what it must find; README.md says what it does not.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::rules::{Rule, Sift};

/// Their names, in the order of the reference.
pub const BUILT_IN: [&str; 7] = ["email", "card", "api_key", "gateway_key", "bearer", "data_url", "base64"];

/// Digits of a card number.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// From here on text in base64 is taken for a file.
const BASE64_MIN: usize = 512;
/// A bearer token without a digit is a word until it is this long.
const TOKEN_WORD_MAX: usize = 32;

/// Tokens by what vendors begin them with, JSON web tokens, private keys in PEM.
const API_KEY: &str = concat!(
    r"\b(?:sk|rk|pk|ak|gsk|xai|pplx|r8|nvapi|fw|key|tgp_v1|csk)[-_][A-Za-z0-9_-]{16,}",
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}",
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}|\bya29\.[0-9A-Za-z_-]{20,}",
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\b(?:hf|npm|dop_v1|shpat)_[A-Za-z0-9]{20,}|\bpypi-[A-Za-z0-9_-]{20,}",
    r"|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
);

/// What each rule looks for, what must hold of it, and whether its length is told.
const TABLE: [(&str, &str, Sift, bool); 7] = [
    ("email", r"[\p{L}\p{N}._%+-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.)+[\p{L}]{2,63}", whole, false),
    ("card", r"[0-9](?:[ -]?[0-9]){12,}", cards, false),
    ("api_key", API_KEY, whole, false),
    ("gateway_key", r"lgw_[0-9A-Za-z]{8,}", whole, false),
    ("bearer", r"(?i)\b(?:bearer|basic)[ \t]+[A-Za-z0-9._~+/=-]{16,}", token, false),
    ("data_url", r"(?i)\bdata:[a-z0-9.+/-]*(?:;[a-z0-9.+=_-]*)*;base64,[a-z0-9+/=_%-]*", whole, true),
    ("base64", r"[A-Za-z0-9+/_-]{128,}={0,2}", file, true),
];

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |(name, pattern, sift, measured): &(&str, &str, Sift, bool)| {
        // A test compiles all of them.
        let regex = Regex::new(pattern).ok()?;
        Some(Rule { name: (*name).into(), regex, sift: *sift, measured: *measured })
    };
    TABLE.iter().filter_map(rule).collect()
});

/// The rule of this name.
pub(super) fn rule(name: &str) -> Option<Rule> {
    RULES.iter().find(|rule| &*rule.name == name).cloned()
}

/// All of a match counts.
pub(super) fn whole(_: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    found.push(range);
}

/// Text in base64 that is long enough to be a file.
fn file(_: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    if range.len() >= BASE64_MIN {
        found.push(range);
    }
}

/// A token has a digit, or is longer than words are: prose speaks of bearers, too.
fn token(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let said = text.get(range.clone()).unwrap_or_default();
    let token = said.split_whitespace().nth(1).unwrap_or_default();
    if token.bytes().any(|byte| byte.is_ascii_digit()) || token.len() > TOKEN_WORD_MAX {
        found.push(range);
    }
}

/// Card numbers among digits that may be grouped by blanks and hyphens: from the beginning of a group to the end of one,
/// so that a number beside one does not hide it.
fn cards(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = text.as_bytes();
    let digits: Vec<usize> = range.filter(|at| bytes.get(*at).is_some_and(u8::is_ascii_digit)).collect();
    let begins = |at: usize| !is_word(at.checked_sub(1).and_then(|before| bytes.get(before)));
    let ends = |at: usize| !is_word(bytes.get(at + 1));
    let mut from = 0;
    while let Some(start) = digits.get(from).copied() {
        let window = |length: &usize| digits.get(from..from + length);
        let fits = |window: &&[usize]| {
            let values = window.iter().filter_map(|at| bytes.get(*at)).map(|byte| u32::from(byte - b'0'));
            window.last().is_some_and(|last| ends(*last)) && is_card(&values.collect::<Vec<_>>())
        };
        let longest =
            CARD_DIGITS.rev().filter_map(|length| window(&length)).filter(|_| begins(start)).find(fits);
        match longest {
            Some(window) => {
                found.push(start..window.last().map_or(start, |last| last + 1));
                from += window.len();
            }
            None => from += 1,
        }
    }
}

/// True for digits that an issuer of cards gives out: the first from 2 to 6, and Luhn's sum.
fn is_card(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    matches!(digits.first(), Some(2..=6)) && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::*;

    fn masked(name: &str, text: &str) -> String {
        let found = Rules::new(&[name.to_owned()], []).find(text);
        let mut out = String::new();
        let mut at = 0;
        for part in found {
            out += &text[at..part.range.start];
            out += &part.instead;
            at = part.range.end;
        }
        out + &text[at..]
    }

    #[test]
    fn every_rule_of_the_table_compiles_and_is_listed() {
        let names: Vec<&str> = RULES.iter().map(|rule| &*rule.name).collect();
        assert_eq!(names, BUILT_IN);
    }

    #[test]
    fn each_rule_finds_what_it_is_for_and_leaves_what_only_looks_like_it() {
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----";
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        let data = format!("data:image/png;base64,{}", "iVBOR+/0".repeat(10));
        let file = "QUJD".repeat(128);
        for (name, text, expected) in [
            ("email", "to a.b+c@x-y.example.org, ok", "to [redacted:email], ok"),
            ("email", "jürgen@müller.de!", "[redacted:email]!"),
            ("email", "at @home or a@b, v1@2", "at @home or a@b, v1@2"),
            ("card", "pay 4111 1111-1111 1111 now", "pay [redacted:card] now"),
            ("card", "1 4111111111111111 22", "1 [redacted:card] 22"),
            ("card", "378282246310005,6011111111111117", "[redacted:card],[redacted:card]"),
            (
                "card",
                "4111111111111112 1700000000000 a4111111111111111",
                "4111111111111112 1700000000000 a4111111111111111",
            ),
            ("api_key", "sk-proj-abcdefghijklmnop12 end", "[redacted:api_key] end"),
            ("api_key", "AKIAIOSFODNN7EXAMPLE", "[redacted:api_key]"),
            (
                "api_key",
                "ask-me-about-it, sk-short, risk-assessment-of-everything",
                "ask-me-about-it, sk-short, risk-assessment-of-everything",
            ),
            ("api_key", jwt, "[redacted:api_key]"),
            ("api_key", pem, "[redacted:api_key]"),
            ("gateway_key", "lgw_0123456789abcdef", "[redacted:gateway_key]"),
            ("bearer", "authorization: Bearer abc.def-0123456789~x", "authorization: [redacted:bearer]"),
            (
                "bearer",
                "a bearer responsibilitiesandduties of it",
                "a bearer responsibilitiesandduties of it",
            ),
            ("data_url", &format!("see {data}."), "see [redacted:data_url 102 characters]."),
            ("data_url", "data: base64, data:text/plain,hi", "data: base64, data:text/plain,hi"),
            (
                "base64",
                &format!("{file}== {}", "a".repeat(511)),
                &format!("[redacted:base64 514 characters] {}", "a".repeat(511)),
            ),
        ] {
            assert_eq!(masked(name, text), expected, "{name}: {text}");
        }
    }
}
