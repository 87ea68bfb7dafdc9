//! Answers by table, and under fire: mutated, cut, made up.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::wire::encode::ANSWER_TOOL;
use crate::wire::eventstream::CONTENT_TYPE;
use crate::wire::eventstream::tests::{event_frame, frame};
use crate::wire::recorded::Case;
use crate::wire::{DecodeError, WireFormat, testing};

const FORMAT: WireFormat = WireFormat::BedrockConverse;

fn frames(events: &[(&str, Value)]) -> Vec<u8> {
    events.iter().flat_map(|(name, data)| event_frame(name, &data.to_string())).collect()
}

fn read(bytes: &[u8]) -> (Vec<Value>, Result<(), DecodeError>) {
    testing::stream(FORMAT, CONTENT_TYPE, &[bytes])
}

/// An answer's text and its finish reason.
fn said(chunks: &[Value]) -> (String, Value) {
    let choices = || chunks.iter().map(|chunk| &chunk["choices"][0]);
    let text = choices().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
    let finish = choices().map(|choice| choice["finish_reason"].clone()).find(|reason| !reason.is_null());
    (text, finish.unwrap_or_default())
}

fn text_delta(text: &str) -> (&'static str, Value) {
    ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}}))
}

fn stop(reason: &str) -> (&'static str, Value) {
    ("messageStop", json!({"stopReason": reason}))
}

fn usage() -> (&'static str, Value) {
    ("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}))
}

#[test]
fn endings_are_told_as_they_were() {
    for (native, expected) in [
        ("end_turn", json!("stop")),
        ("stop_sequence", json!("stop")),
        ("tool_use", json!("tool_calls")),
        ("max_tokens", json!("length")),
        ("model_context_window_exceeded", json!("length")),
        ("guardrail_intervened", json!("content_filter")),
        ("content_filtered", json!("content_filter")),
        ("malformed_tool_use", Value::Null),
        ("unheard_of", Value::Null),
    ] {
        let (chunks, ended) = read(&frames(&[text_delta("a"), stop(native), usage()]));
        assert_eq!((said(&chunks), ended), (("a".to_owned(), expected.clone()), Ok(())), "{native}");
        let body = json!({"output": {"message": {"role": "assistant", "content": [{"text": "a"}]}}, "stopReason": native});
        let reply = testing::whole(FORMAT, body.to_string().as_bytes()).unwrap();
        assert_eq!(reply["choices"][0]["finish_reason"], expected, "{native}");
    }
}

#[test]
fn a_stream_ends_with_its_usage_or_after_its_message_but_never_within() {
    let whole = frames(&[text_delta("a"), stop("end_turn"), usage()]);
    let without = frames(&[text_delta("a"), stop("end_turn")]);
    assert_eq!(said(&read(&without).0), ("a".to_owned(), json!("stop")));
    assert_eq!(read(&without).1, Ok(()));
    for cut in
        [&frames(&[text_delta("a")])[..], &without[..without.len() - 1], &whole[..whole.len() - 1], &[]]
    {
        let (chunks, ended) = read(cut);
        assert_eq!((said(&chunks).1, ended), (Value::Null, Err(DecodeError::Truncated)));
    }
    let only_stop = frames(&[stop("end_turn"), usage()]);
    assert_eq!(said(&read(&only_stop).0).1, json!("stop"));
}

#[test]
fn an_exception_in_a_stream_is_a_failure_with_its_status() {
    let mut bytes = frames(&[text_delta("a")]);
    let headers = [(":message-type", "exception"), (":exception-type", "throttlingException")];
    bytes.extend(frame(&headers, r#"{"message":"Too many tokens"}"#));
    let (chunks, ended) = read(&bytes);
    assert_eq!(said(&chunks), ("a".to_owned(), Value::Null));
    let Err(DecodeError::Fault(fault)) = ended else { panic!("{ended:?}") };
    assert_eq!((fault.status, fault.message.as_str()), (429, "Too many tokens"));
    for body in [r#"{"message":"no"}"#, r#"{"__type":"x#ThrottlingException","message":"no"}"#] {
        let error = testing::whole(FORMAT, body.as_bytes()).unwrap_err();
        assert!(matches!(&error, DecodeError::Fault(fault) if fault.message == "no"), "{error:?}");
    }
    for body in ["<html>", "[]", "{}", r#"{"output":{}}"#, r#"{"output":{"message":{"content":"text"}}}"#] {
        let error = testing::whole(FORMAT, body.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Invalid(_)), "{body}: {error:?}");
    }
}

#[test]
fn an_answer_in_the_required_form_is_text() {
    let start =
        json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": ANSWER_TOOL}}});
    let part = |text: &str| {
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": text}}}))
    };
    let bytes =
        frames(&[("contentBlockStart", start), part("{\"a\""), part(":1}"), stop("tool_use"), usage()]);
    assert_eq!(said(&read(&bytes).0), ("{\"a\":1}".to_owned(), json!("stop")));
    let content = json!([{"toolUse": {"toolUseId": "t", "name": ANSWER_TOOL, "input": {"a": 1}}}]);
    let body = json!({"output": {"message": {"content": content}}, "stopReason": "tool_use"});
    let reply = testing::whole(FORMAT, body.to_string().as_bytes()).unwrap();
    let choice = &reply["choices"][0];
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&json!("{\"a\":1}"), &json!("stop"))
    );
}

#[test]
fn citations_are_annotations_of_the_text_they_stand_in() {
    let location = json!({"documentPage": {"documentIndex": 0, "start": 1, "end": 2}});
    let cited = json!({"title": "my-pdf", "location": location, "sourceContent": [{"text": "t"}]});
    let web = json!({"location": {"web": {"url": "https://x/y", "domain": "x"}}});
    let content = json!([{"text": "It is "}, {"citationsContent": {"content": [{"text": "so"}], "citations": [cited, web]}}]);
    let body = json!({"output": {"message": {"content": content}}, "stopReason": "end_turn"});
    let reply = testing::whole(FORMAT, body.to_string().as_bytes()).unwrap();
    let annotations = reply["choices"][0]["message"]["annotations"].clone();
    let expected = json!([
        {"type": "file_citation", "file_citation": {"start_index": 6, "end_index": 8, "filename": "my-pdf"},
         "location": location, "source": [{"text": "t"}]},
        {"type": "url_citation", "url_citation": {"start_index": 6, "end_index": 8, "url": "https://x/y", "title": "https://x/y"},
         "location": web["location"]},
    ]);
    assert_eq!(annotations, expected);
    let delta =
        |index: u64, delta: Value| ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}));
    let bytes = frames(&[
        text_delta("It is "),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        delta(1, json!({"text": "so"})),
        delta(1, json!({"citation": cited})),
        stop("end_turn"),
        usage(),
    ]);
    let (chunks, _) = read(&bytes);
    let told =
        chunks.iter().find_map(|chunk| chunk["choices"][0]["delta"]["annotations"].as_array().cloned());
    assert_eq!(told.unwrap()[0], expected[0]);
}

#[test]
fn what_a_guardrail_did_and_what_was_served_is_told() {
    let beside = json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "trace": {"guardrail": {"actionReason": "r"}},
                        "serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}});
    let (chunks, _) = read(&frames(&[text_delta("no"), stop("guardrail_intervened"), ("metadata", beside)]));
    let last = chunks.iter().find(|chunk| !chunk["choices"][0]["finish_reason"].is_null()).unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(last["trace"]["guardrail"]["actionReason"], "r");
    assert_eq!(
        (&last["service_tier"], &last["performanceConfig"]["latency"]),
        (&json!("flex"), &json!("optimized"))
    );
}

#[test]
fn liars_are_bounded() {
    let thought =
        json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "x".repeat(1 << 20)}}});
    let one = event_frame("contentBlockDelta", &thought.to_string());
    let pieces: Vec<&[u8]> = std::iter::repeat_n(one.as_slice(), 20).collect();
    let (_, ended) = testing::stream(FORMAT, CONTENT_TYPE, &pieces);
    assert!(matches!(ended, Err(DecodeError::Invalid(what)) if what.contains("reasoning")));
    let open = |index: u64| {
        event_frame(
            "contentBlockDelta",
            &json!({"contentBlockIndex": index, "delta": {"text": "a"}}).to_string(),
        )
    };
    let many: Vec<u8> = (0..1000).flat_map(open).collect();
    assert!(matches!(read(&many).1, Err(DecodeError::Invalid(_))));
    let orphan =
        ("contentBlockDelta", json!({"contentBlockIndex": 3, "delta": {"toolUse": {"input": "{}"}}}));
    assert!(matches!(read(&frames(&[orphan])).1, Err(DecodeError::Invalid(_))));
}

type Payloads = Vec<Vec<(String, Vec<u8>)>>;

/// Recorded payloads, to be mutated and framed anew: a broken frame would be caught by its checksum alone.
static PAYLOADS: LazyLock<Payloads> = LazyLock::new(|| {
    let mut all = Vec::new();
    for case in Case::all("bedrock-converse").iter().filter(|case| case.streamed()) {
        let mut reader = crate::wire::eventstream::Reader::default();
        reader.push(&case.response).unwrap();
        let mut events = Vec::new();
        while let Ok(Some(event)) = reader.next_event() {
            events.push((event.name().to_owned(), event.data().to_vec()));
        }
        all.push(events);
    }
    all
});

static REPLIES: LazyLock<Vec<Case>> =
    LazyLock::new(|| Case::all("bedrock-converse").into_iter().filter(|case| !case.streamed()).collect());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn mutated_answers_never_panic_and_read_the_same_however_cut(
        which in 0_usize..1000,
        drops in proptest::collection::vec(0_usize..200, 0..4),
        bytes in proptest::collection::vec((0_usize..200, 0_usize..400, any::<u8>()), 0..4),
        size in 1_usize..200,
    ) {
        let mut events = PAYLOADS[which % PAYLOADS.len()].clone();
        for (at, offset, byte) in bytes {
            if let Some(slot) = events.get_mut(at).and_then(|(_, data)| data.get_mut(offset)) {
                *slot = byte;
            }
        }
        for at in drops {
            if at < events.len() {
                events.remove(at);
            }
        }
        let framed: Vec<u8> = events
            .iter()
            .flat_map(|(name, data)| event_frame(name, &String::from_utf8_lossy(data)))
            .collect();
        let pieces: Vec<&[u8]> = framed.chunks(size).collect();
        prop_assert_eq!(testing::stream(FORMAT, CONTENT_TYPE, &pieces), read(&framed));
        let _ = testing::whole(FORMAT, &framed);
    }

    #[test]
    fn mutated_replies_never_panic(which in 0_usize..1000, at in 0_usize..2000, byte in any::<u8>(), cut in 0_usize..3000) {
        let mut body = REPLIES[which % REPLIES.len()].response.clone();
        if let Some(slot) = body.get_mut(at) {
            *slot = byte;
        }
        let _ = testing::whole(FORMAT, &body);
        let _ = FORMAT.decode_error(400, &body);
        body.truncate(cut);
        let _ = testing::whole(FORMAT, &body);
        let _ = FORMAT.decode_error(503, &body);
    }
}
