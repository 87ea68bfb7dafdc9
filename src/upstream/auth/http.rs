//! Asking for tokens over HTTP: one request, one bounded answer. A client per request: it happens once an hour.

use std::sync::Arc;
use std::time::Duration;

use awc::http::{StatusCode, Uri, Version};
use awc::{Client, ClientRequest, Connector};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use super::cache::{Failure, Fresh};
use crate::config::Secret;
use crate::timer::Timer;
use crate::upstream::drain;

/// Connecting, and everything after it, take this long at most.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read, bytes.
const ANSWER_MAX: usize = 256 * 1024;

/// A client for one request.
pub fn client(tls: &Arc<rustls::ClientConfig>) -> Client {
    let connector = Connector::new()
        .rustls_0_23(Arc::clone(tls))
        .timeout(PATIENCE)
        .handshake_timeout(PATIENCE)
        .max_http_version(Version::HTTP_11);
    Client::builder().connector(connector).timeout(PATIENCE).disable_redirects().no_default_headers().finish()
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

/// The part of a refusal that may be repeated.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// Who is asked for a token, for messages.
pub struct Asked<'a> {
    /// The endpoint, e.g. `Google's token endpoint`.
    pub whom: &'a str,
    /// What to look at when it refuses.
    pub mend: &'a str,
}

impl Asked<'_> {
    fn failure(&self, why: &str) -> Failure {
        Failure(format!("{} {why}; check {}", self.whom, self.mend))
    }

    /// Sends a form, takes a token.
    pub async fn post(
        &self,
        tls: &Arc<rustls::ClientConfig>,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Fresh<Secret>, Failure> {
        let url: Uri = url.parse().map_err(|_| self.failure("has no valid address"))?;
        let form = form.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let body = form.collect::<Vec<_>>().join("&");
        let request = client(tls).post(&url).content_type("application/x-www-form-urlencoded");
        self.token(request, Bytes::from(body)).await
    }

    /// Sends a request, takes a token.
    pub async fn token(&self, request: ClientRequest, body: Bytes) -> Result<Fresh<Secret>, Failure> {
        let request = request.no_decompress().insert_header(("accept", "application/json"));
        let answered = timeout(PATIENCE, self.exchange(request, body)).await;
        let (status, body) = answered.map_err(|_| self.failure("did not answer in time"))??;
        if status != StatusCode::OK {
            return Err(self.failure(&refusal(status, &body)));
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| self.failure("answered with something that is no token"))?;
        if granted.access_token.is_empty() || !granted.access_token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(self.failure("answered with something that is no token"));
        }
        // Some endpoints leave it out; an hour is what all of them give.
        let lifetime = Duration::from_secs(granted.expires_in.unwrap_or(3600));
        Ok(Fresh { value: Secret::new(granted.access_token), lifetime: Some(lifetime) })
    }

    async fn exchange(&self, request: ClientRequest, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        let mut response = request.send_body(body).await.map_err(|_| self.failure("cannot be reached"))?;
        let body =
            drain::whole(&mut response, &mut Timer::default(), (PATIENCE, ANSWER_MAX), self.whom).await;
        let body = body.map_err(|_| self.failure("broke off in the middle of its answer"))?;
        Ok((response.status(), body))
    }
}

/// Says how it was refused: the status, and the code of the error where it is one word.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let code = serde_json::from_slice::<Refused>(body).ok().map(|refused| refused.error);
    let word = |code: &String| {
        (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    match code.filter(word) {
        Some(code) => format!("refused with {} ({code})", status.as_u16()),
        None => format!("refused with {}", status.as_u16()),
    }
}

/// A value of a form.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
