//! Routing: hedging, sessions, what a request may ask of the order.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{Answer, Gateway, Script, Setup, Upstream, completion, question, streamed, whole};

fn answer(text: &str) -> Script {
    Script::new().send(whole(200, &completion(text)))
}

/// Two providers, and an alias.
async fn two(up: Script, next: Script, alias: &str) -> (Upstream, Upstream, Gateway) {
    let (up, next) = (Upstream::always(up).await, Upstream::always(next).await);
    let more = format!("  next: {{ base_url: '{}' }}\nmodels:\n  mine: {alias}\n", next.base_url());
    let gateway = Setup::with_upstream(&up).config(&more).start().await;
    (up, next, gateway)
}

#[tokio::test]
async fn a_hedged_call_is_answered_by_whoever_begins_first_and_both_are_booked() {
    for stream in [false, true] {
        let quick = if stream { streamed("from the next") } else { answer("from the next") };
        let alias = "{ targets: [{ model: up/m }], hedge_after: 30ms }";
        let (up, next, gateway) = two(Script::new().until_closed(), quick, alias).await;
        let client = gateway.client().await;
        let answer = client.ask("mine", json!({"fallbacks": ["next/n"], "stream": stream})).await;
        assert_eq!((answer.status, answer.header("x-gateway-provider")), (200, "next"), "{}", answer.text());
        assert_eq!(answer.header("x-gateway-attempts"), "2");
        let told = if stream { answer.chunks().pop().unwrap() } else { answer.json() };
        let attempts = told["metadata"]["attempts"].as_array().unwrap_or_else(|| panic!("{told}")).clone();
        let of = |at: usize| (attempts[at]["provider"].clone(), attempts[at]["error"].clone());
        assert_eq!((of(0), of(1)), ((json!("up"), json!("hedged")), (json!("next"), json!(null))));
        // The loser is cancelled at once.
        up.all_closed().await;
        assert_eq!((up.requests().len(), next.requests().len()), (1, 1));
        let rows = gateway.ledger(2).await;
        let outcomes: BTreeSet<String> =
            rows.iter().map(|row| format!("{} {}", row["provider"], row["outcome"])).collect();
        assert_eq!(outcomes, ["\"next\" \"completed\"", "\"up\" \"cancelled\""].map(String::from).into());
    }
}

#[tokio::test]
async fn a_hedge_that_is_refused_does_not_end_the_call() {
    let let_go = Arc::new(Semaphore::new(0));
    let slow = Script::new().until(&let_go).send(whole(200, &completion("slow but well")));
    let refusal = Script::new().send(whole(400, &json!({"error": {"message": "not here"}})));
    let alias = "{ targets: [{ model: up/m }], hedge_after: 30ms }";
    let (up, next, gateway) = two(slow, refusal, alias).await;
    let client = gateway.client().await;
    let request = client.request(&question("mine", json!({"fallbacks": ["next/n"]})));
    let call = tokio::spawn(Answer::of(request));
    next.reached(1).await;
    gateway.ledger(1).await;
    let_go.add_permits(1);
    let answer = call.await.unwrap();
    assert_eq!((answer.status, answer.content().as_str()), (200, "slow but well"), "{}", answer.text());
    assert_eq!((up.requests().len(), answer.header("x-gateway-provider")), (1, "up"));
}

#[tokio::test]
async fn a_call_that_begins_in_time_is_not_hedged() {
    let alias = "{ targets: [{ model: up/m }], hedge_after: 60s }";
    let (_up, next, gateway) = two(answer("quick"), answer("from the next"), alias).await;
    let answer = gateway.client().await.ask("mine", json!({"fallbacks": ["next/n"]})).await;
    assert_eq!((answer.content().as_str(), next.requests().len()), ("quick", 0));
}

#[tokio::test]
async fn a_session_keeps_its_target_and_sessions_are_spread() {
    let alias = "{ targets: [{ model: up/m }, { model: next/n }] }";
    let (_up, _next, gateway) = two(answer("one"), answer("two"), alias).await;
    let client = gateway.client().await;
    let mut all = BTreeSet::new();
    for (header, field) in
        [("x-session-id", None), ("x-session-affinity", None), ("", Some("prompt_cache_key"))]
    {
        for session in 0..8 {
            let name = format!("session {session}");
            let mut said = BTreeSet::new();
            for _ in 0..4 {
                let mut body = question("mine", json!({}));
                if let Some(field) = field {
                    body[field] = json!(name);
                }
                let mut request = client.request(&body);
                if field.is_none() {
                    request = request.header(header, &name);
                }
                said.insert(Answer::of(request).await.content());
            }
            assert_eq!(said.len(), 1, "{header} {field:?} {name}: {said:?}");
            all.extend(said);
        }
    }
    assert_eq!(all.len(), 2);
}

#[tokio::test]
async fn a_mode_that_is_none_is_refused_by_name_and_a_known_one_is_not_sent_on() {
    let (up, _next, gateway) = two(answer("hi"), answer("hi"), "{ targets: [{ model: up/m }] }").await;
    let client = gateway.client().await;
    let wrong = client.ask("up/m", json!({"routing": "best"})).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &json!("routing")), "{}", wrong.text());
    let wrong =
        Answer::of(client.request(&question("up/m", json!({}))).header("x-gateway-routing", "best")).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    assert!(up.requests().is_empty());
    for mode in ["balanced", "price", "latency", "throughput"] {
        assert_eq!(client.ask("up/m", json!({"routing": mode})).await.status, 200);
        assert!(up.last().json().get("routing").is_none());
    }
}
