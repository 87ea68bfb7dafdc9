//! What the API refuses, and what is sent instead.

use serde_json::{Value, json};

use super::{FORMAT, ask, call, hello, tool, with};
use crate::chat::Trait;
use crate::wire::testing::{self, Target};
use crate::wire::{Media, Quirks};

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub fn globs(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

#[test]
fn what_says_nothing_is_left_out_and_the_user_begins() {
    let called = json!({"role": "assistant", "content": " \n", "tool_calls": [call("functions.f:0")]});
    let answered = json!({"role": "tool", "tool_call_id": "functions.f:0", "content": "r"});
    for (name, messages, system, turns) in [
        (
            "blank instructions",
            json!([{"role": "system", "content": ""}, {"role": "user", "content": "a"}]),
            Value::Null,
            json!([["user", text("a")]]),
        ),
        (
            "instructions alone",
            json!([{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]),
            json!([text("a")]),
            json!([["user", text("b")]]),
        ),
        (
            "the model's greeting, and an answer to be continued",
            json!([{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b \n"}]),
            Value::Null,
            json!([
                ["user", text(".")],
                ["assistant", text("Hi!")],
                ["user", text("a")],
                ["assistant", text("b")]
            ]),
        ),
        (
            "white space between blocks, and an id of another vendor's",
            json!([{"role": "user", "content": "a"}, called, answered, {"role": "user", "content": " "}]),
            Value::Null,
            json!([
                ["user", text("a")],
                ["assistant", {"type": "tool_use", "id": "functions_f_0", "name": "f", "input": {"a": 1}}],
                ["user", {"type": "tool_result", "tool_use_id": "functions_f_0", "content": "r"}],
            ]),
        ),
        (
            "a blank turn, which the API refuses in better words",
            json!([{"role": "user", "content": ""}]),
            Value::Null,
            json!([["user", text("")]]),
        ),
    ] {
        let body = ask(&messages, &json!({"tools": [tool()]}));
        let (sent, dropped) = testing::sent(FORMAT, &body, &Target::default());
        let turns: Vec<Value> = turns
            .as_array()
            .unwrap()
            .iter()
            .map(|turn| json!({"role": turn[0], "content": [turn[1]]}))
            .collect();
        assert_eq!((&sent["system"], &sent["messages"]), (&system, &json!(turns)), "{name}");
        assert!(dropped.is_empty(), "{name}: {dropped:?}");
    }
}

#[test]
fn legacy_calls_of_one_function_are_told_apart() {
    let round = |city: &str| {
        [
            json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
            json!({"role": "function", "name": "f", "content": city}),
        ]
    };
    let mut messages = vec![json!({"role": "user", "content": "a"})];
    messages.extend(round("x").into_iter().chain(round("y")));
    let (sent, _) =
        testing::sent(FORMAT, &ask(&json!(messages), &json!({"tools": [tool()]})), &Target::default());
    for (at, id) in [(1, "function_f"), (3, "function_f_2")] {
        assert_eq!(sent["messages"][at]["content"][0]["id"], id);
        assert_eq!(sent["messages"][at + 1]["content"][0]["tool_use_id"], id);
    }
}

#[test]
fn calls_of_tools_that_are_offered_no_more_still_have_their_tools() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call("1"), call("2")]},
        {"role": "tool", "tool_call_id": "1", "content": ""}, {"role": "tool", "tool_call_id": "2", "content": ""}]);
    let (sent, _) = testing::sent(FORMAT, &ask(&messages, &json!({})), &Target::default());
    assert_eq!(sent["tools"], json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]));
    assert_eq!(sent["tool_choice"], json!({"type": "none"}));
}

#[test]
fn a_form_is_held_where_it_can_be_and_asked_for_where_not() {
    let open = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": open}});
    let closed = json!({"type": "object", "properties": {"n": {"type": "integer", "description": "(minimum: 1)"}}, "additionalProperties": false});
    let (sent, dropped) =
        testing::sent(FORMAT, &hello(&json!({"response_format": format})), &with(&[Trait::NativeSchema]));
    assert_eq!(sent["output_config"], json!({"format": {"type": "json_schema", "schema": closed}}));
    assert_eq!(dropped, ["response_format.json_schema.schema"]);
    for (target, format, words) in [
        (with(&[Trait::FreeToolsOnly]), format.clone(), "\"minimum\":1"),
        (Target::default(), json!({"type": "json_object"}), "one JSON object"),
    ] {
        let (sent, dropped) = testing::sent(FORMAT, &hello(&json!({"response_format": format})), &target);
        assert_eq!(dropped, ["response_format"]);
        assert!(sent["system"][0]["text"].as_str().unwrap().contains(words), "{sent}");
        assert!(sent.get("tools").is_none());
    }
    let own = |choice: Value| json!({"response_format": format, "tools": [tool()], "tool_choice": choice});
    for (choice, sent_choice, tools) in [
        (json!("auto"), json!({"type": "any"}), 2),
        (json!("none"), json!({"type": "tool", "name": crate::wire::encode::ANSWER_TOOL}), 2),
        (json!("required"), json!({"type": "any"}), 1),
        (json!({"type": "function", "function": {"name": "f"}}), json!({"type": "tool", "name": "f"}), 1),
    ] {
        let (sent, dropped) = testing::sent(FORMAT, &hello(&own(choice.clone())), &Target::default());
        assert_eq!(
            (&sent["tool_choice"], sent["tools"].as_array().unwrap().len()),
            (&sent_choice, tools),
            "{choice}"
        );
        assert!(dropped.is_empty());
    }
}

#[test]
fn tools_have_schemas_that_the_api_takes() {
    let function = |more: Value| {
        let mut function = json!({"name": "f"});
        function.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"type": "function", "function": function})
    };
    let open = json!({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}});
    for (traits, tools, sent, dropped) in [
        (
            vec![],
            json!([function(json!({"parameters": {}}))]),
            json!({"type": "object", "properties": {}}),
            vec![],
        ),
        (
            vec![],
            json!([function(json!({"parameters": {"properties": {"a": {}}}}))]),
            json!({"properties": {"a": {}}, "type": "object"}),
            vec![],
        ),
        (
            vec![],
            json!([function(json!({"parameters": open, "strict": true}))]),
            open.clone(),
            vec!["tools[0].function.strict"],
        ),
        (
            vec![Trait::NativeSchema],
            json!([function(json!({"parameters": open, "strict": false}))]),
            open.clone(),
            vec![],
        ),
        (
            vec![Trait::NativeSchema],
            json!([function(json!({"parameters": open, "strict": true}))]),
            json!({"type": "object", "properties": {"a": {"type": "string", "description": "(maxLength: 3)"}}, "additionalProperties": false}),
            vec!["tools[0].function.parameters"],
        ),
    ] {
        let (body, named) = testing::sent(FORMAT, &hello(&json!({"tools": tools})), &with(&traits));
        assert_eq!(
            (&body["tools"][0]["input_schema"], named),
            (&sent, dropped.iter().map(|n| (*n).to_owned()).collect()),
            "{tools}"
        );
    }
    let search = json!({"tools": [{"type": "function", "function": {"name": "web_search"}}], "web_search_options": {}});
    let (sent, dropped) = testing::sent(FORMAT, &hello(&search), &Target::default());
    assert_eq!(
        (sent["tools"].as_array().unwrap().len(), dropped),
        (1, vec!["web_search_options".to_owned()])
    );
}

#[test]
fn a_row_can_keep_any_field_from_being_sent() {
    let names = [
        "tools",
        "tool_choice",
        "stop",
        "user",
        "temperature",
        "reasoning_effort",
        "response_format",
        "thinking",
    ];
    let quirks = Quirks { drop_params: globs(&names), ..Quirks::default() };
    let fields = json!({"tools": [tool()], "tool_choice": "required", "stop": "x", "user": "u", "temperature": 0.5,
        "reasoning_effort": "low", "response_format": {"type": "json_object"}, "thinking": {"type": "adaptive"}});
    let (sent, dropped) = testing::sent(FORMAT, &hello(&fields), &Target { quirks, ..Target::default() });
    assert_eq!(sent.as_object().unwrap().keys().collect::<Vec<_>>(), ["model", "max_tokens", "messages"]);
    assert_eq!(dropped.len(), names.len());
}

#[test]
fn users_tiers_and_betas_are_said_in_the_vendors_way() {
    for (fields, member, value, dropped) in [
        (json!({"user": "u"}), "metadata", json!({"user_id": "u"}), vec![]),
        (json!({"safety_identifier": "s"}), "metadata", json!({"user_id": "s"}), vec![]),
        (
            json!({"metadata": {"user_id": "m", "team": "x"}, "user": "u"}),
            "metadata",
            json!({"user_id": "m"}),
            vec!["metadata"],
        ),
        (json!({"user": "u".repeat(257)}), "metadata", Value::Null, vec!["user"]),
        (json!({"service_tier": "standard_only"}), "service_tier", json!("standard_only"), vec![]),
        (json!({"service_tier": "flex"}), "service_tier", Value::Null, vec!["service_tier"]),
        (json!({"service_tier": "auto"}), "service_tier", Value::Null, vec![]),
        (
            json!({"cache_control": {"type": "ephemeral"}}),
            "cache_control",
            json!({"type": "ephemeral"}),
            vec![],
        ),
        (json!({"anthropic_beta": ["a b"]}), "anthropic_beta", Value::Null, vec!["anthropic_beta"]),
    ] {
        let (sent, named) = testing::sent(FORMAT, &hello(&fields), &Target::default());
        assert_eq!(
            (&sent[member], named),
            (&value, dropped.iter().map(|n| (*n).to_owned()).collect()),
            "{fields}"
        );
    }
    let file = json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]);
    let body = ask(&file, &json!({"anthropic_beta": ["x-1"]})).to_string();
    let encoded = testing::encode(FORMAT, &body, &Target::default()).unwrap();
    assert!(encoded.headers.contains(&("anthropic-beta", "x-1,files-api-2025-04-14".to_owned())));
}

#[test]
fn images_have_the_types_that_the_api_knows_and_fetched_ones_go_inline() {
    let mut media = Media::default();
    media.0.insert("https://x/y".to_owned(), ("image/webp".to_owned(), "QQ==".to_owned()));
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let file = |data: &str| json!({"type": "file", "file": {"file_data": data}});
    let parts = [
        image("data:image/jpg;base64,QQ=="),
        image("https://x/y"),
        file("data:image/png;base64,QQ=="),
        file("https://x/a.pdf"),
        file("data:application/json;base64,e30="),
    ];
    let target = Target { media, ..Target::default() };
    let (sent, _) =
        testing::sent(FORMAT, &ask(&json!([{"role": "user", "content": parts}]), &json!({})), &target);
    let inline = |mime: &str| json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": "QQ=="}});
    assert_eq!(
        sent["messages"][0]["content"],
        json!([
            inline("image/jpeg"),
            inline("image/webp"),
            inline("image/png"),
            {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "{}"}},
        ])
    );
}

#[test]
fn marks_that_cannot_be_taken_off_count() {
    let mark = json!({"type": "ephemeral"});
    let raw = json!({"type": "web_fetch_20250910", "name": "web_fetch", "cache_control": mark});
    let parts: Vec<Value> =
        (0..4).map(|n| json!({"type": "text", "text": n.to_string(), "cache_control": mark})).collect();
    let body =
        ask(&json!([{"role": "user", "content": parts}]), &json!({"tools": [raw], "cache_control": mark}));
    let (sent, dropped) = testing::sent(FORMAT, &body, &Target::default());
    assert_eq!(dropped, ["cache_control"]);
    let marked: Vec<bool> = sent["messages"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b.get("cache_control").is_some())
        .collect();
    assert_eq!(marked, [false, false, true, true]);
}
