//! What becomes of each part of a request.

use serde_json::{Value, json};

use super::FORMAT;
use crate::chat::{Facts, fields};
use crate::wire::recorded::Case;
use crate::wire::testing::{Target, encode, sent};
use crate::wire::{Quirks, WireFormat};

/// A request for model `m` with one message and these fields.
fn with(more: Value) -> Value {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// What such a request makes, beside what each makes.
fn made(more: Value) -> (Value, Vec<String>) {
    let (mut body, dropped) = sent(FORMAT, &with(more), &Target::default());
    let object = body.as_object_mut().unwrap();
    assert_eq!(object.shift_remove("model"), Some(json!("m")));
    assert_eq!(object.shift_remove("messages"), Some(json!([{"role": "user", "content": "hi"}])));
    object.retain(|name, value| name != "stream" || *value == true);
    (body, dropped)
}

fn function(name: &str, more: Value) -> Value {
    let mut function = json!({"name": name, "parameters": {"type": "object"}});
    function.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "function", "function": function})
}

#[test]
fn fields_take_the_vendors_names_and_what_it_lacks_is_named() {
    let none: &[&str] = &[];
    for (given, expected, dropped) in [
        (json!({}), json!({}), none),
        (json!({"stream": true}), json!({"stream": true}), none),
        (json!({"top_p": 0.5, "temperature": 0.30}), json!({"p": 0.5, "temperature": 0.30}), none),
        (json!({"top_p": 1}), json!({"p": 0.99}), none),
        (json!({"top_p": 0}), json!({"p": 0.01}), none),
        (json!({"top_k": 7}), json!({"k": 7}), none),
        (json!({"top_k": 7, "k": 9}), json!({"k": 9}), none),
        (json!({"stop": "END"}), json!({"stop_sequences": ["END"]}), none),
        (json!({"stop": ["a", "b"]}), json!({"stop_sequences": ["a", "b"]}), none),
        (json!({"seed": 18446744073709551615_u64}), json!({"seed": 18446744073709551615_u64}), none),
        (json!({"seed": -1}), json!({}), &["seed"]),
        (json!({"max_tokens": 5}), json!({"max_tokens": 5}), none),
        (json!({"max_tokens": 5, "max_completion_tokens": 6}), json!({"max_tokens": 6}), none),
        (
            json!({"frequency_penalty": 0.5, "presence_penalty": 1}),
            json!({"frequency_penalty": 0.5, "presence_penalty": 1}),
            none,
        ),
        (
            json!({"frequency_penalty": -0.5, "presence_penalty": 1.5}),
            json!({}),
            &["frequency_penalty", "presence_penalty"],
        ),
        (json!({"logprobs": true}), json!({"logprobs": true}), none),
        (json!({"logprobs": true, "stream": true}), json!({"stream": true}), &["logprobs"]),
        (json!({"top_logprobs": 3}), json!({}), &["top_logprobs"]),
        (
            json!({"user": "u", "metadata": {"a": "b"}, "store": true}),
            json!({}),
            &["user", "metadata", "store"],
        ),
        (json!({"parallel_tool_calls": false}), json!({}), &["parallel_tool_calls"]),
        (json!({"parallel_tool_calls": true, "n": 1}), json!({}), none),
        (json!({"stream_options": {"include_usage": true}}), json!({}), none),
        (json!({"unheard_of": 1}), json!({}), &["unheard_of"]),
        (
            json!({"documents": ["d"], "citation_options": {"mode": "FAST"}, "safety_mode": "OFF", "priority": 1}),
            json!({"documents": ["d"], "citation_options": {"mode": "FAST"}, "safety_mode": "OFF", "priority": 1}),
            none,
        ),
        (json!({"response_format": {"type": "text"}}), json!({}), none),
        (
            json!({"response_format": {"type": "json_object"}}),
            json!({"response_format": {"type": "json_object"}}),
            none,
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}}}),
            json!({"response_format": {"type": "json_object", "json_schema": {"type": "object"}}}),
            none,
        ),
    ] {
        let (body, named) = made(given.clone());
        assert_eq!(body, expected, "{given}");
        assert_eq!(named, dropped, "{given}");
    }
}

#[test]
fn effort_becomes_a_budget_that_leaves_room_for_an_answer() {
    let max_output =
        Target { facts: Facts { max_output: Some(8_000), ..Facts::default() }, ..Target::default() };
    for (given, target, expected) in [
        (json!({"reasoning_effort": "none"}), Target::default(), json!({"type": "disabled"})),
        (
            json!({"reasoning_effort": "minimal"}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 1024}),
        ),
        (
            json!({"reasoning_effort": "low"}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 2048}),
        ),
        (
            json!({"reasoning_effort": "medium"}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 8192}),
        ),
        (
            json!({"reasoning_effort": "high"}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 16384}),
        ),
        (
            json!({"reasoning_effort": "xhigh"}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 31000}),
        ),
        (json!({"reasoning_effort": "high"}), max_output, json!({"type": "enabled", "token_budget": 7000})),
        (
            json!({"reasoning_effort": "high", "max_tokens": 500}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 250}),
        ),
        (
            json!({"reasoning_effort": "high", "max_tokens": 1}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 1}),
        ),
        (
            json!({"thinking": {"type": "enabled", "token_budget": 9}}),
            Target::default(),
            json!({"type": "enabled", "token_budget": 9}),
        ),
        (json!({}), Target::default(), Value::Null),
    ] {
        let (body, dropped) = sent(FORMAT, &with(given.clone()), &target);
        assert_eq!(body["thinking"], expected, "{given}");
        assert!(dropped.is_empty());
    }
    let both = json!({"reasoning_effort": "low", "thinking": {"type": "disabled"}});
    let (body, dropped) = made(both);
    assert_eq!(
        (&body["thinking"]["type"], dropped),
        (&json!("disabled"), vec!["reasoning_effort".to_owned()])
    );
}

#[test]
fn a_choice_among_tools_is_said_in_the_vendors_words() {
    let (f, g) = (function("f", json!({"strict": true})), function("g", json!({"description": "d"})));
    let none: &[&str] = &[];
    for (given, names, choice, strict, dropped) in [
        (json!({"tools": [g]}), json!(["g"]), Value::Null, Value::Null, none),
        (json!({"tools": [g], "tool_choice": "auto"}), json!(["g"]), Value::Null, Value::Null, none),
        (
            json!({"tools": [g], "tool_choice": "required"}),
            json!(["g"]),
            json!("REQUIRED"),
            Value::Null,
            none,
        ),
        (json!({"tools": [g], "tool_choice": "none"}), json!(["g"]), json!("NONE"), Value::Null, none),
        (
            json!({"tools": [g, f], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            json!(["f"]),
            json!("REQUIRED"),
            json!(true),
            none,
        ),
        (json!({"tools": [f]}), json!(["f"]), Value::Null, json!(true), none),
        (
            json!({"tools": [g, f]}),
            json!(["g", "f"]),
            Value::Null,
            Value::Null,
            &["tools[1].function.strict"],
        ),
        (json!({"tools": [g, f], "strict_tools": true}), json!(["g", "f"]), Value::Null, json!(true), none),
        (
            json!({"tools": [{"type": "web_search"}], "tool_choice": "required"}),
            json!([]),
            Value::Null,
            Value::Null,
            &["tools[0]", "tool_choice"],
        ),
        (
            json!({"tools": [g], "tool_choice": {"type": "allowed_tools"}}),
            json!(["g"]),
            Value::Null,
            Value::Null,
            &["tool_choice"],
        ),
        (json!({"tool_choice": "none"}), json!([]), Value::Null, Value::Null, none),
    ] {
        let (body, named) = made(given.clone());
        let tools = body["tools"].as_array().cloned().unwrap_or_default();
        let listed: Vec<&Value> = tools.iter().map(|tool| &tool["function"]["name"]).collect();
        assert_eq!(json!(listed), names, "{given}");
        assert_eq!((&body["tool_choice"], &body["strict_tools"]), (&choice, &strict), "{given}");
        assert_eq!(named, dropped, "{given}");
        assert!(tools.iter().all(|tool| tool["function"].get("strict").is_none()), "{given}");
    }
    let bare = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    assert_eq!(
        made(bare).0["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {}})
    );
}

#[test]
fn messages_keep_their_order_and_shape() {
    let document = json!({"type": "document", "document": {"id": "1", "data": {"t": "x"}}});
    let body = json!({"model": "x", "messages": [
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": [{"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "t"}, document]},
        {"role": "assistant", "content": null, "refusal": "no"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": null},
        {"role": "user", "content": ""}]});
    let (sent, dropped) = sent(FORMAT, &body, &Target::default());
    assert!(dropped.is_empty());
    assert_eq!(
        sent["messages"],
        json!([
        {"role": "system", "content": "be brief"},
        {"role": "system", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": [{"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "t"}, document]},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": ""}])
    );
}

#[test]
fn what_a_message_cannot_hold_is_refused_by_its_path_and_marks_are_named() {
    for (message, path) in [
        (
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}]}),
            "messages[0].content[1]",
        ),
        (
            json!({"role": "user", "content": [{"type": "file", "file": {"file_data": "QUJD"}}]}),
            "messages[0].content[0]",
        ),
        (
            json!({"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x"}}]}),
            "messages[0].content[0]",
        ),
        (
            json!({"role": "tool", "tool_call_id": "c", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}),
            "messages[0].content[0]",
        ),
    ] {
        let body = json!({"model": "x", "messages": [message]}).to_string();
        let error = encode(FORMAT, &body, &Target::default()).unwrap_err();
        assert_eq!((error.class().status, error.param()), (400, Some(path)), "{body}");
        assert_eq!(error.code(), Some("unsupported_parameter"));
    }
    let marked = json!({"model": "x", "messages": [
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}]});
    let (body, dropped) = sent(FORMAT, &marked, &Target::default());
    assert_eq!(dropped, ["messages.name", "cache_control"]);
    assert_eq!(body["messages"], json!([{"role": "user", "content": [{"type": "text", "text": "a"}]}]));
}

#[test]
fn thinking_goes_back_to_where_it_stood_and_a_plan_to_its_place() {
    let think = |text: &str, after: u64| json!({"type": "reasoning.text", "text": text, "format": "cohere-v2", "after_text": after});
    let thinking = |text: &str| json!({"type": "thinking", "thinking": text});
    let text = |text: &str| json!({"type": "text", "text": text});
    let plan = json!({"type": "reasoning.summary", "summary": "p", "format": "cohere-v2"});
    let foreign =
        json!({"type": "reasoning.text", "text": "x", "signature": "s", "format": "anthropic-claude-v1"});
    let nobodys = json!({"type": "reasoning.text", "text": "x"});
    for (content, details, expected) in [
        (json!("aé"), json!([think("t", 0)]), json!([thinking("t"), text("aé")])),
        (
            json!("aéb"),
            json!([think("t", 0), think("u", 2), think("v", 3)]),
            json!([thinking("t"), text("aé"), thinking("u"), text("b"), thinking("v")]),
        ),
        (
            json!("ab"),
            json!([think("t", 1), think("u", 1)]),
            json!([text("a"), thinking("t"), thinking("u"), text("b")]),
        ),
        (json!([text("a"), text("b")]), json!([think("t", 1)]), json!([text("a"), thinking("t"), text("b")])),
        (json!("ab"), json!([think("t", 99)]), json!([text("ab"), thinking("t")])),
        (Value::Null, json!([think("t", 0)]), json!([thinking("t")])),
        (json!(""), json!([think("t", 0)]), json!([thinking("t")])),
        (json!("ab"), json!([foreign, nobodys]), json!("ab")),
        (json!("ab"), json!([plan]), json!("ab")),
    ] {
        let body = json!({"model": "x", "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": content, "reasoning": "not for the vendor", "reasoning_details": details,
             "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"}]});
        let (sent, dropped) = sent(FORMAT, &body, &Target::default());
        let message = &sent["messages"][1];
        assert_eq!(message["content"], expected, "{body}");
        assert_eq!(message.get("tool_plan"), details[0].get("summary"), "{body}");
        assert!(dropped.is_empty());
    }
}

#[test]
fn a_function_that_is_not_offered_cannot_be_chosen_and_n_is_refused() {
    let choice = json!({"tools": [function("f", json!({}))], "tool_choice": {"type": "function", "function": {"name": "g"}}});
    let error = encode(FORMAT, &with(choice).to_string(), &Target::default()).unwrap_err();
    assert_eq!((error.class().status, error.param()), (400, Some("tool_choice")));
    let error = encode(FORMAT, &with(json!({"n": 2})).to_string(), &Target::default()).unwrap_err();
    assert_eq!((error.param(), error.code()), (Some("n"), Some("unsupported_parameter")));
    let strict = Target { strict: true, ..Target::default() };
    let error = encode(FORMAT, &with(json!({"user": "u"})).to_string(), &strict).unwrap_err();
    assert_eq!(error.param(), Some("user"));
}

#[test]
fn what_a_row_drops_is_not_sent() {
    let quirks = Quirks {
        drop_params: [
            "top_p",
            "stop",
            "tools",
            "thinking",
            "response_format",
            "reasoning_effort",
            "logprobs",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Quirks::default()
    };
    let given = json!({"top_p": 0.5, "stop": "x", "tools": [function("f", json!({}))], "tool_choice": "required",
        "response_format": {"type": "json_object"}, "reasoning_effort": "low", "logprobs": true});
    let (body, dropped) = sent(FORMAT, &with(given), &Target { quirks, ..Target::default() });
    assert_eq!(dropped, ["top_p", "stop", "tools", "response_format", "reasoning_effort", "logprobs"]);
    let names: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["model", "messages", "stream"]);
}

/// Recorded requests with more than OpenAI's fields can say, made from what a client of this gateway would send.
#[test]
fn recorded_requests_of_the_vendors_own_fields_are_made_again() {
    let cases = Case::all("cohere");
    let mut compared = 0;
    for case in cases.iter().filter(|case| case.client.is_none()) {
        let Some(recorded) = case.request.clone().filter(|request| request.get("messages").is_some()) else {
            continue;
        };
        let mut client = recorded.clone();
        if let Some(schema) = recorded.pointer("/response_format/json_schema") {
            client["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        }
        for message in client["messages"].as_array_mut().unwrap() {
            let Some(thinking) = message.pointer("/content/0/thinking").cloned() else { continue };
            message["content"] = json!(message["content"][1]["text"]);
            message["reasoning_details"] =
                json!([{"type": "reasoning.text", "text": thinking, "format": "cohere-v2", "index": 0}]);
        }
        let (mut made, dropped) = sent(FORMAT, &client, &Target::default());
        made["model"] = recorded["model"].clone();
        assert_eq!(made, recorded, "{}", case.id);
        assert!(dropped.is_empty());
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn every_field_has_its_row() {
    for field in fields::FIELDS.iter().filter(|field| !field.ours) {
        assert!(WireFormat::Cohere.handling(field.name).is_some(), "{}", field.name);
    }
}
