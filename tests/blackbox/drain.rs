//! Leaving behind a balancer: nobody is turned away, in one process and over a rolling restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Gateway, Script, Setup, Signal, Upstream, completion, question, whole};

async fn replica(up: &Upstream, delay: &str) -> Gateway {
    Setup::with_upstream(up).variable("LLM_GATEWAY__SERVER__DRAIN_DELAY", delay).start().await
}

async fn upstream() -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion("hi")))).await
}

async fn is_ready(url: &str) -> bool {
    reqwest::get(format!("{url}/health/ready")).await.is_ok_and(|response| response.status() == 200)
}

#[tokio::test]
async fn calls_are_taken_until_balancers_have_heard_and_their_connections_are_closed() {
    let up = upstream().await;
    let mut gateway = replica(&up, "60s").await;
    let client = gateway.client().await;
    let before = client.ask("up/m", json!({})).await;
    assert_eq!((before.status, before.header("connection")), (200, ""));
    gateway.process.signal(Signal::Terminate);
    gateway.process.logged("stopping: running calls are finished first").await;
    assert!(!is_ready(&gateway.ops).await && !is_ready(&gateway.url).await);
    let during = client.ask("up/m", json!({})).await;
    assert_eq!((during.status, during.header("connection")), (200, "close"), "{}", during.text());
    // A second signal does not wait for the delay.
    gateway.process.signal(Signal::Terminate);
    assert!(gateway.process.ended().await.success());
}

#[tokio::test]
async fn a_rolling_restart_of_three_replicas_turns_nobody_away() {
    let up = upstream().await;
    let mut replicas = Vec::new();
    let mut keys = Vec::new();
    for _ in 0..3 {
        let gateway = replica(&up, "1s").await;
        keys.push(Arc::new(gateway.client().await));
        replicas.push(gateway);
    }
    // A balancer that asks each replica how it is.
    let in_use: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(true))).collect();
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for (gateway, in_use) in replicas.iter().zip(&in_use) {
        let (url, in_use, over) = (gateway.ops.clone(), Arc::clone(in_use), Arc::clone(&over));
        tasks.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                in_use.store(is_ready(&url).await, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    // Two replicas are restarted while clients call; the third one stays.
    let answered = Arc::new(AtomicUsize::new(0));
    for number in 0..4 {
        let (keys, in_use, over, answered) =
            (keys.clone(), in_use.clone(), Arc::clone(&over), Arc::clone(&answered));
        tasks.push(tokio::spawn(async move {
            let mut turn = number;
            while !over.load(Ordering::Relaxed) {
                turn += 1;
                let Some(at) =
                    (0..3).map(|at| (turn + at) % 3).find(|at| in_use[*at].load(Ordering::Relaxed))
                else {
                    panic!("no replica is ready");
                };
                let answer = Answer::of(keys[at].request(&question("up/m", json!({})))).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for gateway in replicas.iter_mut().take(2) {
        let before = answered.load(Ordering::Relaxed);
        gateway.process.signal(Signal::Terminate);
        assert!(gateway.process.ended().await.success());
        assert!(answered.load(Ordering::Relaxed) > before);
    }
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}
