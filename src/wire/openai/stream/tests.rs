use proptest::prelude::*;

use super::*;

/// Runs a stream cut into pieces; returns what the client gets and how it ended.
fn run(
    pieces: &[&[u8]],
    quirks: &Quirks,
    think: bool,
    include_usage: bool,
) -> (Vec<Value>, bool, Result<(), DecodeError>) {
    let envelope = Envelope { model: "p/m".into(), fallback_id: "chatcmpl-x".into(), ..Envelope::default() };
    let mut decoder = Decoder::new(quirks.clone(), think, include_usage, 1);
    let mut out = Vec::new();
    let mut result = Ok(Fed::default());
    for piece in pieces {
        result = decoder.feed(piece, &envelope, 1, &mut out);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = decoder.end_of_input(&envelope, 1, &mut out);
    }
    if result.is_ok() {
        let usage = decoder.metered.as_ref().map(|metered| metered.object.clone()).unwrap_or_default();
        decoder.finish(&envelope, 1, usage, None, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    let done = text.ends_with("data: [DONE]\n\n");
    let events =
        text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    (events.map(|data| serde_json::from_str(data).unwrap()).collect(), done, result.map(|_| ()))
}

fn events(chunks: &[&str]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

fn join(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

const PLAIN: &[&str] = &[
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"content":"h\u00e9 – 😀"},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
    r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"up","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    "[DONE]",
];

#[test]
fn usage_goes_out_only_when_asked_for_and_metadata_rides_last() {
    let text = events(PLAIN);
    let (without, done, result) = run(&[text.as_bytes()], &Quirks::default(), false, false);
    assert!(done && result.is_ok());
    assert_eq!(without.len(), 3);
    assert!(without.iter().all(|event| event.get("usage").is_none() && event["model"] == "p/m"));
    assert!(without[2]["metadata"].is_object());
    let (with, ..) = run(&[text.as_bytes()], &Quirks::default(), false, true);
    assert_eq!(
        (with.len(), &with[3]["choices"], &with[3]["usage"]["total_tokens"]),
        (4, &serde_json::json!([]), &serde_json::json!(3))
    );
    assert!(with[3]["metadata"].is_object() && with[2].get("metadata").is_none());
}

#[test]
fn an_end_is_proven_or_it_is_an_error() {
    for (chunks, expected) in [
        (&PLAIN[..4], Ok(())),
        (&PLAIN[..3], Ok(())),
        (&PLAIN[..2], Err(DecodeError::Truncated)),
        (&PLAIN[..0], Err(DecodeError::Truncated)),
    ] {
        let (_, done, result) = run(&[events(chunks).as_bytes()], &Quirks::default(), false, false);
        assert_eq!((done, result), (expected.is_ok(), expected), "{chunks:?}");
    }
    let half = format!("{}data: {{\"id\":", events(&PLAIN[..2]));
    assert_eq!(run(&[half.as_bytes()], &Quirks::default(), false, false).2, Err(DecodeError::Truncated));
    assert!(matches!(
        run(&[b"data: [DONE]\n\n"], &Quirks::default(), false, false).2,
        Err(DecodeError::Invalid(_))
    ));
}

#[test]
fn errors_and_garbage_are_errors() {
    for chunk in [
        r#"{"error":{"message":"m"}}"#,
        r#"{"error":"m"}"#,
        r#"{"object":"error","message":"m","code":400}"#,
        r#"{"detail":"m"}"#,
        r#"{"choices":[{"index":0,"error":{"message":"m"},"delta":{}}]}"#,
    ] {
        let text = events(&[PLAIN[0], chunk]);
        assert!(
            matches!(run(&[text.as_bytes()], &Quirks::default(), false, false).2, Err(DecodeError::Fault(f)) if f.message == "m"),
            "{chunk}"
        );
    }
    for chunk in ["{", "nonsense", "[1]", "\u{0}"] {
        let text = events(&[PLAIN[0], chunk]);
        assert!(
            matches!(
                run(&[text.as_bytes()], &Quirks::default(), false, false).2,
                Err(DecodeError::Invalid(_))
            ),
            "{chunk}"
        );
    }
}

#[test]
fn dialects_come_out_as_openais() {
    let chunks = events(&[
        r#"{"choices":[],"prompt_filter_results":[1]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"th"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"ink"}]},{"type":"text","text":"an"}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"swer","tool_calls":[{"id":"1","function":{"name":"f","arguments":{"a":1}}},{"id":"2","function":{"name":"g","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"2","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2}}}"#,
    ]);
    let (out, done, result) = run(&[chunks.as_bytes()], &Quirks::default(), false, true);
    assert!(done && result.is_ok());
    assert_eq!(
        (join(&out, "/choices/0/delta/reasoning"), join(&out, "/choices/0/delta/content")),
        ("think".into(), "answer".into())
    );
    assert_eq!(out[0]["prompt_filter_results"], serde_json::json!([1]));
    assert_eq!(out[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(out[2]["choices"][0]["delta"]["tool_calls"][1]["index"], 1);
    assert_eq!(
        out[3]["choices"][0]["delta"]["tool_calls"][0],
        serde_json::json!({"index":1,"function":{"arguments":"{}"}})
    );
    assert_eq!(out[3]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(
        (&out[4]["usage"]["total_tokens"], &out[4]["id"]),
        (&serde_json::json!(3), &serde_json::json!("chatcmpl-x"))
    );
}

#[test]
fn a_finish_reason_goes_out_once() {
    let chunks = events(&[
        PLAIN[1],
        PLAIN[2],
        r#"{"choices":[{"index":0,"delta":{"content":" late"},"finish_reason":"stop"}]}"#,
        r#"{"id":"a","created":1,"provider":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop","native_finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
        "[DONE]",
    ]);
    for include_usage in [false, true] {
        let (out, done, result) = run(&[chunks.as_bytes()], &Quirks::default(), false, include_usage);
        assert!(done && result.is_ok());
        assert_eq!(join(&out, "/choices/0/finish_reason"), "stop");
        assert_eq!(join(&out, "/choices/0/delta/content"), "h\u{e9} – 😀 late");
        assert_eq!(out.iter().filter(|event| event.get("metadata").is_some()).count(), 1);
        assert_eq!(out.len(), 3 + usize::from(include_usage), "{out:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_gives_the_same_answer(cuts in proptest::collection::vec(0_usize..1200, 0..12), think in any::<bool>()) {
        let text = events(PLAIN).replace("h\\u00e9", "<think>a</think>\u{e9}");
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(run(&pieces, &Quirks::default(), think, true), run(&[bytes], &Quirks::default(), think, true));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), prefix in "(data: |\\{\"choices\":|\n){0,4}") {
        let all = [prefix.as_bytes(), &bytes].concat();
        let envelope = Envelope::default();
        let mut decoder = Decoder::new(Quirks::default(), true, true, 1);
        let mut out = Vec::new();
        let _ = decoder.feed(&all, &envelope, 0, &mut out);
        let _ = decoder.end_of_input(&envelope, 0, &mut out);
    }
}

/// One event of a stream, of kinds that follow each other in any order.
fn any_event() -> impl Strategy<Value = String> {
    let chunk = |id: &str, more: &str, choices: String| {
        format!(
            r#"{{"id":"{id}","object":"chat.completion.chunk","created":1,"model":"up",{more}"choices":{choices}}}"#
        )
    };
    let written = |text: &str| serde_json::to_string(text).unwrap();
    let said = move |text: &str, index: u8| {
        format!(r#"[{{"index":{index},"delta":{{"content":{}}},"finish_reason":null}}]"#, written(text))
    };
    let text = prop_oneof![4 => "[a-c \"\\\\é😀\n]{0,4}", 1 => Just("\u{1}".to_owned())];
    prop_oneof![
        12 => text.clone().prop_map(move |text| chunk("a", "", said(&text, 0))),
        2 => text.clone().prop_map(move |text| chunk("b", "", said(&text, 0))),
        2 => text.clone().prop_map(move |text| chunk("a", "", said(&text, 1))),
        1 => text.clone().prop_map(move |text| chunk("a", r#""x_note":1,"#, said(&text, 0))),
        1 => text.clone().prop_map(move |text| {
            chunk("a", r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"#, said(&text, 0))
        }),
        1 => text.prop_map(move |text| {
            chunk("a", "", format!(r#"[{{"index":0,"delta":{{"reasoning":{}}}}}]"#, written(&text)))
        }),
        1 => Just(chunk("a", r#""x_vendor":{"n":1},"#, "[]".to_owned())),
        1 => Just(chunk("a", "", r#"[{"index":0,"delta":{"role":"assistant","content":""}}]"#.to_owned())),
        1 => Just(chunk("a", "", r#"[{"index":0,"delta":{"content":"\ud83d"},"finish_reason":null}]"#.to_owned())),
        1 => Just(chunk("a", "", r#"[{"index":0,"delta":{"content":"a" "b"},"finish_reason":null}]"#.to_owned())),
        1 => Just(chunk("a", "", r#"[{"index":0,"delta":{"content":"","x":""},"finish_reason":null}]"#.to_owned())),
        1 => Just(chunk("a", "", r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#.to_owned())),
        1 => Just(r#"{"error":{"message":"no"}}"#.to_owned()),
    ]
}

proptest! {
    #[test]
    fn events_that_are_new_in_their_text_alone_are_what_they_would_be_without_the_ones_before(
        events in proptest::collection::vec(any_event(), 1..24),
        include_usage in any::<bool>(),
    ) {
        let envelope = Envelope { model: "p/m".into(), fallback_id: "chatcmpl-x".into(), ..Envelope::default() };
        let decoder = || Decoder::new(Quirks::default(), false, include_usage, 1);
        let (mut quick, mut slow) = (decoder(), Decoder { shape: Shape::none(), ..decoder() });
        for event in &events {
            let event = format!("data: {event}\n\n");
            let (mut got, mut expected) = (Vec::new(), Vec::new());
            let fed = quick.feed(event.as_bytes(), &envelope, 1, &mut got).map_err(|error| format!("{error:?}"));
            let right = slow.feed(event.as_bytes(), &envelope, 1, &mut expected).map_err(|error| format!("{error:?}"));
            prop_assert_eq!(format!("{fed:?}"), format!("{right:?}"));
            prop_assert_eq!(String::from_utf8(got).unwrap(), String::from_utf8(expected).unwrap());
            prop_assert_eq!(quick.delivered(), slow.delivered());
            prop_assert_eq!(quick.has_content(), slow.has_content());
            if fed.is_err() {
                break;
            }
        }
        let ends = |mut decoder: Decoder| {
            let mut out = Vec::new();
            let end = decoder.end_of_input(&envelope, 1, &mut out).is_ok();
            decoder.finish(&envelope, 1, UsageObject::default(), None, &mut out);
            (end, String::from_utf8(out).unwrap())
        };
        prop_assert_eq!(ends(quick), ends(slow));
    }
}

#[test]
fn the_bytes_around_a_text_are_kept_unless_they_are_new_each_time() {
    let envelope = Envelope { model: "p/m".into(), ..Envelope::default() };
    let said = |id: usize, text: &str| {
        format!(
            "data: {{\"id\":\"{id}\",\"model\":\"up\",\"created\":1,\"object\":\"chat.completion.chunk\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"{text}\"}}}}]}}\n\n"
        )
    };
    let mut decoder = Decoder::new(Quirks::default(), false, false, 1);
    let mut out = Vec::new();
    for text in ["", "a", "b\\n", "c"] {
        decoder.feed(said(1, text).as_bytes(), &envelope, 1, &mut out).unwrap();
    }
    assert!(decoder.shape.is_known());
    assert_eq!(decoder.delivered().0, "ab\nc");
    let expected: String =
        ["", "a", "b\\n", "c"].iter().map(|text| said(1, text).replace("\"up\"", "\"p/m\"")).collect();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut shape = Shape::default();
    for at in 0..20 {
        let text = format!("{{\"id\":{at},\"choices\":[\"\"]}}");
        assert!(shape.pass(&text, &mut Vec::new()).is_none());
        let list = text.len() - 5..text.len() - 1;
        shape.keep(&text, list, 2..2, text.as_bytes());
    }
    assert!(shape.pass("{\"id\":7,\"choices\":[\"x\"]}", &mut Vec::new()).is_some());
    assert!(shape.pass("{\"id\":19,\"choices\":[\"x\"]}", &mut Vec::new()).is_none(), "it gave up before");
}

#[test]
fn of_large_events_nothing_is_kept_but_of_their_texts_any_length() {
    let said = |note: usize, text: usize| {
        format!("{{\"x\":\"{}\",\"choices\":[\"{}\"]}}", "n".repeat(note), "t".repeat(text))
    };
    for (note, text, kept) in [(4_000, 10, true), (5_000, 10, false), (10, 100_000, true)] {
        let mut shape = Shape::default();
        let event = said(note, text);
        let list = event.find('[').unwrap()..event.len() - 1;
        shape.keep(&event, list, 2..2 + text, event.as_bytes());
        assert_eq!(shape.pass(&said(note, 1), &mut Vec::new()).is_some(), kept, "{note} {text}");
    }
}
