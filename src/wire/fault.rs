//! What went wrong upstream, as far as the wire can tell. Turned into an [`Error`] for the client here too.

use std::time::Duration;

use crate::error::Error;

/// An upstream's refusal or failure, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status; for an error inside a 200 the status that it names itself, else 0.
    pub status: u16,
    /// The upstream's words.
    pub message: String,
    /// `code`, if given.
    pub code: Option<String>,
    /// `param`, if given.
    pub param: Option<String>,
    /// `Retry-After` or its kin.
    pub retry_after: Option<Duration>,
}

/// Longest message passed on, characters.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// Codes by which vendors say with a 429 that an account is out of credit: not a limit that passes by waiting.
const OUT_OF_CREDIT: [&str; 3] = ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"];

impl Fault {
    /// The account is out of credit.
    fn is_out_of_credit(&self) -> bool {
        self.status == 429 && self.code.as_deref().is_some_and(|code| OUT_OF_CREDIT.contains(&code))
    }

    /// The error a client sees when this upstream was the last one tried.
    pub fn into_error(self, provider: &str) -> Error {
        let message = presentable(&self.message, self.status);
        match self.status {
            _ if self.is_out_of_credit() => Error::UpstreamAuth(format!(
                "{provider} says that the gateway's account is out of credit: {message}"
            )),
            401..=403 => Error::UpstreamAuth(format!(
                "{provider} refused the gateway's credential or account (HTTP {}): {message}",
                self.status
            )),
            429 => Error::UpstreamRateLimited {
                message: format!("{provider} limits the gateway's requests: {message}"),
                retry_after: self.retry_after,
            },
            400 | 404 | 409 | 410 | 413 | 415 | 422 => Error::UpstreamRejected {
                // The contract folds an upstream's 422 (and kin) into 400; 404 and 413 keep their meaning.
                status: if matches!(self.status, 404 | 413) { self.status } else { 400 },
                message,
                param: self.param,
                code: self.code,
            },
            408 | 504 => Error::Timeout(format!("{provider} timed out (HTTP {}): {message}", self.status)),
            503 | 529 => Error::Upstream {
                message: format!("{provider} is overloaded: {message}"),
                code: "upstream_overloaded",
            },
            0 => Error::upstream(format!("{provider} failed: {message}"), "upstream_error"),
            status => {
                Error::upstream(format!("{provider} failed (HTTP {status}): {message}"), "upstream_error")
            }
        }
    }
}

/// The upstream's words, cut to length, with anything that looks like a credential taken out.
fn presentable(message: &str, status: u16) -> String {
    if message.trim().is_empty() {
        return format!("no message (HTTP {status})");
    }
    let cut: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    redact(&cut)
}

/// Replaces words that look like credentials: providers quote them when they refuse them. What the provider
/// masked itself (`sk-****cdef`) is no credential and stays.
pub fn redact(text: &str) -> String {
    let looks_secret = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '*');
        let prefixed = ["sk-", "sk_", "gsk_", "xai-", "pplx-", "AIza", "hf_", "nvapi-", "lgw_", "Bearer"]
            .iter()
            .any(|prefix| word.starts_with(prefix) && word.len() > prefix.len() + 3);
        prefixed && !word.contains("**")
    };
    if !text.split_whitespace().any(looks_secret) {
        return text.to_owned();
    }
    let words: Vec<&str> =
        text.split(' ').map(|word| if looks_secret(word) { "[redacted]" } else { word }).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_map_to_the_contract() {
        for (status, expected, code) in [
            (400, 400, None),
            (422, 400, None),
            (404, 404, None),
            (413, 413, None),
            (401, 502, Some("upstream_auth")),
            (402, 502, Some("upstream_auth")),
            (403, 502, Some("upstream_auth")),
            (429, 429, Some("upstream_rate_limited")),
            (500, 502, Some("upstream_error")),
            (529, 502, Some("upstream_overloaded")),
            (504, 504, Some("timeout")),
            (302, 502, Some("upstream_error")),
            (0, 502, Some("upstream_error")),
        ] {
            let error = Fault { status, message: "because".into(), ..Fault::default() }.into_error("p");
            assert_eq!((error.class().status, error.code()), (expected, code), "{status}");
            assert!(error.to_string().contains("because"));
        }
    }

    #[test]
    fn a_code_is_the_upstreams_own_or_none() {
        for code in [None, Some("bad_schema".to_owned())] {
            let fault = Fault { status: 400, message: "m".into(), code: code.clone(), ..Fault::default() };
            assert_eq!(fault.into_error("p").code(), code.as_deref());
        }
    }

    #[test]
    fn credentials_in_an_upstreams_words_are_taken_out() {
        for text in ["Incorrect API key provided: sk-abc123def.", "Bearer:abcdefgh refused"] {
            assert!(redact(text).contains("[redacted]"), "{text}");
        }
        assert_eq!(redact("bad key 'sk-****cdef'"), "bad key 'sk-****cdef'");
        assert_eq!(redact("use sk- prefix\nplease"), "use sk- prefix\nplease");
    }
}
