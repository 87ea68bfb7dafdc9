//! Budgets on calls: what they refuse, what is reserved, how a stream ends that they cannot pay for.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Gateway, Script, Setup, Upstream, chunk, completion, ending, stream_head, text_event,
    whole,
};

/// One token of input costs 1e-6 USD, one of output 1e-5.
const CATALOG: &str = r#"{"version":1,"models":[{"id":"priced","offers":[
  {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"1","output":"10"}}}]}]}"#;

async fn start(upstream: &Upstream) -> Gateway {
    let setup = Setup::with_upstream(upstream).config("catalog: { file: catalog.json }\n");
    setup.file("catalog.json", CATALOG).start().await
}

/// An answer of this many tokens.
fn answer(prompt: u64, output: u64) -> Script {
    let mut body = completion("hi");
    body["usage"] =
        json!({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output});
    Script::new().send(whole(200, &body))
}

async fn limited(gateway: &Gateway, more: Value) -> (Client, String) {
    let mut spec = json!({"name": "limited"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, key) = gateway.admin("POST", "/keys", Some(spec)).await;
    assert_eq!(status, 201, "{key}");
    (Client::new(&gateway.url, key["key"].as_str().unwrap()), key["id"].as_str().unwrap().to_owned())
}

async fn status_of(gateway: &Gateway, id: &str) -> Value {
    gateway.admin("GET", &format!("/keys/{id}"), None).await.1["budget_status"].clone()
}

async fn ask(client: &Client, max_tokens: u64) -> Answer {
    client.ask("up/priced", json!({"max_tokens": max_tokens})).await
}

#[tokio::test]
async fn a_key_spends_its_budget_and_not_more() {
    let upstream = Upstream::always(answer(1_000, 100)).await;
    let gateway = start(&upstream).await;
    let (client, id) = limited(&gateway, json!({"budget": {"limit_usd": "0.0045", "period": "total"}})).await;
    for _ in 0..2 {
        let answer = ask(&client, 100).await;
        assert_eq!((answer.status, answer.json()["usage"]["cost"].to_string()), (200, "0.002".to_owned()));
    }
    let refused = ask(&client, 100).await;
    assert_eq!((refused.status, refused.code()), (402, "budget_exceeded".to_owned()), "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), "false");
    assert!(refused.text().contains("0.0005 USD are left of the budget of this key"), "{}", refused.text());
    assert_eq!(upstream.requests().len(), 2, "what is refused costs nothing");
    // What still fits is let through.
    assert_eq!(ask(&client, 1).await.status, 200);
    assert_eq!(ask(&client, 1).await.status, 402);
    let rows = gateway.whole_ledger(3).await;
    let charged: Vec<&str> = rows.iter().map(|row| row["charged_usd"].as_str().unwrap()).collect();
    assert_eq!(charged, ["0.002"; 3]);
    let status = status_of(&gateway, &id).await;
    assert_eq!((&status["spent_usd"], &status["reserved_usd"]), (&json!("0.006"), &json!("0")));
}

#[tokio::test]
async fn a_budget_is_known_again_after_a_kill() {
    let upstream = Upstream::always(answer(1_000, 100)).await;
    let gateway = start(&upstream).await;
    let (client, id) = limited(&gateway, json!({"budget": {"limit_usd": "0.0025", "period": "month"}})).await;
    assert_eq!(ask(&client, 100).await.status, 200);
    let key = client.key.clone();
    let gateway = gateway.crash_and_restart().await;
    assert_eq!(status_of(&gateway, &id).await["spent_usd"], "0.002");
    let client = Client::new(&gateway.url, &key);
    assert_eq!(ask(&client, 100).await.status, 402);
}

#[tokio::test]
async fn a_project_and_a_set_of_tags_pay_for_all_their_calls_and_a_markup_is_charged() {
    let upstream = Upstream::always(answer(1_000, 100)).await;
    let gateway = start(&upstream).await;
    let project =
        json!({"name": "p", "markup_percent": "50", "budget": {"limit_usd": "0.007", "period": "day"}});
    assert_eq!(gateway.admin("POST", "/projects", Some(project)).await.0, 201);
    let set = json!({"tags": {"team": "x"}, "budget": {"limit_usd": "0.003", "period": "week"}});
    assert_eq!(gateway.admin("POST", "/tag-sets", Some(set)).await.0, 201);
    let (first, _) = limited(&gateway, json!({"project": "p", "tags": {"team": "x"}})).await;
    let (second, _) = limited(&gateway, json!({"project": "p"})).await;
    let answer = ask(&first, 100).await;
    assert_eq!(answer.json()["usage"]["cost"].to_string(), "0.003", "half as much again as it cost");
    let refused = ask(&first, 100).await;
    assert!(refused.status == 402 && refused.text().contains("the tags `team=x`"), "{}", refused.text());
    // Another value of the tag leads out of no set of the key's.
    let body = crate::support::question("up/priced", json!({"max_tokens": 100}));
    let evading = Answer::of(first.request(&body).header("x-gateway-tags", "team=y")).await;
    assert_eq!(evading.status, 402);
    assert_eq!(ask(&second, 100).await.status, 200);
    let refused = ask(&second, 100).await;
    assert!(refused.status == 402 && refused.text().contains("the project `p`"), "{}", refused.text());
    let row = &gateway.whole_ledger(2).await[0];
    assert_eq!((&row["cost_usd"], &row["charged_usd"]), (&json!("0.002"), &json!("0.003")));
}

#[tokio::test]
async fn a_stream_that_the_budget_cannot_pay_for_is_ended_as_too_long() {
    let text = "word ".repeat(200);
    let script = Script::new().send(stream_head()).send_again_and_again(chunk(text_event(&text)), 1_000);
    let upstream = Upstream::always(script.until_closed()).await;
    let gateway = start(&upstream).await;
    let (client, id) = limited(&gateway, json!({"budget": {"limit_usd": "0.02", "period": "day"}})).await;
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let answer = client.ask("up/priced", more).await;
    assert!(answer.status == 200 && answer.done(), "a clean end");
    let chunks = answer.chunks();
    let reasons: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, ["length"]);
    let last = chunks.last().unwrap();
    assert_eq!(last["metadata"]["error"]["code"], "budget_exceeded", "{last}");
    assert_eq!(last["usage"]["estimated"], true);
    upstream.all_closed().await;
    let row = &gateway.whole_ledger(1).await[0];
    assert_eq!((&row["outcome"], &row["error"]), (&json!("cancelled"), &json!("budget_exceeded")));
    let charged: f64 = row["charged_usd"].as_str().unwrap().parse().unwrap();
    assert_eq!(last["usage"]["cost"].as_f64(), Some(charged));
    // What it paid for, and a step and a chunk more at most.
    assert!((0.01..0.026).contains(&charged), "{charged}");
    assert_eq!(status_of(&gateway, &id).await["reserved_usd"], "0");
}

#[tokio::test]
async fn a_stream_whose_longest_answer_is_paid_for_is_not_ended() {
    let script = Script::new().send(stream_head()).send(chunk(text_event("hello")));
    let upstream = Upstream::always(script.send(chunk(ending())).send(chunk(""))).await;
    let gateway = start(&upstream).await;
    // Enough for 100 tokens, and not for a step beyond the first ones.
    let (client, _) = limited(&gateway, json!({"budget": {"limit_usd": "0.0011", "period": "day"}})).await;
    let answer = client.ask("up/priced", json!({"stream": true, "max_tokens": 100})).await;
    let chunks = answer.chunks();
    let reasons: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!((answer.status, reasons, answer.done()), (200, vec!["stop"], true), "{}", answer.text());
    assert_eq!(gateway.whole_ledger(1).await[0]["outcome"], "completed");
}

#[tokio::test]
async fn two_hundred_calls_at_once_on_the_last_dollar_stay_within_it() {
    let upstream = Upstream::always(answer(10, 99)).await;
    let gateway = start(&upstream).await;
    let (client, id) = limited(&gateway, json!({"budget": {"limit_usd": "0.02", "period": "day"}})).await;
    let client = Arc::new(client);
    let calls = (0..200).map(|_| {
        let client = Arc::clone(&client);
        async move { ask(&client, 100).await.status }
    });
    let statuses = futures_util::future::join_all(calls).await;
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(answered + statuses.iter().filter(|status| **status == 402).count(), 200);
    assert!((10..=20).contains(&answered), "{answered} of some 0.001 USD each");
    gateway.idle().await;
    let status = status_of(&gateway, &id).await;
    assert_eq!(status["reserved_usd"], "0");
    let spent: f64 = status["spent_usd"].as_str().unwrap().parse().unwrap();
    assert!(spent <= 0.02, "{spent}");
}
