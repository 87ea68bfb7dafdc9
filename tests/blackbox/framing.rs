//! Requests whose end two readers could see at different places, and requests that come too slowly.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Gateway, PATIENCE, Script, Setup, Upstream, completion, question, raw, try_raw, whole};

const BODY: &str = r#"{"model":"up/m","messages":[{"role":"user","content":"hello"}]}"#;

async fn answering() -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion("hi")))).await
}

#[tokio::test]
async fn a_request_with_two_possible_ends_is_never_served() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let key = &client.key;
    let length = BODY.len();
    let chunked = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
    let line = "POST /v1/chat/completions HTTP/1.1\r\n";
    let common = format!("authorization: Bearer {key}\r\ncontent-type: application/json\r\n");
    let good = format!("{line}host: x\r\n{common}content-length: {length}\r\n\r\n{BODY}");
    assert_eq!(raw(&gateway.url, good.as_bytes()).await.status, 200);
    let heads = [
        (
            "length and chunked",
            format!("host: x\r\ncontent-length: {length}\r\ntransfer-encoding: chunked"),
            &chunked[..],
        ),
        (
            "chunked and length",
            format!("host: x\r\ntransfer-encoding: chunked\r\ncontent-length: {length}"),
            &chunked,
        ),
        ("two lengths", format!("host: x\r\ncontent-length: {length}\r\ncontent-length: 5"), BODY),
        ("a list of lengths", format!("host: x\r\ncontent-length: {length}, 5"), BODY),
        ("a length with a sign", format!("host: x\r\ncontent-length: +{length}"), BODY),
        ("a negative length", "host: x\r\ncontent-length: -1".to_owned(), BODY),
        ("a length in hex", format!("host: x\r\ncontent-length: 0x{length:x}"), BODY),
        ("a length out of range", "host: x\r\ncontent-length: 99999999999999999999999".to_owned(), BODY),
        ("another coding", "host: x\r\ntransfer-encoding: xchunked".to_owned(), &chunked),
        ("chunked is not last", "host: x\r\ntransfer-encoding: chunked, identity".to_owned(), &chunked),
        (
            "chunked twice",
            "host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked".to_owned(),
            &chunked,
        ),
        ("a space before the colon", "host: x\r\ntransfer-encoding : chunked".to_owned(), &chunked),
        ("a tab in the value", "host: x\r\ntransfer-encoding:\tchu\tnked".to_owned(), &chunked),
        ("a folded line", format!("host: x\r\ncontent-length: {length}\r\nx-a: b\r\n c"), BODY),
        ("a NUL in a value", format!("host: x\r\ncontent-length: {length}\r\nx-a: b\0c"), BODY),
        ("a CR in a value", format!("host: x\r\ncontent-length: {length}\r\nx-a: b\rc"), BODY),
        ("an upgrade", format!("host: x\r\nupgrade: websocket\r\ncontent-length: {length}"), BODY),
        ("no host", format!("content-length: {length}"), BODY),
        ("two hosts", format!("host: x\r\nhost: y\r\ncontent-length: {length}"), BODY),
        ("a bad chunk size", "host: x\r\ntransfer-encoding: chunked".to_owned(), "zz\r\nabc\r\n0\r\n\r\n"),
        (
            "a huge chunk size",
            "host: x\r\ntransfer-encoding: chunked".to_owned(),
            "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        ),
    ];
    let mut served = Vec::new();
    for (name, head, body) in heads {
        let request = format!("{line}{head}\r\n{common}connection: close\r\n\r\n{body}");
        let status = try_raw(&gateway.url, request.as_bytes()).await.map_or(0, |answer| answer.status);
        if !matches!(status, 0 | 400..500) {
            served.push((name, status));
        }
    }
    assert_eq!(served, []);
    assert_eq!(upstream.requests().len(), 1);
    gateway.idle().await;
}

/// A connection that has sent this much.
async fn begun(base: &str, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// What a connection says until it is closed.
async fn until_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_or_a_body_that_does_not_come_is_not_waited_for() {
    let upstream = answering().await;
    let gateway = Setup::with_upstream(&upstream)
        .variable("LLM_GATEWAY__SERVER__HEAD_TIMEOUT", "1s")
        .variable("LLM_GATEWAY__SERVER__BODY_TIMEOUT", "300ms")
        .start()
        .await;
    let client = gateway.client().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        client.key
    );
    let slow_head = begun(&gateway.url, "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: ").await;
    let slow_body = begun(&gateway.url, &format!("{head}content-length: 100\r\n\r\n{{\"model\"")).await;
    let slow_chunks =
        begun(&gateway.url, &format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{\"mod\r\n")).await;
    // Others are served meanwhile.
    let answer = tokio::time::timeout(Duration::from_secs(5), client.ask("up/m", json!({}))).await;
    assert_eq!(answer.expect("served at once").status, 200);
    for body in [slow_body, slow_chunks] {
        let answer = until_closed(body).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request_timeout\""), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("x-request-id: "), "{answer}");
    }
    let answer = until_closed(slow_head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    gateway.idle().await;
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_broken_off_reaches_nobody() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        client.key
    );
    let body = question("up/m", json!({})).to_string();
    let length = body.len();
    for rest in [
        format!("content-length: {}\r\n\r\n{body}", length + 1),
        format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n"),
    ] {
        drop(begun(&gateway.url, &format!("{head}{rest}")).await);
        gateway.idle().await;
    }
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_request_whose_body_never_ends_is_not_kept() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let key = gateway.client().await.key;
    let chunks = "transfer-encoding: chunked\r\n\r\n5\r\n{\"mod\r\n";
    for (name, head, status) in [
        ("no key", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n".to_owned(), 401),
        (
            "no JSON",
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"),
            415,
        ),
        ("models", "GET /v1/models HTTP/1.1\r\nhost: x\r\n".to_owned(), 401),
        ("no such path", "POST /v1/nothing HTTP/1.1\r\nhost: x\r\n".to_owned(), 404),
        ("no such method", "PUT /v1/chat/completions HTTP/1.1\r\nhost: x\r\n".to_owned(), 405),
    ] {
        let answer = until_closed(begun(&gateway.url, &format!("{head}{chunks}")).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
}

#[tokio::test]
async fn nothing_behind_an_ambiguous_request_is_taken_for_another_one() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let key = gateway.client().await.key;
    let line = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n";
    let common = format!("authorization: Bearer {key}\r\ncontent-type: application/json\r\n");
    let length = BODY.len();
    let hidden = format!("{line}{common}content-length: {length}\r\n\r\n{BODY}");
    let chunked = format!("{length:x}\r\n{BODY}\r\n0\r\n\r\n");
    let old = line.replace("1.1", "1.0");
    for (name, request) in [
        (
            "length first",
            format!("{line}{common}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunked first",
            format!(
                "{line}{common}transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{chunked}{hidden}"
            ),
        ),
        (
            "two lengths",
            format!("{line}{common}content-length: 0\r\ncontent-length: {length}\r\n\r\n{BODY}{hidden}"),
        ),
        ("an unknown coding", format!("{line}{common}transfer-encoding: x\r\n\r\n{chunked}{hidden}")),
        (
            "chunked before its time",
            format!("{old}{common}transfer-encoding: chunked\r\n\r\n{chunked}{hidden}"),
        ),
        ("a folded length", format!("{line}{common}content-length:\r\n {length}\r\n\r\n{BODY}{hidden}")),
        (
            "bare line feeds",
            format!(
                "{line}{common}x-a: b\ntransfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{BODY}{hidden}"
            ),
        ),
        (
            "no end of a chunk",
            format!("{line}{common}transfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n{hidden}"),
        ),
        ("a negative chunk", format!("{line}{common}transfer-encoding: chunked\r\n\r\n-1\r\n{hidden}")),
    ] {
        let said = until_closed(begun(&gateway.url, &request).await).await;
        assert!(!said.contains("HTTP/1.1 200") && !said.contains("HTTP/1.0 200"), "{name}: {said}");
        assert_eq!(said.matches("HTTP/1.").count().max(1), 1, "{name}: {said}");
    }
    assert_eq!(upstream.requests().len(), 0);
    gateway.idle().await;
}

#[tokio::test]
async fn a_body_that_trickles_has_the_same_time_as_one_that_does_not_come() {
    let upstream = answering().await;
    let gateway =
        Setup::with_upstream(&upstream).variable("LLM_GATEWAY__SERVER__BODY_TIMEOUT", "300ms").start().await;
    let client = gateway.client().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n",
        client.key
    );
    let (mut reader, mut writer) = begun(&gateway.url, &head).await.into_split();
    // A byte well within the limit, again and again: it is the whole body that has the limit.
    let dripping = tokio::spawn(async move {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answer)).await.expect("closed in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"request_timeout\""), "{answer}");
    dripping.await.unwrap();
    assert_eq!(upstream.connections(), 0);
    gateway.idle().await;
}
