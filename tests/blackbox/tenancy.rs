//! What must never cross: headers and credentials, in either direction.

use serde_json::json;

use crate::support::{ADMIN_KEY, Answer, Script, Setup, Upstream, completion, question, whole};

#[tokio::test]
async fn a_body_cannot_steer_where_a_request_goes_or_with_what() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let row =
        format!("providers:\n  up: {{ base_url: '{}', api_key: sk-of-the-operator }}\n", upstream.base_url());
    let gateway = Setup::new(row).start().await;
    let fields = json!({"base_url": "http://127.0.0.1:1/v1", "api_base": "http://127.0.0.1:1", "host": "evil",
        "api_key": "sk-evil", "headers": {"authorization": "Bearer evil"}, "extra_headers": {"x-evil": "1"}});
    let answer = gateway.client().await.ask("up/m", fields.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.last();
    assert_eq!(sent.header("authorization"), Some("Bearer sk-of-the-operator"));
    assert_eq!(sent.header("x-evil"), None);
    assert_eq!(sent.json()["base_url"], fields["base_url"], "unknown fields are data and go on");
}

#[tokio::test]
async fn a_clients_headers_never_go_upstream_and_an_upstreams_never_come_back() {
    let reply = completion("hi").to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: session=up\r\nx-up-secret: 1\r\nserver: up\r\nopenai-organization: org-x\r\ncontent-length: {}\r\n\r\n{reply}",
        reply.len()
    );
    let upstream = Upstream::always(Script::new().send(head)).await;
    let gateway = Setup::with_upstream(&upstream).start().await;
    let client = gateway.client().await;
    let mut request = client.request(&question("up/m", json!({})));
    let sent_by_client = [
        "cookie",
        "x-api-key",
        "x-forwarded-for",
        "forwarded",
        "te",
        "proxy-authorization",
        "x-gateway-tags",
        "openai-organization",
        "origin",
        "referer",
    ];
    for name in sent_by_client {
        request =
            request.header(name, if name == "x-gateway-tags" { "a=canary-header" } else { "canary-header" });
    }
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = upstream.last();
    assert!(!sent.head.contains("canary-header"), "{}", sent.head);
    assert_eq!(sent.header("authorization"), None, "the row has no credential, and the client's is not one");
    assert!(!sent.head.contains(&client.key));
    for name in ["set-cookie", "x-up-secret", "server", "openai-organization"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn no_secret_and_no_prompt_reaches_a_log_a_metric_or_an_error() {
    let refusal = json!({"error": {"message": "Incorrect API key provided: sk-canary-of-the-provider. Bearer sk-canary-of-the-provider"}});
    let upstream = Upstream::start(move |request| {
        let status = if request.number % 2 == 0 { 401 } else { 500 };
        Script::new().send(whole(status, &refusal))
    })
    .await;
    let row = format!(
        "providers:\n  up: {{ base_url: '{}', api_key: sk-canary-of-the-provider }}\n",
        upstream.base_url()
    );
    let gateway = Setup::new(row).variable("LLM_GATEWAY__LOG__LEVEL", "trace").start().await;
    let client = gateway.client().await;
    let mut said = String::new();
    for _ in 0..4 {
        let body = json!({"model": "up/m", "messages": [{"role": "user", "content": "canary-prompt"}]});
        let answer = client.chat(&body).await;
        assert_eq!(answer.status, 502);
        said.push_str(answer.text());
    }
    said.push_str(client.get("/v1/models").await.text());
    said.push_str(&gateway.metrics().await);
    said.push_str(&gateway.process.log());
    for canary in
        ["sk-canary-of-the-provider", "canary-prompt", client.key.as_str(), ADMIN_KEY, "127.0.0.1:1/"]
    {
        assert!(!said.contains(canary), "{canary}");
    }
}

#[tokio::test]
async fn an_upstreams_refusal_of_our_credential_is_never_the_clients_401() {
    for status in [401, 402, 403] {
        let upstream =
            Upstream::always(Script::new().send(whole(status, &json!({"error": {"message": "no"}})))).await;
        let gateway = Setup::with_upstream(&upstream).start().await;
        let answer = gateway.client().await.ask("up/m", json!({})).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_auth"));
        assert_eq!(answer.header("x-should-retry"), "false");
        assert_eq!(answer.json()["error"]["type"], "upstream_error");
        assert_eq!(answer.json()["metadata"]["used_provider"], "up");
    }
}
