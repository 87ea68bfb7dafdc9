//! The table of fields of every format, and that it is what the format does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::formats;
use crate::chat::fields::FIELDS;
use crate::wire::WireFormat;
use crate::wire::encode::Handling;
use crate::wire::testing::{Target, encode};

#[test]
fn every_field_has_one_row() {
    for format in formats() {
        let table = format.codec().unwrap().fields;
        let names: BTreeSet<&str> = table.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), table.len(), "{}: a field has two rows", format.name());
        for field in FIELDS {
            assert_eq!(names.contains(field.name), !field.ours, "{}: {}", format.name(), field.name);
        }
    }
}

/// A value that asks for something.
fn sample(name: &str) -> Value {
    match name {
        "model" => json!("x"),
        "messages" => json!([{"role": "user", "content": "hi"}]),
        "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" => json!(0.5),
        "max_tokens" | "max_completion_tokens" => json!(4000),
        "n" | "top_logprobs" => json!(2),
        "seed" => json!(7),
        "stop" => json!(["END"]),
        "logit_bias" => json!({"5": 1}),
        "logprobs" | "store" | "stream" => json!(true),
        "parallel_tool_calls" => json!(false),
        "stream_options" => json!({"include_usage": true}),
        "service_tier" => json!("flex"),
        "user" | "prompt_cache_key" => json!("u"),
        "metadata" => json!({"a": "b"}),
        "modalities" => json!(["text", "audio"]),
        "audio" => json!({"voice": "alloy", "format": "wav"}),
        "prediction" => json!({"type": "content", "content": "x"}),
        "verbosity" | "reasoning_effort" => json!("low"),
        "web_search_options" => json!({}),
        "response_format" => json!({"type": "json_object"}),
        "tools" => {
            json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}])
        }
        "tool_choice" => json!("auto"),
        other => panic!("a field without a sample: {other}"),
    }
}

/// A request with this field.
fn with(name: &str) -> String {
    let mut body = json!({"model": "x", "messages": sample("messages")});
    if name == "tool_choice" || name == "parallel_tool_calls" {
        body["tools"] = sample("tools");
    }
    body[name] = sample(name);
    body.to_string()
}

#[test]
fn the_table_says_what_the_format_does() {
    for format in formats() {
        for field in FIELDS.iter().filter(|field| !field.ours) {
            let told = format.handling(field.name).unwrap();
            let what = format!("{}: {} is {told:?}", format.name(), field.name);
            let encoded = encode(format, &with(field.name), &Target::default());
            let names = |dropped: &[String]| dropped.iter().any(|name| name == field.name);
            match told {
                Handling::Passed => assert!(!names(&encoded.expect(&what).dropped), "{what}"),
                Handling::Dropped => assert!(names(&encoded.expect(&what).dropped), "{what}"),
                Handling::Refused => {
                    let error = encoded.expect_err(&what);
                    assert_eq!((error.class().status, error.param()), (400, Some(field.name)), "{what}");
                }
                Handling::Mapped => {}
            }
            if told == Handling::Dropped {
                let strict = Target { strict: true, ..Target::default() };
                let error = encode(format, &with(field.name), &strict).expect_err(&what);
                assert_eq!(
                    (error.param(), error.code()),
                    (Some(field.name), Some("unsupported_parameter")),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn fields_nobody_knows_are_named_and_null_is_not_given() {
    let body =
        |value: Value| json!({"model": "x", "messages": sample("messages"), "unheard_of": value}).to_string();
    for format in formats() {
        let encoded = encode(format, &body(json!(1)), &Target::default()).unwrap();
        assert_eq!(encoded.dropped, ["unheard_of"], "{}", format.name());
        let encoded = encode(format, &body(Value::Null), &Target::default()).unwrap();
        assert!(encoded.dropped.is_empty(), "{}", format.name());
    }
}

#[test]
fn equal_requests_make_equal_bytes() {
    for format in formats() {
        for field in FIELDS.iter().filter(|field| !field.ours) {
            let once = |format: WireFormat| {
                encode(format, &with(field.name), &Target::default()).map(|made| made.body)
            };
            if let (Ok(first), Ok(second)) = (once(format), once(format)) {
                assert_eq!(first, second, "{}: {}", format.name(), field.name);
            }
        }
    }
}
