use proptest::prelude::*;

use super::*;
use crate::json::Members;
use crate::json::testing::fixtures;

/// What one pass takes is what reading message by message takes, and comes to the same.
fn agree(value: &str) -> bool {
    let Some(summary) = Summary::scan(value) else { return false };
    match Summary::read(value) {
        Ok(read) => assert_eq!(summary, read, "{value}"),
        Err(error) => panic!("{error}: {value}"),
    }
    true
}

const ALL: &str = r#"[
    {"role": "developer", "content": "caf\u00e9 \"\n\ud83d\ude00 €", "name": "n"},
    {"role": "user", "content": [{"type": "text", "text": "a\tb"}, {"type": "image_url", "image_url": {"url": "https:\/\/x", "detail": "low"}},
        {"type": "image_url", "image_url": "data:x"}, {"type": "file", "file": {"x": [1.5e3]}}, {"type": "new", "x": null},
        {"type": "input_audio", "input_audio": {"data": "x", "format": null}}]},
    {"role": "assistant", "content": null, "reasoning": "x", "reasoning_details": [{}], "tool_calls":
        [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}, {"id": null, "custom": {}}]},
    {"role": "tool", "tool_call_id": "c", "content": "done", "vendor": {"x": [true, false]}},
    {"role": "system"}]"#;

#[test]
fn messages_of_all_kinds_are_read_in_one_pass() {
    assert!(agree(ALL) && agree("[]"));
    let summary = Summary::scan(ALL).unwrap();
    let all = Summary {
        count: 5,
        text_bytes: ("café \"\n😀 €".len() + 3 + 2 * 64 + 4) as u64,
        developer_role: true,
        reasoning_back: true,
        images: true,
        audio: true,
        files: true,
    };
    assert_eq!(summary, all);
}

#[test]
fn what_is_wrong_is_not_taken_in_one_pass() {
    for message in [
        r#"{"content":"x"}"#,
        r#"{"role":"x"}"#,
        r#"{"role":{"user":null}}"#,
        r#"{"role":"user","content":1}"#,
        r#"{"role":"user","content":{}}"#,
        r#"{"role":"user","content":"\ud83d"}"#,
        r#"{"role":"user","content":null,"content":"x"}"#,
        r#"{"role":"user","name":null,"name":null}"#,
        r#"{"role":"user","name":1}"#,
        r#"{"role":"user","content":["x"]}"#,
        r#"{"role":"user","content":[{"text":"x"}]}"#,
        r#"{"role":"user","content":[{"type":"text"}]}"#,
        r#"{"role":"user","content":[{"type":"text","text":null}]}"#,
        r#"{"role":"user","content":[{"type":"image_url"}]}"#,
        r#"{"role":"user","content":[{"type":"image_url","image_url":"http://x"}]}"#,
        r#"{"role":"user","content":[{"type":"image_url","image_url":{}}]}"#,
        r#"{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}"#,
        r#"{"role":"user","content":[{"type":"file","file":null}]}"#,
        r#"{"role":"assistant","tool_calls":{}}"#,
        r#"{"role":"assistant","tool_calls":[{"function":{}}]}"#,
        r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{}}}]}"#,
        r#"["user"]"#,
        "1",
    ] {
        assert_eq!(Summary::scan(&format!("[{message}]")), None, "{message}");
    }
}

#[test]
fn recorded_requests_are_read_in_one_pass() {
    let mut taken = 0;
    for (path, text) in fixtures() {
        let Ok(members) = Members::parse(&text) else { continue };
        let Some(messages) = members.get(&text, "messages") else { continue };
        let is_taken = agree(messages);
        taken += usize::from(is_taken);
        assert!(is_taken || !path.ends_with("client.json") || Summary::read(messages).is_err(), "{path:?}");
    }
    assert!(taken > 100, "{taken}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Tokens of the text are put in the place of one another, taken out and doubled.
    #[test]
    fn messages_that_are_not_quite_right_are_never_taken_wrongly(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3_u8), 0..4),
    ) {
        let mut tokens: Vec<&str> = ALL.split_inclusive([',', ':', '{', '}', '[', ']']).collect();
        for (at, other, how) in &changes {
            let (at, other) = (at.index(tokens.len()), tokens[other.index(tokens.len())]);
            match how {
                0 => tokens[at] = other,
                1 => drop(tokens.remove(at)),
                _ => tokens.insert(at, other),
            }
        }
        agree(&tokens.concat());
    }
}
