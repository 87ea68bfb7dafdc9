//! Bytes that no honest vendor sends.

use proptest::prelude::*;

use super::FORMAT;
use crate::wire::DecodeError;
use crate::wire::recorded::Case;
use crate::wire::testing::{stream, whole};

#[test]
fn what_is_no_answer_is_an_error() {
    for body in [
        "",
        " \n",
        "<html>busy</html>",
        "null",
        "[]",
        "{}",
        "1",
        "{\"message\":null}",
        "{\"message\":{}",
        "{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},\"finish_rea",
    ] {
        assert!(whole(FORMAT, body.as_bytes()).is_err(), "{body}");
        let (chunks, ended) = stream(FORMAT, "text/event-stream", &[body.as_bytes()]);
        assert_eq!((chunks.len(), ended), (0, Err(DecodeError::Truncated)), "{body}");
    }
    for event in [
        "data: <html>\n\n",
        "data: 7\n\n",
        "data: {\"type\":\"content-delta\"}\n\n",
        "data: {\"type\":\"message-end\"}\n\n",
    ] {
        let (_, ended) = stream(FORMAT, "text/event-stream", &[event.as_bytes()]);
        assert!(matches!(ended, Err(DecodeError::Invalid(_))), "{event}: {ended:?}");
    }
}

#[test]
fn thinking_without_end_is_bounded() {
    let piece = "x".repeat(1024 * 1024);
    let event = format!(
        "data: {{\"type\":\"content-delta\",\"index\":0,\"delta\":{{\"message\":{{\"content\":{{\"thinking\":\"{piece}\"}}}}}}}}\n\n"
    );
    let pieces = vec![event.as_bytes(); 9];
    let (_, ended) = stream(FORMAT, "text/event-stream", &pieces);
    assert_eq!(ended, Err(DecodeError::invalid("it sent more reasoning than can be kept")));
}

/// Bytes of one recording, some of them changed, cut off or doubled.
fn mutated() -> impl Strategy<Value = (String, Vec<u8>)> {
    let cases = Case::all("cohere");
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::sample::select(cases), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(case, changes, cut, cuts)| {
            let mut bytes = case.response.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
            }
            (case.content_type().to_owned(), bytes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn mutated_recordings_are_read_the_same_in_any_split(
        (content_type, bytes) in mutated(),
        size in 1_usize..80,
    ) {
        let _ = whole(FORMAT, &bytes);
        let _ = FORMAT.decode_error(400, &bytes);
        let at_once = stream(FORMAT, &content_type, &[&bytes]);
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(at_once, stream(FORMAT, &content_type, &pieces));
    }
}
