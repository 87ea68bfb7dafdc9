//! Messages by table: what a client's messages become, and what goes back into them.

use serde_json::{Value, json};

use super::encode::{ask, check, claude, globs, tool};
use crate::wire::testing::{self, Target};
use crate::wire::{Media, Quirks, WireFormat};

const FORMAT: WireFormat = WireFormat::BedrockConverse;
const PNG: &str = "data:image/png;base64,aGk=";

fn talk(messages: Value) -> Value {
    json!({"model": "m", "messages": messages, "tools": [tool("f")]})
}

#[test]
fn messages_become_turns_that_alternate() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    for (messages, system, turns) in [
        (
            json!([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "d"}]},
                   {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": " "}]}]),
            json!([{"text": "s"}, {"text": "d"}]),
            json!([{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}]),
        ),
        // Results of one turn together and first, whatever stands between them; an empty one is legal.
        (
            json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "t", "tool_calls": [call("1", "{\"a\": 1}"), call("2", "")]},
                   {"role": "user", "content": "hurry"}, {"role": "tool", "tool_call_id": "2", "content": "{\"b\": 2}"},
                   {"role": "tool", "tool_call_id": "1", "content": ""}]),
            Value::Null,
            json!([{"role": "user", "content": [{"text": "q"}]},
                   {"role": "assistant", "content": [{"text": "t"}, {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1}}},
                                                     {"toolUse": {"toolUseId": "2", "name": "f", "input": {}}}]},
                   {"role": "user", "content": [{"toolResult": {"toolUseId": "2", "content": [{"json": {"b": 2}}]}},
                                                {"toolResult": {"toolUseId": "1", "content": []}}, {"text": "hurry"}]}]),
        ),
        // What is no object goes as one; ids keep to the alphabet, and calls and results to each other.
        (
            json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [call("a b", "[1]")]},
                   {"role": "tool", "tool_call_id": "a b", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": PNG}}]}]),
            Value::Null,
            json!([{"role": "user", "content": [{"text": "q"}]},
                   {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a_b_c8687a08aa5d6ed2", "name": "f", "input": {"arguments": "[1]"}}}]},
                   {"role": "user", "content": [{"toolResult": {"toolUseId": "a_b_c8687a08aa5d6ed2", "content": [
                       {"text": "x"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}]}}]}]),
        ),
        // A turn of nothing is none.
        (
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"},
                   {"role": "assistant", "content": null, "refusal": "no"}, {"role": "user", "content": "c"}]),
            Value::Null,
            json!([{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}, {"role": "assistant", "content": [{"text": "no"}]},
                   {"role": "user", "content": [{"text": "c"}]}]),
        ),
    ] {
        let body = talk(messages);
        check(&body, &Target::default(), "/system", system, &[]);
        check(&body, &Target::default(), "/messages", turns, &[]);
    }
    let named = talk(json!([{"role": "user", "name": "Ann", "content": "a"}]));
    check(&named, &Target::default(), "/messages/0/content", json!([{"text": "a"}]), &["messages.name"]);
}

#[test]
fn media_travel_inline_or_not_at_all() {
    let user = |part: Value| ask(json!({"messages": [{"role": "user", "content": [part]}]}));
    let image = |url: &str| user(json!({"type": "image_url", "image_url": {"url": url}}));
    let file = |file: Value| user(json!({"type": "file", "file": file}));
    let fetched = ("https://x/y".to_owned(), ("image/jpeg".to_owned(), "ZmV0Y2hlZA==".to_owned()));
    let target = Target { media: Media([fetched].into()), ..Target::default() };
    let bytes = |format: &str, bytes: &str| json!({"format": format, "source": {"bytes": bytes}});
    let document = |format: &str, name: &str| json!({"document": {"format": format, "name": name, "source": {"bytes": "aGk="}}});
    for (body, expected) in [
        (image(PNG), json!({"image": bytes("png", "aGk=")})),
        (image("data:image/JPG;base64,aGk="), json!({"image": bytes("jpeg", "aGk=")})),
        (image("https://x/y"), json!({"image": bytes("jpeg", "ZmV0Y2hlZA==")})),
        (
            user(json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}})),
            json!({"audio": bytes("mp3", "aGk=")}),
        ),
        (
            file(json!({"file_data": "data:application/pdf;base64,aGk=", "filename": "my_report v2.pdf"})),
            document("pdf", "my-report v2"),
        ),
        (file(json!({"file_data": "aGk="})), document("pdf", "document")),
        (
            file(json!({"file_data": "data:application/octet-stream;base64,aGk=", "filename": "a.MD"})),
            document("md", "a"),
        ),
        (
            user(
                json!({"type": "file", "file": {"file_data": "aGk=", "filename": "a"}, "citations": {"enabled": true}, "context": "c"}),
            ),
            json!({"document": {"format": "pdf", "name": "a", "source": {"bytes": "aGk="}, "context": "c", "citations": {"enabled": true}}}),
        ),
        (
            user(json!({"type": "guard_content", "guardContent": {"text": {"text": "t"}}})),
            json!({"guardContent": {"text": {"text": "t"}}}),
        ),
    ] {
        check(&body, &target, "/messages/0/content/0", expected, &[]);
    }
    for body in [
        image("https://elsewhere/z"),
        image("data:image/tiff;base64,aGk="),
        file(json!({"file_id": "file-1"})),
        file(json!({"file_data": "data:application/zip;base64,aGk=", "filename": "a.zip"})),
        user(json!({"type": "unheard_of"})),
        ask(
            json!({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}),
        ),
    ] {
        let error = testing::encode(FORMAT, &body.to_string(), &target).unwrap_err();
        assert_eq!((error.class().status, error.code()), (400, Some("unsupported_parameter")), "{body}");
    }
}

#[test]
fn cache_marks_become_cache_points() {
    let mark = json!({"type": "ephemeral"});
    let long = json!({"type": "ephemeral", "ttl": "1h"});
    let mut marked = tool("f");
    marked["cache_control"] = mark.clone();
    let body = json!({"model": "m", "tools": [marked], "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": long}]},
        {"role": "user", "content": "q", "cache_control": mark},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "cache_control": mark}]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "r", "cache_control": mark}]},
    ]});
    let point = json!({"cachePoint": {"type": "default"}});
    let plain = Target::default();
    for (pointer, expected) in [
        ("/toolConfig/tools/1", point.clone()),
        ("/system/1", json!({"cachePoint": {"type": "default", "ttl": "1h"}})),
        ("/messages/0/content/1", point.clone()),
        ("/messages/1/content/1", point.clone()),
        ("/messages/2/content/1", point.clone()),
        ("/messages/2/content/2", Value::Null),
    ] {
        check(&body, &plain, pointer, expected, &[]);
    }
    let uncached = Quirks { uncached_models: globs(), ..Quirks::default() };
    let (sent, dropped) = testing::sent(FORMAT, &body, &Target { quirks: uncached, ..Target::default() });
    assert!(!sent.to_string().contains("cachePoint"), "{sent}");
    assert_eq!(dropped, ["cache_control"]);
    let tools = Quirks { uncached_tools_models: globs(), ..Quirks::default() };
    let target = Target { quirks: tools, ..Target::default() };
    check(&body, &target, "/toolConfig/tools/1", Value::Null, &["cache_control"]);
    check(&body, &target, "/system/1/cachePoint/ttl", json!("1h"), &["cache_control"]);
}

#[test]
fn reasoning_goes_back_where_it_stood_and_foreign_reasoning_does_not() {
    let detail = |signature: &str, text: &str, after_text: u64, after_calls: u64| {
        json!({"type": "reasoning.text", "text": text, "signature": signature, "format": "anthropic-claude-v1",
               "after_text": after_text, "after_calls": after_calls})
    };
    let thought = |text: &str, signature: &str| json!({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let used = |id: &str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}});
    let foreign = json!({"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"});
    let unsigned = json!({"type": "reasoning.text", "text": "t", "format": "anthropic-claude-v1"});
    let redacted = json!({"type": "reasoning.encrypted", "data": "cmVk", "format": "anthropic-claude-v1"});
    for (details, expected) in [
        (
            json!([detail("s1", "a", 0, 0), redacted, foreign, unsigned]),
            json!([thought("a", "s1"), {"reasoningContent": {"redactedContent": "cmVk"}}, {"text": "zéro, one"}, used("1"), used("2")]),
        ),
        (
            json!([
                detail("s1", "", 0, 0),
                detail("s2", "b", 5, 0),
                detail("s3", "c", 9, 0),
                detail("s4", "d", 9, 1)
            ]),
            json!([thought("", "s1"), {"text": "zéro,"}, thought("b", "s2"), {"text": " one"}, thought("c", "s3"), used("1"), thought("d", "s4"), used("2")]),
        ),
        // Reasoning after all that was said cannot end a message.
        (json!([detail("s1", "a", 9, 2)]), json!([{"text": "zéro, one"}, used("1"), used("2")])),
    ] {
        let body = talk(json!([{"role": "user", "content": "q"},
            {"role": "assistant", "content": "zéro, one", "reasoning": "ignored", "reasoning_details": details, "tool_calls": [call("1"), call("2")]},
            {"role": "tool", "tool_call_id": "1", "content": "r"}, {"role": "tool", "tool_call_id": "2", "content": "r"}]));
        check(&body, &Target::default(), "/messages/1/content", expected, &[]);
    }
    // A tool turn whose reasoning was lost goes on without thinking, and the client is told.
    let mut lost = talk(
        json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [call("1")]},
        {"role": "tool", "tool_call_id": "1", "content": "r"}]),
    );
    lost["reasoning_effort"] = json!("low");
    check(&lost, &claude(), "/additionalModelRequestFields", Value::Null, &["reasoning_effort"]);
}
