//! Estimated usage: counts tokens where an upstream told none.
//!
//! Why here: a stream that the client left, or an upstream that reports no usage, still has to be booked. The
//! numbers come from OpenAI's `o200k_base` encoding; other vendors' own encodings differ from it by some percent,
//! which is why the receipt is flagged as estimated.
//!
//! Invariants: pure and total; attachments count as a constant, so that no base64 is ever taken for text; bytes
//! that were not kept count a quarter of a token each.
//!
//! Cost of the tables, measured in an optimised build: the first count takes some 40 ms and leaves 66 MiB
//! resident for good; a process that never estimates pays neither. Then 25 to 80 MB are counted per second.

use serde_json::Value;

use crate::chat::Usage;
use crate::receipt::Unmetered;

/// Tokens that one image, sound or file counts as: what OpenAI bills for a 1024 x 1024 image in high detail.
pub const ATTACHMENT_TOKENS: u64 = 765;
/// Tokens of framing around each message (OpenAI's published figure: three, and one for the role).
pub const MESSAGE_TOKENS: u64 = 4;
/// Bytes taken as one token where the text was not kept.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Members of a request whose strings are prompt text, over all wire formats.
const PROMPT_MEMBERS: [&str; 7] =
    ["messages", "system", "contents", "systemInstruction", "system_instruction", "input", "instructions"];
/// Members of a request that are prompt text as they stand, schemas for the most part.
const SCHEMA_MEMBERS: [&str; 4] = ["tools", "functions", "response_format", "toolConfig"];

/// Tokens of `text` in the `o200k_base` encoding. The first call loads the tables.
pub fn count(text: &str) -> u64 {
    if text.is_empty() { 0 } else { bpe_openai::o200k_base().count(text) as u64 }
}

/// Usage of an attempt from what was exchanged, and from what the upstream told on the way. `total` is prompt and
/// completion; no detail is known that it did not tell.
pub fn estimate(unmetered: &Unmetered) -> Usage {
    let lost = unmetered.delivered_len.saturating_sub(unmetered.delivered.len()) as u64;
    let completion = count(&unmetered.delivered).saturating_add(lost.div_ceil(BYTES_PER_TOKEN));
    let told = match unmetered.told {
        Some(told) => Usage { completion: completion.max(told.completion), ..told },
        None => Usage { prompt: prompt_tokens(unmetered), completion, ..Usage::default() },
    };
    Usage { total: told.prompt.saturating_add(told.completion), ..told }
}

/// Tokens of the request, by its JSON where it was kept and by its length where not.
fn prompt_tokens(unmetered: &Unmetered) -> u64 {
    let by_length = (unmetered.request_len as u64).div_ceil(BYTES_PER_TOKEN);
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&unmetered.request) else {
        return by_length;
    };
    let prompt = PROMPT_MEMBERS.iter().filter_map(|name| body.get(*name)).map(|value| content("", value));
    let schemas =
        SCHEMA_MEMBERS.iter().filter_map(|name| body.get(*name)).map(|value| count(&value.to_string()));
    prompt.chain(schemas).sum()
}

/// Tokens of prompt content: the strings in it that a model reads.
fn content(name: &str, value: &Value) -> u64 {
    match value {
        Value::String(text) => string(name, text),
        Value::Array(items) => items.iter().map(|item| content(name, item)).sum(),
        // Arguments and results of tools are free-form: their member names are theirs, not the format's.
        Value::Object(_) if matches!(name, "input" | "args" | "response") => count(&value.to_string()),
        Value::Object(members) => {
            let framing = if members.contains_key("role") { MESSAGE_TOKENS } else { 0 };
            framing + members.iter().map(|(name, member)| content(name, member)).sum::<u64>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// Tokens of one string by the name of the member that holds it.
fn string(name: &str, text: &str) -> u64 {
    match name {
        "role" | "type" | "id" | "tool_call_id" | "call_id" | "tool_use_id" | "detail" | "format"
        | "signature" | "thoughtSignature" | "media_type" | "mime_type" | "mimeType" | "filename"
        | "encrypted_content" | "ttl" => 0,
        "url" | "image_url" | "data" | "file_data" | "file_id" | "file_uri" | "fileUri" | "file_url" => {
            ATTACHMENT_TOKENS
        }
        _ => count(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(request: &str, delivered: &str) -> Usage {
        estimate(&Unmetered {
            request: bytes::Bytes::copy_from_slice(request.as_bytes()),
            request_len: request.len(),
            delivered: delivered.to_owned(),
            delivered_len: delivered.len(),
            told: None,
        })
    }

    #[test]
    fn text_counts_as_the_published_encoding_counts_it() {
        for (text, tokens) in
            [("", 0), ("hello world", 2), ("tiktoken is great!", 6), ("お誕生日おめでとう", 8)]
        {
            assert_eq!(count(text), tokens, "{text}");
        }
    }

    #[test]
    fn every_wire_format_counts_its_prompt_text_and_nothing_else() {
        let image = format!("data:image/png;base64,{}", "A".repeat(100_000));
        let openai = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"text","text":"hello world"}},
            {{"type":"image_url","image_url":{{"url":"{image}","detail":"high"}}}}]}}]}}"#
        );
        let anthropic =
            r#"{"model":"m","system":"hello world","messages":[{"role":"user","content":"hello world"}]}"#;
        let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"hello world"},
            {"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}]}"#;
        let tools = r#"{"messages":[{"role":"user","content":"hello world"}],"tools":[{"a":"hello world"}]}"#;
        assert_eq!(of(&openai, "").prompt, MESSAGE_TOKENS + 2 + ATTACHMENT_TOKENS);
        assert_eq!(of(anthropic, "").prompt, 2 + MESSAGE_TOKENS + 2);
        assert_eq!(of(gemini, "").prompt, MESSAGE_TOKENS + 2 + ATTACHMENT_TOKENS);
        assert_eq!(of(tools, "").prompt, MESSAGE_TOKENS + 2 + count(r#"[{"a":"hello world"}]"#));
    }

    #[test]
    fn what_was_told_on_the_way_is_kept_and_only_the_rest_counted() {
        let told = Usage { prompt: 900, cache_read: 800, completion: 1, reasoning: None, ..Usage::default() };
        let unmetered = |delivered: &str| Unmetered {
            request: bytes::Bytes::from_static(b"{}"),
            request_len: 2,
            delivered: delivered.to_owned(),
            delivered_len: delivered.len(),
            told: Some(told),
        };
        let usage = estimate(&unmetered("tiktoken is great!"));
        assert_eq!(usage, Usage { completion: 6, total: 906, ..told });
        assert_eq!(estimate(&unmetered("")).completion, 1);
    }

    #[test]
    fn what_was_not_kept_counts_by_its_length() {
        let unmetered = Unmetered {
            request: bytes::Bytes::new(),
            request_len: 4_001,
            delivered: "hello world".to_owned(),
            delivered_len: 411,
            told: None,
        };
        let usage = estimate(&unmetered);
        assert_eq!((usage.prompt, usage.completion, usage.total), (1_001, 102, 1_103));
        assert_eq!(of("not json", "").prompt, 2);
    }
}
