//! What a key may use: models, requests and tokens per minute, calls at a time.

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, Script, Setup, Upstream, chunk, completion, stream_head, whole};

async fn gateway() -> (Upstream, Gateway) {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Gateway::before(&upstream).await;
    (upstream, gateway)
}

/// Asserts that a call was refused for a limit of the caller, and that it says when to come back.
fn assert_limited(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limit_exceeded"), "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After in seconds");
    let ms: u64 = answer.header("retry-after-ms").parse().expect("retry-after-ms");
    assert!((1..=60_000).contains(&ms) && seconds == ms.div_ceil(1000), "{seconds} s, {ms} ms");
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.header(name).parse().unwrap_or_else(|_| panic!("{name}: {:?}", answer.headers))
}

#[tokio::test]
async fn a_key_uses_the_models_it_may_and_no_other() {
    let (upstream, gateway) = gateway().await;
    let rules = json!({"name": "a", "models": {"allow": ["up/good*", "plain"], "deny": ["*-secret"]}});
    let client = gateway.client_with(rules).await;
    for (model, status) in [("up/good-1", 200), ("up/plain", 200), ("up/good-secret", 403), ("up/other", 403)]
    {
        let answer = client.ask(model, json!({})).await;
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
        if status == 403 {
            assert_eq!(answer.json()["error"]["type"], "permission_error");
        }
    }
    assert_eq!(upstream.requests().len(), 2, "nothing that is not allowed goes upstream");
    // A fallback is no way around.
    let answer = client.ask("up/other", json!({"fallbacks": ["up/other-2"]})).await;
    assert_eq!((answer.status, upstream.requests().len()), (403, 2));
}

#[tokio::test]
async fn a_key_is_shown_the_models_it_may_use_and_no_other() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let offer = |id: &str| format!(r#"{{"id":"{id}","offers":[{{"provider":"up","upstream":"{id}-v1"}}]}}"#);
    let models = ["good-1", "good-secret", "other"].map(offer).join(",");
    let catalog =
        format!(r#"{{"version":1,"source":"the test's own","license":"none","models":[{models}]}}"#);
    let setup = Setup::with_upstream(&upstream).config("catalog: { file: catalog.json }\n");
    let gateway = setup.file("catalog.json", &catalog).start().await;
    let rules = json!({"name": "a", "models": {"allow": ["good*"], "deny": ["*-secret"]}});
    let client = gateway.client_with(rules).await;
    let ids = |answer: &Answer| {
        let models = answer.json()["data"].as_array().unwrap().clone();
        models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&client.get("/v1/models").await), ["auto", "good-1"]);
    let everyone = gateway.client().await;
    assert_eq!(ids(&everyone.get("/v1/models").await), ["auto", "good-1", "good-secret", "other"]);
    assert_eq!(client.get("/v1/models/good-1").await.status, 200);
    for hidden in ["good-secret", "other", "up/other", "never-heard-of"] {
        let answer = client.get(&format!("/v1/models/{hidden}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "model_not_found"), "{hidden}");
    }
    // By a canonical name the same rules hold.
    assert_eq!(client.ask("good-1", json!({})).await.status, 200);
    let refused = client.ask("good-secret", json!({})).await;
    assert_eq!((refused.status, upstream.requests().len()), (403, 1), "{}", refused.text());
}

#[tokio::test]
async fn requests_per_minute_are_counted_per_key() {
    let (upstream, gateway) = gateway().await;
    let client = gateway.client_with(json!({"name": "a", "rpm": 2})).await;
    for remaining in [1, 0] {
        let answer = client.ask("up/m", json!({})).await;
        assert_eq!(answer.status, 200);
        assert_eq!(number(&answer, "x-ratelimit-limit-requests"), 2);
        assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), remaining);
        assert!(!answer.header("x-ratelimit-reset-requests").is_empty());
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), "", "no such limit");
    }
    let refused = client.ask("up/m", json!({})).await;
    assert_limited(&refused);
    assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 0);
    assert_eq!(upstream.requests().len(), 2);
    // Another key has its own; a raised limit holds at once.
    assert_eq!(gateway.client().await.ask("up/m", json!({})).await.status, 200);
    let keys = gateway.admin("GET", "/keys", None).await.1;
    let limited = keys["data"].as_array().unwrap().iter().find(|key| key["rpm"] == 2).unwrap();
    let path = format!("/keys/{}", limited["id"].as_str().unwrap());
    assert_eq!(gateway.admin("PATCH", &path, Some(json!({"rpm": 1000}))).await.0, 200);
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    let refusals =
        r#"llm_gateway_requests_total{error="rate_limited",route="/v1/chat/completions",status="429"}"#;
    gateway.counted(refusals, 1.0).await;
}

#[tokio::test]
async fn tokens_per_minute_are_reserved_before_and_settled_after_a_call() {
    let (upstream, gateway) = gateway().await;
    let client = gateway.client_with(json!({"name": "a", "tpm": 1000})).await;
    let first = client.ask("up/m", json!({"max_tokens": 900})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(number(&first, "x-ratelimit-limit-tokens"), 1000);
    gateway.idle().await;
    // The call reserved over 900 and used 12: the next one finds the rest of it.
    let second = client.ask("up/m", json!({"max_tokens": 900})).await;
    assert_eq!(second.status, 200, "{}", second.text());
    let alone = client.ask("up/m", json!({"max_tokens": 5000})).await;
    assert_eq!((alone.status, alone.code().as_str()), (400, "request_exceeds_limit"), "no wait would help");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn tokens_that_are_spent_are_refused_until_the_next_minute() {
    let mut answer = completion("hi");
    answer["usage"] = json!({"prompt_tokens": 800, "completion_tokens": 150, "total_tokens": 950});
    let upstream = Upstream::always(Script::new().send(whole(200, &answer))).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client_with(json!({"name": "a", "tpm": 1000})).await;
    assert_eq!(client.ask("up/m", json!({"max_tokens": 100})).await.status, 200);
    gateway.idle().await;
    let refused = client.ask("up/m", json!({"max_tokens": 100})).await;
    assert_limited(&refused);
    assert!(number(&refused, "x-ratelimit-remaining-tokens") <= 50);
}

#[tokio::test]
async fn calls_at_a_time_are_limited_and_freed_when_they_end_or_are_left() {
    let event = format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": "a"}}]}));
    let script = Script::new().send(stream_head()).send(chunk(event)).until_closed();
    let upstream = Upstream::always(script).await;
    let gateway = Setup::with_upstream(&upstream).start().await;
    let client = gateway.client_with(json!({"name": "a", "concurrency": 1})).await;
    let body = crate::support::question("up/m", json!({"stream": true}));
    for held in 1..=2 {
        let mut running = client.request(&body).send().await.unwrap();
        assert_eq!(running.status(), 200);
        running.chunk().await.unwrap();
        assert_limited(&client.chat(&body).await);
        assert_eq!(upstream.requests().len(), held);
        drop(running);
        upstream.all_closed().await;
        gateway.idle().await;
    }
    let rows = gateway.ledger(2).await;
    assert!(rows.iter().all(|row| row["outcome"] == "cancelled"), "{rows:?}");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["cost_usd"], Value::Null);
}
