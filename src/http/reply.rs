//! Answers: errors in the contract's shape, and the headers that every answer of a call carries.

use std::fmt;

use actix_web::body::BodyStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::value::RawValue;

use super::names;
use crate::error::Error;
use crate::policy::quota::{Gauge, Snapshot};

/// `{"error": {...}}`.
#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

/// The body of an error; `metadata` where an upstream was involved.
pub fn error_body(error: &Error, metadata: Option<&[u8]>) -> Vec<u8> {
    let metadata = metadata.and_then(|bytes| serde_json::from_slice::<&RawValue>(bytes).ok());
    let inner = Inner {
        message: error.to_string(),
        kind: error.class().kind,
        param: error.param(),
        code: error.code(),
    };
    serde_json::to_vec(&Body { error: inner, metadata }).unwrap_or_else(|_| b"{\"error\":{}}".to_vec())
}

/// An error as a response.
pub fn error_response(error: &Error, request_id: Option<&str>) -> HttpResponse {
    error_with_metadata(error, request_id, None).finish_with(error_body(error, None))
}

/// The head of a response that knows how to end.
pub struct Builder(HttpResponse);

impl Builder {
    /// A response of this status.
    pub fn new(status: StatusCode) -> Self {
        Self(HttpResponse::new(status))
    }

    /// Adds a header, unless its value cannot be one.
    pub fn header(self, name: &HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.with(name, value),
            Err(_) => self,
        }
    }

    /// Adds a number.
    pub fn number(self, name: &HeaderName, number: u64) -> Self {
        self.with(name, written(number))
    }

    /// Adds x-ratelimit-* of the caller's own limits.
    pub fn quota(mut self, quota: Snapshot) -> Self {
        let headers = self.0.headers_mut();
        quota_headers(quota, |name, value| {
            headers.insert(name.clone(), value);
        });
        self
    }

    fn with(mut self, name: &HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name.clone(), value);
        self
    }

    /// Ends it with a JSON body.
    pub fn finish_with(self, body: impl Into<bytes::Bytes>) -> HttpResponse {
        let Self(response) = self.with(&CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.set_body(body.into()).map_into_boxed_body()
    }

    /// Ends it with a stream of events.
    pub fn finish_stream<S>(self, events: S) -> HttpResponse
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, actix_web::Error>> + 'static,
    {
        let Self(response) = self
            .with(&CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .with(&names::ACCEL_BUFFERING, HeaderValue::from_static("no"))
            .with(&CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.set_body(BodyStream::new(events)).map_into_boxed_body()
    }
}

/// A number as a header's value.
fn written(number: u64) -> HeaderValue {
    // How many attempts there were is most often this.
    if number == 1 {
        return HeaderValue::from_static("1");
    }
    let mut digits = itoa::Buffer::new();
    // Digits are a value always.
    HeaderValue::from_str(digits.format(number)).unwrap_or(HeaderValue::from_static("0"))
}

/// Milliseconds as a header's value, such as `250ms`.
fn written_ms(ms: u128) -> HeaderValue {
    const UNIT: &str = "ms";
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(ms);
    let mut text = String::with_capacity(digits.len() + UNIT.len());
    text.push_str(digits);
    text.push_str(UNIT);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or(HeaderValue::from_static("0ms"))
}

/// Gives x-ratelimit-* of the caller's own limits, one after the other.
pub fn quota_headers(quota: Snapshot, mut add: impl FnMut(&'static HeaderName, HeaderValue)) {
    if let Some(Gauge { limit, remaining, reset }) = quota.requests {
        add(&names::LIMIT_REQUESTS, written(limit.into()));
        add(&names::REMAINING_REQUESTS, written(remaining.into()));
        add(&names::RESET_REQUESTS, written_ms(reset.as_millis()));
    }
    if let Some(Gauge { limit, remaining, reset }) = quota.tokens {
        add(&names::LIMIT_TOKENS, written(limit.into()));
        add(&names::REMAINING_TOKENS, written(remaining.into()));
        add(&names::RESET_TOKENS, written_ms(reset.as_millis()));
    }
}

/// The head of an error response.
pub fn error_with_metadata(error: &Error, request_id: Option<&str>, attempts: Option<u16>) -> Builder {
    let class = error.class();
    let status = StatusCode::from_u16(class.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = Builder::new(status);
    if let Some(id) = request_id {
        builder = builder.header(&names::REQUEST_ID, id);
    }
    if let Some(attempts) = attempts {
        builder = builder.number(&names::ATTEMPTS, attempts.into());
    }
    if let Some(wait) = error.retry_after() {
        // Rounded up: coming back too early would only be refused again.
        let ms = u64::try_from(wait.as_micros().div_ceil(1000).max(1)).unwrap_or(u64::MAX);
        builder = builder.number(&RETRY_AFTER, ms.div_ceil(1000)).number(&names::RETRY_AFTER_MS, ms);
    }
    if let Some(retry) = class.client_retry {
        builder = builder.header(&names::SHOULD_RETRY, if retry { "true" } else { "false" });
    }
    if let Error::MethodNotAllowed { allow } = error {
        builder = builder.with(&ALLOW, HeaderValue::from_static(allow));
    }
    builder
}

/// An [`Error`] as actix takes it from a handler.
#[derive(Clone, Debug)]
pub struct Fault(pub Error);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl ResponseError for Fault {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.class().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        error_response(&self.0, None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn header(reply: &HttpResponse, name: &str) -> Option<String> {
        reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[actix_web::test]
    async fn an_error_says_what_an_sdk_reads() {
        let error = Error::invalid("Wrong.", "messages[2]");
        let reply = error_response(&error, Some("req-1"));
        assert_eq!(
            (reply.status().as_u16(), header(&reply, "x-request-id").as_deref()),
            (400, Some("req-1"))
        );
        assert_eq!(header(&reply, "retry-after"), None);
        let body = actix_web::body::to_bytes(reply.into_body()).await.unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            json!({"error": {"message": "Wrong.", "type": "invalid_request_error", "param": "messages[2]", "code": null}})
        );
    }

    #[test]
    fn waits_are_rounded_up_and_advice_is_given_where_there_is_any() {
        for (wait_us, seconds, ms) in [(1, "1", "1"), (1_000_000, "1", "1000"), (1_000_001, "2", "1001")] {
            let retry_after = Duration::from_micros(wait_us);
            let reply = error_response(&Error::RateLimited { limit: "x".into(), retry_after }, None);
            assert_eq!(header(&reply, "retry-after").as_deref(), Some(seconds));
            assert_eq!(header(&reply, "retry-after-ms").as_deref(), Some(ms));
            assert_eq!(header(&reply, "x-should-retry"), None);
        }
        let reply = error_response(&Error::UpstreamAuth("no".into()), None);
        assert_eq!(header(&reply, "x-should-retry").as_deref(), Some("false"));
        let reply = error_response(&Error::MethodNotAllowed { allow: "GET, POST" }, None);
        assert_eq!((reply.status().as_u16(), header(&reply, "allow").as_deref()), (405, Some("GET, POST")));
    }
}
