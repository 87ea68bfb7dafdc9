//! Streams that are cut off, split, padded or mangled.

use proptest::prelude::*;
use serde_json::Value;

use super::{formats, good};
use crate::wire::WireFormat;
use crate::wire::recorded::Case;
use crate::wire::testing::{stream, whole};

const BYTES_MAX: usize = 32 * 1024;

/// The chunks that say something, without the one of the usage, which is written at the end of any stream.
fn said(chunks: &[Value]) -> &[Value] {
    let usage = chunks.last().is_some_and(|chunk| chunk["choices"] == serde_json::json!([]));
    &chunks[..chunks.len() - usize::from(usage)]
}

fn endings(chunks: &[Value]) -> Vec<&Value> {
    let reasons = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]);
    reasons.filter(|reason| !reason.is_null()).collect()
}

#[test]
fn a_stream_that_is_cut_off_says_the_beginning_and_is_an_error() {
    for format in formats() {
        for case in good(format, true, BYTES_MAX).into_iter().take(8) {
            let bytes = case.response.as_slice();
            let (full, ended) = stream(format, case.content_type(), &[bytes]);
            assert_eq!(ended, Ok(()), "{}", case.id);
            let mut broken = 0;
            for part in 0..60 {
                let cut = bytes.len() * part / 60;
                let (chunks, ended) = stream(format, case.content_type(), &[&bytes[..cut]]);
                let told = said(&chunks);
                assert!(said(&full).starts_with(told), "{} cut at {cut} says something else", case.id);
                match ended {
                    Ok(()) => assert_eq!(endings(&chunks), endings(&full), "{} cut at {cut}", case.id),
                    Err(_) => broken += 1,
                }
            }
            // Only what is behind the last word may be missing.
            assert!(broken > 30, "{}: {broken} of 60 cuts are errors", case.id);
        }
    }
}

/// Changes of server-sent events that change nothing of what they say.
fn padded(text: &str) -> [(&'static str, String); 4] {
    let unknown = "event: brand_new_event\ndata: {\"type\":\"brand_new_event\",\"novel\":[1]}\n\n";
    let unix = text.replace("\r\n", "\n");
    [
        ("CRLF", unix.replace('\n', "\r\n")),
        ("a byte order mark", format!("\u{feff}{text}")),
        ("comments", unix.replace("\n\n", "\n\n: ping\n\n")),
        ("unknown events", unix.replace("\n\n", &format!("\n\n{unknown}"))),
    ]
}

#[test]
fn comments_line_ends_and_unknown_events_change_nothing() {
    for format in formats().filter(|format| format.accepts(true) == "text/event-stream") {
        let cases = good(format, true, BYTES_MAX);
        let events = cases.into_iter().filter(|case| case.content_type().starts_with("text/event-stream"));
        for case in events.take(8) {
            let text = std::str::from_utf8(&case.response).unwrap();
            let plain = stream(format, case.content_type(), &[text.as_bytes()]);
            for (what, changed) in padded(text) {
                assert_eq!(
                    stream(format, case.content_type(), &[changed.as_bytes()]),
                    plain,
                    "{} with {what}",
                    case.id
                );
            }
        }
    }
}

#[test]
fn any_split_says_the_same() {
    for format in formats() {
        for case in good(format, true, BYTES_MAX) {
            let at_once = stream(format, case.content_type(), &[&case.response]);
            for (chunking, pieces) in case.chunkings() {
                assert_eq!(stream(format, case.content_type(), &pieces), at_once, "{} {chunking}", case.id);
            }
        }
    }
}

/// A format and the bytes of one of its recordings, some of them changed, perhaps cut off.
fn mangled() -> impl Strategy<Value = (WireFormat, String, Vec<u8>)> {
    let mut cases: Vec<(WireFormat, Case)> = Vec::new();
    for format in formats() {
        for streamed in [false, true] {
            cases.extend(good(format, streamed, BYTES_MAX).into_iter().take(12).map(|case| (format, case)));
        }
    }
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let cut = prop::option::of(any::<prop::sample::Index>());
    (prop::sample::select(cases), changes, cut).prop_map(|((format, case), changes, cut)| {
        let mut bytes = case.response.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        (format, case.content_type().to_owned(), bytes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mangled_recordings_never_panic_and_are_read_the_same_in_any_split(
        (format, kind, bytes) in mangled(),
        size in 1_usize..200,
    ) {
        let _ = whole(format, &bytes);
        let _ = format.decode_error(500, &bytes);
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(stream(format, &kind, &[&bytes]), stream(format, &kind, &pieces));
    }

    #[test]
    fn no_bytes_at_all_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in formats() {
            let _ = whole(format, &bytes);
            let _ = format.decode_error(500, &bytes);
            let _ = stream(format, format.accepts(true), &[&bytes]);
            let event = [b"data: ", bytes.as_slice(), b"\n\n"].concat();
            let _ = stream(format, "text/event-stream", &[&event]);
        }
    }
}
