//! Answers that vendors send rarely, and ones that no vendor should.

use serde_json::{Value, json};

use super::{FORMAT, events, streamed};
use crate::wire::DecodeError;
use crate::wire::testing;

fn whole(content: &Value, more: &Value) -> Value {
    let mut reply = json!({"type": "message", "content": content, "stop_reason": "end_turn"});
    reply.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    testing::whole(FORMAT, reply.to_string().as_bytes()).unwrap()
}

fn begin(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn piece(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}}),
        json!({"type": "message_stop"}),
    ]
}

/// A stream from its blocks.
fn stream(blocks: &[Value], reason: &str) -> (Vec<Value>, Result<(), DecodeError>) {
    let mut all = vec![
        json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}}),
    ];
    all.extend(blocks.iter().cloned());
    all.extend(end(reason));
    streamed(&all)
}

fn joined(chunks: &[Value], pointer: &str) -> String {
    chunks.iter().filter_map(|chunk| chunk.pointer(pointer)?.as_str()).collect()
}

#[test]
fn a_refusal_says_why_and_is_filtered() {
    let details =
        json!({"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "No."}});
    let answer = whole(&json!([]), &details);
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["message"]["refusal"], &choice["finish_reason"]),
        (&json!("No."), &json!("content_filter"))
    );
    let (chunks, ended) = streamed(&[
        json!({"type": "message_start", "message": {"id": "m"}}),
        json!({"type": "message_delta", "delta": details}),
        json!({"type": "message_stop"}),
    ]);
    assert_eq!((joined(&chunks, "/choices/0/delta/refusal").as_str(), ended), ("No.", Ok(())));
}

#[test]
fn searches_that_nothing_cites_are_told_as_their_pages() {
    let found =
        |url: &str| json!({"type": "web_search_result", "url": url, "title": "T", "encrypted_content": "x"});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": [found("https://a"), found("https://b"), found("https://a")]});
    let failed = json!({"type": "web_search_tool_result", "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}});
    let answer = whole(
        &json!([result, failed, {"type": "text", "text": "hé"}]),
        &json!({"stop_reason": "pause_turn"}),
    );
    let page = |url: &str| json!({"type": "url_citation", "url_citation": {"url": url, "title": "T", "start_index": 2, "end_index": 2}});
    assert_eq!(answer["choices"][0]["message"]["annotations"], json!([page("https://a"), page("https://b")]));
    let (chunks, _) =
        stream(&[begin(0, &result), begin(1, &json!({"type": "text", "text": "hé"}))], "end_turn");
    let told: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/annotations")).collect();
    assert_eq!(told, [&json!([page("https://a")]), &json!([page("https://b")])]);
}

#[test]
fn arguments_come_with_the_block_or_in_pieces_but_once() {
    let tool = |input: Value| json!({"type": "tool_use", "id": "t", "name": "f", "input": input});
    for (blocks, arguments) in [
        (vec![begin(0, &tool(json!({})))], "{}"),
        (vec![begin(0, &tool(json!({"a": 1})))], "{\"a\":1}"),
        (
            vec![
                begin(0, &tool(json!({"a": 1}))),
                piece(0, &json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
                piece(0, &json!({"type": "input_json_delta", "partial_json": "2}"})),
            ],
            "{\"a\":2}",
        ),
    ] {
        let (chunks, _) = stream(&blocks, "tool_use");
        assert_eq!(joined(&chunks, "/choices/0/delta/tool_calls/0/function/arguments"), arguments);
        assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "tool_calls"));
    }
    // Numbers keep their digits.
    let reply = r#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{"n": 123456789012345678901234567890}}],"stop_reason":"tool_use"}"#;
    let answer = testing::whole(FORMAT, reply.as_bytes()).unwrap();
    let arguments = &answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, "{\"n\": 123456789012345678901234567890}");
}

#[test]
fn the_tool_that_stands_in_speaks_as_text() {
    let name = crate::wire::encode::ANSWER_TOOL;
    let stand_in = json!({"type": "tool_use", "id": "t", "name": name, "input": {}});
    let (chunks, _) = stream(
        &[
            begin(0, &stand_in),
            piece(0, &json!({"type": "input_json_delta", "partial_json": "{\"a\""})),
            piece(0, &json!({"type": "input_json_delta", "partial_json": ":1}"})),
        ],
        "tool_use",
    );
    assert_eq!(joined(&chunks, "/choices/0/delta/content"), "{\"a\":1}");
    assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "stop"));
    assert!(!json!(chunks).to_string().contains("tool_calls"));
    let (chunks, _) = stream(&[begin(0, &stand_in)], "tool_use");
    assert_eq!(joined(&chunks, "/choices/0/delta/content"), "{}");
    let called = json!([stand_in, {"type": "tool_use", "id": "u", "name": "f", "input": {}}]);
    let answer = whole(&called, &json!({"stop_reason": "tool_use"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn an_ending_without_its_reason_or_its_call_is_none() {
    let (_, ended) = streamed(&[
        json!({"type": "message_start", "message": {"id": "m"}}),
        begin(0, &json!({"type": "text", "text": "a"})),
        json!({"type": "message_stop"}),
    ]);
    assert_eq!(ended, Err(DecodeError::Truncated));
    let (chunks, _) = stream(&[begin(0, &json!({"type": "text", "text": "a"}))], "tool_use");
    let last = chunks.iter().find(|chunk| chunk["choices"][0].get("native_finish_reason").is_some()).unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], Value::Null);
}

#[test]
fn reasoning_without_a_signature_is_said_and_not_sent_back() {
    let (chunks, _) = stream(
        &[
            begin(0, &json!({"type": "thinking", "thinking": "a", "signature": ""})),
            piece(0, &json!({"type": "thinking_delta", "thinking": "b"})),
            json!({"type": "content_block_stop", "index": 0}),
            // Its end is missing; it is complete all the same.
            begin(1, &json!({"type": "thinking", "thinking": "", "signature": ""})),
            piece(1, &json!({"type": "signature_delta", "signature": "s1"})),
            piece(1, &json!({"type": "signature_delta", "signature": "s2"})),
        ],
        "end_turn",
    );
    assert_eq!(joined(&chunks, "/choices/0/delta/reasoning"), "ab");
    let details: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/reasoning_details/0")).collect();
    assert_eq!(details.len(), 1);
    assert_eq!((&details[0]["text"], &details[0]["signature"]), (&json!(""), &json!("s1s2")));
}

#[test]
fn what_is_under_way_is_bounded() {
    let thinking = begin(0, &json!({"type": "thinking", "thinking": ""}));
    let more = piece(0, &json!({"type": "thinking_delta", "thinking": "x".repeat(1024 * 1024)}));
    let (thinking, more) = (events(&[thinking]), events(&[more]));
    let mut pieces = vec![thinking.as_bytes()];
    pieces.extend(std::iter::repeat_n(more.as_bytes(), 9));
    let (_, ended) = testing::stream(FORMAT, "text/event-stream", &pieces);
    assert_eq!(ended, Err(DecodeError::invalid("it sent more reasoning than can be kept")));
    let blocks: Vec<Value> =
        (0..10_001).map(|index| begin(index, &json!({"type": "text", "text": "a"}))).collect();
    assert!(matches!(streamed(&blocks).1, Err(DecodeError::Invalid(_))));
}

/// What a client that leaves early is charged is counted from what it got: the first count is of what was made so far.
#[test]
fn usage_is_told_once_the_end_is_near() {
    use crate::wire::{Decoder, Envelope, Quirks, Reading};
    let quirks = Quirks::default();
    let reading = Reading { quirks: &quirks, think_tags: false, include_usage: false, n: 1 };
    let envelope = Envelope::default();
    let mut decoder = Decoder::new(FORMAT, reading, "text/event-stream", &envelope);
    let mut out = Vec::new();
    let start = json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 5, "output_tokens": 1, "service_tier": "standard"}}});
    let mut feed = |events_: &[Value], decoder: &mut Decoder| {
        decoder.feed(events(events_).as_bytes(), &envelope, 1, &mut out).unwrap()
    };
    feed(&[start, begin(0, &json!({"type": "text", "text": "a"}))], &mut decoder);
    assert_eq!((decoder.reported(), decoder.service_tier()), (None, Some("default")));
    feed(&end("end_turn"), &mut decoder);
    let usage = decoder.reported().unwrap();
    assert_eq!((usage.prompt, usage.completion), (5, 2));
}
