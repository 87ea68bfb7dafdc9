//! How the calls of a key are handled: priority and share while a provider is full, routing, and what operators see of
//! providers meanwhile.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Gateway, Script, Setup, Upstream, completion, eventually, question, whole,
};

/// A provider that takes one call at a time, each when it is let.
async fn one_at_a_time(let_go: &Arc<Semaphore>) -> (Upstream, Gateway) {
    let up = Upstream::always(Script::new().until(let_go).send(whole(200, &completion("hi")))).await;
    let row = "max_in_flight: 1, queue: { timeout: 60s }";
    let config = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    (up, gateway)
}

/// Sends a call that says `who`, and waits until it runs or is queued as the `nth`.
async fn queued(
    gateway: &Gateway,
    client: &Client,
    who: &str,
    headers: &[(&'static str, &'static str)],
    nth: f64,
) -> tokio::task::JoinHandle<Answer> {
    let mut request = client.request(&question("up/m", json!({"user": who})));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let call = tokio::spawn(Answer::of(request));
    if nth > 0.0 {
        eventually("it is queued", || async {
            let queued = gateway.metric("llm_gateway_provider_queued_calls{provider=\"up\"}").await;
            (queued >= nth).then_some(())
        })
        .await;
    }
    call
}

fn order(up: &Upstream) -> Vec<String> {
    let who = |request: &crate::support::Request| request.json()["user"].as_str().unwrap_or("").to_owned();
    up.requests().iter().map(who).collect()
}

#[tokio::test]
async fn the_urgent_come_first_as_far_as_their_key_allows() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = one_at_a_time(&let_go).await;
    let urgent = gateway.client_with(json!({"name": "urgent", "max_priority": "high"})).await;
    let plain = gateway.client().await;
    let refused = plain.request(&question("up/m", json!({}))).header("x-gateway-priority", "high");
    let refused = Answer::of(refused).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("up to the priority `normal`"), "{}", refused.text());
    let wrong = plain.request(&question("up/m", json!({}))).header("x-gateway-priority", "urgent");
    let wrong = Answer::of(wrong).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "invalid_header"), "{}", wrong.text());
    let mut calls = vec![queued(&gateway, &plain, "runs", &[], 0.0).await];
    up.reached(1).await;
    calls.push(queued(&gateway, &plain, "low", &[("x-gateway-priority", "low")], 1.0).await);
    calls.push(queued(&gateway, &plain, "normal", &[], 2.0).await);
    calls.push(queued(&gateway, &urgent, "high", &[("x-gateway-priority", "high")], 3.0).await);
    let_go.add_permits(4);
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert_eq!(order(&up), ["runs", "high", "normal", "low"]);
}

#[tokio::test]
async fn a_key_with_a_larger_share_gets_more_turns() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = one_at_a_time(&let_go).await;
    let three = gateway.client_with(json!({"name": "three", "share": 3})).await;
    let one = gateway.client().await;
    let mut calls = vec![queued(&gateway, &one, "runs", &[], 0.0).await];
    up.reached(1).await;
    for at in 0..6 {
        let nth = f64::from(2 * at + 1);
        calls.push(queued(&gateway, &one, "one", &[], nth).await);
        calls.push(queued(&gateway, &three, "three", &[], nth + 1.0).await);
    }
    let_go.add_permits(13);
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    let turns = order(&up);
    let early = turns[1..9].iter().filter(|who| *who == "three").count();
    assert!((5..=6).contains(&early), "{turns:?}");
}

#[tokio::test]
async fn a_key_keeps_how_its_calls_are_handled_and_wrong_words_are_named() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Gateway::before(&up).await;
    let spec =
        json!({"name": "k", "share": 9, "max_priority": "high", "routing": "latency", "explain": true});
    let (status, made) = gateway.admin("POST", "/keys", Some(spec)).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    let shown = |key: &Value| json!([key["share"], key["max_priority"], key["routing"], key["explain"]]);
    assert_eq!(shown(&made), json!([9, "high", "latency", true]));
    let changed = json!({"max_priority": null, "routing": null, "share": 2});
    let (_, changed) = gateway.admin("PATCH", &format!("/keys/{id}"), Some(changed)).await;
    assert_eq!(shown(&changed), json!([2, "normal", null, true]));
    for (field, value) in [
        ("share", json!(101)),
        ("max_priority", json!("urgent")),
        ("routing", json!("x")),
        ("explain", json!(1)),
    ] {
        let (status, error) = gateway.admin("POST", "/keys", Some(json!({"name": "k", field: value}))).await;
        assert_eq!((status, &error["error"]["param"]), (400, &json!(field)), "{error}");
    }
}

#[tokio::test]
async fn operators_see_how_each_provider_does() {
    let up = Upstream::start(|request| match request.header("authorization") {
        Some("Bearer a-key-that-is-refused") => {
            Script::new().send(whole(401, &json!({"error": {"message": "no"}})))
        }
        _ if request.json()["model"] == "bad" => {
            Script::new().send(whole(500, &json!({"error": {"message": "x"}})))
        }
        _ => Script::new().send(whole(200, &completion("hi"))),
    })
    .await;
    let row = "api_keys: [ { name: one, key: a-key-that-is-refused, weight: 1000 }, { name: two, key: a-key-that-works, weight: 1 } ], breaker: { consecutive_failures: 2 }";
    let config = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    let shown = || async { gateway.admin("GET", "/providers", None).await.1["data"][0].clone() };
    assert_eq!(shown().await["health"], "unknown");
    eventually("the bad key is found out", || async {
        assert_eq!(client.ask("up/good", json!({})).await.status, 200);
        (shown().await["credentials"][0]["state"] == "refused").then_some(())
    })
    .await;
    for _ in 0..3 {
        client.ask("up/bad", json!({})).await;
    }
    let provider = shown().await;
    assert_eq!(provider["health"], "degraded", "{provider}");
    assert_eq!((&provider["in_flight"], &provider["queued"]), (&json!(0), &json!(0)));
    assert_eq!(provider["credentials"][1]["state"], "usable");
    let target = |name: &str| {
        let all = provider["targets"].as_array().unwrap();
        all.iter().find(|target| target["upstream_model"] == name).unwrap().clone()
    };
    assert_eq!((&target("bad")["breaker"], &target("bad")["success_rate"]), (&json!("open"), &json!(0.0)));
    assert!(target("bad")["ejected_for_ms"].as_u64().is_some_and(|left| left > 0));
    assert_eq!(
        (&target("good")["breaker"], &target("good")["success_rate"]),
        (&json!("closed"), &json!(1.0))
    );
    let text = provider.to_string();
    assert!(!text.contains("a-key-that"), "{text}");
    assert_eq!(gateway.metric("llm_gateway_credential_up{credential=\"one\",provider=\"up\"}").await, 0.0);
    assert_eq!(gateway.metric("llm_gateway_credential_up{credential=\"two\",provider=\"up\"}").await, 1.0);
    assert!(gateway.metric("llm_gateway_provider_in_flight_limit{provider=\"up\"}").await > 0.0);
    // Names that callers make up are no series.
    assert!(!gateway.metrics().await.contains("llm_gateway_breaker_state{"));
}
