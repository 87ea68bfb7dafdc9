//! A conversation of ten turns with thinking and parallel calls, against an upstream that is as strict as the API.

use serde_json::{Value, json};

use super::{sse, target};
use crate::wire::recorded::seen::Seen;
use crate::wire::{WireFormat, testing};

const TURNS: usize = 10;

/// The answer that the upstream gives in a turn.
fn parts(turn: usize) -> Vec<Value> {
    let id = |at: usize| if turn.is_multiple_of(2) { json!(format!("up{turn}x{at}")) } else { Value::Null };
    let call = |at: usize| json!({"functionCall": {"id": id(at), "name": format!("tool_{at}"), "args": {"turn": turn, "at": at}}});
    let mut parts = vec![json!({"text": format!("Thinking about {turn}."), "thought": true})];
    if turn.is_multiple_of(3) {
        parts.push(json!({"text": format!("Schritt für Schritt {turn}: ")}));
    }
    for at in 0..=turn % 3 {
        let mut one = call(at);
        if at == 0 {
            one["thoughtSignature"] = json!(format!("sig+/{turn}=="));
        }
        parts.push(one);
    }
    parts
}

/// What must be in the request of a turn, by the API's rules.
fn validate(turn: usize, body: &Value) {
    let known = ["systemInstruction", "tools", "toolConfig", "generationConfig", "contents"];
    assert!(body.as_object().unwrap().keys().all(|name| known.contains(&name.as_str())));
    assert_eq!(
        body["generationConfig"]["thinkingConfig"],
        json!({"includeThoughts": true, "thinkingLevel": "high"})
    );
    let contents = body["contents"].as_array().unwrap();
    assert_eq!(contents.len(), 1 + 2 * turn, "one turn each");
    for (at, content) in contents.iter().enumerate() {
        let role = if at % 2 == 0 { "user" } else { "model" };
        assert_eq!(content["role"], role, "roles alternate");
        assert!(!content["parts"].as_array().unwrap().is_empty());
    }
    for round in 0..turn {
        let (model, user) = (&contents[1 + 2 * round]["parts"], &contents[2 + 2 * round]["parts"]);
        let expected: Vec<Value> = parts(round)
            .into_iter()
            .filter(|part| part["thought"] != true)
            .map(|mut part| {
                if part["functionCall"]["id"].is_null() && part["functionCall"].is_object() {
                    part["functionCall"].as_object_mut().unwrap().remove("id");
                }
                part
            })
            .collect();
        assert_eq!(*model, json!(expected), "the turn as the model made it, signatures on their parts");
        let calls: Vec<&Value> = expected.iter().filter_map(|part| part.get("functionCall")).collect();
        let results: Vec<&Value> = user
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part.get("functionResponse").expect("only results"))
            .collect();
        assert_eq!(calls.len(), results.len(), "as many results as calls");
        for (call, result) in calls.iter().zip(results) {
            assert_eq!((&call["name"], &call["id"]), (&result["name"], &result["id"]), "in order");
            assert_eq!(
                result["response"],
                json!({"result": format!("{} of {round}", call["name"].as_str().unwrap())})
            );
        }
    }
}

/// The client's message for an answer, alternately streamed and whole.
fn answered(turn: usize) -> Value {
    let event = |part: &Value, finish: Value| json!({"candidates": [{"content": {"parts": [part]}, "finishReason": finish, "index": 0}]});
    let made = parts(turn);
    if turn % 4 < 2 {
        let events: Vec<Value> = made.iter().map(|part| event(part, json!("STOP"))).collect();
        let bytes = sse(&events);
        let (chunks, ended) =
            testing::stream(WireFormat::Gemini, "text/event-stream", &bytes.chunks(11).collect::<Vec<_>>());
        assert_eq!(ended, Ok(()));
        let choice = Seen::streamed(&chunks).choices.remove(0);
        assert_eq!(choice.finish.as_deref(), Some("tool_calls"));
        let calls: Vec<Value> = choice.calls.iter().map(|call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})).collect();
        return json!({"role": "assistant", "content": choice.text, "tool_calls": calls, "reasoning": choice.reasoning, "reasoning_details": choice.details});
    }
    let body = json!({"candidates": [{"content": {"parts": made}, "finishReason": "STOP"}]});
    super::whole(&body)["choices"][0]["message"].clone()
}

#[test]
fn ten_turns_are_accepted_and_their_prefix_keeps_its_bytes() {
    let tools: Vec<Value> = (0..3)
        .map(|at| json!({"type": "function", "function": {"name": format!("tool_{at}"), "parameters":
            {"type": "object", "properties": {"turn": {"type": "integer"}, "at": {"type": "integer"}}, "required": ["at", "turn"]}}}))
        .collect();
    let mut messages =
        vec![json!({"role": "system", "content": "work"}), json!({"role": "user", "content": "go"})];
    let mut before: Vec<u8> = Vec::new();
    for turn in 0..TURNS {
        let body = json!({"model": "m", "messages": messages, "tools": tools, "reasoning_effort": "high", "stream": turn.is_multiple_of(2)});
        let encoded =
            testing::encode_for(WireFormat::Gemini, "gemini-3-flash", &body.to_string(), &target()).unwrap();
        assert!(encoded.dropped.is_empty());
        assert!(encoded.body.starts_with(&before), "the prefix of turn {turn}");
        before = encoded.body.strip_suffix(b"]}").unwrap().to_vec();
        validate(turn, &serde_json::from_slice(&encoded.body).unwrap());

        let mut message = answered(turn);
        // Ids that were made up are unique to an answer; all answers of this test have the same start.
        let text = message.to_string().replace("call_x_", &format!("call_{turn}_"));
        message = serde_json::from_str(&text).unwrap();
        let mut results: Vec<Value> = message["tool_calls"].as_array().unwrap().iter()
            .map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": format!("{} of {turn}", call["function"]["name"].as_str().unwrap())}))
            .collect();
        // Tools finish in any order.
        results.reverse();
        messages.push(message);
        messages.extend(results);
    }
}
