//! A configuration that changes while calls are served: taken over whole or not at all, and nobody is dropped.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Gateway, Live, Script, Setup, Signal, Upstream, chunk, completion, ending, eventually,
    question, stream_head, text_event, whole,
};

async fn saying(text: &str) -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion(text)))).await
}

/// A configuration with one provider `up`, and more.
fn config(up: &Upstream, more: &str) -> String {
    format!("providers:\n  up: {{ base_url: '{}' }}\n{more}", up.base_url())
}

/// One that is asked only when told to reload.
async fn unwatched(up: &Upstream, more: &str) -> Gateway {
    Setup::new(config(up, more)).variable("LLM_GATEWAY__SERVER__CONFIG_WATCH", "false").start().await
}

fn write(gateway: &Gateway, name: &str, text: &str) {
    std::fs::write(gateway.folder().join(name), text).unwrap();
}

async fn reload(gateway: &Gateway) -> (u16, Value) {
    gateway.admin("POST", "/config/reload", None).await
}

async fn says(client: &Client, model: &str, text: &str) {
    let answer = client.ask(model, json!({})).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], text, "{}", answer.text());
}

#[tokio::test]
async fn a_reload_changes_providers_aliases_and_limits_and_names_what_it_changed() {
    let (one, two) = (saying("one").await, saying("two").await);
    let gateway = unwatched(&one, "").await;
    let client = gateway.client().await;
    says(&client, "up/m", "one").await;
    assert_eq!(client.ask("fast", json!({})).await.status, 404);
    let (status, report) = reload(&gateway).await;
    assert_eq!((status, &report["changed"], &report["start_only"]), (200, &json!([]), &json!([])));
    let more = "strict: true\nmodels: { fast: { targets: [ { model: up/m } ] } }\n";
    write(&gateway, "gateway.yaml", &config(&two, more));
    says(&client, "up/m", "one").await;
    let (status, report) = reload(&gateway).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["changed"], json!(["strict", "providers.up.base_url", "models.fast"]));
    says(&client, "up/m", "two").await;
    says(&client, "fast", "two").await;
    let (_, shown) = gateway.admin("GET", "/config", None).await;
    assert_eq!(shown["strict"], true, "{shown}");
    let models = client.get("/v1/models").await.json();
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "fast"), "{models}");
}

#[tokio::test]
async fn a_provider_that_stays_keeps_its_connections_and_a_stream_of_one_that_goes_ends_well() {
    let stays = saying("hi").await;
    let let_go = Arc::new(Semaphore::new(0));
    let slow = Script::new().send(stream_head()).send(chunk(text_event("one "))).until(&let_go);
    let goes =
        Upstream::always(slow.send(chunk(text_event("two"))).send(chunk(ending())).send(chunk(""))).await;
    let both = format!("  goes: {{ base_url: '{}' }}\n", goes.base_url());
    let gateway = unwatched(&stays, &both).await;
    let client = gateway.client().await;
    says(&client, "up/m", "hi").await;
    let mut stream = Live::open(client.request(&question("goes/m", json!({"stream": true})))).await;
    stream.until("\n\n").await;
    write(&gateway, "gateway.yaml", &config(&stays, ""));
    assert_eq!(reload(&gateway).await.0, 200);
    assert_eq!(client.ask("goes/m", json!({})).await.status, 404);
    says(&client, "up/m", "hi").await;
    assert_eq!(stays.connections(), 1);
    let_go.add_permits(1);
    stream.until("[DONE]\n\n").await;
    assert_eq!(gateway.ledger(3).await.len(), 3);
}

#[tokio::test]
async fn a_stream_of_a_provider_that_is_gone_is_still_cut_in_order_at_the_end() {
    let stays = saying("hi").await;
    let endless = Script::new().send(stream_head()).send(chunk(text_event("one "))).until_closed();
    let goes = Upstream::always(endless).await;
    let both = format!("  goes: {{ base_url: '{}' }}\nserver: {{ drain_timeout: 1ms }}\n", goes.base_url());
    let mut gateway = unwatched(&stays, &both).await;
    let client = gateway.client().await;
    let mut stream = Live::open(client.request(&question("goes/m", json!({"stream": true})))).await;
    stream.until("\n\n").await;
    write(&gateway, "gateway.yaml", &config(&stays, "server: { drain_timeout: 1ms }\n"));
    assert_eq!(reload(&gateway).await.0, 200);
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    let rest = stream.response.text().await.unwrap();
    assert!(rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest}");
    let gateway = gateway.restart().await;
    assert_eq!(gateway.ledger(1).await.len(), 1);
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_says_why() {
    let up = saying("hi").await;
    let mut gateway = unwatched(&up, "").await;
    let client = gateway.client().await;
    let bad =
        config(&up, "serve: { listen: 'x' }\nmodels: { fast: { targets: [ { model: nothing/at/all } ] } }\n");
    for (text, named) in [(bad.as_str(), "serve"), ("providers: [", "gateway.yaml"), ("", "")] {
        write(&gateway, "gateway.yaml", text);
        let (status, error) = reload(&gateway).await;
        if named.is_empty() {
            // An empty file is a configuration: that of the defaults.
            assert_eq!(status, 200, "{error}");
            continue;
        }
        assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid_configuration")), "{error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(named) && message.contains("the old one stays"), "{message}");
        assert_eq!(gateway.metric("llm_gateway_config_last_reload_successful").await, 0.0);
        says(&client, "up/m", "hi").await;
    }
    gateway.process.logged("the new configuration is not taken; the old one stays in force").await;
    assert_eq!(gateway.metric("llm_gateway_config_last_reload_successful").await, 1.0);
}

#[tokio::test]
async fn what_is_read_at_the_start_only_is_named_and_stays() {
    let up = saying("hi").await;
    let gateway = unwatched(&up, "").await;
    let more = "server: { keep_alive: 5s, ping_interval: 5s }\nreasoning: { memory: 1MiB }\n";
    write(&gateway, "gateway.yaml", &config(&up, more));
    let (status, report) = reload(&gateway).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["changed"], json!(["server.ping_interval"]));
    assert_eq!(report["start_only"], json!(["server.keep_alive", "reasoning.memory"]));
    let (_, shown) = gateway.admin("GET", "/config", None).await;
    assert_eq!(
        (&shown["server"]["keep_alive"], &shown["reasoning"]["memory"]),
        (&json!("75s"), &json!("64MiB"))
    );
}

#[tokio::test]
async fn a_file_that_changed_is_taken_over_and_so_is_a_secret_and_a_hangup() {
    let (one, two) = (saying("one").await, saying("two").await);
    let secret = "providers:\n  up: { base_url: 'URL', api_key: 'file:key.txt' }\n";
    let text = |up: &Upstream| secret.replace("URL", &up.base_url());
    let setup = Setup::new(text(&one)).file("key.txt", "the-first-key");
    let gateway = setup.start().await;
    let client = gateway.client().await;
    says(&client, "up/m", "one").await;
    assert_eq!(one.last().header("authorization"), Some("Bearer the-first-key"));
    write(&gateway, "key.txt", "the-second-key");
    eventually("the new key is used", || async {
        says(&client, "up/m", "one").await;
        (one.last().header("authorization") == Some("Bearer the-second-key")).then_some(())
    })
    .await;
    write(&gateway, "gateway.yaml", &text(&two).replace("'file:key.txt'", "a-third-key-of-its-own"));
    let answered_by = |answer: &Answer| answer.json()["choices"][0]["message"]["content"].clone();
    eventually("the new address is used", || async {
        (answered_by(&client.ask("up/m", json!({})).await) == "two").then_some(())
    })
    .await;
    // No call in all of this failed, and the process is the same.
    assert!(gateway.ledger(3).await.iter().all(|row| row["outcome"] == "completed"));
}

#[tokio::test]
async fn a_hangup_reloads_and_does_not_end_the_process() {
    let (one, two) = (saying("one").await, saying("two").await);
    let mut gateway = unwatched(&one, "").await;
    let client = gateway.client().await;
    write(&gateway, "gateway.yaml", &config(&two, ""));
    gateway.process.signal(Signal::Hangup);
    gateway.process.logged("configuration reloaded").await;
    eventually("the cell has heard", || async {
        let answer = client.ask("up/m", json!({})).await;
        (answer.json()["choices"][0]["message"]["content"] == "two").then_some(())
    })
    .await;
    assert_eq!(gateway.stop().await, Some(0));
}

#[tokio::test]
async fn under_load_a_hundred_reloads_drop_no_call() {
    let (one, two) = (saying("one").await, saying("two").await);
    let gateway = Arc::new(unwatched(&one, "").await);
    let client = Arc::new(gateway.client().await);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                for _ in 0..50 {
                    let answer = client.ask("up/m", json!({})).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            })
        })
        .collect();
    for turn in 0..100 {
        write(&gateway, "gateway.yaml", &config(if turn % 2 == 0 { &two } else { &one }, ""));
        assert_eq!(reload(&gateway).await.0, 200);
    }
    for caller in callers {
        caller.await.unwrap();
    }
    gateway.idle().await;
}

/// A provider that takes so many calls at a time, each when it is let, with three more that wait.
async fn crowded(
    let_go: &Arc<Semaphore>,
    row: &str,
) -> (Upstream, Gateway, Vec<tokio::task::JoinHandle<Answer>>) {
    let up = Upstream::always(Script::new().until(let_go).send(whole(200, &completion("hi")))).await;
    let text = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(text).variable("LLM_GATEWAY__SERVER__CONFIG_WATCH", "false").start().await;
    let client = gateway.client().await;
    let call = |_| tokio::spawn(Answer::of(client.request(&question("up/m", json!({})))));
    let calls: Vec<_> = (0..6).map(call).collect();
    up.reached(3).await;
    gateway.counted("llm_gateway_provider_queued_calls{provider=\"up\"}", 3.0).await;
    (up, gateway, calls)
}

#[tokio::test]
async fn who_waited_through_a_reload_goes_with_the_credentials_it_began_with() {
    let let_go = Arc::new(Semaphore::new(0));
    let keys = |list: &str| format!("max_in_flight: 3, queue: {{ timeout: 60s }}, api_keys: [ {list} ]");
    let first = "{ name: b, key: the-key-called-b }";
    let (up, gateway, calls) = crowded(&let_go, &keys(first)).await;
    let text = keys(&format!("{{ name: z, key: the-key-called-z, weight: 1000 }}, {first}"));
    write(
        &gateway,
        "gateway.yaml",
        &format!("providers:\n  up: {{ base_url: '{}', {text} }}\n", up.base_url()),
    );
    assert_eq!(reload(&gateway).await.0, 200);
    let_go.add_permits(6);
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    for request in up.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer the-key-called-b"));
    }
    assert!(!gateway.process.log().contains("refuses this credential"));
}

#[tokio::test]
async fn a_limit_that_is_lowered_holds_for_those_that_wait_already() {
    let let_go = Arc::new(Semaphore::new(0));
    let row =
        |limit: u32| format!("max_in_flight: {limit}, adaptive_limit: false, queue: {{ timeout: 60s }}");
    let (up, gateway, calls) = crowded(&let_go, &row(3)).await;
    write(
        &gateway,
        "gateway.yaml",
        &format!("providers:\n  up: {{ base_url: '{}', {} }}\n", up.base_url(), row(1)),
    );
    assert_eq!(reload(&gateway).await.0, 200);
    let_go.add_permits(3);
    up.reached(4).await;
    gateway.counted("llm_gateway_provider_in_flight_attempts{provider=\"up\"}", 1.0).await;
    assert_eq!(up.requests().len(), 4);
    let_go.add_permits(3);
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_probe_that_is_taken_out_is_forgotten_with_what_it_said() {
    let sick = Upstream::start(|request| match request.head.starts_with("POST ") {
        true => Script::new().send(whole(200, &completion("sick"))),
        false => Script::new().send("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"),
    })
    .await;
    let other = saying("other").await;
    let text = |probe: &str| {
        format!(
            "providers:\n  sick: {{ base_url: '{}', {probe} }}\n  other: {{ base_url: '{}' }}\n\
             models:\n  any: {{ targets: [ {{ model: sick/m, weight: 1000 }}, {{ model: other/m }} ] }}\n",
            sick.base_url(),
            other.base_url()
        )
    };
    let setup = Setup::new(text("probe: { path: /x, interval: 20ms }"));
    let mut gateway = setup.variable("LLM_GATEWAY__SERVER__CONFIG_WATCH", "false").start().await;
    let client = gateway.client().await;
    gateway.process.logged("probes fail: other providers come first").await;
    says(&client, "any", "other").await;
    write(&gateway, "gateway.yaml", &text(""));
    assert_eq!(reload(&gateway).await.0, 200);
    says(&client, "any", "sick").await;
}

#[tokio::test]
async fn a_secret_that_was_missing_is_noticed_when_it_comes() {
    let (one, two) = (saying("one").await, saying("two").await);
    let mut gateway = Setup::new(config(&one, "")).start().await;
    let client = gateway.client().await;
    let row = format!("providers:\n  up: {{ base_url: '{}', api_key: 'file:late.txt' }}\n", two.base_url());
    write(&gateway, "gateway.yaml", &row);
    gateway.process.logged("the new configuration is not taken; the old one stays in force").await;
    says(&client, "up/m", "one").await;
    write(&gateway, "late.txt", "a-key-that-came-late");
    gateway.process.logged("configuration reloaded").await;
    eventually("the cell has heard", || async {
        client.ask("up/m", json!({})).await;
        two.requests().first().map(|request| request.header("authorization").map(str::to_owned))
    })
    .await;
    assert_eq!(two.last().header("authorization"), Some("Bearer a-key-that-came-late"));
}

#[tokio::test]
async fn a_file_that_blocks_keeps_nobody_from_ending_the_process() {
    let up = saying("hi").await;
    let text = format!("providers:\n  up: {{ base_url: '{}', api_key: 'file:key.txt' }}\n", up.base_url());
    let mut gateway = Setup::new(text).file("key.txt", "a-key-of-some-length").start().await;
    let client = gateway.client().await;
    std::fs::remove_file(gateway.folder().join("key.txt")).unwrap();
    let fifo = gateway.folder().join("key.txt");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    gateway.process.signal(Signal::Hangup);
    gateway.process.logged("SIGHUP: reading the configuration again").await;
    says(&client, "up/m", "hi").await;
    let asked = std::time::Instant::now();
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    assert!(asked.elapsed() < std::time::Duration::from_secs(15), "{:?}", asked.elapsed());
}
