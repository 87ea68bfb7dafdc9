//! The status page of the ops listener, what its numbers are, and who may call the API from a browser.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::{Gateway, Script, Setup, Upstream, completion, eventually, question, whole};

const ALLOWED: &str = "https://app.test";
const EVIL: &str = "https://evil.test";

async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let setup = Setup::with_upstream(&upstream).config("server: { cors_origins: ['https://app.test'] }\n");
    let gateway = setup.start().await;
    (upstream, gateway)
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// What a browser reads of an answer before a page may have it.
fn of_cors(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("access-control-")).collect()
}

async fn preflight(gateway: &Gateway, path: &str, origin: &str) -> reqwest::Response {
    let request = reqwest::Client::new()
        .request(reqwest::Method::OPTIONS, format!("{}{path}", gateway.url))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-os");
    request.send().await.unwrap()
}

#[tokio::test]
async fn the_page_and_its_files_are_served_with_a_strict_policy_and_need_no_key() {
    let (_upstream, gateway) = start().await;
    let http = reqwest::Client::new();
    let page = http.get(format!("{}/", gateway.ops)).send().await.unwrap();
    let policy = header(page.headers(), "content-security-policy").unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(policy.contains(&format!("connect-src 'self' {};", gateway.url)), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    let html = page.text().await.unwrap();
    let files: Vec<&str> = html
        .split(['"'])
        .filter(|text| text.starts_with("/status/"))
        .chain(["/status/api.js", "/status/view.js", "/status/overview.js", "/status/keys.js"])
        .chain(["/status/playground.js"])
        .collect();
    assert_eq!(files.len(), 8, "{files:?}");
    for path in files {
        let url = format!("{}{path}", gateway.ops);
        let file = http.get(&url).send().await.unwrap();
        assert_eq!(file.status(), 200, "{path}");
        assert_eq!(header(file.headers(), "x-content-type-options"), Some("nosniff"));
        let tag = header(file.headers(), "etag").unwrap().to_owned();
        let again = http.get(&url).header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
        let posted = http.post(&url).send().await.unwrap();
        assert_eq!((posted.status().as_u16(), header(posted.headers(), "allow")), (405, Some("GET, HEAD")));
    }
    let public = http.get(format!("{}/", gateway.url)).send().await.unwrap();
    assert_eq!(public.status(), 404, "the page is on the ops listener only");
}

#[tokio::test]
async fn the_status_counts_what_ended_in_the_last_minute() {
    let (_upstream, gateway) = start().await;
    let client = gateway.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    }
    assert_eq!(client.ask("up/m", json!({"messages": 1})).await.status, 400);
    let status = eventually("four calls in the status", async || {
        let (code, status) = gateway.admin("GET", "/status", None).await;
        assert_eq!(code, 200, "{status}");
        let calls: u64 = status["series"]["calls"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
        (calls == 4).then_some(status)
    })
    .await;
    assert_eq!(status["error_rate"], json!(0.25), "{status}");
    assert_eq!(status["series"]["calls"].as_array().unwrap().len(), 60);
    assert!(status["calls_per_s"]["last_60s"].as_f64().unwrap() > 0.0, "{status}");
    assert!(status["duration_ms"]["p95"].as_f64().unwrap() > 0.0, "{status}");
    assert_eq!(status["listen"].as_str().unwrap(), gateway.url.trim_start_matches("http://"));
    assert_eq!(
        (&status["store"], &status["journal"], &status["redis"]),
        (&json!("ok"), &json!("ok"), &Value::Null)
    );
    let (code, _) = gateway.admin("GET", "/status?wrong=1", None).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn a_browser_that_asks_first_is_answered_without_a_key_if_its_origin_is_allowed() {
    let (_upstream, gateway) = start().await;
    for (path, methods) in [("/v1/chat/completions", "POST"), ("/v1/models", "GET"), ("/v1/models/x", "GET")]
    {
        let answer = preflight(&gateway, path, ALLOWED).await;
        let headers = answer.headers();
        assert_eq!(answer.status(), 204, "{path}");
        assert_eq!(header(headers, "access-control-allow-origin"), Some(ALLOWED));
        assert_eq!(header(headers, "access-control-allow-methods"), Some(methods));
        let named = header(headers, "access-control-allow-headers");
        assert_eq!(named, Some("authorization,content-type,x-stainless-os"));
        let varies: Vec<&str> = headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(varies.contains(&"Origin"), "{varies:?}");
        assert!(!headers.contains_key("access-control-allow-credentials"));

        let refused = preflight(&gateway, path, EVIL).await;
        assert_eq!((refused.status().as_u16(), of_cors(refused.headers())), (405, vec![]), "{path}");
    }
    for near in ["http://app.test", "https://app.test:8443", "https://app.test.evil.test", "null", ""] {
        assert_eq!(preflight(&gateway, "/v1/models", near).await.status(), 405, "{near}");
    }
}

#[tokio::test]
async fn the_pages_of_an_ops_listener_on_loopback_may_call() {
    let (_upstream, gateway) = start().await;
    let port = gateway.ops.rsplit_once(':').unwrap().1;
    for origin in [gateway.ops.clone(), format!("http://localhost:{port}")] {
        let answer = preflight(&gateway, "/v1/chat/completions", &origin).await;
        assert_eq!(answer.status(), 204, "{origin}");
    }
    let other = format!("http://127.0.0.1:{}", port.parse::<u16>().unwrap() ^ 1);
    assert_eq!(preflight(&gateway, "/v1/chat/completions", &other).await.status(), 405);
}

#[tokio::test]
async fn answers_and_errors_alike_are_readable_by_allowed_origins_and_no_others() {
    let (_upstream, gateway) = start().await;
    let client = gateway.client().await;
    let good = question("up/m", json!({}));
    let wrong = question("up/m", json!({"messages": 1}));
    let keyless = crate::support::Client::new(&gateway.url, "sk-wrong");
    for (who, body, status) in [(&client, &good, 200), (&client, &wrong, 400), (&keyless, &good, 401)] {
        for (origin, readable) in [(Some(ALLOWED), true), (Some(EVIL), false), (None, false)] {
            let mut request = who.request(body);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = request.send().await.unwrap();
            let headers = answer.headers();
            assert_eq!(answer.status(), status, "{origin:?}");
            assert_eq!(header(headers, "access-control-allow-origin"), origin.filter(|_| readable));
            assert_eq!(of_cors(headers).len(), if readable { 2 } else { 0 }, "{headers:?}");
            let exposed = header(headers, "access-control-expose-headers").unwrap_or_default();
            let named = |name: &&str| exposed.split(", ").any(|one| one == *name);
            let wanted =
                ["x-request-id", "x-gateway-provider", "x-ratelimit-remaining-tokens", "retry-after-ms"];
            assert_eq!(wanted.iter().filter(|name| named(name)).count(), if readable { 4 } else { 0 });
        }
    }
    let missing = reqwest::Client::new().get(format!("{}/nowhere", gateway.url)).header("origin", ALLOWED);
    let missing = missing.send().await.unwrap();
    assert_eq!(missing.status(), 404);
    assert_eq!(header(missing.headers(), "access-control-allow-origin"), Some(ALLOWED));
}

#[tokio::test]
async fn serve_says_where_the_page_is() {
    let (_upstream, mut gateway) = start().await;
    let ready = gateway.process.logged("ready").await;
    assert_eq!(ready["page"], json!(format!("{}/", gateway.ops)));
}
