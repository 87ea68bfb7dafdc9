//! Fields, messages and model names: wrong ones are named and cost nothing upstream, right ones are passed on.
//! What a body is made of, down to its bytes, is in `bodies`.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Gateway, Script, Setup, Upstream, completion, question, whole};

async fn stage() -> (Upstream, Gateway, Client) {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    (upstream, gateway, client)
}

/// A body with one message and these further fields, as text.
fn with(fields: &str) -> String {
    format!(r#"{{"model":"up/m","messages":[{{"role":"user","content":"hello"}}]{fields}}}"#)
}

/// Body, `error.code`, `error.param`; every one of them a 400.
#[rustfmt::skip]
const WRONG: &[(&str, &str, &str)] = &[
    ("", "invalid_json", ""),
    ("{", "invalid_json", ""),
    ("[]", "invalid_json", ""),
    ("nul", "invalid_json", ""),
    (r#"{"model":"up/m"} x"#, "invalid_json", ""),
    (r#"{"model":"up/m","messages":[{"role":"user","content":"a\ud800"}]}"#, "invalid_json", "messages[0].content"),
    (r#"{"model":"up/m","model":"up/n","messages":[]}"#, "duplicate_field", "model"),
    (r#"{"messages":[{"role":"user","content":"x"}]}"#, "", "model"),
    (r#"{"model":null,"messages":[{"role":"user","content":"x"}]}"#, "", "model"),
    (r#"{"model":5,"messages":[{"role":"user","content":"x"}]}"#, "", "model"),
    (r#"{"model":"up/m"}"#, "", "messages"),
    (r#"{"model":"up/m","messages":[]}"#, "", "messages"),
    (r#"{"model":"up/m","messages":{}}"#, "", "messages"),
    (r#"{"model":"up/m","messages":[{"role":"king","content":"x"}]}"#, "", "messages[0].role"),
    (r#"{"model":"up/m","messages":[{"content":"x"}]}"#, "", "messages[0]"),
    (r#"{"model":"up/m","messages":[{"role":"user","content":7}]}"#, "", "messages[0].content"),
    (r#"{"model":"up/m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#, "", "messages[0].content[0].image_url"),
    (r#"{"model":"up/m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/y.png"}}]}]}"#, "", "messages[0].content[0].image_url"),
    (r#"{"model":"up/m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}"#, "", "messages[0].content[0].image_url"),
];

/// Fields that are of the wrong type or value, and the path that is named.
const WRONG_FIELDS: &[(&str, &str)] = &[
    (r#","temperature":"hot""#, "temperature"),
    (r#","max_tokens":0"#, "max_tokens"),
    (r#","max_tokens":1.5"#, "max_tokens"),
    (r#","max_completion_tokens":-1"#, "max_completion_tokens"),
    (r#","stream":"yes""#, "stream"),
    (r#","stop":["a","b","c","d","e"]"#, "stop"),
    (r#","n":0"#, "n"),
    (r#","reasoning_effort":"huge""#, "reasoning_effort"),
    (r#","response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
    (r#","tools":{}"#, "tools"),
    (r#","tools":[{"type":"function"}]"#, "tools[0].function"),
    (r#","tool_choice":"perhaps""#, "tool_choice"),
    (r#","tool_choice":{"type":"function"}"#, "tool_choice.function"),
    (r#","stream_options":{"include_usage":3}"#, "stream_options.include_usage"),
    (r#","free_models_only":true"#, "free_models_only"),
    (r#","fallbacks":"up/m""#, "fallbacks"),
    (r#","fallbacks":["nowhere/m"]"#, "fallbacks[0]"),
    (r#","metadata":[]"#, "metadata"),
];

#[tokio::test]
async fn a_wrong_request_names_what_is_wrong_and_costs_nothing_upstream() {
    let (upstream, _gateway, client) = stage().await;
    for (body, code, param) in WRONG {
        let answer = Answer::of(client.raw(*body)).await;
        let said = answer.text();
        assert_eq!(answer.status, 400, "{body}: {said}");
        assert_eq!((answer.code().as_str(), answer.param().as_str()), (*code, *param), "{body}: {said}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        assert!(!answer.header("x-request-id").is_empty());
    }
    for (field, param) in WRONG_FIELDS {
        let answer = Answer::of(client.raw(with(field))).await;
        assert_eq!((answer.status, answer.param().as_str()), (400, *param), "{field}: {}", answer.text());
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn every_field_of_the_reference_is_passed_on() {
    let (upstream, _gateway, client) = stage().await;
    let fields = json!({
        "temperature": 0.5, "max_tokens": 5, "top_p": 0.9, "frequency_penalty": 0.1, "presence_penalty": 0.2,
        "n": 2, "stop": ["a", "b"], "seed": 3, "logprobs": true, "top_logprobs": 2, "logit_bias": {"1": 2},
        "user": "u", "parallel_tool_calls": false, "service_tier": "auto", "prompt_cache_key": "k",
        "metadata": {"a": "b"}, "modalities": ["text"], "prediction": {"type": "content", "content": "x"},
        "store": false, "verbosity": "low", "web_search_options": {}, "audio": {"voice": "v", "format": "mp3"},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "reasoning_effort": "xhigh",
    });
    assert_eq!(client.ask("up/m", fields.clone()).await.status, 200);
    let sent = upstream.last().json();
    for (name, value) in fields.as_object().expect("an object") {
        assert_eq!(&sent[name], value, "{name}");
    }
}

#[tokio::test]
async fn every_form_of_a_message_is_taken() {
    let (upstream, _gateway, client) = stage().await;
    let messages = json!([
        {"role": "developer", "content": "d"},
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "name": "n", "content": [
            {"type": "text", "text": "t"},
            {"type": "image_url", "image_url": {"url": "https://example.com/x.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"file_id": "f"}}]},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
        {"role": "function", "name": "f", "content": "legacy"},
    ]);
    let answer = client.chat(&json!({"model": "up/m", "messages": messages})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.last().json();
    assert_eq!(sent["messages"][2], messages[2]);
    assert_eq!(sent["messages"].as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn a_model_that_is_not_there_is_a_404_in_openais_words() {
    let (upstream, _gateway, client) = stage().await;
    for model in ["", "nope", "../../etc", "a\r\nb", "nowhere/m", &"x".repeat(10_000)] {
        let answer = client.ask(model, json!({})).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "model_not_found"), "{model:.20}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or("").to_owned();
        assert!(
            message.contains("does not exist or you do not have access to it") && message.len() < 500,
            "{message}"
        );
    }
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn an_unknown_name_at_a_known_provider_is_sent_as_it_is() {
    let (upstream, gateway, client) = stage().await;
    let answer = client.ask("up/org/brand-new:free", json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().json()["model"], "org/brand-new:free");
    let body = answer.json();
    assert_eq!(body["metadata"]["underlying_used_model"], "org/brand-new:free");
    assert_eq!(body["metadata"]["requested_model"], "up/org/brand-new:free");
    assert!(body["usage"].get("cost").is_none(), "no price, no cost");
    assert_eq!(gateway.ledger(1).await[0]["cost_usd"], Value::Null);
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_so() {
    let (_upstream, gateway, client) = stage().await;
    let missing = client.get("/v1/nothing").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "not_found"));
    let wrong = client.get("/v1/chat/completions").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    assert_eq!(wrong.code(), "method_not_allowed");
    for path in ["/metrics", "/admin/v1/keys"] {
        assert_eq!(client.get(path).await.status, 404, "{path} is not public");
    }
    assert_eq!(
        Answer::of(reqwest::Client::new().post(format!("{}/v1/chat/completions", gateway.url)).body("{}"))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_strict_caller_is_refused_what_others_have_dropped() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let row = format!(
        "providers:\n  up: {{ base_url: '{}', quirks: {{ drop_params: [logit_bias, seed] }} }}\n",
        upstream.base_url()
    );
    let gateway = Setup::new(row).start().await;
    let client = gateway.client().await;
    let body = question("up/m", json!({"logit_bias": {}, "seed": 1, "top_p": 1}));
    let lenient = client.chat(&body).await;
    assert_eq!((lenient.status, lenient.header("x-gateway-dropped-params")), (200, "logit_bias,seed"));
    assert!(upstream.last().json().get("seed").is_none());
    let strict = Answer::of(client.request(&body).header("x-gateway-strict", "true")).await;
    assert_eq!(
        (strict.status, strict.code().as_str(), strict.param().as_str()),
        (400, "unsupported_parameter", "logit_bias")
    );
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn every_form_of_a_field_is_passed_on_as_it_was_given() {
    let (upstream, _gateway, client) = stage().await;
    let schema = json!({"name": "n", "schema": {"type": "object"}, "strict": true});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let mut forms = vec![
        json!({"response_format": {"type": "text"}}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"response_format": {"type": "json_schema", "json_schema": schema}}),
        json!({"stop": "a"}),
        json!({"stop": ["a", "b", "c", "d"]}),
        json!({"max_completion_tokens": 7}),
        json!({"tools": []}),
        json!({"tools": tools}),
        json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        json!({"n": 3}),
        json!({"temperature": 0}),
        json!({"seed": -1}),
    ];
    let words =
        |field: &str, words: &[&str]| words.iter().map(|word| json!({field: word})).collect::<Vec<_>>();
    forms.extend(words("reasoning_effort", &["none", "minimal", "low", "medium", "high", "xhigh"]));
    for choice in ["auto", "none", "required"] {
        forms.push(json!({"tools": tools, "tool_choice": choice}));
    }
    for form in forms {
        let answer = client.ask("up/m", form.clone()).await;
        assert_eq!(answer.status, 200, "{form}: {}", answer.text());
        assert_eq!(answer.header("x-gateway-dropped-params"), "", "{form}");
        assert_eq!(upstream.last().json(), question("m", form));
    }
}

#[tokio::test]
async fn several_choices_are_refused_where_the_provider_has_one() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let row = format!(
        "providers:\n  up: {{ base_url: '{}', quirks: {{ multiple_choices: false }} }}\n",
        upstream.base_url()
    );
    let gateway = Setup::new(row).start().await;
    let client = gateway.client().await;
    let refused = client.ask("up/m", json!({"n": 2})).await;
    assert_eq!((refused.status, refused.param().as_str()), (400, "n"), "{}", refused.text());
    assert_eq!(upstream.connections(), 0);
    assert_eq!(client.ask("up/m", json!({"n": 1})).await.status, 200);
}

#[tokio::test]
async fn a_complaint_repeats_neither_the_prompt_nor_anything_of_any_size() {
    let (upstream, _gateway, client) = stage().await;
    let prompt = format!("canary-prompt {}", "x".repeat(100_000));
    let message = |message: Value| json!({"model": "up/m", "messages": [message]});
    let user = |content: Value| message(json!({"role": "user", "content": content}));
    let with = |name: &str, value: Value| question("up/m", json!({ name: value }));
    for body in [
        message(json!(prompt)),
        message(json!({"role": prompt, "content": "x"})),
        message(json!({"role": "user", "content": "x", "tool_calls": prompt})),
        message(json!({"role": "user", "content": "x", "tool_calls": [prompt]})),
        user(json!([prompt])),
        user(json!([{"type": "file", "file": null, "text": prompt}])),
        user(json!([{"type": "image_url", "image_url": {"url": format!("http://{prompt}")}}])),
        user(json!([{"type": "input_audio", "input_audio": prompt}])),
        user(json!({"text": prompt})),
        with("reasoning_effort", json!(prompt)),
        with("tool_choice", json!(prompt)),
        with("tool_choice", json!({"type": "function", "function": prompt})),
        with("tools", json!([prompt])),
        with("stream_options", json!({"include_usage": prompt})),
        with("response_format", json!({"type": "json_schema", "json_schema": {"strict": prompt}})),
        with("fallbacks", json!([{"model": prompt}])),
        with("stop", json!([[prompt]])),
        with("max_tokens", json!(prompt)),
    ] {
        let answer = client.chat(&body).await;
        let shown: String = body.to_string().chars().take(120).collect();
        assert_eq!(answer.status, 400, "{shown}");
        assert!(!answer.param().is_empty(), "{shown}");
        let said: String = answer.text().chars().take(300).collect();
        assert!(answer.bytes.len() < 1_024 && !said.contains("canary"), "{shown}: {said}");
    }
    // A name is the client's text as well, in a body that says it twice.
    let twice = format!(r#"{{"{prompt}":1,"{prompt}":2}}"#);
    let answer = Answer::of(client.raw(twice)).await;
    assert_eq!((answer.status, answer.bytes.len() < 1_024), (400, true), "{} bytes", answer.bytes.len());
    assert_eq!(upstream.connections(), 0);
}
