//! What a client gets of an answer, by table.

use serde_json::{Value, json};

use super::{reply, sse, whole};
use crate::wire::recorded::{cut_anywhere, seen::Seen};
use crate::wire::{DecodeError, WireFormat, testing};

#[test]
fn endings_have_openai_s_word_or_none() {
    for (native, call, expected) in [
        ("STOP", false, json!("stop")),
        ("STOP", true, json!("tool_calls")),
        ("MAX_TOKENS", false, json!("length")),
        ("SAFETY", false, json!("content_filter")),
        ("RECITATION", false, json!("content_filter")),
        ("BLOCKLIST", false, json!("content_filter")),
        ("PROHIBITED_CONTENT", false, json!("content_filter")),
        ("SPII", false, json!("content_filter")),
        ("IMAGE_SAFETY", false, json!("content_filter")),
        ("OTHER", false, Value::Null),
        ("LANGUAGE", false, Value::Null),
        ("MALFORMED_FUNCTION_CALL", false, Value::Null),
        ("MISSING_THOUGHT_SIGNATURE", true, Value::Null),
        ("UNEXPECTED_TOOL_CALL", false, Value::Null),
        ("MODEL_ARMOR", false, Value::Null),
        ("FINISH_REASON_UNSPECIFIED", false, Value::Null),
    ] {
        let parts = if call { json!([{"functionCall": {"name": "f"}}]) } else { json!([{"text": "a"}]) };
        let answer = reply(&parts, native);
        let choice = whole(&answer)["choices"][0].clone();
        assert_eq!(choice["finish_reason"], expected, "{native}");
        let told = if expected.is_null() { json!(native) } else { Value::Null };
        assert_eq!(choice["native_finish_reason"], told);
        let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&[answer])]);
        assert_eq!(ended, Ok(()));
        let finish = chunks.iter().rev().find(|chunk| chunk["choices"][0].is_object()).unwrap();
        assert_eq!(finish["choices"][0]["finish_reason"], expected, "{native}");
        assert_eq!(finish["choices"][0]["native_finish_reason"], told);
    }
}

#[test]
fn a_blocked_prompt_is_filtered_and_says_why() {
    for (message, words) in
        [(None, "The prompt was blocked (SAFETY)."), (Some("No."), "The prompt was blocked (SAFETY). No.")]
    {
        let body = json!({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": message},
            "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}});
        let choice = whole(&body)["choices"][0].clone();
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["refusal"]),
            (&json!("content_filter"), &json!(words))
        );
        let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&[body])]);
        let seen = Seen::streamed(&chunks);
        assert_eq!((ended, seen.choices[0].refusal.as_str()), (Ok(()), words));
        assert_eq!(seen.choices[0].finish.as_deref(), Some("content_filter"));
    }
}

#[test]
fn a_stream_without_an_ending_is_truncated() {
    let mut open = reply(&json!([{"text": "a"}]), "STOP");
    open["candidates"][0].as_object_mut().unwrap().remove("finishReason");
    let second = json!({"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}]});
    let done = reply(&json!([{"text": "c"}]), "STOP");
    for events in [vec![open.clone()], vec![done.clone(), second], vec![]] {
        let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&events)]);
        assert_eq!(ended, Err(DecodeError::Truncated));
        assert!(
            chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"] != "stop" || events.len() > 1)
        );
    }
    let (_, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&[open, done])]);
    assert_eq!(ended, Ok(()));
}

#[test]
fn the_last_ending_and_the_last_usage_count() {
    let first = reply(&json!([{"text": "a"}]), "STOP");
    let mut last = reply(&json!([{"text": "b"}]), "SAFETY");
    last["usageMetadata"] = json!({"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3, "cachedContentTokenCount": 4, "totalTokenCount": 20, "serviceTier": "standard",
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}, {"modality": "AUDIO", "tokenCount": 9}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2}]});
    let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&[first, last])]);
    assert_eq!(ended, Ok(()));
    let seen = Seen::streamed(&chunks);
    assert_eq!(
        (seen.choices[0].text.as_str(), seen.choices[0].finish.as_deref()),
        ("ab", Some("content_filter"))
    );
    assert_eq!(
        seen.usage.unwrap(),
        json!({"prompt_tokens": 15, "completion_tokens": 5, "total_tokens": 20, "reasoning_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0, "audio_tokens": 9},
        "completion_tokens_details": {"reasoning_tokens": 3, "image_tokens": 2}})
    );
    assert_eq!(chunks.last().unwrap()["service_tier"], "default");
}

#[test]
fn counts_that_are_odd_or_missing_are_borne() {
    for (usage, prompt, completion, total) in [
        (json!({"promptTokenCount": 3, "totalTokenCount": 9, "thoughtsTokenCount": 4}), 3, 6, 9),
        (json!({"promptTokenCount": "3", "candidatesTokenCount": 2.0}), 3, 2, 5),
        (json!({"promptTokenCount": 3, "candidatesTokenCount": 0, "totalTokenCount": 3}), 3, 0, 3),
        (json!({"promptTokenCount": 3, "candidatesTokenCount": 1e300, "totalTokenCount": -1}), 3, 0, 3),
    ] {
        let mut body = reply(&json!([{"text": "a"}]), "STOP");
        body["usageMetadata"] = usage.clone();
        let seen = whole(&body)["usage"].clone();
        let expected = (json!(prompt), json!(completion), json!(total));
        let told = (&seen["prompt_tokens"], &seen["completion_tokens"], &seen["total_tokens"]);
        assert_eq!(told, (&expected.0, &expected.1, &expected.2), "{usage}");
    }
}

#[test]
fn usage_without_a_count_is_no_usage() {
    let mut body = reply(&json!([{"text": "a"}]), "STOP");
    for usage in [
        json!({"trafficType": "ON_DEMAND"}),
        json!({"promptTokenCount": -3, "candidatesTokenCount": 1e300, "totalTokenCount": u64::MAX}),
    ] {
        body["usageMetadata"] = usage;
        assert_eq!(whole(&body)["usage"], json!({}), "nothing, or nothing that can be believed");
    }
}

#[test]
fn parts_become_what_openai_has_for_them() {
    let parts = json!([{"text": "hm", "thought": true}, {"text": "so "}, {"text": "é"}, {"functionCall": {"name": "f", "args": {"a": "x y \\\" {"}}},
        {"functionCall": {"id": "up", "name": "g"}}, {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}, "thought": true},
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "QUJD"}},
        {"executableCode": {"language": "PYTHON", "code": "1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, {}]);
    let answer = reply(&parts, "STOP");
    let message = whole(&answer)["choices"][0]["message"].clone();
    assert_eq!((&message["reasoning"], &message["content"]), (&json!("hm"), &json!("so é")));
    assert_eq!(
        message["tool_calls"][0]["function"],
        json!({"name": "f", "arguments": "{\"a\":\"x y \\\\\\\" {\"}"})
    );
    assert_eq!(message["tool_calls"][0]["id"], "call_x_0");
    assert_eq!(
        (&message["tool_calls"][1]["id"], &message["tool_calls"][1]["function"]["arguments"]),
        (&json!("up"), &json!("{}"))
    );
    assert_eq!(
        message["images"],
        json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}])
    );
    assert_eq!((&message["audio"]["data"], &message["audio"]["id"]), (&json!("QUJD"), &json!("audio_x_0")));
    assert_eq!(whole(&answer)["code_execution"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&whole(&answer)["id"], &whole(&answer)["choices"][0]["finish_reason"]),
        (&json!("r1"), &json!("tool_calls"))
    );

    let bytes = sse(&[answer]);
    for pieces in [vec![bytes.as_slice()], bytes.chunks(1).collect(), cut_anywhere(&bytes, 3)] {
        let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &pieces);
        let seen = Seen::streamed(&chunks);
        assert_eq!((ended, seen.broken.len()), (Ok(()), 0), "{:?}", seen.broken);
        let choice = &seen.choices[0];
        assert_eq!((choice.text.as_str(), choice.reasoning.as_str(), choice.calls.len()), ("so é", "hm", 2));
        assert_eq!((choice.images.len(), choice.calls[1].arguments.as_str()), (1, "{}"));
        assert!(chunks.iter().any(|chunk| chunk["choices"][0]["delta"]["audio"]["data"] == "QUJD"));
    }
}

#[test]
fn candidates_are_choices_also_without_an_index() {
    let body = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
        {"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS"}]});
    let answer = whole(&body);
    let seen = |at: usize| {
        (
            answer["choices"][at]["index"].clone(),
            answer["choices"][at]["message"]["content"].clone(),
            answer["choices"][at]["finish_reason"].clone(),
        )
    };
    assert_eq!(seen(0), (json!(0), json!("a"), json!("stop")));
    assert_eq!(seen(1), (json!(1), json!("b"), json!("length")));
}

#[test]
fn sources_become_annotations_at_characters() {
    let mut body = reply(&json!([{"text": "Größe ist "}, {"text": "relativ."}]), "STOP");
    body["candidates"][0]["groundingMetadata"] = json!({
        "webSearchQueries": ["q1", "q2"],
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"title": "no address"}}, {"retrievedContext": {"uri": "gs://c"}}],
        "groundingSupports": [{"segment": {"endIndex": 7}, "groundingChunkIndices": [0, 1, 9]}, {"segment": {"startIndex": 12, "endIndex": 20}, "groundingChunkIndices": [2]}]});
    body["candidates"][0]["citationMetadata"] =
        json!({"citationSources": [{"startIndex": 0, "endIndex": 7, "uri": "https://r"}, {"endIndex": 2}]});
    let cited = |url: &str, title: &str, start: u64, end: u64| json!({"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": start, "end_index": end}});
    let expected =
        json!([cited("https://a", "A", 0, 5), cited("gs://c", "", 10, 18), cited("https://r", "", 0, 5)]);
    assert_eq!(whole(&body)["choices"][0]["message"]["annotations"], expected);
    let usage = whole(&body)["usage"].clone();
    assert_eq!(usage["num_search_queries"], 2);
    let (chunks, _) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&sse(&[body.clone()])]);
    assert_eq!(json!(Seen::streamed(&chunks).choices[0].annotations), expected);
    body["candidates"][0]["groundingMetadata"]["groundingSupports"] = json!([]);
    assert_eq!(whole(&body)["choices"][0]["message"]["annotations"][0], cited("https://a", "A", 18, 18));
}

#[test]
fn log_probabilities_have_openai_s_shape() {
    let mut body = reply(&json!([{"text": "é"}]), "STOP");
    body["candidates"][0]["logprobsResult"] = json!({"chosenCandidates": [{"token": "é", "tokenId": 1, "logProbability": -0.25}],
        "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.25}, {"token": "e", "logProbability": -2}]}]});
    assert_eq!(
        whole(&body)["choices"][0]["logprobs"],
        json!({"content": [{"token": "é", "logprob": -0.25, "bytes": [195, 169],
        "top_logprobs": [{"token": "é", "logprob": -0.25, "bytes": [195, 169]}, {"token": "e", "logprob": -2, "bytes": [101]}]}]})
    );
    let bytes = sse(&[body.clone(), body]);
    let (chunks, ended) = testing::stream(WireFormat::Gemini, "text/event-stream", &[&bytes]);
    let told = chunks.iter().filter(|chunk| chunk["choices"][0]["logprobs"]["content"][0]["token"] == "é");
    assert_eq!((ended, told.count()), (Ok(()), 2), "each event's own");
}

#[test]
fn an_array_is_read_like_the_stream_that_it_is() {
    let events = [reply(&json!([{"text": "a"}]), "STOP"), reply(&json!([{"text": "b"}]), "STOP")];
    assert_eq!(whole(&json!(events))["choices"][0]["message"]["content"], "ab");
    let pretty = serde_json::to_string_pretty(&events).unwrap();
    let (chunks, ended) = testing::stream(
        WireFormat::Gemini,
        "application/json",
        &pretty.as_bytes().chunks(7).collect::<Vec<_>>(),
    );
    assert_eq!((ended, Seen::streamed(&chunks).choices[0].text.as_str()), (Ok(()), "ab"));
}
