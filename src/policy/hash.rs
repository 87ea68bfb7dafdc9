//! Hashes that are the same in every process and after every restart: for choices that replicas must agree on.

/// `SplitMix64`: further random bits from those of one number.
pub fn mixed(bits: u64) -> u64 {
    let mut bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// FNV-1a over two names, mixed with a session: the highest of several is the session's own.
pub fn rendezvous(session: u64, one: &str, other: &str) -> u64 {
    let bytes = one.bytes().chain(std::iter::once(0)).chain(other.bytes());
    let names = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed(mixed(names) ^ session)
}
