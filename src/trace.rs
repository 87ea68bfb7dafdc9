//! Trace contexts (W3C Trace Context): which trace a call belongs to, whether its spans are recorded, and what its
//! attempts tell upstream.
//!
//! Why ids are made here and not by a library: a call that is not recorded must cost no more than the reading of one
//! header. Ids need to be unique and not secret, so each thread draws them from a generator that is seeded once.

use std::cell::Cell;

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// Longest `tracestate` that is passed on, bytes: what the standard asks everybody to carry.
pub const STATE_MAX: usize = 512;

/// What a `traceparent` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace_id: u128,
    /// The caller's span.
    pub span_id: u64,
    /// The caller records it.
    pub sampled: bool,
}

impl Parent {
    /// Reads `00-<32 hex>-<16 hex>-<2 hex>`, and what later versions keep of it. `None`: as if it were not there, as
    /// the standard has it for whatever is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let version = number(text.get(..2)?)?;
        let exact = text.len() == LENGTH;
        let longer = version > 0 && text.as_bytes().get(LENGTH) == Some(&b'-');
        let dashes = [2, 35, 52].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
        if version == 0xff || !(exact || longer) || !dashes {
            return None;
        }
        let trace_id = number(text.get(3..35)?)?;
        let span_id = u64::try_from(number(text.get(36..52)?)?).ok()?;
        let flags = number(text.get(53..55)?)?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// A trace id as it is written everywhere.
pub fn hex(trace_id: u128) -> String {
    format!("{trace_id:032x}")
}

/// A number in lower-case hexadecimal; the standard takes no other.
fn number(text: &str) -> Option<u128> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits { u128::from_str_radix(text, 16).ok() } else { None }
}

/// Which traces are recorded where nobody decided before: a share of them, by their ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Ids whose lower half is below this are recorded; the whole range is 2^64.
    below: u128,
}

impl Sampler {
    /// Records this share, 0 to 1.
    pub fn new(ratio: f64) -> Self {
        // A float has 53 bits of it, which is share enough; the cast saturates.
        Self { below: (ratio.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u128 }
    }

    fn takes(self, trace_id: u128) -> bool {
        u128::from(trace_id as u64) < self.below
    }
}

/// The ids of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// The span it belongs to, if any.
    pub parent_id: Option<u64>,
}

/// The trace of one call. There is none for a call that brought none and is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    ids: Ids,
    /// The call's spans are exported.
    recorded: bool,
    /// What upstreams are told; it differs from `recorded` only where this process records nothing at all.
    sampled: bool,
}

impl Trace {
    /// Decides for a call: as its parent did, else by the sampler. Without a sampler nothing is recorded and the
    /// parent's context goes on as it came.
    pub fn begin(parent: Option<Parent>, sampler: Option<Sampler>) -> Option<Self> {
        match (parent, sampler) {
            (None, None) => None,
            (Some(Parent { trace_id, span_id, sampled }), None) => {
                let ids = Ids { trace_id, span_id, parent_id: None };
                Some(Self { ids, recorded: false, sampled })
            }
            (Some(Parent { trace_id, span_id, sampled }), Some(_)) => {
                let ids = Ids { trace_id, span_id: fresh_id(), parent_id: Some(span_id) };
                Some(Self { ids, recorded: sampled, sampled })
            }
            (None, Some(sampler)) => {
                let trace_id = u128::from(fresh_id()) << 64 | u128::from(fresh_id());
                let recorded = sampler.takes(trace_id);
                let ids = || Ids { trace_id, span_id: fresh_id(), parent_id: None };
                recorded.then(|| Self { ids: ids(), recorded, sampled: true })
            }
        }
    }

    /// The ids of the call's span.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// The call's spans are exported.
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// The ids of an attempt's span: a function of the call's, so that nobody has to carry them.
    pub fn attempt(&self, number: u16) -> Ids {
        let span_id = mixed(self.ids.span_id ^ (u64::from(number) << 48)).max(1);
        Ids { trace_id: self.ids.trace_id, span_id, parent_id: Some(self.ids.span_id) }
    }

    /// The `traceparent` of an attempt.
    pub fn traceparent(&self, number: u16) -> String {
        // Who records nothing is no link of the chain.
        let is_link = self.recorded || self.ids.parent_id.is_some();
        let span_id = if is_link { self.attempt(number).span_id } else { self.ids.span_id };
        format!("00-{:032x}-{span_id:016x}-{:02x}", self.ids.trace_id, u8::from(self.sampled))
    }
}

thread_local! {
    /// Where this thread is in its sequence; 0: not seeded yet.
    static SEQUENCE: Cell<u64> = const { Cell::new(0) };
}

/// A number that is not 0, and that no other thread or process draws but by chance.
fn fresh_id() -> u64 {
    SEQUENCE.with(|sequence| {
        let at = match sequence.get() {
            0 => getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15),
            at => at,
        };
        // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
        let next = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
        sequence.set(next);
        mixed(next).max(1)
    })
}

/// The mixing step of SplitMix64: a one-to-one map that leaves no trace of an order.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const PARENT: Parent = Parent {
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        span_id: 0x00f0_67aa_0ba9_02b7,
        sampled: true,
    };

    #[test]
    fn a_parent_is_read_as_the_standard_has_it() {
        assert_eq!(Parent::parse(GOOD), Some(PARENT));
        assert_eq!(Parent::parse(&GOOD.replace("-01", "-fe")), Some(Parent { sampled: false, ..PARENT }));
        assert_eq!(Parent::parse(&format!("cc{}-more", &GOOD[2..])), Some(PARENT));
        assert_eq!(Parent::parse(&format!("cc{}", &GOOD[2..])), Some(PARENT));
        let wrong = [
            String::new(),
            GOOD.to_uppercase(),
            format!("{GOOD}-more"),
            format!("cc{}.more", &GOOD[2..]),
            format!("ff{}", &GOOD[2..]),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD.replace("4bf", "+bf"),
            GOOD[..54].to_owned(),
            "ä".repeat(30),
        ];
        for text in wrong {
            assert_eq!(Parent::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn the_parent_decides_first_and_then_the_share() {
        let (all, none) = (Some(Sampler::new(1.0)), Some(Sampler::new(0.0)));
        let recorded = |parent, sampler| Trace::begin(parent, sampler).map(|trace| trace.is_recorded());
        let unsampled = Parent { sampled: false, ..PARENT };
        assert_eq!(recorded(Some(PARENT), none), Some(true));
        assert_eq!(recorded(Some(unsampled), all), Some(false));
        assert_eq!(recorded(None, all), Some(true));
        assert_eq!(recorded(None, none), None);
        assert_eq!(recorded(Some(PARENT), None), Some(false));
        let half = Some(Sampler::new(0.5));
        let taken = (0..10_000).filter(|_| recorded(None, half).is_some()).count();
        assert!((4_700..5_300).contains(&taken), "{taken}");
    }

    #[test]
    fn attempts_are_children_and_tell_so_upstream() {
        let trace = Trace::begin(Some(PARENT), Some(Sampler::new(0.0))).unwrap();
        let (call, first, second) = (trace.ids(), trace.attempt(1), trace.attempt(2));
        assert_eq!((call.trace_id, call.parent_id), (PARENT.trace_id, Some(PARENT.span_id)));
        assert_eq!((first.trace_id, first.parent_id), (PARENT.trace_id, Some(call.span_id)));
        let ids: HashSet<u64> = [PARENT.span_id, call.span_id, first.span_id, second.span_id].into();
        assert_eq!(ids.len(), 4);
        let told = Parent::parse(&trace.traceparent(2)).unwrap();
        assert_eq!(told, Parent { span_id: second.span_id, ..PARENT });
        // Where nothing is recorded the client's own context goes on.
        assert_eq!(Trace::begin(Some(PARENT), None).unwrap().traceparent(1), GOOD);
    }

    #[test]
    fn ids_do_not_repeat() {
        let drawn: HashSet<u64> = (0..100_000).map(|_| fresh_id()).collect();
        assert_eq!(drawn.len(), 100_000);
    }
}
