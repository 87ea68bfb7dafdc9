use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::receipt::{AnsweredBy, CallRecord, CallSpan, Content, Failover, Outcome, Told, testing};
use crate::request_log::{Bodies, Raw, Rules, Waiting};
use crate::trace::Ids;

fn record() -> CallRecord {
    CallRecord { duration_us: 5_000, ttft_us: Some(2_000), ..testing::call() }
}

fn facts(ended: Instant) -> CallSpan {
    CallSpan {
        ids: Ids { trace_id: 0xabc, span_id: 0xdef, parent_id: Some(1) },
        request_id: Arc::from("req-\"1"),
        method: "POST",
        project: Some(Arc::from("web")),
        requested_model: Some(Arc::from("up/m")),
        ended,
        ended_ns: 1_000_000_000,
        content: None,
    }
}

fn read(span: &str) -> Value {
    serde_json::from_str(span).unwrap()
}

fn attribute<'v>(span: &'v Value, name: &str) -> &'v Value {
    let mut all = span["attributes"].as_array().unwrap().iter();
    all.find(|one| one["key"] == name).map_or(&Value::Null, |one| &one["value"])
}

#[test]
fn a_call_is_a_server_span_with_its_events_in_their_places() {
    let ended = Instant::now();
    let failover = Failover {
        at: ended.checked_sub(Duration::from_millis(4)).unwrap(),
        from: Arc::from("up"),
        to: Arc::from("next"),
        why: "upstream_error",
    };
    let by = AnsweredBy { provider: Arc::from("next"), model: Arc::from("n"), known_model: true };
    let told = Told { by: Some(by), tokens: Some((10, 5)), failovers: vec![failover], ..Told::default() };
    let span = read(&call(&CallRecord { told, ..record() }, &facts(ended), &Rules::default()));
    assert_eq!(span["traceId"], "00000000000000000000000000000abc");
    assert_eq!(
        (&span["spanId"], &span["parentSpanId"]),
        (&json!("0000000000000def"), &json!("0000000000000001"))
    );
    assert_eq!((&span["kind"], &span["status"]), (&json!(2), &json!({})));
    assert_eq!(span["startTimeUnixNano"], "995000000");
    assert_eq!(span["endTimeUnixNano"], "1000000000");
    assert_eq!(attribute(&span, "gen_ai.usage.input_tokens"), &json!({"intValue": "10"}));
    assert_eq!(attribute(&span, "llm_gateway.request_id"), &json!({"stringValue": "req-\"1"}));
    let events: Vec<(&str, &str)> = span["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["name"].as_str().unwrap(), event["timeUnixNano"].as_str().unwrap()))
        .collect();
    assert_eq!(events, [("failover", "996000000"), ("commit", "997000000")]);
}

#[test]
fn what_the_client_did_wrong_is_no_failure_of_the_server() {
    for (status, error, outcome, failed) in [
        (200, None, Outcome::Completed, false),
        (400, Some("invalid_request"), Outcome::Failed, false),
        (502, Some("upstream_error"), Outcome::Failed, true),
        (200, Some("upstream_error"), Outcome::Failed, true),
        (499, Some("cancelled"), Outcome::Cancelled, true),
    ] {
        let span = read(&call(
            &CallRecord { status, error, outcome, ..record() },
            &facts(Instant::now()),
            &Rules::default(),
        ));
        assert_eq!(span["status"]["code"] == 2, failed, "{status} {error:?}");
        assert_eq!(attribute(&span, "error.type")["stringValue"].as_str(), error);
    }
}

#[test]
fn bodies_are_shown_masked_or_said_to_be_missing() {
    let raw = |text: &str| Some(Raw { bytes: text.as_bytes().to_vec(), length: text.len() });
    let request = raw(r#"{"messages":[{"role":"user","content":"to a@b.de"}]}"#);
    let bodies = Arc::new(Bodies { request, response: None, max: 1_000 });
    let room = Waiting::new(1_000);
    let rules = Rules::new(&["email".to_owned()], []);
    let shown = |content| {
        let facts = CallSpan { content, ..facts(Instant::now()) };
        read(&call(&record(), &facts, &rules))
    };
    let room = room.take(bodies.bytes()).map(Arc::new).unwrap();
    let span = shown(Some(Content::Gathered(bodies, room)));
    let messages = r#"[{"role":"user","parts":[{"type":"text","content":"to [redacted:email]"}]}]"#;
    assert_eq!(attribute(&span, "gen_ai.input.messages"), &json!({"stringValue": messages}));
    assert_eq!(attribute(&span, "llm_gateway.content_dropped"), &Value::Null);
    let span = shown(Some(Content::NoRoom));
    assert_eq!(attribute(&span, "llm_gateway.content_dropped"), &json!({"boolValue": true}));
    assert!(!shown(None).to_string().contains("content_dropped"));
}

#[test]
fn histograms_hold_upper_bounds_and_add_up() {
    let mut histogram = Histogram::new(Instrument::TokenUsage);
    for value in [1.0, 2.0, 4.0, 1e12] {
        histogram.record(value);
    }
    let mut out = String::new();
    histogram.write("[]", Point { since_ns: 1, now_ns: 2 }, &mut out);
    let point = read(&out);
    let counts: Vec<&str> =
        point["bucketCounts"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(counts.len(), point["explicitBounds"].as_array().unwrap().len() + 1);
    assert_eq!((counts[0], counts[1], counts[counts.len() - 1]), ("1", "2", "1"));
    assert_eq!((&point["count"], point["sum"].as_f64()), (&json!("4"), Some(1e12 + 7.0)));
    let metric = read(&Instrument::TokenUsage.metric(&out));
    assert_eq!(metric["histogram"]["aggregationTemporality"], 2);
}

#[test]
fn a_server_is_a_host_and_its_port() {
    for (url, address, port) in [
        ("https://api.example.com/v1", "api.example.com", 443),
        ("http://127.0.0.1:8000", "127.0.0.1", 8000),
        ("http://[::1]:8000/v1", "::1", 8000),
        ("http://[::1]", "::1", 80),
    ] {
        assert_eq!(Server::of(url), Some(Server { address: address.to_owned(), port }), "{url}");
    }
    assert_eq!(Server::of("nothing"), None);
}

#[test]
fn a_name_or_a_text_with_quotes_stays_one() {
    let mut attributes = Attributes::new();
    attributes.text("an \"odd\"\nname", "a \"text\"\u{1}");
    let written: Value = serde_json::from_str(&attributes.finish()).unwrap();
    assert_eq!(written, json!([{"key": "an \"odd\"\nname", "value": {"stringValue": "a \"text\"\u{1}"}}]));
}
