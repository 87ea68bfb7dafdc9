//! Recorded traffic.

use serde_json::{Value, json};

use super::target;
use crate::wire::WireFormat;
use crate::wire::recorded::{self, Case, Known};
use crate::wire::testing::Target;

/// Answers that deviate, and why that is right.
const ANSWERS: [Known; 4] = [
    ("gemini/mira-google-gemini-2-5-flash", REFUSED_KEY),
    ("gemini/nr-cassette-6", REFUSED_KEY),
    ("gemini/rubyllm-chat-error-handling-with-gemini-gemini-2-5-flash-raises-ap-98b0a8", REFUSED_KEY),
    (
        "gemini/rubyllm-speech-basic-functionality-gemini-gemini-2-5-flash-preview-3fda78",
        "a sound is expected among the images; it is `message.audio`, where OpenAI has it",
    ),
];
const REFUSED_KEY: &str = "the status is 400, but what is refused is the gateway's own key: a client that is told 400 would \
     look for the fault in its request, and no other provider would be tried";

/// Requests that deviate, and why that is right.
const REQUESTS: [Known; 2] = [
    (
        "gemini/bt-test-adk-structured-output-pydantic",
        "the same schema in Google's older dialect: both were accepted, and which one a client library chose cannot be known",
    ),
    (
        "vertex/otel-test-generate-content-invalid-role",
        "the recording is of a role that no client of ours can send",
    ),
];

#[test]
fn every_recorded_answer_is_read_in_every_chunking() {
    assert_eq!(recorded::answers(WireFormat::Gemini, "gemini", &ANSWERS), 109);
}

#[test]
fn every_recorded_request_is_written() {
    let target = |_: &Case| -> Target { target() };
    assert_eq!(recorded::requests(WireFormat::Gemini, "gemini", &REQUESTS, target, adjust), 40);
}

/// What client libraries write in several ways that mean the same, in the one way that is written here.
fn adjust(_: &Case, request: &mut Value) {
    // Types of schemas in capitals are the same types.
    lower_types(request);
    let Some(body) = request.as_object_mut() else { return };
    // An empty configuration, and an answer of text, are what everyone gets.
    if let Some(config) = body.get_mut("generationConfig").and_then(Value::as_object_mut) {
        if config.get("responseModalities") == Some(&json!(["TEXT"])) {
            config.shift_remove("responseModalities");
        }
        if config.is_empty() {
            body.shift_remove("generationConfig");
        }
    }
    // The role of the instructions means nothing.
    if let Some(system) = body.get_mut("systemInstruction") {
        system["role"] = json!("user");
    }
    // Declarations may stand in one list or in several.
    if let Some(tools) = body.get_mut("tools").and_then(Value::as_array_mut) {
        let all: Vec<Value> = tools
            .iter()
            .filter_map(|tool| tool["functionDeclarations"].as_array())
            .flatten()
            .cloned()
            .collect();
        *tools = vec![json!({"functionDeclarations": all})];
    }
}

fn lower_types(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(word) if name == "type" => *word = word.to_lowercase(),
                    value => lower_types(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(lower_types),
        _ => {}
    }
}
