//! A conversation of ten rounds with thinking and parallel tools: each answer is streamed, put together as a client
//! does it, sent back, and checked as the API checks it.

use serde_json::{Value, json};

use crate::chat::Facts;
use crate::wire::eventstream::CONTENT_TYPE;
use crate::wire::eventstream::tests::event_frame;
use crate::wire::testing::{self, Target};
use crate::wire::{Quirks, WireFormat};

const FORMAT: WireFormat = WireFormat::BedrockConverse;
const ROUNDS: usize = 10;

fn target() -> Target {
    let quirks = Quirks { budget_thinking_models: vec!["*".to_owned()], ..Quirks::default() };
    Target { quirks, facts: Facts { max_output: Some(64_000), ..Facts::default() }, ..Target::default() }
}

/// The blocks of an answer: thinking, at times more of it within the text or only for the minter to read, two calls.
fn blocks(round: usize) -> Vec<Value> {
    let thought = |text: &str, nth: usize| {
        let signature = format!("sig/{round}+{nth}==");
        json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}})
    };
    let call = |name: &str, nth: usize| {
        let input = json!({"city": "Wien", "n": round});
        json!({"toolUse": {"toolUseId": format!("tooluse_{round}_{nth}"), "name": name, "input": input}})
    };
    let mut blocks = vec![thought("é thinking\n", 0)];
    if round % 3 == 1 {
        blocks.push(json!({"reasoningContent": {"redactedContent": "cmVkYWN0ZWQ="}}));
    }
    if round % 2 == 1 {
        blocks.extend([json!({"text": "Let me look, é"}), thought("", 1), json!({"text": " and see."})]);
    }
    blocks.push(call("get_weather", 0));
    if round % 4 == 2 {
        blocks.push(thought("between", 2));
    }
    blocks.push(call("get_time", 1));
    blocks
}

/// The frames that stream an answer.
fn frames(blocks: &[Value]) -> Vec<u8> {
    let mut out = event_frame("messageStart", r#"{"role":"assistant"}"#);
    for (index, block) in blocks.iter().enumerate() {
        let mut delta = |delta: Value| {
            let payload = json!({"contentBlockIndex": index, "delta": delta}).to_string();
            out.extend(event_frame("contentBlockDelta", &payload));
        };
        if let Some(text) = block["text"].as_str() {
            delta(json!({"text": text}));
        } else if let Some(thought) = block.pointer("/reasoningContent/reasoningText") {
            delta(json!({"reasoningContent": {"text": thought["text"]}}));
            let signature = thought["signature"].as_str().unwrap();
            let (head, tail) = signature.split_at(4);
            delta(json!({"reasoningContent": {"signature": head}}));
            delta(json!({"reasoningContent": {"signature": tail}}));
        } else if let Some(data) = block.pointer("/reasoningContent/redactedContent") {
            delta(json!({"reasoningContent": {"redactedContent": data}}));
        } else {
            let call = &block["toolUse"];
            let start = json!({"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}});
            let payload = json!({"contentBlockIndex": index, "start": start}).to_string();
            out.extend(event_frame("contentBlockStart", &payload));
            let input = call["input"].to_string();
            let payload =
                json!({"contentBlockIndex": index, "delta": {"toolUse": {"input": input}}}).to_string();
            out.extend(event_frame("contentBlockDelta", &payload));
        }
        out.extend(event_frame("contentBlockStop", &json!({"contentBlockIndex": index}).to_string()));
    }
    out.extend(event_frame("messageStop", r#"{"stopReason":"tool_use"}"#));
    let usage = r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3}}"#;
    out.extend(event_frame("metadata", usage));
    out
}

/// The assistant's message as a client puts it together from chunks.
fn assembled(chunks: &[Value]) -> Value {
    let (mut text, mut details, mut calls) = (String::new(), Vec::new(), Vec::<Value>::new());
    for delta in chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]) {
        text.push_str(delta["content"].as_str().unwrap_or(""));
        details.extend(delta["reasoning_details"].as_array().cloned().unwrap_or_default());
        for fragment in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = usize::try_from(fragment["index"].as_u64().unwrap()).unwrap();
            if at == calls.len() {
                calls.push(fragment.clone());
                continue;
            }
            let more = fragment["function"]["arguments"].as_str().unwrap();
            let known = calls[at]["function"]["arguments"].as_str().unwrap();
            calls[at]["function"]["arguments"] = json!(format!("{known}{more}"));
        }
    }
    let content = if text.is_empty() { Value::Null } else { json!(text) };
    json!({"role": "assistant", "content": content, "reasoning_details": details, "tool_calls": calls})
}

/// Checks a request as the API does.
fn validate(sent: &Value, answers: &[Vec<Value>]) {
    let budget = sent["additionalModelRequestFields"]["thinking"]["budget_tokens"].as_u64().unwrap();
    assert!((1024..sent["inferenceConfig"]["maxTokens"].as_u64().unwrap()).contains(&budget));
    assert!(sent["inferenceConfig"].get("temperature").is_none());
    let choice = &sent["toolConfig"]["toolChoice"];
    assert!(choice.get("any").is_none() && choice.get("tool").is_none(), "a forced tool beside thinking");
    assert_eq!(sent["toolConfig"]["tools"].as_array().unwrap().len(), 2);
    let mut pending: Vec<&Value> = Vec::new();
    let turns = sent["messages"].as_array().unwrap();
    let mut minted = answers.iter();
    for (at, turn) in turns.iter().enumerate() {
        let content = turn["content"].as_array().unwrap();
        assert_eq!(turn["role"], if at % 2 == 0 { "user" } else { "assistant" }, "roles alternate");
        assert!(!content.is_empty());
        let blank = |block: &Value| block["text"].as_str().is_some_and(|text| text.trim().is_empty());
        assert!(!content.iter().any(blank), "a blank text");
        if at % 2 == 0 {
            let results: Vec<&Value> = content.iter().filter_map(|block| block.get("toolResult")).collect();
            let first: Vec<bool> = content.iter().map(|block| block.get("toolResult").is_some()).collect();
            assert!(first.is_sorted_by(|one, next| one >= next), "results come first");
            let mut ids: Vec<&Value> = results.iter().map(|result| &result["toolUseId"]).collect();
            ids.sort_by_key(|id| id.to_string());
            assert_eq!(ids, pending, "each call has its result");
            pending.clear();
        } else {
            // Every block as it was minted: signatures byte for byte, in their places.
            assert_eq!(content, minted.next().unwrap());
            pending = content
                .iter()
                .filter_map(|block| block.get("toolUse"))
                .map(|call| &call["toolUseId"])
                .collect();
            pending.sort_by_key(|id| id.to_string());
        }
    }
    assert!(pending.is_empty() && minted.next().is_none());
}

#[test]
fn ten_rounds_of_thinking_and_parallel_tools_are_never_refused() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}});
    let mut body = json!({
        "model": "m", "reasoning_effort": "medium", "temperature": 1, "tools": [tool("get_weather"), tool("get_time")],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "content": "What is the weather?"},
        ],
    });
    let mut answers: Vec<Vec<Value>> = Vec::new();
    let mut before: Vec<u8> = Vec::new();
    for round in 0..ROUNDS {
        let encoded = testing::encode(FORMAT, &body.to_string(), &target()).unwrap();
        assert_eq!(encoded.dropped, Vec::<String>::new());
        validate(&serde_json::from_slice(&encoded.body).unwrap(), &answers);
        let prefix = before.strip_suffix(b"]}").unwrap_or(&before);
        assert!(encoded.body.starts_with(prefix), "round {round}: the prefix changed");
        before = encoded.body.to_vec();

        let blocks = blocks(round);
        let bytes = frames(&blocks);
        let pieces: Vec<&[u8]> = bytes.chunks(round * 7 + 1).collect();
        let (chunks, ended) = testing::stream(FORMAT, CONTENT_TYPE, &pieces);
        assert_eq!(ended, Ok(()));
        let message = assembled(&chunks);
        let messages = body["messages"].as_array_mut().unwrap();
        let ids: Vec<Value> =
            message["tool_calls"].as_array().unwrap().iter().map(|call| call["id"].clone()).collect();
        messages.push(message);
        for id in ids.iter().rev() {
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": format!("sunny {round}")}));
        }
        if round == 4 {
            messages.push(json!({"role": "user", "content": "And now?"}));
        }
        answers.push(blocks);
    }
}
