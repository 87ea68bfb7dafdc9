//! What the store has to do with it: restarts, replicas, and a store that does not answer.

use std::sync::Arc;

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Semaphore;

use super::{ask, counter, gated, in_flight, open, replayed, said, spawned};
use crate::support::{Answer, Client, Gateway, Setup, Upstream, eventually, question};

#[tokio::test]
async fn answers_outlive_the_process() {
    let (upstream, gateway, client) = open().await;
    let mut firsts = Vec::new();
    for stream in [false, true] {
        firsts.push(ask(&client, &format!("k{stream}"), stream).await);
    }
    let gateway = gateway.stop_and_restart().await;
    let client = Client::new(&gateway.url, &client.key);
    for (first, stream) in firsts.iter().zip([false, true]) {
        for _ in 0..2 {
            replayed(first, &ask(&client, &format!("k{stream}"), stream).await);
        }
        let other = client.request(&question("up/m", json!({"seed": 1, "stream": stream})));
        let other = Answer::of(other.header("idempotency-key", format!("k{stream}"))).await;
        assert_eq!(other.code(), "idempotency_key_reused");
    }
    assert_eq!(upstream.requests().len(), 2);
    gateway.sound(2).await;
}

#[tokio::test]
async fn what_a_process_ran_that_was_killed_runs_anew_once_its_lease_is_over() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let lost = spawned(&client, "k", true);
    upstream.reached(1).await;
    let gateway = gateway.crash_and_restart().await;
    lost.abort();
    let again = spawned(&Client::new(&gateway.url, &client.key), "k", true);
    in_flight(&gateway, 1.0).await;
    assert_eq!(upstream.requests().len(), 1, "another may run it still");
    let file = gateway.folder().join("data/gateway.db");
    let mut outside = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let ended = sqlx::query("UPDATE idempotency SET lease_ms = 1").execute(&mut outside).await.unwrap();
    assert_eq!(ended.rows_affected(), 1);
    gate.add_permits(2);
    let again = again.await.unwrap();
    assert!(again.done() && again.content().starts_with("answer 1"), "{}", again.text());
    gateway.sound(1).await;
}

#[tokio::test]
async fn two_gateways_on_one_store_make_one_upstream_call() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let folder = tempfile::TempDir::new().unwrap();
    let shared = folder.path().join("data").display().to_string();
    let start = || Setup::with_upstream(&upstream).variable("LLM_GATEWAY__DATA_DIR", &shared).start();
    let one = start().await;
    let client = one.client().await;
    let two = start().await;
    let there = Client::new(&two.url, &client.key);
    for (calls, stream) in [(1, true), (2, false)] {
        let key = format!("k{stream}");
        let here = spawned(&client, &key, stream);
        upstream.reached(calls).await;
        let elsewhere = spawned(&there, &key, stream);
        in_flight(&two, 1.0).await;
        gate.add_permits(1);
        let first = here.await.unwrap();
        replayed(&first, &elsewhere.await.unwrap());
        replayed(&first, &ask(&there, &key, stream).await);
        assert_eq!(upstream.requests().len(), calls);
    }
    one.sound(2).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_fails_no_request() {
    let (upstream, gateway, client) = open().await;
    let file = gateway.folder().join("data/gateway.db");
    let mut outside = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    for key in ["a", "b"] {
        let first = ask(&client, key, false).await;
        assert_eq!((first.status, first.header("x-gateway-idempotency")), (200, "local"));
        replayed(&first, &ask(&client, key, false).await);
    }
    lock.rollback().await.unwrap();
    assert_eq!(upstream.requests().len(), 2);
    gateway.counted(&counter("local"), 2.0).await;
    let told = gateway.process.events();
    let told = told.iter().filter(|event| {
        event["message"].as_str().is_some_and(|text| text.starts_with("idempotency keys are known to this"))
    });
    assert_eq!(told.count(), 1);
    eventually("the store is asked again", || async {
        let key = ulid::Ulid::generate().to_string();
        ask(&client, &key, false).await.header("x-gateway-idempotency").is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_oldest_answers_leave_memory_and_come_from_the_store() {
    let upstream = Upstream::start(|request| said(&request.number.to_string(), false)).await;
    for (store_max, calls) in [("1GiB", 4), ("0B", 5)] {
        let before = upstream.requests().len();
        let config = format!("idempotency: {{ keys: 2, store_max: {store_max} }}\n");
        let gateway = Setup::with_upstream(&upstream).config(&config).start().await;
        let client = gateway.client().await;
        let mut first = None;
        for key in ["a", "b", "c", "d"] {
            let answer = ask(&client, key, false).await;
            assert_eq!((answer.status, answer.header("x-gateway-idempotency")), (200, ""));
            first.get_or_insert(answer);
        }
        let again = ask(&client, "a", false).await;
        let same = again.bytes == first.unwrap().bytes;
        assert_eq!((same, upstream.requests().len() - before), (calls == 4, calls));
    }
}
