//! Start, drain and end of the process.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{
    Answer, Client, Gateway, Process, Request, Script, Setup, Signal, Upstream, chunk, completion,
    eventually, question, stream_head, whole,
};

fn event(text: &str, finish: Value) -> Vec<u8> {
    let chunk_json = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]});
    chunk(format!("data: {chunk_json}\n\n"))
}

/// `slow` streams end after a while, `endless` ones never do, `silent` calls get no head at all.
async fn upstream() -> Upstream {
    Upstream::start(|request: &Request| match request.json()["model"].as_str().unwrap() {
        "slow" => Script::new()
            .send(stream_head())
            .send(event("a", Value::Null))
            .wait(Duration::from_millis(600))
            .send(event("b", json!("stop")))
            .send(chunk("data: [DONE]\n\n"))
            .send(chunk("")),
        "endless" => Script::new().send(stream_head()).send(event("a", Value::Null)).until_closed(),
        "silent" => Script::new().until_closed(),
        _ => Script::new().send(whole(200, &completion("hi"))),
    })
    .await
}

/// A call that runs: what it will have been answered, once the first bytes (or the request) are through.
async fn running(
    client: &Client,
    upstream: &Upstream,
    model: &str,
    stream: bool,
) -> tokio::task::JoinHandle<Answer> {
    let before = upstream.requests().len();
    let request = client.request(&question(model, json!({"stream": stream})));
    let (begun, wait) = oneshot::channel();
    let task = tokio::spawn(async move {
        if !stream {
            let _ = begun.send(());
            return Answer::of(request).await;
        }
        let mut response = request.send().await.unwrap();
        let mut answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes: Vec::new(),
            broken: false,
        };
        let mut begun = Some(begun);
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => answer.bytes.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(_) => {
                    answer.broken = true;
                    break;
                }
            }
            begun.take().map(|begun| begun.send(()));
        }
        answer
    });
    upstream.reached(before + 1).await;
    wait.await.unwrap();
    task
}

async fn ready(gateway: &Gateway) -> Option<(u16, Value)> {
    let response = reqwest::get(format!("{}/health/ready", gateway.ops)).await.ok()?;
    Some((response.status().as_u16(), response.json().await.ok()?))
}

/// Waits until the gateway says that it drains.
async fn draining(gateway: &Gateway) {
    eventually("the gateway says that it drains", || async {
        let (status, body) = ready(gateway).await?;
        (status == 503 && body["status"] == "draining").then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_tells_live_from_ready_on_both_listeners() {
    let began = Instant::now();
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    eprintln!("start to first answer, key made meanwhile: {:?}", began.elapsed());
    for base in [&gateway.url, &gateway.ops] {
        for (path, status) in [("live", "live"), ("ready", "ready")] {
            let response = reqwest::get(format!("{base}/health/{path}")).await.unwrap();
            assert_eq!(response.status(), 200);
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["status"], status, "{base} {path}");
        }
    }
    assert_eq!(
        ready(&gateway).await.unwrap().1["checks"],
        json!({"store": "ok", "billing": "ok", "memory": "ok", "journal": "ok"})
    );
}

#[tokio::test]
async fn the_health_command_tells_a_gateway_that_is_ready_from_one_that_is_not() {
    let upstream = upstream().await;
    let setup = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__DRAIN_TIMEOUT", "1h");
    let mut gateway = setup.start().await;
    let ops = gateway.ops.trim_start_matches("http://").to_owned();
    let health = || Process::run(&["health", "--ops", &ops], std::path::Path::new("/"), &[]);
    let ready = health();
    assert_eq!((ready.code, ready.err.as_str()), (Some(0), ""));
    assert!(ready.out.starts_with(r#"{"status":"ready""#), "{}", ready.out);

    let client = gateway.client().await;
    let endless = running(&client, &upstream, "up/endless", true).await;
    gateway.process.signal(Signal::Interrupt);
    draining(&gateway).await;
    let draining = health();
    assert_eq!((draining.code, draining.out.as_str()), (Some(1), ""));
    assert!(draining.err.starts_with(&format!("error: {ops} answers 503: {{")), "{}", draining.err);

    gateway.process.signal(Signal::Interrupt);
    endless.await.unwrap();
    assert_eq!(gateway.process.ended().await.code(), Some(0), "{}", gateway.process.log());
    let gone = health();
    assert_eq!((gone.code, gone.out.as_str()), (Some(1), ""));
    assert!(gone.err.starts_with(&format!("error: {ops} does not answer: ")), "{}", gone.err);
}

#[tokio::test]
async fn on_sigterm_streams_that_can_finish_do_and_the_rest_are_told_before_the_end() {
    let upstream = upstream().await;
    let setup = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__DRAIN_TIMEOUT", "1500ms");
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    let slow = running(&client, &upstream, "up/slow", true).await;
    let endless = running(&client, &upstream, "up/endless", true).await;
    let silent = running(&client, &upstream, "up/silent", false).await;
    let waiting = running(&client, &upstream, "up/silent", false).await;
    gateway.process.signal(Signal::Terminate);
    draining(&gateway).await;
    // It lives, and takes nothing new.
    let live = reqwest::get(format!("{}/health/live", gateway.url)).await.unwrap();
    assert_eq!(live.status(), 200);
    let refused = client.ask("up/m", json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"), "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());

    let slow = slow.await.unwrap();
    assert_eq!((slow.status, slow.content().as_str(), slow.done(), slow.broken), (200, "ab", true, false));
    let endless = endless.await.unwrap();
    assert_eq!((endless.content().as_str(), endless.done(), endless.broken), ("a", false, false));
    let error = endless.stream_error().unwrap_or_else(|| panic!("no error event: {}", endless.text()));
    assert_eq!(error["type"], "overloaded_error");
    for call in [silent, waiting] {
        let answer = call.await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.text());
    }
    assert_eq!(gateway.process.ended().await.code(), Some(0), "{}", gateway.process.log());

    // Every attempt is in the ledger, those that were cut included.
    let gateway = gateway.restart().await;
    let rows = gateway.ledger(4).await;
    let mut outcomes: Vec<_> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["cancelled", "cancelled", "cancelled", "completed"]);
}

#[tokio::test]
async fn a_stream_whose_client_does_not_read_is_booked_when_the_drain_ends_it() {
    // More than all buffers on the way hold, so that the gateway is stuck with it.
    let flood = (0..400).fold(Script::new().send(stream_head()), |script, _| {
        script.send(event(&"x".repeat(64 * 1024), Value::Null))
    });
    let upstream = Upstream::always(flood.until_closed()).await;
    let setup = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__DRAIN_TIMEOUT", "100ms");
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    let response = client.request(&question("up/m", json!({"stream": true}))).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    drop(response);
    let gateway = gateway.restart().await;
    assert_eq!(gateway.ledger(1).await[0]["outcome"], "cancelled");
}

#[tokio::test]
async fn ctrl_c_waits_for_a_stream_and_a_second_one_does_not() {
    let upstream = upstream().await;
    // Far longer than the test waits: only the second signal can end it.
    let setup = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__DRAIN_TIMEOUT", "1h");
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    let endless = running(&client, &upstream, "up/endless", true).await;
    gateway.process.signal(Signal::Interrupt);
    draining(&gateway).await;
    assert!(!endless.is_finished(), "the stream goes on while the gateway drains");
    gateway.process.signal(Signal::Interrupt);
    let cut = endless.await.unwrap();
    assert!(cut.stream_error().is_some() && !cut.broken, "{}", cut.text());
    assert_eq!(gateway.process.ended().await.code(), Some(0), "{}", gateway.process.log());
    let gateway = gateway.restart().await;
    assert_eq!(gateway.ledger(1).await[0]["outcome"], "cancelled");
}

#[tokio::test]
async fn ctrl_c_ends_an_idle_gateway_at_once() {
    let upstream = upstream().await;
    let mut gateway = Gateway::before(&upstream).await;
    assert_eq!(gateway.client().await.ask("up/m", json!({})).await.status, 200);
    let began = Instant::now();
    gateway.process.signal(Signal::Interrupt);
    assert_eq!(gateway.process.ended().await.code(), Some(0), "{}", gateway.process.log());
    eprintln!("Ctrl-C to the end of an idle gateway: {:?}", began.elapsed());
    assert!(gateway.process.events().iter().any(|event| event["message"] == "stopped"));
}

#[tokio::test]
async fn every_call_leaves_one_log_line_with_its_id_and_no_secret() {
    let upstream = upstream().await;
    let setup = Setup::with_upstream(&upstream)
        .config("  keyed: { base_url: 'http://127.0.0.1:9/v1', api_key: 'env:UP_SECRET' }\n")
        .variable("UP_SECRET", "sk-upstream-credential")
        .variable("LLM_GATEWAY__LOG__LEVEL", "trace");
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    let ids = ["line-ok", "line-failed", "line-refused"];
    for (id, model) in ids.iter().zip(["up/m", "keyed/m", "no-such-model"]) {
        let request = client.request(&question(model, json!({"user": "someone-private"})));
        Answer::of(request.header("x-request-id", *id)).await;
    }
    let wrong = Client::new(&gateway.url, "lgw_a_wrong_key_that_was_presented");
    let id = wrong.ask("up/m", json!({})).await.header("x-request-id").to_owned();
    assert_eq!(gateway.stop().await, Some(0));
    let events = gateway.process.events();
    let line = |id: &str| {
        let of_call =
            events.iter().filter(|event| event["message"] == "request" && event["request_id"] == id);
        let lines: Vec<_> = of_call.collect();
        assert_eq!(lines.len(), 1, "{id}: {lines:?}");
        lines[0].clone()
    };
    let ok = line("line-ok");
    for (name, value) in [
        ("level", json!("INFO")),
        ("route", json!("/v1/chat/completions")),
        ("status", json!(200)),
        ("outcome", json!("completed")),
        ("stream", json!(false)),
        ("attempts", json!(1)),
    ] {
        assert_eq!(ok[name], value, "{name} of {ok}");
    }
    assert!(ok["key_id"].as_str().unwrap().starts_with("key_") && ok["duration_us"].is_u64(), "{ok}");
    assert_eq!((&line("line-failed")["status"], &line("line-refused")["status"]), (&json!(502), &json!(404)));
    let refused = line(&id);
    assert_eq!((&refused["status"], &refused["error"]), (&json!(401), &json!("invalid_api_key")));
    let log = gateway.process.log();
    for secret in [
        &client.key[8..],
        "sk-upstream-credential",
        "admin-key-of-the-tests",
        "someone-private",
        "a_wrong_key",
        "hello",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn the_version_is_printed() {
    let output = Process::run(&["version"], std::path::Path::new("/"), &[]);
    assert_eq!(
        (output.code, output.out.as_str()),
        (Some(0), concat!("llm-gateway ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}
