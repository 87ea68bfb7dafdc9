//! Ten turns of an agent with thinking before and between parallel calls, against rules like the API's own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{FORMAT, events, with};
use crate::chat::Trait;
use crate::wire::recorded::seen::{Call, Seen};
use crate::wire::testing::{encode, stream, whole};

/// The blocks of one turn. Every third answers; in the others two tools are called, with thinking between them.
fn turn(at: usize) -> (Vec<Value>, &'static str) {
    let thinking = |n: usize| json!({"type": "thinking", "thinking": format!("hm {at}.{n} é\n\"q\" \u{1f600}"), "signature": format!("sig+{at}/{n}==")});
    let redacted = json!({"type": "redacted_thinking", "data": format!("opaque{at}")});
    let text = |text: &str| json!({"type": "text", "text": format!("{text} {at} é.")});
    let call = |n: usize| json!({"type": "tool_use", "id": format!("toolu_{at}_{n}"), "name": "f", "input": {"city": "Wien", "n": n}});
    match at % 3 {
        2 => (vec![thinking(0), text("Done"), redacted, text("Really")], "end_turn"),
        1 => (vec![redacted, call(0), thinking(1), call(1)], "tool_use"),
        _ => (vec![thinking(0), text("Looking"), thinking(1), call(0), call(1)], "tool_use"),
    }
}

fn reply((blocks, reason): &(Vec<Value>, &'static str)) -> Vec<u8> {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    json!({"type": "message", "id": "m", "content": blocks, "stop_reason": reason, "usage": usage})
        .to_string()
        .into_bytes()
}

/// The same as a stream.
fn as_events((blocks, reason): &(Vec<Value>, &'static str)) -> String {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let mut all = vec![json!({"type": "message_start", "message": {"id": "m", "usage": usage}})];
    for (index, block) in blocks.iter().enumerate() {
        let (first, deltas) = match block["type"].as_str().unwrap() {
            "thinking" => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                    json!({"type": "signature_delta", "signature": block["signature"]}),
                ],
            ),
            "text" => (
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": block["text"]})],
            ),
            "tool_use" => (
                json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}),
                vec![json!({"type": "input_json_delta", "partial_json": block["input"].to_string()})],
            ),
            _ => (block.clone(), vec![]),
        };
        all.push(json!({"type": "content_block_start", "index": index, "content_block": first}));
        all.extend(
            deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        );
        all.push(json!({"type": "content_block_stop", "index": index}));
    }
    all.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}));
    all.push(json!({"type": "message_stop"}));
    events(&all)
}

/// What a client makes of an answer, to send it back.
fn remembered(seen: &Seen) -> Value {
    let choice = &seen.choices[0];
    let mut message =
        json!({"role": "assistant", "reasoning": choice.reasoning, "reasoning_details": choice.details});
    message["content"] = if choice.text.is_empty() { Value::Null } else { json!(choice.text) };
    if !choice.calls.is_empty() {
        let call = |call: &Call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
        message["tool_calls"] = choice.calls.iter().map(call).collect();
    }
    message
}

/// The API's rules; `minted` are the turns that the model made, whose blocks must come back as they were.
fn check(body: &Value, minted: &[Vec<Value>]) {
    let limit = body["max_tokens"].as_u64().unwrap();
    let budget = body["thinking"]["budget_tokens"].as_u64().unwrap();
    assert!(budget >= 1024 && budget < limit, "{budget} of {limit}");
    for name in ["temperature", "top_k"] {
        assert!(body.get(name).is_none());
    }
    let known: BTreeSet<&str> =
        body["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    let mut role = "assistant";
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut made = minted.iter();
    for turn in body["messages"].as_array().unwrap() {
        let next = turn["role"].as_str().unwrap();
        assert!(next != role && ["user", "assistant"].contains(&next), "roles alternate");
        role = next;
        let blocks = turn["content"].as_array().unwrap();
        assert!(!blocks.is_empty());
        if role == "assistant" {
            assert_eq!(blocks, made.next().unwrap(), "the model's turn is not what it was");
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            open = calls.map(|block| block["id"].as_str().unwrap().to_owned()).collect();
            assert!(
                blocks.iter().all(|b| b["type"] != "tool_use" || known.contains(b["name"].as_str().unwrap()))
            );
            continue;
        }
        let results = blocks.iter().take_while(|block| block["type"] == "tool_result");
        let answered: Vec<String> = results.map(|b| b["tool_use_id"].as_str().unwrap().to_owned()).collect();
        assert!(
            blocks.iter().skip(answered.len()).all(|block| block["type"] == "text"),
            "results come first"
        );
        assert_eq!(answered.len(), open.len());
        assert_eq!(
            answered.into_iter().collect::<BTreeSet<_>>(),
            std::mem::take(&mut open),
            "each call is answered"
        );
    }
    assert_eq!((role, made.next()), ("user", None));
}

#[test]
fn ten_turns_with_thinking_between_parallel_calls_break_no_rule() {
    for streams in [false, true] {
        let mut messages =
            vec![json!({"role": "system", "content": "s"}), json!({"role": "user", "content": "q"})];
        let mut minted: Vec<Vec<Value>> = Vec::new();
        let mut before: Option<String> = None;
        for at in 0..10 {
            let body = json!({"model": "x", "messages": messages, "tools": [super::tool()], "reasoning_effort": "high", "temperature": 0.2, "max_tokens": 1000});
            let encoded = encode(FORMAT, &body.to_string(), &with(&[Trait::BudgetThinking])).unwrap();
            let sent = std::str::from_utf8(&encoded.body).unwrap();
            assert_eq!(encoded.dropped, ["temperature"]);
            check(&serde_json::from_str(sent).unwrap(), &minted);
            // What went before is a prefix of what goes now, byte by byte, up to where its messages end.
            if let Some(before) = &before {
                let end = before.find("],\"thinking\"").unwrap();
                assert_eq!(sent.get(..end), before.get(..end), "turn {at}");
            }
            before = Some(sent.to_owned());
            let answer = turn(at);
            let seen = if streams {
                Seen::streamed(&stream(FORMAT, "text/event-stream", &[as_events(&answer).as_bytes()]).0)
            } else {
                Seen::whole(&whole(FORMAT, &reply(&answer)).unwrap())
            };
            messages.push(remembered(&seen));
            let said = ["", "ok"][at % 2];
            for call in &seen.choices[0].calls {
                messages.push(json!({"role": "tool", "tool_call_id": call.id, "content": said}));
            }
            if seen.choices[0].calls.is_empty() {
                messages.push(json!({"role": "user", "content": format!("and {at}?")}));
            }
            minted.push(answer.0);
        }
    }
}
