//! What is done for a provider between calls: connections ahead of need, and probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Request, Script, Setup, Upstream, completion, eventually, whole};

fn empty(status: u16) -> Script {
    Script::new().send(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"))
}

fn is_call(request: &Request) -> bool {
    request.head.starts_with("POST ")
}

#[tokio::test]
async fn connections_are_there_before_the_first_call_and_prove_nothing() {
    let up = Upstream::start(|request| match is_call(request) {
        true => Script::new().send(whole(200, &completion("hi"))),
        false => empty(404),
    })
    .await;
    let row = format!("base_url: '{}', api_key: a-key-of-some-length, warm_connections: 2", up.base_url());
    let gateway = Setup::new(format!("providers:\n  up: {{ {row} }}\n")).start().await;
    up.reached(2).await;
    for request in up.requests() {
        assert!(request.head.starts_with("HEAD /v1 "), "{}", request.head);
        assert!(request.header("authorization").is_none() && request.body.is_empty(), "{}", request.head);
    }
    let client = gateway.client().await;
    // Their answers have to be back in the pool, too: then no call makes another connection.
    eventually("a call takes a connection that is there", || async {
        let before = up.connections();
        assert_eq!(client.ask("up/m", json!({})).await.status, 200);
        (up.connections() == before).then_some(())
    })
    .await;
    assert!(up.connections() <= 3, "{}", up.connections());
}

#[tokio::test]
async fn a_provider_whose_probes_fail_comes_last_until_they_go_well() {
    let well = Arc::new(AtomicBool::new(false));
    let probed = Arc::clone(&well);
    let sick = Upstream::start(move |request| match is_call(request) {
        true => Script::new().send(whole(200, &completion("sick"))),
        false => empty(if probed.load(Ordering::Relaxed) { 200 } else { 503 }),
    })
    .await;
    let other = Upstream::always(Script::new().send(whole(200, &completion("other")))).await;
    let probe = "api_key: a-key-of-some-length, probe: { path: /models, interval: 20ms }";
    let mut gateway = Setup::new(format!(
        "providers:\n  sick: {{ base_url: '{}', {probe} }}\n  other: {{ base_url: '{}' }}\n\
         models:\n  any: {{ targets: [ {{ model: sick/m, weight: 1000 }}, {{ model: other/m }} ] }}\n",
        sick.base_url(),
        other.base_url()
    ))
    .start()
    .await;
    let client = gateway.client().await;
    gateway.process.logged("probes fail: other providers come first").await;
    for _ in 0..5 {
        let answer = client.ask("any", json!({})).await;
        assert_eq!(answer.header("x-gateway-provider"), "other", "{}", answer.text());
    }
    let (_, shown) = gateway.admin("GET", "/providers", None).await;
    let shown = shown["data"].as_array().unwrap().iter().find(|one| one["id"] == "sick").unwrap().clone();
    assert_eq!((&shown["probe"], &shown["health"]), (&json!("failing"), &json!("down")), "{shown}");
    // Named, it is asked all the same.
    assert_eq!(client.ask("sick/m", json!({})).await.status, 200);
    let probes: Vec<Request> = sick.requests().into_iter().filter(|request| !is_call(request)).collect();
    assert!(probes.iter().all(|probe| probe.head.starts_with("GET /v1/models ")));
    assert!(probes.iter().all(|probe| probe.header("authorization") == Some("Bearer a-key-of-some-length")));
    well.store(true, Ordering::Relaxed);
    eventually("it comes first again", || async {
        (client.ask("any", json!({})).await.header("x-gateway-provider") == "sick").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_probe_is_asked_as_calls_are_and_a_refused_credential_says_nothing_of_the_provider() {
    let up = Upstream::always(empty(401)).await;
    let row = "wire: anthropic, api_key: a-key-of-some-length, headers: { x-team: search }, probe: { path: /v1/models, interval: 10ms }";
    let gateway =
        Setup::new(format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url())).start().await;
    up.reached(5).await;
    let probe = up.last();
    assert_eq!(
        (probe.header("anthropic-version"), probe.header("x-team")),
        (Some("2023-06-01"), Some("search"))
    );
    let (_, shown) = gateway.admin("GET", "/providers", None).await;
    assert_eq!(shown["data"][0]["probe"], "well", "{shown}");
}
