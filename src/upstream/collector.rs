//! The operator's collector: one POST per batch, and what its answer means.
//!
//! The address is the operator's, as a provider's is: plain http and inner addresses are allowed.

use std::sync::Arc;
use std::time::Duration;

use awc::http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use awc::{Client, Connector};
use bytes::Bytes;
use serde_json::Value;
use tokio::time::timeout;

use crate::config::TelemetrySettings;

/// Largest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A collector, for one thread.
pub struct Collector {
    client: Client,
    endpoint: String,
    headers: HeaderMap,
    timeout: Duration,
}

/// Why a collector did not take something. Its words are not kept: they may quote what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// Another try may help, after so long if it said so.
    Again(String, Option<Duration>),
    /// No other try will.
    Never(String),
}

impl Collector {
    /// Prepares its client; `None` without an endpoint.
    pub fn new(settings: &TelemetrySettings, tls: &Arc<rustls::ClientConfig>) -> Option<Self> {
        let connector = Connector::new()
            .rustls_0_23(Arc::clone(tls))
            .timeout(settings.timeout)
            .handshake_timeout(settings.timeout);
        let client = Client::builder()
            .connector(connector)
            .timeout(settings.timeout)
            .disable_redirects()
            .no_default_headers()
            .finish();
        let header = |(name, value): (&String, &crate::config::Secret)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name.as_str()).ok()?, value))
        };
        let headers = settings.headers.iter().filter_map(header).collect();
        Some(Self { client, endpoint: settings.endpoint.clone()?, headers, timeout: settings.timeout })
    }

    /// Sends a body of JSON to a path below the endpoint; gives how many of its items were rejected.
    ///
    /// # Errors
    /// It was not taken, and whether another try may help (as the OTLP specification has it).
    pub async fn send(&self, path: &str, body: Bytes) -> Result<u64, NotTaken> {
        let mut request = self
            .client
            .post(format!("{}{path}", self.endpoint))
            .no_decompress()
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")))
            .insert_header((
                USER_AGENT,
                HeaderValue::from_static(concat!("llm-gateway/", env!("CARGO_PKG_VERSION"))),
            ));
        for (name, value) in &self.headers {
            request = request.insert_header((name.clone(), value.clone()));
        }
        let sent = timeout(self.timeout, async {
            let mut answer = request
                .send_body(body)
                .await
                .map_err(|_| NotTaken::Again("it cannot be reached".to_owned(), None))?;
            let status = answer.status().as_u16();
            if !answer.status().is_success() {
                return Err(refusal(status, answer.headers().get(RETRY_AFTER)));
            }
            // What cannot be read says nothing of what was rejected; it was taken.
            let body = answer.body().limit(ANSWER_BYTES_MAX).await.unwrap_or_default();
            Ok(rejected(&body))
        });
        sent.await.unwrap_or_else(|_| Err(NotTaken::Again("it did not answer in time".to_owned(), None)))
    }
}

/// What a status means.
fn refusal(status: u16, retry_after: Option<&HeaderValue>) -> NotTaken {
    let why = format!("it answered with {status}");
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match status {
        429 | 502 | 503 | 504 => NotTaken::Again(why, seconds.map(Duration::from_secs)),
        _ => NotTaken::Never(why),
    }
}

/// Items that an answer of success says were rejected.
fn rejected(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let partial = answer.get("partialSuccess");
    let count = |name: &str| {
        let value = partial?.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    count("rejectedSpans").or_else(|| count("rejectedDataPoints")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_lets_be_repeated_is() {
        for status in [429, 502, 503, 504] {
            assert!(matches!(refusal(status, None), NotTaken::Again(..)), "{status}");
        }
        for status in [301, 400, 401, 413, 500] {
            assert!(matches!(refusal(status, None), NotTaken::Never(_)), "{status}");
        }
        let told = refusal(503, Some(&HeaderValue::from_static("7")));
        assert_eq!(told, NotTaken::Again("it answered with 503".to_owned(), Some(Duration::from_secs(7))));
    }

    #[test]
    fn rejected_items_are_read_from_either_signal() {
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedDataPoints":2}}"#), 2);
        assert_eq!((rejected(b"{}"), rejected(b""), rejected(b"<html>")), (0, 0, 0));
    }
}
