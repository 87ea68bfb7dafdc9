//! What goes upstream, by table.

use serde_json::{Value, json};

use super::{asking, saying, sent, target};
use crate::wire::encode::Media;
use crate::wire::testing;
use crate::wire::{WireFormat, testing::Target};

/// Each field, what becomes of it at `place`, and what is dropped.
#[test]
fn fields_take_the_api_s_names() {
    let table = [
        (
            json!({"temperature": 0.10, "top_p": 1, "top_k": 5}),
            "/generationConfig",
            json!({"temperature": 0.1, "topP": 1, "topK": 5}),
        ),
        (json!({"max_tokens": 5}), "/generationConfig/maxOutputTokens", json!(5)),
        (json!({"max_tokens": 5, "max_completion_tokens": 7}), "/generationConfig/maxOutputTokens", json!(7)),
        (json!({"n": 2}), "/generationConfig/candidateCount", json!(2)),
        (json!({"stop": "END"}), "/generationConfig/stopSequences", json!(["END"])),
        (json!({"stop": ["a", "b"]}), "/generationConfig/stopSequences", json!(["a", "b"])),
        (json!({"seed": -7}), "/generationConfig/seed", json!(-7)),
        (json!({"seed": 4_294_967_297_i64}), "/generationConfig/seed", json!(1)),
        (
            json!({"frequency_penalty": 0.5, "presence_penalty": -1}),
            "/generationConfig",
            json!({"frequencyPenalty": 0.5, "presencePenalty": -1}),
        ),
        (
            json!({"logprobs": true, "top_logprobs": 3}),
            "/generationConfig",
            json!({"responseLogprobs": true, "logprobs": 3}),
        ),
        (
            json!({"modalities": ["text", "image"]}),
            "/generationConfig/responseModalities",
            json!(["TEXT", "IMAGE"]),
        ),
        (
            json!({"modalities": ["text", "audio"], "audio": {"voice": "Kore", "format": "pcm16"}}),
            "/generationConfig",
            json!({
            "responseModalities": ["AUDIO"],
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}}),
        ),
        (json!({"web_search_options": {}}), "/tools", json!([{"googleSearch": {}}])),
        (
            json!({"response_format": {"type": "json_object"}}),
            "/generationConfig",
            json!({"responseMimeType": "application/json"}),
        ),
        (json!({"response_format": {"type": "text"}}), "/generationConfig", Value::Null),
        (
            json!({"safety_settings": [{"category": "c", "threshold": "OFF"}]}),
            "/safetySettings/0/threshold",
            json!("OFF"),
        ),
        (json!({"cached_content": "cachedContents/x"}), "/cachedContent", json!("cachedContents/x")),
        (
            json!({"thinking_config": {"thinkingBudget": 5}}),
            "/generationConfig/thinkingConfig",
            json!({"thinkingBudget": 5}),
        ),
        (
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            "/generationConfig",
            Value::Null,
        ),
    ];
    for (given, place, expected) in table {
        let (body, dropped) = sent("gemini-2.5-flash", &asking(&given));
        assert_eq!(body.pointer(place).cloned().unwrap_or_default(), expected, "{given}");
        assert!(dropped.is_empty(), "{given}: {dropped:?}");
        assert!(body.get("stream").is_none() && body.get("model").is_none());
    }
}

#[test]
fn what_the_api_has_not_is_dropped_and_named() {
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    for (given, names) in [
        (
            json!({"user": "u", "logit_bias": {"1": 2}, "store": true}),
            &["user", "logit_bias", "store"] as &[&str],
        ),
        (
            json!({"service_tier": "flex", "verbosity": "low", "metadata": {"a": "b"}}),
            &["service_tier", "verbosity", "metadata"],
        ),
        (json!({"prompt_cache_key": "k", "prediction": {}}), &["prompt_cache_key", "prediction"]),
        (json!({"parallel_tool_calls": false, "tools": [function]}), &["parallel_tool_calls"]),
        (json!({"parallel_tool_calls": true, "tools": [function]}), &[]),
        (json!({"tools": [function, {"type": "custom", "custom": {"name": "c"}}]}), &["tools[1]"]),
        (json!({"tools": [function], "web_search_options": {}}), &["web_search_options"]),
        (json!({"tools": [function, {"type": "google_search"}]}), &["tools[1]"]),
        (json!({"tools": [function], "response_format": schema}), &["response_format"]),
        (json!({"modalities": ["audio"], "audio": {"voice": "v", "format": "wav"}}), &["audio.format"]),
        (json!({"audio": {"voice": "v", "format": "wav"}}), &["audio"]),
        (json!({"web_search_options": {"user_location": {}}}), &["web_search_options.user_location"]),
        (json!({"tools": [function], "tool_choice": {"type": "allowed_tools"}}), &["tool_choice"]),
    ] {
        let (_, dropped) = sent("gemini-2.5-flash", &asking(&given));
        assert_eq!(dropped, names, "{given}");
        let strict = Target { strict: true, ..target() };
        let refused = testing::encode(WireFormat::Gemini, &asking(&given).to_string(), &strict);
        assert_eq!(
            refused.err().and_then(|error| error.param().map(str::to_owned)).as_deref(),
            names.first().copied()
        );
    }
}

#[test]
fn later_models_combine_what_earlier_ones_refuse() {
    let given = asking(&json!({"web_search_options": {},
        "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "web_search_preview"}, {"type": "url_context"}],
        "response_format": {"type": "json_object"}}));
    let (body, dropped) = sent("gemini-3-flash-preview", &given);
    assert!(dropped.is_empty(), "{dropped:?}");
    assert_eq!(
        body["tools"],
        json!([{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}, {"urlContext": {}}])
    );
    assert_eq!(body["toolConfig"], json!({"includeServerSideToolInvocations": true}));
    assert_eq!(body["generationConfig"]["responseMimeType"], "application/json");
}

#[test]
fn a_choice_of_tools_becomes_a_mode() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (choice, expected) in [
        (json!("auto"), json!({"mode": "AUTO"})),
        (json!("none"), json!({"mode": "NONE"})),
        (json!("required"), json!({"mode": "ANY"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ),
    ] {
        let (body, _) = sent("m", &asking(&json!({"tools": tools, "tool_choice": choice})));
        assert_eq!(body["toolConfig"]["functionCallingConfig"], expected);
        let (without, _) = sent("m", &asking(&json!({"tool_choice": choice})));
        assert!(without.get("toolConfig").is_none(), "refused without functions");
    }
}

#[test]
fn an_effort_becomes_a_level_or_a_budget() {
    let budget = |tokens: u32| json!({"includeThoughts": true, "thinkingBudget": tokens});
    let level = |word: &str| json!({"includeThoughts": true, "thinkingLevel": word});
    for (model, effort, expected) in [
        ("gemini-2.5-flash", "none", json!({"thinkingBudget": 0})),
        ("gemini-2.5-flash", "minimal", budget(1024)),
        ("gemini-2.5-flash", "low", budget(2048)),
        ("gemini-2.5-flash", "medium", budget(8192)),
        ("gemini-2.5-flash", "high", budget(24_576)),
        ("gemini-2.5-flash", "xhigh", budget(24_576)),
        ("gemini-2.5-pro", "none", json!({"thinkingBudget": 128})),
        ("gemini-3-flash-preview", "none", json!({"thinkingLevel": "minimal"})),
        ("gemini-3-flash-preview", "minimal", level("minimal")),
        ("gemini-3-flash-preview", "medium", level("medium")),
        ("gemini-3-flash-preview", "xhigh", level("high")),
        ("gemini-3.1-pro-preview", "minimal", level("low")),
        ("gemini-3.1-pro-preview", "none", json!({"thinkingLevel": "low"})),
    ] {
        let (body, dropped) = sent(model, &asking(&json!({"reasoning_effort": effort})));
        assert_eq!(body["generationConfig"]["thinkingConfig"], expected, "{model} {effort}");
        assert!(dropped.is_empty());
    }
    let mut known = target();
    known.facts.known = true;
    let asked = asking(&json!({"reasoning_effort": "high"}));
    let (body, dropped) = testing::sent(WireFormat::Gemini, &asked, &known);
    assert!(body.get("generationConfig").is_none(), "a model that does not think");
    assert_eq!(dropped, ["reasoning_effort"]);
}

#[test]
fn roles_alternate_and_instructions_stand_apart() {
    let (body, _) = sent(
        "m",
        &saying(&json!([
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": ""}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": null, "refusal": "no"},
        {"role": "system", "content": "three"},
        {"role": "assistant", "content": null},
        {"role": "user", "content": ""}])),
    );
    assert_eq!(
        body,
        json!({
        "systemInstruction": {"role": "user", "parts": [{"text": "one"}, {"text": "two"}, {"text": "three"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}, {"text": "no"}]},
            {"role": "user", "parts": [{"text": ""}]}]})
    );
    let (alone, _) = sent("m", &saying(&json!([{"role": "system", "content": "one"}])));
    assert_eq!(
        alone,
        json!({"contents": [{"role": "user", "parts": [{"text": "one"}]}]}),
        "somebody has to ask"
    );
}

#[test]
fn results_of_parallel_calls_are_one_turn_in_the_order_of_the_calls() {
    let call = |id: &str, args: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": args}});
    let (body, _) = sent(
        "gemini-2.5-flash",
        &saying(&json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "tool_calls": [call("call_1", "{\"a\": 1}"), call("up2", ""), call("up3", "nonsense")]},
        {"role": "tool", "tool_call_id": "up3", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]},
        {"role": "tool", "tool_call_id": "up2", "content": "[1]"},
        {"role": "tool", "tool_call_id": "call_1", "content": " {\"x\": 1.0}"},
        {"role": "user", "content": "and?"}])),
    );
    assert_eq!(
        body["contents"],
        json!([
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [
            {"functionCall": {"name": "f", "args": {"a": 1}}},
            {"functionCall": {"id": "up2", "name": "f", "args": {}}},
            {"functionCall": {"id": "up3", "name": "f", "args": {"arguments": "nonsense"}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "f", "response": {"x": 1.0}}},
            {"functionResponse": {"id": "up2", "name": "f", "response": {"result": "[1]"}}},
            {"functionResponse": {"id": "up3", "name": "f", "response": {"result": ""}}},
            {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
            {"text": "and?"}]}])
    );
    let orphan = saying(&json!([{"role": "tool", "tool_call_id": "c9", "content": "x"}])).to_string();
    let refused = testing::encode(WireFormat::Gemini, &orphan, &target()).unwrap_err();
    assert_eq!(refused.param(), Some("messages[0].tool_call_id"));
}

#[test]
fn an_image_in_a_result_stays_inside_it_where_the_model_takes_that() {
    let (body, _) = sent(
        "gemini-3-pro",
        &saying(&json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]}])),
    );
    assert_eq!(
        body["contents"][2]["parts"],
        json!([{"functionResponse": {"id": "a", "name": "f", "response": {"result": "see"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "QQ=="}}]}}])
    );
}

#[test]
fn media_travel_inline_or_by_an_address_that_the_api_reads() {
    let mut fetching = target();
    fetching.media =
        Media([("https://x/y.png".to_owned(), ("image/png".to_owned(), "QQ==".to_owned()))].into());
    for (part, expected) in [
        (
            json!({"type": "image_url", "image_url": {"url": "data:image/webp;base64,QQ=="}}),
            json!({"inlineData": {"mimeType": "image/webp", "data": "QQ=="}}),
        ),
        (
            json!({"type": "image_url", "image_url": {"url": "https://x/y.png"}}),
            json!({"inlineData": {"mimeType": "image/png", "data": "QQ=="}}),
        ),
        (
            json!({"type": "file", "file": {"file_id": "gs://b/y.JPG"}}),
            json!({"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/y.JPG"}}),
        ),
        (
            json!({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}}),
            json!({"inlineData": {"mimeType": "audio/mp3", "data": "QQ=="}}),
        ),
        (
            json!({"type": "file", "file": {"file_data": "QQ==", "filename": "a.pdf"}}),
            json!({"inlineData": {"mimeType": "application/pdf", "data": "QQ=="}}),
        ),
        (
            json!({"type": "file", "file": {"file_id": "files/abc", "filename": "a.pdf"}}),
            json!({"fileData": {"mimeType": "application/pdf", "fileUri": "files/abc"}}),
        ),
        (
            json!({"type": "file", "file": {"file_id": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
            json!({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
        ),
        (
            json!({"type": "video_url", "video_url": {"url": "https://youtu.be/x"}}),
            json!({"fileData": {"fileUri": "https://youtu.be/x"}}),
        ),
        (
            json!({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QQ=="}}),
            json!({"inlineData": {"mimeType": "video/mp4", "data": "QQ=="}}),
        ),
    ] {
        let (body, _) = testing::sent(
            WireFormat::Gemini,
            &saying(&json!([{"role": "user", "content": [part]}])),
            &fetching,
        );
        assert_eq!(body["contents"][0]["parts"], json!([expected]), "{part}");
    }
    for (part, param) in [
        (
            json!({"type": "image_url", "image_url": {"url": "https://x/other.png"}}),
            "messages[0].content[0].image_url",
        ),
        (json!({"type": "file", "file": {"file_id": "https://x/a.pdf"}}), "messages[0].content[0].file"),
        (
            json!({"type": "video_url", "video_url": {"url": "https://x/v"}}),
            "messages[0].content[0].video_url",
        ),
        (json!({"type": "hologram"}), "messages[0].content[0]"),
    ] {
        let body = saying(&json!([{"role": "user", "content": [part]}])).to_string();
        let refused = testing::encode(WireFormat::Gemini, &body, &fetching).unwrap_err();
        assert_eq!((refused.param(), refused.class().status), (Some(param), 400));
    }
}

#[test]
fn a_field_that_the_row_drops_is_not_sent() {
    let mut row = target();
    row.quirks.drop_params = ["seed", "tools", "reasoning_effort"].map(str::to_owned).to_vec();
    let asked = asking(
        &json!({"seed": 1, "reasoning_effort": "low", "tools": [{"type": "function", "function": {"name": "f"}}]}),
    );
    let (body, dropped) = testing::sent(WireFormat::Gemini, &asked, &row);
    assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}));
    assert_eq!(dropped, ["seed", "reasoning_effort", "tools"]);
}

#[test]
fn every_known_field_has_a_row() {
    for field in crate::chat::fields::FIELDS.iter().filter(|field| !field.ours) {
        assert!(WireFormat::Gemini.handling(field.name).is_some(), "{}", field.name);
    }
}
