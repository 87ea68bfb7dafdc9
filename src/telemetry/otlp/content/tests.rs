//! Bodies as they are kept, and the attributes that are made of them.

use serde_json::{Map, Value, json};

use super::super::attributes::Attributes;
use super::write;
use crate::request_log::{Kept, Rules};

fn kept(body: &str, truncated: bool) -> Kept {
    Kept { body: body.to_owned(), truncated, redacted: 0 }
}

/// The attributes made of these, by name; a text of JSON is read.
fn written(request: Option<&Kept>, response: Option<&Kept>) -> Value {
    let mut attributes = Attributes::new();
    write(&mut attributes, request, response, &Rules::new(&["email".to_owned()], []));
    let list: Vec<Value> = serde_json::from_str(&attributes.finish()).unwrap();
    let value = |one: &Value| match one["value"]["stringValue"].as_str() {
        Some(text) if text.starts_with(['[', '{']) => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        Some(text) => text.into(),
        None => one["value"]["boolValue"].clone(),
    };
    let named = list.iter().map(|one| (one["key"].as_str().unwrap().to_owned(), value(one)));
    let fields: Map<String, Value> = named.collect();
    assert_eq!(fields.len(), list.len(), "no name stands twice");
    fields.into()
}

fn asked(message: &Value) -> Value {
    let body = json!({"model": "m", "messages": [message]}).to_string();
    written(Some(&kept(&body, false)), None)["gen_ai.input.messages"][0].clone()
}

fn answered(body: &str) -> Value {
    written(None, Some(&kept(body, false)))
}

#[test]
fn messages_keep_their_order_and_their_parts() {
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1.50}"}});
    let odd = json!({"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{\"a\":[red"}});
    let custom = json!({"id": "c3", "type": "custom", "custom": {"name": "sh", "input": "ls"}});
    for (message, role, parts) in [
        (
            json!({"role": "system", "content": "Be brief."}),
            "system",
            json!([{"type": "text", "content": "Be brief."}]),
        ),
        (
            json!({"role": "developer", "content": "x"}),
            "developer",
            json!([{"type": "text", "content": "x"}]),
        ),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}),
            "user",
            json!([{"type": "text", "content": "a"}, {"type": "text", "content": ""}]),
        ),
        (
            json!({"role": "assistant", "content": null, "reasoning": "hm", "reasoning_content": "hm", "tool_calls": [call, odd, custom]}),
            "assistant",
            json!([
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1.5}},
                {"type": "tool_call", "id": "c2", "name": "f", "arguments": "{\"a\":[red"},
                {"type": "tool_call", "id": "c3", "name": "sh", "arguments": "ls"}
            ]),
        ),
        (
            json!({"role": "assistant", "content": "", "function_call": {"name": "old", "arguments": ""}}),
            "assistant",
            json!([{"type": "tool_call", "name": "old", "arguments": ""}]),
        ),
        (
            json!({"role": "assistant", "content": "ok", "reasoning_details": [{"type": "reasoning.text", "text": "so "}, {"type": "reasoning.summary", "summary": "far"}]}),
            "assistant",
            json!([{"type": "reasoning", "content": "so far"}, {"type": "text", "content": "ok"}]),
        ),
        (
            json!({"role": "tool", "tool_call_id": "c1", "content": "{\"t\": 7}"}),
            "tool",
            json!([{"type": "tool_call_response", "id": "c1", "response": "{\"t\": 7}"}]),
        ),
        (
            json!({"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "7"}]}),
            "tool",
            json!([{"type": "tool_call_response", "id": "c1", "response": [{"type": "text", "text": "7"}]}]),
        ),
    ] {
        assert_eq!(asked(&message), json!({"role": role, "parts": parts}), "{message}");
    }
    assert_eq!(asked(&json!({"role": "user", "name": "Ann", "content": "x"}))["name"], "Ann");
}

#[test]
fn what_arguments_hid_from_the_rules_is_masked_when_they_are_read() {
    for (arguments, read) in [
        (r#"{"to":"a\u0040b.de","n":"x\ny"}"#, json!({"to": "[redacted:email]", "n": "x\ny"})),
        (r#"{"to":"j\u00fcrgen@m\u00fcller.de"}"#, json!({"to": "[redacted:email]"})),
        (r#"{"to":"half\"#, json!(r#"{"to":"half\"#)),
    ] {
        let called = json!({"type": "function", "function": {"name": "f", "arguments": arguments}});
        let message = json!({"role": "assistant", "tool_calls": [called]});
        assert_eq!(asked(&message)["parts"][0]["arguments"], read, "{arguments}");
    }
}

#[test]
fn files_are_blobs_addresses_or_ids_and_what_is_unknown_keeps_its_words() {
    let masked = "[redacted:data_url 102 characters]";
    for (given, part) in [
        (
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}}),
            json!({"type": "blob", "mime_type": "image/png", "modality": "image", "content": "QUJD", "detail": "low"}),
        ),
        (
            json!({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}),
            json!({"type": "uri", "modality": "image", "uri": "https://example.org/a.png"}),
        ),
        (
            json!({"type": "image_url", "image_url": {"url": masked}}),
            json!({"type": "uri", "modality": "image", "uri": masked}),
        ),
        (
            json!({"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}),
            json!({"type": "blob", "mime_type": "audio/wav", "modality": "audio", "content": "QUJD"}),
        ),
        (
            json!({"type": "file", "file": {"file_id": "f1"}}),
            json!({"type": "file", "modality": "document", "file_id": "f1"}),
        ),
        (
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}),
            json!({"type": "blob", "mime_type": "application/pdf", "modality": "document", "content": "QUJD", "filename": "a.pdf"}),
        ),
        (json!({"type": "refusal", "refusal": "no"}), json!({"type": "refusal", "content": "no"})),
        (json!({"type": "thinking", "thinking": "hm"}), json!({"type": "thinking", "thinking": "hm"})),
        (json!({"type": "text"}), json!({"type": "text"})),
        (json!("bare"), json!({"type": "unknown", "content": "bare"})),
    ] {
        let message = json!({"role": "user", "content": [given]});
        assert_eq!(asked(&message)["parts"], json!([part]), "{given}");
    }
}

#[test]
fn tools_are_defined_beside_the_messages() {
    let body = json!({
        "messages": [],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "custom", "custom": {"name": "sh"}},
            {"type": "web_search", "name": "w"}
        ],
        "functions": [{"name": "old", "parameters": {}}]
    });
    let written = written(Some(&kept(&body.to_string(), false)), None);
    let expected = json!({
        "gen_ai.input.messages": [],
        "gen_ai.tool.definitions": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
            {"type": "custom", "name": "sh"},
            {"type": "web_search", "name": "w"},
            {"type": "function", "name": "old", "parameters": {}}
        ]
    });
    assert_eq!(written, expected);
}

#[test]
fn each_choice_is_a_message_with_how_it_ended() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"choices": [
        {"index": 0, "message": {"role": "assistant", "content": "one"}, "finish_reason": "length"},
        {"index": 1, "message": {"role": "assistant", "content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"},
        {"index": 2, "message": {"content": null, "refusal": "no"}},
        {"index": 3, "message": {"content": null, "audio": {"id": "a1", "data": "QUJD", "expires_at": 1, "transcript": "hi"}}, "finish_reason": "stop"}
    ]});
    let messages = json!([
        {"role": "assistant", "parts": [{"type": "text", "content": "one"}], "finish_reason": "length"},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "f", "arguments": {}}], "finish_reason": "tool_call"},
        {"role": "assistant", "parts": [{"type": "refusal", "content": "no"}]},
        {"role": "assistant", "parts": [{"type": "blob", "modality": "audio", "content": "QUJD", "id": "a1", "transcript": "hi"}], "finish_reason": "stop"}
    ]);
    assert_eq!(answered(&body.to_string()), json!({"gen_ai.output.messages": messages}));
}

/// A stream of these deltas of choices, each with its index and how it ended.
fn stream(deltas: &[(u64, Value, Value)]) -> String {
    let event = |(index, delta, finish): &(u64, Value, Value)| {
        let choice = json!({"index": index, "delta": delta, "finish_reason": finish});
        format!("data: {}\n\n", json!({"id": "x", "choices": [choice]}))
    };
    deltas.iter().map(event).collect()
}

#[test]
fn a_stream_is_put_together_choice_by_choice_and_call_by_call() {
    let calls = |index: u64, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let function = json!({"name": name, "arguments": arguments});
        json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
    };
    let none = Value::Null;
    let body = stream(&[
        (0, json!({"role": "assistant", "content": ""}), none.clone()),
        (1, json!({"role": "assistant", "refusal": "I "}), none.clone()),
        (0, json!({"reasoning": "so "}), none.clone()),
        (0, json!({"reasoning": "far"}), none.clone()),
        (0, json!({"content": "Hi "}), none.clone()),
        (1, json!({"refusal": "won't"}), json!("stop")),
        (0, json!({"content": "there"}), none.clone()),
        (0, calls(0, Some("c1"), Some("f"), ""), none.clone()),
        (0, calls(1, Some("c2"), Some("g"), "{\"b\""), none.clone()),
        (0, calls(0, None, None, "{\"a\":"), none.clone()),
        (0, calls(1, None, Some("g"), ":2}"), none.clone()),
        (0, calls(0, Some(""), None, "1}"), none),
        (0, json!({}), json!("tool_calls")),
    ]);
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n";
    let parts = json!([
        {"type": "reasoning", "content": "so far"},
        {"type": "text", "content": "Hi there"},
        {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
        {"type": "tool_call", "id": "c2", "name": "g", "arguments": {"b": 2}}
    ]);
    let messages = json!([
        {"role": "assistant", "parts": parts, "finish_reason": "tool_call"},
        {"role": "assistant", "parts": [{"type": "refusal", "content": "I won't"}], "finish_reason": "stop"}
    ]);
    assert_eq!(answered(&(body + usage)), json!({"gen_ai.output.messages": messages}));
}

#[test]
fn errors_are_shown_beside_what_was_said_before_them() {
    let error = json!({"message": "m", "type": "api_error"});
    let whole = json!({"error": error}).to_string();
    assert_eq!(answered(&whole), json!({"llm_gateway.response.error": error}));
    let said = stream(&[(0, json!({"role": "assistant", "content": "half"}), Value::Null)]);
    let messages = json!([{"role": "assistant", "parts": [{"type": "text", "content": "half"}]}]);
    assert_eq!(
        answered(&format!("{said}data: {whole}\n\n")),
        json!({"gen_ai.output.messages": messages, "llm_gateway.response.error": error})
    );
}

#[test]
fn what_cannot_be_read_is_shown_as_it_is_and_what_was_cut_says_so() {
    let cut = "{\"messages\":[{\"role\":\"user\",\"content\":\"half a sen";
    assert_eq!(
        written(Some(&kept(cut, true)), None),
        json!({"llm_gateway.request.body": cut, "llm_gateway.content_truncated": true})
    );
    // Whole events of a stream can be read.
    let half = stream(&[(0, json!({"content": "half"}), Value::Null)]);
    let messages = json!([{"role": "assistant", "parts": [{"type": "text", "content": "half"}]}]);
    assert_eq!(
        written(None, Some(&kept(&half, true))),
        json!({"gen_ai.output.messages": messages, "llm_gateway.content_truncated": true})
    );
    // Nothing was sent, or nothing is left of it.
    assert_eq!(
        written(Some(&kept("", true)), Some(&kept("", false))),
        json!({"llm_gateway.content_truncated": true})
    );
    let many: String =
        (0..600).map(|index| stream(&[(index, json!({"content": "a"}), Value::Null)])).collect();
    for body in [
        "no JSON",
        "{\"object\":\"explanation\"}",
        "{\"choices\":[{\"message\":7}]}",
        "data: {half\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":[]}}]}\n\n",
        &many,
    ] {
        let shown = answered(body);
        let read: Value = serde_json::from_str(body).unwrap_or_else(|_| body.into());
        assert_eq!(shown, json!({"llm_gateway.response.body": read}));
    }
    for body in [
        "{\"messages\":\"hi\"}",
        "{\"messages\":[{\"content\":\"a\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":7}]}",
    ] {
        let read: Value = serde_json::from_str(body).unwrap();
        assert_eq!(written(Some(&kept(body, false)), None), json!({"llm_gateway.request.body": read}));
    }
}
