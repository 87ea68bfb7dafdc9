//! Management: its routes, who may use them, and on which listener.

use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Answer, Gateway, Script, Setup, Upstream, completion, question, raw, whole};

async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let setup = Setup::with_upstream(&upstream)
        .config("  keyed: { base_url: 'https://keyed.test/v1', api_key: 'env:KEYED', headers: { x-extra: very-secret } }\n")
        .config("  literal: { base_url: 'https://literal.test/v1', api_key: sk-literal-secret }\n")
        .config("  bare: { base_url: 'https://bare.test/v1', api_key: 'env:NOT_SET_ANYWHERE' }\n")
        .variable("KEYED", "sk-env-secret");
    let gateway = setup.start().await;
    (upstream, gateway)
}

/// `x-request-id` of [`seen`].
const SEEN: &str = "seen-by-the-tests";

/// Makes a call whose bodies are stored.
async fn seen(gateway: &Gateway) {
    gateway.admin("POST", "/projects", Some(json!({"name": "logged", "request_log": "full"}))).await;
    let client = gateway.client_with(json!({"name": "seen", "project": "logged"})).await;
    let request = client.request(&question("up/m", json!({}))).header("x-request-id", SEEN);
    assert_eq!(Answer::of(request).await.status, 200);
    gateway.counted("llm_gateway_request_log_stored_total", 1.0).await;
}

/// Method and path of every management route, as the gateway describes itself, with a key's id filled in.
async fn routes(gateway: &Gateway, id: &str) -> Vec<(String, String)> {
    let (status, document) = gateway.admin("GET", "/openapi.json", None).await;
    assert_eq!(status, 200);
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let name = if path.starts_with("/tag-sets") { "team%3Dx" } else { "web" };
            let path = path.replace("/requests/{id}", &format!("/requests/{SEEN}"));
            let path = path.replace("{id}", id).replace("{name}", name);
            routes.push((method.to_uppercase(), format!("/admin/v1{path}")));
        }
    }
    routes
}

/// One request, byte for byte.
async fn send(base: &str, method: &str, path: &str, headers: &str, body: &str) -> crate::support::RawAnswer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    raw(base, head.as_bytes()).await
}

#[tokio::test]
async fn the_gateway_describes_the_routes_it_has() {
    let (_upstream, gateway) = start().await;
    let (_, key) = gateway.admin("POST", "/keys", Some(json!({"name": "a"}))).await;
    seen(&gateway).await;
    let routes = routes(&gateway, key["id"].as_str().unwrap()).await;
    for (method, path) in [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", "/keys/{id}"),
        ("PATCH", "/keys/{id}"),
        ("DELETE", "/keys/{id}"),
        ("POST", "/keys/{id}/rotate"),
        ("GET", "/projects"),
        ("POST", "/tag-sets"),
        ("GET", "/usage"),
        ("GET", "/requests"),
        ("GET", "/requests/seen-by-the-tests"),
        ("DELETE", "/requests/seen-by-the-tests/log"),
        ("GET", "/providers"),
        ("GET", "/config"),
        ("GET", "/models"),
        ("GET", "/audit"),
        ("GET", "/openapi.json"),
    ] {
        let path = format!("/admin/v1{}", path.replace("{id}", key["id"].as_str().unwrap()));
        assert!(routes.contains(&(method.to_owned(), path.clone())), "{method} {path} in {routes:?}");
    }
    let bearer = format!("authorization: Bearer {ADMIN_KEY}\r\n");
    let json = format!("{bearer}content-type: application/json\r\n");
    // Revoking comes last, so that the others still find a live key.
    let (last, first): (Vec<_>, Vec<_>) = routes.iter().partition(|route| route.0 == "DELETE");
    for (method, path) in first.into_iter().chain(last) {
        let body = match method.as_str() {
            "POST" if path.ends_with("/explain") => {
                r#"{"model":"up/m","messages":[{"role":"user","content":"x"}]}"#
            }
            "POST" if path.ends_with("/projects") => r#"{"name":"web"}"#,
            "POST" if path.ends_with("/tag-sets") => r#"{"tags":{"team":"x"}}"#,
            "PATCH" if path.contains("/projects/") || path.contains("/tag-sets/") => r#"{"rpm":5}"#,
            "POST" | "PATCH" => r#"{"name":"b"}"#,
            _ => "",
        };
        let answer = send(&gateway.ops, method, path, &json, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        assert!(answer.head.to_lowercase().contains("cache-control: no-store"), "{path}: {}", answer.head);
        let wrong = send(&gateway.ops, "PUT", path, &bearer, "").await;
        assert_eq!((wrong.status, wrong.code().as_str()), (405, "method_not_allowed"), "{path}");
        let allow = wrong.head.lines().find(|line| line.to_lowercase().starts_with("allow:"));
        assert!(allow.is_some_and(|allow| allow.contains(method.as_str())), "{method} {path}: {allow:?}");
    }
}

#[tokio::test]
async fn management_answers_to_the_admin_key_alone_and_on_the_ops_listener_alone() {
    let (upstream, gateway) = start().await;
    let (_, key) = gateway.admin("POST", "/keys", Some(json!({"name": "tenant"}))).await;
    let tenant = key["key"].as_str().unwrap();
    let mut routes = routes(&gateway, key["id"].as_str().unwrap()).await;
    for (method, path) in [
        ("GET", "/admin"),
        ("GET", "/admin/"),
        ("GET", "/admin/v1"),
        ("GET", "/admin/v1/nothing"),
        ("POST", "/admin/v1/projects"),
        ("OPTIONS", "/admin/v1/keys"),
        ("HEAD", "/admin/v1/keys"),
    ] {
        routes.push((method.to_owned(), path.to_owned()));
    }
    let roles = [
        (String::new(), "missing_api_key"),
        ("authorization: \r\n".to_owned(), "missing_api_key"),
        (format!("x-api-key: {ADMIN_KEY}\r\n"), "missing_api_key"),
        ("authorization: Bearer\r\n".to_owned(), "missing_api_key"),
        ("authorization: Bearer wrong\r\n".to_owned(), "invalid_api_key"),
        (format!("authorization: Bearer {tenant}\r\n"), "invalid_api_key"),
        (format!("authorization: Basic {ADMIN_KEY}\r\n"), "invalid_api_key"),
        (format!("authorization: Bearer {ADMIN_KEY}x\r\n"), "invalid_api_key"),
        (format!("authorization: Bearer {}\r\n", &ADMIN_KEY[1..]), "invalid_api_key"),
        (format!("authorization: Bearer {}\r\n", ADMIN_KEY.to_uppercase()), "invalid_api_key"),
    ];
    for (method, path) in &routes {
        for (headers, code) in &roles {
            let answer = send(&gateway.ops, method, path, headers, "").await;
            assert_eq!(answer.status, 401, "{method} {path} with {headers:?}");
            if method != "HEAD" {
                assert_eq!(answer.code(), *code, "{method} {path} with {headers:?}");
            }
        }
        // The public listener has no management, whoever asks.
        for headers in
            [format!("authorization: Bearer {ADMIN_KEY}\r\n"), format!("authorization: Bearer {tenant}\r\n")]
        {
            let answer = send(&gateway.url, method, path, &headers, "").await;
            assert_eq!(answer.status, 404, "{method} {path} on the public listener");
        }
    }
    // And the ops listener has no API, the public one no metrics.
    for path in ["/v1/models", "/v1/models/auto", "/v1/chat/completions"] {
        for key in [tenant, ADMIN_KEY] {
            let answer =
                send(&gateway.ops, "GET", path, &format!("authorization: Bearer {key}\r\n"), "").await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
        }
    }
    let metrics =
        send(&gateway.url, "GET", "/metrics", &format!("authorization: Bearer {ADMIN_KEY}\r\n"), "").await;
    assert_eq!((metrics.status, metrics.code().as_str()), (404, "not_found"));
    assert!(upstream.requests().is_empty());
    // Nothing of all this changed anything.
    assert_eq!(gateway.admin("GET", "/audit", None).await.1["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_the_admin_key() {
    let (_upstream, gateway) = start().await;
    let admin = format!("authorization: Bearer {ADMIN_KEY}\r\n");
    let ops_host = gateway.ops.strip_prefix("http://").unwrap();
    for path in [
        "/admin/v1/keys/",
        "//admin/v1/keys",
        "/admin//v1/keys",
        "/admin/v1//keys",
        "/admin%2fv1%2fkeys",
        "/admin/v1%2Fkeys",
        "/%61dmin/v1/keys",
        "/ADMIN/v1/keys",
        "/admin/V1/keys",
        "/admin/v1/Keys",
        "/./admin/v1/keys",
        "/health/../admin/v1/keys",
        "/health/live/../../admin/v1/keys",
        "/admin/v1/keys;x=1",
        "/admin/v1/keys%00",
        "/admin/v1/keys%20",
        "/admin\\v1\\keys",
        "/admin/v1/keys#x",
        "/metrics/../admin/v1/keys",
        "/v1/../admin/v1/keys",
        "/admin/v1/keys?authorization=Bearer%20admin",
    ] {
        for (base, name) in [(&gateway.ops, "ops"), (&gateway.url, "public")] {
            let answer = send(base, "GET", path, "", "").await;
            assert!(matches!(answer.status, 400 | 401 | 404), "{path} on {name}: {answer:?}");
        }
        let answer = send(&gateway.url, "GET", path, &admin, "").await;
        assert!(matches!(answer.status, 400 | 404), "{path} on public as admin: {answer:?}");
    }
    // Host and absolute form say nothing about who asks.
    for host in ["localhost", "admin", ops_host, "evil.test", "[::1]:9090"] {
        let head = format!(
            "GET /admin/v1/keys HTTP/1.1\r\nhost: {host}\r\nx-forwarded-host: {ops_host}\r\nx-original-url: /admin/v1/keys\r\n\r\n"
        );
        assert_eq!(raw(&gateway.ops, head.as_bytes()).await.status, 401, "{host}");
        assert_eq!(raw(&gateway.url, head.as_bytes()).await.status, 404, "{host}");
    }
    for target in [format!("http://{ops_host}/admin/v1/keys"), "http://evil.test/admin/v1/keys".to_owned()] {
        assert_eq!(send(&gateway.ops, "GET", &target, "", "").await.status, 401, "{target}");
        assert_eq!(send(&gateway.url, "GET", &target, &admin, "").await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn no_spelling_of_any_route_lets_anybody_else_in() {
    let (_upstream, gateway) = start().await;
    let (_, key) = gateway.admin("POST", "/keys", Some(json!({"name": "tenant"}))).await;
    let roles = [
        String::new(),
        format!("authorization: Bearer {}\r\n", key["key"].as_str().unwrap()),
        "authorization: Bearer wrong\r\n".to_owned(),
    ];
    let admin = format!("authorization: Bearer {ADMIN_KEY}\r\n");
    for (method, path) in routes(&gateway, key["id"].as_str().unwrap()).await {
        let spellings = [
            format!("{path}/"),
            path.replacen("/v1/", "//v1/", 1),
            path.replacen("/v1/", "/v1//", 1),
            path.replacen("/v1/", "/v1%2f", 1),
            path.replacen("/admin/", "/%61dmin/", 1),
            path.to_uppercase(),
        ];
        for spelled in spellings {
            for headers in &roles {
                let answer = send(&gateway.ops, &method, &spelled, headers, "").await;
                assert!(
                    matches!(answer.status, 401 | 404),
                    "{method} {spelled} with {headers:?}: {answer:?}"
                );
            }
            // Whatever the admin is answered, it is neither a failure of ours nor on the public listener.
            let answer = send(&gateway.ops, &method, &spelled, &admin, "").await;
            assert!(answer.status < 500, "{method} {spelled}: {answer:?}");
            let answer = send(&gateway.url, &method, &spelled, &admin, "").await;
            assert_eq!(answer.status, 404, "{method} {spelled} on the public listener");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_in_the_shape_of_every_error() {
    let (_upstream, gateway) = start().await;
    let json = format!("authorization: Bearer {ADMIN_KEY}\r\ncontent-type: application/json\r\n");
    let plain = format!("authorization: Bearer {ADMIN_KEY}\r\ncontent-type: text/plain\r\n");
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    for (headers, body, status, param) in [
        (&json, "", 400, None),
        (&json, "{", 400, None),
        (&json, "[1]", 400, None),
        (&json, "{}", 400, Some("name")),
        (&json, r#"{"name":""}"#, 400, Some("name")),
        (&json, r#"{"name":"a","rpm":-1}"#, 400, Some("rpm")),
        (&json, r#"{"name":"a","rpn":1}"#, 400, Some("rpn")),
        (&json, r#"{"name":"a","models":{"allow":"x"}}"#, 400, Some("models.allow")),
        (&json, r#"{"name":"a","expires_at":"2000-01-01T00:00:00Z"}"#, 400, Some("expires_at")),
        (&json, r#"{"name":"a","budget":{"limit_usd":"-5","period":"day"}}"#, 400, Some("budget.limit_usd")),
        (&plain, r#"{"name":"a"}"#, 415, None),
        (&json, large.as_str(), 413, None),
    ] {
        let answer = send(&gateway.ops, "POST", "/admin/v1/keys", headers, body).await;
        let error: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
        assert_eq!((answer.status, error["error"]["param"].as_str()), (status, param), "{body:.80}: {error}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(error["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
    }
    let keys = gateway.admin("GET", "/keys", None).await.1;
    assert_eq!(keys["data"], json!([]), "nothing was made");
    for path in [
        "/usage?from=2030-01-02T00:00:00Z&to=2030-01-01T00:00:00Z",
        "/usage?group_by=colour",
        "/usage?form=x",
        "/keys?limit=0",
        "/audit?cursor=x",
        "/models?cursr=x",
        "/config?x=1",
    ] {
        let (status, error) = gateway.admin("GET", path, None).await;
        assert_eq!(
            (status, &error["error"]["type"]),
            (400, &json!("invalid_request_error")),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_said_to_be_none() {
    let (_upstream, gateway) = start().await;
    for path in ["/nothing", "/projects/a/b", "/tag_sets"] {
        let (status, error) = gateway.admin("GET", path, None).await;
        assert_eq!((status, &error["error"]["code"]), (404, &json!("not_found")), "{path}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains("no such management path"), "{error}");
    }
}

#[tokio::test]
async fn configuration_and_providers_are_shown_without_their_secrets() {
    let (_upstream, gateway) = start().await;
    let (status, config) = gateway.admin("GET", "/config", None).await;
    assert_eq!(
        (status, &config["server"]["body_limit"]),
        (200, &json!("32MiB")),
        "defaults are there: {config}"
    );
    assert_eq!(config["server"]["listen"], "127.0.0.1:0", "the environment's layer is there");
    assert_eq!(config["admin_key"], "***");
    assert_eq!(config["providers"]["keyed"]["api_key"], "env:KEYED");
    assert_eq!(config["providers"]["literal"]["api_key"], "***");
    let (status, providers) = gateway.admin("GET", "/providers", None).await;
    assert_eq!(status, 200);
    let facts: Vec<_> = providers["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|provider| (&provider["id"], &provider["credential"], &provider["has_credential"]))
        .collect();
    assert_eq!(
        json!(facts),
        json!([
            ["bare", "env:NOT_SET_ANYWHERE (not set)", false],
            ["keyed", "env:KEYED", true],
            ["literal", "***", true],
            ["up", "none needed", true],
        ])
    );
    for text in [config.to_string(), providers.to_string(), gateway.process.log()] {
        for secret in ["sk-env-secret", "sk-literal-secret", "very-secret", ADMIN_KEY] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn the_catalogue_is_shown_page_by_page_with_prices_and_their_source() {
    let (_upstream, gateway) = start().await;
    let (mut cursor, mut ids) = (String::new(), Vec::new());
    loop {
        let (status, page) = gateway.admin("GET", &format!("/models?limit=700{cursor}"), None).await;
        assert_eq!(status, 200);
        for model in page["data"].as_array().unwrap() {
            ids.push(model["id"].as_str().unwrap().to_owned());
            for offer in model["offers"].as_array().unwrap() {
                assert!(offer["provider"].is_string() && offer["upstream_model"].is_string(), "{offer}");
                assert!(offer["source"].as_str().is_some_and(|source| !source.is_empty()), "{offer}");
            }
        }
        let priced = page["data"][0]["offers"][0]["price"]["rates"]["input"].as_str();
        assert!(priced.is_some_and(|rate| rate.starts_with("0.")), "decimal strings: {}", page["data"][0]);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(ids.len() > 700, "{} models, so at least two pages", ids.len());
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "each once, in order");
}
