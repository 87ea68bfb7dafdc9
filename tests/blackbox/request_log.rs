//! The request log: which bodies are stored, how they are masked and cut, who reads them, when they go.

mod capture;
mod keeping;

use std::path::Path;

use serde_json::{Value, json};

use crate::support::postgres::Cluster;
use crate::support::{
    Answer, Client, Gateway, Script, Setup, Upstream, chunk, completion, ending, eventually, question,
    stream_head, text_event, whole,
};

/// A counter of calls whose bodies were stored.
const STORED: &str = "llm_gateway_request_log_stored_total";
/// What no store may hold unless somebody says so.
const PROMPT: &str = "canary-prompt-of-the-client";
const SAID: &str = "canary-answer-of-the-model";

/// Says [`SAID`], in pieces where it streams.
async fn upstream() -> Upstream {
    Upstream::start(|request| {
        if request.json()["stream"] != true {
            return Script::new().send(whole(200, &completion(SAID)));
        }
        let pieces = text_event("canary-answer") + &text_event("-of-the-model") + &ending();
        Script::new().send(stream_head()).send(chunk(pieces)).send(chunk(""))
    })
    .await
}

/// Makes a project that stores this, and a client of it.
async fn client_of(gateway: &Gateway, logged: &str) -> Client {
    let project = json!({"name": logged, "request_log": logged});
    let (status, made) = gateway.admin("POST", "/projects", Some(project)).await;
    assert_eq!((status, &made["request_log"]), (201, &json!(logged)), "{made}");
    gateway.client_with(json!({"name": logged, "project": logged})).await
}

/// Asks with the prompt, under this id.
async fn ask(client: &Client, id: &str, more: Value) -> Answer {
    let mut body = question("up/m", more);
    body["messages"][0]["content"] = PROMPT.into();
    Answer::of(client.request(&body).header("x-request-id", id)).await
}

/// What is stored under an id, once it is.
async fn stored(gateway: &Gateway, id: &str) -> Value {
    eventually("the bodies are stored", || async {
        let (status, found) = gateway.admin("GET", &format!("/requests/{id}"), None).await;
        let there = status == 200 && (found["request"].is_object() || found["response"].is_object());
        there.then_some(found)
    })
    .await
}

/// True when a file of this folder, or of one in it, holds the text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            return holds(&entry.path(), text);
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Setups of both stores; the second is PostgreSQL.
async fn both(upstream: &Upstream) -> [Setup; 2] {
    let url = Cluster::shared().database().await;
    let postgres = Setup::with_upstream(upstream).variable("LLM_GATEWAY__DATABASE__URL", &url);
    [Setup::with_upstream(upstream), postgres]
}

#[tokio::test]
async fn nothing_of_a_body_is_stored_unless_somebody_says_so() {
    let upstream = upstream().await;
    let mut gateway = Gateway::before(&upstream).await;
    let with_project = json!({"name": "a", "project": "p"});
    let off = client_of(&gateway, "off").await;
    for client in [gateway.client().await, gateway.client_with(with_project).await, off] {
        for stream in [false, true] {
            assert_eq!(ask(&client, "quiet", json!({"stream": stream})).await.status, 200);
        }
    }
    gateway.ledger(6).await;
    let (status, found) = gateway.admin("GET", "/requests/quiet", None).await;
    assert_eq!((status, &found["request"], &found["response"]), (200, &Value::Null, &Value::Null), "{found}");
    assert_eq!(
        (found["attempts"].as_array().unwrap().len(), &found["other_calls"][4]),
        (1, &found["other_calls"][4])
    );
    assert_eq!(gateway.metric(STORED).await, 0.0);
    let data = gateway.folder().join("data");
    assert_eq!(gateway.stop().await, Some(0));
    assert!(!holds(&data, PROMPT) && !holds(&data, SAID));
    // Who says so finds it there.
    let gateway = gateway.restart().await;
    let full = client_of(&gateway, "full").await;
    ask(&full, "loud", json!({})).await;
    stored(&gateway, "loud").await;
    assert!(holds(&data, PROMPT) && holds(&data, SAID));
}

#[tokio::test]
async fn a_project_stores_what_it_says_and_the_default_is_for_keys_without_one() {
    let upstream = upstream().await;
    for setup in both(&upstream).await {
        let gateway = setup.config("request_log: { default: response }\n").start().await;
        let alone = gateway.client().await;
        let silent = gateway.client_with(json!({"name": "s", "project": "silent"})).await;
        let mut clients = vec![("alone", alone, false, true)];
        for (logged, request, response) in
            [("request", true, false), ("response", false, true), ("full", true, true)]
        {
            clients.push((logged, client_of(&gateway, logged).await, request, response));
        }
        ask(&silent, "silent", json!({})).await;
        for (name, client, request, response) in clients {
            for stream in [false, true] {
                let id = format!("{name}-{stream}");
                let answer = ask(&client, &id, json!({"stream": stream})).await;
                let found = stored(&gateway, &id).await;
                let body = |of: &str| found[of]["body"].as_str().map(str::to_owned);
                let sent = upstream.last().json()["messages"][0]["content"].clone();
                assert_eq!(sent, PROMPT, "what goes upstream is not masked");
                assert_eq!(body("request").is_some(), request, "{found}");
                assert_eq!(body("response"), response.then(|| answer.text().to_owned()), "{found}");
                assert!(body("request").is_none_or(|body| body.contains(PROMPT)), "{found}");
                assert_eq!(
                    (&found["status"], &found["outcome"]),
                    (&json!(200), &json!("completed")),
                    "{found}"
                );
                assert_eq!((&found["request_id"], &found["stream"]), (&json!(id), &json!(stream)), "{found}");
            }
        }
        let rows = gateway.ledger(9).await;
        let silent = gateway.admin("GET", "/requests/silent", None).await.1;
        assert!(silent["request"].is_null() && silent["response"].is_null(), "{silent}");
        // By the id of its call it is the same.
        let row = rows.iter().find(|row| row["request_id"] == "full-true").unwrap();
        let found =
            gateway.admin("GET", &format!("/requests/{}", row["call_id"].as_str().unwrap()), None).await.1;
        assert_eq!((&found["attempts"], &found["project"]), (&json!([row]), &json!("full")));
        assert!(found["response"]["body"].as_str().unwrap().ends_with("data: [DONE]\n\n"), "{found}");
    }
}

#[tokio::test]
async fn what_a_project_says_is_checked_shown_and_changed() {
    let upstream = upstream().await;
    let declared = "projects: { fixed: { request_log: request } }\n";
    let gateway = Setup::with_upstream(&upstream).config(declared).start().await;
    let client = client_of(&gateway, "full").await;
    for (path, body) in
        [("/projects/full", json!({"request_log": "all"})), ("/projects/full", json!({"request_log": true}))]
    {
        let (status, refused) = gateway.admin("PATCH", path, Some(body)).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!("request_log")), "{refused}");
    }
    let set = json!({"tags": {"a": "b"}, "request_log": "full"});
    assert_eq!(gateway.admin("POST", "/tag-sets", Some(set)).await.1["error"]["param"], "request_log");
    let changed = gateway.admin("PATCH", "/projects/full", Some(json!({"rpm": 1000}))).await.1;
    assert_eq!(changed["request_log"], "full", "what is not named stays");
    let changed = gateway.admin("PATCH", "/projects/full", Some(json!({"request_log": null}))).await.1;
    assert_eq!(changed["request_log"], "off");
    ask(&client, "after", json!({})).await;
    let of_fixed = gateway.client_with(json!({"name": "f", "project": "fixed"})).await;
    ask(&of_fixed, "fixed", json!({})).await;
    assert!(stored(&gateway, "fixed").await["response"].is_null());
    gateway.ledger(2).await;
    assert!(gateway.admin("GET", "/requests/after", None).await.1["request"].is_null());
    let shown = gateway.admin("GET", "/projects/fixed", None).await.1;
    assert_eq!((&shown["request_log"], &shown["managed_by"]), (&json!("request"), &json!("config")));
    for path in ["/requests/nothing", "/requests/01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
        let (status, error) = gateway.admin("GET", path, None).await;
        assert_eq!((status, &error["error"]["code"]), (404, &json!("not_found")));
    }
}

#[tokio::test]
async fn replicas_store_as_one_and_what_one_is_told_all_do() {
    let upstream = upstream().await;
    let url = Cluster::shared().database().await;
    let start = || Setup::with_upstream(&upstream).variable("LLM_GATEWAY__DATABASE__URL", &url).start();
    let (here, there) = (start().await, start().await);
    let project = json!({"name": "p", "request_log": "off"});
    assert_eq!(here.admin("POST", "/projects", Some(project)).await.0, 201);
    let client = here.client_with(json!({"name": "a", "project": "p"})).await;
    let client = Client::new(&there.url, &client.key);
    here.admin("PATCH", "/projects/p", Some(json!({"request_log": "full"}))).await;
    let told = std::time::Instant::now();
    let id = eventually("the other replica stores bodies", || async {
        let id = ulid::Ulid::generate().to_string();
        let known = ask(&client, &id, json!({})).await.status == 200;
        (known && there.metric(STORED).await > 0.0).then_some(id)
    })
    .await;
    assert!(told.elapsed() < std::time::Duration::from_secs(3), "{:?}", told.elapsed());
    let found = stored(&here, &id).await;
    assert!(found["request"]["body"].as_str().unwrap().contains(PROMPT), "{found}");
}
