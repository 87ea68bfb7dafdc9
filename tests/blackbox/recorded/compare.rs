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

/// A stream that breaks off or fails: an error, no end marker.
fn ends_in_an_error(answer: &Answer, seen: &Seen, wrong: &mut Vec<String>) {
    if seen.error.is_none() || seen.done {
        wrong.push(format!("a broken stream ends with status {} as if it were complete", answer.status));
    }
}

/// What is compared of a choice; a recording that expects more shall not pass unnoticed.
const COMPARED: [&str; 11] = [
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
    let mut same = |what: &str, expected: Value, seen: Value| {
        if expected != seen {
            wrong.push(format!("{what}: expected {expected}, saw {seen}"));
        }
    };
    let unknown =
        expected.as_object().into_iter().flatten().find(|(name, _)| !COMPARED.contains(&name.as_str()));
    same("an expectation nobody checks", Value::Null, json!(unknown.map(|(name, _)| name)));
    same("index", expected["index"].clone(), json!(choice.index));
    same("text", expected["text"].clone(), json!(choice.text));
    if let Some(reasoning) = expected.get("reasoning_text") {
        same("reasoning", reasoning.clone(), json!(choice.reasoning));
    }
    same("has_reasoning", expected["has_reasoning"].clone(), json!(!choice.reasoning.is_empty()));
    same("refusal", expected.get("refusal").cloned().unwrap_or_else(|| json!("")), json!(choice.refusal));
    if let Some(signatures) = expected.get("reasoning_signatures") {
        same("signatures", signatures.clone(), json!(choice.signatures));
    }
    if let Some(parts) = expected.get("server_side_parts") {
        let called = choice.function.as_ref().map(|name| format!("function_call(legacy):{name}"));
        same("legacy function call", parts.clone(), json!(called.into_iter().collect::<Vec<_>>()));
    }
    if let Some(calls) = expected["tool_calls"].as_array() {
        same("number of tool calls", json!(calls.len()), json!(choice.calls.len()));
        for (expected, call) in calls.iter().zip(&choice.calls) {
            match expected.get("id") {
                Some(id) => same("tool call id", id.clone(), json!(call.id)),
                None => same("a tool call has an id", json!(true), json!(!call.id.is_empty())),
            }
            same("tool name", expected["name"].clone(), json!(call.name));
            match expected.get("arguments_raw") {
                Some(raw) => same("raw arguments", raw.clone(), json!(call.arguments)),
                None => {
                    let written = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                    let parsed = serde_json::from_str(written).unwrap_or(Value::Null);
                    same("arguments", expected["arguments"].clone(), parsed);
                }
            }
        }
    }
    // After an error the finish reason says nothing.
    if fails {
        return;
    }
    match (expected.get("finish_reason"), expected.get("finish_reason_accept")) {
        // The contract is narrower than what is acceptable: any tool call means tool_calls.
        (Some(Value::String(word)), Some(_)) if word == "stop" => {
            same("finish_reason", json!("tool_calls"), json!(choice.finish));
        }
        (Some(word), _) => same("finish_reason", word.clone(), json!(choice.finish)),
        // An unknown or missing ending is nobody's stop. Mistral's `tool_call` beside a call says what it means.
        (None, _) if !choice.calls.is_empty() => {
            same(
                "finish_reason is null or tool_calls",
                json!(true),
                json!(choice.finish.as_deref().is_none_or(|word| word == "tool_calls")),
            );
        }
        (None, _) => same("finish_reason", Value::Null, json!(choice.finish)),
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
        let fits = match name {
            "completion_tokens" => completion_tokens(case),
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
