//! Answers that are none: cut short, empty, HTML, an error in a 200, other statuses, too much of everything.

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Gateway, Pictures, Reply, Script, Setup, Upstream, chunk, completion, stream_head, whole,
};

/// An answer of any head and body.
fn plain(head: &str, body: &str) -> Script {
    Script::new().send(format!("HTTP/1.1 {head}\r\n\r\n{body}"))
}

/// One upstream with several ways to answer, asked for by number.
struct Faulty {
    upstream: Upstream,
    gateway: Gateway,
    client: Client,
}

impl Faulty {
    async fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        let upstream = Upstream::of(scripts.into_iter().collect()).await;
        let gateway = Gateway::before(&upstream).await;
        let client = gateway.client().await;
        Self { upstream, gateway, client }
    }

    /// What a client is told.
    async fn ask(&self, number: usize, stream: bool) -> Answer {
        self.client.ask(&format!("up/{number}"), json!({"stream": stream})).await
    }

    /// What is booked for it: one row.
    async fn row(&self, answer: &Answer) -> Value {
        let rows = self.gateway.rows_of(answer, 1).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }
}

/// 502, and the upstream's fault.
fn unusable(answer: &Answer, what: &str) {
    let told = (answer.status, answer.json()["error"]["type"].as_str().map(str::to_owned));
    assert_eq!(told, (502, Some("upstream_error".to_owned())), "{what}: {}", answer.text());
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_an_error() {
    let body = completion("hello").to_string();
    let length = body.len();
    let half = &body[..length / 2];
    let json = "content-type: application/json";
    let cases = [
        ("before the head", Script::new().close()),
        ("before the head, by reset", Script::new().reset()),
        ("in the head", Script::new().send("HTTP/1.1 200 OK\r\ncontent-ty").close()),
        ("after the head", plain(&format!("200 OK\r\n{json}\r\ncontent-length: {length}"), "").close()),
        (
            "in a body of known length",
            plain(&format!("200 OK\r\n{json}\r\ncontent-length: {length}"), half).close(),
        ),
        (
            "one byte short",
            plain(&format!("200 OK\r\n{json}\r\ncontent-length: {}", length + 1), &body).close(),
        ),
        (
            "in a chunk",
            plain(
                &format!("200 OK\r\n{json}\r\ntransfer-encoding: chunked"),
                &format!("{length:x}\r\n{half}"),
            )
            .close(),
        ),
        (
            "between chunks",
            plain(
                &format!("200 OK\r\n{json}\r\ntransfer-encoding: chunked"),
                &format!("{:x}\r\n{half}\r\n", half.len()),
            )
            .close(),
        ),
        (
            "in a body of known length, by reset",
            plain(&format!("200 OK\r\n{json}\r\ncontent-length: {length}"), half).reset(),
        ),
    ];
    let faulty = Faulty::new(cases.iter().map(|(_, script)| script.clone())).await;
    for (number, (name, _)) in cases.iter().enumerate() {
        let answer = faulty.ask(number, false).await;
        assert_eq!(answer.status, 502, "{name}: {}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "upstream_error", "{name}");
        assert_eq!(faulty.row(&answer).await["outcome"], "failed", "{name}");
    }
    faulty.gateway.idle().await;
}

#[tokio::test]
async fn an_answer_without_a_length_is_delivered_or_an_error_and_never_empty() {
    let body = completion("hello").to_string();
    let json = "content-type: application/json";
    let endless = [format!("200 OK\r\n{json}"), format!("200 OK\r\n{json}\r\nconnection: close")];
    let faulty = Faulty::new(endless.iter().map(|head| plain(head, &body).close())).await;
    for number in 0..endless.len() {
        let answer = faulty.ask(number, false).await;
        match answer.status {
            200 => assert_eq!(answer.content(), "hello"),
            _ => unusable(&answer, "without a length"),
        }
    }
    let bare = ["200 OK\r\ncontent-length: 0".to_owned(), format!("200 OK\r\n{json}\r\ncontent-length: 0")];
    let heads: Vec<_> = endless.into_iter().chain(bare).collect();
    let faulty = Faulty::new(heads.iter().map(|head| plain(head, "").close())).await;
    for (number, head) in heads.iter().enumerate() {
        for stream in [false, true] {
            unusable(&faulty.ask(number, stream).await, head);
        }
    }
}

#[tokio::test]
async fn a_200_that_is_no_answer_is_an_error_and_costs_nothing() {
    let html = "<html><body>captive portal</body></html>";
    let error = r#"{"error":{"message":"out of capacity","type":"server_error"}}"#;
    let limited = r#"{"error":{"message":"slow down","code":429}}"#;
    let cases = [
        ("text/html", html, 502, "upstream_invalid_response"),
        ("application/json", html, 502, "upstream_invalid_response"),
        ("application/json", error, 502, "upstream_error"),
        ("application/json", limited, 429, "upstream_rate_limited"),
        ("application/json", "{}", 502, "upstream_invalid_response"),
        ("application/json", r#"{"choices":[]}"#, 502, "upstream_invalid_response"),
        ("application/json", r#"{"choices":[{"index":0"#, 502, "upstream_invalid_response"),
        ("application/json", "[]", 502, "upstream_invalid_response"),
        ("application/json", "\u{feff}", 502, "upstream_invalid_response"),
    ];
    let script = |(kind, body, ..): &(&str, &str, u16, &str)| {
        plain(&format!("200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len()), body)
    };
    let faulty = Faulty::new(cases.iter().map(script)).await;
    for (number, (_, body, status, code)) in cases.iter().enumerate() {
        for stream in [false, true] {
            let answer = faulty.ask(number, stream).await;
            let told = (answer.status, answer.code());
            assert_eq!(told, (*status, (*code).to_owned()), "{stream} {body}: {}", answer.text());
            assert!(!answer.text().contains("captive"), "{}", answer.text());
            costs_nothing(&faulty.row(&answer).await);
        }
    }
}

/// A failed attempt of which nothing is booked but that it was.
fn costs_nothing(row: &Value) {
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("failed"), &json!(false)), "{row}");
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(0), &json!(0)), "{row}");
}

#[tokio::test]
async fn an_error_event_before_any_content_costs_nothing() {
    let error = chunk("data: {\"error\":{\"message\":\"out of capacity\"}}\n\n");
    let faulty = Faulty::new([Script::new().send(stream_head()).send(error).send(chunk(""))]).await;
    let answer = faulty.ask(0, true).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_error"));
    costs_nothing(&faulty.row(&answer).await);
}

#[tokio::test]
async fn other_statuses_are_not_answers_and_redirects_are_not_followed() {
    let trap = Upstream::always(Script::new().send(whole(200, &completion("trapped")))).await;
    let location = format!("location: {}/chat/completions\r\ncontent-length: 0", trap.base_url());
    let statuses = [201, 204, 206, 301, 302, 303, 304, 307, 308, 418, 500, 599];
    let script = |status| plain(&format!("{status} X\r\n{location}"), "").close();
    let faulty = Faulty::new(statuses.map(script)).await;
    for (number, status) in statuses.iter().enumerate() {
        for stream in [false, true] {
            let answer = faulty.ask(number, stream).await;
            unusable(&answer, &status.to_string());
            assert_eq!(answer.header("location"), "");
        }
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn what_is_said_before_the_head_is_passed_over_or_an_error() {
    let answer = String::from_utf8(whole(200, &completion("hi"))).unwrap();
    let early = ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"];
    let faulty = Faulty::new(early.map(|early| Script::new().send(format!("{early}{answer}")))).await;
    for (number, early) in early.iter().enumerate() {
        let answer = faulty.ask(number, false).await;
        match answer.status {
            200 => assert_eq!(answer.content(), "hi"),
            _ => unusable(&answer, early),
        }
    }
}

#[tokio::test]
async fn heads_without_end_and_heads_that_are_none_are_errors() {
    let many: String = (0..1_000).map(|at| format!("x-header-{at}: value\r\n")).collect();
    let long = format!("x-long: {}", "v".repeat(1024 * 1024));
    let scripts = [
        plain(&format!("200 OK\r\n{many}content-length: 2"), "{}"),
        plain(&format!("200 OK\r\n{long}"), "{}"),
        Script::new().send("SSH-2.0-OpenSSH_9.6\r\n\r\n").close(),
        Script::new().send(vec![0; 4096]).close(),
        plain("200 OK\r\ncontent-length: 5\r\ncontent-length: 7", "{}xxxxx").close(),
        plain("99999 OK\r\ncontent-length: 2", "{}").close(),
    ];
    let count = scripts.len();
    let faulty = Faulty::new(scripts).await;
    for number in 0..count {
        unusable(&faulty.ask(number, false).await, &number.to_string());
    }
}

#[tokio::test]
async fn what_an_upstream_sends_too_much_is_nobody_elses_answer() {
    let body = completion("mine").to_string();
    let head = format!("200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
    let planted = String::from_utf8(whole(200, &completion("planted"))).unwrap();
    let faulty = Faulty::new([plain(&head, &format!("{body}{planted}"))]).await;
    for _ in 0..5 {
        let answer = faulty.ask(0, false).await;
        assert!(answer.status == 502 || answer.content() == "mine", "{}", answer.text());
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let piece = chunk(vec![b' '; 1024 * 1024]);
    let mut script = plain("200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked", "");
    for _ in 0..70 {
        script = script.send(piece.clone());
    }
    let faulty = Faulty::new([script.until_closed()]).await;
    let answer = faulty.ask(0, false).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid_response"));
    faulty.upstream.all_closed().await;
}

#[tokio::test]
async fn a_provider_over_https_is_spoken_to_in_tls_and_believed_only_with_a_trusted_certificate() {
    let stranger = Pictures::start(|_| Reply::png());
    let base_url = stranger.url("/v1");
    let gateway = Setup::new(format!("providers:\n  up: {{ base_url: '{base_url}' }}\n")).start().await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"), "{}", answer.text());
    assert!(answer.text().contains("TLS handshake failed"), "{}", answer.text());
    assert_eq!((stranger.connections(), stranger.heads().len()), (1, 0));
}
