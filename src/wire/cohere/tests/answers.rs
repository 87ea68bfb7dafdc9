//! What is told of an answer.

use serde_json::{Value, json};

use super::FORMAT;
use crate::wire::testing::{stream, whole};
use crate::wire::{DecodeError, recorded};

fn reply(message: Value, more: Value) -> Result<Value, DecodeError> {
    let mut body = json!({"id": "i", "message": message, "finish_reason": "COMPLETE",
        "usage": {"tokens": {"input_tokens": 5, "output_tokens": 2}}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole(FORMAT, body.to_string().as_bytes())
}

fn events(events: &[Value]) -> (Vec<Value>, Result<(), DecodeError>) {
    let text: String = events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect();
    stream(FORMAT, "text/event-stream", &[text.as_bytes()])
}

fn piece(index: u64, content: Value) -> Value {
    json!({"type": "content-delta", "index": index, "delta": {"message": {"content": content}}})
}

fn end(delta: Value) -> Value {
    json!({"type": "message-end", "delta": delta})
}

#[test]
fn endings_take_openais_words_or_none() {
    for (native, expected) in [
        ("COMPLETE", json!("stop")),
        ("STOP_SEQUENCE", json!("stop")),
        ("MAX_TOKENS", json!("length")),
        ("TOOL_CALL", json!("tool_calls")),
        ("ERROR_TOXIC", json!("content_filter")),
        ("USER_CANCEL", Value::Null),
        ("SOMETHING_NEW", Value::Null),
    ] {
        let seen = reply(json!({"content": "a"}), json!({"finish_reason": native})).unwrap();
        assert_eq!(seen["choices"][0]["finish_reason"], expected, "{native}");
        let (chunks, ended) =
            events(&[piece(0, json!({"text": "a"})), end(json!({"finish_reason": native}))]);
        assert_eq!(ended, Ok(()));
        assert_eq!(chunks[1]["choices"][0]["finish_reason"], expected, "{native}");
        let told = if expected.is_null() { json!(native) } else { Value::Null };
        assert_eq!(chunks[1]["choices"][0].get("native_finish_reason").cloned().unwrap_or_default(), told);
    }
}

#[test]
fn failures_inside_an_answer_are_faults_with_their_words() {
    let fault = |result: Result<(), DecodeError>| match result {
        Err(DecodeError::Fault(fault)) => (fault.status, fault.message),
        other => panic!("{other:?}"),
    };
    let start = piece(0, json!({"text": "a"}));
    for (last, expected) in [
        (end(json!({"finish_reason": "ERROR", "error": "broke"})), (0, "broke")),
        (end(json!({"finish_reason": "ERROR"})), (0, "its answer ended with ERROR")),
        (end(json!({"finish_reason": "TIMEOUT"})), (504, "its answer ended with TIMEOUT")),
        (json!({"type": "error", "message": "broke"}), (0, "broke")),
        (json!({"message": "broke"}), (0, "broke")),
        (json!({"error": {"message": "broke", "code": 429}}), (429, "broke")),
    ] {
        let (chunks, ended) = events(&[start.clone(), last.clone()]);
        assert_eq!(chunks.len(), 1, "{last}");
        let (status, message) = fault(ended);
        assert_eq!((status, message.as_str()), expected, "{last}");
    }
    for body in
        [r#"{"message":"broke"}"#, r#"{"id":"1","error":"broke"}"#, r#"{"error":{"message":"broke"}}"#]
    {
        assert_eq!(fault(whole(FORMAT, body.as_bytes()).map(|_| ())).1, "broke", "{body}");
    }
    let timed_out = reply(json!({"content": "a"}), json!({"finish_reason": "TIMEOUT"}));
    assert_eq!(fault(timed_out.map(|_| ())).0, 504);
}

#[test]
fn error_answers_keep_their_words_and_status() {
    for (status, body, expected, message) in [
        (400, r#"{"id":"i","message":"too many tokens"}"#, 400, "too many tokens"),
        (401, r#"{"message":"invalid api token"}"#, 502, "invalid api token"),
        (422, r#"{"data":"x","message":"bad schema"}"#, 400, "bad schema"),
        (429, r#"{"message":"trial key"}"#, 429, "trial key"),
        (498, r#"{"message":"a deny-listed token"}"#, 400, "a deny-listed token"),
        (503, "<html>", 502, "HTML"),
    ] {
        let error = FORMAT.decode_error(status, body.as_bytes()).into_error("p");
        assert_eq!(error.class().status, expected, "{status}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn usage_is_what_was_read_and_written_and_what_is_billed_stays_beside_it() {
    for (usage, expected) in [
        (
            json!({"billed_units": {"input_tokens": 3, "output_tokens": 2}, "tokens": {"input_tokens": 9, "output_tokens": 4}, "cached_tokens": 8}),
            json!([9, 4, 13, 8, null]),
        ),
        (json!({"billed_units": {"input_tokens": 3, "output_tokens": 2}}), json!([3, 2, 5, 0, null])),
        (
            json!({"tokens": {"input_tokens": 9.0, "output_tokens": 4, "reasoning_tokens": 0}}),
            json!([9, 4, 13, 0, 0]),
        ),
        (
            json!({"tokens": {"input_tokens": 9, "output_tokens": 4, "reasoning_tokens": 3}, "cached_tokens": 99}),
            json!([9, 4, 13, 9, 3]),
        ),
        (
            json!({"tokens": {"input_tokens": 34, "output_tokens": 4, "image_tokens": 259}, "billed_units": {"input_tokens": 267}}),
            json!([267, 4, 271, 0, null]),
        ),
    ] {
        let seen = reply(json!({"content": "a"}), json!({"usage": usage})).unwrap();
        let told = &seen["usage"];
        let counts = json!([
            told["prompt_tokens"],
            told["completion_tokens"],
            told["total_tokens"],
            told["prompt_tokens_details"]["cached_tokens"],
            told["reasoning_tokens"]
        ]);
        assert_eq!(counts, expected, "{usage}");
        assert_eq!(seen.get("billed_units"), usage.get("billed_units"));
    }
    for usage in [json!(null), json!({}), json!("x"), json!({"tokens": {"input_tokens": -4}})] {
        let seen = reply(json!({"content": "a"}), json!({"usage": usage})).unwrap();
        assert_eq!(seen["usage"], json!({}), "{usage}");
    }
}

#[test]
fn citations_become_annotations_that_keep_their_source() {
    let page = json!({"type": "document", "id": "d", "document": {"url": "https://x/y", "title": "T", "text": "long"}});
    let tool = json!({"type": "tool", "id": "c:0", "tool_output": {"content": "r"}});
    let citation = json!({"start": 1, "end": 3, "text": "bc", "type": "TEXT_CONTENT", "content_index": 2, "sources": [page, tool]});
    let expected = json!([
        {"type": "url_citation", "url_citation": {"start_index": 3, "end_index": 5, "url": "https://x/y", "title": "T"}, "text": "bc", "source": page},
        {"type": "file_citation", "file_citation": {"start_index": 3, "end_index": 5, "file_id": "c:0"}, "text": "bc", "source": tool}]);
    let content = json!([{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "é "}, {"type": "text", "text": "abcd"}]);
    let seen = reply(json!({"content": content, "citations": [citation]}), json!({})).unwrap();
    assert_eq!(seen["choices"][0]["message"]["annotations"], expected);

    let start = json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": citation}}});
    let (chunks, ended) = events(&[
        piece(0, json!({"thinking": "t"})),
        json!({"type": "content-end", "index": 0}),
        json!({"type": "content-start", "index": 1, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        piece(1, json!({"text": "é "})),
        json!({"type": "content-start", "index": 2, "delta": {"message": {"content": {"type": "text", "text": ""}}}}),
        piece(2, json!({"text": "abcd"})),
        start,
        json!({"type": "citation-end", "index": 0}),
        end(json!({"finish_reason": "COMPLETE"})),
    ]);
    assert_eq!(ended, Ok(()));
    assert_eq!(json!(recorded::seen::Seen::streamed(&chunks).choices[0].annotations), expected);

    let plan = json!({"start": 4, "end": 7, "text": "p", "type": "PLAN", "sources": []});
    let seen = reply(json!({"content": "a", "citations": [plan]}), json!({})).unwrap();
    let within = json!({"type": "PLAN", "start": 4, "end": 7});
    let annotation = json!({"type": "file_citation", "file_citation": {}, "text": "p", "within": within});
    assert_eq!(seen["choices"][0]["message"]["annotations"], json!([annotation]));
}

#[test]
fn pieces_of_parallel_calls_find_their_call_by_index() {
    let call = |kind: &str, index: u64, call: Value| json!({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}});
    let start = |index: u64, id: &str| {
        call(
            "tool-call-start",
            index,
            json!({"id": id, "type": "function", "function": {"name": "f", "arguments": ""}}),
        )
    };
    let more =
        |index: u64, text: &str| call("tool-call-delta", index, json!({"function": {"arguments": text}}));
    let (chunks, ended) = events(&[
        json!({"type": "message-start", "id": "i", "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I "}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "will"}}}),
        start(4, "a"),
        start(7, "b"),
        more(4, "{\"x\":"),
        more(7, "{}"),
        more(4, "1}"),
        more(99, "lost"),
        start(8, "c"),
        json!({"type": "something-new"}),
        end(json!({"finish_reason": "TOOL_CALL"})),
    ]);
    assert_eq!(ended, Ok(()));
    assert!(chunks.iter().all(|chunk| chunk["id"] == "i"));
    let seen = recorded::seen::Seen::streamed(&chunks);
    assert_eq!(seen.broken, [""; 0]);
    let calls: Vec<(&str, &str)> =
        seen.choices[0].calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{}"), ("c", "{}")]);
    let plan = json!({"type": "reasoning.summary", "summary": "I will", "format": "cohere-v2", "index": 0});
    assert_eq!(seen.choices[0].details, [plan]);
    assert_eq!(seen.choices[0].reasoning, "");
}

#[test]
fn thinking_blocks_in_a_row_stay_apart() {
    let ended = |index: u64| json!({"type": "content-end", "index": index});
    let start = |index: u64, text: &str| {
        let content = json!({"type": "thinking", "thinking": text});
        json!({"type": "content-start", "index": index, "delta": {"message": {"content": content}}})
    };
    let last = end(json!({"finish_reason": "COMPLETE"}));
    for told in [
        vec![start(0, "a"), ended(0), piece(1, json!({"thinking": "b"})), last.clone()],
        vec![start(0, "a"), start(1, "b"), last],
    ] {
        let (chunks, ended) = events(&told);
        assert_eq!(ended, Ok(()));
        let choice = recorded::seen::Seen::streamed(&chunks).choices.remove(0);
        let texts: Vec<&Value> = choice.details.iter().map(|detail| &detail["text"]).collect();
        assert_eq!((choice.reasoning.as_str(), texts), ("ab", vec![&json!("a"), &json!("b")]), "{told:?}");
    }
}

#[test]
fn a_stream_is_complete_with_its_last_event_only() {
    let text = piece(0, json!({"text": "a"}));
    for (told, expected) in [
        (vec![text.clone()], Err(DecodeError::Truncated)),
        (vec![text.clone(), json!({"type": "content-end", "index": 0})], Err(DecodeError::Truncated)),
        (vec![text.clone(), end(json!({"finish_reason": "COMPLETE"}))], Ok(())),
    ] {
        assert_eq!(events(&told).1, expected, "{told:?}");
    }
    let done = format!("data: {text}\n\ndata: [DONE]\n\n");
    assert_eq!(stream(FORMAT, "text/event-stream", &[done.as_bytes()]).1, Err(DecodeError::Truncated));
    let nothing = events(&[end(json!({"finish_reason": "COMPLETE"}))]);
    assert_eq!(nothing.1, Ok(()), "an empty text that is said to be complete is an answer");
}

#[test]
fn log_probabilities_take_openais_shape() {
    let logprobs = json!([{"text": "aé", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}]);
    let seen = reply(json!({"content": "aé"}), json!({"logprobs": logprobs})).unwrap();
    let expected = json!({"content": [{"token": "aé", "logprob": -0.75, "bytes": [97, 195, 169], "top_logprobs": []}], "refusal": null});
    assert_eq!(seen["choices"][0]["logprobs"], expected);
}

#[test]
fn answers_of_version_1_are_read() {
    let body = json!({"response_id": "r", "text": "hi", "generation_id": "g", "finish_reason": "MAX_TOKENS",
        "tool_calls": [{"name": "f", "parameters": {"a": 1}}],
        "citations": [{"start": 0, "end": 2, "text": "hi", "document_ids": ["d"]}],
        "meta": {"tokens": {"input_tokens": 1, "output_tokens": 2}}});
    let seen = whole(FORMAT, body.to_string().as_bytes()).unwrap();
    let choice = &seen["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("hi"), &json!("length")));
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"],
        json!({"name": "f", "arguments": "{\"a\":1}"})
    );
    assert_eq!(seen["usage"]["total_tokens"], 3);
    let failed = r#"{"text":"hi","finish_reason":"ERROR"}"#;
    assert!(matches!(whole(FORMAT, failed.as_bytes()), Err(DecodeError::Fault(_))));
}
