//! Failover: which failures are another target's chance, what the client is told of them, what stops it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, NO_BREAKER, Request, Script, Setup, Upstream, completion, question, streamed, whole,
};

fn answer(text: &str) -> Script {
    Script::new().send(whole(200, &completion(text)))
}

fn refusal(status: u16, headers: &str) -> Script {
    let body =
        json!({"error": {"message": "because", "type": "their_type", "code": "their_code"}}).to_string();
    let length = body.len();
    Script::new().send(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))
}

/// `up`, which misbehaves, and `next`, which answers.
async fn pair(up: Script) -> (Upstream, Upstream, Gateway) {
    let (up, next) = (Upstream::always(up).await, Upstream::always(answer("from the next")).await);
    let setup = Setup::with_upstream(&up).config(&format!("  next: {{ base_url: '{}' }}\n", next.base_url()));
    (up, next, setup.start().await)
}

#[tokio::test]
async fn a_refusing_upstream_is_passed_over_and_named() {
    for (status, code) in [
        (401, "upstream_auth"),
        (402, "upstream_auth"),
        (403, "upstream_auth"),
        (429, "upstream_rate_limited"),
        (500, "upstream_error"),
        (503, "upstream_overloaded"),
        (529, "upstream_overloaded"),
        (504, "timeout"),
    ] {
        let (up, next, gateway) = pair(refusal(status, "")).await;
        let answer = gateway.client().await.ask("up/m", json!({"fallbacks": ["next/n"]})).await;
        assert_eq!((answer.status, answer.content().as_str()), (200, "from the next"), "{status}");
        let body = answer.json();
        assert_eq!(body["model"], "next/n");
        let metadata = &body["metadata"];
        assert_eq!(
            (&metadata["requested_model"], &metadata["requested_provider"]),
            (&json!("up/m"), &json!("up"))
        );
        assert_eq!(
            (&metadata["used_provider"], &metadata["underlying_used_model"]),
            (&json!("next"), &json!("n"))
        );
        let attempts: Vec<(&str, &str, u64, Option<&str>)> = metadata["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let text = |name: &str| one[name].as_str();
                assert!(one["latency_ms"].is_u64());
                (
                    text("provider").unwrap(),
                    text("model").unwrap(),
                    one["status"].as_u64().unwrap(),
                    text("error"),
                )
            })
            .collect();
        assert_eq!(attempts, [("up", "m", u64::from(status), Some(code)), ("next", "n", 200, None)]);
        let headers =
            ["x-gateway-provider", "x-gateway-model", "x-gateway-attempts"].map(|name| answer.header(name));
        assert_eq!(headers, ["next", "n", "2"]);
        assert_eq!((up.requests().len(), next.requests().len()), (1, 1));
        // Nobody charges for a refusal.
        let rows = gateway.ledger(2).await;
        let refused = rows.iter().find(|row| row["provider"] == "up").unwrap();
        assert_eq!((&refused["prompt_tokens"], &refused["outcome"]), (&json!(0), &json!("failed")));
    }
}

#[tokio::test]
async fn a_request_that_an_upstream_finds_wrong_is_not_tried_elsewhere() {
    for (status, told) in [(400, 400), (422, 400), (404, 404), (413, 413)] {
        let (_up, next, gateway) = pair(refusal(status, "")).await;
        let answer = gateway.client().await.ask("up/m", json!({"fallbacks": ["next/n"]})).await;
        assert_eq!(answer.status, told, "{}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!((&error["message"], &error["code"]), (&json!("because"), &json!("their_code")));
        assert_eq!(answer.json()["metadata"]["used_provider"], "up");
        assert_eq!(next.requests().len(), 0);
    }
}

/// What a call to a lone upstream is told.
async fn alone(script: Script) -> Answer {
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    gateway.idle().await;
    answer
}

#[tokio::test]
async fn a_credential_that_is_refused_is_never_the_clients_401() {
    for status in [401, 402, 403] {
        let answer = alone(refusal(status, "")).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_auth"));
        assert_eq!(answer.json()["error"]["type"], "upstream_error");
        assert_eq!(answer.header("x-should-retry"), "false");
    }
}

#[tokio::test]
async fn a_limited_upstream_says_when_to_come_back() {
    let date = |seconds: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let at = time::OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap() + seconds).unwrap();
        let text = at.format(&time::format_description::well_known::Rfc2822).unwrap();
        text.replace("+0000", "GMT")
    };
    for (headers, seconds) in [
        (String::new(), 1..=1),
        ("retry-after: 7\r\n".to_owned(), 7..=7),
        ("retry-after-ms: 2500\r\nretry-after: 9\r\n".to_owned(), 3..=3),
        (format!("retry-after: {}\r\n", date(90)), 60..=90),
        (format!("retry-after: {}\r\n", date(-90)), 1..=1),
        ("retry-after: soon\r\n".to_owned(), 1..=1),
        ("retry-after: -5\r\n".to_owned(), 1..=1),
        ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1m2s\r\n".to_owned(), 62..=62),
        ("x-ratelimit-remaining-tokens: 9\r\nx-ratelimit-reset-tokens: 1m2s\r\n".to_owned(), 1..=1),
    ] {
        let answer = alone(refusal(429, &headers)).await;
        assert_eq!((answer.status, answer.code().as_str()), (429, "upstream_rate_limited"));
        assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
        let wait: u64 = answer.header("retry-after").parse().unwrap();
        assert!(seconds.contains(&wait), "{headers}: {wait}");
        let ms: u64 = answer.header("retry-after-ms").parse().unwrap();
        assert_eq!(ms.div_ceil(1000), wait);
    }
}

#[tokio::test]
async fn nobody_listening_is_told_at_once_and_passed_over() {
    let next = Upstream::always(answer("from the next")).await;
    let setup = Setup::new(format!(
        "providers:\n  gone: {{ base_url: 'http://127.0.0.1:9/v1' }}\n  lost: {{ base_url: 'http://no-such-host.invalid/v1' }}\n  next: {{ base_url: '{}' }}\n",
        next.base_url()
    ));
    let gateway = setup.start().await;
    let client = gateway.client().await;
    for model in ["gone/m", "lost/m"] {
        let alone = client.ask(model, json!({})).await;
        assert_eq!((alone.status, alone.code().as_str()), (502, "upstream_unreachable"), "{}", alone.text());
        assert!(!alone.text().contains("127.0.0.1") && !alone.text().contains("invalid"), "{}", alone.text());
        let helped = client.ask(model, json!({"fallbacks": ["next/m"]})).await;
        assert_eq!((helped.status, helped.content().as_str()), (200, "from the next"));
        assert_eq!(helped.json()["metadata"]["attempts"][0]["status"], 0);
    }
    // What was never connected is no row of the ledger.
    gateway.idle().await;
    let rows = gateway.ledger(2).await;
    assert!(rows.len() == 2 && rows.iter().all(|row| row["provider"] == "next"), "{rows:?}");
}

#[tokio::test]
async fn headers_of_the_request_steer_failover() {
    let (up, next, gateway) = pair(refusal(500, "")).await;
    let client = gateway.client().await;
    let body = question("up/m", json!({"fallbacks": ["next/n"]}));
    let stays = Answer::of(client.request(&body).header("x-gateway-no-fallback", "true")).await;
    assert_eq!((stays.status, stays.code().as_str(), next.requests().len()), (502, "upstream_error", 0));
    assert_eq!(stays.header("x-gateway-attempts"), "1");
    assert!(stays.json()["metadata"].get("attempts").is_none());
    let goes = Answer::of(client.request(&body).header("x-gateway-no-fallback", "false")).await;
    assert_eq!((goes.status, up.requests().len(), next.requests().len()), (200, 2, 1));
    for wrong in ["soon", "0", "-1", "1.5"] {
        let answer = Answer::of(client.request(&body).header("x-gateway-timeout-ms", wrong)).await;
        assert_eq!((answer.status, answer.param().as_str()), (400, "x-gateway-timeout-ms"), "{wrong}");
    }
    assert_eq!(up.requests().len(), 2);
}

#[tokio::test]
async fn the_preferred_provider_is_asked_first() {
    let one = Upstream::always(answer("one")).await;
    let two = Upstream::always(answer("two")).await;
    let catalog = r#"{"version":1,"models":[{"id":"both","offers":[
        {"provider":"one","upstream":"both-1","capabilities":[],"price":{"rates":{"input":"1","output":"1"}}},
        {"provider":"two","upstream":"both-2","capabilities":[],"price":{"rates":{"input":"2","output":"2"}}}]}]}"#;
    let setup = Setup::new(format!(
        "providers:\n  one: {{ base_url: '{}' }}\n  two: {{ base_url: '{}' }}\ncatalog: {{ file: catalog.json }}\n",
        one.base_url(),
        two.base_url()
    ));
    let gateway = setup.file("catalog.json", catalog).start().await;
    let client = gateway.client().await;
    for (order, said) in
        [("", "one"), ("two", "two"), ("two,one", "two"), ("nobody, two", "two"), ("one", "one")]
    {
        let request = client.request(&question("both", json!({}))).header("x-gateway-provider-order", order);
        assert_eq!(Answer::of(request).await.content(), said, "{order:?}");
    }
}

#[tokio::test]
async fn the_deadline_of_a_call_ends_it_whatever_it_waits_for() {
    let up = Upstream::always(Script::new().until_closed()).await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    let body = question("up/m", json!({}));
    let started = std::time::Instant::now();
    let answer = Answer::of(client.request(&body).header("x-gateway-timeout-ms", "150")).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"), "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], "timeout_error");
    assert!(started.elapsed() < Duration::from_secs(10));
    up.all_closed().await;
    let rows = gateway.ledger(1).await;
    assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &json!("failed")));
}

#[tokio::test]
async fn a_caller_in_a_hurry_does_not_bar_a_target_for_the_others() {
    let up = Upstream::start(|request: &Request| match request.number {
        0..8 => Script::new().until_closed(),
        _ => answer("well"),
    })
    .await;
    let breaker = "breaker: { consecutive_failures: 3, cool_down: 60s }";
    let config = format!("providers:\n  up: {{ base_url: '{}', {breaker} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    for _ in 0..8 {
        let request = client.request(&question("up/m", json!({}))).header("x-gateway-timeout-ms", "50");
        assert_eq!(Answer::of(request).await.status, 504);
    }
    let answer = client.ask("up/m", json!({})).await;
    assert_eq!((answer.status, up.requests().len()), (200, 9), "{}", answer.text());
}

#[tokio::test]
async fn a_silent_target_leaves_part_of_the_deadline_to_the_next() {
    for stream in [false, true] {
        let (up, next) = (
            Upstream::always(Script::new().until_closed()).await,
            Upstream::always(if stream { streamed("from the next") } else { answer("from the next") }).await,
        );
        let more = format!("  next: {{ base_url: '{}' }}\n", next.base_url());
        let gateway = Setup::with_upstream(&up).config(&more).start().await;
        let client = gateway.client().await;
        let body = question("up/m", json!({"fallbacks": ["next/n"], "stream": stream}));
        let answer = Answer::of(client.request(&body).header("x-gateway-timeout-ms", "2000")).await;
        assert_eq!((answer.status, answer.header("x-gateway-attempts")), (200, "2"), "{}", answer.text());
        assert!(answer.text().contains("from the next"), "{}", answer.text());
        up.all_closed().await;
        let mut outcomes: Vec<_> =
            gateway.ledger(2).await.iter().map(|row| row["outcome"].to_string()).collect();
        outcomes.sort();
        assert_eq!(outcomes, ["\"completed\"", "\"failed\""]);
    }
}

#[tokio::test]
async fn an_outage_makes_few_further_attempts_and_no_flood() {
    // Both are down: without a budget every call would be tried twice.
    let (up, next) = (Upstream::always(refusal(500, "")).await, Upstream::always(refusal(500, "")).await);
    let row =
        |id: &str, up: &Upstream| format!("  {id}: {{ base_url: '{}', {NO_BREAKER} }}\n", up.base_url());
    let config = format!("providers:\n{}{}", row("up", &up), row("next", &next));
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    let started = std::time::Instant::now();
    for _ in 0..100 {
        let answer = client.ask("up/m", json!({"fallbacks": ["next/n"]})).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert_eq!(up.requests().len(), 100);
    let further = next.requests().len();
    assert!((20..=20 + 10 * (seconds + 1)).contains(&further), "{further} in {seconds} s");
}

#[tokio::test]
async fn every_target_is_tried_once_and_the_last_word_is_told() {
    let first = Upstream::always(refusal(500, "")).await;
    let second = Upstream::always(refusal(429, "retry-after: 4\r\n")).await;
    let setup =
        Setup::with_upstream(&first).config(&format!("  next: {{ base_url: '{}' }}\n", second.base_url()));
    let gateway = setup.start().await;
    let body = json!({"fallbacks": ["next/m", "up/m", "next/m", "next/other"]});
    let answer = gateway.client().await.ask("up/m", body).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "4"));
    let told = answer.json();
    let attempts: Vec<&Value> =
        told["metadata"]["attempts"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(attempts, [500, 429, 429]);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_replaced_once() {
    // The upstream closes an idle connection just as the next request comes over it.
    let up = Upstream::start(|request: &Request| match (request.connection, request.number) {
        (0, 0) | (1, _) => answer("hi"),
        _ => Script::new().reset(),
    })
    .await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    for _ in 0..2 {
        let answer = client.ask("up/m", json!({})).await;
        assert_eq!((answer.status, answer.header("x-gateway-attempts")), (200, "1"), "{}", answer.text());
    }
    assert_eq!((up.connections(), up.requests().len()), (2, 3));
    gateway.idle().await;
    assert_eq!(gateway.ledger(2).await.len(), 2);
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_not_tried_again_at_the_same_target() {
    // The first answer's connection is closed in order, so that the second request comes over a fresh one.
    let up = Upstream::start(|request: &Request| match request.number {
        0 => answer("hi").close(),
        _ => Script::new().reset(),
    })
    .await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    up.all_closed().await;
    let answer = client.ask("up/m", json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_disconnected"), "{}", answer.text());
    // The request may have been paid for: it must not be paid for twice.
    assert_eq!(up.requests().len(), 2);
}

#[tokio::test]
async fn a_target_that_fails_again_and_again_is_not_asked_until_a_probe_goes_well() {
    let up = Upstream::start(|request: &Request| match request.number {
        0..3 => refusal(500, ""),
        _ => answer("well again"),
    })
    .await;
    let breaker = "breaker: { consecutive_failures: 3, cool_down: 300ms }";
    let config = format!("providers:\n  up: {{ base_url: '{}', {breaker} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask("up/m", json!({})).await.status, 502);
    }
    // The circuit is open on every candidate: nobody is asked, and the client is told when to come back.
    let refused = client.ask("up/m", json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"), "{}", refused.text());
    assert_eq!((refused.header("retry-after"), up.requests().len()), ("1", 3));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let answer = loop {
        let answer = client.ask("up/m", json!({})).await;
        if answer.status == 200 {
            break answer;
        }
        assert!(std::time::Instant::now() < deadline, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((answer.content().as_str(), up.requests().len()), ("well again", 4));
}

/// A provider with two keys, of which an upstream takes only some.
async fn two_keys(up: &Upstream) -> Gateway {
    let keys = "api_keys: [{ key: env:FIRST, name: first, weight: 1000 }, { key: env:SECOND, weight: 0 }]";
    let config = format!("providers:\n  up: {{ base_url: '{}', {keys} }}\n", up.base_url());
    let setup = Setup::new(config)
        .variable("FIRST", "secret-of-the-first")
        .variable("SECOND", "secret-of-the-second");
    setup.start().await
}

/// An upstream that says this to the first key, and answers the second.
async fn refusing_the_first(status: u16, headers: &'static str) -> Upstream {
    Upstream::start(move |request: &Request| match request.header("authorization") {
        Some("Bearer secret-of-the-second") => answer("hi"),
        _ => refusal(status, headers),
    })
    .await
}

#[tokio::test]
async fn a_key_that_is_refused_or_limited_is_passed_over_and_not_asked_again() {
    for (status, headers) in [(401, ""), (402, ""), (403, ""), (429, "retry-after: 30\r\n")] {
        let up = refusing_the_first(status, headers).await;
        let gateway = two_keys(&up).await;
        let client = gateway.client().await;
        let first = client.ask("up/m", json!({})).await;
        assert_eq!((first.status, first.header("x-gateway-attempts")), (200, "2"), "{}", first.text());
        let second = client.ask("up/m", json!({})).await;
        assert_eq!((second.status, second.header("x-gateway-attempts")), (200, "1"), "{}", second.text());
        assert_eq!(up.requests().len(), 3);
        assert!(!first.text().contains("secret-of"));
    }
}

#[tokio::test]
async fn a_limited_key_alone_is_told_to_the_client_with_the_time_that_is_left_and_costs_nothing() {
    let up = Upstream::always(refusal(429, "retry-after: 30\r\n")).await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/m", json!({})).await.header("retry-after"), "30");
    let again = client.ask("up/m", json!({})).await;
    assert_eq!((again.status, again.code().as_str()), (429, "upstream_rate_limited"), "{}", again.text());
    let left: u64 = again.header("retry-after").parse().unwrap();
    assert!((20..=30).contains(&left), "{left}");
    // The limit is the model's.
    client.ask("up/other", json!({})).await;
    assert_eq!(up.requests().len(), 2);
}

#[tokio::test]
async fn an_account_out_of_credit_is_not_a_limit_that_passes() {
    let body =
        json!({"error": {"message": "quota", "type": "insufficient_quota", "code": "insufficient_quota"}});
    let up = Upstream::always(Script::new().send(whole(429, &body))).await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    // The only key is asked three times before it is left alone for a while.
    for _ in 0..5 {
        let refused = client.ask("up/m", json!({})).await;
        assert_eq!((refused.status, refused.code().as_str()), (502, "upstream_auth"), "{}", refused.text());
    }
    assert_eq!(up.requests().len(), 3);
}
