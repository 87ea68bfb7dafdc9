//! What is taken of a call however it ends, and what is masked and cut in it.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{PROMPT, ask, both, client_of, holds, stored, upstream};
use crate::support::{
    Answer, Gateway, Live, Script, Setup, Upstream, chunk, completion, ending, question, stream_head,
    text_event, whole,
};

#[tokio::test]
async fn calls_that_fail_leave_what_the_client_sent_and_was_told() {
    let upstream = Upstream::start(|request| match request.json()["model"].as_str() {
        Some("breaks") => Script::new().send(stream_head()).send(chunk(text_event("half"))).close(),
        _ => Script::new().send(whole(500, &json!({"error": {"message": "upstream is ill"}}))),
    })
    .await;
    let gateway = Gateway::before(&upstream).await;
    let client = client_of(&gateway, "full").await;
    for (id, body, status, outcome, attempts) in [
        ("no-json", "{\"model\": \"up/m\", ".to_owned(), 400, "failed", 0),
        ("no-model", question("nobody/nothing", json!({})).to_string(), 404, "failed", 0),
        ("ill", question("up/ill", json!({})).to_string(), 502, "failed", 1),
        ("broken", question("up/breaks", json!({"stream": true})).to_string(), 200, "failed", 1),
    ] {
        let answer = Answer::of(client.raw(body.clone()).header("x-request-id", id)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let found = stored(&gateway, id).await;
        assert_eq!(found["request"], json!({"body": body, "truncated": false, "redacted": 0}), "{found}");
        assert_eq!(found["response"]["body"], answer.text(), "{found}");
        assert_eq!((&found["status"], &found["outcome"]), (&json!(status), &json!(outcome)), "{found}");
        if attempts > 0 {
            gateway.rows_of(&answer, attempts).await;
        }
        let found = gateway.admin("GET", &format!("/requests/{id}"), None).await.1;
        assert_eq!(found["attempts"].as_array().unwrap().len(), attempts, "{found}");
        assert!(found["error"].is_string(), "{found}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_leaves_what_it_was_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Script::new().send(stream_head()).send(chunk(text_event("begun"))).until(&gate);
    let upstream = Upstream::always(script.send(chunk(ending())).send(chunk(""))).await;
    let gateway = Gateway::before(&upstream).await;
    let client = client_of(&gateway, "full").await;
    let body = question("up/m", json!({"stream": true}));
    let mut live = Live::open(client.request(&body).header("x-request-id", "left")).await;
    live.until("\n\n").await;
    let seen = live.text.clone();
    drop(live);
    let found = stored(&gateway, "left").await;
    assert_eq!(
        (&found["response"]["body"], &found["outcome"]),
        (&json!(seen), &json!("cancelled")),
        "{found}"
    );
    assert_eq!(found["request"]["body"], body.to_string());
    // One that leaves before it was told anything.
    let request = client.request(&question("up/m", json!({}))).header("x-request-id", "early");
    let waiting = tokio::spawn(request.send());
    upstream.reached(2).await;
    waiting.abort();
    let found = stored(&gateway, "early").await;
    assert_eq!((&found["response"]["body"], &found["status"]), (&json!(""), &json!(499)), "{found}");
}

/// What must not be stored, each by the rule that masks it.
const CANARIES: [(&str, &str); 8] = [
    ("email", "canary.person@example.org"),
    ("card", "4111 1111 1111 1111"),
    ("api_key", "sk-proj-canaryCANARYcanary123456"),
    ("gateway_key", "lgw_canary0123456789"),
    ("bearer", "Bearer canary.0123456789-abcdef"),
    ("data_url", "data:image/png;base64,Y2FuYXJ5Y2FuYXJ5"),
    ("staff", "EMP-0042"),
    ("base64", ""),
];

#[tokio::test]
async fn what_rules_find_is_stored_nowhere_and_its_place_says_so() {
    let upstream = Upstream::start(|request| {
        let said = request.json()["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        if request.json()["stream"] != true {
            return Script::new().send(whole(200, &completion(&said)));
        }
        // Three characters at a time: none of what is to be masked is whole in one event.
        let letters: Vec<char> = said.chars().collect();
        let pieces: String =
            letters.chunks(3).map(|piece| text_event(&piece.iter().collect::<String>())).collect();
        Script::new().send(stream_head()).send(chunk(pieces + &ending())).send(chunk(""))
    })
    .await;
    let config = "request_log: { max_body: 1MiB, patterns: { staff: 'EMP-[0-9]{4}' } }\n";
    for setup in both(&upstream).await {
        let mut gateway = setup.config(config).start().await;
        let client = client_of(&gateway, "full").await;
        for stream in [false, true] {
            for (rule, canary) in CANARIES {
                let canary = if rule == "base64" { "Y2Fu".repeat(200) } else { canary.to_owned() };
                let mut body = question("up/m", json!({"stream": stream}));
                body["messages"][0]["content"] = format!("see {canary} now").into();
                // Escaped, as some clients write everything.
                let body = body.to_string().replace('@', "\\u0040").replace("EMP", "\\u0045MP");
                let id = format!("{rule}-{stream}");
                let answer = Answer::of(client.raw(body).header("x-request-id", &id)).await;
                assert_eq!((answer.status, answer.content()), (200, format!("see {canary} now")));
                let found = stored(&gateway, &id).await;
                let marked = format!("see [redacted:{rule}");
                for of in ["request", "response"] {
                    let kept = found[of]["body"].as_str().unwrap();
                    let split = of == "response" && stream;
                    let marked = if split { format!("[redacted:{rule}") } else { marked.clone() };
                    assert!(kept.contains(&marked) && !kept.contains(&canary), "{id} {of}: {kept}");
                    assert_eq!(found[of]["redacted"], 1, "{id} {of}: {kept}");
                    assert!(split || serde_json::from_str::<Value>(kept).is_ok(), "{kept}");
                }
            }
        }
        let data = gateway.folder().join("data");
        assert_eq!(gateway.stop().await, Some(0));
        for (_, canary) in CANARIES.iter().filter(|(_, canary)| !canary.is_empty()) {
            assert!(!holds(&data, canary), "{canary}");
        }
    }
}

#[tokio::test]
async fn bodies_are_cut_at_their_bound_and_say_so() {
    let long = "word ".repeat(2_000);
    let said = long.clone();
    let upstream = Upstream::start(move |request| {
        if request.json()["stream"] != true {
            return Script::new().send(whole(200, &completion(&said)));
        }
        let pieces: String = (0..100).map(|at| text_event(&format!("piece {at} "))).collect();
        Script::new().send(stream_head()).send(chunk(pieces + &ending())).send(chunk(""))
    })
    .await;
    let gateway = Setup::with_upstream(&upstream).config("request_log: { max_body: 2KiB }\n").start().await;
    let client = client_of(&gateway, "full").await;
    for stream in [false, true] {
        let mut body = question("up/m", json!({"stream": stream}));
        body["messages"][0]["content"] = long.clone().into();
        let id = format!("long-{stream}");
        let answer = Answer::of(client.request(&body).header("x-request-id", &id)).await;
        let found = stored(&gateway, &id).await;
        let kept = |of: &str| {
            assert_eq!(found[of]["truncated"], true, "{found}");
            found[of]["body"].as_str().unwrap().to_owned()
        };
        let (request, response) = (kept("request"), kept("response"));
        assert!(request.len() == 2_048 && body.to_string().starts_with(&request), "{request}");
        assert!(response.len() <= 2_048 && answer.text().starts_with(&response), "{response}");
        assert_eq!(stream, response.ends_with("\n\n"), "a stream is cut between events");
    }
    // What fits is whole.
    ask(&client, "short", json!({"stream": true, "max_tokens": 1})).await;
    assert_eq!(stored(&gateway, "short").await["request"]["truncated"], false);
}

#[tokio::test]
async fn a_replay_of_an_answer_is_stored_as_a_call_of_its_own() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let client = client_of(&gateway, "full").await;
    for stream in [false, true] {
        let body = question("up/m", json!({"stream": stream}));
        let mut answers = Vec::new();
        for id in ["first", "again"] {
            let request = client.request(&body).header("idempotency-key", format!("k{stream}"));
            let answer = Answer::of(request.header("x-request-id", format!("{id}-{stream}"))).await;
            assert_eq!(answer.status, 200);
            answers.push(stored(&gateway, &format!("{id}-{stream}")).await);
        }
        assert_eq!(answers[0]["response"], answers[1]["response"]);
        assert_ne!(answers[0]["call_id"], answers[1]["call_id"]);
        assert_eq!(answers[1]["attempts"], json!([]), "it cost nothing");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn an_id_that_clients_use_twice_names_the_newest_call_and_lists_the_other() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let client = client_of(&gateway, "full").await;
    ask(&client, "same", json!({"seed": 1})).await;
    let first = stored(&gateway, "same").await;
    ask(&client, "same", json!({"seed": 2})).await;
    gateway.counted(super::STORED, 2.0).await;
    let newest = gateway.admin("GET", "/requests/same", None).await.1;
    assert!(newest["request"]["body"].as_str().unwrap().contains("\"seed\":2"), "{newest}");
    assert_eq!(newest["other_calls"], json!([first["call_id"]]));
    let other =
        gateway.admin("GET", &format!("/requests/{}", first["call_id"].as_str().unwrap()), None).await.1;
    assert_eq!(other["request"], first["request"]);
    assert!(first["request"]["body"].as_str().unwrap().contains(PROMPT));
}
