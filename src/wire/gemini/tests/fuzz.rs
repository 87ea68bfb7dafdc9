//! Whatever is sent: no panic, and the same result for any split.

use proptest::prelude::*;

use crate::wire::recorded::{Case, cut_anywhere};
use crate::wire::{WireFormat, testing};

fn bodies() -> Vec<Vec<u8>> {
    Case::all("gemini").into_iter().map(|case| case.response).filter(|body| body.len() < 20_000).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn mutated_recordings_are_borne(which in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 0..6), seed in any::<u64>()) {
        let bodies = bodies();
        let mut body = which.get(&bodies).clone();
        for (at, byte, kind) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                _ => body.truncate(at),
            }
        }
        let whole = testing::stream(WireFormat::Gemini, "text/event-stream", &[&body]);
        let pieces = testing::stream(WireFormat::Gemini, "text/event-stream", &cut_anywhere(&body, seed));
        prop_assert_eq!(whole, pieces);
        let _ = testing::whole(WireFormat::Gemini, &body);
        let _ = WireFormat::Gemini.decode_error(400, &body);
    }
}
