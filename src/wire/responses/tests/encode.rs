//! What a request becomes, rule by rule.

use serde_json::{Value, json};

use crate::chat::{Facts, Trait, Traits};
use crate::wire::quirks::EffortStyle;
use crate::wire::testing::{self, Target};
use crate::wire::{Quirks, WireFormat};

fn sent(body: &Value, target: &Target) -> (Value, Vec<String>) {
    testing::sent(WireFormat::Responses, body, target)
}

/// A request with some messages.
fn messages(messages: Value) -> Value {
    json!({"model": "m", "messages": messages})
}

/// A request with one more field.
fn with(name: &str, value: Value) -> Value {
    let mut body = messages(json!([{"role": "user", "content": "hi"}]));
    body[name] = value;
    body
}

fn developer() -> Target {
    Target { quirks: Quirks { developer_role: true, ..Quirks::default() }, ..Target::default() }
}

#[test]
fn a_plain_request_stores_nothing_and_asks_for_reasoning_that_can_travel() {
    let (body, dropped) = sent(&messages(json!([{"role": "user", "content": "hi"}])), &Target::default());
    assert_eq!(
        body,
        json!({"model": "m", "store": false, "include": ["reasoning.encrypted_content"],
            "input": [{"role": "user", "content": "hi"}]})
    );
    assert!(dropped.is_empty());
}

#[test]
fn a_model_that_does_not_reason_is_not_asked_for_its_reasoning() {
    let traits = Traits::default();
    for (known, traits, asked) in [
        (false, traits, true),
        (true, traits.with(Trait::BudgetThinking), true),
        (true, traits.with(Trait::AdaptiveThinking), true),
        (true, traits, false),
    ] {
        let target = Target { facts: Facts { known, traits, ..Facts::default() }, ..Target::default() };
        let (body, _) = sent(&messages(json!([{"role": "user", "content": "hi"}])), &target);
        assert_eq!(body.get("include").is_some(), asked, "{body}");
    }
}

#[test]
fn fields_become_the_apis_own() {
    for (name, value, path, expected) in [
        ("store", json!(true), "/store", json!(true)),
        ("max_tokens", json!(100), "/max_output_tokens", json!(100)),
        ("max_completion_tokens", json!(100), "/max_output_tokens", json!(100)),
        ("temperature", json!(0.3), "/temperature", json!(0.3)),
        ("top_p", json!(0.5), "/top_p", json!(0.5)),
        ("parallel_tool_calls", json!(false), "/parallel_tool_calls", json!(false)),
        ("service_tier", json!("flex"), "/service_tier", json!("flex")),
        ("metadata", json!({"a": "b"}), "/metadata", json!({"a": "b"})),
        ("prompt_cache_key", json!("k"), "/prompt_cache_key", json!("k")),
        ("prompt_cache_retention", json!("24h"), "/prompt_cache_retention", json!("24h")),
        ("user", json!("u"), "/user", json!("u")),
        ("safety_identifier", json!("s"), "/safety_identifier", json!("s")),
        ("truncation", json!("auto"), "/truncation", json!("auto")),
        ("top_logprobs", json!(3), "/top_logprobs", json!(3)),
        ("logprobs", json!(true), "/include/1", json!("message.output_text.logprobs")),
        ("verbosity", json!("low"), "/text", json!({"verbosity": "low"})),
        ("stream", json!(true), "/stream", json!(true)),
        ("reasoning_effort", json!("xhigh"), "/reasoning", json!({"effort": "xhigh"})),
        ("reasoning", json!({"summary": "auto"}), "/reasoning", json!({"summary": "auto"})),
        ("include", json!(["x"]), "/include", json!(["x", "reasoning.encrypted_content"])),
        ("response_format", json!({"type": "json_object"}), "/text/format", json!({"type": "json_object"})),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": {"type": "object"}}}),
            "/text/format",
            json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}),
        ),
        (
            "response_format",
            json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "description": "d"}}),
            "/text/format",
            json!({"type": "json_schema", "name": "response", "description": "d", "schema": {"type": "object"}}),
        ),
        (
            "web_search_options",
            json!({"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"country": "AT", "city": "Vienna"}}}),
            "/tools/0",
            json!({"type": "web_search", "search_context_size": "low",
                "user_location": {"type": "approximate", "country": "AT", "city": "Vienna"}}),
        ),
        ("web_search_options", json!({}), "/tools", json!([{"type": "web_search"}])),
    ] {
        let (body, dropped) = sent(&with(name, value), &Target::default());
        assert_eq!(body.pointer(path), Some(&expected), "{name}: {body}");
        assert!(dropped.is_empty(), "{name}: {dropped:?}");
    }
}

#[test]
fn what_the_api_has_no_word_for_is_left_out_and_named() {
    for (name, value) in [
        ("stop", json!(["END"])),
        ("seed", json!(7)),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(0.5)),
        ("logit_bias", json!({"1": 2})),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy", "format": "wav"})),
        ("top_k", json!(3)),
    ] {
        let plain = sent(&messages(json!([{"role": "user", "content": "hi"}])), &Target::default()).0;
        let (body, dropped) = sent(&with(name, value.clone()), &Target::default());
        assert_eq!((&body, dropped.as_slice()), (&plain, [name.to_owned()].as_slice()));
        let strict = Target { strict: true, ..Target::default() };
        let error = testing::encode(WireFormat::Responses, &with(name, value).to_string(), &strict);
        assert_eq!(error.unwrap_err().param(), Some(name));
    }
    let error = testing::encode(WireFormat::Responses, &with("n", json!(2)).to_string(), &Target::default());
    assert_eq!(error.unwrap_err().param(), Some("n"));
}

#[test]
fn a_limit_below_the_apis_smallest_is_raised_and_named() {
    let (body, dropped) = sent(&with("max_tokens", json!(5)), &Target::default());
    assert_eq!(
        (&body["max_output_tokens"], dropped.as_slice()),
        (&json!(16), ["max_tokens".to_owned()].as_slice())
    );
    assert_eq!(sent(&with("max_tokens", json!(16)), &Target::default()).1, Vec::<String>::new());
}

#[test]
fn what_a_row_drops_does_not_reach_the_vendor() {
    let drop_params = ["temperature", "tool_choice", "store", "include", "web_search_options", "verbosity"];
    let quirks = Quirks { drop_params: drop_params.map(str::to_owned).to_vec(), ..Quirks::default() };
    let mut body = with("temperature", json!(0.1));
    body["tool_choice"] = json!("auto");
    body["store"] = json!(true);
    body["include"] = json!(["x"]);
    body["web_search_options"] = json!({});
    body["verbosity"] = json!("low");
    let (body, mut dropped) = sent(&body, &Target { quirks, ..Target::default() });
    assert_eq!(body, json!({"model": "m", "input": [{"role": "user", "content": "hi"}]}));
    dropped.sort();
    let mut expected = drop_params.map(str::to_owned);
    expected.sort();
    assert_eq!(dropped, expected);
}

#[test]
fn models_with_fixed_sampling_get_none() {
    let quirk = Quirks { fixed_sampling_models: vec!["m".to_owned()], ..Quirks::default() };
    let facts = Facts { traits: Traits::default().with(Trait::FixedSampling), ..Facts::default() };
    for target in [Target { quirks: quirk, ..Target::default() }, Target { facts, ..Target::default() }] {
        let mut body = with("temperature", json!(0.3));
        body["top_p"] = json!(1);
        body["logprobs"] = json!(true);
        let (body, dropped) = sent(&body, &target);
        assert_eq!(dropped, ["temperature", "logprobs"]);
        assert!(body.get("temperature").is_none() && body.get("top_p").is_none());
        assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    }
}

#[test]
fn effort_and_the_apis_own_reasoning_field_are_joined() {
    let mut body = with("reasoning_effort", json!("low"));
    body["reasoning"] = json!({"summary": "detailed"});
    let (joined, _) = sent(&body, &Target::default());
    assert_eq!(joined["reasoning"], json!({"summary": "detailed", "effort": "low"}));
    body["reasoning"] = json!({"effort": "high"});
    assert_eq!(sent(&body, &Target::default()).0["reasoning"], json!({"effort": "high"}));
    let quirks = Quirks { reasoning_effort: EffortStyle::None, ..Quirks::default() };
    let (none, dropped) =
        sent(&with("reasoning_effort", json!("low")), &Target { quirks, ..Target::default() });
    assert!(none.get("reasoning").is_none());
    assert_eq!(dropped, ["reasoning_effort"]);
}

#[test]
fn messages_become_input_items_in_place() {
    let (body, dropped) = sent(
        &messages(json!([
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d1"}, {"type": "text", "text": "d2"}]},
            {"role": "user", "name": "Ann", "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_data": "QUJD"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "file", "file": {"file_data": "https://x/y.pdf"}},
                {"type": "input_image", "file_id": "file-2"}]},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": null, "refusal": "no"},
            {"role": "user", "content": [{"type": "text", "text": "one"}]},
        ])),
        &developer(),
    );
    assert_eq!(
        body["input"],
        json!([
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "input_text", "text": "d1"}, {"type": "input_text", "text": "d2"}]},
            {"role": "user", "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
                {"type": "input_image", "image_url": "https://x/y.png"},
                {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_file", "file_url": "https://x/y.pdf"},
                {"type": "input_image", "file_id": "file-2"}]},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "user", "content": "one"},
        ])
    );
    assert_eq!(dropped, ["messages.name", "cache_control"]);
    let (body, _) = sent(&messages(json!([{"role": "developer", "content": "d"}])), &Target::default());
    assert_eq!(body["input"][0]["role"], "system");
}

#[test]
fn parts_that_cannot_be_said_are_refused_by_their_path() {
    for message in [
        json!({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "video_url", "video_url": {"url": "https://x"}}]}),
        json!({"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x"}}]}),
    ] {
        let body = messages(json!([message, {"role": "user", "content": "go"}])).to_string();
        let error = testing::encode(WireFormat::Responses, &body, &Target::default()).unwrap_err();
        assert_eq!(error.param(), Some("messages[0].content[1]"));
    }
}

#[test]
fn calls_and_results_go_by_their_id() {
    let long = "x".repeat(80);
    let (body, _) = sent(
        &messages(json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "so", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                {"id": long, "type": "function", "function": {"name": "g", "arguments": ""}},
                {"id": "c3", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]},
            {"role": "tool", "tool_call_id": long, "content": ""},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "tool", "tool_call_id": "c3", "content": [{"type": "text", "text": "out"}]},
        ])),
        &Target::default(),
    );
    let short = body["input"][3]["call_id"].as_str().unwrap().to_owned();
    assert!(short.starts_with("call_") && short.len() <= 64, "{short}");
    assert_eq!(
        body["input"].as_array().unwrap()[1..],
        [
            json!({"role": "assistant", "content": "so"}),
            json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"}),
            json!({"type": "function_call", "call_id": short, "name": "g", "arguments": "{}"}),
            json!({"type": "custom_tool_call", "call_id": "c3", "name": "sh", "input": "ls"}),
            json!({"type": "function_call_output", "call_id": short, "output": ""}),
            json!({"type": "function_call_output", "call_id": "c1", "output": [
                {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}),
            json!({"type": "custom_tool_call_output", "call_id": "c3", "output": "out"}),
        ]
    );
}

#[test]
fn tools_are_flattened_and_never_strict_unasked() {
    let mut body = with(
        "tools",
        json!([
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}, "strict": true}},
            {"type": "function", "function": {"name": "g"}},
            {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}},
            {"type": "web_search", "filters": {"allowed_domains": ["x"]}},
            {"type": "code_interpreter", "container": {"type": "auto"}},
        ]),
    );
    body["web_search_options"] = json!({});
    let (body, _) = sent(&body, &Target::default());
    assert_eq!(
        body["tools"],
        json!([
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}, "strict": true},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": false},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
            {"type": "web_search", "filters": {"allowed_domains": ["x"]}},
            {"type": "code_interpreter", "container": {"type": "auto"}},
        ])
    );
}

#[test]
fn choices_among_tools_are_the_apis_own() {
    for (choice, expected) in [
        (json!("auto"), json!("auto")),
        (json!("none"), json!("none")),
        (json!("required"), json!("required")),
        (json!("any"), json!("required")),
        (json!({"type": "function", "function": {"name": "f"}}), json!({"type": "function", "name": "f"})),
        (json!({"type": "custom", "custom": {"name": "c"}}), json!({"type": "custom", "name": "c"})),
        (json!({"type": "web_search"}), json!({"type": "web_search"})),
        (
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}]}}),
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}),
        ),
    ] {
        assert_eq!(sent(&with("tool_choice", choice), &Target::default()).0["tool_choice"], expected);
    }
}

/// Details as a client sends them back.
fn detail(kind: &str, member: &str, text: &str, id: &str, after: (u64, u64)) -> Value {
    json!({"type": kind, member: text, "id": id, "format": "openai-responses-v1",
        "after_text": after.0, "after_calls": after.1})
}

#[test]
fn what_was_thought_goes_back_to_where_it_stood() {
    let search = r#"{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}}"#;
    let encrypted = |id: &str, after| detail("reasoning.encrypted", "data", "E=", id, after);
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let (body, _) = sent(
        &messages(json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "zwölf", "tool_calls": [call("c1"), call("c2")], "reasoning": "not sent",
             "reasoning_details": [
                detail("reasoning.summary", "summary", "one", "rs_1", (0, 0)),
                detail("reasoning.summary", "summary", "two", "rs_1", (0, 0)),
                encrypted("rs_1", (0, 0)),
                detail("server_tool_call", "text", search, "ws_1", (0, 0)),
                detail("server_tool_call", "text", r#"{"type":"function_call_output","output":"x"}"#, "x", (0, 0)),
                encrypted("rs_2", (3, 0)),
                detail("reasoning.text", "text", "raw", "rs_3", (5, 1)),
                json!({"type": "reasoning.text", "text": "x", "signature": "s", "format": "anthropic-claude-v1"}),
                detail("reasoning.summary", "summary", "bare", "rs_4", (5, 1)),
                encrypted("rs_5", (5, 2)),
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
        ])),
        &Target::default(),
    );
    assert_eq!(
        body["input"].as_array().unwrap()[1..],
        [
            json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}], "encrypted_content": "E="}),
            serde_json::from_str(search).unwrap(),
            json!({"role": "assistant", "content": "zwö"}),
            json!({"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "E="}),
            json!({"role": "assistant", "content": "lf"}),
            json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}),
            json!({"type": "reasoning", "id": "rs_3", "summary": [], "content": [{"type": "reasoning_text", "text": "raw"}]}),
            json!({"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"}),
            json!({"type": "function_call_output", "call_id": "c1", "output": "1"}),
            json!({"type": "function_call_output", "call_id": "c2", "output": "2"}),
        ]
    );
}

#[test]
fn reasoning_that_led_to_nothing_or_that_another_vendor_minted_stays_behind() {
    let own = detail("reasoning.encrypted", "data", "E=", "rs_1", (0, 0));
    let assistant = json!({"role": "assistant", "content": "", "reasoning_details": [own]});
    let (body, _) =
        sent(&messages(json!([assistant, {"role": "user", "content": "go"}])), &Target::default());
    assert_eq!(body["input"][0], json!({"role": "assistant", "content": ""}));
    let quirks = Quirks { reasoning_scheme: Some("own-v1".to_owned()), ..Quirks::default() };
    let target = Target { quirks, ..Target::default() };
    for (format, items) in [("openai-responses-v1", 1), ("own-v1", 2)] {
        let mut minted = detail("reasoning.encrypted", "data", "E=", "rs_1", (0, 0));
        minted["format"] = json!(format);
        let assistant = json!({"role": "assistant", "content": "a", "reasoning_details": [minted]});
        assert_eq!(sent(&messages(json!([assistant])), &target).0["input"].as_array().unwrap().len(), items);
    }
}

#[test]
fn every_field_of_a_chat_request_has_its_row() {
    for field in crate::chat::fields::FIELDS.iter().filter(|field| !field.ours) {
        assert!(WireFormat::Responses.handling(field.name).is_some(), "{}", field.name);
    }
}
