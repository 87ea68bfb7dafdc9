//! Errors as AWS writes them: `{"message"}`, `{"Message"}`, with or without `__type`, and the page that a request to
//! an unknown address gets.

use serde::Deserialize;

use crate::chat::conversation::Str;
use crate::wire::eventstream::status_of;
use crate::wire::{Fault, openai};

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "__type", borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow, alias = "Message")]
    message: Option<Str<'a>>,
    #[serde(rename = "Output", borrow)]
    output: Option<Inner<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(rename = "__type", borrow)]
    kind: Option<Str<'a>>,
    #[serde(borrow, alias = "Message")]
    message: Option<Str<'a>>,
}

/// Reads an error answer; never fails.
pub fn decode_error(status: u16, body: &[u8]) -> Fault {
    told(status, body).unwrap_or_else(|| openai::decode_error(status, body))
}

/// An error that a body tells; `None` when it tells none in AWS's words. `status` 0: the error's own.
pub fn told(status: u16, body: &[u8]) -> Option<Fault> {
    let written: Written<'_> = serde_json::from_slice(body).ok()?;
    let inner = written.output.map_or((None, None), |inner| (inner.kind, inner.message));
    let (kind, message) = (written.kind.or(inner.0), written.message.or(inner.1));
    // `com.amazon.coral.service#ThrottlingException`, `ValidationException:http://internal...`
    let name = kind.as_deref().map(|kind| {
        let name = kind.rsplit('#').next().unwrap_or(kind);
        name.split(':').next().unwrap_or(name)
    });
    let message = message.as_deref().filter(|message| !message.is_empty()).or(name)?.to_owned();
    let meant = name.and_then(status_of);
    let status = match (status, meant) {
        // Some of AWS's services answer 400 whatever happened; the name says what did.
        (0 | 400, Some(meant)) => meant,
        (status, _) => status,
    };
    Some(Fault { status, message, code: name.map(str::to_owned), ..Fault::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_words_and_their_meaning() {
        for (status, body, expected, message, code) in [
            (403, r#"{"message":"m"}"#, 403, "m", None),
            (400, r#"{"Message":"m"}"#, 400, "m", None),
            (
                400,
                r#"{"__type":"a.b#ThrottlingException","message":"m"}"#,
                429,
                "m",
                Some("ThrottlingException"),
            ),
            (429, r#"{"__type":"ThrottlingException","message":"m"}"#, 429, "m", Some("ThrottlingException")),
            (500, r#"{"__type":"ValidationException","message":"m"}"#, 500, "m", Some("ValidationException")),
            (
                404,
                r#"{"__type":"x#UnknownOperationException"}"#,
                404,
                "UnknownOperationException",
                Some("UnknownOperationException"),
            ),
            (
                404,
                r#"{"Output":{"__type":"x#ResourceNotFoundException","message":"m"},"Version":"1.0"}"#,
                404,
                "m",
                Some("ResourceNotFoundException"),
            ),
            (424, r#"{"message":"m","originalStatusCode":500,"resourceName":"r"}"#, 424, "m", None),
            (503, "busy", 503, "busy", None),
            (502, "", 502, "", None),
        ] {
            let fault = decode_error(status, body.as_bytes());
            assert_eq!(
                (fault.status, fault.message.as_str(), fault.code.as_deref()),
                (expected, message, code),
                "{body}"
            );
        }
    }

    #[test]
    fn an_answer_is_no_error() {
        assert_eq!(told(0, br#"{"output":{"message":{"content":[]}},"stopReason":"end_turn"}"#), None);
    }
}
