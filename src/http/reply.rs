//! Answers: errors in the contract's shape, and the headers that every answer of a call carries.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Error;

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
    let inner =
        Inner { message: error.to_string(), kind: error.class().kind, param: error.param(), code: error.code() };
    serde_json::to_vec(&Body { error: inner, metadata }).unwrap_or_else(|_| b"{\"error\":{}}".to_vec())
}

/// An error as a response.
pub fn error_response(error: &Error, request_id: Option<&str>) -> HttpResponse {
    error_with_metadata(error, request_id, None).finish_with(error_body(error, None))
}

/// A response builder that knows how to end.
pub struct Builder(HttpResponseBuilder);

impl Builder {
    /// A response of this status.
    pub fn new(status: StatusCode) -> Self {
        Self(HttpResponseBuilder::new(status))
    }

    /// Adds a header, unless its value cannot be one.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.insert_header((HeaderName::from_static(name), value));
        }
        self
    }

    /// Ends it with a JSON body.
    pub fn finish_with(mut self, body: impl Into<bytes::Bytes>) -> HttpResponse {
        self.0.content_type("application/json").body(body.into())
    }

    /// Ends it with a stream of events.
    pub fn finish_stream<S>(mut self, events: S) -> HttpResponse
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, actix_web::Error>> + 'static,
    {
        self.0.insert_header(("cache-control", "no-cache")).insert_header(("x-accel-buffering", "no"));
        self.0.content_type("text/event-stream").streaming(events)
    }
}

/// The head of an error response.
pub fn error_with_metadata(error: &Error, request_id: Option<&str>, attempts: Option<u16>) -> Builder {
    let class = error.class();
    let status = StatusCode::from_u16(class.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = Builder::new(status);
    if let Some(id) = request_id {
        builder = builder.header("x-request-id", id);
    }
    if let Some(attempts) = attempts {
        builder = builder.header("x-gateway-attempts", &attempts.to_string());
    }
    if let Some(wait) = error.retry_after() {
        // Rounded up: coming back too early would only be refused again.
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        builder.0.insert_header((RETRY_AFTER, seconds.to_string()));
        builder = builder.header("retry-after-ms", &wait.as_millis().max(1).to_string());
    }
    if let Some(retry) = class.client_retry {
        builder = builder.header("x-should-retry", if retry { "true" } else { "false" });
    }
    if let Error::MethodNotAllowed { allow } = error {
        builder.0.insert_header((ALLOW, HeaderValue::from_static(allow)));
    }
    builder
}
