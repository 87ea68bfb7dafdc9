//! Traces and GenAI metrics as a collector gets them, and the context that goes on to providers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Collector, Gateway, Live, Request, Script, Setup, Upstream, chunk, completion, question,
    stream_head, streamed, text_event, whole,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Stands in the prompt, the answer and the provider's error: no telemetry may hold it.
const CANARY: &str = "canary-that-nobody-must-see";

fn answer() -> Script {
    Script::new().send(whole(200, &completion(CANARY)))
}

fn refusal() -> Script {
    Script::new().send(whole(500, &json!({"error": {"message": CANARY}})))
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

async fn start(upstream: &Upstream, more: &str, collector: &Collector, ratio: &str) -> (Gateway, Client) {
    let setup = Setup::with_upstream(upstream).config(more).config(&collector.config(ratio));
    let gateway = setup.start().await;
    let client = gateway.client_with(json!({"name": "test", "project": "web"})).await;
    (gateway, client)
}

fn ask(client: &Client, more: Value) -> reqwest::RequestBuilder {
    let mut body = question("up/m", more);
    body["messages"] = json!([{"role": "user", "content": CANARY}]);
    client.request(&body)
}

async fn asked(request: reqwest::RequestBuilder) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    (response.status().as_u16(), id, response.text().await.unwrap())
}

#[tokio::test]
async fn a_call_continues_its_callers_trace_and_hands_it_to_the_provider() {
    let (upstream, collector) = (Upstream::always(answer()).await, Collector::start().await);
    let (gateway, client) = start(&upstream, "", &collector, "0").await;
    let request = ask(&client, json!({}))
        .header("traceparent", traceparent("01"))
        .header("tracestate", "vendor=a")
        .header("tracestate", "other=b");
    let (status, id, _) = asked(request).await;
    assert_eq!(status, 200);
    let (call, attempts) = collector.trace(&id, 1).await;
    assert_eq!(attempts.len(), 1);
    let attempt = &attempts[0];
    assert_eq!((call.text("traceId"), call.text("parentSpanId")), (TRACE, PARENT));
    assert_eq!((attempt.text("traceId"), attempt.text("parentSpanId")), (TRACE, call.text("spanId")));
    let sent = upstream.last();
    let expected = format!("00-{TRACE}-{}-01", attempt.text("spanId"));
    assert_eq!(
        (sent.header("traceparent"), sent.header("tracestate")),
        (Some(&*expected), Some("vendor=a,other=b"))
    );
    assert_eq!((call.text("name"), attempt.text("name")), ("POST /v1/chat/completions", "chat m"));
    let row = &gateway.ledger(1).await[0];
    for (span, name, value) in [
        (&call, "http.route", json!("/v1/chat/completions")),
        (&call, "http.response.status_code", json!("200")),
        (&call, "gen_ai.provider.name", json!("up")),
        (&call, "gen_ai.request.model", json!("up/m")),
        (&call, "gen_ai.usage.output_tokens", json!(row["completion_tokens"].to_string())),
        (&call, "llm_gateway.project", json!("web")),
        (attempt, "gen_ai.operation.name", json!("chat")),
        (attempt, "gen_ai.usage.input_tokens", json!(row["prompt_tokens"].to_string())),
        (attempt, "server.address", json!("127.0.0.1")),
        (attempt, "llm_gateway.attempt", json!("1")),
        (attempt, "llm_gateway.key_id", row["key_id"].clone()),
        (attempt, "llm_gateway.estimated", json!(false)),
    ] {
        assert_eq!(span.attribute(name), value, "{name}");
    }
    assert_eq!(call.events(), ["commit"]);
    assert!(!call.failed() && !attempt.failed());
    assert_eq!(collector.resource("service.name"), "llm-gateway");
    assert_eq!(collector.resource("deployment.environment.name"), "test");
    // One id leads from the answer to the log, the trace and the ledger.
    assert_eq!(row["request_id"], id);
    let line = gateway.process.events().into_iter().find(|event| event["request_id"] == id).unwrap();
    for (name, value) in [
        ("trace_id", json!(TRACE)),
        ("key_id", row["key_id"].clone()),
        ("project", json!("web")),
        ("requested_model", json!("up/m")),
        ("provider", json!("up")),
        ("model", json!("m")),
        ("status", json!(200)),
        ("outcome", json!("completed")),
        ("attempts", json!(1)),
        ("prompt_tokens", row["prompt_tokens"].clone()),
        ("completion_tokens", row["completion_tokens"].clone()),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
}

#[tokio::test]
async fn a_failover_is_one_call_with_two_attempts_and_an_event() {
    let (up, next) = (Upstream::always(refusal()).await, Upstream::always(answer()).await);
    let collector = Collector::start().await;
    let row = format!("  next: {{ base_url: '{}' }}\n", next.base_url());
    let (_gateway, client) = start(&up, &row, &collector, "1").await;
    let (status, id, _) = asked(ask(&client, json!({"fallbacks": ["next/n"]}))).await;
    assert_eq!(status, 200);
    let (call, attempts) = collector.trace(&id, 2).await;
    assert_eq!(call.text("parentSpanId"), "");
    assert_eq!(call.events(), ["failover", "commit"]);
    assert!(!call.failed());
    assert_eq!(call.attribute("gen_ai.provider.name"), "next");
    let told: Vec<(Value, bool, Value, &str)> = attempts
        .iter()
        .map(|span| {
            (
                span.attribute("gen_ai.provider.name"),
                span.failed(),
                span.attribute("error.type"),
                span.text("parentSpanId"),
            )
        })
        .collect();
    let parent = call.text("spanId");
    assert_eq!(
        told,
        [(json!("up"), true, json!("upstream_error"), parent), (json!("next"), false, Value::Null, parent)]
    );
    let sent = [up.last(), next.last()].map(|request| request.header("traceparent").unwrap().to_owned());
    for (sent, span) in sent.iter().zip(&attempts) {
        assert_eq!(*sent, format!("00-{}-{}-01", call.text("traceId"), span.text("spanId")));
    }
}

#[tokio::test]
async fn streams_errors_and_clients_that_leave_are_told_apart() {
    let upstream = Upstream::start(|request: &Request| match request.json()["user"].as_str() {
        Some("stream") => streamed(CANARY),
        Some("leave") => Script::new().send(stream_head()).send(chunk(text_event("first"))).until_closed(),
        _ => refusal(),
    })
    .await;
    let collector = Collector::start().await;
    let (gateway, client) = start(&upstream, "", &collector, "1").await;
    let (_, id, text) = asked(ask(&client, json!({"stream": true, "user": "stream"}))).await;
    assert!(text.contains("[DONE]"));
    let (call, attempts) = collector.trace(&id, 1).await;
    assert_eq!((call.events(), attempts[0].events()), (vec!["commit"], vec!["first_token"]));
    assert!(!call.failed() && !attempts[0].failed());
    let (status, id, _) = asked(ask(&client, json!({}))).await;
    let (call, attempts) = collector.trace(&id, 1).await;
    assert_eq!((status, call.failed(), attempts[0].failed()), (502, true, true));
    assert_eq!(call.attribute("error.type"), "upstream_error");
    assert_eq!(attempts[0].attribute("http.response.status_code"), "500");
    let leaving = ask(&client, json!({"stream": true, "user": "leave"})).header("x-request-id", "who-left");
    let mut live = Live::open(leaving).await;
    live.until("\n\n").await;
    drop(live);
    let (call, attempts) = collector.trace("who-left", 1).await;
    for span in [&call, &attempts[0]] {
        assert!(span.failed());
        assert_eq!(
            (span.attribute("error.type"), span.attribute("llm_gateway.outcome")),
            (json!("cancelled"), json!("cancelled"))
        );
    }
    // Nothing of a prompt, an answer, an error of theirs, or a credential.
    gateway.counted("llm_gateway_in_flight_requests", 0.0).await;
    let points = collector.points("gen_ai.client.token.usage").await;
    assert!(!points.is_empty());
    for secret in [CANARY, "sk-", "canary-of-the-collector"] {
        assert!(
            !collector.everything().contains(secret) && !gateway.process.log().contains(secret),
            "{secret}"
        );
    }
}

#[tokio::test]
async fn a_models_name_is_cut_wherever_it_is_shown() {
    let (upstream, collector) = (Upstream::always(answer()).await, Collector::start().await);
    let (gateway, client) = start(&upstream, "", &collector, "1").await;
    let long = "m".repeat(200);
    let (status, id, _) = asked(client.request(&question(&format!("up/{long}"), json!({})))).await;
    assert_eq!(status, 200);
    let (call, attempts) = collector.trace(&id, 1).await;
    let shown = attempts[0].attribute("gen_ai.request.model");
    assert!(shown.as_str().unwrap().ends_with('…') && attempts[0].text("name").ends_with('…'), "{shown}");
    assert!(call.attribute("gen_ai.request.model").as_str().unwrap().ends_with('…'));
    let line = gateway.process.events().into_iter().find(|event| event["request_id"] == id).unwrap();
    assert!(line["model"].as_str().unwrap().ends_with('…'), "{line}");
    for told in [collector.everything(), gateway.process.log()] {
        assert!(!told.contains(&long[..150]));
    }
}

#[tokio::test]
async fn who_decides_what_is_traced() {
    let (upstream, collector) = (Upstream::always(answer()).await, Collector::start().await);
    let (_gateway, client) = start(&upstream, "", &collector, "1").await;
    // The caller said no: its trace goes on, and is not recorded here.
    let request = ask(&client, json!({})).header("traceparent", traceparent("00"));
    let (_, refused, _) = asked(request).await;
    let sent = upstream.last().header("traceparent").unwrap().to_owned();
    assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
    // What cannot be read is as if it were not there, whatever it is.
    let long = "0".repeat(4_000);
    for wrong in ["", "00", &traceparent("01").to_uppercase(), "00-0-0-01", &long] {
        let request = ask(&client, json!({})).header("traceparent", wrong).header("tracestate", "a=b");
        let (status, id, _) = asked(request).await;
        assert_eq!((status, upstream.last().header("tracestate")), (200, None), "{wrong}");
        let (call, _) = collector.trace(&id, 1).await;
        assert!(call.text("parentSpanId").is_empty() && call.text("traceId") != TRACE, "{wrong}");
    }
    let twice = ask(&client, json!({}))
        .header("traceparent", traceparent("01"))
        .header("traceparent", traceparent("01"));
    let (_, id, _) = asked(twice).await;
    assert_ne!(collector.trace(&id, 1).await.0.text("traceId"), TRACE);
    assert!(!collector.everything().contains(&refused));
    // A share of none: only callers say yes, and providers hear of no trace.
    let (_gateway, client) = start(&upstream, "", &collector, "0").await;
    let (_, unsampled, _) = asked(ask(&client, json!({}))).await;
    assert_eq!(upstream.last().header("traceparent"), None);
    let (_, sampled, _) = asked(ask(&client, json!({})).header("traceparent", traceparent("01"))).await;
    collector.trace(&sampled, 1).await;
    assert!(!collector.everything().contains(&unsampled));
}

#[tokio::test]
async fn without_a_collector_a_trace_goes_on_as_it_came() {
    let upstream = Upstream::always(answer()).await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let request =
        ask(&client, json!({})).header("traceparent", traceparent("01")).header("tracestate", "a=b");
    assert_eq!(asked(request).await.0, 200);
    let sent = upstream.last();
    assert_eq!(
        (sent.header("traceparent"), sent.header("tracestate")),
        (Some(&*traceparent("01")), Some("a=b"))
    );
    assert_eq!(asked(ask(&client, json!({}))).await.0, 200);
    assert_eq!(upstream.last().header("traceparent"), None);
}

#[tokio::test]
async fn metrics_of_the_conventions_count_what_is_not_traced_too() {
    let upstream = Upstream::always(streamed("a")).await;
    let collector = Collector::start().await;
    let (_gateway, client) = start(&upstream, "", &collector, "0").await;
    for _ in 0..3 {
        assert_eq!(asked(ask(&client, json!({"stream": true}))).await.0, 200);
    }
    for name in [
        "gen_ai.client.operation.duration",
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
    ] {
        let counted = || async {
            let points = collector.points(name).await;
            (points.len() == 1 && points[0]["count"] == "3").then_some(points)
        };
        let points = crate::support::eventually(name, counted).await;
        assert_eq!(Collector::of(&points[0], "gen_ai.provider.name"), "up");
        // Nobody's catalogue knows it.
        assert_eq!(Collector::of(&points[0], "gen_ai.request.model"), "other");
        let counts = points[0]["bucketCounts"].as_array().unwrap().len();
        assert_eq!(counts, points[0]["explicitBounds"].as_array().unwrap().len() + 1);
    }
    let types: Vec<Value> = collector
        .points("gen_ai.client.token.usage")
        .await
        .iter()
        .map(|point| Collector::of(point, "gen_ai.token.type"))
        .collect();
    assert!(types.contains(&json!("input")) && types.contains(&json!("output")), "{types:?}");
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn a_collector_that_is_gone_slow_or_unwilling_costs_calls_nothing_and_is_counted() {
    let upstream = Upstream::always(answer()).await;
    let silent = Collector::answering(|_| Script::new().until_closed()).await;
    let unwilling = Collector::answering(|_| Script::new().send(whole(400, &json!({})))).await;
    for (collector, reason) in [(&unwilling, "refused"), (&silent, "unreachable")] {
        let (mut gateway, client) = start(&upstream, "", collector, "1").await;
        let began = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(asked(ask(&client, json!({}))).await.0, 200);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        if reason == "refused" {
            let series = "llm_gateway_telemetry_dropped_total{reason=\"refused\",signal=\"traces\"}";
            gateway.counted(series, 40.0).await;
            assert_eq!(gateway.metric("llm_gateway_telemetry_exported_total{signal=\"traces\"}").await, 0.0);
        }
        // Its end waits for nobody for long.
        let began = std::time::Instant::now();
        assert_eq!(gateway.stop().await, Some(0), "{reason}");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn what_a_collector_could_not_take_at_first_comes_again_and_the_rest_at_the_end() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let collector = Collector::answering(move |_| {
        let first = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        Script::new().send(whole(if first { 503 } else { 200 }, &json!({})))
    })
    .await;
    let upstream = Upstream::always(answer()).await;
    let (mut gateway, client) = start(&upstream, "", &collector, "1").await;
    let (_, id, _) = asked(ask(&client, json!({}))).await;
    collector.trace(&id, 1).await;
    gateway.counted("llm_gateway_telemetry_exported_total{signal=\"traces\"}", 2.0).await;
    let (_, last, _) = asked(ask(&client, json!({}))).await;
    assert_eq!(gateway.stop().await, Some(0));
    assert!(collector.everything().contains(&last), "sent before the end");
}
