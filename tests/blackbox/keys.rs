//! API keys: who is let in, who is not, and what is kept of a key.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{
    Answer, Client, Gateway, Process, Script, Setup, Upstream, completion, eventually, raw, whole,
};

async fn answering() -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion("hi")))).await
}

/// A gateway, and the JSON that a new key was answered with.
async fn with_key(spec: Value) -> (Upstream, Gateway, Value) {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let (status, made) = gateway.admin("POST", "/keys", Some(spec)).await;
    assert_eq!(status, 201, "{made}");
    (upstream, gateway, made)
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// GET /v1/models with these headers.
async fn knock(gateway: &Gateway, headers: &[(&str, &str)]) -> Answer {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(format!("{}/v1/models/auto", gateway.url));
    for (name, value) in headers {
        request = request.header(*name, reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    Answer::of(request).await
}

/// A text in the form of a key, checksum included, that nobody holds.
fn well_formed() -> String {
    well_formed_of("Ab3")
}

/// One that is made of these three characters.
pub(crate) fn well_formed_of(three: &str) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let body = format!("lgw_{}", three.repeat(14).get(..40).unwrap());
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut check = [0_u8; 6];
    for place in check.iter_mut().rev() {
        *place = DIGITS[rest % 62];
        rest /= 62;
    }
    format!("{body}{}", std::str::from_utf8(&check).unwrap())
}

#[tokio::test]
async fn the_bearer_token_counts_first_and_the_x_api_key_header_second() {
    let (_upstream, gateway, made) = with_key(json!({"name": "a"})).await;
    let key = text(&made, "key");
    let bearer = format!("Bearer {key}");
    let lower = format!("bearer {key}");
    for (headers, status, code) in [
        (vec![], 401, "missing_api_key"),
        (vec![("authorization", "")], 401, "missing_api_key"),
        (vec![("x-api-key", "")], 401, "missing_api_key"),
        (vec![("authorization", bearer.as_str())], 200, ""),
        (vec![("authorization", lower.as_str())], 200, ""),
        (vec![("x-api-key", key.as_str())], 200, ""),
        (vec![("authorization", "Bearer lgw_wrong"), ("x-api-key", key.as_str())], 401, "invalid_api_key"),
        (vec![("authorization", bearer.as_str()), ("x-api-key", "lgw_wrong")], 200, ""),
        (vec![("authorization", "Basic dXNlcjpwYXNz"), ("x-api-key", key.as_str())], 200, ""),
        (vec![("authorization", "Basic dXNlcjpwYXNz")], 401, "invalid_api_key"),
    ] {
        let answer = knock(&gateway, &headers).await;
        let found = if answer.status == 200 { String::new() } else { answer.code() };
        assert_eq!((answer.status, found.as_str()), (status, code), "{headers:?}");
        if status == 401 {
            assert_eq!(answer.json()["error"]["type"], "authentication_error");
        }
    }
}

#[tokio::test]
async fn every_key_that_is_not_valid_gets_the_same_answer() {
    let (_upstream, gateway, made) = with_key(json!({"name": "to be rotated"})).await;
    let rotated = text(&made, "key");
    let path = format!("/keys/{}/rotate", text(&made, "id"));
    assert_eq!(gateway.admin("POST", &path, None).await.0, 200);
    let revoked = gateway.admin("POST", "/keys", Some(json!({"name": "to be revoked"}))).await.1;
    gateway.admin("DELETE", &format!("/keys/{}", text(&revoked, "id")), None).await;
    let soon = time::OffsetDateTime::now_utc() + Duration::from_millis(300);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).unwrap();
    let expiring = gateway.admin("POST", "/keys", Some(json!({"name": "e", "expires_at": soon}))).await.1;
    let expired = text(&expiring, "key");
    let client = Client::new(&gateway.url, &expired);
    eventually("the key expires", || async {
        (client.get("/v1/models/auto").await.status == 401).then_some(())
    })
    .await;
    let long = format!("lgw_{}", "a".repeat(60_000));
    let unknown = well_formed();
    let typo = format!("{}x", &unknown[..49]);
    let presented = [
        unknown.as_str(),
        typo.as_str(),
        &rotated,
        &text(&revoked, "key"),
        &expired,
        &long,
        "lgw_",
        "sk-proj-of-another-vendor",
        "' OR '1'='1' --",
        "x'; DROP TABLE keys; --",
        "lgw_\u{e9}\u{fc}\u{4e2d}",
    ];
    let mut answers = Vec::new();
    for key in presented {
        let bearer = format!("Bearer {key}");
        for headers in [[("authorization", bearer.as_str())], [("x-api-key", key)]] {
            let answer = knock(&gateway, &headers).await;
            assert_eq!(answer.status, 401, "{key:.60}");
            answers.push(answer.text().to_owned());
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all: {answers:#?}");
    assert!(answers[0].contains("invalid_api_key"));
    // Nothing of what was presented is in the log.
    let log = gateway.process.log();
    for key in presented.iter().filter(|key| key.len() > 20) {
        assert!(!log.contains(&key[4..20]), "{log}");
    }
}

#[tokio::test]
async fn a_key_of_a_megabyte_is_refused_and_the_gateway_serves_on() {
    let (_upstream, gateway, made) = with_key(json!({"name": "a"})).await;
    let key = "k".repeat(1 << 20);
    let head = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
    let answer = raw(&gateway.url, head.as_bytes()).await;
    assert!((400..500).contains(&answer.status), "{}", answer.head);
    let client = Client::new(&gateway.url, &text(&made, "key"));
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
}

#[tokio::test]
async fn the_key_is_checked_before_the_body_is_read() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    for (authorization, code) in
        [("", "missing_api_key"), ("authorization: Bearer lgw_nobody\r\n", "invalid_api_key")]
    {
        // The body is announced and never sent; a gateway that reads it first would wait for it.
        for framing in ["content-length: 1000000", "transfer-encoding: chunked"] {
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{authorization}content-type: application/json\r\n{framing}\r\n\r\n"
            );
            let asked = Instant::now();
            let answer = raw(&gateway.url, head.as_bytes()).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, code), "{framing}: {answer:?}");
            assert!(asked.elapsed() < Duration::from_secs(5), "{framing}: {:?}", asked.elapsed());
        }
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_key_has_its_form_and_only_its_digest_and_first_characters_are_stored() {
    let (_upstream, gateway, made) = with_key(json!({"name": "a", "project": "p"})).await;
    let (key, id) = (text(&made, "key"), text(&made, "id"));
    let random = key.strip_prefix("lgw_").unwrap_or_else(|| panic!("{key}"));
    assert!(random.len() > 40 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    assert_eq!(made["prefix"], key[..8]);
    // Shown once: no other answer holds it.
    for path in ["/keys", &format!("/keys/{id}"), "/audit"] {
        let (status, body) = gateway.admin("GET", path, None).await;
        assert_eq!(status, 200);
        assert!(!body.to_string().contains(&key[8..]), "{path}: {body}");
    }
    let client = Client::new(&gateway.url, &key);
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    gateway.ledger(1).await;
    assert!(!gateway.process.log().contains(&key[8..]) && !gateway.metrics().await.contains(&key[8..]));

    let digest = Sha256::digest(key.as_bytes()).to_vec();
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let (mut files, mut digests) = (0, 0);
    let data = gateway.folder().join("data");
    let entries = [data.clone(), data.join("journal")].map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.is_file()) {
        // A segment of the journal goes away once it is settled.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        assert!(!contains(&bytes, &key.as_bytes()[8..]), "a file holds more than the first 8 characters");
        files += 1;
        digests += usize::from(contains(&bytes, &digest));
    }
    assert!(files > 0 && digests > 0, "{files} files, {digests} with the digest");
}

#[tokio::test]
async fn keys_are_made_listed_read_changed_rotated_and_revoked() {
    let upstream = answering().await;
    let gateway = Gateway::before(&upstream).await;
    let spec = json!({
        "name": "search", "project": "web", "expires_at": "2099-01-31T10:00:00+01:00",
        "models": {"allow": ["up/*"], "deny": ["up/secret*"]}, "rpm": 100, "tpm": 100_000, "concurrency": 4,
        "tags": {"team": "search"}
    });
    let (status, made) = gateway.admin("POST", "/keys", Some(spec.clone())).await;
    assert_eq!(status, 201, "{made}");
    for name in ["name", "project", "models", "rpm", "tpm", "concurrency", "tags"] {
        assert_eq!(made[name], spec[name], "{name}");
    }
    assert_eq!(made["expires_at"], "2099-01-31T09:00:00.000Z");
    let (key, id) = (text(&made, "key"), text(&made, "id"));
    let path = format!("/keys/{id}");
    let (status, read) = gateway.admin("GET", &path, None).await;
    assert_eq!((status, &read["id"], read.get("key")), (200, &made["id"], None));
    let list = gateway.admin("GET", "/keys", None).await.1;
    assert_eq!((&list["data"][0], &list["next_cursor"]), (&read, &Value::Null));

    let (status, patched) =
        gateway.admin("PATCH", &path, Some(json!({"rpm": null, "tags": {"team": "ads"}}))).await;
    assert_eq!((status, &patched["rpm"], &patched["tags"]["team"]), (200, &Value::Null, &json!("ads")));
    assert_eq!(patched["tpm"], 100_000, "what is not named stays");

    let (status, rotated) = gateway.admin("POST", &format!("{path}/rotate"), None).await;
    assert_eq!((status, &rotated["id"]), (200, &made["id"]));
    let new = text(&rotated, "key");
    assert_ne!(new, key);
    assert_eq!(Client::new(&gateway.url, &key).get("/v1/models").await.status, 401);
    assert_eq!(Client::new(&gateway.url, &new).get("/v1/models").await.status, 200);

    let (status, revoked) = gateway.admin("DELETE", &path, None).await;
    assert_eq!(status, 200, "{revoked}");
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(Client::new(&gateway.url, &new).get("/v1/models").await.status, 401);
    for (method, path, body) in
        [("PATCH", path.clone(), Some(json!({"rpm": 1}))), ("POST", format!("{path}/rotate"), None)]
    {
        let (status, error) = gateway.admin(method, &path, body).await;
        assert_eq!((status, &error["error"]["type"]), (409, &json!("conflict_error")));
    }
    assert_eq!(gateway.admin("GET", "/keys/key_00000000000000000000000000", None).await.0, 404);

    let audit = gateway.admin("GET", "/audit", None).await.1;
    let actions: Vec<_> = audit["data"].as_array().unwrap().iter().map(|row| text(row, "action")).collect();
    assert_eq!(actions, ["key.revoke", "key.rotate", "key.update", "key.create", "project.create"]);
    let update = &audit["data"][2];
    assert_eq!((&update["before"]["rpm"], &update["after"]["rpm"]), (&json!(100), &Value::Null));
    assert!(text(update, "actor").starts_with("admin") && update["object"] == id.as_str());
}

#[tokio::test]
async fn keys_of_the_command_line_hold_in_a_running_gateway_within_five_seconds() {
    let upstream = answering().await;
    let gateway = Setup::with_upstream(&upstream).start().await;
    let run = |arguments: &[&str]| {
        let mut all = vec!["keys"];
        all.extend(arguments);
        all.extend(["--config", "gateway.yaml"]);
        let output = Process::run(&all, gateway.folder(), &[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.out
    };
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{text}"))
            .trim()
            .to_owned()
    };
    let made = run(&["create", "from the terminal", "--rpm", "1000"]);
    let (key, id) = (field(&made, "key "), field(&made, "id "));
    let client = Client::new(&gateway.url, &key);
    let status = |wanted: u16| {
        let client = &client;
        async move {
            let began = Instant::now();
            eventually("the gateway follows", || async {
                (client.get("/v1/models/auto").await.status == wanted).then_some(())
            })
            .await;
            began.elapsed()
        }
    };
    let taken = status(200).await;
    assert!(taken < Duration::from_secs(5), "a new key works after {taken:?}");
    let listed = run(&["list"]);
    assert!(listed.contains(&id) && listed.contains("live") && !listed.contains(&key), "{listed}");
    run(&["revoke", &id]);
    let taken = status(401).await;
    assert!(taken < Duration::from_secs(5), "a revoked key is refused after {taken:?}");
    assert!(run(&["list"]).contains("revoked"));
    let output =
        Process::run(&["keys", "revoke", "key_0", "--config", "gateway.yaml"], gateway.folder(), &[]);
    assert_eq!((output.code, output.err.lines().count()), (Some(1), 1), "{output:?}");
    assert_eq!(gateway.admin("GET", "/audit", None).await.1["data"][0]["actor"], "cli");
}
