//! An answer that is read while it comes.

use super::PATIENCE;

/// A response under way.
pub struct Live {
    /// Status and headers.
    pub response: reqwest::Response,
    /// What has come so far.
    pub text: String,
}

impl Live {
    /// Sends a request and waits for the head of its answer.
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = tokio::time::timeout(PATIENCE, request.send()).await;
        let response = response.expect("a head in time").expect("a head");
        Self { response, text: String::new() }
    }

    /// Reads until `text` ends with `end`; panics when the body ends before.
    pub async fn until(&mut self, end: &str) {
        while !self.text.ends_with(end) {
            let piece = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("a piece in time");
            let piece = piece.expect("not broken off").unwrap_or_else(|| panic!("ended: {}", self.text));
            self.text.push_str(std::str::from_utf8(&piece).expect("UTF-8"));
        }
    }
}
