//! Errors, wherever they stand.

use std::time::Duration;

use serde_json::json;

use super::{reply, sse};
use crate::wire::{DecodeError, WireFormat, testing};

#[test]
fn an_error_keeps_its_words_its_status_and_its_wait() {
    let body = |code: u16, status: &str, details: serde_json::Value| json!({"error": {"code": code, "message": "because", "status": status, "details": details}});
    let key = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
    let wait = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]);
    for (http, told, status, code, retry_after) in [
        (400, body(400, "INVALID_ARGUMENT", json!([])), 400, "INVALID_ARGUMENT", None),
        (400, body(400, "INVALID_ARGUMENT", key), 401, "INVALID_ARGUMENT", None),
        (429, body(429, "RESOURCE_EXHAUSTED", wait.clone()), 429, "RESOURCE_EXHAUSTED", Some(34.5)),
        (429, json!([body(429, "RESOURCE_EXHAUSTED", wait)]), 429, "RESOURCE_EXHAUSTED", Some(34.5)),
        (200, body(503, "UNAVAILABLE", json!(null)), 503, "UNAVAILABLE", None),
    ] {
        let fault = WireFormat::Gemini.decode_error(http, told.to_string().as_bytes());
        assert_eq!(
            (fault.message.as_str(), fault.status, fault.code.as_deref()),
            ("because", status, Some(code))
        );
        assert_eq!(fault.retry_after, retry_after.map(Duration::from_secs_f64));
    }
    let bare = WireFormat::Gemini.decode_error(502, b"<html>bad gateway</html>");
    assert_eq!((bare.status, bare.retry_after), (502, None));
    for delay in ["-1s", "1e99s", "NaNs", "5", "s"] {
        let told = json!({"error": {"message": "m", "details": [{"retryDelay": delay}]}});
        assert_eq!(
            WireFormat::Gemini.decode_error(429, told.to_string().as_bytes()).retry_after,
            None,
            "{delay}"
        );
    }
}

#[test]
fn an_error_inside_a_200_reaches_the_client() {
    let told = json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}});
    let good = reply(&json!([{"text": "so far"}]), "STOP");
    let bodies = [told.to_string(), json!([told]).to_string(), json!([good, told]).to_string()];
    for body in &bodies {
        let Err(DecodeError::Fault(fault)) = testing::whole(WireFormat::Gemini, body.as_bytes()) else {
            panic!("{body}")
        };
        assert_eq!((fault.status, fault.message.as_str()), (503, "overloaded"));
    }
    let pretty = serde_json::to_string_pretty(&told).unwrap();
    for end in [
        sse(std::slice::from_ref(&told)),
        pretty.clone().into_bytes(),
        pretty.replace('\n', "\r\n").into_bytes(),
    ] {
        let stream = [sse(std::slice::from_ref(&good)), end].concat();
        for pieces in [vec![stream.as_slice()], stream.chunks(1).collect()] {
            let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &pieces);
            assert_eq!(chunks.len(), 1, "what came before it");
            assert!(matches!(ended, Err(DecodeError::Fault(fault)) if fault.status == 503));
        }
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    for body in [
        "{}",
        "[]",
        "null",
        "{\"candidates\":[]}",
        "{\"candidates\":[{\"content\":{},\"index\":0}]}",
        "{\"candidates\":7}",
        "hello",
        "[1]",
    ] {
        assert!(testing::whole(WireFormat::Gemini, body.as_bytes()).is_err(), "{body}");
    }
}
