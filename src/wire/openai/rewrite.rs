//! The slow path: choices of a dialect, rebuilt into OpenAI's shape. Vendor fields nobody knows are kept.

use serde_json::{Map, Value, json};

use super::choice::{Choice, Choices};
use super::finish;
use super::plain::Seen;
use super::think::ThinkSplitter;

/// Field names under which vendors put reasoning text, in order of preference.
const REASONING_FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Rebuilds one choice of a whole reply. `made_up_id` names tool calls that came without an id.
pub fn reply_choice(choice: &mut Value, at: usize, think_tags: bool, made_up_id: &str) {
    let Some(choice) = choice.as_object_mut() else { return };
    choice.entry("index").or_insert_with(|| json!(at));
    if !choice.get("message").is_some_and(Value::is_object) {
        choice.insert("message".to_owned(), json!({}));
    }
    let mut tools = false;
    if let Some(Value::Object(message)) = choice.get_mut("message") {
        message.entry("role").or_insert_with(|| json!("assistant"));
        flatten_content(message);
        rename_reasoning(message);
        if think_tags {
            split_think(message, &mut ThinkSplitter::default(), true);
        }
        if !message.contains_key("content") {
            message.insert("content".to_owned(), Value::Null);
        }
        if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
            tools = !calls.is_empty();
            for (call_at, call) in calls.iter_mut().enumerate() {
                complete_call(call, &format!("{made_up_id}{at}_{call_at}"));
            }
        }
    }
    settle_finish(choice, tools);
}

/// Rebuilds the `choices` of one stream event and notes what they held. A choice that only says once more that it
/// is finished (some vendors do so beside the usage) is taken out.
pub fn event_choices(written: &mut Vec<Value>, choices: &mut Choices, made_up_id: &str) -> Seen {
    let mut seen = Seen::default();
    written.retain_mut(|value| match value.as_object_mut() {
        Some(choice) => event_choice(choice, choices, made_up_id, &mut seen),
        None => false,
    });
    seen
}

/// Rebuilds one choice of a stream event; false when it says nothing new.
fn event_choice(
    choice: &mut Map<String, Value>,
    choices: &mut Choices,
    made_up_id: &str,
    seen: &mut Seen,
) -> bool {
    let index = choice.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
    let index = index.unwrap_or(0);
    choice.insert("index".to_owned(), json!(index));
    choice.shift_remove("usage");
    if let Some(message) = choice.shift_remove("message") {
        choice.entry("delta").or_insert(message);
    }
    if !choice.get("delta").is_some_and(Value::is_object) {
        choice.insert("delta".to_owned(), json!({}));
    }
    let Some(state) = choices.get_or_open(index) else { return true };
    let mut finishes = choice.get("finish_reason").is_some_and(|reason| !reason.is_null() && reason != "");
    let repeated = finishes && state.finished;
    if repeated {
        finishes = false;
        choice.insert("finish_reason".to_owned(), Value::Null);
    }
    if let Some(Value::Object(delta)) = choice.get_mut("delta") {
        rebuild_delta(delta, state, finishes, made_up_id);
    }
    settle_finish(choice, state.tools.any());
    state.finished |= finishes;
    seen.finish |= finishes;
    let Some(Value::Object(delta)) = choice.get("delta") else { return true };
    let content = holds_content(delta);
    seen.content |= finishes | content;
    for text in texts(delta) {
        choices.deliver(text);
    }
    content || !repeated
}

/// Rebuilds a delta.
fn rebuild_delta(delta: &mut Map<String, Value>, state: &mut Choice, finishes: bool, made_up_id: &str) {
    flatten_content(delta);
    rename_reasoning(delta);
    if let Some(think) = state.think.as_mut() {
        split_think(delta, think, finishes);
    }
    if !state.role_sent {
        state.role_sent = true;
        if delta.get("role").is_none_or(Value::is_null) {
            delta.shift_insert(0, "role".to_owned(), json!("assistant"));
        }
    }
    if let Some(Value::Array(calls)) = delta.get_mut("tool_calls") {
        for call in calls {
            place_call(call, state, made_up_id);
        }
    }
}

/// Gives a streamed fragment its index; id and name go out once.
fn place_call(call: &mut Value, state: &mut Choice, made_up_id: &str) {
    let Some(call) = call.as_object_mut() else { return };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let index = call.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
    let id = text(call.get("id"));
    let name = text(call.get("function").and_then(|function| function.get("name")));
    let place = state.tools.place(index, &id, &name);
    call.insert("index".to_owned(), json!(place.index));
    if let Some(Value::Object(function)) = call.get_mut("function") {
        arguments_as_text(function);
        if !place.opens {
            function.shift_remove("name");
        }
    }
    if place.opens {
        if id.is_empty() {
            call.insert("id".to_owned(), json!(format!("{made_up_id}{}_{}", state.index, place.index)));
        }
        call.entry("type").or_insert_with(|| json!("function"));
    } else {
        call.shift_remove("id");
        call.shift_remove("type");
    }
}

/// Completes a whole tool call.
fn complete_call(call: &mut Value, made_up_id: &str) {
    let Some(call) = call.as_object_mut() else { return };
    if call.get("id").and_then(Value::as_str).is_none_or(str::is_empty) {
        call.insert("id".to_owned(), json!(made_up_id));
    }
    let custom = call.contains_key("custom");
    call.entry("type").or_insert_with(|| json!(if custom { "custom" } else { "function" }));
    if let Some(Value::Object(function)) = call.get_mut("function") {
        arguments_as_text(function);
        function.entry("arguments").or_insert_with(|| json!(""));
    }
}

/// Arguments travel as text; some vendors send an object.
fn arguments_as_text(function: &mut Map<String, Value>) {
    match function.get("arguments") {
        None | Some(Value::String(_)) => {}
        Some(Value::Null) => {
            function.insert("arguments".to_owned(), json!(""));
        }
        Some(other) => {
            let text = other.to_string();
            function.insert("arguments".to_owned(), Value::String(text));
        }
    }
}

/// Content parts become text; thinking parts become reasoning; other parts go to `annotations`.
fn flatten_content(message: &mut Map<String, Value>) {
    let Some(Value::Array(_)) = message.get("content") else { return };
    let Some(Value::Array(parts)) = message.insert("content".to_owned(), Value::Null) else { return };
    let (mut text, mut reasoning, mut others) = (None::<String>, String::new(), Vec::new());
    for part in parts {
        match part.get("type").and_then(Value::as_str) {
            Some("text") => {
                text.get_or_insert_default().push_str(part.get("text").and_then(Value::as_str).unwrap_or(""));
            }
            Some("thinking") => match part.get("thinking") {
                Some(Value::String(thought)) => reasoning.push_str(thought),
                Some(Value::Array(thoughts)) => {
                    for thought in thoughts {
                        reasoning.push_str(thought.get("text").and_then(Value::as_str).unwrap_or(""));
                    }
                }
                _ => {}
            },
            _ => others.push(part),
        }
    }
    if let Some(text) = text {
        message.insert("content".to_owned(), Value::String(text));
    }
    if !reasoning.is_empty() {
        message.insert("reasoning".to_owned(), Value::String(reasoning));
    }
    if !others.is_empty()
        && let Value::Array(annotations) = message.entry("annotations").or_insert_with(|| json!([]))
    {
        annotations.append(&mut others);
    }
}

/// Reasoning goes by one name.
fn rename_reasoning(message: &mut Map<String, Value>) {
    let found = REASONING_FIELDS.iter().find_map(|name| {
        message.get(*name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    });
    let found = found.or_else(|| from_details(message.get("reasoning_details")));
    message.shift_remove("reasoning_content");
    match found {
        Some(text) => {
            message.insert("reasoning".to_owned(), Value::String(text));
        }
        None if message.get("reasoning").is_some_and(|value| value.is_null() || value == "") => {
            message.shift_remove("reasoning");
        }
        None => {}
    }
}

/// The readable part of `reasoning_details`.
fn from_details(details: Option<&Value>) -> Option<String> {
    let text: String = details?
        .as_array()?
        .iter()
        .filter_map(|detail| match detail.get("type").and_then(Value::as_str)? {
            "reasoning.text" => detail.get("text")?.as_str(),
            "reasoning.summary" => detail.get("summary")?.as_str(),
            _ => None,
        })
        .collect();
    (!text.is_empty()).then_some(text)
}

/// Takes reasoning between tags out of the text.
fn split_think(message: &mut Map<String, Value>, think: &mut ThinkSplitter, last: bool) {
    let content = message.get("content").and_then(Value::as_str);
    if content.is_none() && !last {
        return;
    }
    let had_content = content.is_some();
    let mut parts = think.push(content.unwrap_or(""));
    if last {
        let rest = think.finish();
        parts.reasoning.push_str(&rest.reasoning);
        parts.text.push_str(&rest.text);
    }
    if had_content || !parts.text.is_empty() {
        message.insert("content".to_owned(), Value::String(parts.text));
    }
    if !parts.reasoning.is_empty() {
        message.insert("reasoning".to_owned(), Value::String(parts.reasoning));
    }
}

/// Sets the finish reason; a vendor's own word is kept beside it when it says more.
fn settle_finish(choice: &mut Map<String, Value>, has_tool_calls: bool) {
    let Some(word) = choice.get("finish_reason").and_then(Value::as_str).map(str::to_owned) else { return };
    let settled = finish::settle(&word, has_tool_calls);
    if settled == Some(word.as_str()) {
        return;
    }
    choice.insert("finish_reason".to_owned(), settled.map_or(Value::Null, |word| json!(word)));
    if !word.is_empty() {
        choice.entry("native_finish_reason").or_insert_with(|| json!(word));
    }
}

/// The texts of a message or delta that count as delivered.
pub fn texts(message: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let plain =
        ["content", "refusal", "reasoning"].into_iter().filter_map(|name| message.get(name)?.as_str());
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let arguments = calls.filter_map(|call| call.pointer("/function/arguments")?.as_str());
    plain.chain(arguments)
}

/// True when a delta holds something of the answer.
fn holds_content(delta: &Map<String, Value>) -> bool {
    let filled = |name: &str| match delta.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    ["content", "refusal", "reasoning", "reasoning_details", "tool_calls", "images", "audio", "function_call"]
        .into_iter()
        .any(filled)
}
