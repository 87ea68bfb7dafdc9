//! Clients that leave: their upstream is let go at once, and what was delivered is booked once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Gateway, Live, Script, Upstream, chunk, eventually, question, stream_head, text_event,
};

/// How long the upstream's connection may outlive the client's.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Leaves several calls one by one; the quickest close tells whether something waits, whatever the machine does.
async fn leave(script: Script, stream: bool) -> (Gateway, Vec<Value>) {
    const CALLS: usize = 5;
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let mut closed_after = Vec::new();
    for call in 1..=CALLS {
        let request = client.request(&question("up/m", json!({"stream": stream})));
        let running = tokio::spawn(async move {
            let mut live = Live::open(request).await;
            live.until("\n\n").await;
            live
        });
        upstream.reached(call).await;
        if stream {
            drop(running.await.unwrap());
        } else {
            running.abort();
        }
        closed_after.push(upstream.all_closed().await);
    }
    assert!(closed_after.iter().min().is_some_and(|quickest| *quickest < AT_ONCE), "{closed_after:?}");
    gateway.idle().await;
    gateway.counted("llm_gateway_reserved_usd", 0.0).await;
    let rows = gateway.ledger(CALLS).await;
    assert_eq!(rows.len(), CALLS);
    (gateway, rows)
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_lets_the_upstream_go() {
    let (gateway, rows) = leave(Script::new().until_closed(), false).await;
    assert!(
        rows.iter().all(|row| row["outcome"] == "cancelled" && row["completion_tokens"] == 0),
        "{rows:?}"
    );
    gateway
        .counted(
            "llm_gateway_requests_total{error=\"cancelled\",route=\"/v1/chat/completions\",status=\"499\"}",
            5.0,
        )
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_lets_the_upstream_go_and_is_booked_what_it_got() {
    let script =
        Script::new().send(stream_head()).send(chunk(text_event("one two three four five"))).until_closed();
    let (_gateway, rows) = leave(script, true).await;
    for row in rows {
        assert_eq!(
            (&row["outcome"], &row["estimated"], &row["stream"]),
            (&json!("cancelled"), &json!(true), &json!(true))
        );
        assert_eq!(row["completion_tokens"], 5, "{row}");
        assert!(row["prompt_tokens"].as_u64().unwrap() > 0);
    }
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.process.id())).unwrap().count()
}

/// Waits until the process has no more descriptors than before.
async fn descriptors_back(gateway: &Gateway, before: usize) {
    eventually("the descriptors are closed", || {
        std::future::ready((descriptors(gateway) <= before).then_some(()))
    })
    .await;
}

#[tokio::test]
async fn a_thousand_clients_that_leave_at_once_leave_nothing_behind() {
    const CALLS: usize = 1_000;
    let script = Script::new().send(stream_head()).send(chunk(text_event("a"))).until_closed();
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let spec = json!({"name": "limited", "concurrency": CALLS, "rpm": 100_000, "tpm": 100_000_000});
    let client: Client = gateway.client_with(spec).await;
    gateway.idle().await;
    let before = descriptors(&gateway);
    let opened = (0..CALLS).map(|_| Live::open(client.request(&question("up/m", json!({"stream": true})))));
    let lives = futures_util::future::join_all(opened).await;
    assert!(lives.iter().all(|live| live.response.status() == 200));
    assert_eq!(gateway.metric("llm_gateway_in_flight_requests").await, 1_000.0);
    // The key's last permit is taken: one more is refused.
    assert_eq!(client.ask("up/m", json!({})).await.status, 429);
    drop(lives);
    upstream.all_closed().await;
    gateway.idle().await;
    descriptors_back(&gateway, before + 4).await;
    // Every permit and every reserved token is back.
    let cancelled = "llm_gateway_attempts_total{error=\"cancelled\",model=\"other\",outcome=\"cancelled\",provider=\"up\"}";
    gateway.counted(cancelled, 1_000.0).await;
    let again = (0..CALLS).map(|_| Live::open(client.request(&question("up/m", json!({"stream": true})))));
    let lives = futures_util::future::join_all(again).await;
    assert!(lives.iter().all(|live| live.response.status() == 200));
    let remaining = lives[0].response.headers()["x-ratelimit-remaining-tokens"].to_str().unwrap().to_owned();
    assert!(remaining.parse::<u64>().unwrap() > 90_000_000, "{remaining}");
    drop(lives);
    gateway.idle().await;
}
