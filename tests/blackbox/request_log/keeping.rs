//! How long bodies are kept, who deletes them, and what happens while the store takes nothing.

use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::{PROMPT, SAID, STORED, ask, both, client_of, holds, stored, upstream};
use crate::support::{Gateway, Setup, eventually};

#[tokio::test]
async fn bodies_go_when_their_time_is_over_and_ledger_rows_stay() {
    let upstream = upstream().await;
    for setup in both(&upstream).await {
        let mut gateway = setup.config("request_log: { retention: 1s }\n").start().await;
        let client = client_of(&gateway, "full").await;
        ask(&client, "old", json!({})).await;
        gateway.counted(STORED, 1.0).await;
        gateway.ledger(1).await;
        eventually("the bodies are gone", || async {
            let found = gateway.admin("GET", "/requests/old", None).await.1;
            (found["request"].is_null() && found["attempts"].as_array()?.len() == 1).then_some(())
        })
        .await;
        let data = gateway.folder().join("data");
        assert_eq!(gateway.stop().await, Some(0));
        assert!(!holds(&data, PROMPT), "what is removed is gone from the file");
    }
}

#[tokio::test]
async fn the_oldest_bodies_go_when_there_are_too_many() {
    let upstream = upstream().await;
    let config = "request_log: { max_bytes: 1MiB, retention: 2s, max_body: 200KiB }\n";
    let gateway = Setup::with_upstream(&upstream).config(config).start().await;
    let client = client_of(&gateway, "request").await;
    for at in 0..12 {
        let answer =
            ask(&client, &format!("large-{at}"), json!({"metadata": {"x": " ".repeat(100_000)}})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    gateway.counted(STORED, 12.0).await;
    // Long before their time is over.
    eventually("the oldest is gone", || async {
        gateway.admin("GET", "/requests/large-0", None).await.1["request"].is_null().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_the_file_and_the_trail_tells_who_read_and_deleted() {
    let upstream = upstream().await;
    for setup in both(&upstream).await {
        let mut gateway = setup.start().await;
        let client = client_of(&gateway, "full").await;
        ask(&client, "mine", json!({"stream": true})).await;
        let found = stored(&gateway, "mine").await;
        gateway.ledger(1).await;
        let path = "/requests/mine/log";
        let deleted = gateway.admin("DELETE", path, None).await;
        assert_eq!(deleted, (200, json!({"deleted": 1, "complete": true})));
        assert_eq!(gateway.admin("DELETE", path, None).await.0, 404);
        let (status, left) = gateway.admin("GET", "/requests/mine", None).await;
        assert_eq!((status, &left["request"], &left["response"]), (200, &Value::Null, &Value::Null));
        assert_eq!(left["attempts"].as_array().unwrap().len(), 1, "{left}");
        let trail = gateway.admin("GET", "/audit?limit=2", None).await.1["data"].clone();
        let of = |at: usize, name: &str| trail[at][name].as_str().unwrap().to_owned();
        assert_eq!(
            (of(0, "action"), of(0, "object")),
            ("request_log.delete".into(), "mine".into()),
            "{trail}"
        );
        assert_eq!(of(1, "action"), "request_log.read", "{trail}");
        assert_eq!(trail[1]["object"], found["call_id"]);
        assert_eq!(
            (&trail[1]["after"]["request_id"], of(1, "actor")),
            (&json!("mine"), "admin@127.0.0.1".into())
        );
        let data = gateway.folder().join("data");
        assert_eq!(gateway.stop().await, Some(0));
        assert!(!holds(&data, PROMPT) && !holds(&data, SAID));
    }
}

#[tokio::test]
async fn a_reload_changes_what_is_stored_and_masked_and_a_wrong_pattern_changes_nothing() {
    let upstream = upstream().await;
    let text = |log: &str| {
        format!("providers:\n  up: {{ base_url: '{}' }}\nrequest_log: {log}\n", upstream.base_url())
    };
    let config = text("{ default: 'off' }") + "server: { config_watch: false }\n";
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    let reload = async |log: &str| {
        let file = gateway.folder().join("gateway.yaml");
        std::fs::write(file, text(log) + "server: { config_watch: false }\n").unwrap();
        gateway.admin("POST", "/config/reload", None).await
    };
    ask(&client, "before", json!({})).await;
    let (status, wrong) = reload("{ default: full, patterns: { own: '[' } }").await;
    let message = wrong["error"]["message"].as_str().unwrap();
    assert!(
        status == 400 && message.contains("request_log.patterns.own: is no regular expression"),
        "{message}"
    );
    ask(&client, "wrong", json!({})).await;
    let (status, told) = reload("{ default: full, redact: [], patterns: { own: 'canary-prompt' } }").await;
    assert_eq!((status, &told["start_only"]), (200, &json!([])), "{told}");
    ask(&client, "after", json!({"user": "a@b.de"})).await;
    let found = stored(&gateway, "after").await;
    let body = found["request"]["body"].as_str().unwrap();
    assert!(body.contains("[redacted:own]-of-the-client") && body.contains("a@b.de"), "{body}");
    gateway.ledger(3).await;
    for id in ["before", "wrong"] {
        assert!(gateway.admin("GET", &format!("/requests/{id}"), None).await.1["request"].is_null(), "{id}");
    }
    let shown = gateway.admin("GET", "/config", None).await.1;
    assert_eq!(shown["request_log"]["patterns"]["own"], "canary-prompt");
}

#[tokio::test]
async fn what_was_handed_over_last_is_stored_before_the_process_ends() {
    let upstream = upstream().await;
    let mut gateway = Gateway::before(&upstream).await;
    let client = client_of(&gateway, "full").await;
    ask(&client, "last", json!({})).await;
    assert_eq!(gateway.stop().await, Some(0));
    let gateway = gateway.restart().await;
    assert!(gateway.admin("GET", "/requests/last", None).await.1["request"].is_object());
}

#[tokio::test]
async fn while_the_store_takes_nothing_calls_are_answered_and_what_is_lost_is_counted() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let client = client_of(&gateway, "full").await;
    let file = gateway.folder().join("data/gateway.db");
    let mut outside = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    for at in 0..20 {
        assert_eq!(ask(&client, &format!("locked-{at}"), json!({})).await.status, 200);
    }
    let dropped = "llm_gateway_request_log_dropped_total{reason=\"store\"}";
    eventually("what is lost is counted", || async { (gateway.metric(dropped).await > 0.0).then_some(()) })
        .await;
    lock.rollback().await.unwrap();
    let told = gateway.process.events();
    let said = |event: &&Value| {
        event["message"].as_str().is_some_and(|text| text.starts_with("the request log cannot be written"))
    };
    assert_eq!(told.iter().filter(said).count(), 1);
    eventually("bodies are stored again", || async {
        let id = ulid::Ulid::generate().to_string();
        ask(&client, &id, json!({})).await;
        (gateway.metric(STORED).await > 0.0).then_some(())
    })
    .await;
    gateway.idle().await;
}
