//! The text of a key: `lgw_`, 40 random base62 characters, 6 base62 characters of checksum.
//!
//! 40 characters carry 238 bits, so a plain SHA-256 digest is safe to store: there is nothing to guess. The
//! checksum (CRC-32 of everything before it) lets a typo or a foreign token be told apart without a look-up,
//! and lets secret scanners know a leaked key for certain. It is public and proves nothing.
//!
//! Invariant: the text leaves this module only inside [`FreshKey`], which is shown once and never stored.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What every key begins with.
const MARK: &str = "lgw_";
const RANDOM_LEN: usize = 40;
const CHECK_LEN: usize = 6;
/// Length of a whole key, bytes.
pub const KEY_LEN: usize = MARK.len() + RANDOM_LEN + CHECK_LEN;
/// How much of a key is stored and shown, bytes: enough to recognise it, too little to use it.
pub const PREFIX_LEN: usize = 8;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random bytes from here up are thrown away: 248 is the largest multiple of 62 that a byte can hold.
const UNBIASED: u8 = 248;

/// SHA-256 of a key's text: what is stored and looked up.
pub type Digest = [u8; 32];

/// A key just made. The only holder of a whole key's text; masked in `Debug`.
pub struct FreshKey(String);

impl FreshKey {
    /// Makes a key from the system's random source.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = String::with_capacity(KEY_LEN);
        text.push_str(MARK);
        while text.len() < MARK.len() + RANDOM_LEN {
            let mut bytes = [0_u8; RANDOM_LEN];
            getrandom::fill(&mut bytes)?;
            let missing = MARK.len() + RANDOM_LEN - text.len();
            text.extend(
                bytes.into_iter().filter(|byte| *byte < UNBIASED).take(missing).map(digit).map(char::from),
            );
        }
        text.extend(checksum(&text).map(char::from));
        Ok(Self(text))
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What to store of it.
    pub fn digest(&self) -> Digest {
        digest(&self.0)
    }

    /// The first 8 characters.
    pub fn prefix(&self) -> &str {
        self.0.get(..PREFIX_LEN).unwrap_or_default()
    }
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshKey(***)")
    }
}

/// A text that has the form of a key. Whether anybody holds such a key is another question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a>(&'a str);

impl Presented<'_> {
    /// What to look up.
    pub fn digest(&self) -> Digest {
        digest(self.0)
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presented(***)")
    }
}

/// Reads the text of a key; `None` when it does not have the form of one. Looks at 50 bytes at most.
pub fn parse(text: &str) -> Option<Presented<'_>> {
    if text.len() != KEY_LEN || !text.starts_with(MARK) {
        return None;
    }
    let (body, check) = text.split_at_checked(MARK.len() + RANDOM_LEN)?;
    let random = body.get(MARK.len()..)?;
    let sound = random.bytes().all(|byte| byte.is_ascii_alphanumeric()) && checksum(body) == check.as_bytes();
    sound.then_some(Presented(text))
}

fn digest(text: &str) -> Digest {
    Sha256::digest(text.as_bytes()).into()
}

/// CRC-32 as six base62 digits, most significant first (62^6 is above 2^32).
fn checksum(body: &str) -> [u8; CHECK_LEN] {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [0_u8; CHECK_LEN];
    for place in digits.iter_mut().rev() {
        *place = digit(u8::try_from(rest % 62).unwrap_or_default());
        rest /= 62;
    }
    digits
}

/// The base62 digit of `value` modulo 62.
fn digit(value: u8) -> u8 {
    ALPHABET.get(usize::from(value % 62)).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_is_read_back_and_never_printed() {
        let key = FreshKey::generate().unwrap();
        assert_eq!(key.expose().len(), KEY_LEN);
        assert_eq!(key.prefix(), &key.expose()[..8]);
        let presented = parse(key.expose()).unwrap();
        assert_eq!(presented.digest(), key.digest());
        assert!(!format!("{key:?}{presented:?}").contains(&key.expose()[4..12]));
    }

    #[test]
    fn every_digit_is_used_about_equally_often() {
        let mut seen = std::collections::BTreeMap::<char, u32>::new();
        for _ in 0..500 {
            for digit in FreshKey::generate().unwrap().expose()[4..44].chars() {
                *seen.entry(digit).or_default() += 1;
            }
        }
        // 20,000 digits: 322 of each expected, 18 the standard deviation.
        assert_eq!(seen.len(), 62);
        assert!(seen.values().all(|count| (180..480).contains(count)), "{seen:?}");
    }

    proptest::proptest! {
        #[test]
        fn a_key_with_one_character_changed_is_no_key(at in 0..KEY_LEN, other in "[0-9A-Za-z]") {
            let key = FreshKey::generate().unwrap();
            let mut text = key.expose().to_owned();
            text.replace_range(at..=at, &other);
            proptest::prop_assert_eq!(parse(&text).is_some(), text == key.expose());
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(lgw_)?.{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn text_of_the_right_length_and_shape_still_needs_its_checksum(body in "lgw_[0-9A-Za-z]{40}") {
            let good: String = body.chars().chain(checksum(&body).map(char::from)).collect();
            let bad = [body.as_str(), "zzzzzz"].concat();
            proptest::prop_assert!(parse(&good).is_some());
            proptest::prop_assert!(parse(&bad).is_none());
        }
    }
}
