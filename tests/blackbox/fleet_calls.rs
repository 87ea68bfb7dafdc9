//! Calls over HTTP on budgets that three gateways share over Redis.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, Gateway, Redis, Script, Setup, Upstream, chunk, completion, ending, eventually, question,
    stream_head, text_event, whole,
};

/// A call of 1 and 100 tokens costs 0.001001 USD, and reserves a little more.
const CATALOG: &str = r#"{"version":1,"models":[{"id":"priced","offers":[
  {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"1","output":"10"}}}]}]}"#;

/// Three gateways on one store and one Redis.
struct Three {
    redis: Redis,
    upstream: Upstream,
    gateways: Vec<Gateway>,
    store: TempDir,
}

fn setup(upstream: &Upstream, redis: &Redis, store: &TempDir) -> Setup {
    let config = format!("redis: {{ url: '{}' }}\ncatalog: {{ file: catalog.json }}\n", redis.url());
    let setup = Setup::with_upstream(upstream).config(&config).file("catalog.json", CATALOG);
    setup.variable("LLM_GATEWAY__DATA_DIR", &store.path().display().to_string())
}

impl Three {
    async fn start() -> Self {
        let mut body = completion("hi");
        body["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 100, "total_tokens": 101});
        Self::before(Script::new().send(whole(200, &body))).await
    }

    async fn before(script: Script) -> Self {
        let upstream = Upstream::always(script).await;
        let (redis, store) = (Redis::start().await, TempDir::new().expect("a temporary folder"));
        let mut gateways = Vec::new();
        for _ in 0..3 {
            gateways.push(setup(&upstream, &redis, &store).start().await);
        }
        Self { redis, upstream, gateways, store }
    }

    /// A client of each gateway, with one key.
    async fn clients(&self, spec: Value) -> Vec<Client> {
        let (status, made) = self.gateways[0].admin("POST", "/keys", Some(spec)).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().expect("a key");
        let clients: Vec<Client> = self.gateways.iter().map(|it| Client::new(&it.url, key)).collect();
        for client in &clients {
            eventually("the key is known", || async {
                (client.get("/v1/models").await.status == 200).then_some(())
            })
            .await;
        }
        clients
    }
}

/// A call as an SDK makes it: what is to be tried again is, and what is spent is not.
async fn call(client: &Client) -> u16 {
    let body = question("up/priced", json!({"max_tokens": 100}));
    for _ in 0..50 {
        let answer = client.chat(&body).await;
        if answer.status != 503 {
            assert!(answer.status == 200 || answer.code() == "budget_exceeded", "{}", answer.text());
            return answer.status;
        }
        assert!(!answer.header("retry-after").is_empty());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never told what is left")
}

#[tokio::test]
async fn three_gateways_spend_one_budget_to_its_last_call_and_no_further() {
    let three = Three::start().await;
    let budget = json!({"name": "k", "budget": {"limit_usd": "0.0203", "period": "total"}});
    let clients = three.clients(budget).await;
    let calls = clients.iter().cycle().take(60).map(call);
    let statuses = futures_util::future::join_all(calls).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20, "{statuses:?}");
    assert_eq!(three.upstream.requests().len(), 20, "what is refused costs nothing");
    // Who comes last is told so by each of them.
    for client in &clients {
        assert_eq!(call(client).await, 402);
    }
}

#[tokio::test]
async fn a_budget_of_which_nothing_is_known_yet_is_no_spent_budget() {
    let three = Three::start().await;
    let budget = json!({"name": "k", "budget": {"limit_usd": "1", "period": "total"}});
    let clients = three.clients(budget).await;
    // From the first moment on: asked again, perhaps, but never told that the money is spent.
    for client in &clients {
        assert_eq!(call(client).await, 200);
    }
    // A replica that starts knows what is left before it says that it is ready.
    let late = setup(&three.upstream, &three.redis, &three.store).start().await;
    let client = Client::new(&late.url, &clients[0].key);
    let first = client.ask("up/priced", json!({"max_tokens": 100})).await;
    assert_eq!(first.status, 200, "{}", first.text());
}

#[tokio::test]
async fn a_stream_that_goes_on_borrows_more_and_is_not_ended_while_there_is_money() {
    // 100 KiB are some 25,000 tokens: far more than is reserved, or held ahead, for an answer of which nothing is known.
    let event = text_event(&"word ".repeat(200));
    let script = Script::new().send(stream_head()).send_again_and_again(chunk(event), 100);
    let three = Three::before(script.send(chunk(ending())).send(chunk(""))).await;
    let budget = json!({"name": "k", "budget": {"limit_usd": "2", "period": "total"}});
    let clients = three.clients(budget).await;
    let more = json!({"stream": true, "max_tokens": 300});
    eventually("a lease is there", || async {
        (clients[1].ask("up/priced", more.clone()).await.status == 200).then_some(())
    })
    .await;
    let answer = clients[1].ask("up/priced", more).await;
    let chunks = answer.chunks();
    let reasons: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!((answer.status, reasons), (200, vec!["stop"]), "{}", chunks.last().unwrap());
    assert_eq!(answer.content().len(), 100_000);
}

#[tokio::test]
async fn a_stream_that_goes_on_waits_for_a_redis_that_forgot_and_is_not_ended() {
    let event = text_event(&"word ".repeat(200));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let script = Script::new().send(stream_head()).send(chunk(text_event("hello"))).until(&gate);
    let script = script.send_again_and_again(chunk(event), 100);
    let three = Three::before(script.send(chunk(ending())).send(chunk(""))).await;
    let budget = json!({"name": "k", "budget": {"limit_usd": "2", "period": "total"}});
    let clients = three.clients(budget).await;
    let more = json!({"stream": true, "max_tokens": 300});
    eventually("a lease is there", || async {
        (clients[1].ask("up/priced", more.clone()).await.status == 200).then_some(())
    })
    .await;
    let answer = tokio::spawn(async move { clients[1].ask("up/priced", more).await });
    three.upstream.reached(2).await;
    three.redis.flush().await;
    gate.add_permits(1);
    let answer = answer.await.expect("an answer");
    let reasons: Vec<Value> = answer
        .chunks()
        .iter()
        .map(|chunk| chunk["choices"][0]["finish_reason"].clone())
        .filter(Value::is_string)
        .collect();
    assert_eq!((answer.status, reasons), (200, vec![json!("stop")]), "{}", answer.text().len());
    assert_eq!(answer.content().len(), 100_005);
}
