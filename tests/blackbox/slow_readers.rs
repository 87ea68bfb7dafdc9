//! Clients that take nothing of what is sent to them: held back, bounded, and let go after a while; and the guard of the
//! process's memory.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Answer, Gateway, Script, Setup, Upstream, chunk, completion, eventually, question, stream_head,
    text_event, whole,
};

/// A stream of far more than any buffer holds.
fn flood() -> Script {
    let event = text_event(&"x".repeat(64 * 1024));
    Script::new().send(stream_head()).send_again_and_again(chunk(&event), 1000)
}

/// Sends a request and reads nothing.
fn ask_and_stall(gateway: &Gateway, key: &str) -> TcpStream {
    let address = gateway.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = question("up/m", json!({"stream": true})).to_string();
    let length = body.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

async fn key(gateway: &Gateway) -> String {
    let (_, made) = gateway.admin("POST", "/keys", Some(json!({"name": "slow"}))).await;
    made["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go_and_so_is_its_upstream() {
    let up = Upstream::always(flood()).await;
    let gateway = Setup::with_upstream(&up).config("server: { write_timeout: 1s }\n").start().await;
    let stalled = ask_and_stall(&gateway, &key(&gateway).await);
    up.reached(1).await;
    up.all_closed().await;
    gateway.idle().await;
    let rows = gateway.ledger(1).await;
    assert_eq!(rows[0]["outcome"], "cancelled", "{rows:?}");
    drop(stalled);
}

#[tokio::test]
async fn five_hundred_clients_that_take_nothing_do_not_fill_the_memory_and_disturb_nobody() {
    const STALLED: usize = 500;
    let up = Upstream::start(|request| match request.json()["model"].as_str() {
        Some("m") => flood(),
        _ => Script::new().send(whole(200, &completion("hi"))),
    })
    .await;
    let gateway = Setup::with_upstream(&up).config("server: { write_timeout: 30s }\n").start().await;
    let (secret, client) = (key(&gateway).await, gateway.client().await);
    client.ask("up/other", json!({})).await;
    let before = gateway.metric("process_resident_memory_bytes").await;
    let stalled: Vec<_> = (0..STALLED).map(|_| ask_and_stall(&gateway, &secret)).collect();
    up.reached(STALLED + 1).await;
    for _ in 0..20 {
        assert_eq!(client.ask("up/other", json!({})).await.status, 200);
    }
    let grown = gateway.metric("process_resident_memory_bytes").await - before;
    println!("{STALLED} clients that take nothing: {:.1} MiB more", grown / 1048576.0);
    // Some events of 64 KiB of each are on their way through the process; what the sockets hold is the system's.
    assert!(grown < STALLED as f64 * 768.0 * 1024.0, "{grown}");
    drop(stalled);
    eventually("their upstreams are let go", || {
        // One connection idles in the pool.
        std::future::ready((up.open_connections() <= 1).then_some(()))
    })
    .await;
    gateway.idle().await;
}

#[tokio::test]
async fn short_of_memory_the_gateway_refuses_new_calls_and_goes_on_with_those_it_has() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Setup::with_upstream(&up).config("server: { config_watch: false }\n").start().await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    let file = gateway.folder().join("gateway.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    // The smallest limit there is may be more than a process needs that does little: ballast makes sure that it is not.
    let limited = text.replace("config_watch: false", "config_watch: false, memory_limit: 64MiB");
    std::fs::write(&file, limited).unwrap();
    assert_eq!(gateway.admin("POST", "/config/reload", None).await.0, 200);
    let ballast = format!("\"{}\"", "x".repeat(30 << 20));
    let refused = eventually("it is short of memory", || async {
        let heavy = client.raw(format!(
            "{{\"model\":\"up/m\",\"messages\":[{{\"role\":\"user\",\"content\":{ballast}}}]}}"
        ));
        let (heavy, light) = tokio::join!(Answer::of(heavy), client.ask("up/m", json!({})));
        [heavy, light].into_iter().find(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(refused.code(), "overloaded", "{}", refused.text());
    assert!(refused.text().contains("short of memory") && !refused.header("retry-after").is_empty());
    std::fs::write(&file, text).unwrap();
    assert_eq!(gateway.admin("POST", "/config/reload", None).await.0, 200);
    eventually("calls are taken again", || async {
        (client.ask("up/m", json!({})).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_model_may_have_time_outs_of_its_own() {
    let up = Upstream::always(Script::new().until_closed()).await;
    let row = "timeouts: { head: 60s, connect: 100ms }, model_timeouts: [ { models: ['quick*'], head: 200ms }, { models: ['*'], total: 900ms } ]";
    let gateway =
        Setup::new(format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url())).start().await;
    let client = gateway.client().await;
    for (model, says) in [("up/quick-1", "did not answer in time"), ("up/other", "did not finish in time")] {
        let started = std::time::Instant::now();
        let answer = client.ask(model, json!({})).await;
        assert_eq!(answer.status, 504, "{}", answer.text());
        assert!(answer.text().contains(says), "{}", answer.text());
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    let (_, shown) = gateway.admin("GET", "/config", None).await;
    let shown = &shown["providers"]["up"]["model_timeouts"];
    assert_eq!(shown[0]["models"], json!(["quick*"]));
    assert_eq!((&shown[0]["head"], &shown[1]["head"]), (&json!("200ms"), &json!("60000ms")));
}
