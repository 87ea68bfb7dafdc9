//! The ledger: one row per attempt that reached an upstream, whatever became of it, and it survives the process.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Gateway, NO_BREAKER, Request, Script, Setup, Upstream, chunk, completion, question, stream_head,
    whole,
};

fn content(text: &str) -> Vec<u8> {
    let delta = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    chunk(format!("data: {delta}\n\n"))
}

/// An upstream that behaves as the model is called.
async fn moody() -> Upstream {
    let answer = |request: &Request| match request.json()["model"].as_str().unwrap() {
        "error" => Script::new().send(whole(500, &json!({"error": {"message": "broken", "type": "x"}}))),
        "refuse" => Script::new().send(whole(400, &json!({"error": {"message": "no", "type": "x"}}))),
        "hang" => Script::new().until_closed(),
        "drip" => Script::new().send(stream_head()).send(content("hello")).until_closed(),
        "truncate" => Script::new().send(stream_head()).send(content("hello")).send(chunk("")),
        "reset" => {
            Script::new().send(stream_head()).send(content("hello")).wait(Duration::from_millis(20)).reset()
        }
        "html" => Script::new().send(whole(200, &json!("not a completion"))),
        _ => Script::new().send(whole(200, &completion("hi"))),
    };
    Upstream::start(answer).await
}

/// Two providers at the same upstream, and one that nobody listens at.
fn setup(upstream: &Upstream) -> Setup {
    let base = upstream.base_url();
    // Port 9 (discard) is not served on any machine that runs tests; a refused connection reaches nobody.
    Setup::new(format!(
        "providers:\n  up: {{ base_url: '{base}', {NO_BREAKER} }}\n  other: {{ base_url: '{base}' }}\n  gone: {{ base_url: 'http://127.0.0.1:9/v1' }}\n"
    ))
}

/// Starts a call and leaves it once the upstream has it and, of one that drips, the first bytes have come.
async fn leave(gateway: &Gateway, client: &Client, upstream: &Upstream, model: &str, stream: bool) {
    let before = upstream.requests().len();
    let request = client.request(&question(model, json!({"stream": stream})));
    let mut running = tokio::spawn(async move {
        let mut response = request.send().await.unwrap();
        response.chunk().await.unwrap();
        response
    });
    upstream.reached(before + 1).await;
    if model.ends_with("drip") {
        drop((&mut running).await.unwrap());
    } else {
        running.abort();
    }
    gateway.idle().await;
}

/// `upstream model, outcome, attempt` of rows, sorted.
fn facts(rows: &[Value]) -> Vec<String> {
    let mut facts: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("upstream_model"), text("outcome"), row["attempt"])
        })
        .collect();
    facts.sort();
    facts
}

#[tokio::test]
async fn every_attempt_that_reached_an_upstream_has_exactly_one_row_and_sigterm_keeps_them_all() {
    let upstream = moody().await;
    let gateway = setup(&upstream).start().await;
    let client = gateway.client().await;
    for (model, stream, fallbacks, status) in [
        ("up/ok", false, json!([]), 200),
        ("up/error", false, json!([]), 502),
        ("up/refuse", false, json!([]), 400),
        ("up/html", false, json!([]), 502),
        ("up/truncate", true, json!([]), 200),
        ("up/reset", true, json!([]), 200),
        ("up/error", false, json!(["other/ok"]), 200),
        ("gone/ok", false, json!(["up/ok"]), 200),
        ("gone/ok", false, json!([]), 502),
    ] {
        let answer = client.ask(model, json!({"stream": stream, "fallbacks": fallbacks})).await;
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
    }
    leave(&gateway, &client, &upstream, "up/hang", false).await;
    leave(&gateway, &client, &upstream, "up/hang", true).await;
    leave(&gateway, &client, &upstream, "up/drip", true).await;
    // Stopped at once: what was not settled yet is settled on the way out.
    let gateway = gateway.stop_and_restart().await;
    let (_, page) = gateway.admin("GET", "/requests?limit=1000", None).await;
    let rows = page["data"].as_array().unwrap();
    assert_eq!(
        facts(rows),
        [
            "drip cancelled 1",
            "error failed 1",
            "error failed 1",
            "hang cancelled 1",
            "hang cancelled 1",
            "html failed 1",
            "ok completed 1",
            "ok completed 2",
            "ok completed 2",
            "refuse failed 1",
            "reset failed 1",
            "truncate failed 1",
        ]
    );
    let seen = upstream.requests().len();
    assert_eq!(rows.len(), seen, "as many rows as requests that arrived");
    // The attempts of one call share its id.
    let second = rows.iter().find(|row| row["provider"] == "other").unwrap();
    let failover: Vec<_> = rows.iter().filter(|row| row["call_id"] == second["call_id"]).collect();
    let of_failover: Vec<_> = failover.iter().map(|row| (&row["provider"], &row["attempt"])).collect();
    assert_eq!(json!(of_failover), json!([["other", 2], ["up", 1]]));
    assert!(failover.iter().all(|row| row["request_id"] == second["request_id"]));
    let drip = rows.iter().find(|row| row["upstream_model"] == "drip").unwrap();
    assert_eq!(
        (&drip["estimated"], &drip["status"], &drip["stream"]),
        (&json!(true), &json!(200), &json!(true))
    );
    assert!(drip["completion_tokens"].as_u64().unwrap() > 0, "what was delivered is booked: {drip}");
    assert!(drip["ttft_ms"].is_u64() && drip["duration_ms"].is_u64());
    let hang = rows.iter().find(|row| row["upstream_model"] == "hang").unwrap();
    assert_eq!((&hang["status"], &hang["completion_tokens"]), (&Value::Null, &json!(0)));
}

#[tokio::test]
async fn a_row_that_was_settled_outlives_a_crash_and_is_counted_once() {
    let upstream = moody().await;
    let gateway = setup(&upstream).start().await;
    let client = gateway.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask("up/ok", json!({})).await.status, 200);
    }
    let before = gateway.ledger(3).await;
    let gateway = gateway.crash_and_restart().await;
    assert_eq!(gateway.ledger(3).await, before);
    let usage = gateway.admin("GET", "/usage", None).await.1;
    assert_eq!((&usage["data"][0]["requests"], &usage["data"][0]["prompt_tokens"]), (&json!(3), &json!(27)));
    // The key made before the crash works after it.
    let client = Client::new(&gateway.url, &client.key);
    assert_eq!(client.ask("up/ok", json!({})).await.status, 200);
    assert_eq!(gateway.ledger(4).await.len(), 4);
}

#[tokio::test]
async fn a_row_says_who_asked_for_what_and_carries_the_tags_of_key_and_request() {
    let upstream = moody().await;
    let gateway = setup(&upstream).start().await;
    let spec = json!({"name": "a", "project": "web", "tags": {"team": "search", "stage": "test"}});
    let made = gateway.admin("POST", "/keys", Some(spec)).await.1;
    let client = Client::new(&gateway.url, made["key"].as_str().unwrap());
    let request = client
        .request(&question("up/ok", json!({})))
        .header("x-request-id", "mine-1")
        .header("x-gateway-tags", "feature=summary,team=ads");
    let answer = crate::support::Answer::of(request).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, "mine-1"));
    let row = &gateway.ledger(1).await[0];
    for (name, value) in [
        ("request_id", json!("mine-1")),
        ("key_id", made["id"].clone()),
        ("project", json!("web")),
        ("requested_model", json!("up/ok")),
        ("provider", json!("up")),
        ("model", json!("ok")),
        ("status", json!(200)),
        ("outcome", json!("completed")),
        ("attempt", json!(1)),
        ("stream", json!(false)),
        ("prompt_tokens", json!(9)),
        ("completion_tokens", json!(3)),
        ("cost_usd", Value::Null),
        ("unpriced", json!(true)),
        ("estimated", json!(false)),
        // The request's own word for a tag wins over the key's.
        ("tags", json!({"feature": "summary", "team": "ads", "stage": "test"})),
    ] {
        assert_eq!(row[name], value, "{name} of {row}");
    }
    assert_eq!(client.ask("up/ok", json!({})).await.status, 200);
    let untagged = &gateway.ledger(2).await[0];
    assert_eq!(untagged["tags"], json!({"team": "search", "stage": "test"}), "the key's own");
    let usage = gateway.admin("GET", "/usage?group_by=tag", None).await.1;
    let tags: Vec<_> = usage["data"].as_array().unwrap().iter().map(|group| group["tag"].clone()).collect();
    assert_eq!(tags, ["feature=summary", "stage=test", "team=ads", "team=search"].map(|tag| json!(tag)));
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repeat_while_rows_arrive() {
    let upstream = moody().await;
    let gateway = setup(&upstream).start().await;
    let client = gateway.client().await;
    for _ in 0..23 {
        client.ask("up/ok", json!({})).await;
    }
    let all = gateway.ledger(23).await;
    let ids = |rows: &[Value]| rows.iter().map(|row| row["call_id"].clone()).collect::<Vec<_>>();
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    let pages = loop {
        let (status, page) = gateway.admin("GET", &format!("/requests?limit=7{cursor}"), None).await;
        assert_eq!(status, 200, "{page}");
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 7);
        paged.push(ids(rows));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break paged.len(),
        }
        // What arrives meanwhile moves nothing.
        client.ask("up/ok", json!({})).await;
        gateway.ledger(23 + paged.len()).await;
    };
    assert_eq!((pages, paged.concat()), (4, ids(&all)));
    let times: Vec<_> = all.iter().map(|row| row["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    for wrong in [
        "cursor=x",
        "cursor=1.2.3",
        "limit=0",
        "limit=1001",
        "limit=x",
        "colour=red",
        "status=1",
        "outcome=lost",
        "from=now",
    ] {
        let (status, error) = gateway.admin("GET", &format!("/requests?{wrong}"), None).await;
        assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")), "{wrong}");
    }
}

#[tokio::test]
async fn rows_are_filtered_by_what_they_say() {
    let upstream = moody().await;
    let gateway = setup(&upstream).start().await;
    let key = gateway.admin("POST", "/keys", Some(json!({"name": "a", "project": "web"}))).await.1;
    let web = Client::new(&gateway.url, key["key"].as_str().unwrap());
    let client = gateway.client().await;
    web.ask("up/ok", json!({})).await;
    client.ask("other/ok", json!({})).await;
    client.ask("up/error", json!({})).await;
    let id = client.ask("up/refuse", json!({})).await.header("x-request-id").to_owned();
    let rows = gateway.ledger(4).await;
    let oldest = rows[3]["time"].as_str().unwrap();
    let key_id = key["id"].as_str().unwrap();
    for (query, count) in [
        (format!("key={key_id}"), 1),
        ("key=key_none".to_owned(), 0),
        ("project=web".to_owned(), 1),
        ("model=ok".to_owned(), 2),
        ("provider=other".to_owned(), 1),
        ("status=500".to_owned(), 1),
        ("status=200&provider=up".to_owned(), 1),
        ("outcome=failed".to_owned(), 2),
        ("outcome=completed&model=ok".to_owned(), 2),
        (format!("request_id={id}"), 1),
        (format!("to={oldest}"), 0),
        (format!("from={oldest}"), 4),
        ("from=2099-01-01T00:00:00Z".to_owned(), 0),
        ("model=%27%20OR%201=1--".to_owned(), 0),
    ] {
        let (status, page) = gateway.admin("GET", &format!("/requests?{query}"), None).await;
        assert_eq!((status, page["data"].as_array().map(Vec::len)), (200, Some(count)), "{query}: {page}");
    }
}
