//! An upstream that answers with what a vendor once answered, cut up as a test wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::case::Case;
use crate::support::{Request, Script, Upstream, chunk};

/// How a body is cut up on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// In one piece, as stored: without the blank line that recorders strip from a stream's end.
    Whole,
    /// Event by event.
    Event,
    /// Byte by byte.
    Byte,
    /// At places that look random and are the same each time; a stream comes with its length.
    Random,
}

/// One recorded answer at a time for each provider.
#[derive(Default)]
struct Slot {
    script: Script,
    requests: Vec<Request>,
}

/// The upstream of a run.
pub struct Replay {
    upstream: Upstream,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

impl Replay {
    /// Starts it.
    pub async fn start() -> Self {
        let slots: Arc<Mutex<HashMap<String, Slot>>> = Arc::default();
        let answers = Arc::clone(&slots);
        let upstream = Upstream::start(move |request| {
            let path = request.head.split(' ').nth(1).unwrap_or("");
            let provider = path.split('/').nth(2).unwrap_or("");
            let mut slots = answers.lock().expect("slots");
            let slot = slots.get_mut(provider).expect("a case is set up");
            slot.requests.push(request.clone());
            slot.script.clone()
        })
        .await;
        Self { upstream, slots }
    }

    /// Where a provider's requests go.
    pub fn base_url(&self, provider: &str) -> String {
        format!("{}/{provider}", self.upstream.base_url())
    }

    /// The next requests to the case's provider are answered as recorded.
    pub fn set_up(&self, case: &Case, chunking: Chunking) {
        let slot = Slot { script: script(case, chunking), requests: Vec::new() };
        self.slots.lock().expect("slots").insert(case.provider.clone(), slot);
    }

    /// What came in for the case's provider since then.
    pub fn requests(&self, case: &Case) -> Vec<Request> {
        std::mem::take(
            &mut self.slots.lock().expect("slots").get_mut(&case.provider).expect("a case").requests,
        )
    }
}

/// The recorded answer as a script.
fn script(case: &Case, chunking: Chunking) -> Script {
    let mut body = case.body.clone();
    let ended = body.ends_with(b"\n\n") || body.ends_with(b"\r\n\r\n");
    // Frames have no lines: white space at their end is a part of their checksum.
    let framed = case.meta["content_type"].as_str().is_some_and(|kind| kind.contains("amazon.eventstream"));
    if case.streamed() && chunking != Chunking::Whole && !ended && !framed {
        let crlf = body.windows(2).any(|pair| pair == b"\r\n");
        body.truncate(body.trim_ascii_end().len());
        body.extend_from_slice(if crlf { b"\r\n\r\n" } else { b"\n\n" });
    }
    let chunked = case.streamed() && chunking != Chunking::Random;
    let mut head = format!("HTTP/1.1 {} Recorded\r\n", case.status());
    for (name, value) in case.meta["response_headers"].as_object().into_iter().flatten() {
        let value = value.as_str().expect("a header is text");
        if name != "content-type" && !value.contains(['\r', '\n']) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!(
        "content-type: {}\r\n",
        case.meta["content_type"].as_str().unwrap_or("application/json")
    ));
    if chunked {
        head.push_str("transfer-encoding: chunked\r\n\r\n");
    } else {
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    }
    let mut script = Script::new().send(head);
    for piece in pieces(&body, chunking) {
        script = script.send(if chunked { chunk(piece) } else { piece.to_vec() });
    }
    if chunked { script.send(chunk("")) } else { script }
}

/// Cuts a body up.
fn pieces(body: &[u8], chunking: Chunking) -> Vec<&[u8]> {
    match chunking {
        Chunking::Whole => vec![body],
        Chunking::Byte => body.chunks(1).collect(),
        Chunking::Event => {
            let mut pieces = Vec::new();
            let mut start = 0;
            for at in 0..body.len() {
                if body[start..=at].ends_with(b"\n\n") || body[start..=at].ends_with(b"\r\n\r\n") {
                    pieces.push(&body[start..=at]);
                    start = at + 1;
                }
            }
            pieces.push(&body[start..]);
            pieces.retain(|piece| !piece.is_empty());
            pieces
        }
        Chunking::Random => {
            const SIZES: [usize; 10] = [1, 1, 2, 3, 5, 8, 13, 40, 200, 1500];
            let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ body.len() as u64;
            let mut rest = body;
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                // Xorshift: good enough to be nobody's boundary.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let size = SIZES[(state % 10) as usize].min(rest.len());
                pieces.push(&rest[..size]);
                rest = &rest[size..];
            }
            pieces
        }
    }
}
