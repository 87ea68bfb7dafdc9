//! One thing wrong with the configuration, with its place: all of them are reported at once.

use std::fmt;

/// What is wrong, where, and what to do. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the offending key, e.g. `providers.my-vllm.base_url`; a file name for problems of a whole file.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// The candidate closest to `asked`, if it is close enough to be what was meant.
pub fn near_miss<'a>(asked: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const CLOSE_ENOUGH: f64 = 0.75;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&asked.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= CLOSE_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_close_candidate_is_suggested() {
        for (asked, expected) in
            [("servr", Some("server")), ("LOG", Some("log")), ("zzz", None), ("provider", Some("providers"))]
        {
            assert_eq!(near_miss(asked, ["server", "log", "providers"]), expected, "{asked}");
        }
    }
}
