//! What must hold for every format that is translated, whatever it is made of.
//!
//! Recorded traffic is the material: what is done to it here (cutting, splitting, padding, mangling) is the same for
//! all formats. Rules of one format are tested beside it.

mod fields;
mod streams;

use super::recorded::Case;
use super::testing::{stream, whole};
use super::{DecodeError, WireFormat};

/// The formats that are translated. One whose table of fields is empty is not written yet.
fn formats() -> impl Iterator<Item = WireFormat> {
    let written = |format: &WireFormat| format.codec().is_some_and(|codec| !codec.fields.is_empty());
    WireFormat::ALL.into_iter().filter(written)
}

/// Recordings of good answers that are not too large to be worked on many times.
fn good(format: WireFormat, streamed: bool, bytes_max: usize) -> Vec<Case> {
    let mut cases = Case::all(format.name());
    cases.retain(|case| {
        let sound = case.status() == 200 && case.expected["complete"] == true;
        let failed = case.expected.get("error").or(case.expected.get("mid_stream_error")).is_some();
        sound && !failed && case.streamed() == streamed && case.response.len() <= bytes_max
    });
    cases
}

#[test]
fn there_is_something_to_work_on() {
    for format in formats() {
        for streamed in [false, true] {
            assert!(!good(format, streamed, 32 * 1024).is_empty(), "{} {streamed}", format.name());
        }
    }
}

#[test]
fn what_is_no_answer_is_an_error_and_says_nothing() {
    for format in formats() {
        let name = format.name();
        let kind = format.accepts(true);
        for body in [
            "",
            " \r\n\r\n",
            "<!doctype html><p>busy",
            "null",
            "[]",
            "{}",
            "7",
            "\"x\"",
            "{\"a\":",
            "\u{feff}",
        ] {
            assert!(whole(format, body.as_bytes()).is_err(), "{name}: {body:?}");
            for text in
                [body.to_owned(), format!("data: {body}\n\n"), format!("data: {body}\n\ndata: [DONE]\n\n")]
            {
                let (chunks, ended) = stream(format, kind, &[text.as_bytes()]);
                assert!(ended.is_err(), "{name}: {text:?}");
                assert!(chunks.is_empty(), "{name}: {text:?} says {chunks:?}");
            }
        }
    }
}

#[test]
fn a_whole_reply_that_is_cut_off_is_an_error() {
    for format in formats() {
        for case in good(format, false, 32 * 1024).into_iter().take(12) {
            let body = case.response.trim_ascii_end();
            assert!(whole(format, body).is_ok(), "{}", case.id);
            for part in 0..20 {
                let cut = body.len() * part / 20;
                assert!(whole(format, &body[..cut]).is_err(), "{} cut at {cut}", case.id);
            }
            assert!(whole(format, &body[..body.len() - 1]).is_err(), "{} without its last byte", case.id);
        }
    }
}

#[test]
fn a_content_type_tells_a_stream_from_an_error() {
    for format in formats() {
        for (kind, streams) in [
            (format.accepts(true), true),
            ("text/event-stream; charset=utf-8", true),
            ("application/stream+json", true),
            ("", true),
            ("application/json", false),
            ("text/html; charset=utf-8", false),
        ] {
            assert_eq!(format.streams_as(kind), streams, "{} {kind:?}", format.name());
        }
    }
    assert!(!WireFormat::Openai.streams_as("application/stream+json"), "OpenAI's format has no such streams");
}

/// Errors in the shape of each format.
const ERRORS: [(WireFormat, &str); 6] = [
    (WireFormat::Anthropic, r#"{"type":"error","error":{"type":"overloaded_error","message":"the words"}}"#),
    (WireFormat::Gemini, r#"{"error":{"code":503,"message":"the words","status":"UNAVAILABLE"}}"#),
    (WireFormat::Gemini, r#"[{"error":{"code":503,"message":"the words","status":"UNAVAILABLE"}}]"#),
    (WireFormat::BedrockConverse, r#"{"message":"the words"}"#),
    (
        WireFormat::Responses,
        r#"{"error":{"message":"the words","type":"server_error","param":null,"code":null}}"#,
    ),
    (WireFormat::Cohere, r#"{"id":"1","message":"the words"}"#),
];

#[test]
fn an_error_answer_gives_its_words_and_status() {
    for format in formats() {
        assert!(ERRORS.iter().any(|(known, _)| *known == format), "{}", format.name());
        for (_, body) in ERRORS.iter().filter(|(known, _)| *known == format) {
            for status in [400, 401, 404, 429, 500, 503] {
                let fault = format.decode_error(status, body.as_bytes());
                assert_eq!((fault.status, fault.message.as_str()), (status, "the words"), "{body}");
            }
            // Inside a 200 it is no answer, and its words are there.
            match whole(format, body.as_bytes()) {
                Err(DecodeError::Fault(fault)) => assert_eq!(fault.message, "the words", "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        for junk in ["", "<html>", "busy", "[]", "{}", "null", "\u{1f600}"] {
            assert_eq!(format.decode_error(502, junk.as_bytes()).status, 502, "{junk:?}");
        }
    }
}
