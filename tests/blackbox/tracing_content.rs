//! Prompts and answers on the spans of calls: only where operator and project both want it, and masked.

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Collector, Gateway, Script, Setup, Upstream, chunk, completion, ending, event, question,
    stream_head, text_event, whole,
};

/// Stand in what is asked and what is answered; the address is to be masked.
const PROMPT: &str = "canary-prompt";
const SAID: &str = "canary-answer";
const EMAIL: &str = "canary.person@example.org";
const ALL: [&str; 3] = [PROMPT, SAID, EMAIL];

/// Says [`SAID`] and [`EMAIL`], the latter in pieces where it streams.
async fn upstream() -> Upstream {
    Upstream::start(|request| {
        if request.json()["stream"] != true {
            return Script::new().send(whole(200, &completion(&format!("{SAID} {EMAIL}"))));
        }
        let (first, second) = EMAIL.split_at(10);
        let call = |index: u8, more: &str| {
            event(&format!("{{\"tool_calls\":[{{\"index\":{index},{more}}}]}}"), "null")
        };
        let pieces = [
            text_event(&format!("{SAID} ")),
            text_event(first),
            text_event(second),
            call(0, r#""id":"c0","type":"function","function":{"name":"f","arguments":"{\"a\""}"#),
            call(1, r#""id":"c1","type":"function","function":{"name":"g","arguments":"{\"b\""}"#),
            call(0, r#""function":{"arguments":":1}"}"#),
            call(1, r#""function":{"arguments":":2}"}"#),
            ending(),
        ];
        Script::new().send(stream_head()).send(chunk(pieces.concat())).send(chunk(""))
    })
    .await
}

/// A gateway that tells the collector of this share of its calls, with the operator's consent or without.
async fn start(upstream: &Upstream, collector: &Collector, ratio: &str, consents: bool) -> Gateway {
    setup(upstream, collector, ratio, consents).start().await
}

fn setup(upstream: &Upstream, collector: &Collector, ratio: &str, consents: bool) -> Setup {
    let given = format!("sample_ratio: {ratio}");
    let content = if consents { format!("{given}, content: true") } else { given.clone() };
    let telemetry = collector.config(ratio);
    assert!(telemetry.contains(&given), "{telemetry}");
    Setup::with_upstream(upstream).config(&telemetry.replace(&given, &content))
}

/// A client of a project that keeps this.
async fn client_of(gateway: &Gateway, logged: &str) -> Client {
    let project = json!({"name": logged, "request_log": logged});
    assert_eq!(gateway.admin("POST", "/projects", Some(project)).await.0, 201);
    gateway.client_with(json!({"name": logged, "project": logged})).await
}

/// Asks under an id.
async fn ask(client: &Client, id: &str, more: Value) -> Answer {
    let mut body = question("up/m", more);
    body["messages"] = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": format!("{PROMPT} {EMAIL}")}
    ]);
    Answer::of(client.request(&body).header("x-request-id", id)).await
}

/// What the span of the call under this id says.
async fn told(collector: &Collector, id: &str, name: &str) -> Value {
    let (call, _) = collector.trace(id, 1).await;
    match call.attribute(name) {
        Value::String(text) if text.starts_with('[') => serde_json::from_str(&text).expect("JSON"),
        value => value,
    }
}

fn holds_none_of(collector: &Collector, words: &[&str]) {
    let everything = collector.everything();
    for word in words {
        assert!(!everything.contains(word), "{word}");
    }
}

#[tokio::test]
async fn without_both_consents_no_span_shows_what_was_said() {
    let (upstream, collector) = (upstream().await, Collector::start().await);
    // The project's alone.
    let gateway = start(&upstream, &collector, "1", false).await;
    let client = client_of(&gateway, "full").await;
    assert_eq!(ask(&client, "project-alone", json!({})).await.status, 200);
    collector.trace("project-alone", 1).await;
    // The operator's alone: a project that is off, and a key without any.
    let gateway = start(&upstream, &collector, "1", true).await;
    let off = client_of(&gateway, "off").await;
    assert_eq!(ask(&off, "operator-alone", json!({})).await.status, 200);
    assert_eq!(ask(&gateway.client().await, "nobody-asked", json!({"stream": true})).await.status, 200);
    for id in ["operator-alone", "nobody-asked"] {
        assert_eq!(told(&collector, id, "llm_gateway.content_dropped").await, Value::Null);
    }
    holds_none_of(&collector, &ALL);
    holds_none_of(&collector, &["gen_ai.input.messages", "gen_ai.output.messages"]);
}

#[tokio::test]
async fn with_both_consents_spans_show_messages_and_mask_them() {
    let (upstream, collector) = (upstream().await, Collector::start().await);
    let gateway = start(&upstream, &collector, "1", true).await;
    let client = client_of(&gateway, "full").await;
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    assert_eq!(ask(&client, "whole", json!({"tools": tools})).await.status, 200);
    assert!(ask(&client, "stream", json!({"stream": true})).await.done());
    let asked = json!([
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": format!("{PROMPT} [redacted:email]")}]}
    ]);
    let text = json!({"type": "text", "content": format!("{SAID} [redacted:email]")});
    let calls = [("c0", "f", json!({"a": 1})), ("c1", "g", json!({"b": 2}))].map(
        |(id, name, arguments)| json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments}),
    );
    let [first, second] = calls;
    for (id, parts, finish) in
        [("whole", json!([text.clone()]), "stop"), ("stream", json!([text, first, second]), "tool_call")]
    {
        assert_eq!(told(&collector, id, "gen_ai.input.messages").await, asked, "{id}");
        let answered = json!([{"role": "assistant", "parts": parts, "finish_reason": finish}]);
        assert_eq!(told(&collector, id, "gen_ai.output.messages").await, answered, "{id}");
        assert_eq!(told(&collector, id, "llm_gateway.content_truncated").await, Value::Null, "{id}");
    }
    assert_eq!(
        told(&collector, "whole", "gen_ai.tool.definitions").await,
        json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}])
    );
    // Attempts show nothing, the log shows nothing, and the metrics hold what they held.
    for id in ["whole", "stream"] {
        let (_, attempts) = collector.trace(id, 1).await;
        assert!(!attempts[0].0.to_string().contains("canary"), "{attempts:?}");
    }
    holds_none_of(&collector, &[EMAIL]);
    assert!(ALL.iter().all(|word| !gateway.process.log().contains(word)));
}

#[tokio::test]
async fn a_project_that_keeps_one_side_shows_that_side() {
    let (upstream, collector) = (upstream().await, Collector::start().await);
    let gateway = start(&upstream, &collector, "1", true).await;
    for (logged, shows, hides) in [
        ("request", "gen_ai.input.messages", "gen_ai.output.messages"),
        ("response", "gen_ai.output.messages", "gen_ai.input.messages"),
    ] {
        let client = client_of(&gateway, logged).await;
        assert_eq!(ask(&client, logged, json!({})).await.status, 200);
        assert!(told(&collector, logged, shows).await.is_array(), "{logged}");
        assert_eq!(told(&collector, logged, hides).await, Value::Null, "{logged}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_traced_shows_nothing_and_is_stored_all_the_same() {
    let (upstream, collector) = (upstream().await, Collector::start().await);
    let gateway = start(&upstream, &collector, "0", true).await;
    let client = client_of(&gateway, "full").await;
    assert_eq!(ask(&client, "untraced", json!({})).await.status, 200);
    gateway.counted("llm_gateway_request_log_stored_total", 1.0).await;
    // A call that is traced comes after it.
    let traced = client
        .request(&question("up/m", json!({})))
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("x-request-id", "traced");
    assert_eq!(Answer::of(traced).await.status, 200);
    assert!(told(&collector, "traced", "gen_ai.output.messages").await.is_array());
    holds_none_of(&collector, &[PROMPT, "untraced"]);
}

#[tokio::test]
async fn what_is_too_long_is_cut_as_in_the_request_log_and_says_so() {
    let (upstream, collector) = (upstream().await, Collector::start().await);
    let gateway =
        setup(&upstream, &collector, "1", true).config("request_log: { max_body: 1KiB }\n").start().await;
    let client = client_of(&gateway, "full").await;
    let long = json!([{"role": "user", "content": format!("{EMAIL} {}", "word ".repeat(1_000))}]);
    let request = client.request(&question("up/m", json!({"messages": long}))).header("x-request-id", "long");
    assert_eq!(Answer::of(request).await.status, 200);
    assert_eq!(told(&collector, "long", "llm_gateway.content_truncated").await, json!(true));
    assert_eq!(told(&collector, "long", "gen_ai.input.messages").await, Value::Null);
    let body = told(&collector, "long", "llm_gateway.request.body").await;
    let body = body.as_str().expect("text");
    assert!(body.contains("[redacted:email] word") && body.len() <= 1_024, "{body}");
    assert!(told(&collector, "long", "gen_ai.output.messages").await.is_array());
    holds_none_of(&collector, &[EMAIL]);
}
