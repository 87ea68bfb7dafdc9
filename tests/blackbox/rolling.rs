//! A rolling restart behind a real balancer, with plain calls and streams running all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::postgres::Cluster;
use crate::support::{
    Client, Replicas, Request, Script, Setup, Upstream, chunk, completion, ending, eventually, stream_head,
    text_event, whole,
};

/// Clients of each sort.
const CLIENTS: usize = 4;

/// A plain answer comes after a while, a stream goes on for longer than a balancer takes to notice anything.
async fn upstream() -> Upstream {
    Upstream::start(|request: &Request| {
        if request.json()["stream"] != true {
            return Script::new().wait(Duration::from_millis(20)).send(whole(200, &completion("hi")));
        }
        let mut script = Script::new().send(stream_head());
        for _ in 0..10 {
            script = script.send(chunk(text_event("word "))).wait(Duration::from_millis(150));
        }
        script.send(chunk(ending())).send(chunk(""))
    })
    .await
}

/// What clients got.
#[derive(Default)]
struct Got {
    over: AtomicBool,
    whole: AtomicUsize,
    streams: AtomicUsize,
}

async fn keep_calling(client: Client, stream: bool, got: Arc<Got>) {
    while !got.over.load(Ordering::Relaxed) {
        let answer = client.ask("up/m", json!({"stream": stream})).await;
        assert!(answer.status == 200 && !answer.broken, "{} {}", answer.status, answer.text());
        if stream {
            assert!(answer.done() && answer.content() == "word ".repeat(10), "{}", answer.text());
            got.streams.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(answer.content(), "hi");
            got.whole.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call_cuts_no_stream_and_books_everything() {
    let upstream = upstream().await;
    let setup = Setup::with_upstream(&upstream)
        .variable("DATABASE_URL", &Cluster::shared().database().await)
        .variable("LLM_GATEWAY__DATABASE__URL", "env:DATABASE_URL")
        .variable("LLM_GATEWAY__SERVER__DRAIN_DELAY", "1s");
    let mut replicas = Replicas::start(3, &setup).await;
    let (key, _) = replicas.key(json!({"name": "k"})).await;
    let got = Arc::<Got>::default();
    let clients: Vec<_> = (0..2 * CLIENTS)
        .map(|at| {
            let client = Client::new(&replicas.balancer.url, &key);
            tokio::spawn(keep_calling(client, at % 2 == 0, Arc::clone(&got)))
        })
        .collect();
    let goes_on = async || {
        let so_far = || (got.whole.load(Ordering::Relaxed), got.streams.load(Ordering::Relaxed));
        let before = so_far();
        eventually("calls and streams go on", || {
            let now = so_far();
            let on = now.0 > before.0 + CLIENTS && now.1 > before.1 + 2 * CLIENTS;
            std::future::ready(on.then_some(()))
        })
        .await;
    };
    for place in 0..3 {
        goes_on().await;
        replicas.replace(place).await;
    }
    goes_on().await;
    got.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no call failed");
    }
    let calls = got.whole.load(Ordering::Relaxed) + got.streams.load(Ordering::Relaxed);
    assert_eq!(upstream.requests().len(), calls, "nothing was sent twice");
    replicas.settled().await;
    let rows = replicas.at(0).sound(calls).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed"), "all of them were finished");
}
