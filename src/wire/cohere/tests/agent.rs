//! Ten turns of an agent with thinking, plans and parallel tools, against rules like the vendor's own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::FORMAT;
use crate::wire::recorded::seen::Seen;
use crate::wire::testing::{Target, encode, stream, whole};

/// What the vendor says in one turn: its message, and how it ends.
fn turn(at: usize) -> (Value, &'static str) {
    let thinking = json!({"type": "thinking", "thinking": format!("hm {at} \u{e9}\n\"quoted\"")});
    if at % 3 == 2 {
        let text = json!({"type": "text", "text": format!("Answer {at} \u{1f600}.")});
        return (json!({"role": "assistant", "content": [thinking, text]}), "COMPLETE");
    }
    let call = |name: &str, arguments: &str| json!({"id": format!("{name}_{at}"), "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls = json!([call("weather", r#"{ "city": "Paris" }"#), call("time", "{}")]);
    let plan = format!("I will look {at}.");
    (json!({"role": "assistant", "content": [thinking], "tool_plan": plan, "tool_calls": calls}), "TOOL_CALL")
}

/// The same as a stream.
fn events((message, finish): &(Value, &'static str)) -> String {
    let list = |name: &str| message[name].as_array().cloned().unwrap_or_default();
    let mut events = vec![
        json!({"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant", "content": []}}}),
    ];
    for (index, block) in list("content").into_iter().enumerate() {
        events
            .push(json!({"type": "content-start", "index": index, "delta": {"message": {"content": block}}}));
        events.push(json!({"type": "content-end", "index": index}));
    }
    if let Some(plan) = message.get("tool_plan") {
        events.push(json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": plan}}}));
    }
    for (index, call) in list("tool_calls").into_iter().enumerate() {
        events.push(
            json!({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}}),
        );
        events.push(json!({"type": "tool-call-end", "index": index}));
    }
    events.push(json!({"type": "message-end", "delta": {"finish_reason": finish}}));
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// What a client makes of an answer, to send it back.
fn remembered(seen: &Seen) -> Value {
    let choice = &seen.choices[0];
    let mut message =
        json!({"role": "assistant", "reasoning": choice.reasoning, "reasoning_details": choice.details});
    message["content"] = if choice.text.is_empty() { Value::Null } else { json!(choice.text) };
    if !choice.calls.is_empty() {
        let call = |call: &crate::wire::recorded::seen::Call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
        message["tool_calls"] = choice.calls.iter().map(call).collect();
    }
    message
}

/// The vendor's rules: fields, pairing of calls and results, roles, budgets.
fn validate(body: &Value) -> Result<(), String> {
    const FIELDS: [&str; 7] =
        ["model", "messages", "tools", "tool_choice", "thinking", "max_tokens", "stream"];
    let rule = |holds: bool, words: &str| if holds { Ok(()) } else { Err(format!("{words}: {body}")) };
    let object = body.as_object().unwrap();
    rule(object.keys().all(|name| FIELDS.contains(&name.as_str())), "unknown field")?;
    let budget = body["thinking"]["token_budget"].as_u64().unwrap_or(0);
    rule(budget > 0 && body["max_tokens"].as_u64().unwrap() > budget, "the budget leaves no answer")?;
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut last = "";
    for message in body["messages"].as_array().unwrap() {
        let role = message["role"].as_str().unwrap();
        match role {
            "tool" => {
                let id = message["tool_call_id"].as_str().unwrap();
                rule(open.remove(id), "a result of no call")?;
                rule(message["content"].is_string(), "a result without content")?;
            }
            _ => rule(open.is_empty(), "a call without a result")?,
        }
        rule(role != "user" || last != "user", "two turns of the user")?;
        rule(role != "assistant" || last == "user" || last == "tool", "an answer to nothing")?;
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let arguments = call["function"]["arguments"].as_str().unwrap();
            rule(serde_json::from_str::<Value>(arguments).unwrap().is_object(), "arguments are no object")?;
            rule(open.insert(call["id"].as_str().unwrap().to_owned()), "a call id twice")?;
        }
        let empty = message.get("content").is_none() && message.get("tool_calls").is_none();
        rule(!empty, "a message of nothing")?;
        last = role;
    }
    rule(open.is_empty() && (last == "user" || last == "tool"), "nothing to answer")
}

#[test]
fn ten_turns_come_back_as_they_were_and_the_prefix_stays_the_same_bytes() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}});
    let mut client = json!({"model": "x", "max_tokens": 9000, "reasoning_effort": "high",
        "tools": [tool("weather"), tool("time")],
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "go"}]});
    let mut before: Option<String> = None;
    for at in 0..10 {
        let streamed = at % 2 == 0;
        client["stream"] = json!(streamed);
        let encoded = encode(FORMAT, &client.to_string(), &Target::default()).unwrap();
        assert!(encoded.dropped.is_empty());
        let text = String::from_utf8(encoded.body.to_vec()).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        validate(&body).unwrap();
        let prefix = text.split("],\"tools\":").next().unwrap().to_owned();
        if let Some(before) = before.replace(prefix) {
            assert!(text.starts_with(&before), "turn {at} changes what was said before");
        }
        let spoken: Vec<&Value> = body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["role"] == "assistant")
            .collect();
        assert_eq!(spoken.len(), at);
        for (turned, message) in spoken.into_iter().enumerate() {
            assert_eq!(*message, turn(turned).0, "turn {turned} as it comes back in turn {at}");
        }
        let turn = turn(at);
        let seen = if streamed {
            let (chunks, ended) = stream(FORMAT, "text/event-stream", &[events(&turn).as_bytes()]);
            assert_eq!(ended, Ok(()));
            Seen::streamed(&chunks)
        } else {
            let reply = json!({"id": "i", "message": turn.0, "finish_reason": turn.1});
            Seen::whole(&whole(FORMAT, reply.to_string().as_bytes()).unwrap())
        };
        let messages = client["messages"].as_array_mut().unwrap();
        let message = remembered(&seen);
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        messages.push(message);
        if calls.is_empty() {
            messages.push(json!({"role": "user", "content": "more"}));
        }
        for call in calls {
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny"}));
        }
    }
}
