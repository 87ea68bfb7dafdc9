//! Streams: what goes out, when, and how a bad end is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Event, Gateway, Script, Setup, Upstream, chunk, stream_head};

/// One event of the upstream, in one chunk.
fn event(delta: &str, finish: &str) -> Vec<u8> {
    chunk(line(delta, finish))
}

fn line(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

const USAGE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n";

/// A whole stream: "ab", stop, usage, done.
fn whole_stream() -> String {
    [
        line(r#"{"role":"assistant","content":"a"}"#, "null"),
        line(r#"{"content":"b"}"#, "null"),
        line("{}", "\"stop\""),
        USAGE.to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

async fn answer_to(script: Script) -> (Answer, Gateway) {
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let answer = gateway.client().await.ask("up/m", json!({"stream": true})).await;
    (answer, gateway)
}

#[tokio::test]
async fn usage_is_asked_for_always_and_passed_on_only_to_who_asked() {
    let upstream =
        Upstream::always(Script::new().send(stream_head()).send(chunk(whole_stream())).send(chunk(""))).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let silent = client.ask("up/m", json!({"stream": true})).await;
    assert!(silent.done() && silent.chunks().iter().all(|chunk| chunk.get("usage").is_none()));
    let finish = silent.chunks().pop().expect("a finish chunk");
    assert_eq!(
        (&finish["choices"][0]["finish_reason"], &finish["metadata"]["used_provider"]),
        (&json!("stop"), &json!("up"))
    );
    assert_eq!(upstream.last().json()["stream_options"], json!({"include_usage": true}));
    let asked = client.ask("up/m", json!({"stream": true, "stream_options": {"include_usage": true}})).await;
    let chunks = asked.chunks();
    let (last, before) = chunks.split_last().expect("chunks");
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(7)));
    assert!(
        last["metadata"]["request_id"].is_string()
            && before.iter().all(|chunk| chunk.get("metadata").is_none())
    );
    assert_eq!(gateway.ledger(2).await[0]["prompt_tokens"], 5);
}

#[tokio::test]
async fn any_split_and_any_line_end_gives_the_same_answer() {
    let plain = whole_stream();
    let comments =
        format!(": hello\n\nevent: x\nid: 7\nretry: 5\n{}", plain.replace("data: {", ": c\ndata: {"));
    let forms = [
        plain.clone(),
        plain.replace('\n', "\r\n"),
        plain.replace('\n', "\r"),
        format!("\u{feff}{plain}"),
        comments,
        plain.replace("\"choices\"", "\ndata: \"choices\""),
        plain.replace("data: ", "data:"),
    ];
    for form in forms {
        for size in [1, 7, form.len()] {
            let mut script = Script::new().send(stream_head());
            for piece in form.as_bytes().chunks(size) {
                script = script.send(chunk(piece));
            }
            let (answer, _gateway) = answer_to(script.send(chunk(""))).await;
            assert_eq!(
                (answer.content().as_str(), answer.done()),
                ("ab", true),
                "{size} {form:.60}: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn an_event_is_on_its_way_before_the_next_one_comes() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let script =
        Script::new().send(stream_head()).send(event(r#"{"role":"assistant","content":"a"}"#, "null"));
    let first = Upstream::always(script.clone().until_closed()).await;
    let gateway = Gateway::before(&first).await;
    let client = gateway.client().await;
    let mut response = client
        .request(&crate::support::question("up/m", json!({"stream": true})))
        .send()
        .await
        .expect("a head");
    let piece = tokio::time::timeout(crate::support::PATIENCE, response.chunk())
        .await
        .expect("in time")
        .expect("whole");
    assert!(
        piece.is_some_and(|piece| String::from_utf8_lossy(&piece).contains("\"a\"")),
        "the upstream sends nothing more"
    );
    drop((go, wait));
}

#[tokio::test]
async fn silence_is_filled_with_pings_at_event_boundaries() {
    let script = Script::new()
        .send(stream_head())
        .wait(Duration::from_millis(300))
        .send(event(r#"{"role":"assistant","content":"a"}"#, "null"))
        .wait(Duration::from_millis(300))
        .send(event("{}", "\"stop\""))
        .send(chunk("data: [DONE]\n\n"))
        .send(chunk(""));
    let upstream = Upstream::always(script).await;
    let setup = Setup::with_upstream(&upstream)
        .variable("LLM_GATEWAY__SERVER__PING_INTERVAL", "50ms")
        .variable("LLM_GATEWAY__SERVER__FIRST_EVENT_GRACE", "50ms");
    let gateway = setup.start().await;
    let answer = gateway.client().await.ask("up/m", json!({"stream": true})).await;
    let (before, after) = answer.text().split_once("\"a\"").expect("content");
    assert!(before.contains(": ping\n\n") && after.contains(": ping\n\n"), "{}", answer.text());
    assert!(answer.done(), "events() is strict about where a comment may stand");
}

#[tokio::test]
async fn an_error_before_content_fails_over_also_after_a_ping() {
    let failing = "data: {\"error\":{\"message\":\"busy\",\"type\":\"server_error\",\"code\":503}}\n\n";
    let first = Script::new()
        .send(stream_head())
        .wait(Duration::from_millis(200))
        .send(chunk(failing))
        .send(chunk(""));
    let upstream = Upstream::start(move |request| match request.json()["model"].as_str() {
        Some("bad") => first.clone(),
        _ => Script::new().send(stream_head()).send(chunk(whole_stream())).send(chunk("")),
    })
    .await;
    for grace in ["5s", "20ms"] {
        let setup = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__FIRST_EVENT_GRACE", grace);
        let gateway = setup.start().await;
        let answer =
            gateway.client().await.ask("up/bad", json!({"stream": true, "fallbacks": ["up/good"]})).await;
        assert_eq!(
            (answer.status, answer.content().as_str(), answer.done()),
            (200, "ab", true),
            "{}",
            answer.text()
        );
        let metadata = answer.chunks().pop().map(|chunk| chunk["metadata"].clone()).unwrap_or_default();
        assert_eq!(metadata["attempts"][0]["model"], "bad", "{metadata}");
        let outcomes: Vec<Value> = gateway.ledger(2).await.iter().map(|row| row["outcome"].clone()).collect();
        assert!(outcomes.contains(&json!("failed")) && outcomes.contains(&json!("completed")));
    }
}

#[tokio::test]
async fn an_error_after_content_is_one_error_event_and_no_done() {
    let content = event(r#"{"role":"assistant","content":"a"}"#, "null");
    let start = || Script::new().send(stream_head()).send(content.clone());
    let cases = [
        (
            start().send(chunk("data: {\"error\":{\"message\":\"boom\"}}\n\n")).send(chunk("")),
            "upstream_error",
        ),
        (start().send(chunk("")), "stream_truncated"),
        (start().close(), "stream_truncated"),
        (start().send("400\r\ndata: {").close(), "stream_truncated"),
        (start().wait(Duration::from_millis(50)).reset(), "stream_truncated"),
        (start().send(chunk("data: {not json}\n\n")).send(chunk("")), "upstream_invalid_response"),
        (
            start().send(chunk("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"")).close(),
            "stream_truncated",
        ),
    ];
    for (at, (script, code)) in cases.into_iter().enumerate() {
        let (answer, gateway) = answer_to(script).await;
        assert_eq!((answer.status, answer.content().as_str()), (200, "a"), "case {at}");
        let error = answer.stream_error().unwrap_or_else(|| panic!("case {at}: {}", answer.text()));
        assert_eq!(error["code"], code, "case {at}: {error}");
        assert!(!answer.events().contains(&Event::Done), "case {at}");
        assert!(
            answer.chunks().iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()),
            "case {at}"
        );
        let row = gateway.ledger(1).await.remove(0);
        assert_eq!(
            (&row["outcome"], &row["estimated"]),
            (&json!("failed"), &json!(true)),
            "case {at}: what was delivered is booked"
        );
        gateway.idle().await;
    }
}

#[tokio::test]
async fn an_endless_line_and_a_huge_event_are_capped() {
    for size in [10 * 1024 * 1024] {
        let mut script =
            Script::new().send(stream_head()).send(event(r#"{"role":"assistant","content":"a"}"#, "null"));
        for _ in 0..size / 65_536 {
            script = script.send(chunk("x".repeat(65_536)));
        }
        let (answer, gateway) = answer_to(script.until_closed()).await;
        assert_eq!(answer.stream_error().expect("an error")["code"], "upstream_invalid_response");
        gateway.idle().await;
    }
}

#[tokio::test]
async fn a_silent_upstream_ends_by_the_idle_time_out() {
    let script =
        Script::new().send(stream_head()).send(event(r#"{"role":"assistant","content":"a"}"#, "null"));
    let upstream = Upstream::always(script.until_closed()).await;
    let row =
        format!("providers:\n  up: {{ base_url: '{}', timeouts: {{ idle: 200ms }} }}\n", upstream.base_url());
    let gateway = Setup::new(row).start().await;
    let answer = gateway.client().await.ask("up/m", json!({"stream": true})).await;
    assert_eq!(answer.stream_error().expect("an error")["type"], "timeout_error");
    upstream.all_closed().await;
}

#[tokio::test]
async fn a_finish_without_done_is_an_end_and_a_done_without_content_is_none() {
    let finished = Script::new()
        .send(stream_head())
        .send(event(r#"{"role":"assistant","content":"a"}"#, "\"stop\""))
        .send(chunk(""));
    let (answer, _gateway) = answer_to(finished).await;
    assert_eq!((answer.content().as_str(), answer.done()), ("a", true));
    let empty = Script::new().send(stream_head()).send(chunk("data: [DONE]\n\n")).send(chunk(""));
    let (answer, _gateway) = answer_to(empty).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid_response"));
}
