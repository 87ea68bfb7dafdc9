//! Recorded traffic.

use serde_json::{Value, json};

use crate::wire::WireFormat;
use crate::wire::recorded::{self, Case, Known};
use crate::wire::testing::Target;

const FORMAT: WireFormat = WireFormat::BedrockConverse;

#[test]
fn every_recorded_answer_is_read_right() {
    const KNOWN: &[Known] = &[];
    assert_eq!(recorded::answers(FORMAT, "bedrock-converse", KNOWN), 56);
}

#[test]
fn every_recorded_request_is_written_as_it_was() {
    const KNOWN: &[Known] = &[];
    let target = |_: &Case| Target::default();
    assert_eq!(recorded::requests(FORMAT, "bedrock-converse", KNOWN, target, as_written), 30);
}

/// The recorded side without what says nothing: lists and objects of nothing at the top, and the success of a tool,
/// which is the default and which OpenAI's format has no word for.
fn as_written(_: &Case, request: &mut Value) {
    let request = request.as_object_mut().unwrap();
    if let Some(config) = request.get_mut("inferenceConfig").and_then(Value::as_object_mut) {
        config.retain(|_, value| *value != json!([]));
    }
    request.retain(|_, value| *value != json!([]) && *value != json!({}));
    let turns = request["messages"].as_array_mut().unwrap().iter_mut();
    for block in turns.flat_map(|turn| turn["content"].as_array_mut().unwrap()) {
        if let Some(result) = block.get_mut("toolResult").and_then(Value::as_object_mut)
            && result.get("status") == Some(&json!("success"))
        {
            result.remove("status");
        }
    }
}
