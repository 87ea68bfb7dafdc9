//! What a client saw against `expected.json`.

use serde_json::{Value, json};

use super::case::Case;
use super::seen::{Choice, Seen};
use crate::support::Answer;

/// Everything that differs, in words.
pub fn differences(answer: &Answer, seen: &Seen, case: &Case) -> Vec<String> {
    let mut wrong = seen.broken.clone();
    if case.expected["kind"] == "error" {
        refusal(answer, seen, case, &mut wrong);
        return wrong;
    }
    let error = case.expected.get("mid_stream_error");
    if let Some(error) = error {
        message_survives(seen, error, &mut wrong);
    }
    let complete = case.expected["complete"] == true && error.is_none();
    if complete && (answer.status != 200 || seen.error.is_some()) {
        wrong.push(format!("status {}, error {:?}", answer.status, seen.error));
        return wrong;
    }
    if !complete && case.streamed() {
        ends_in_an_error(answer, seen, &mut wrong);
        if answer.status != 200 {
            return wrong; // Failed before it had said anything: no stream was begun.
        }
    }
    if case.expected["prompt_blocked"] == true || case.expected["prompt_blocked"].is_string() {
        return blocked(answer, seen, wrong);
    }
    let choices = case.expected["choices"].as_array().cloned().unwrap_or_default();
    if choices.len() != seen.choices.len() {
        wrong.push(format!("{} choices instead of {}", seen.choices.len(), choices.len()));
    }
    for (expected, choice) in choices.iter().zip(&seen.choices) {
        compare_choice(expected, choice, error.is_some(), &mut wrong);
    }
    if let Some(usage) = &seen.usage {
        compare_usage(case, usage, &mut wrong);
    } else if !case.streamed() {
        wrong.push("no usage".to_owned());
    }
    wrong
}

/// A prompt that the vendor blocked: an error or a filtered answer, never a silent stop.
fn blocked(answer: &Answer, seen: &Seen, mut wrong: Vec<String>) -> Vec<String> {
    let filtered = seen.choices.iter().any(|choice| choice.finish.as_deref() == Some("content_filter"));
    if !filtered && seen.error.is_none() {
        wrong.push(format!("a blocked prompt looks like an answer: {}", answer.text()));
    }
    wrong
}

/// A stream that breaks off or fails: an error, no end marker.
fn ends_in_an_error(answer: &Answer, seen: &Seen, wrong: &mut Vec<String>) {
    if seen.error.is_none() || seen.done {
        wrong.push(format!("a broken stream ends with status {} as if it were complete", answer.status));
    }
}

/// What is compared of a choice; a recording that expects more shall not pass unnoticed.
const COMPARED: [&str; 15] = [
    "text_parts",
    "images",
    "redacted_reasoning_blocks",
    "notes",
    "index",
    "text",
    "reasoning_text",
    "has_reasoning",
    "refusal",
    "reasoning_signatures",
    "tool_calls",
    "finish_reason",
    "finish_reason_accept",
    "native_finish_reason",
    "server_side_parts",
];

fn compare_choice(expected: &Value, choice: &Choice, fails: bool, wrong: &mut Vec<String>) {
    let unknown =
        expected.as_object().into_iter().flatten().find(|(name, _)| !COMPARED.contains(&name.as_str()));
    same(wrong, "an expectation nobody checks", Value::Null, json!(unknown.map(|(name, _)| name)));
    same(wrong, "index", expected["index"].clone(), json!(choice.index));
    // Several blocks of text may be joined by anything that is white space.
    let bare = |text: &str| text.replace(char::is_whitespace, "");
    match expected.get("text_parts") {
        Some(_) => same(wrong, "text", json!(expected["text"].as_str().map(bare)), json!(bare(&choice.text))),
        None => same(wrong, "text", expected["text"].clone(), json!(choice.text)),
    }
    if let Some(blocks) = expected.get("redacted_reasoning_blocks") {
        same(wrong, "redacted blocks", blocks.clone(), json!(choice.encrypted));
    }
    if let Some(images) = expected["images"].as_array() {
        // A sound is no image, and what the recorder damaged cannot be compared.
        let image = |one: &&Value| one["mime"].as_str().is_some_and(|mime| mime.starts_with("image/"));
        let damaged = images.iter().any(|image| image["invalid_base64"] == true);
        let expected: Vec<Value> = images
            .iter()
            .filter(image)
            .map(|image| json!([image["mime"], image["bytes"], image["sha256"]]))
            .collect();
        if damaged {
            same(wrong, "number of images", json!(expected.len()), json!(choice.images.len()));
        } else {
            same(wrong, "images", json!(expected), json!(choice.images));
        }
    }
    if let Some(reasoning) = expected.get("reasoning_text") {
        same(wrong, "reasoning", reasoning.clone(), json!(choice.reasoning));
    }
    // Where only what must travel back was minted, there is no text of it.
    if expected["has_reasoning"] == true && choice.reasoning.is_empty() {
        same(
            wrong,
            "reasoning that travels back",
            json!(true),
            json!(choice.encrypted + choice.signatures.len() > 0),
        );
    } else {
        same(wrong, "has_reasoning", expected["has_reasoning"].clone(), json!(!choice.reasoning.is_empty()));
    }
    same(
        wrong,
        "refusal",
        expected.get("refusal").cloned().unwrap_or_else(|| json!("")),
        json!(choice.refusal),
    );
    if let Some(signatures) = expected.get("reasoning_signatures") {
        let seen: Vec<&String> = choice.signatures.iter().chain(&choice.encrypted_data).collect();
        let missing: Vec<&Value> = signatures
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| !seen.iter().any(|seen| *one == *seen))
            .collect();
        same(wrong, "signatures that are missing", json!([]), json!(missing));
    }
    if let Some(parts) = expected
        .get("server_side_parts")
        .filter(|parts| parts.to_string().contains("(legacy)") || choice.function.is_some())
    {
        let called = choice.function.as_ref().map(|name| format!("function_call(legacy):{name}"));
        same(wrong, "legacy function call", parts.clone(), json!(called.into_iter().collect::<Vec<_>>()));
    }
    compare_calls(expected, choice, wrong);
    // After an error the finish reason says nothing.
    if !fails {
        compare_ending(expected, choice, wrong);
    }
}

/// Notes a difference.
fn same(wrong: &mut Vec<String>, what: &str, expected: Value, seen: Value) {
    if expected != seen {
        wrong.push(format!("{what}: expected {expected}, saw {seen}"));
    }
}

fn compare_calls(expected: &Value, choice: &Choice, wrong: &mut Vec<String>) {
    let Some(calls) = expected["tool_calls"].as_array() else { return };
    {
        same(wrong, "number of tool calls", json!(calls.len()), json!(choice.calls.len()));
        for (expected, call) in calls.iter().zip(&choice.calls) {
            match expected.get("id") {
                Some(id) => same(wrong, "tool call id", id.clone(), json!(call.id)),
                None => same(wrong, "a tool call has an id", json!(true), json!(!call.id.is_empty())),
            }
            if let Some(signature) = expected.get("signature") {
                let kept =
                    choice.encrypted_data.iter().chain(&choice.signatures).any(|seen| signature == seen);
                same(wrong, "signature of a call", json!(true), json!(kept));
            }
            same(wrong, "tool name", expected["name"].clone(), json!(call.name));
            match expected.get("arguments_raw") {
                Some(raw) => same(wrong, "raw arguments", raw.clone(), json!(call.arguments)),
                None => {
                    let written = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                    let parsed = serde_json::from_str(written).unwrap_or(Value::Null);
                    same(wrong, "arguments", expected["arguments"].clone(), parsed);
                }
            }
        }
    }
}

fn compare_ending(expected: &Value, choice: &Choice, wrong: &mut Vec<String>) {
    match (expected.get("finish_reason"), expected.get("finish_reason_accept")) {
        // The contract is narrower than what is acceptable: any tool call means tool_calls.
        (Some(Value::String(word)), Some(_)) if word == "stop" => {
            same(wrong, "finish_reason", json!("tool_calls"), json!(choice.finish));
        }
        (Some(word), _) => same(wrong, "finish_reason", word.clone(), json!(choice.finish)),
        // An unknown or missing ending is nobody's stop. Mistral's `tool_call` beside a call says what it means.
        (None, _) if !choice.calls.is_empty() => {
            same(
                wrong,
                "finish_reason is null or tool_calls",
                json!(true),
                json!(choice.finish.as_deref().is_none_or(|word| word == "tool_calls")),
            );
        }
        (None, _) => same(wrong, "finish_reason", Value::Null, json!(choice.finish)),
    }
}

/// xAI leaves reasoning out of `completion_tokens` and counts it in `total_tokens`; the contract has it added, so
/// that total = prompt + completion. This is the only number that is not the upstream's own.
fn completion_tokens(case: &Case) -> Vec<Value> {
    let usage = &case.expected["usage"];
    let number = |name: &str| usage[name].as_u64().unwrap_or(0);
    let (prompt, completion, total) =
        (number("prompt_tokens"), number("completion_tokens"), number("total_tokens"));
    if case.provider == "xai" && total > prompt + completion {
        return vec![json!(total - prompt)];
    }
    vec![usage["completion_tokens"].clone()]
}

fn compare_usage(case: &Case, seen: &Value, wrong: &mut Vec<String>) {
    let Some(expected) = case.expected.get("usage") else {
        if seen["estimated"] != true {
            wrong.push(format!("usage that nobody reported is not marked as estimated: {seen}"));
        }
        return;
    };
    for (name, at) in [
        ("prompt_tokens", "/prompt_tokens"),
        ("completion_tokens", "/completion_tokens"),
        ("total_tokens", "/total_tokens"),
        ("cached_tokens", "/prompt_tokens_details/cached_tokens"),
        ("cache_write_tokens", "/prompt_tokens_details/cache_write_tokens"),
        ("reasoning_tokens", "/completion_tokens_details/reasoning_tokens"),
        ("reasoning_tokens", "/reasoning_tokens"),
    ] {
        let Some(value) = expected.get(name) else { continue };
        let accepted = expected.get(format!("{name}_accept")).and_then(Value::as_array);
        let fits = match (name, accepted) {
            (_, Some(accepted)) => accepted.clone(),
            ("completion_tokens", None) => completion_tokens(case),
            _ => vec![value.clone()],
        };
        let found = seen.pointer(at).cloned().unwrap_or_default();
        if !fits.contains(&found) {
            wrong.push(format!("usage{at}: expected {fits:?}, saw {found}"));
        }
    }
    if seen.get("estimated").is_some() {
        wrong.push("the upstream's own usage is called estimated".to_owned());
    }
}

/// An error answer: a sensible status, the upstream's words.
fn refusal(answer: &Answer, seen: &Seen, case: &Case, wrong: &mut Vec<String>) {
    let expected = match case.status() {
        // An error inside a 200 takes the status that it names, if any.
        200 => match case.expected["error"]["status"].as_u64().or(case.expected["error"]["code"].as_u64()) {
            Some(400) => 400,
            _ => 502,
        },
        401..=403 => 502,
        // Google's word for a refused credential: the gateway's own, not the client's.
        400 if case.expected["error"]["message"]
            .as_str()
            .is_some_and(|words| words.starts_with("API key not valid")) =>
        {
            502
        }
        status @ (404 | 413 | 429) => status,
        400..=499 => 400,
        _ => 502,
    };
    if answer.status != expected {
        wrong.push(format!("status {} instead of {expected}: {:?}", answer.status, seen.error));
    }
    if expected == 429
        && (answer.header("retry-after").is_empty() || answer.header("retry-after-ms").is_empty())
    {
        wrong.push("a 429 without retry-after".to_owned());
    }
    if matches!(case.status(), 401..=403) && answer.header("x-should-retry") != "false" {
        wrong.push("a refused credential invites retries".to_owned());
    }
    message_survives(seen, &case.expected["error"], wrong);
}

/// The upstream's words are in the message; what looks like a credential may be blanked out.
fn message_survives(seen: &Seen, expected: &Value, wrong: &mut Vec<String>) {
    let Some(message) = expected["message"].as_str() else { return };
    let told = seen.error.as_ref().and_then(|error| error["message"].as_str()).unwrap_or("");
    let hidden: Vec<&str> = message
        .split(' ')
        .map(|word| if word.starts_with("sk-") && word.len() > 5 { "[redacted]" } else { word })
        .collect();
    if !told.contains(message) && !told.contains(&hidden.join(" ")) {
        wrong.push(format!("expected the words {message:?}, saw {:?}", seen.error));
    }
}
