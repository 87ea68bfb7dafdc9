//! What must never cross: addresses and credentials in a body, a client's headers, an upstream's cookies, and
//! secrets into logs, metrics and error texts.

use serde_json::json;

use crate::support::{Answer, Gateway, Request, Script, Setup, Upstream, completion, question, whole};

const CREDENTIAL: &str = "canary-credential-of-the-operator";
const PROMPT: &str = "canary-prompt-of-the-client";

/// A provider `up` with a credential, and one more header that holds a secret.
fn keyed(upstream: &Upstream) -> Setup {
    Setup::new(format!(
        "providers:\n  up: {{ base_url: '{}', api_key: 'env:UP_KEY', headers: {{ x-account: 'env:UP_ACCOUNT' }} }}\n",
        upstream.base_url()
    ))
    .variable("UP_KEY", CREDENTIAL)
    .variable("UP_ACCOUNT", "canary-account-of-the-operator")
    .variable("LLM_GATEWAY__LOG__LEVEL", "trace")
}

#[tokio::test]
async fn addresses_and_credentials_in_a_body_are_unknown_fields_and_nothing_else() {
    let trap = Upstream::always(Script::new().send(whole(200, &completion("trapped")))).await;
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = keyed(&up).start().await;
    let address = trap.base_url();
    let planted = json!({
        "base_url": address, "api_base": address, "api_key": "sk-mine", "host": address, "url": address,
        "endpoint": address, "proxy": address, "organization": "x", "extra_headers": {"authorization": "Bearer mine"},
        "headers": {"host": address}, "provider": {"base_url": address}, "credentials": {"api_key": "sk-mine"},
        "vertex_project": "x", "aws_access_key_id": "x", "custom_llm_provider": "openai", "api_version": "x"
    });
    let answer = gateway.client().await.ask("up/m", planted.clone()).await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "hi"));
    let sent = up.last();
    assert_eq!(sent.json(), question("m", planted));
    assert_eq!(sent.header("authorization"), Some(format!("Bearer {CREDENTIAL}").as_str()));
    assert_eq!(
        sent.header("host"),
        Some(up.base_url().trim_start_matches("http://").trim_end_matches("/v1"))
    );
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn no_header_of_the_client_goes_upstream() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = keyed(&up).start().await;
    let client = gateway.client().await;
    let request = client
        .request(&question("up/m", json!({})))
        .header("cookie", "session=canary-cookie")
        .header("x-api-key", "canary-second-key")
        .header("proxy-authorization", "Basic canary")
        .header("te", "trailers")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "canary-hop")
        .header("keep-alive", "timeout=5")
        .header("upgrade", "h2c")
        .header("x-forwarded-for", "10.1.2.3")
        .header("forwarded", "for=10.1.2.3")
        .header("x-forwarded-host", "canary-host")
        .header("openai-organization", "canary-org")
        .header("x-account", "canary-account")
        .header("accept-encoding", "gzip")
        .header("expect", "nothing")
        .header("x-gateway-tags", "team=canary-tag")
        .header("x-gateway-provider-order", "canary-order")
        .header("x-gateway-unknown", "canary-unknown")
        .header("idempotency-key", "canary-idempotency")
        .header("user-agent", "canary-agent")
        .header("x-stainless-lang", "canary-sdk")
        .header("x-real-ip", "canary-ip")
        .header("via", "1.1 canary-proxy")
        .header("origin", "https://canary.example")
        .header("referer", "https://canary.example")
        .header("traceparent", "00-canary")
        .header("baggage", "canary=1")
        .header("trailer", "x-canary")
        .header("x-request-id", "canary-id");
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let head = up.last().head;
    let mut names: Vec<String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    let expected = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-account",
    ];
    names.retain(|name| name != "date" && name != "connection");
    assert_eq!(names, expected, "{head}");
    assert!(
        !head
            .replace("canary-credential-of-the-operator", "")
            .replace("canary-account-of-the-operator", "")
            .contains("canary"),
        "{head}"
    );
    assert!(!head.contains(&client.key) && head.contains("accept-encoding: identity"), "{head}");
}

#[tokio::test]
async fn no_header_of_an_upstream_comes_back() {
    let body = completion("hi").to_string();
    let script = Script::new().send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nset-cookie: a=canary\r\nset-cookie: b=canary\r\nserver: canary\r\nx-request-id: canary\r\nopenai-organization: canary\r\nx-ratelimit-remaining-requests: 4711\r\nwww-authenticate: canary\r\nx-gateway-provider: canary\r\n\r\n{body}",
        body.len()
    ));
    let refused = Script::new().send(
        "HTTP/1.1 401 X\r\nset-cookie: a=canary\r\nwww-authenticate: canary\r\ncontent-length: 0\r\n\r\n",
    );
    let events = Script::new()
        .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; canary=1\r\ntransfer-encoding: chunked\r\nset-cookie: a=canary\r\ntrailer: canary\r\nopenai-processing-ms: 4711\r\nalt-svc: canary\r\n\r\n")
        .send(crate::support::chunk(crate::support::text_event("hi") + &crate::support::ending()))
        .send("0\r\nx-late: canary\r\n\r\n");
    for (script, stream) in [(script, false), (refused.clone(), false), (events, true), (refused, true)] {
        let up = Upstream::always(script).await;
        let gateway = keyed(&up).start().await;
        let answer = gateway.client().await.ask("up/m", json!({"stream": stream})).await;
        let shown = format!("{:?}", answer.headers);
        assert!(!shown.contains("canary") && !shown.contains("4711"), "{shown}");
        assert_eq!(answer.header("set-cookie"), "");
    }
}

/// An upstream that repeats what it was told wherever it can.
fn parrot(request: &Request) -> Script {
    let told = format!(
        "key={} account:{} said {}",
        request.header("authorization").unwrap_or(""),
        request.header("x-account").unwrap_or(""),
        String::from_utf8_lossy(&request.body)
    );
    let error = json!({"error": {"message": told, "type": told, "code": told, "param": told}});
    match request.json()["model"].as_str().unwrap() {
        "in-200" => Script::new().send(whole(200, &error)),
        "text" => Script::new().send(whole(500, &json!(told))),
        "event" => Script::new()
            .send(crate::support::stream_head())
            .send(crate::support::chunk(crate::support::text_event("a") + &format!("data: {error}\n\n")))
            .send(crate::support::chunk("")),
        status => Script::new().send(whole(status.parse().unwrap(), &error)),
    }
}

#[tokio::test]
async fn secrets_are_in_no_log_no_metric_and_no_error() {
    let up = Upstream::start(parrot).await;
    let mut gateway = keyed(&up).start().await;
    let client = gateway.client().await;
    for model in ["400", "401", "403", "404", "422", "429", "500", "503", "in-200", "text", "event"] {
        let mut body = question(&format!("up/{model}"), json!({"stream": model == "event"}));
        body["messages"][0]["content"] = json!(PROMPT);
        let request =
            client.request(&body).header("cookie", "canary-cookie").header("x-api-key", "canary-second-key");
        let answer = Answer::of(request).await;
        let text = format!("{} {:?}", answer.text(), answer.headers);
        for secret in [CREDENTIAL, "canary-account", "canary-cookie", "canary-second-key", &client.key] {
            assert!(!text.contains(secret), "{model}: {secret} in {text}");
        }
    }
    // Management takes secrets, too, and refuses some.
    for key in [crate::support::ADMIN_KEY, "canary-admin-guess", &client.key] {
        for body in [json!({"name": "canary-name"}), json!({"name": {"canary": key}})] {
            let request = reqwest::Client::new().post(format!("{}/admin/v1/keys", gateway.ops));
            let answer = Answer::of(request.bearer_auth(key).json(&body)).await;
            let text = answer.text();
            assert!(!text.contains(crate::support::ADMIN_KEY) && !text.contains(&client.key), "{text}");
        }
    }
    // The request itself may be wrong in a place that holds the prompt.
    let broken = format!(r#"{{"model":"up/400","messages":[{{"role":"{PROMPT}","content":5}}], "{PROMPT}"#);
    assert_eq!(Answer::of(client.raw(broken)).await.status, 400);
    gateway.idle().await;
    let metrics = gateway.metrics().await;
    assert_eq!(gateway.stop().await, Some(0));
    let log = gateway.process.log();
    assert!(log.contains("attempt failed"), "{log}");
    for secret in ["canary-", &client.key, &client.key[12..], crate::support::ADMIN_KEY] {
        assert!(!metrics.contains(secret), "{secret} in the metrics");
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test]
async fn nobody_comes_in_by_default() {
    let up = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Gateway::before(&up).await;
    for key in ["", "sk-1234", "admin", "changeme", "admin-key-of-the-tests", "lgw_"] {
        let client = crate::support::Client::new(&gateway.url, key);
        assert_eq!(client.ask("up/m", json!({})).await.status, 401, "{key:?}");
        let admin = reqwest::Client::new().get(format!("{}/admin/v1/keys", gateway.ops)).bearer_auth(key);
        let status = admin.send().await.unwrap().status().as_u16();
        assert_eq!(status, if key == "admin-key-of-the-tests" { 200 } else { 401 }, "{key:?}");
    }
    assert_eq!(up.connections(), 0);
}
