//! Upstreams that fail before content: the next target, or a clear error; never an empty or half answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Client, Gateway, Script, Setup, Upstream, completion, question, whole};

/// A good upstream `good` and whatever else the rows say.
async fn beside(good: &Upstream, rows: &str) -> (Gateway, Client) {
    let rows = format!("providers:\n  good: {{ base_url: '{}' }}\n{rows}", good.base_url());
    let gateway = Setup::new(rows).start().await;
    let client = gateway.client().await;
    (gateway, client)
}

async fn good() -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion("good")))).await
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_passed_over_or_told() {
    let good = good().await;
    let rows = "  refused: { base_url: 'http://127.0.0.1:1/v1' }\n  nowhere: { base_url: 'http://no-such-host.invalid/v1' }\n";
    let (gateway, client) = beside(&good, rows).await;
    for provider in ["refused", "nowhere"] {
        let answer = client.ask(&format!("{provider}/m"), json!({"fallbacks": ["good/m"]})).await;
        assert_eq!((answer.status, answer.content().as_str()), (200, "good"));
        let attempts = answer.json()["metadata"]["attempts"].clone();
        assert_eq!(
            (&attempts[0]["provider"], &attempts[0]["error"]),
            (&json!(provider), &json!("upstream_unreachable"))
        );
        assert_eq!((&attempts[1]["provider"], &attempts[1]["status"]), (&json!("good"), &json!(200)));
        assert_eq!(answer.header("x-gateway-attempts"), "2");
        let began = Instant::now();
        let alone = client.ask(&format!("{provider}/m"), json!({})).await;
        assert_eq!((alone.status, alone.code().as_str()), (502, "upstream_unreachable"));
        assert!(
            began.elapsed() < Duration::from_secs(5) && !alone.text().contains("127.0.0.1"),
            "{}",
            alone.text()
        );
    }
    assert!(
        gateway.ledger(2).await.iter().all(|row| row["provider"] == "good"),
        "nothing reached is nothing booked"
    );
}

#[tokio::test]
async fn whatever_is_no_answer_fails_over_and_is_never_an_empty_200() {
    let reply = completion("hi").to_string();
    let json_head = |more: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}\r\n");
    let page = "<html>hello</html>";
    let cases = [
        ("reset", Script::new().reset()),
        ("fin", Script::new().close()),
        ("short", Script::new().send(json_head("content-length: 900\r\n") + &reply).close()),
        (
            "chunk",
            Script::new().send(json_head("transfer-encoding: chunked\r\n") + "ff\r\n{\"choices\"").close(),
        ),
        ("empty", Script::new().send(json_head("content-length: 0\r\n"))),
        (
            "html",
            Script::new().send(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            )),
        ),
        ("error", Script::new().send(whole(200, &json!({"error": {"message": "no", "code": "x"}})))),
        ("choiceless", Script::new().send(whole(200, &json!({"id": "x", "choices": []})))),
        ("garbage", Script::new().send("NONSENSE\r\n\r\n").close()),
        ("204", Script::new().send("HTTP/1.1 204 No Content\r\n\r\n")),
        (
            "302",
            Script::new()
                .send("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
        ),
        ("500", Script::new().send(whole(500, &json!({"error": {"message": "boom"}})))),
        ("503", Script::new().send(whole(503, &json!({"error": {"message": "busy"}})))),
        ("529", Script::new().send(whole(529, &json!({"error": {"message": "busy"}})))),
    ];
    let names: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    let scripts = cases.clone();
    let bad = Upstream::start(move |request| {
        let model = request.json()["model"].as_str().unwrap_or("").to_owned();
        scripts.iter().find(|(name, _)| *name == model).map(|(_, script)| script.clone()).unwrap_or_default()
    })
    .await;
    let good = good().await;
    let (_gateway, client) = beside(&good, &format!("  bad: {{ base_url: '{}' }}\n", bad.base_url())).await;
    for name in names {
        let model = format!("bad/{name}");
        let alone = client.ask(&model, json!({})).await;
        assert_eq!(
            (alone.status, alone.json()["error"]["type"].as_str()),
            (502, Some("upstream_error")),
            "{name}: {}",
            alone.text()
        );
        let saved = client.ask(&model, json!({"fallbacks": ["good/m"]})).await;
        assert_eq!((saved.status, saved.content().as_str()), (200, "good"), "{name}: {}", saved.text());
        let pinned = Answer::of(
            client
                .request(&question(&model, json!({"fallbacks": ["good/m"]})))
                .header("x-gateway-no-fallback", "true"),
        )
        .await;
        assert_eq!(pinned.status, 502, "{name}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_delivered_or_an_error() {
    let script = Script::new()
        .send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}", completion("hi")))
        .close();
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert!(
        (answer.status == 200 && answer.content() == "hi") || answer.status == 502,
        "{} {}",
        answer.status,
        answer.text()
    );
}

#[tokio::test]
async fn a_pooled_connection_found_closed_costs_one_fresh_one_and_no_second_charge() {
    let upstream = Upstream::start(|request| {
        let answer = Script::new().send(whole(200, &completion("hi")));
        // The first connection closes without a word as soon as it is used again.
        if request.connection == 0 && request.number == 1 { Script::new().reset() } else { answer }
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    for _ in 0..2 {
        assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    }
    assert_eq!(upstream.connections(), 2);
    assert_eq!(gateway.ledger(2).await.len(), 2, "one row per attempt");
}

#[tokio::test]
async fn a_rate_limit_goes_to_the_next_target_or_keeps_its_waiting_time() {
    let late = "Wed, 21 Oct 2099 07:28:00 GMT";
    for (header, at_least) in
        [("retry-after: 7", 7_u64), ("retry-after-ms: 1500", 2), (&format!("retry-after: {late}"), 1000)]
    {
        let body = json!({"error": {"message": "slow down", "code": "rate_limit"}}).to_string();
        let reply = format!(
            "HTTP/1.1 429 X\r\ncontent-type: application/json\r\n{header}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let limited = Upstream::always(Script::new().send(reply)).await;
        let good = good().await;
        let (_gateway, client) =
            beside(&good, &format!("  limited: {{ base_url: '{}' }}\n", limited.base_url())).await;
        let alone = client.ask("limited/m", json!({})).await;
        assert_eq!((alone.status, alone.code().as_str()), (429, "upstream_rate_limited"));
        let seconds: u64 = alone.header("retry-after").parse().expect("seconds");
        assert!(seconds >= at_least && !alone.header("retry-after-ms").is_empty(), "{header}: {seconds}");
        assert_eq!(client.ask("limited/m", json!({"fallbacks": ["good/m"]})).await.content(), "good");
    }
}

#[tokio::test]
async fn the_upstreams_own_refusal_keeps_its_words_and_goes_nowhere_else() {
    let body = json!({"error": {"message": "Your schema is bad.", "type": "invalid_request_error", "param": "tools[0]", "code": "bad_schema"}});
    for (status, seen) in [(400, 400), (422, 400), (404, 404), (413, 413)] {
        let refusing = Upstream::always(Script::new().send(whole(status, &body))).await;
        let good = good().await;
        let (_gateway, client) =
            beside(&good, &format!("  refusing: {{ base_url: '{}' }}\n", refusing.base_url())).await;
        let answer = client.ask("refusing/m", json!({"fallbacks": ["good/m"]})).await;
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.param().as_str()),
            (seen, "bad_schema", "tools[0]")
        );
        assert!(answer.text().contains("Your schema is bad."));
        assert_eq!(good.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_deadline_of_the_callers_is_kept() {
    let upstream = Upstream::always(Script::new().until_closed()).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    for stream in [false, true] {
        let request = client
            .request(&question("up/m", json!({"stream": stream})))
            .header("x-gateway-timeout-ms", "200");
        let answer = Answer::of(request).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["type"].as_str()),
            (504, Some("timeout_error")),
            "{}",
            answer.text()
        );
    }
    upstream.all_closed().await;
    let wrong =
        Answer::of(client.request(&question("up/m", json!({}))).header("x-gateway-timeout-ms", "soon")).await;
    assert_eq!((wrong.status, wrong.param().as_str()), (400, "x-gateway-timeout-ms"));
}

#[tokio::test]
async fn odd_but_legal_responses_are_read() {
    let reply = completion("hi").to_string();
    let many: String = (0..60).map(|at| format!("x-h-{at}: v\r\n")).collect();
    let early = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{many}content-length: {}\r\n\r\n{reply}",
        reply.len()
    );
    let flood: String = (0..1_000).map(|at| format!("x-h-{at}: v\r\n")).collect();
    let flood = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{flood}content-length: {}\r\n\r\n{reply}",
        reply.len()
    );
    for (reply, allowed) in [(early, &[200, 502][..]), (flood, &[200, 502])] {
        let upstream = Upstream::always(Script::new().send(reply)).await;
        let gateway = Gateway::before(&upstream).await;
        let answer = gateway.client().await.ask("up/m", json!({})).await;
        assert!(allowed.contains(&answer.status), "{} {}", answer.status, answer.text());
        gateway.idle().await;
    }
}

#[tokio::test]
async fn usage_that_cannot_be_believed_is_counted_and_flagged() {
    for (usage, estimated) in [
        (Value::Null, true),
        (json!({"prompt_tokens": -1, "completion_tokens": 2}), true),
        (json!({"prompt_tokens": 5, "completion_tokens": 50, "total_tokens": 3}), true),
        (json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}), false),
        (json!({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}), false),
    ] {
        let mut body = completion("hello world");
        body["usage"] = usage.clone();
        let upstream = Upstream::always(Script::new().send(whole(200, &body))).await;
        let gateway = Gateway::before(&upstream).await;
        let answer = gateway.client().await.ask("up/m", json!({})).await;
        assert_eq!(
            answer.json()["usage"]["estimated"] == json!(true),
            estimated,
            "{usage}: {}",
            answer.text()
        );
        let row = gateway.ledger(1).await.remove(0);
        assert_eq!(row["estimated"], estimated, "{usage}");
        if estimated {
            assert_eq!(row["completion_tokens"], 2, "two words, two tokens");
        }
    }
}
