//! Overload: what a provider that is full makes of the calls beyond, and that nobody starves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{Answer, Client, Gateway, Script, Setup, Upstream, completion, question, whole};

/// An upstream that answers as often as it is let, and a gateway with this row for it.
async fn held(let_go: &Arc<Semaphore>, row: &str) -> (Upstream, Gateway) {
    let up = Upstream::always(Script::new().until(let_go).send(whole(200, &completion("hi")))).await;
    let config = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    (up, gateway)
}

/// So many calls at once: the answers as they come, and how long each took.
fn flood(
    client: &Client,
    count: usize,
) -> FuturesUnordered<impl Future<Output = (Answer, Duration)> + use<>> {
    let call = |_| {
        let request = client.request(&question("up/m", json!({})));
        async move {
            let started = Instant::now();
            let answer = Answer::of(request).await;
            (answer, started.elapsed())
        }
    };
    (0..count).map(call).collect()
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_their_turn_and_none_is_lost() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = held(&let_go, "max_in_flight: 2").await;
    let client = gateway.client().await;
    let calls = tokio::spawn(flood(&client, 20).collect::<Vec<_>>());
    up.reached(2).await;
    let_go.add_permits(20);
    for (answer, _) in calls.await.unwrap() {
        assert_eq!((answer.status, answer.header("x-gateway-attempts")), (200, "1"), "{}", answer.text());
    }
    // Connections are kept: there were never more than two at a time.
    assert_eq!((up.requests().len(), up.connections()), (20, 2));
    gateway.idle().await;
    assert_eq!(gateway.ledger(20).await.len(), 20);
}

#[tokio::test]
async fn what_finds_no_place_to_wait_is_shed_at_once_and_costs_nothing_upstream() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = held(&let_go, "max_in_flight: 2, queue: { length: 3, timeout: 60s }").await;
    let client = gateway.client().await;
    let mut calls = flood(&client, 30);
    for _ in 0..25 {
        let (answer, _) = calls.next().await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.text());
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    }
    let_go.add_permits(5);
    for (answer, _) in calls.collect::<Vec<_>>().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(up.requests().len(), 5);
}

#[tokio::test]
async fn a_greedy_key_does_not_keep_another_from_its_turn() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = held(&let_go, "max_in_flight: 2, queue: { length: 20, timeout: 60s }").await;
    let (greedy, modest) = (gateway.client().await, gateway.client().await);
    let mut crowd = flood(&greedy, 100);
    // 2 run, 20 wait, the others are shed.
    for _ in 0..78 {
        assert_eq!(crowd.next().await.unwrap().0.status, 503);
    }
    let crowd = tokio::spawn(crowd.collect::<Vec<_>>());
    let modest = tokio::spawn(async move { flood(&modest, 1).next().await });
    // The newest of the crowd makes room for it, and it is next but one.
    up.reached(2).await;
    let_go.add_permits(100);
    assert_eq!(modest.await.unwrap().unwrap().0.status, 200);
    let served = crowd.await.unwrap().iter().filter(|(answer, _)| answer.status == 200).count();
    assert!((21..=22).contains(&served), "{served}");
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_when_to_come_back() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = held(&let_go, "max_in_flight: 1, queue: { timeout: 100ms }").await;
    let client = gateway.client().await;
    let mut calls = flood(&client, 2);
    let (answer, took) = calls.next().await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.text());
    assert!(took >= Duration::from_millis(100));
    let_go.add_permits(1);
    assert_eq!(calls.next().await.unwrap().0.status, 200);
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_leaves_its_place() {
    let let_go = Arc::new(Semaphore::new(0));
    let (up, gateway) = held(&let_go, "max_in_flight: 1").await;
    let client = gateway.client().await;
    let leaving = tokio::spawn(flood(&client, 10).collect::<Vec<_>>());
    up.reached(1).await;
    leaving.abort();
    let_go.add_permits(10);
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    gateway.idle().await;
}

#[tokio::test]
async fn nobody_waits_for_a_place_where_the_breaker_lets_nobody_in() {
    let up = Upstream::start(|request| match request.json()["model"].as_str() {
        Some("bad") => Script::new().send(whole(500, &json!({"error": {"message": "because"}}))),
        _ => Script::new().until_closed(),
    })
    .await;
    let row =
        "max_in_flight: 1, queue: { timeout: 600s }, breaker: { consecutive_failures: 1, cool_down: 60s }";
    let config = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/bad", json!({})).await.status, 502);
    let holds = tokio::spawn(Answer::of(client.request(&question("up/slow", json!({})))));
    up.reached(2).await;
    let answer = client.ask("up/bad", json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.text());
    assert!(answer.text().contains("failed too often"), "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| (50..=60).contains(&seconds)));
    holds.abort();
}
