//! The rules: what they find in a text, and what stands there instead.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::builtin;

/// Patterns of an operator's own at most.
pub const PATTERNS_MAX: usize = 32;
/// Longest pattern, characters.
const PATTERN_CHARS_MAX: usize = 1_000;
/// Bytes that a compiled pattern may take.
const COMPILED_MAX: usize = 1 << 20;

/// What else must hold of a match: adds the parts of it that count.
pub(super) type Sift = fn(&str, Range<usize>, &mut Vec<Range<usize>>);

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: Box<str>,
    pub(super) regex: Regex,
    pub(super) sift: Sift,
    /// Say how long what was masked is.
    pub(super) measured: bool,
}

/// The rules of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

/// A part of a text that is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) range: Range<usize>,
    /// What stands there instead.
    pub(super) instead: String,
}

impl Rules {
    /// The built-in rules of these names, then an operator's own patterns by name. Names and patterns that are wrong are
    /// left out: the configuration has refused them.
    pub fn new<'a>(names: &[String], patterns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let built_in = names.iter().filter_map(|name| builtin::rule(name));
        let own = patterns.into_iter().filter_map(|(name, pattern)| {
            let regex = compile(pattern).ok()?;
            Some(Rule { name: name.into(), regex, sift: builtin::whole, measured: false })
        });
        Self(built_in.chain(own).collect())
    }

    /// True without any rule.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the rules find, in order and apart from each other. Where several meet the part is masked as one, under the
    /// name of the first.
    pub(super) fn find(&self, text: &str) -> Vec<Found> {
        let mut all: Vec<(Range<usize>, &Rule)> = Vec::new();
        let mut ranges = Vec::new();
        for rule in &self.0 {
            for found in rule.regex.find_iter(text).filter(|found| !found.is_empty()) {
                (rule.sift)(text, found.range(), &mut ranges);
            }
            all.extend(ranges.drain(..).map(|range| (range, rule)));
        }
        // The longest of those that begin together gives the name.
        all.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut merged: Vec<(Range<usize>, &Rule)> = Vec::with_capacity(all.len());
        for (range, rule) in all {
            match merged.last_mut() {
                Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push((range, rule)),
            }
        }
        merged.into_iter().map(|(range, rule)| rule.found(text, range)).collect()
    }
}

impl Rule {
    fn found(&self, text: &str, range: Range<usize>) -> Found {
        let length = text.get(range.clone()).map_or(0, |masked| masked.chars().count());
        let instead = if self.measured {
            format!("[redacted:{} {length} characters]", self.name)
        } else {
            format!("[redacted:{}]", self.name)
        };
        Found { range, instead }
    }
}

/// Checks a pattern of an operator's own.
///
/// # Errors
/// What is wrong with it, on one line.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.chars().count() > PATTERN_CHARS_MAX {
        return Err(format!("is longer than {PATTERN_CHARS_MAX} characters"));
    }
    let regex = compile(pattern).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "takes too much memory: repeat less".to_owned(),
        other => {
            // The last line says what is wrong; those before it draw where.
            let said = other.to_string();
            let last = said.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            format!("is no regular expression: {last}")
        }
    })?;
    if regex.is_match("") {
        return Err("matches nothing at all, too, so it would be found everywhere".to_owned());
    }
    Ok(())
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_checked_and_what_is_wrong_is_said_on_one_line() {
        for (pattern, said) in [
            ("EMP-[0-9]{6}", None),
            ("(?i)project\\s+x", None),
            ("(", Some("is no regular expression: unclosed group")),
            ("a*", Some("matches nothing at all")),
            ("(?:a{1000}){1000}", Some("takes too much memory")),
            ("(?=x)", Some("look-around")),
        ] {
            let checked = check_pattern(pattern).err();
            let fits =
                |said: &str| checked.as_deref().is_some_and(|why| why.contains(said) && !why.contains('\n'));
            assert!(said.map_or(checked.is_none(), fits), "{pattern}: {checked:?}");
        }
        assert!(check_pattern(&"x".repeat(1_001)).unwrap_err().contains("longer"));
    }

    #[test]
    fn what_several_rules_find_is_masked_once() {
        let own = [("first", "abcd"), ("second", "cdef"), ("third", "xyz")];
        let found = Rules::new(&[], own).find("_abcdef_xyz");
        let found: Vec<_> = found.into_iter().map(|found| (found.range, found.instead)).collect();
        assert_eq!(found, [(1..7, "[redacted:first]".to_owned()), (8..11, "[redacted:third]".to_owned())]);
    }
}
