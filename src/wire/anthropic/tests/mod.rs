//! The format by table: what each field, message and rule becomes, and what comes back of blocks and events.

mod agent;
mod blocks;
mod recorded;
mod rules;
mod thinking;

use serde_json::{Value, json};

use crate::chat::{Facts, Trait, Traits};
use crate::wire::testing::{self, Target};
use crate::wire::{DecodeError, Quirks, WireFormat};

const FORMAT: WireFormat = WireFormat::Anthropic;

fn facts(traits: &[Trait]) -> Facts {
    let traits = traits.iter().fold(Traits::default(), |all, one| all.with(*one));
    Facts { known: true, max_output: Some(64_000), traits }
}

fn with(traits: &[Trait]) -> Target {
    Target { facts: facts(traits), ..Target::default() }
}

/// A request with these messages and fields.
fn ask(messages: &Value, more: &Value) -> Value {
    let mut body = json!({"model": "x", "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn hello(more: &Value) -> Value {
    ask(&json!([{"role": "user", "content": "hi"}]), more)
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}})
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}})
}

/// Messages of the client, then system and turns that go upstream.
#[test]
fn messages_become_system_and_alternating_turns() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let used = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}});
    let result =
        |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let user = |content: Value| json!({"role": "user", "content": content});
    let model = |content: Value| json!({"role": "assistant", "content": content});
    for (name, messages, system, turns) in [
        (
            "system and developer go apart, in order, wherever they stand",
            json!([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}, {"role": "developer", "content": "c"}]),
            json!([text("a"), text("c")]),
            json!([user(json!([text("b")]))]),
        ),
        (
            "neighbours of one role are one turn, and an empty text beside another is left out",
            json!([{"role": "user", "content": "a"}, {"role": "user", "content": [text(""), text("b")]}, {"role": "assistant", "content": "c"}]),
            Value::Null,
            json!([user(json!([text("a"), text("b")])), model(json!([text("c")]))]),
        ),
        (
            "results are grouped, come before what else was said, and may be empty",
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [call("1"), call("2")]},
                {"role": "tool", "tool_call_id": "1", "content": ""}, {"role": "user", "content": "b"},
                {"role": "tool", "tool_call_id": "2", "content": [text("x"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]}]),
            Value::Null,
            json!([
                user(json!([text("a")])),
                model(json!([used("1"), used("2")])),
                user(json!([
                    result("1", json!("")),
                    result(
                        "2",
                        json!([text("x"), {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}])
                    ),
                    text("b"),
                ]))
            ]),
        ),
        (
            "images and documents",
            json!([{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_data": "data:text/csv;base64,YSxi"}},
                {"type": "file", "file": {"file_id": "file_1"}}]}]),
            Value::Null,
            json!([user(json!([
                {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}, "title": "a.pdf"},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            ]))]),
        ),
    ] {
        let (sent, dropped) =
            testing::sent(FORMAT, &ask(&messages, &json!({"tools": [tool()]})), &Target::default());
        assert_eq!((&sent["system"], &sent["messages"]), (&system, &turns), "{name}");
        assert!(dropped.is_empty(), "{name}: {dropped:?}");
    }
}

#[test]
fn reasoning_goes_back_to_where_it_stood_and_foreign_reasoning_does_not() {
    let mine = |more: Value| {
        let mut detail = json!({"type": "reasoning.text", "format": "anthropic-claude-v1"});
        detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        detail
    };
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "zéb", "tool_calls": [call("1"), call("2")],
        "reasoning": "not to be trusted",
        "reasoning_details": [
            mine(json!({"text": "t1", "signature": "s1"})),
            mine(json!({"text": "", "signature": "s2", "after_text": 2})),
            {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1", "after_text": 3},
            mine(json!({"text": "t4", "signature": "s4", "after_text": 3, "after_calls": 1})),
            {"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1"},
            {"type": "reasoning.text", "text": "nobody's", "signature": "x"},
        ]},
        {"role": "tool", "tool_call_id": "1", "content": "r"}, {"role": "tool", "tool_call_id": "2", "content": "r"}]);
    let (sent, _) = testing::sent(FORMAT, &ask(&messages, &json!({"tools": [tool()]})), &Target::default());
    let used = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}});
    assert_eq!(
        sent["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "t1", "signature": "s1"},
            {"type": "text", "text": "zé"},
            {"type": "thinking", "thinking": "", "signature": "s2"},
            {"type": "text", "text": "b"},
            {"type": "redacted_thinking", "data": "d"},
            used("1"),
            {"type": "thinking", "thinking": "t4", "signature": "s4"},
            used("2"),
        ])
    );
}

/// A model's traits, fields of a request, what must be there of them, and what is named as dropped.
type Row = (Vec<Trait>, Value, Value, Vec<&'static str>);

fn check(rows: Vec<Row>) {
    for (traits, fields, expected, dropped) in rows {
        let (sent, named) = testing::sent(FORMAT, &hello(&fields), &with(&traits));
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&sent[name], value, "{fields}: {sent}");
        }
        assert_eq!(named, dropped, "{fields}");
    }
}

#[test]
#[rustfmt::skip]
fn thinking_limits_and_sampling_become_what_the_api_calls_them() {
    use Trait::{AdaptiveThinking as Adaptive, BudgetThinking as Budget, FixedSampling, XhighEffort};
    check(vec![
        (vec![], json!({}), json!({"max_tokens": 64000, "thinking": null, "stream": null}), vec![]),
        (vec![], json!({"max_completion_tokens": 7, "stream": true}), json!({"max_tokens": 7, "stream": true}), vec![]),
        (vec![Budget], json!({"reasoning_effort": "minimal"}), json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), vec![]),
        (vec![Budget], json!({"reasoning_effort": "xhigh"}), json!({"thinking": {"type": "enabled", "budget_tokens": 32768}}), vec![]),
        (vec![Budget], json!({"reasoning_effort": "medium", "max_tokens": 100}), json!({"thinking": {"type": "enabled", "budget_tokens": 8192}, "max_tokens": 8292}), vec![]),
        (vec![Budget], json!({"reasoning_effort": "xhigh", "max_tokens": 32768}), json!({"thinking": {"type": "enabled", "budget_tokens": 31232}, "max_tokens": 64000}), vec![]),
        (vec![Adaptive], json!({"reasoning_effort": "none"}), json!({"thinking": {"type": "disabled"}}), vec![]),
        (vec![Adaptive], json!({"reasoning_effort": "xhigh"}), json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}}), vec![]),
        (vec![Adaptive, XhighEffort], json!({"reasoning_effort": "xhigh"}), json!({"output_config": {"effort": "xhigh"}}), vec![]),
        (vec![Budget], json!({"reasoning_effort": "low", "temperature": 0.2, "top_p": 0.5, "top_k": 3}), json!({"temperature": null, "top_p": null, "top_k": null}), vec!["temperature", "top_p", "top_k"]),
        (vec![Budget], json!({"reasoning_effort": "low", "temperature": 1, "top_p": 1}), json!({"temperature": 1, "top_p": null}), vec![]),
        (vec![], json!({"temperature": 0.2, "top_p": 0.5, "top_k": 3}), json!({"temperature": 0.2, "top_p": null, "top_k": 3}), vec!["top_p"]),
        (vec![], json!({"temperature": 1.5}), json!({"temperature": null}), vec!["temperature"]),
        (vec![FixedSampling], json!({"temperature": 0.2}), json!({"temperature": null}), vec!["temperature"]),
        (vec![], json!({"stop": ["END", "\n"]}), json!({"stop_sequences": ["END"]}), vec!["stop"]),
        (vec![], json!({"user": "u-1", "seed": 5, "n": 1}), json!({"metadata": {"user_id": "u-1"}}), vec!["seed"]),
        (vec![], json!({"thinking": {"type": "adaptive"}}), json!({"thinking": {"type": "adaptive"}}), vec![]),
        (vec![], json!({"something_new": 1}), json!({}), vec!["something_new"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn tools_choices_and_schemas_become_what_the_api_calls_them() {
    use Trait::{BudgetThinking as Budget, FreeToolsOnly, NativeSchema};
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    let function = json!({"type": "function", "function": {"name": "f"}});
    check(vec![
        (vec![], json!({"tools": [function], "tool_choice": "required", "parallel_tool_calls": false}),
            json!({"tool_choice": {"type": "any", "disable_parallel_tool_use": true}, "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]}), vec![]),
        (vec![], json!({"tools": [function], "tool_choice": {"type": "function", "function": {"name": "f"}}}), json!({"tool_choice": {"type": "tool", "name": "f"}}), vec![]),
        (vec![], json!({"tools": [function], "tool_choice": "none"}), json!({"tool_choice": {"type": "none"}}), vec![]),
        (vec![], json!({"tools": [function], "parallel_tool_calls": false}), json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}), vec![]),
        (vec![Budget], json!({"tools": [function], "tool_choice": "required", "reasoning_effort": "low"}), json!({"tool_choice": {"type": "auto"}}), vec!["tool_choice"]),
        (vec![FreeToolsOnly], json!({"tools": [function], "tool_choice": "required"}), json!({"tool_choice": {"type": "auto"}}), vec!["tool_choice"]),
        (vec![NativeSchema], json!({"response_format": schema}), json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": false}}}, "tools": null}), vec![]),
        (vec![Budget], json!({"response_format": schema, "reasoning_effort": "low"}), json!({"tools": null}), vec!["response_format"]),
        (vec![], json!({"response_format": {"type": "json_object"}}), json!({"tools": null}), vec!["response_format"]),
        (vec![], json!({"web_search_options": {"user_location": {"type": "approximate", "approximate": {"country": "AT"}}}}),
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "user_location": {"country": "AT", "type": "approximate"}}]}), vec![]),
    ]);
}

#[test]
fn a_schema_without_native_support_is_answered_through_a_tool_that_nobody_sees() {
    let format = json!({"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}});
    let (sent, _) = testing::sent(FORMAT, &hello(&json!({"response_format": format})), &with(&[]));
    let name = sent["tools"][0]["name"].clone();
    assert_eq!(sent["tool_choice"], json!({"type": "tool", "name": name}));
    assert_eq!(sent["tools"][0]["input_schema"]["properties"]["a"]["type"], "integer");
    let (own, _) =
        testing::sent(FORMAT, &hello(&json!({"response_format": format, "tools": [tool()]})), &with(&[]));
    assert_eq!((own["tools"].as_array().unwrap().len(), &own["tool_choice"]["type"]), (2, &json!("any")));
    let reply = json!({"content": [{"type": "tool_use", "id": "1", "name": name, "input": {"a": 1}}], "stop_reason": "tool_use"});
    let answer = testing::whole(FORMAT, reply.to_string().as_bytes()).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("{\"a\":1}"), &json!("stop"))
    );
    assert!(choice["message"].get("tool_calls").is_none());
}

#[test]
fn a_tool_turn_that_lost_its_reasoning_goes_on_without_thinking() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call("1")]}, {"role": "tool", "tool_call_id": "1", "content": "r"}]);
    let more = json!({"tools": [tool()], "reasoning_effort": "high"});
    let (sent, dropped) = testing::sent(FORMAT, &ask(&messages, &more), &with(&[Trait::BudgetThinking]));
    assert_eq!((&sent["thinking"], dropped.as_slice()), (&Value::Null, &["reasoning_effort".to_owned()][..]));
    let (sent, dropped) = testing::sent(FORMAT, &ask(&messages, &more), &with(&[Trait::AdaptiveThinking]));
    assert_eq!((&sent["thinking"]["type"], dropped.len()), (&json!("adaptive"), 0));
}

#[test]
fn cache_marks_pass_and_the_earliest_beyond_four_are_taken_off() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let part = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
    let mut tool = tool();
    tool["cache_control"] = mark.clone();
    let messages = json!([{"role": "system", "content": [part("s")]}, {"role": "user", "content": [part("a"), part("b")]},
        {"role": "user", "content": "c", "cache_control": mark}]);
    let (sent, dropped) =
        testing::sent(FORMAT, &ask(&messages, &json!({"tools": [tool]})), &Target::default());
    assert_eq!(dropped, ["cache_control"]);
    assert!(sent["tools"][0].get("cache_control").is_none());
    assert_eq!(sent["system"][0]["cache_control"], mark);
    assert!(
        sent["messages"][0]["content"].as_array().unwrap().iter().all(|block| block["cache_control"] == mark)
    );
}

#[test]
fn what_the_format_cannot_take_is_a_400_that_names_it() {
    let target = Target::default();
    let part = |part: Value| ask(&json!([{"role": "user", "content": [part]}]), &json!({}));
    for (body, param) in [
        (hello(&json!({"n": 2})), "n"),
        (
            part(json!({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}})),
            "messages[0].content[0].input_audio",
        ),
        (
            part(json!({"type": "file", "file": {"file_data": "data:application/zip;base64,QQ=="}})),
            "messages[0].content[0].file",
        ),
        (
            part(json!({"type": "video_url", "video_url": {"url": "https://x"}})),
            "messages[0].content[0].type",
        ),
        (hello(&json!({"tools": [{"type": "web_search_preview"}]})), "tools[0].type"),
        (
            ask(
                &json!([{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "nope"}}]}]),
                &json!({}),
            ),
            "messages[1].tool_calls[0].function.arguments",
        ),
    ] {
        let error = testing::encode(FORMAT, &body.to_string(), &target).unwrap_err();
        assert_eq!((error.class().status, error.param()), (400, Some(param)), "{error}");
    }
    let strict = Target { strict: true, ..Target::default() };
    let error = testing::encode(FORMAT, &hello(&json!({"seed": 1})).to_string(), &strict).unwrap_err();
    assert_eq!((error.code(), error.param()), (Some("unsupported_parameter"), Some("seed")));
}

#[test]
fn the_version_goes_into_a_header_or_where_the_path_names_the_model_into_the_body() {
    let body = hello(&json!({"stream": true})).to_string();
    let encoded = testing::encode(FORMAT, &body, &Target::default()).unwrap();
    assert_eq!(encoded.headers, [("anthropic-version", "2023-06-01".to_owned())]);
    let quirks =
        Quirks { body_version: Some("vertex-2023-10-16".into()), stream_field: false, ..Quirks::default() };
    let encoded = testing::encode(FORMAT, &body, &Target { quirks, ..Target::default() }).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert!(encoded.headers.is_empty() && sent.get("model").is_none() && sent.get("stream").is_none());
    assert_eq!(sent["anthropic_version"], "vertex-2023-10-16");
}

fn events(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

fn streamed(all: &[Value]) -> (Vec<Value>, Result<(), DecodeError>) {
    testing::stream(FORMAT, "text/event-stream", &[events(all).as_bytes()])
}

#[test]
fn usage_is_cumulative_and_a_later_count_replaces_an_earlier_one() {
    let (chunks, ended) = streamed(&[
        json!({"type": "message_start", "message": {"id": "m1", "usage": {"input_tokens": 3, "cache_read_input_tokens": 10,
            "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 2}, "output_tokens": 1}}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 9, "server_tool_use": {"web_search_requests": 2}}}),
        json!({"type": "message_stop"}),
    ]);
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(ended, Ok(()));
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(20), &json!(9), &json!(29))
    );
    assert_eq!(usage["prompt_tokens_details"], json!({"cached_tokens": 10, "cache_write_tokens": 7}));
    assert_eq!(usage["num_search_queries"], 2);
    assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "length"));
}

#[test]
fn endings_are_told_apart_and_never_made_up() {
    for (reason, finish) in [
        ("end_turn", json!("stop")),
        ("stop_sequence", json!("stop")),
        ("max_tokens", json!("length")),
        ("model_context_window_exceeded", json!("length")),
        ("refusal", json!("content_filter")),
        ("pause_turn", Value::Null),
        ("something_new", Value::Null),
    ] {
        let reply = json!({"content": [{"type": "text", "text": "a"}], "stop_reason": reason, "usage": {"input_tokens": 1, "output_tokens": 1}});
        let answer = testing::whole(FORMAT, reply.to_string().as_bytes()).unwrap();
        assert_eq!(answer["choices"][0]["finish_reason"], finish, "{reason}");
        assert_eq!(answer["choices"][0].get("native_finish_reason").is_some(), finish.is_null(), "{reason}");
    }
}

#[test]
fn the_vendors_own_tools_are_no_calls_and_what_they_found_is_an_annotation() {
    let citation = json!({"type": "web_search_result_location", "url": "https://x", "title": "X", "cited_text": "c", "encrypted_index": "e"});
    let content = json!([
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv", "content": []},
        {"type": "text", "text": "é "}, {"type": "text", "text": "said", "citations": [citation]},
    ]);
    let answer =
        testing::whole(FORMAT, json!({"content": content, "stop_reason": "end_turn"}).to_string().as_bytes())
            .unwrap();
    let message = &answer["choices"][0]["message"];
    assert!(message.get("tool_calls").is_none());
    assert_eq!(
        message["annotations"],
        json!([{"type": "url_citation", "url_citation": {"url": "https://x", "title": "X", "start_index": 2, "end_index": 6}}])
    );
}

#[test]
fn failures_inside_a_200_have_the_status_that_they_stand_for() {
    let start = json!({"type": "message_start", "message": {"id": "m"}});
    for (kind, status) in [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("invalid_request_error", 400),
    ] {
        let error = json!({"type": "error", "error": {"type": kind, "message": "because"}});
        let (_, ended) = streamed(&[start.clone(), error.clone()]);
        assert!(
            matches!(&ended, Err(DecodeError::Fault(fault)) if fault.status == status && fault.message == "because"),
            "{ended:?}"
        );
        let whole = testing::whole(FORMAT, error.to_string().as_bytes());
        assert!(matches!(&whole, Err(DecodeError::Fault(fault)) if fault.status == status), "{whole:?}");
    }
    assert_eq!(streamed(&[start]).1, Err(DecodeError::Truncated));
}
