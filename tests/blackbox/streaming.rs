//! Streams: when they commit, what keeps them alive, where usage and metadata go, how they end badly.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Event, Gateway, Live, Request, Script, Setup, USAGE_EVENT, Upstream, chunk, ending,
    event, question, stream_head, streamed, text_event,
};

/// A gate that opens when a permit is added.
fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// Two providers, `up` and `next`.
fn pair(up: &Upstream, next: &Upstream) -> Setup {
    Setup::with_upstream(up).config(&format!("  next: {{ base_url: '{}' }}\n", next.base_url()))
}

fn stream(more: Value) -> Value {
    let mut body = question("up/m", json!({"stream": true}));
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn an_event_is_on_its_way_before_the_upstream_sends_the_next() {
    let gate = gate();
    let script = Script::new()
        .send(stream_head())
        .send(chunk(text_event("one")))
        .until(&gate)
        .send(chunk(text_event("two")))
        .until(&gate)
        .send(chunk(ending()))
        .send(chunk(""));
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let mut live = Live::open(client.request(&stream(json!({})))).await;
    assert_eq!(live.response.headers()["content-type"], "text/event-stream");
    for (text, other) in [("one", "two"), ("two", "[DONE]")] {
        live.until("\n\n").await;
        assert!(live.text.contains(text) && !live.text.contains(other), "{}", live.text);
        live.text.clear();
        gate.add_permits(1);
    }
    live.until("data: [DONE]\n\n").await;
}

#[tokio::test]
async fn usage_is_always_asked_for_and_given_only_to_who_asked() {
    let upstream = Upstream::start(|_: &Request| streamed("hi")).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    for (options, asked) in [
        (json!({}), false),
        (json!({"stream_options": null}), false),
        (json!({"stream_options": {}}), false),
        (json!({"stream_options": {"include_usage": false, "other": 1}}), false),
        (json!({"stream_options": {"include_usage": true}}), true),
    ] {
        let answer = client.chat(&stream(options.clone())).await;
        assert_eq!((answer.status, answer.done()), (200, true), "{}", answer.text());
        let sent = upstream.last().json();
        assert_eq!(sent["stream_options"]["include_usage"], true, "{options}");
        if options.pointer("/stream_options/other").is_some() {
            assert_eq!(sent["stream_options"]["other"], 1);
        }
        let chunks = answer.chunks();
        let with_usage: Vec<_> = chunks.iter().filter(|chunk| chunk.get("usage").is_some()).collect();
        let with_metadata: Vec<_> = chunks.iter().filter(|chunk| chunk.get("metadata").is_some()).collect();
        assert_eq!((with_usage.len(), with_metadata.len()), (usize::from(asked), 1), "{options}");
        let last = chunks.last().unwrap();
        assert!(last.get("metadata").is_some());
        if asked {
            assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(12)));
        } else {
            assert_eq!(last["choices"][0]["finish_reason"], "stop");
        }
        let metadata = &last["metadata"];
        assert_eq!(
            [&metadata["requested_model"], &metadata["requested_provider"], &metadata["used_model"]],
            ["up/m", "up", "m"]
        );
        assert_eq!(metadata["request_id"], answer.header("x-request-id"));
        assert!(
            chunks.iter().all(|chunk| chunk["model"] == "up/m" && chunk["object"] == "chat.completion.chunk")
        );
    }
    let rows = gateway.ledger(5).await;
    assert!(rows.iter().all(|row| row["completion_tokens"] == 3 && row["estimated"] == false), "{rows:?}");
}

#[tokio::test]
async fn a_request_that_does_not_stream_asks_for_no_stream_options() {
    let upstream =
        Upstream::always(Script::new().send(crate::support::whole(200, &crate::support::completion("hi"))))
            .await;
    let gateway = Gateway::before(&upstream).await;
    assert_eq!(gateway.client().await.ask("up/m", json!({})).await.status, 200);
    assert_eq!(upstream.last().json(), question("m", json!({})));
}

#[tokio::test]
async fn silence_is_filled_with_pings_at_event_boundaries() {
    let gate = gate();
    let half = text_event("two");
    let (left, right) = half.split_at(30);
    let script = Script::new()
        .send(stream_head())
        .send(chunk(text_event("one")))
        .send(chunk(left))
        .until(&gate)
        .send(chunk(right.to_owned() + &ending()))
        .send(chunk(""));
    let upstream = Upstream::always(script).await;
    let quick = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__PING_INTERVAL", "50ms");
    let gateway = quick.start().await;
    let client = gateway.client().await;
    let mut live = Live::open(client.request(&stream(json!({})))).await;
    live.until("\n\n: ping\n\n: ping\n\n").await;
    gate.add_permits(1);
    live.until("data: [DONE]\n\n").await;
    assert!(!live.text.replace(": ping\n\n", "").contains("ping"));
    assert!(live.text.contains("one") && live.text.contains("two"));
}

#[tokio::test]
async fn before_the_first_event_the_head_waits_for_the_grace_and_no_longer() {
    let gate = gate();
    // The upstream is busy saying nothing: neither a head, nor roles, nor comments are an answer.
    let mut chatty = Script::new().send(stream_head());
    for _ in 0..250 {
        let role = event(r#"{"role":"assistant","content":""}"#, "null");
        chatty = chatty.send(chunk(role + ": working\n\n")).wait(Duration::from_millis(20));
    }
    chatty = chatty.close();
    let silent = Script::new()
        .send(stream_head())
        .until(&gate)
        .send(chunk(text_event("hi") + &ending()))
        .send(chunk(""));
    for script in [silent, chatty] {
        let upstream = Upstream::always(script).await;
        let gateway = Setup::with_upstream(&upstream)
            .variable("LLM_GATEWAY__SERVER__FIRST_EVENT_GRACE", "100ms")
            .variable("LLM_GATEWAY__SERVER__PING_INTERVAL", "50ms")
            .start()
            .await;
        let client = gateway.client().await;
        let mut live = Live::open(client.request(&stream(json!({})))).await;
        live.until(": ping\n\n: ping\n\n").await;
        assert_eq!((live.response.status().as_u16(), live.text.as_str()), (200, ": ping\n\n: ping\n\n"));
        gate.add_permits(1);
    }
}

#[tokio::test]
async fn a_failure_before_the_first_content_falls_back_also_after_pings() {
    let gate = gate();
    let role = event(r#"{"role":"assistant","content":""}"#, "null");
    let up = Upstream::always(Script::new().send(stream_head()).send(chunk(role)).until(&gate).close()).await;
    let next = Upstream::always(streamed("from the next")).await;
    let gateway = pair(&up, &next).variable("LLM_GATEWAY__SERVER__FIRST_EVENT_GRACE", "50ms").start().await;
    let client = gateway.client().await;
    let mut live = Live::open(client.request(&stream(json!({"fallbacks": ["next/m"]})))).await;
    live.until(": ping\n\n").await;
    gate.add_permits(1);
    live.until("data: [DONE]\n\n").await;
    assert!(live.text.contains("from the next"), "{}", live.text);
    assert!(live.text.contains(r#""used_provider":"next""#) && live.text.contains(r#""attempts":[{"#));
    // With nobody else to ask, the status is out already: the error is an event.
    let up = Upstream::always(Script::new().send(stream_head()).until(&gate).close()).await;
    let lone =
        Setup::with_upstream(&up).variable("LLM_GATEWAY__SERVER__FIRST_EVENT_GRACE", "50ms").start().await;
    let client = lone.client().await;
    let mut live = Live::open(client.request(&stream(json!({})))).await;
    live.until(": ping\n\n").await;
    gate.add_permits(1);
    live.until("}}\n\n").await;
    let error: Value = serde_json::from_str(live.text.rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "stream_truncated", "{error}");
    assert_eq!(error["metadata"]["used_provider"], "up");
}

const REFUSAL: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":500}}\n\n";

/// Asks `up/NUMBER` with `next` as fallback.
async fn with_fallback(client: &Client, number: usize) -> Answer {
    let body = json!({"stream": true, "fallbacks": ["next/m"]});
    client.ask(&format!("up/{number}"), body).await
}

#[tokio::test]
async fn before_the_first_content_any_failure_is_another_targets_chance() {
    let head = || Script::new().send(stream_head());
    let begun = || head().send(chunk(event(r#"{"role":"assistant","content":""}"#, "null")));
    let scripts = vec![
        head().send(chunk(REFUSAL)).send(chunk("")),
        begun().send(chunk(REFUSAL)).send(chunk("")),
        begun().send(chunk("data: [DONE]\n\n")).send(chunk("")),
        begun().close(),
        head().send(chunk("data: {nonsense\n\n")).close(),
        head().send(chunk("")),
        head().reset(),
    ];
    let count = scripts.len();
    let (up, next) = (Upstream::of(scripts).await, Upstream::always(streamed("from the next")).await);
    let gateway = pair(&up, &next).start().await;
    let client = gateway.client().await;
    for number in 0..count {
        let answer = with_fallback(&client, number).await;
        let told = (answer.status, answer.content(), answer.done());
        assert_eq!(told, (200, "from the next".to_owned(), true), "{number}: {}", answer.text());
        let metadata = &answer.chunks().pop().unwrap()["metadata"];
        assert_eq!(metadata["attempts"][0]["provider"], "up", "{number}");
        assert_eq!(metadata["attempts"].as_array().unwrap().len(), 2);
    }
    gateway.idle().await;
}

#[tokio::test]
async fn after_the_first_content_a_failure_is_one_error_event_and_no_second_attempt() {
    let begun = |after: &str| Script::new().send(stream_head()).send(chunk(text_event("a") + after));
    let cases = [
        (begun("").send(chunk(REFUSAL)).send(chunk("")), "upstream_error"),
        // However the bytes are cut: content and failure in one read.
        (begun(REFUSAL).send(chunk("")), "upstream_error"),
        (begun("").close(), "stream_truncated"),
        (begun("").send(chunk("")), "stream_truncated"),
        (begun("").send("ff\r\ndata: {\"ch").close(), "stream_truncated"),
        (begun("data: {\"choices\":").send(chunk("")), "stream_truncated"),
        (begun("data: nonsense\n\n").until_closed(), "upstream_invalid_response"),
    ];
    let up = Upstream::of(cases.iter().map(|(script, _)| script.clone()).collect()).await;
    let next = Upstream::always(streamed("from the next")).await;
    let gateway = pair(&up, &next).start().await;
    let client = gateway.client().await;
    for (number, (_, code)) in cases.iter().enumerate() {
        let answer = with_fallback(&client, number).await;
        assert_eq!((answer.status, answer.content().as_str()), (200, "a"), "{number}: {}", answer.text());
        assert!(!answer.text().contains("[DONE]") && !answer.broken, "{number}");
        let Some(Event::Json(last)) = answer.events().pop() else { panic!("{number}") };
        let told = (&last["error"]["code"], &last["error"]["type"], &last["metadata"]["used_provider"]);
        assert_eq!(told, (&json!(code), &json!("upstream_error"), &json!("up")), "{number}");
        let rows = gateway.rows_of(&answer, 1).await;
        assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &json!("failed")), "{number}");
        assert_eq!(
            (&rows[0]["completion_tokens"], &rows[0]["estimated"]),
            (&json!(1), &json!(true)),
            "{rows:?}"
        );
    }
    assert_eq!(next.requests().len(), 0);
    gateway.idle().await;
}

#[tokio::test]
async fn usage_that_came_before_a_stream_broke_off_is_booked() {
    let up = Upstream::always(
        Script::new().send(stream_head()).send(chunk(text_event("a") + USAGE_EVENT)).close(),
    )
    .await;
    let gateway = Gateway::before(&up).await;
    let answer = gateway.client().await.chat(&stream(json!({}))).await;
    assert_eq!(answer.stream_error().unwrap()["code"], "stream_truncated");
    let row = &gateway.ledger(1).await[0];
    assert_eq!(
        (&row["prompt_tokens"], &row["completion_tokens"], &row["outcome"]),
        (&json!(9), &json!(3), &json!("failed"))
    );
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_with_a_time_out_event() {
    let up =
        Upstream::always(Script::new().send(stream_head()).send(chunk(text_event("a"))).until_closed()).await;
    let gateway = Setup::new(format!(
        "providers:\n  up: {{ base_url: '{}', timeouts: {{ idle: 200ms }} }}\n",
        up.base_url()
    ))
    .variable("LLM_GATEWAY__SERVER__PING_INTERVAL", "40ms")
    .start()
    .await;
    let answer = gateway.client().await.chat(&stream(json!({}))).await;
    let error = answer.stream_error().unwrap();
    assert_eq!((&error["code"], &error["type"]), (&json!("timeout"), &json!("timeout_error")));
    assert!(answer.text().contains(": ping\n\n") && !answer.text().contains("[DONE]"));
    up.all_closed().await;
}
