//! Thought signatures: out with the answer, back on exactly the part that they came on.

use serde_json::{Value, json};

use super::{reply, saying, sent, sse, whole};
use crate::wire::recorded::seen::Seen;
use crate::wire::{WireFormat, testing};

/// A client's message made of an answer, as clients make it.
fn returned(message: &Value) -> Value {
    let mut back = json!({"role": "assistant"});
    for name in ["content", "tool_calls", "reasoning_details", "images"] {
        if !message[name].is_null() {
            back[name] = message[name].clone();
        }
    }
    back
}

/// The model's turn as it goes back.
fn back(message: &Value) -> Value {
    let mut messages = vec![json!({"role": "user", "content": "q"}), message.clone()];
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "ok"}));
    }
    sent("gemini-3-flash", &saying(&json!(messages))).0["contents"][1]["parts"].clone()
}

/// Parts as they come, and as they must go back: thoughts stay here unless they are signed.
fn table() -> Vec<(Value, Value)> {
    let call =
        |name: &str| json!({"functionCall": {"id": format!("id_{name}"), "name": name, "args": {"a": 1}}});
    let signed = |mut part: Value, signature: &str| {
        part["thoughtSignature"] = json!(signature);
        part
    };
    let same = |parts: Value| (parts.clone(), parts);
    vec![
        // Parallel: on the first only.
        same(json!([signed(call("f"), "s1"), call("g")])),
        same(json!([{"text": "Let's see. "}, signed(call("f"), "s1"), call("g")])),
        // On a text, whole or the last piece of it, also not in ASCII.
        same(json!([signed(json!({"text": "wörd"}), "s1")])),
        same(json!([{"text": "ein "}, signed(json!({"text": "wörd"}), "s1")])),
        same(json!([{"text": "ä"}, signed(json!({"text": "ö"}), "s1"), {"text": "ü"}])),
        same(json!([signed(json!({"text": "a"}), "s1"), signed(json!({"text": "b"}), "s2")])),
        // On a part of its own.
        same(json!([{"text": "done"}, signed(json!({"text": ""}), "s1")])),
        same(json!([signed(json!({"text": ""}), "s1"), {"text": "done"}])),
        same(json!([
            signed(json!({"text": "a"}), "s1"),
            signed(call("f"), "s2"),
            signed(json!({"text": "b"}), "s3"),
            call("g")
        ])),
        // On a thought, which then goes back.
        same(json!([signed(json!({"text": "hm", "thought": true}), "s1"), {"text": "a"}])),
        (
            json!([{"text": "hm", "thought": true}, signed(json!({"text": "a"}), "s1")]),
            json!([signed(json!({"text": "a"}), "s1")]),
        ),
        // On an image.
        same(
            json!([{"text": "see"}, signed(json!({"inlineData": {"mimeType": "image/png", "data": "QQ=="}}), "s1"), {"text": "there"}]),
        ),
        // On what Google ran itself.
        same(json!([
            signed(json!({"toolCall": {"id": "t", "toolType": "X", "args": {"q": [1.50]}}}), "s1"),
            signed(json!({"toolResponse": {"id": "t", "response": {}}}), "s2"),
            signed(json!({"text": "a"}), "s3")
        ])),
    ]
}

#[test]
fn every_signature_goes_back_on_its_part() {
    for (parts, expected) in table() {
        let message = returned(&whole(&reply(&parts, "STOP"))["choices"][0]["message"]);
        assert_eq!(back(&message), expected, "whole");

        let events: Vec<Value> =
            parts.as_array().unwrap().iter().map(|part| reply(&json!([part]), "STOP")).collect();
        let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&events)]);
        assert_eq!(ended, Ok(()));
        let choice = Seen::streamed(&chunks).choices.remove(0);
        let calls: Vec<Value> = choice.calls.iter().map(|call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})).collect();
        let streamed = json!({"role": "assistant", "content": choice.text, "tool_calls": calls, "reasoning_details": choice.details, "images": choice.images});
        assert_eq!(back(&streamed), expected, "streamed");
    }
}

#[test]
fn a_call_that_came_without_an_id_gets_its_signature_back_too() {
    let parts = json!([{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "s1"}, {"functionCall": {"name": "f", "args": {}}}]);
    let message = returned(&whole(&reply(&parts, "STOP"))["choices"][0]["message"]);
    assert_eq!(message["reasoning_details"][0]["id"], "call_x_0");
    assert_eq!(back(&message), parts);
}

#[test]
fn what_others_signed_is_left_out_and_nothing_is_made_up() {
    for details in [
        json!([{"type": "reasoning.encrypted", "data": "x", "id": "c1", "format": "anthropic-claude-v1"}]),
        json!([{"type": "reasoning.encrypted", "data": "x", "id": "c1"}]),
        json!([{"type": "reasoning.text", "text": "hm", "format": "google-gemini-v1"}]),
        json!([{"type": "reasoning.encrypted", "text": "no json", "format": "google-gemini-v1"}]),
        json!([]),
    ] {
        let message = json!({"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_details": details,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        assert_eq!(
            back(&message),
            json!([{"text": "a"}, {"functionCall": {"id": "c1", "name": "f", "args": {}}}]),
            "{details}"
        );
    }
}

#[test]
fn places_that_cannot_be_are_borne() {
    let details = json!([{"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1", "after_text": 99, "covers": 700, "after_calls": 9},
        {"type": "reasoning.encrypted", "data": "y", "format": "google-gemini-v1", "after_text": u64::MAX, "covers": 1}]);
    let message = json!({"role": "assistant", "content": "abc", "reasoning_details": details});
    assert_eq!(
        back(&message),
        json!([{"text": "abc", "thoughtSignature": "x"}, {"text": "", "thoughtSignature": "y"}])
    );
}
