//! Under fire: no bytes make a decoder panic, and no split changes what it says.

use std::sync::LazyLock;

use proptest::prelude::*;

use crate::wire::recorded::Case;
use crate::wire::{WireFormat, testing};

static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| bodies(true));
static REPLIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| bodies(false));

fn bodies(streamed: bool) -> Vec<Vec<u8>> {
    let all = Case::all("responses").into_iter().filter(|case| case.status() == 200);
    all.filter(|case| case.streamed() == streamed).map(|case| case.response).collect()
}

/// A recorded answer with some of its bytes changed, taken out or doubled.
fn mutated(bodies: &[Vec<u8>], pick: usize, changes: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut body = bodies[pick % bodies.len()].clone();
    body.truncate(20_000);
    for (at, kind, byte) in changes {
        let at = at % body.len().max(1);
        match kind % 4 {
            0 => body[at] = *byte,
            1 => drop(body.drain(at..(at + usize::from(*byte)).min(body.len()))),
            2 => body.insert(at, *byte),
            _ => {
                let end = (at + usize::from(*byte) * 8).min(body.len());
                let doubled = body[at..end].to_vec();
                body.splice(at..at, doubled);
            }
        }
    }
    body
}

/// Pieces of 1 to 64 bytes.
fn cut_anywhere(mut bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let (mut state, mut pieces) = (seed | 1, Vec::new());
    while !bytes.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let size = usize::try_from(state >> 58).unwrap() + 1;
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn changes() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    proptest::collection::vec((0..20_000_usize, any::<u8>(), any::<u8>()), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_split_of_any_stream_says_the_same(pick in any::<usize>(), changes in changes(), seed in any::<u64>()) {
        let body = mutated(&STREAMS, pick, &changes);
        let read = |pieces: &[&[u8]]| testing::stream(WireFormat::Responses, "text/event-stream", pieces);
        let whole = read(&[&body]);
        prop_assert_eq!(&read(&cut_anywhere(&body, seed)), &whole);
    }

    #[test]
    fn no_reply_makes_it_panic(pick in any::<usize>(), changes in changes()) {
        let body = mutated(&REPLIES, pick, &changes);
        let _ = testing::whole(WireFormat::Responses, &body);
        let _ = WireFormat::Responses.decode_error(500, &body);
    }
}
