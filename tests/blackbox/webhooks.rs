//! Thresholds of budgets: told once, signed, and in the log whatever the receiver does.

use std::sync::atomic::{AtomicUsize, Ordering};

use ring::hmac;
use serde_json::{Value, json};

use crate::support::{Gateway, Request, Script, Setup, Upstream, completion, eventually, whole};

const SECRET: &str = "webhook-secret-of-the-tests";
/// A dollar for a million tokens.
const CATALOG: &str = r#"{"version":1,"source":"the test's own","license":"none","models":[
{"id":"plain","offers":[{"provider":"up","upstream":"plain-v1","price":{"rates":{"input":"1","output":"1"}}}]}
]}"#;

/// An upstream each of whose answers costs 0.9 USD.
async fn dear() -> Upstream {
    let mut body = completion("hi");
    body["usage"] = json!({"prompt_tokens": 400_000, "completion_tokens": 500_000, "total_tokens": 900_000});
    Upstream::always(Script::new().send(whole(200, &body))).await
}

async fn start(upstream: &Upstream, hook: Option<&Upstream>) -> Gateway {
    let budgets = hook.map_or_else(String::new, |hook| {
        format!("budgets: {{ webhook: '{}/hook', webhook_secret: {SECRET} }}\n", hook.base_url())
    });
    let setup = Setup::with_upstream(upstream).config("catalog: { file: catalog.json }\n").config(&budgets);
    setup.file("catalog.json", CATALOG).start().await
}

/// Spends 0.9 USD with a key of this specification; gives the key's id.
async fn spend(gateway: &Gateway, spec: Value) -> String {
    let (_, key) = gateway.admin("POST", "/keys", Some(spec)).await;
    let client = crate::support::Client::new(&gateway.url, key["key"].as_str().unwrap());
    assert_eq!(client.ask("plain", json!({})).await.status, 200);
    let rows = gateway.ledger(1).await;
    assert_eq!(rows[0]["charged_usd"], "0.9");
    key["id"].as_str().unwrap().to_owned()
}

/// What a receiver that keeps the secret must find in the header.
fn proven(request: &Request) -> bool {
    let header = request.header("x-gateway-signature").unwrap();
    let (time, signature) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 1_600_000_000);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = [time.as_bytes(), b".", &request.body[..]].concat();
    let expected: String =
        hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    signature == expected
}

/// Budget events in the log.
fn logged(gateway: &Gateway) -> usize {
    gateway.process.log().matches("a budget has passed a threshold").count()
}

#[tokio::test]
async fn a_threshold_is_told_once_signed_and_again_until_it_is_taken() {
    let upstream = dear().await;
    let tries = AtomicUsize::new(0);
    let hook = Upstream::start(move |_: &Request| {
        let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
        Script::new().send(whole(if first { 500 } else { 204 }, &json!({})))
    })
    .await;
    let gateway = start(&upstream, Some(&hook)).await;
    let id = spend(&gateway, json!({"name": "search", "project": "web"})).await;
    let budget = json!({"budget": {"limit_usd": "1", "period": "month", "alerts": [50, 80, 95]}});
    let (status, shown) = gateway.admin("PATCH", &format!("/keys/{id}"), Some(budget)).await;
    assert_eq!(status, 200, "{shown}");
    assert_eq!(shown["budget_status"]["spent_usd"], "0.9", "a new budget knows what was spent");
    hook.reached(3).await;
    let bodies: Vec<Value> = hook.requests().iter().map(Request::json).collect();
    assert!(hook.requests().iter().all(proven));
    // The one that was refused comes again, as the same message.
    let refused = &bodies[0];
    let again = bodies.iter().filter(|body| body["id"] == refused["id"]).count();
    assert_eq!(again, 2, "{bodies:?}");
    let mut percents: Vec<i64> = bodies.iter().filter_map(|body| body["percent"].as_i64()).collect();
    percents.sort_unstable();
    percents.dedup();
    assert_eq!(percents, [50, 80]);
    for body in &bodies {
        assert_eq!(body["payer"], json!({"kind": "key", "id": id, "name": "search"}));
        assert_eq!(
            [&body["type"], &body["limit_usd"], &body["spent_usd"], &body["period"]],
            ["budget.threshold", "1", "0.9", "month"].map(Value::from).each_ref()
        );
        assert!(
            body["window_start"].is_string() && body["window_end"].is_string() && body["time"].is_string()
        );
    }
    gateway.counted("llm_gateway_budget_alerts_total", 2.0).await;
    assert_eq!((logged(&gateway), gateway.metric("llm_gateway_webhook_failures_total").await), (2, 0.0));
    assert!(!gateway.process.log().contains(SECRET));
    // Nobody is told again, by another process neither: the one threshold that follows is a new one.
    let gateway = gateway.stop_and_restart().await;
    let more = json!({"budget": {"limit_usd": "1", "period": "month", "alerts": [50, 80, 90]}});
    gateway.admin("PATCH", &format!("/keys/{id}"), Some(more)).await;
    hook.reached(4).await;
    assert_eq!(hook.last().json()["percent"], 90);
    assert_eq!(gateway.metric("llm_gateway_budget_alerts_total").await, 1.0);
}

#[tokio::test]
async fn soft_budgets_of_projects_and_sets_of_tags_tell_too_and_the_log_is_enough() {
    let upstream = dear().await;
    let gateway = start(&upstream, None).await;
    spend(&gateway, json!({"name": "a", "project": "web"})).await;
    let budget = json!({"budget": {"limit_usd": 1, "period": "total", "soft": true, "alerts": [90]}});
    assert_eq!(gateway.admin("PATCH", "/projects/web", Some(budget)).await.0, 200);
    eventually("the log tells", || async { (logged(&gateway) == 1).then_some(()) }).await;
    let told = gateway.process.events().into_iter().find(|event| event["percent"] == 90).unwrap();
    assert_eq!([&told["payer"], &told["spent_usd"]], [&json!("project:web"), &json!("0.9")], "{told}");
    gateway.counted("llm_gateway_budget_alerts_total", 1.0).await;
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_holds_nothing_up() {
    let upstream = dear().await;
    let hook = Upstream::always(Script::new().until_closed()).await;
    let gateway = start(&upstream, Some(&hook)).await;
    let id = spend(&gateway, json!({"name": "a"})).await;
    let budget = json!({"budget": {"limit_usd": "0.9", "period": "day", "soft": true}});
    gateway.admin("PATCH", &format!("/keys/{id}"), Some(budget)).await;
    // Both thresholds are passed at once, and both are on their way.
    hook.reached(2).await;
    let client = gateway.client().await;
    assert_eq!(client.ask("plain", json!({})).await.status, 200);
    let mut gateway = gateway;
    assert_eq!(gateway.stop().await, Some(0), "it ends without waiting for the receiver");
}
