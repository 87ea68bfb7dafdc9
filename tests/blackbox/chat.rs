//! POST /v1/chat/completions: the main job.

use serde_json::json;

use crate::support::{Event, Gateway, Script, Upstream, chunk, completion, stream_head, whole};

#[tokio::test]
async fn a_question_is_answered_and_booked() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Gateway::before(&upstream).await;
    let answer = gateway.client().await.ask("up/m", json!({})).await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "hi"), "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["model"], "up/m");
    assert_eq!(body["metadata"]["request_id"], answer.header("x-request-id"));
    let rows = gateway.ledger(1).await;
    assert_eq!((&rows[0]["outcome"], &rows[0]["completion_tokens"]), (&json!("completed"), &json!(3)));
}

#[tokio::test]
async fn a_stream_is_passed_on_event_by_event_to_its_end() {
    let event = |delta: &str, finish: &str| {
        chunk(format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        ))
    };
    let script = Script::new()
        .send(stream_head())
        .send(event(r#"{"role":"assistant","content":"a"}"#, "null"))
        .send(event(r#"{"content":"b"}"#, "null"))
        .send(event("{}", "\"stop\""))
        .send(chunk("data: [DONE]\n\n"))
        .send(chunk(""));
    let upstream = Upstream::always(script).await;
    let gateway = Gateway::before(&upstream).await;
    let answer = gateway.client().await.ask("up/m", json!({"stream": true})).await;
    assert_eq!((answer.status, answer.content().as_str(), answer.done()), (200, "ab", true));
    assert_eq!(answer.events().len(), 4);
    assert!(matches!(&answer.events()[2], Event::Json(last) if last["metadata"]["used_provider"] == "up"));
    assert_eq!(upstream.last().json()["stream_options"]["include_usage"], true);
}
