//! How an [`Error`] looks on the wire: status, headers and the body that SDKs read.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::error::Error;

/// The reply to a failed request. `request_id` becomes `x-request-id`.
pub fn error_response(error: &Error, request_id: Option<&str>) -> HttpResponse {
    let class = error.class();
    let status = StatusCode::from_u16(class.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = HttpResponse::build(status);
    if let Some(id) = request_id {
        reply.insert_header(("x-request-id", id));
    }
    if let Some(wait) = error.retry_after() {
        let ms = wait.as_nanos().div_ceil(Duration::from_millis(1).as_nanos());
        // Whole seconds, rounded up: earlier would be refused again.
        reply.insert_header((RETRY_AFTER, ms.div_ceil(1000).to_string()));
        reply.insert_header(("retry-after-ms", ms.to_string()));
    }
    if let Some(retry) = class.client_retry {
        reply.insert_header(("x-should-retry", if retry { "true" } else { "false" }));
    }
    if let Error::MethodNotAllowed { allow } = error {
        reply.insert_header((ALLOW, *allow));
    }
    reply.json(json!({
        "error": {
            "message": error.to_string(),
            "type": class.kind,
            "param": error.param(),
            "code": error.code(),
        }
    }))
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
