//! The rules that hold for every format, told piece by piece.

use serde_json::{Value, json};

use super::*;
use crate::chat::conversation::Detail;

fn envelope() -> Envelope {
    Envelope { model: "p/m".into(), fallback_id: "chatcmpl-abc".into(), created_s: 7, ..Envelope::default() }
}

/// Tells an answer a conversation's worth of pieces.
fn tell(answer: &mut Answer) {
    answer.id("up-1");
    answer.reasoning(0, "hm");
    answer
        .detail(
            0,
            Detail {
                kind: Detail::TEXT.into(),
                text: Some("hm".into()),
                signature: Some("s".into()),
                ..Detail::default()
            },
        )
        .unwrap();
    answer.text(0, "zé");
    answer
        .detail(0, Detail { kind: Detail::ENCRYPTED.into(), data: Some("x".into()), ..Detail::default() })
        .unwrap();
    let first = answer.open_call(0, "", "f");
    let second = answer.open_call(0, "c2", "g");
    answer.call_arguments(0, first, "{\"a\":");
    answer.call_arguments(0, first, "1}");
    assert_eq!((first, second), (0, 1));
    answer.report_usage(Usage { prompt: 3, completion: 4, total: 7, ..Usage::default() });
    answer.finish(0, Ending::known("stop", "end"));
    answer.finish(0, Ending::unknown("late"));
}

fn chunks(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    text.split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str(data).ok())
        .collect()
}

#[test]
fn a_stream_says_role_first_counts_calls_and_ends_once() {
    for include_usage in [false, true] {
        let mut answer = Answer::streamed(&envelope(), include_usage, 1);
        tell(&mut answer);
        answer.settle(&envelope(), 5);
        answer.settle(&envelope(), 6);
        answer.close(&envelope(), 7, Metered::of(*answer.usage().unwrap()).object, None);
        let mut out = Vec::new();
        answer.take_output(&mut out);
        let chunks = chunks(&out);
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk["id"] == "up-1" && chunk["model"] == "p/m" && chunk["created"] == 7)
        );
        let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
        assert_eq!(deltas[0], &json!({"role": "assistant", "reasoning": "hm"}));
        assert_eq!(
            deltas[1]["reasoning_details"][0],
            json!({"type":"reasoning.text","text":"hm","signature":"s","index":0})
        );
        assert_eq!(deltas[3]["reasoning_details"][0]["after_text"], 2);
        assert_eq!(deltas[4]["tool_calls"][0]["id"], "call_abc_0");
        let arguments: Vec<&str> = deltas
            .iter()
            .filter(|delta| delta["tool_calls"][0]["index"] == 1)
            .filter_map(|delta| delta["tool_calls"][0]["function"]["arguments"].as_str())
            .collect();
        assert_eq!(arguments, ["", "{}"]);
        let reasons: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["finish_reason"])
            .filter(|reason| !reason.is_null())
            .collect();
        assert_eq!(reasons, ["tool_calls"]);
        let last = chunks.last().unwrap();
        assert!(last["metadata"].is_object());
        assert_eq!(chunks.iter().filter(|chunk| chunk["metadata"].is_object()).count(), 1);
        assert_eq!(last["usage"]["total_tokens"] == 7, include_usage);
    }
}

#[test]
fn a_whole_reply_says_the_same() {
    let mut answer = Answer::gathered(&envelope());
    tell(&mut answer);
    let reply: Value =
        serde_json::from_slice(&answer.render(&envelope(), 1, UsageObject::default(), None)).unwrap();
    let message = &reply["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning"]), (&json!("zé"), &json!("hm")));
    assert_eq!(message["tool_calls"][0]["function"], json!({"name":"f","arguments":"{\"a\":1}"}));
    assert_eq!(message["tool_calls"][1]["function"]["arguments"], "{}");
    assert_eq!(message["reasoning_details"][1]["after_text"], 2);
    assert_eq!(reply["choices"][0]["finish_reason"], "tool_calls");
    let minted = answer.minted().unwrap();
    assert_eq!((minted.call_ids.len(), minted.details.len()), (2, 2));
}

#[test]
fn an_unknown_ending_is_told_and_not_made_up() {
    let mut answer = Answer::streamed(&envelope(), false, 1);
    answer.text(0, "a");
    answer.finish(0, Ending::unknown("pause_turn"));
    answer.settle(&envelope(), 1);
    let mut out = Vec::new();
    answer.take_output(&mut out);
    let chunks = chunks(&out);
    let choice = &chunks.last().unwrap()["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["native_finish_reason"]),
        (&Value::Null, &json!("pause_turn"))
    );
}
