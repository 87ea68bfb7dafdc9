//! The documented touches: what the gateway changes of a request on its way to a vendor, written down once more.

use serde_json::{Map, Value, json};

/// Model names match a row's patterns; `*` stands for any run of characters.
fn any_matches(patterns: &Value, model: &str) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..]))
            }
            (Some(p), Some(n)) if p == n => matches(&pattern[1..], &name[1..]),
            _ => false,
        }
    }
    let patterns = patterns.as_array().into_iter().flatten().filter_map(Value::as_str);
    patterns.into_iter().any(|pattern| matches(pattern.as_bytes(), model.as_bytes()))
}

/// What a recorded request looks like when it reaches the vendor of a row with these quirks, and which of its
/// parameters are left out by name.
pub fn touched(recorded: &Map<String, Value>, quirks: &Value) -> (Map<String, Value>, Vec<String>) {
    let mut request = recorded.clone();
    let model = request["model"].as_str().unwrap_or("").to_owned();
    let mut dropped = Vec::new();
    // Null means not given, in the fields that the API reference has.
    request.retain(|name, value| !(value.is_null() && KNOWN.contains(&name.as_str())));
    usage(&mut request, quirks);
    output_limit(&mut request, quirks, &model);
    sampling(&mut request, quirks, &model, &mut dropped);
    effort(&mut request, quirks, &mut dropped);
    for name in quirks["drop_params"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if request.shift_remove(name).is_some() {
            dropped.push(name.to_owned());
        }
    }
    for (ours, theirs) in quirks["rename_params"].as_object().into_iter().flatten() {
        rename(&mut request, ours, theirs.as_str().unwrap_or(""));
    }
    if let (Some(word), Some(choice)) =
        (quirks["tool_choice_required"].as_str(), request.get_mut("tool_choice"))
        && *choice == "required"
    {
        *choice = json!(word);
    }
    if quirks["bare_json_schema"] == true
        && request.get("response_format").is_some_and(|f| f["type"] == "json_schema")
    {
        let schema = request["response_format"]["json_schema"]["schema"].clone();
        request["response_format"]["json_schema"] = json!({"schema": schema});
    }
    messages(&mut request, quirks);
    (request, dropped)
}

const KNOWN: [&str; 31] = [
    "model",
    "messages",
    "temperature",
    "max_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "max_completion_tokens",
    "n",
    "stop",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "user",
    "parallel_tool_calls",
    "stream_options",
    "service_tier",
    "prompt_cache_key",
    "metadata",
    "modalities",
    "prediction",
    "store",
    "verbosity",
    "web_search_options",
    "audio",
    "response_format",
    "stream",
    "tools",
    "tool_choice",
    "reasoning_effort",
];

/// Usage is always asked for in a stream, where the vendor understands it.
fn usage(request: &mut Map<String, Value>, quirks: &Value) {
    if request.get("stream") != Some(&json!(true)) {
        return;
    }
    if quirks["stream_options"] == false {
        request.shift_remove("stream_options");
    } else {
        let options = request.entry("stream_options").or_insert_with(|| json!({}));
        options["include_usage"] = json!(true);
    }
}

fn output_limit(request: &mut Map<String, Value>, quirks: &Value, model: &str) {
    let completion = any_matches(&quirks["max_completion_tokens_models"], model)
        || quirks["max_tokens_field"] == "max_completion_tokens";
    if completion {
        rename(request, "max_tokens", "max_completion_tokens");
    } else if quirks["max_tokens_field"] == "max_tokens" {
        rename(request, "max_completion_tokens", "max_tokens");
    }
}

/// Moves a value to another name; what is there already stays.
fn rename(request: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = request.shift_remove(from) {
        request.entry(to).or_insert(value);
    }
}

fn sampling(request: &mut Map<String, Value>, quirks: &Value, model: &str, dropped: &mut Vec<String>) {
    if !any_matches(&quirks["fixed_sampling_models"], model) {
        return;
    }
    for (name, default) in [
        ("temperature", json!(1.0)),
        ("top_p", json!(1.0)),
        ("presence_penalty", json!(0.0)),
        ("frequency_penalty", json!(0.0)),
        ("logprobs", json!(false)),
        ("top_logprobs", Value::Null),
        ("logit_bias", Value::Null),
    ] {
        let given = request.get(name);
        let differs = given.is_some_and(|given| {
            given.as_f64() != default.as_f64() || given.is_boolean() && *given != default
        });
        let no_default = given.is_some() && default.is_null();
        if differs || no_default {
            request.shift_remove(name);
            dropped.push(name.to_owned());
        }
    }
}

fn effort(request: &mut Map<String, Value>, quirks: &Value, dropped: &mut Vec<String>) {
    let style = quirks["reasoning_effort"].as_str().unwrap_or("field");
    if style == "field" {
        return;
    }
    let Some(effort) = request.shift_remove("reasoning_effort") else { return };
    let on = effort != "none";
    let (name, value) = match style {
        "reasoning_object" => ("reasoning", json!({"effort": effort})),
        "thinking_object" => ("thinking", json!({"type": if on { "enabled" } else { "disabled" }})),
        "enable_thinking" => ("enable_thinking", json!(on)),
        _ => return dropped.push("reasoning_effort".to_owned()),
    };
    request.entry(name).or_insert(value);
}

fn messages(request: &mut Map<String, Value>, quirks: &Value) {
    for message in request.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(message) = message.as_object_mut() else { continue };
        if message["role"] == "developer" && quirks["developer_role"] != true {
            message["role"] = json!("system");
        }
        match quirks["reasoning_back"].as_str() {
            Some("remove") => {
                message.shift_remove("reasoning");
                message.shift_remove("reasoning_details");
            }
            Some("reasoning_content") => {
                message.shift_remove("reasoning_details");
                rename(message, "reasoning", "reasoning_content");
            }
            _ => {}
        }
    }
}
