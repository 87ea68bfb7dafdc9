//! An agent's conversation: ten rounds of reasoning and parallel calls, checked at every turn as the API checks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::wire::WireFormat;
use crate::wire::recorded::seen::Seen;
use crate::wire::testing::{self, Target};

const ROUNDS: usize = 10;

/// What the vendor answers in a round: thought, said, thought again, and two calls of which one has a thought of its own.
fn output(round: usize) -> Value {
    let thought = |at: usize, words: &[&str]| {
        let summary: Vec<Value> =
            words.iter().map(|text| json!({"type": "summary_text", "text": text})).collect();
        json!({"type": "reasoning", "id": format!("rs_{round}_{at}"), "summary": summary,
            "encrypted_content": format!("E{round}.{at}==")})
    };
    let call = |at: usize| {
        json!({"type": "function_call", "id": format!("fc_{round}_{at}"), "call_id": format!("call_{round}_{at}"),
            "name": "look", "arguments": format!("{{\"n\": {at}}}"), "status": "completed"})
    };
    let said = json!({"type": "message", "id": format!("msg_{round}"), "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": format!("Rundę {round}"), "annotations": []}]});
    json!([thought(0, &["first", "second"]), said, thought(1, &[]), call(0), thought(2, &["third"]), call(1)])
}

/// The assistant's message as a client puts it together.
fn answer(round: usize, streamed: bool) -> Value {
    let response = json!({"id": "resp", "status": "completed", "output": output(round)});
    if !streamed {
        let reply = testing::whole(WireFormat::Responses, response.to_string().as_bytes()).unwrap();
        return reply["choices"][0]["message"].clone();
    }
    let mut body = String::new();
    for (at, item) in output(round).as_array().unwrap().iter().enumerate() {
        let done = json!({"type": "response.output_item.done", "output_index": at, "item": item});
        body.push_str(&format!("data: {done}\n\n"));
    }
    body.push_str(&format!("data: {}\n\n", json!({"type": "response.completed", "response": response})));
    let (chunks, ended) = testing::stream(WireFormat::Responses, "text/event-stream", &[body.as_bytes()]);
    assert_eq!(ended, Ok(()));
    let choice = Seen::streamed(&chunks).choices.remove(0);
    let calls: Vec<Value> = choice
        .calls
        .iter()
        .map(|call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}))
        .collect();
    json!({"role": "assistant", "content": choice.text, "tool_calls": calls, "reasoning_details": choice.details})
}

/// What the API answers 400 to.
fn check(body: &Value) {
    assert_eq!((&body["store"], &body["include"][0]), (&json!(false), &json!("reasoning.encrypted_content")));
    let mut open: BTreeMap<String, bool> = BTreeMap::new();
    let items = body["input"].as_array().unwrap();
    for (at, item) in items.iter().enumerate() {
        let kind = item.get("type").and_then(Value::as_str).unwrap_or("message");
        match kind {
            "message" => assert!(item["role"].is_string() && item["content"].is_string(), "{item}"),
            "reasoning" => {
                assert!(item["summary"].is_array() && item["encrypted_content"].is_string(), "{item}");
                let next = &items[at + 1];
                let follows = next.get("role").is_none_or(|role| role == "assistant");
                assert!(follows && next["type"] != "function_call_output", "nothing follows {item}");
            }
            "function_call" => {
                let id = item["call_id"].as_str().unwrap().to_owned();
                assert!(item["arguments"].is_string() && open.insert(id, false).is_none(), "{item}");
            }
            "function_call_output" => {
                let answered =
                    open.get_mut(item["call_id"].as_str().unwrap()).expect("a call before its result");
                assert!(!std::mem::replace(answered, true), "two results: {item}");
            }
            other => panic!("{other}"),
        }
    }
    assert!(open.values().all(|answered| *answered), "a call without its result");
}

/// The items of an earlier answer as they must be when they come back.
fn returned(round: usize) -> Vec<Value> {
    let mut items = output(round).as_array().unwrap().clone();
    for item in &mut items {
        match item["type"].as_str().unwrap() {
            "message" => *item = json!({"role": "assistant", "content": item["content"][0]["text"]}),
            "function_call" => {
                item.as_object_mut().unwrap().retain(|name, _| name != "id" && name != "status");
            }
            _ => {}
        }
    }
    items
}

#[test]
fn ten_rounds_come_back_exactly_and_with_the_same_first_bytes() {
    for streamed in [false, true] {
        let mut messages = vec![
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": "Go."}),
        ];
        let mut expected = messages.clone();
        let mut before: Vec<u8> = Vec::new();
        for round in 0..=ROUNDS {
            let body = json!({
                "model": "m", "reasoning_effort": "high", "stream": streamed, "messages": messages,
                "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}}],
            });
            let encoded =
                testing::encode(WireFormat::Responses, &body.to_string(), &Target::default()).unwrap();
            let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
            check(&sent);
            assert_eq!(sent["input"], Value::from(expected.clone()), "round {round}");
            let prefix = before.strip_suffix(b"]}").unwrap_or_default();
            assert!(encoded.body.starts_with(prefix), "round {round} begins with other bytes");
            before = encoded.body.to_vec();
            messages.push(answer(round, streamed));
            expected.extend(returned(round));
            for at in [1, 0] {
                let id = format!("call_{round}_{at}");
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": "42"}));
                expected.push(json!({"type": "function_call_output", "call_id": id, "output": "42"}));
            }
        }
    }
}
