//! Answers: errors in the contract's shape, and the headers that every answer of a call carries.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
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
        let ms = wait.as_micros().div_ceil(1000).max(1);
        builder.0.insert_header((RETRY_AFTER, ms.div_ceil(1000).to_string()));
        builder = builder.header("retry-after-ms", &ms.to_string());
    }
    if let Some(retry) = class.client_retry {
        builder = builder.header("x-should-retry", if retry { "true" } else { "false" });
    }
    if let Error::MethodNotAllowed { allow } = error {
        builder.0.insert_header((ALLOW, HeaderValue::from_static(allow)));
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
