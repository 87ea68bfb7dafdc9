//! Headers of requests that are understood, and headers that every answer carries.

use serde_json::json;

use crate::support::{Answer, Gateway, Script, Setup, Upstream, completion, question, streamed, whole};

async fn open() -> (Upstream, Gateway) {
    let upstream = Upstream::start(|request| match request.json()["stream"].as_bool() {
        Some(true) => streamed("hi"),
        _ => Script::new().send(whole(200, &completion("hi"))),
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    (upstream, gateway)
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_everywhere_and_another_is_replaced() {
    let (_upstream, gateway) = open().await;
    let client = gateway.client().await;
    let long = "a".repeat(129);
    for (sent, sane) in [
        ("my-id.1_2:3/4", true),
        (&long[..128], true),
        (&long, false),
        ("with space", false),
        ("semi;colon", false),
        ("<script>", false),
        ("", false),
    ] {
        for stream in [false, true] {
            let body = question("up/m", json!({"stream": stream}));
            let answer = Answer::of(client.request(&body).header("x-request-id", sent)).await;
            let id = answer.header("x-request-id").to_owned();
            assert_eq!(id == sent, sane, "{sent:?}: {id:?}");
            assert!(!id.is_empty());
            let metadata = if stream { answer.chunks().pop().unwrap() } else { answer.json() };
            assert_eq!(metadata["metadata"]["request_id"], id.as_str());
            let body = question("nope", json!({"stream": stream}));
            let refused = Answer::of(client.request(&body).header("x-request-id", sent)).await;
            assert_eq!((refused.status, refused.header("x-request-id") == sent), (404, sane));
        }
    }
    let rows = gateway.ledger(14).await;
    assert_eq!(rows.iter().filter(|row| row["request_id"] == "my-id.1_2:3/4").count(), 2);
    let ours: Vec<_> =
        rows.iter().filter(|row| row["request_id"].as_str().unwrap().starts_with("req_")).collect();
    assert_eq!(ours.len(), 10);
}

#[tokio::test]
async fn every_answer_says_who_answered_and_what_is_left() {
    let (_upstream, gateway) = open().await;
    let client = gateway.client_with(json!({"name": "limited", "rpm": 100, "tpm": 100_000})).await;
    for stream in [false, true] {
        let answer = client.ask("up/m", json!({"stream": stream})).await;
        let facts =
            ["x-gateway-provider", "x-gateway-model", "x-gateway-attempts"].map(|name| answer.header(name));
        assert_eq!((answer.status, facts), (200, ["up", "m", "1"]));
        assert!(answer.header("x-gateway-overhead-us").parse::<u64>().unwrap() < 10_000_000);
        assert_eq!(answer.header("x-gateway-dropped-params"), "");
        for kind in ["requests", "tokens"] {
            let limit: u64 = answer.header(&format!("x-ratelimit-limit-{kind}")).parse().unwrap();
            let left: u64 = answer.header(&format!("x-ratelimit-remaining-{kind}")).parse().unwrap();
            assert!(left < limit, "{kind}: {left} of {limit}");
            assert!(!answer.header(&format!("x-ratelimit-reset-{kind}")).is_empty());
        }
    }
    let unlimited = gateway.client().await.ask("up/m", json!({})).await;
    assert!(unlimited.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")));
}

#[tokio::test]
async fn a_parameter_that_is_dropped_is_named_and_refused_under_strict() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let config = |strict: bool| {
        Setup::new(format!(
            "strict: {strict}\nproviders:\n  up: {{ base_url: '{}', quirks: {{ drop_params: [seed, logit_bias] }} }}\n",
            upstream.base_url()
        ))
    };
    let gateway = config(false).start().await;
    let client = gateway.client().await;
    let body = question("up/m", json!({"seed": 1, "logit_bias": {}, "user": "u"}));
    let answer = Answer::of(client.request(&body)).await;
    let mut dropped: Vec<_> = answer.header("x-gateway-dropped-params").split(',').map(str::trim).collect();
    dropped.sort_unstable();
    assert_eq!((answer.status, dropped), (200, vec!["logit_bias", "seed"]));
    assert_eq!(upstream.last().json(), question("m", json!({"user": "u"})));
    for value in ["true", "1", "TRUE"] {
        let strict = Answer::of(client.request(&body).header("x-gateway-strict", value)).await;
        assert_eq!(
            (strict.status, strict.code().as_str()),
            (400, "unsupported_parameter"),
            "{}",
            strict.text()
        );
        assert!(["seed", "logit_bias"].contains(&strict.param().as_str()));
    }
    let lax = Answer::of(client.request(&body).header("x-gateway-strict", "false")).await;
    assert_eq!(lax.status, 200);
    let gateway = config(true).start().await;
    let strict = gateway.client().await.chat(&body).await;
    assert_eq!((strict.status, strict.code().as_str()), (400, "unsupported_parameter"));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn tags_are_kept_on_the_row_and_wrong_ones_are_refused() {
    let (upstream, gateway) = open().await;
    let client = gateway.client().await;
    let with = |tags: &str| client.request(&question("up/m", json!({}))).header("x-gateway-tags", tags);
    assert_eq!(Answer::of(with("team=search, feature=sum=mary")).await.status, 200);
    let row = &gateway.ledger(1).await[0];
    assert_eq!(row["tags"], json!({"team": "search", "feature": "sum=mary"}));
    let nine = (0..9).map(|at| format!("t{at}=x")).collect::<Vec<_>>().join(",");
    let long = format!("t={}", "x".repeat(65));
    for wrong in ["team", "=x", &nine, &long] {
        let answer = Answer::of(with(wrong)).await;
        assert_eq!((answer.status, answer.param().as_str()), (400, "x-gateway-tags"), "{wrong}");
    }
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_told_in_the_same_shape() {
    let (_upstream, gateway) = open().await;
    let client = gateway.client().await;
    let answer = client.get("/v1/nothing").await;
    assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
    assert!(!answer.header("x-request-id").is_empty());
    let answer = client.get("/v1/chat/completions").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    assert!(answer.json()["error"]["message"].is_string());
}

#[tokio::test]
async fn a_header_of_ours_that_cannot_be_understood_is_refused_by_its_name() {
    let (upstream, gateway) = open().await;
    let client = gateway.client().await;
    let body = question("up/m", json!({}));
    for (name, values) in [
        ("x-gateway-strict", vec!["maybe"]),
        ("x-gateway-strict", vec!["true", "false"]),
        ("x-gateway-no-fallback", vec!["yes please"]),
        ("x-gateway-timeout-ms", vec!["1s"]),
        ("x-gateway-timeout-ms", vec!["100\u{e9}"]),
        ("x-gateway-timeout-ms", vec!["1000", "2000"]),
        ("x-gateway-tags", vec!["team=\u{e9}quipe"]),
        ("x-gateway-tags", vec!["team=a", "team=b"]),
        ("x-gateway-provider-order", vec!["up\u{e9}"]),
    ] {
        let mut request = client.request(&body);
        for value in &values {
            request =
                request.header(name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let answer = Answer::of(request).await;
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.param().as_str()),
            (400, "invalid_header", name),
            "{values:?}: {}",
            answer.text()
        );
    }
    assert_eq!(upstream.connections(), 0);
    for (name, value) in [("x-gateway-strict", "0"), ("x-gateway-no-fallback", "False")] {
        assert_eq!(Answer::of(client.request(&body).header(name, value)).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn methods_that_only_look_are_answered_sensibly() {
    let (upstream, gateway) = open().await;
    let key = gateway.client().await.key;
    for (method, path, statuses, allow) in [
        ("HEAD", "/v1/chat/completions", &[405][..], "POST"),
        ("OPTIONS", "/v1/chat/completions", &[204, 405], "POST"),
        ("DELETE", "/v1/chat/completions", &[405], "POST"),
        ("OPTIONS", "/v1/models", &[204, 405], "GET"),
        ("POST", "/v1/models", &[405], "GET"),
        ("HEAD", "/v1/nothing", &[404], ""),
        ("HEAD", "/health/live", &[200, 405], ""),
        ("BREW", "/v1/chat/completions", &[405], "POST"),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nx-request-id: mine\r\nconnection: close\r\n\r\n"
        );
        let mut stream =
            tokio::net::TcpStream::connect(gateway.url.trim_start_matches("http://")).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer);
        tokio::time::timeout(crate::support::PATIENCE, reading).await.expect("closed in time").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status: u16 = head[9..12].parse().unwrap();
        assert!(statuses.contains(&status), "{method} {path}: {answer}");
        let lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
        if !allow.is_empty() {
            assert!(
                lines
                    .iter()
                    .any(|line| line.starts_with("allow: ") && line.contains(&allow.to_ascii_lowercase())),
                "{method} {path}: {head}"
            );
        }
        if path.starts_with("/v1") {
            assert!(lines.iter().any(|line| line == "x-request-id: mine"), "{method} {path}: {head}");
        }
        // The answer to HEAD has no body; every other refusal has one in the usual shape.
        if method == "HEAD" {
            assert_eq!(body, "", "{method} {path}");
        } else if status >= 400 {
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(json["error"]["message"].is_string() && json["error"]["param"].is_null(), "{json}");
        }
    }
    assert_eq!(upstream.connections(), 0);
}
