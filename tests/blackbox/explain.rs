//! Explanations: how a request would be routed and what would go upstream, with nothing sent.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Gateway, Script, Setup, Upstream, completion, question, whole};

const CATALOG: &str = r#"{"version": 1, "models": [{"id": "small", "offers": [
    {"provider": "cheap", "upstream": "small-1", "capabilities": [], "price": {"rates": {"input": "1", "output": "2"}}},
    {"provider": "dear", "upstream": "small-2", "capabilities": ["tools"], "price": {"rates": {"input": "2", "output": "4"}}},
    {"provider": "absent", "upstream": "small-3", "capabilities": ["tools"]}
]}]}"#;

/// Two providers of one model, and a third that is not configured.
async fn start() -> (Upstream, Gateway) {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let config = format!(
        "catalog: {{ file: catalog.json }}\nproviders:\n  cheap: {{ base_url: '{0}', api_key: a-secret-of-the-cheap }}\n  \
         dear: {{ wire: anthropic, base_url: '{0}', api_key: a-secret-of-the-dear, headers: {{ x-team: a-secret-team }} }}\n",
        up.base_url()
    );
    let gateway = Setup::new(config).file("catalog.json", CATALOG).start().await;
    (up, gateway)
}

fn candidate<'a>(explained: &'a Value, provider: &str) -> &'a Value {
    let all = explained["candidates"].as_array().unwrap();
    all.iter().find(|candidate| candidate["provider"] == provider).unwrap_or_else(|| panic!("{explained}"))
}

async fn ask(client: &Client, body: &Value) -> Answer {
    Answer::of(client.request(body).header("x-gateway-explain", "true")).await
}

#[tokio::test]
async fn a_key_that_may_sees_candidates_scores_and_the_request_and_nothing_is_sent() {
    let (up, gateway) = start().await;
    let client = gateway.client_with(json!({"name": "curious", "explain": true})).await;
    let answer = ask(&client, &question("small", json!({"temperature": 0.5}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let explained = answer.json();
    assert_eq!(explained["plan"].as_array().unwrap().len(), 2, "{explained}");
    assert_eq!(
        explained["plan"][0],
        json!({"provider": "cheap", "model": "small", "upstream_model": "small-1"})
    );
    let (cheap, dear) = (candidate(&explained, "cheap"), candidate(&explained, "dear"));
    assert!(cheap["score"].as_f64().unwrap() < dear["score"].as_f64().unwrap(), "{explained}");
    assert_eq!(cheap["price_usd_per_token"], "0.00000125");
    assert_eq!((&cheap["breaker"], &cheap["ejected"]), (&json!("closed"), &json!(false)));
    assert_eq!(candidate(&explained, "absent")["refused"], "no such provider is configured");
    let request = &explained["request"];
    assert_eq!(request["url"], format!("{}/chat/completions", up.base_url()));
    assert_eq!(
        (&request["headers"]["authorization"], &request["body"]["model"]),
        (&json!("***"), &json!("small-1"))
    );
    assert_eq!(request["body"]["temperature"], 0.5);
    assert!(!answer.text().contains("a-secret"), "{}", answer.text());
    assert_eq!(up.requests().len(), 0);
    gateway.idle().await;
}

#[tokio::test]
async fn it_is_the_request_that_would_be_sent() {
    let (up, gateway) = start().await;
    let client = gateway.client_with(json!({"name": "curious", "explain": true})).await;
    for model in ["cheap/small", "dear/small"] {
        let body = question(model, json!({"max_tokens": 99}));
        let explained = ask(&client, &body).await.json();
        client.chat(&body).await;
        let (sent, shown) = (up.last(), &explained["request"]);
        assert_eq!(sent.json(), shown["body"], "{model}");
        assert!(
            shown["url"].as_str().unwrap().ends_with(sent.head.split(' ').nth(1).unwrap()),
            "{}",
            sent.head
        );
        for (name, value) in shown["headers"].as_object().unwrap() {
            let sent = sent.header(name).unwrap_or_else(|| panic!("{name} was not sent to {model}"));
            assert!(value == "***" || value == sent, "{name}: {value} {sent}");
        }
        assert!(!explained.to_string().contains("a-secret"), "{explained}");
    }
}

#[tokio::test]
async fn a_refusal_is_explained_candidate_by_candidate() {
    let (_up, gateway) = start().await;
    let client =
        gateway.client_with(json!({"name": "k", "explain": true, "models": {"deny": ["dear/*"]}})).await;
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]});
    let explained = ask(&client, &question("small", tools)).await.json();
    assert_eq!((&explained["plan"], &explained["request"]), (&json!([]), &Value::Null));
    assert_eq!(explained["refusal"]["status"], 400, "{explained}");
    assert!(candidate(&explained, "cheap")["refused"].as_str().unwrap().contains("does not support tools"));
    assert_eq!(candidate(&explained, "dear")["refused"], "the key may not use it");
}

#[tokio::test]
async fn a_key_that_may_not_is_refused_and_its_request_not_made() {
    let (up, gateway) = start().await;
    let client = gateway.client().await;
    let answer = ask(&client, &question("small", json!({}))).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("`explain`"), "{}", answer.text());
    assert_eq!(up.requests().len(), 0);
}

#[tokio::test]
async fn the_admin_asks_for_anybody() {
    let (up, gateway) = start().await;
    let body = question("small", json!({}));
    let (status, explained) = gateway.admin("POST", "/explain", Some(body.clone())).await;
    assert_eq!((status, &explained["plan"][0]["provider"]), (200, &json!("cheap")), "{explained}");
    let spec = json!({"name": "k", "routing": "latency", "models": {"deny": ["cheap/*"]}});
    let (_, key) = gateway.admin("POST", "/keys", Some(spec)).await;
    let path = format!("/explain?key={}", key["id"].as_str().unwrap());
    let (status, explained) = gateway.admin("POST", &path, Some(body)).await;
    assert_eq!((status, &explained["plan"][0]["provider"]), (200, &json!("dear")), "{explained}");
    for (path, body, param) in [
        ("/explain?key=key_0", question("small", json!({})), "key"),
        ("/explain", json!({"model": "small"}), "messages"),
        ("/explain?kee=x", question("small", json!({})), "kee"),
    ] {
        let (status, error) = gateway.admin("POST", path, Some(body)).await;
        assert_eq!((status, &error["error"]["param"]), (400, &json!(param)), "{error}");
    }
    assert_eq!(up.requests().len(), 0);
}

#[tokio::test]
async fn an_explanation_counts_as_a_request_and_a_large_body_is_not_shown() {
    let (_up, gateway) = start().await;
    let client = gateway.client_with(json!({"name": "k", "explain": true, "rpm": 2})).await;
    let long = question("small", json!({"user": "x".repeat(300 * 1024)}));
    let explained = ask(&client, &long).await.json();
    assert_eq!(explained["request"]["body"], Value::Null);
    assert!(explained["request"]["body_bytes"].as_u64().is_some_and(|bytes| bytes > 300 * 1024));
    assert_eq!(ask(&client, &question("small", json!({}))).await.status, 200);
    let third = ask(&client, &question("small", json!({}))).await;
    assert_eq!((third.status, third.code().as_str()), (429, "rate_limit_exceeded"), "{}", third.text());
    gateway.idle().await;
}
