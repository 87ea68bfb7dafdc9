//! What was seen against what was expected.

use serde_json::{Value, json};

use super::case::Case;
use super::seen::{self, Choice, Seen};
use crate::wire::{DecodeError, Fault, WireFormat, testing};

/// Everything that differs, in words. An answer that differs between chunkings differs.
pub fn answer(format: WireFormat, case: &Case) -> Vec<String> {
    let mut wrong = Vec::new();
    if case.status() != 200 {
        fault(case, &format.decode_error(case.status(), &case.response), &mut wrong);
    } else if case.streamed() {
        for (chunking, pieces) in case.chunkings() {
            let (chunks, ended) = testing::stream(format, case.content_type(), &pieces);
            let mut different = Vec::new();
            judge(case, &Seen::streamed(&chunks), &ended, &mut different);
            wrong.extend(different.into_iter().map(|words| format!("{chunking}: {words}")));
        }
    } else {
        match testing::whole(format, &case.response) {
            Ok(reply) => judge(case, &Seen::whole(&reply), &Ok(()), &mut wrong),
            Err(error) => judge(case, &Seen::default(), &Err(error), &mut wrong),
        }
    }
    wrong
}

fn judge(case: &Case, seen: &Seen, ended: &Result<(), DecodeError>, wrong: &mut Vec<String>) {
    wrong.extend(seen.broken.iter().cloned());
    let expected = &case.expected;
    let error = expected.get("mid_stream_error").or(expected.get("error"));
    if let Some(error) = error {
        match ended {
            Err(DecodeError::Fault(fault)) => says(error, fault, wrong),
            other => wrong.push(format!("an error inside the answer ended with {other:?}")),
        }
    } else if expected["complete"] == false {
        // A whole reply that does not say how it ended is an answer all the same.
        if ended.is_ok() && case.streamed() {
            wrong.push("what broke off ended well".to_owned());
        }
        if seen.choices.iter().any(|choice| choice.finish.as_deref() == Some("stop")) {
            wrong.push("a made-up stop".to_owned());
        }
    } else if expected["prompt_blocked"] == true || expected["prompt_blocked"].is_string() {
        let filtered = |choice: &Choice| choice.finish.as_deref() == Some("content_filter");
        if ended.is_ok() && !seen.choices.iter().any(filtered) {
            wrong.push("a blocked prompt is neither an error nor filtered".to_owned());
        }
        return;
    } else if let Err(error) = ended {
        wrong.push(format!("failed: {error:?}"));
        return;
    }
    let choices = expected["choices"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let broken = ended.is_err();
    if choices.len() != seen.choices.len() && !broken {
        wrong.push(format!("{} choices instead of {}", seen.choices.len(), choices.len()));
    }
    for (expected, choice) in choices.iter().zip(&seen.choices) {
        compare_choice(expected, choice, broken, wrong);
    }
    if let (Some(expected), false) = (expected.get("usage"), broken) {
        usage(expected, seen.usage.as_ref(), wrong);
    }
}

/// An error answer: a sensible status, the upstream's words.
fn fault(case: &Case, fault: &Fault, wrong: &mut Vec<String>) {
    says(&case.expected["error"], fault, wrong);
    let class = fault.clone().into_error("p").class().status;
    let sensible: &[u16] = match case.status() {
        404 | 413 => &[case.status()],
        429 => &[429],
        401..=403 => &[502],
        400..=499 => &[400],
        504 => &[504],
        _ => &[502, 503],
    };
    if !sensible.contains(&class) {
        wrong.push(format!("status {} becomes {class}", case.status()));
    }
}

fn says(error: &Value, fault: &Fault, wrong: &mut Vec<String>) {
    if let Some(message) = error["message"].as_str()
        && !fault.message.contains(message)
    {
        wrong.push(format!("the words {message:?} are lost: {:?}", fault.message));
    }
}

/// What is compared or knowingly not; a recording that expects more shall not pass unnoticed.
const COMPARED: [&str; 15] = [
    "index",
    "text",
    "text_parts",
    "reasoning_text",
    "has_reasoning",
    "reasoning_signatures",
    "redacted_reasoning_blocks",
    "refusal",
    "images",
    "tool_calls",
    "finish_reason",
    "finish_reason_accept",
    "native_finish_reason",
    "server_side_parts",
    "notes",
];

fn compare_choice(expected: &Value, choice: &Choice, broken: bool, wrong: &mut Vec<String>) {
    let mut same = |what: &str, expected: &Value, seen: Value| {
        if *expected != seen {
            wrong.push(format!("{what}: expected {expected}, saw {seen}"));
        }
    };
    let unknown =
        expected.as_object().into_iter().flatten().find(|(name, _)| !COMPARED.contains(&name.as_str()));
    same("an expectation nobody checks", &Value::Null, json!(unknown.map(|(name, _)| name)));
    same("index", &expected["index"], json!(choice.index));
    if let Some(parts) = expected["text_parts"].as_array().filter(|parts| parts.len() > 1) {
        same("text parts in order", &json!(true), json!(in_order(parts, &choice.text)));
    } else if let Some(text) = expected.get("text") {
        same("text", text, json!(choice.text));
    }
    if let Some(reasoning) = expected.get("reasoning_text") {
        same("reasoning", reasoning, json!(choice.reasoning));
    }
    match expected["has_reasoning"].as_bool() {
        Some(true) => {
            let any = !choice.reasoning.is_empty() || !choice.details.is_empty();
            same("has reasoning", &json!(true), json!(any));
        }
        Some(false) => same("has no reasoning", &json!(""), json!(choice.reasoning)),
        None => {}
    }
    if let Some(signatures) = expected.get("reasoning_signatures")
        && *signatures != json!(choice.signatures(false))
    {
        same("signatures", signatures, json!(choice.signatures(true)));
    }
    if let Some(blocks) = expected.get("redacted_reasoning_blocks") {
        let opaque = choice.details.iter().filter(|detail| detail["type"] == "reasoning.encrypted");
        same("redacted blocks", blocks, json!(opaque.count()));
    }
    if let Some(refusal) = expected.get("refusal") {
        same("refusal", refusal, json!(choice.refusal));
    }
    for (at, image) in expected["images"].as_array().into_iter().flatten().enumerate() {
        if image["invalid_base64"] == true {
            // The recording is damaged: what is left to compare is that it was passed on.
            let url = choice.images.get(at).and_then(|made| made["image_url"]["url"].as_str()).unwrap_or("");
            let mime = image["mime"].as_str().unwrap_or("");
            same("damaged image", &json!(true), json!(url.starts_with(&format!("data:{mime};base64,"))));
            continue;
        }
        let made = choice.images.get(at).and_then(seen::image);
        let (mime, bytes, digest) = made.unwrap_or_default();
        same("image", image, json!({"mime": mime, "bytes": bytes, "sha256": digest}));
    }
    calls(expected, choice, wrong);
    // After an error the finish reason says nothing.
    if !broken {
        finish(expected, choice, wrong);
    }
}

/// The parts one after the other, nothing between them but white space.
fn in_order(parts: &[Value], text: &str) -> bool {
    let mut rest = text;
    for part in parts {
        let part = part.as_str().unwrap();
        let Some(after) =
            rest.strip_prefix(part).or_else(|| rest.trim_start().strip_prefix(part.trim_start()))
        else {
            return false;
        };
        rest = after;
    }
    rest.trim().is_empty()
}

fn calls(expected: &Value, choice: &Choice, wrong: &mut Vec<String>) {
    let Some(calls) = expected["tool_calls"].as_array() else { return };
    if calls.len() != choice.calls.len() {
        wrong.push(format!("{} tool calls instead of {}", choice.calls.len(), calls.len()));
    }
    for (expected, call) in calls.iter().zip(&choice.calls) {
        match expected["id"].as_str() {
            Some(id) if id != call.id => wrong.push(format!("tool call id {:?} instead of {id:?}", call.id)),
            None if call.id.is_empty() => wrong.push("a tool call without an id".to_owned()),
            _ => {}
        }
        if expected["name"] != call.name.as_str() {
            wrong.push(format!("tool {:?} instead of {}", call.name, expected["name"]));
        }
        match expected["arguments_raw"].as_str() {
            Some(raw) if raw != call.arguments => {
                wrong.push(format!("arguments {:?} instead of {raw:?}", call.arguments))
            }
            Some(_) => {}
            None => {
                let written = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                let parsed = serde_json::from_str(written).unwrap_or(Value::Null);
                values("arguments", &expected["arguments"], &parsed, wrong);
            }
        }
        if let Some(signature) = expected["signature"].as_str()
            && !choice.signatures(true).iter().any(|known| known == signature)
        {
            wrong.push(format!("the signature of {:?} is lost", call.name));
        }
    }
}

fn finish(expected: &Value, choice: &Choice, wrong: &mut Vec<String>) {
    let finish = json!(choice.finish);
    let fits = match (&expected["finish_reason"], expected["finish_reason_accept"].as_array()) {
        // An unknown or missing ending is nobody's stop.
        (Value::Null, None) => finish != "stop",
        (_, Some(accepted)) if accepted.contains(&finish) => true,
        (word, _) => *word == finish,
    };
    if !fits {
        wrong.push(format!("finish_reason {finish} instead of {}", expected["finish_reason"]));
    }
}

fn usage(expected: &Value, seen: Option<&Value>, wrong: &mut Vec<String>) {
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
        let mut fits = expected[format!("{name}_accept")].as_array().cloned().unwrap_or_default();
        fits.push(value.clone());
        let found = seen.and_then(|seen| seen.pointer(at)).cloned().unwrap_or_default();
        // A detail that is not there is a detail of none.
        let none = found.is_null() && at.contains("_details") && fits.contains(&json!(0));
        if !fits.contains(&found) && !none {
            wrong.push(format!("usage{at}: expected {fits:?}, saw {found}"));
        }
    }
}

/// Differences between two values, each by its path; the order of members and the notation of numbers do not count.
pub fn values(path: &str, expected: &Value, seen: &Value, wrong: &mut Vec<String>) {
    match (expected, seen) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for name in theirs.keys().chain(ours.keys().filter(|name| !theirs.contains_key(*name))) {
                match (theirs.get(name), ours.get(name)) {
                    (Some(expected), Some(seen)) => values(&format!("{path}.{name}"), expected, seen, wrong),
                    (expected, seen) => {
                        wrong.push(format!("{path}.{name}: expected {expected:?}, saw {seen:?}"))
                    }
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (at, (expected, seen)) in theirs.iter().zip(ours).enumerate() {
                values(&format!("{path}[{at}]"), expected, seen, wrong);
            }
        }
        (Value::Number(theirs), Value::Number(ours)) if theirs.as_f64() == ours.as_f64() => {}
        _ if expected == seen => {}
        _ => wrong.push(format!("{path}: expected {expected}, saw {seen}")),
    }
}
