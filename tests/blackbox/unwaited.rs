//! What an answer costs that its client does not wait for, as the provider's row says.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    Client, Gateway, Live, NO_BREAKER, Script, Setup, Upstream, chunk, completion, ending, question,
    stream_head, text_event, whole,
};

/// One token of input costs 1e-6 USD, one of output 1e-5.
const CATALOG: &str = r#"{"version":1,"models":[{"id":"priced","offers":[
  {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"1","output":"10"}}}]}]}"#;

async fn start(upstream: &Upstream, policy: &str) -> (Gateway, Client, String) {
    let config = format!(
        "providers:\n  up: {{ base_url: '{}', {NO_BREAKER}, {policy} }}\ncatalog: {{ file: catalog.json }}\n",
        upstream.base_url()
    );
    let gateway = Setup::new(config).file("catalog.json", CATALOG).start().await;
    let spec = json!({"name": "k", "budget": {"limit_usd": "1", "period": "total"}});
    let made = gateway.admin("POST", "/keys", Some(spec)).await.1;
    let client = Client::new(&gateway.url, made["key"].as_str().unwrap());
    (gateway, client, made["id"].as_str().unwrap().to_owned())
}

/// Begins a stream, reads its first event and leaves.
async fn leave_a_stream(client: &Client) {
    let mut live = Live::open(client.request(&question("up/priced", json!({"stream": true})))).await;
    live.until("\n\n").await;
}

async fn budget(gateway: &Gateway, id: &str) -> Value {
    gateway.admin("GET", &format!("/keys/{id}"), None).await.1["budget_status"].clone()
}

/// The beginning of a stream.
fn begun() -> Script {
    Script::new().send(stream_head()).send(chunk(text_event("one two three")))
}

#[tokio::test]
async fn a_provider_that_charges_for_all_of_it_is_read_to_the_end() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::always(begun().until(&gate).send(chunk(ending())).send(chunk(""))).await;
    let (gateway, client, id) = start(&upstream, "on_cancel: drain").await;
    leave_a_stream(&client).await;
    gateway.idle().await;
    assert_ne!(budget(&gateway, &id).await["reserved_usd"], "0", "it still runs, and is paid for");
    assert!(gateway.metric("llm_gateway_reserved_usd").await > 0.0);
    gate.add_permits(1);
    let row = &gateway.whole_ledger(1).await[0];
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("cancelled"), &json!(false)));
    assert_eq!((&row["prompt_tokens"], &row["completion_tokens"]), (&json!(9), &json!(3)), "as it said");
    assert_eq!(row["cost_usd"], "0.000039");
    let status = budget(&gateway, &id).await;
    assert_eq!((&status["spent_usd"], &status["reserved_usd"]), (&json!("0.000039"), &json!("0")));
    gateway.counted("llm_gateway_reserved_usd", 0.0).await;
}

#[tokio::test]
async fn a_whole_answer_is_read_to_the_end_too() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::always(Script::new().until(&gate).send(whole(200, &completion("hi")))).await;
    let (gateway, client, _) = start(&upstream, "on_cancel: drain").await;
    let request = client.request(&question("up/priced", json!({})));
    let running = tokio::spawn(request.send());
    upstream.reached(1).await;
    running.abort();
    gateway.idle().await;
    gate.add_permits(1);
    let row = &gateway.whole_ledger(1).await[0];
    assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("cancelled"), &json!(3)), "{row}");
}

#[tokio::test]
async fn reading_to_the_end_has_an_end() {
    let upstream = Upstream::always(begun().until_closed()).await;
    let (gateway, client, id) = start(&upstream, "on_cancel: drain, cancel_drain: 200ms").await;
    leave_a_stream(&client).await;
    upstream.all_closed().await;
    let row = &gateway.whole_ledger(1).await[0];
    assert_eq!((&row["outcome"], &row["estimated"]), (&json!("cancelled"), &json!(true)));
    assert_eq!(budget(&gateway, &id).await["reserved_usd"], "0");
}

#[tokio::test]
async fn a_provider_that_charges_nothing_for_it_costs_nothing() {
    let upstream = Upstream::always(begun().until_closed()).await;
    let (gateway, client, id) = start(&upstream, "on_cancel: free").await;
    leave_a_stream(&client).await;
    upstream.all_closed().await;
    let row = &gateway.whole_ledger(1).await[0];
    assert_eq!((&row["outcome"], &row["cost_usd"]), (&json!("cancelled"), &json!("0")), "{row}");
    assert_eq!(row["completion_tokens"], 3, "what was delivered is known all the same");
    let status = budget(&gateway, &id).await;
    assert_eq!((&status["spent_usd"], &status["reserved_usd"]), (&json!("0"), &json!("0")));
}
