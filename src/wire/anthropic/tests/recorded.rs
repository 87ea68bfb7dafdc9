//! The recorded traffic of this format.

use serde_json::{Value, json};

use crate::wire::recorded::{Case, answers, requests};
use crate::wire::testing::Target;
use crate::wire::{Quirks, WireFormat};

#[test]
fn every_recorded_answer_is_read_as_it_was_meant() {
    assert_eq!(answers(WireFormat::Anthropic, "anthropic", &[]), 94);
}

/// The row of the provider that the case was recorded at.
fn target(case: &Case) -> Target {
    let version = match case.meta["provider"].as_str() {
        Some("vertex-anthropic") => Some("vertex-2023-10-16"),
        Some("bedrock-invoke") => Some("bedrock-2023-05-31"),
        _ => None,
    };
    let bedrock = case.meta["provider"] == "bedrock-invoke";
    let both = ["claude-3*", "claude-sonnet-4-0*"].map(str::to_owned).to_vec();
    let quirks = Quirks {
        both_sampling_models: both,
        body_version: version.map(str::to_owned),
        stream_field: !bedrock,
        ..Quirks::default()
    };
    Target { quirks, ..Target::default() }
}

/// A text alone and a list of one text say the same; `stream: false` says nothing, nor does a result that is no error;
/// neighbouring turns of one role are one.
fn adjust(_: &Case, request: &mut Value) {
    let blocks = |content: &mut Value| {
        if let Some(text) = content.as_str() {
            *content = json!([{"type": "text", "text": text}]);
        }
    };
    let members = request.as_object_mut().unwrap();
    if members.get("stream") == Some(&json!(false)) {
        members.remove("stream");
    }
    if let Some(system) = members.get_mut("system") {
        blocks(system);
    }
    for name in ["tools", "system", "stop_sequences"] {
        if members.get(name).is_some_and(|list| list == &json!([])) {
            members.remove(name);
        }
    }
    let turns = members["messages"].as_array_mut().unwrap();
    for message in turns.iter_mut() {
        blocks(&mut message["content"]);
        for block in message["content"].as_array_mut().unwrap() {
            let Some(members) = block.as_object_mut() else { continue };
            if members.get("is_error") == Some(&json!(false)) {
                members.remove("is_error");
            }
            if members["type"] == "tool_result" {
                let only =
                    members["content"].as_array().filter(|list| list.len() == 1).map(|list| list[0].clone());
                if let Some(text) = only.filter(|block| block["type"] == "text") {
                    members.insert("content".to_owned(), text["text"].clone());
                }
            }
        }
    }
    turns.dedup_by(|later, earlier| {
        let same = later["role"] == earlier["role"];
        if let (true, Some(more)) = (same, later["content"].as_array_mut()) {
            earlier["content"].as_array_mut().unwrap().append(more);
        }
        same
    });
}

#[test]
fn every_recorded_request_is_written_as_it_was() {
    assert_eq!(requests(WireFormat::Anthropic, "anthropic", &[], target, adjust), 36);
}
