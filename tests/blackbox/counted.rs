//! What the exposition tells of a call's way: failovers, repeated attempts, hedges, ejections, queues, what is shed; and of
//! keys, budgets, limits and cells.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    Answer, Client, Gateway, Live, Request, Script, Setup, Signal, Upstream, chunk, completion, ending,
    eventually, question, stream_head, text_event, whole,
};

const CATALOG: &str = r#"{"version":1,"source":"the test's own","license":"none","models":[
{"id":"priced","offers":[{"provider":"up","upstream":"priced-v1","price":{"rates":{"input":"1000","output":"1000"}}}]}]}"#;

fn answer() -> Script {
    Script::new().send(whole(200, &completion("hi")))
}

fn refusal(status: u16) -> Script {
    Script::new().send(whole(status, &json!({"error": {"message": "because"}})))
}

/// `up` with this row, and `next`, which answers; and more of a configuration.
async fn pair(up: Script, row: &str, more: &str) -> (Upstream, Upstream, Gateway) {
    let (up, next) = (Upstream::always(up).await, Upstream::always(answer()).await);
    let config = format!(
        "providers:\n  up: {{ base_url: '{}', {row} }}\n  next: {{ base_url: '{}' }}\n{more}",
        up.base_url(),
        next.base_url()
    );
    (up, next, Setup::new(config).start().await)
}

async fn all_counted(gateway: &Gateway, series: &[(&str, f64)]) {
    for (name, value) in series {
        gateway.counted(&format!("llm_gateway_{name}"), *value).await;
    }
}

#[tokio::test]
async fn a_failover_is_counted_from_whom_to_whom_and_why_and_an_ejected_target_as_one_that_refuses() {
    let row = "breaker: { consecutive_failures: 1, cool_down: 60s }";
    let (up, _next, gateway) = pair(refusal(500), row, "").await;
    let client = gateway.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask("up/m", json!({"fallbacks": ["next/n"]})).await.status, 200);
    }
    assert_eq!(up.requests().len(), 1);
    all_counted(
        &gateway,
        &[
            (r#"failovers_total{from="up",reason="upstream_error",to="next"}"#, 1.0),
            (r#"ejections_total{provider="up",reason="consecutive_failures"}"#, 1.0),
            (r#"ejections_total{provider="next",reason="consecutive_failures"}"#, 0.0),
            // Nobody waits for a probe: the target is asked, and refuses before anything is sent.
            (r#"failovers_total{from="up",reason="refused",to="next"}"#, 2.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_call_that_finds_no_room_goes_to_the_next_as_from_one_that_refuses() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = Script::new().until(&gate).send(whole(200, &completion("hi")));
    let (up, _next, gateway) = pair(slow, "max_in_flight: 1", "").await;
    let client = gateway.client().await;
    let first = tokio::spawn(Answer::of(client.request(&question("up/m", json!({})))));
    up.reached(1).await;
    assert_eq!(
        client.ask("up/m", json!({"fallbacks": ["next/n"]})).await.header("x-gateway-provider"),
        "next"
    );
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
    gateway.counted(r#"llm_gateway_failovers_total{from="up",reason="refused",to="next"}"#, 1.0).await;
}

#[tokio::test]
async fn an_attempt_made_again_at_the_same_target_is_counted_by_its_reason() {
    // The upstream closes an idle connection just as the next request comes over it.
    let stale = |request: &Request| match (request.connection, request.number) {
        (0, 0) | (1, _) => answer(),
        _ => Script::new().reset(),
    };
    let up = Upstream::start(stale).await;
    let limited = |request: &Request| match request.header("authorization") {
        Some("Bearer first") => refusal(429),
        _ => answer(),
    };
    let next = Upstream::start(limited).await;
    let keys = "api_keys: [{ key: first, name: a, weight: 1000 }, { key: second, name: b, weight: 1 }]";
    let next = format!("  next: {{ base_url: '{}', {keys} }}\n", next.base_url());
    let gateway = Setup::with_upstream(&up).config(&next).start().await;
    let client = gateway.client().await;
    for model in ["up/m", "up/m", "next/n"] {
        assert_eq!(client.ask(model, json!({})).await.status, 200, "{model}");
    }
    all_counted(
        &gateway,
        &[
            (r#"retries_total{provider="up",reason="stale_connection"}"#, 1.0),
            (r#"retries_total{provider="next",reason="upstream_rate_limited"}"#, 1.0),
            (r#"retries_total{provider="next",reason="stale_connection"}"#, 0.0),
        ],
    )
    .await;
    assert!(!gateway.metrics().await.contains("llm_gateway_failovers_total{"), "nobody went elsewhere");
}

#[tokio::test]
async fn attempts_that_the_retry_budget_does_not_pay_for_are_counted() {
    let (_up, next, gateway) = pair(refusal(500), crate::support::NO_BREAKER, "").await;
    let client = gateway.client().await;
    let call = || client.ask("up/m", json!({"fallbacks": ["next/n"]}));
    let calls = futures_util::future::join_all((0..60).map(|_| call())).await;
    let unpaid = calls.iter().filter(|answer| answer.status == 502).count();
    assert!(unpaid > 0, "sixty calls pay for twelve and a second brings ten");
    assert_eq!(next.requests().len() + unpaid, 60);
    let series = r#"llm_gateway_retry_budget_exhausted_total{provider="next"}"#;
    gateway.counted(series, unpaid as f64).await;
}

#[tokio::test]
async fn a_hedge_is_started_and_then_won_or_lost() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = Script::new().until(&gate).send(whole(200, &completion("hi")));
    let up = Upstream::always(slow).await;
    let hangs = |request: &Request| match request.json()["model"].as_str() {
        Some("hangs") => Script::new().until_closed(),
        _ => answer(),
    };
    let next = Upstream::start(hangs).await;
    let more = format!(
        "  next: {{ base_url: '{}' }}\nmodels:\n  mine: {{ targets: [{{ model: up/m }}], hedge_after: 20ms }}\n",
        next.base_url()
    );
    let gateway = Setup::with_upstream(&up).config(&more).start().await;
    let client = gateway.client().await;
    assert_eq!(
        client.ask("mine", json!({"fallbacks": ["next/n"]})).await.header("x-gateway-provider"),
        "next"
    );
    let request = client.request(&question("mine", json!({"fallbacks": ["next/hangs"]})));
    let call = tokio::spawn(Answer::of(request));
    next.reached(2).await;
    // One for the attempt that lost and is gone, if its upstream still waits for it.
    gate.add_permits(2);
    assert_eq!(call.await.unwrap().header("x-gateway-provider"), "up");
    let of = |result| format!(r#"llm_gateway_hedges_total{{provider="next",result="{result}"}}"#);
    for (result, count) in [("started", 2.0), ("won", 1.0), ("lost", 1.0)] {
        gateway.counted(&of(result), count).await;
    }
}

#[tokio::test]
async fn a_queue_tells_who_waited_who_gave_up_and_who_found_no_place() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = Script::new().until(&gate).send(whole(200, &completion("hi")));
    let row = "max_in_flight: 1, adaptive_limit: false, queue: { length: 1, timeout: 60s }";
    let (up, _next, gateway) = pair(slow, row, "").await;
    let client = gateway.client().await;
    let call = |client: &Client| tokio::spawn(Answer::of(client.request(&question("up/m", json!({})))));
    let runs = call(&client);
    up.reached(1).await;
    let waits = call(&client);
    gateway.counted(r#"llm_gateway_provider_queued_calls{provider="up"}"#, 1.0).await;
    assert_eq!(client.ask("up/m", json!({})).await.status, 503);
    // A key with a better claim takes the place.
    let other = gateway.client_with(json!({"name": "heavy", "share": 100})).await;
    let heavy = call(&other);
    assert_eq!(waits.await.unwrap().status, 503);
    gate.add_permits(2);
    assert_eq!((runs.await.unwrap().status, heavy.await.unwrap().status), (200, 200));
    all_counted(
        &gateway,
        &[
            (r#"queue_wait_seconds_count{provider="up"}"#, 1.0),
            (r#"queue_timeouts_total{provider="up"}"#, 1.0),
            (r#"sheds_total{reason="queue_full"}"#, 1.0),
            (r#"sheds_total{reason="queue_timeout"}"#, 1.0),
            (r#"sheds_total{reason="memory"}"#, 0.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn keys_budgets_and_limits_are_told_by_id_and_name() {
    let up = Upstream::always(answer()).await;
    let gateway = Setup::with_upstream(&up)
        .config("catalog: { file: catalog.json }\n")
        .file("catalog.json", CATALOG)
        .start()
        .await;
    let project = json!({"name": "search", "budget": {"limit_usd": "1000", "period": "day"}});
    assert_eq!(gateway.admin("POST", "/projects", Some(project)).await.0, 201);
    let budget = json!({"limit_usd": "0.024", "period": "month", "soft": true});
    let spec = json!({"name": "my \"key\"", "project": "search", "rpm": 10, "budget": budget});
    let made = gateway.admin("POST", "/keys", Some(spec)).await.1;
    let (id, client) =
        (made["id"].as_str().unwrap(), Client::new(&gateway.url, made["key"].as_str().unwrap()));
    assert_eq!(client.ask("priced", json!({})).await.status, 200);
    assert_eq!(client.ask("nobody", json!({})).await.status, 404);
    let named = format!(r#"id="{id}",name="my \"key\"","#);
    // Nine tokens in and three out, at a thousandth of a dollar each.
    for (series, value) in [
        (format!(r#"key_requests_total{{key="{id}",outcome="completed"}}"#), 1.0),
        (format!(r#"key_requests_total{{key="{id}",outcome="failed"}}"#), 1.0),
        (format!(r#"key_tokens_total{{key="{id}",kind="prompt"}}"#), 9.0),
        (format!(r#"key_tokens_total{{key="{id}",kind="completion"}}"#), 3.0),
        (format!(r#"key_cost_usd_total{{key="{id}"}}"#), 0.012),
        (format!(r#"key_info{{key="{id}",name="my \"key\"",project="search"}}"#), 1.0),
        (format!(r#"budget_limit_usd{{{named}period="month",scope="key"}}"#), 0.024),
        (format!(r#"budget_spent_usd{{{named}period="month",scope="key"}}"#), 0.012),
        (format!(r#"budget_reserved_usd{{{named}period="month",scope="key"}}"#), 0.0),
        (r#"budget_spent_usd{id="search",name="search",period="day",scope="project"}"#.to_owned(), 0.012),
    ] {
        gateway.counted(&format!("llm_gateway_{series}"), value).await;
    }
    let used = gateway
        .metric(&format!(
            r#"llm_gateway_quota_used_ratio{{id="{id}",limit="rpm",name="my \"key\"",scope="key"}}"#
        ))
        .await;
    assert!((0.1..=0.2).contains(&used), "{used}");
}

#[tokio::test]
async fn what_is_set_aside_shows_while_a_call_runs_and_is_nothing_once_its_client_has_left() {
    let script = Script::new().send(stream_head()).send(chunk(text_event("one two"))).until_closed();
    let up = Upstream::always(script).await;
    let gateway = Setup::with_upstream(&up)
        .config("catalog: { file: catalog.json }\n")
        .file("catalog.json", CATALOG)
        .start()
        .await;
    let made = gateway.admin("POST", "/keys", Some(json!({"name": "k"}))).await.1;
    let client = Client::new(&gateway.url, made["key"].as_str().unwrap());
    let mut live =
        Live::open(client.request(&question("priced", json!({"stream": true, "max_tokens": 100})))).await;
    live.until("\n\n").await;
    let reserved = gateway.metric("llm_gateway_reserved_usd").await;
    assert!(reserved >= 0.1, "{reserved}");
    assert_eq!(gateway.metric(r#"llm_gateway_cell_in_flight_requests{cell="0"}"#).await, 1.0);
    // A key that has ended still pays, and gets back what it does not.
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    gateway.admin("DELETE", &path, None).await;
    assert!(gateway.metric("llm_gateway_reserved_usd").await >= 0.1);
    drop(live);
    up.all_closed().await;
    all_counted(
        &gateway,
        &[
            ("reserved_usd", 0.0),
            ("in_flight_requests", 0.0),
            (r#"cell_in_flight_requests{cell="0"}"#, 0.0),
            ("cells", 1.0),
        ],
    )
    .await;
    for actor in ["supervisor", "provider", "billing", "metrics"] {
        gateway.counted(&format!(r#"llm_gateway_mailbox_messages{{actor="{actor}"}}"#), 0.0).await;
        assert_eq!(
            gateway.metric(&format!(r#"llm_gateway_mailbox_full_total{{actor="{actor}"}}"#)).await,
            0.0
        );
    }
}

#[tokio::test]
async fn a_stream_tells_its_first_token_and_the_time_between_tokens_by_provider_and_model() {
    let script = Script::new()
        .send(stream_head())
        .send(chunk(text_event("one")))
        .send(chunk(ending()))
        .send(chunk(""));
    let up = Upstream::always(script).await;
    let gateway = Gateway::before(&up).await;
    assert!(gateway.client().await.ask("up/m", json!({"stream": true})).await.done());
    all_counted(
        &gateway,
        &[
            (r#"time_to_first_token_seconds_count{model="other",provider="up"}"#, 1.0),
            (r#"time_per_output_token_seconds_count{model="other",provider="up"}"#, 1.0),
            (r#"upstream_duration_seconds_count{model="other",outcome="completed",provider="up"}"#, 1.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_process_that_ends_tells_since_when_and_counts_whom_it_turns_away() {
    let up = Upstream::always(Script::new().until_closed()).await;
    let mut gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    let live = tokio::spawn(Answer::of(client.request(&question("up/m", json!({})))));
    up.reached(1).await;
    assert_eq!(gateway.metric("llm_gateway_draining_seconds").await, 0.0);
    gateway.process.signal(Signal::Terminate);
    gateway.process.logged("stopping: running calls are finished first").await;
    // A call that came while it is only leaving would still be taken.
    eventually("it drains", || async {
        let ready = reqwest::get(format!("{}/health/ready", gateway.ops)).await.ok()?.text().await.ok()?;
        ready.contains("draining").then_some(())
    })
    .await;
    assert_eq!(client.ask("up/m", json!({})).await.status, 503);
    eventually("it says so", || async {
        (gateway.metric("llm_gateway_sheds_total{reason=\"draining\"}").await >= 1.0).then_some(())
    })
    .await;
    assert!(gateway.metric("llm_gateway_draining_seconds").await > 0.0);
    live.abort();
}
