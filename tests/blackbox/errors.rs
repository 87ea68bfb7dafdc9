//! The table of errors: every row in the one shape, with the headers an SDK acts on.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Gateway, Script, Setup, Upstream, completion, question, whole};

/// An upstream that answers with the status its model names, or says nothing for `silent`.
async fn failing() -> Upstream {
    Upstream::start(|request| match request.json()["model"].as_str().unwrap() {
        "silent" => Script::new().until_closed(),
        "200" => Script::new().send(whole(200, &completion("hi"))),
        status => {
            let error = json!({"error": {"message": "the words of the upstream", "type": "t", "code": "c", "param": "p"}});
            Script::new().send(whole(status.parse().unwrap(), &error))
        }
    })
    .await
}

async fn before(upstream: &Upstream) -> Gateway {
    let rows = format!(
        "server: {{ body_limit: 64KiB }}\nproviders:\n  up: {{ base_url: '{}' }}\n  other: {{ base_url: '{}' }}\n",
        upstream.base_url(),
        upstream.base_url()
    );
    Setup::new(rows).start().await
}

/// Checks what all errors share.
fn check(answer: &Answer, name: &str, status: u16, kind: &str, code: &Value, upstream: bool) {
    let said = answer.text();
    let body = answer.json();
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{name}: {said}"));
    let names: Vec<_> = error.keys().map(String::as_str).collect();
    assert_eq!(names, ["message", "type", "param", "code"], "{name}");
    assert_eq!(
        (answer.status, &error["type"], &error["code"]),
        (status, &json!(kind), code),
        "{name}: {said}"
    );
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{name}: {said}");
    assert!(error["param"].is_null() || error["param"].is_string(), "{name}: {said}");
    assert_eq!(answer.header("content-type"), "application/json", "{name}");
    assert!(!answer.header("x-request-id").is_empty(), "{name}");
    assert_eq!(body["metadata"].is_object(), upstream, "{name}: {said}");
    if upstream {
        assert_eq!(body["metadata"]["request_id"], answer.header("x-request-id"), "{name}");
        assert_eq!(answer.header("x-gateway-attempts"), "1", "{name}");
    }
    if status == 429 {
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        let wait_ms: u64 = answer.header("retry-after-ms").parse().unwrap();
        assert!(wait >= 1 && wait_ms <= wait * 1_000, "{name}: {wait} s, {wait_ms} ms");
    }
    for inner in ["127.0.0.1", "localhost", "src/", "panicked", "SELECT", "sqlite"] {
        assert!(!said.contains(inner), "{name}: {inner} in {said}");
    }
}

#[tokio::test]
async fn what_an_upstream_fails_with_is_told_by_the_table() {
    let upstream = failing().await;
    let gateway = before(&upstream).await;
    let client = gateway.client().await;
    for (model, status, kind, code) in [
        ("400", 400, "invalid_request_error", "c"),
        ("422", 400, "invalid_request_error", "c"),
        ("401", 502, "upstream_error", "upstream_auth"),
        ("429", 429, "rate_limit_error", "upstream_rate_limited"),
        ("500", 502, "upstream_error", "upstream_error"),
        ("silent", 504, "timeout_error", "timeout"),
    ] {
        for stream in [false, true] {
            let body = question(&format!("up/{model}"), json!({"stream": stream}));
            let mut request = client.request(&body);
            if model == "silent" {
                request = request.header("x-gateway-timeout-ms", "100");
            }
            let answer = Answer::of(request).await;
            check(&answer, &format!("{model}, stream {stream}"), status, kind, &json!(code), true);
            let words = answer.text().contains("the words of the upstream");
            assert!(words || status != 400, "{model}: its own words are kept");
            let retry = answer.header("x-should-retry");
            assert!(model != "401" || retry == "false", "{model}: {retry:?}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_at_the_door_is_told_by_the_table() {
    let upstream = failing().await;
    let gateway = before(&upstream).await;
    let client = gateway.client().await;
    let nobody = Client::new(&gateway.url, "lgw_nobody");
    let denied = gateway.client_with(json!({"name": "d", "models": {"deny": ["other/*"]}})).await;
    let limited = gateway.client_with(json!({"name": "l", "rpm": 1})).await;
    assert_eq!(limited.ask("up/200", json!({})).await.status, 200);
    let large = question("up/200", json!({"pad": "x".repeat(70_000)}));
    let plain = reqwest::Client::new().post(format!("{}/v1/chat/completions", gateway.url));
    let bad = "invalid_request_error";
    for (name, answer, status, kind, code) in [
        ("shape", client.ask("up/200", json!({"n": "x"})).await, 400, bad, Value::Null),
        ("JSON", Answer::of(client.raw("{")).await, 400, bad, json!("invalid_json")),
        ("no key", Answer::of(plain).await, 401, "authentication_error", json!("missing_api_key")),
        (
            "wrong key",
            nobody.ask("up/200", json!({})).await,
            401,
            "authentication_error",
            json!("invalid_api_key"),
        ),
        (
            "model",
            denied.ask("other/200", json!({})).await,
            403,
            "permission_error",
            json!("permission_denied"),
        ),
        ("no model", client.ask("nope", json!({})).await, 404, "not_found_error", json!("model_not_found")),
        ("no path", client.get("/v1/nothing").await, 404, "not_found_error", json!("not_found")),
        ("method", client.get("/v1/chat/completions").await, 405, bad, json!("method_not_allowed")),
        ("size", client.chat(&large).await, 413, bad, json!("request_too_large")),
        (
            "type",
            Answer::of(client.raw("{}").header("content-encoding", "gzip")).await,
            415,
            bad,
            json!("unsupported_media_type"),
        ),
        (
            "limit",
            limited.ask("up/200", json!({})).await,
            429,
            "rate_limit_error",
            json!("rate_limit_exceeded"),
        ),
        (
            "credential",
            client.ask("gpt-4o", json!({})).await,
            503,
            "overloaded_error",
            json!("no_credentials"),
        ),
    ] {
        check(&answer, name, status, kind, &code, false);
    }
    assert_eq!(upstream.requests().len(), 1);
    gateway.idle().await;
}
