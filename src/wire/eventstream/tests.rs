//! Frames as they should be, and as they should not.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue};
use proptest::prelude::*;

use super::*;

/// A frame with these headers.
pub fn frame(headers: &[(&'static str, &str)], payload: &str) -> Vec<u8> {
    let mut message = Message::new(Bytes::copy_from_slice(payload.as_bytes()));
    for (name, value) in headers {
        message =
            message.add_header(Header::new(*name, HeaderValue::String(StrBytes::from((*value).to_owned()))));
    }
    let mut out = Vec::new();
    write_message_to(&message, &mut out).unwrap();
    out
}

/// A frame that is an event.
pub fn event_frame(name: &str, payload: &str) -> Vec<u8> {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    frame(&headers, payload)
}

fn read(pieces: &[&[u8]]) -> (Vec<(String, String)>, Result<bool, DecodeError>) {
    let mut reader = Reader::default();
    let mut out = Vec::new();
    for piece in pieces {
        if let Err(error) = reader.push(piece) {
            return (out, Err(error));
        }
        loop {
            match reader.next_event() {
                Ok(Some(event)) => {
                    out.push((event.name().to_owned(), String::from_utf8_lossy(event.data()).into_owned()));
                }
                Ok(None) => break,
                Err(error) => return (out, Err(error)),
            }
        }
    }
    (out, Ok(reader.is_empty()))
}

#[test]
fn events_and_wrapped_events_are_read() {
    let mut bytes = event_frame("messageStart", r#"{"role":"assistant"}"#);
    bytes.extend(event_frame("chunk", r#"{"bytes":"eyJhIjoxfQ==","p":"abc"}"#));
    bytes.extend(event_frame("chunk", r#"{"other":1}"#));
    bytes.extend(event_frame("metadata", ""));
    let (events, end) = read(&[&bytes]);
    let expected = [
        ("messageStart", r#"{"role":"assistant"}"#),
        ("", r#"{"a":1}"#),
        ("chunk", r#"{"other":1}"#),
        ("metadata", ""),
    ];
    assert_eq!(events, expected.map(|(name, data)| (name.to_owned(), data.to_owned())));
    assert_eq!(end, Ok(true));
}

#[test]
fn failures_have_the_status_that_they_mean() {
    for (kind, name, status, seen) in [
        ("exception", "throttlingException", 429, 429),
        ("exception", "ThrottlingException", 429, 429),
        ("exception", "validationException", 400, 400),
        ("exception", "modelStreamErrorException", 424, 502),
        ("exception", "modelTimeoutException", 408, 504),
        ("exception", "serviceUnavailableException", 503, 502),
        ("exception", "internalServerException", 500, 502),
        ("exception", "accessDeniedException", 403, 502),
        ("exception", "somethingNewException", 0, 502),
        ("error", "InternalFailure", 500, 502),
    ] {
        let name_header = if kind == "error" { ":error-code" } else { ":exception-type" };
        let bytes = frame(&[(":message-type", kind), (name_header, name)], r#"{"message":"because"}"#);
        let (_, Err(DecodeError::Fault(fault))) = read(&[&bytes]) else { panic!("{name}") };
        assert_eq!((fault.status, fault.message.as_str()), (status, "because"), "{name}");
        assert_eq!(fault.code.as_deref(), Some(name));
        assert_eq!(fault.into_error("p").class().status, seen, "{name}");
    }
    let headers = [(":message-type", "error"), (":error-code", "X"), (":error-message", "in a header")];
    let (_, Err(DecodeError::Fault(fault))) = read(&[&frame(&headers, "")]) else { panic!() };
    assert_eq!(fault.message, "in a header");
    let original = r#"{"message":"m","originalStatusCode":500,"originalMessage":"o"}"#;
    let headers = [(":message-type", "exception"), (":exception-type", "modelStreamErrorException")];
    let (_, Err(DecodeError::Fault(fault))) = read(&[&frame(&headers, original)]) else { panic!() };
    assert_eq!(fault.message, "m (o)");
}

#[test]
fn a_broken_frame_is_never_believed() {
    let good = event_frame("messageStart", r#"{"role":"assistant"}"#);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad.extend_from_slice(&good);
        let (events, end) = read(&[&bad]);
        assert_eq!((events.len(), matches!(end, Err(DecodeError::Invalid(_)))), (0, true), "{at}");
    }
    let html = b"<html>this is not what was asked for</html>";
    assert!(matches!(read(&[html]).1, Err(DecodeError::Invalid(_))));
    assert_eq!(read(&[&good[..good.len() - 1]]), (vec![], Ok(false)));
    for bytes in [r#"{"bytes":"not base64!"}"#, "[]", "{"] {
        assert!(matches!(read(&[&event_frame("chunk", bytes)]).1, Err(DecodeError::Invalid(_))), "{bytes}");
    }
}

#[test]
fn an_endless_frame_is_capped() {
    let mut prelude = Vec::from(u32::MAX.to_be_bytes());
    prelude.extend(0_u32.to_be_bytes());
    prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
    assert!(matches!(read(&[&prelude]).1, Err(DecodeError::Invalid(what)) if what.contains("larger")));
    let mut reader = Reader::default();
    let mut held = 0;
    while reader.push(&[0; 1 << 20]).is_ok() {
        held += 1;
        assert!(held <= EVENT_BYTES_MAX >> 20);
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events_and_any_bytes_no_panic(
        payloads in proptest::collection::vec("[a-zé\"{}]{0,20}", 0..5),
        cuts in proptest::collection::vec(0_usize..600, 0..8),
        noise in proptest::option::of((0_usize..600, any::<u8>())),
        mend in any::<bool>(),
    ) {
        let mut bytes: Vec<u8> = payloads.iter().flat_map(|payload| event_frame("e", payload)).collect();
        if let Some((at, byte)) = noise
            && let Some(slot) = bytes.get_mut(at)
        {
            *slot = byte;
            // With its checksums made good again, what is wrong lies deeper.
            if mend && let Some(first) = bytes.get(..4) {
                let length = u32::from_be_bytes(first.try_into().unwrap()) as usize;
                let prelude = crc32fast::hash(&bytes[..8]).to_be_bytes();
                bytes[8..12].copy_from_slice(&prelude);
                if (16..=bytes.len()).contains(&length) {
                    let whole = crc32fast::hash(&bytes[..length - 4]).to_be_bytes();
                    bytes[length - 4..length].copy_from_slice(&whole);
                }
            }
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&pieces), read(&[&bytes]));
        prop_assert_eq!(read(&single), read(&[&bytes]));
    }
}
