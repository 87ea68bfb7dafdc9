//! `Idempotency-Key`: the same request again is one upstream call, one charge, one answer.

mod stored;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Event, Gateway, Live, NO_BREAKER, Script, Setup, Upstream, chunk, completion, ending,
    question, stream_head, streamed, text_event, whole,
};

/// What a client that leaves may leave behind, and for how long.
const AT_ONCE: Duration = Duration::from_millis(100);

fn body(stream: bool) -> Value {
    question("up/m", json!({"stream": stream}))
}

fn keyed(client: &Client, key: &str, stream: bool) -> reqwest::RequestBuilder {
    client.request(&body(stream)).header("idempotency-key", key)
}

async fn ask(client: &Client, key: &str, stream: bool) -> Answer {
    Answer::of(keyed(client, key, stream)).await
}

/// The same, as a task.
fn spawned(client: &Client, key: &str, stream: bool) -> tokio::task::JoinHandle<Answer> {
    tokio::spawn(Answer::of(keyed(client, key, stream)))
}

fn said(text: &str, stream: bool) -> Script {
    if stream { streamed(text) } else { Script::new().send(whole(200, &completion(text))) }
}

/// Says something else each time, whole or as a stream, once there is a permit.
async fn gated(gate: &Arc<Semaphore>) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::start(move |request| {
        let stream = request.json()["stream"] == true;
        let text = format!("answer {}", request.number);
        let gate = &gate;
        if stream {
            let rest = chunk(text_event(" and the rest") + &ending());
            Script::new()
                .send(stream_head())
                .send(chunk(text_event(&text)))
                .until(gate)
                .send(rest)
                .send(chunk(""))
        } else {
            Script::new().until(gate).send(whole(200, &completion(&text)))
        }
    })
    .await
}

async fn open() -> (Upstream, Gateway, Client) {
    let upstream = gated(&Arc::new(Semaphore::new(1_000_000))).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    (upstream, gateway, client)
}

/// Waits until so many calls are in flight.
async fn in_flight(gateway: &Gateway, calls: f64) {
    gateway.counted("llm_gateway_in_flight_requests", calls).await;
}

fn counter(result: &str) -> String {
    format!("llm_gateway_idempotent_requests_total{{result=\"{result}\"}}")
}

/// `again` is what `first` was.
fn replayed(first: &Answer, again: &Answer) {
    assert_eq!((first.status, again.status), (200, 200), "{}", again.text());
    assert_eq!(first.bytes, again.bytes, "byte for byte");
    assert_eq!((first.header("x-gateway-idempotent-replay"), first.broken), ("", false));
    assert_eq!((again.header("x-gateway-idempotent-replay"), again.broken), ("true", false));
    assert_eq!(again.header("x-gateway-original-request-id"), first.header("x-request-id"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    for name in ["content-type", "content-length", "x-gateway-provider", "x-gateway-model", "cache-control"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
}

#[tokio::test]
async fn the_same_request_again_is_the_same_answer_byte_for_byte_and_is_charged_once() {
    let (upstream, gateway, client) = open().await;
    for stream in [false, true] {
        let key = format!("key {stream}");
        let first = ask(&client, &key, stream).await;
        assert_eq!(first.header("x-gateway-idempotency"), "", "the store knows");
        for _ in 0..3 {
            replayed(&first, &ask(&client, &key, stream).await);
        }
        assert!(first.content().starts_with("answer "), "{}", first.text());
    }
    assert_eq!(upstream.requests().len(), 2);
    gateway.sound(2).await;
    gateway.counted(&counter("started"), 2.0).await;
    gateway.counted(&counter("replayed"), 6.0).await;
    let all = "llm_gateway_requests_total{error=\"none\",route=\"/v1/chat/completions\",status=\"200\"}";
    gateway.counted(all, 8.0).await;
    // Without a key, or with another one, it is another request.
    for request in [client.request(&body(false)), keyed(&client, "other", false)] {
        assert_eq!(Answer::of(request).await.status, 200);
    }
    assert_eq!(upstream.requests().len(), 4);
}

#[tokio::test]
async fn fifty_at_once_are_one_upstream_call() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    // On two threads: who joins reads what another thread writes.
    let two = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__WORKERS", "2");
    let gateway = two.start().await;
    let client = gateway.client().await;
    for (calls, stream) in [(1, false), (2, true)] {
        let key = format!("k{stream}");
        let asked = futures_util::future::join_all((0..50).map(|_| ask(&client, &key, stream)));
        let open = async {
            in_flight(&gateway, 50.0).await;
            gate.add_permits(1);
        };
        let (answers, ()) = futures_util::future::join(asked, open).await;
        let firsts: Vec<&Answer> =
            answers.iter().filter(|answer| answer.header("x-gateway-idempotent-replay").is_empty()).collect();
        assert_eq!(firsts.len(), 1);
        for answer in answers.iter().filter(|answer| !std::ptr::eq(*answer, firsts[0])) {
            replayed(firsts[0], answer);
        }
        assert_eq!(upstream.requests().len(), calls);
    }
    gateway.sound(2).await;
}

#[tokio::test]
async fn who_joined_goes_on_when_the_first_one_leaves() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let mut first = Live::open(keyed(&client, "k", true)).await;
    first.until("\n\n").await;
    let mut second = Live::open(keyed(&client, "k", true)).await;
    second.until("\n\n").await;
    assert_eq!(second.text, first.text, "from the start");
    drop(first);
    // The one who was first is gone before there is more.
    in_flight(&gateway, 1.0).await;
    gate.add_permits(1);
    second.until("data: [DONE]\n\n").await;
    // Whole answers: the first leaves before there is anything.
    let running = tokio::spawn(keyed(&client, "w", false).send());
    upstream.reached(2).await;
    let second = spawned(&client, "w", false);
    in_flight(&gateway, 2.0).await;
    running.abort();
    in_flight(&gateway, 1.0).await;
    gate.add_permits(1);
    let second = second.await.unwrap();
    assert_eq!((second.status, second.content().as_str()), (200, "answer 1"));
    assert_eq!(upstream.requests().len(), 2);
    let rows = gateway.sound(2).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed"), "{rows:?}");
}

#[tokio::test]
async fn with_nobody_left_the_upstream_is_closed_and_a_retry_runs_anew() {
    let upstream = Upstream::start(|request| match request.number {
        0..3 => Script::new().send(stream_head()).send(chunk(text_event("half"))).until_closed(),
        _ => streamed("answer 3"),
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let mut closed_after = Vec::new();
    for round in 0..3 {
        let key = format!("k{round}");
        let mut first = Live::open(keyed(&client, &key, true)).await;
        first.until("\n\n").await;
        let mut second = Live::open(keyed(&client, &key, true)).await;
        second.until("\n\n").await;
        drop(first);
        drop(second);
        closed_after.push(upstream.all_closed().await);
    }
    assert!(closed_after.iter().min().is_some_and(|quickest| *quickest < AT_ONCE), "{closed_after:?}");
    let again = ask(&client, "k0", true).await;
    assert!(again.done() && again.content().starts_with("answer 3"), "{}", again.text());
    assert_eq!(again.header("x-gateway-idempotent-replay"), "");
    replayed(&again, &ask(&client, "k0", true).await);
    let rows = gateway.sound(4).await;
    assert_eq!(rows.iter().filter(|row| row["outcome"] == "cancelled").count(), 3);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_tenant() {
    let (upstream, gateway, client) = open().await;
    let first = ask(&client, "k", false).await;
    let other = client.request(&question("up/m", json!({"seed": 1}))).header("idempotency-key", "k");
    let tagged = keyed(&client, "k", false).header("x-gateway-tags", "a=b");
    for request in [other, tagged, keyed(&client, "k", true)] {
        let refused = Answer::of(request).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "idempotency_key_reused"));
        assert_eq!(refused.json()["error"]["type"], "conflict_error");
        assert_eq!(refused.header("x-should-retry"), "false");
    }
    gateway.counted(&counter("conflict"), 3.0).await;
    let neighbour = gateway.client().await;
    let theirs = ask(&neighbour, "k", false).await;
    assert_eq!(theirs.header("x-gateway-idempotent-replay"), "");
    assert_ne!(first.content(), theirs.content());
    assert_eq!(upstream.requests().len(), 2);
    // What does not change the answer does not make it another request.
    let hurried = keyed(&client, "k", false).header("x-gateway-timeout-ms", "5000");
    replayed(&first, &Answer::of(hurried).await);
    // A key that is revoked gets nothing, not even what was there.
    let keys = gateway.admin("GET", "/keys", None).await.1;
    for key in keys["data"].as_array().unwrap() {
        gateway.admin("DELETE", &format!("/keys/{}", key["id"].as_str().unwrap()), None).await;
    }
    assert_eq!(ask(&client, "k", false).await.status, 401);
}

#[tokio::test]
async fn a_header_that_is_no_key_is_refused() {
    let (upstream, _gateway, client) = open().await;
    let long = "k".repeat(256);
    for wrong in ["", " ", &long, "a\tb", "k\u{e9}"] {
        let request = client.request(&body(false)).header("idempotency-key", wrong);
        let refused = Answer::of(request).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_header"), "{wrong:?}");
        assert_eq!(refused.param(), "idempotency-key");
    }
    let twice = keyed(&client, "a", false).header("idempotency-key", "a");
    assert_eq!(Answer::of(twice).await.code(), "invalid_header");
    assert!(upstream.requests().is_empty());
    assert_eq!(ask(&client, &long[1..], false).await.status, 200);
}

#[tokio::test]
async fn failures_are_not_kept_and_who_joined_gets_the_same() {
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let upstream = Upstream::start(move |request| {
        let stream = request.json()["stream"] == true;
        let waiting = Script::new().until(&waits);
        match (request.number % 2, stream) {
            (0, false) => waiting.send(whole(500, &json!({"error": {"message": "no"}}))),
            (0, true) => {
                Script::new().send(stream_head()).send(chunk(text_event("half"))).until(&waits).close()
            }
            _ => said("well", stream),
        }
    })
    .await;
    let config = format!("providers:\n  up: {{ base_url: '{}', {NO_BREAKER} }}\n", upstream.base_url());
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    for stream in [false, true] {
        let key = format!("k{stream}");
        let both = futures_util::future::join_all((0..2).map(|_| ask(&client, &key, stream)));
        let opened = async {
            in_flight(&gateway, 2.0).await;
            gate.add_permits(1);
        };
        let (answers, ()) = futures_util::future::join(both, opened).await;
        assert_eq!(answers[0].bytes, answers[1].bytes);
        let status = if stream { 200 } else { 502 };
        assert_eq!((answers[0].status, answers[1].status), (status, status), "{}", answers[0].text());
        if stream {
            assert_eq!(answers[1].stream_error().unwrap()["code"], "stream_truncated");
        } else {
            assert_eq!(answers[1].code(), "upstream_error");
        }
        let again = ask(&client, &key, stream).await;
        assert_eq!((again.status, again.content().as_str()), (200, "well"), "{}", again.text());
        replayed(&again, &ask(&client, &key, stream).await);
    }
    assert_eq!(upstream.requests().len(), 4);
    // What is refused before it runs is not kept either.
    let refused = client.request(&question("nope", json!({}))).header("idempotency-key", "n");
    assert_eq!(Answer::of(refused).await.status, 404);
    gate.add_permits(1);
    assert_eq!(ask(&client, "n", false).await.status, 502);
    gateway.sound(5).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_goes_to_all_who_are_there_and_its_key_is_refused_afterwards() {
    let upstream =
        Upstream::start(|request| said(&"x".repeat(8_000), request.json()["stream"] == true)).await;
    let gateway =
        Setup::with_upstream(&upstream).config("idempotency: { answer_limit: 4KiB }\n").start().await;
    let client = gateway.client().await;
    for stream in [false, true] {
        let key = format!("k{stream}");
        let first = ask(&client, &key, stream).await;
        assert_eq!((first.status, first.content().len()), (200, 8_000));
        let refused = ask(&client, &key, stream).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "idempotency_answer_too_large"));
    }
    let gateway = gateway.stop_and_restart().await;
    let client = Client::new(&gateway.url, &client.key);
    assert_eq!(ask(&client, "ktrue", true).await.code(), "idempotency_answer_too_large");
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn one_who_joins_and_does_not_read_does_not_hold_the_first_up() {
    const EVENTS: usize = 400;
    let gate = Arc::new(Semaphore::new(0));
    let event = chunk(text_event(&"x".repeat(16 * 1024)));
    let script = Script::new().send(stream_head()).send(chunk(text_event("a"))).until(&gate);
    let script = script.send_again_and_again(event, EVENTS).send(chunk(ending())).send(chunk(""));
    let upstream = Upstream::always(script).await;
    let config = "idempotency: { answer_limit: 1MiB }\n";
    let gateway = Setup::with_upstream(&upstream).config(config).start().await;
    let client = gateway.client().await;
    let mut first = Live::open(keyed(&client, "k", true)).await;
    first.until("\n\n").await;
    let slow = Live::open(keyed(&client, "k", true)).await;
    let mut quick = Live::open(keyed(&client, "k", true)).await;
    gate.add_permits(1);
    let (one, two) = (first.until("data: [DONE]\n\n"), quick.until("data: [DONE]\n\n"));
    futures_util::future::join(one, two).await;
    assert_eq!(first.text, quick.text);
    // The one who did not read gets what it can have yet, and is told that this is not all.
    let mut slow = slow;
    let mut told = String::new();
    while let Ok(Some(piece)) = slow.response.chunk().await {
        told.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let whole = told == first.text;
    assert!(whole || told.contains("reads too slowly") && !told.contains("[DONE]"), "{}", told.len());
    assert_eq!(ask(&client, "k", true).await.code(), "idempotency_answer_too_large");
    gateway.sound(1).await;
}

#[tokio::test]
async fn a_replay_counts_as_a_request_and_takes_no_tokens() {
    let (upstream, gateway, _) = open().await;
    let client = gateway.client_with(json!({"name": "limited", "rpm": 3, "tpm": 1_000})).await;
    let first = ask(&client, "k", true).await;
    let left = |answer: &Answer, what: &str| {
        answer.header(&format!("x-ratelimit-remaining-{what}")).parse::<u64>().unwrap()
    };
    assert_eq!((first.status, left(&first, "requests")), (200, 2));
    gateway.ledger(1).await;
    let again = ask(&client, "k", true).await;
    assert_eq!(left(&again, "requests"), 1);
    let third = ask(&client, "k", true).await;
    assert!(left(&third, "tokens") >= left(&again, "tokens"), "nothing was taken");
    assert_eq!(left(&again, "tokens"), 988, "the twelve of the one call");
    let refused = ask(&client, "k", true).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limit_exceeded"));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn who_joins_waits_no_longer_than_it_may_and_no_longer_than_the_process_lives() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate).await;
    let short = Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__DRAIN_TIMEOUT", "50ms");
    let mut gateway = short.start().await;
    let client = gateway.client().await;
    let first = spawned(&client, "k", false);
    upstream.reached(1).await;
    let hurried = keyed(&client, "k", false).header("x-gateway-timeout-ms", "50");
    let hurried = Answer::of(hurried).await;
    assert_eq!((hurried.status, hurried.code().as_str()), (504, "timeout"));
    let mut stream = Live::open(keyed(&client, "s", true)).await;
    stream.until("\n\n").await;
    let (second, joined) = (spawned(&client, "k", false), spawned(&client, "s", true));
    in_flight(&gateway, 4.0).await;
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    for answer in [first.await.unwrap(), second.await.unwrap()] {
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.text());
    }
    let joined = joined.await.unwrap();
    assert_eq!(joined.stream_error().unwrap()["code"], "overloaded", "{}", joined.text());
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_question_how_it_would_be_routed_has_no_part_in_it() {
    let (upstream, gateway, _) = open().await;
    let client = gateway.client_with(json!({"name": "explains", "explain": true})).await;
    let explained = keyed(&client, "k", false).header("x-gateway-explain", "true");
    let explained = Answer::of(explained).await;
    assert_eq!(explained.status, 200, "{}", explained.text());
    let first = ask(&client, "k", false).await;
    assert_eq!(first.header("x-gateway-idempotent-replay"), "");
    let events: Vec<Event> = ask(&client, "s", true).await.events();
    assert_eq!(events.last(), Some(&Event::Done));
    assert_eq!(upstream.requests().len(), 2);
}
