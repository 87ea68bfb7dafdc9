//! Money: an integer count of 1e-12 US dollars, never a float.
//!
//! One unit is small enough to hold every published per-token price exactly (the cheapest listed are a few
//! 1e-9 USD) and an `i64` of them still counts 9.2 million dollars, far above any single call. Totals over
//! many calls are summed as [`i128`].

mod markup;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use markup::Markup;

/// Units of 1e-12 USD in one US dollar.
pub const UNITS_PER_USD: i64 = 1_000_000_000_000;

/// Digits after the decimal point that a [`Usd`] can hold.
const SCALE: usize = 12;

/// An amount of US dollars, counted in units of 1e-12 USD. Written and read as a decimal string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

/// Why a decimal string is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyError {
    /// Not of the form `[-]digits[.digits]`.
    NotADecimal,
    /// More than 12 significant digits after the point: it could not be held exactly.
    TooPrecise,
    /// Beyond plus or minus 9.2 million dollars.
    OutOfRange,
}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotADecimal => "not a decimal number such as 0.25",
            Self::TooPrecise => "more than 12 digits after the decimal point",
            Self::OutOfRange => "larger than 9.2 million USD",
        })
    }
}

impl std::error::Error for MoneyError {}

impl Usd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// From units of 1e-12 USD.
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The amount in units of 1e-12 USD.
    pub const fn units(self) -> i64 {
        self.0
    }

    /// True for exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self` times a count (of tokens, images, requests); saturates instead of wrapping.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        let product = self.0 as i128 * count as i128;
        Self(clamp(product))
    }

    /// Sum; saturates instead of wrapping.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Narrows to `i64`, saturating.
const fn clamp(value: i128) -> i64 {
    if value > i64::MAX as i128 {
        i64::MAX
    } else if value < i64::MIN as i128 {
        i64::MIN
    } else {
        value as i64
    }
}

/// Formats units of 1e-12 USD (possibly a sum over many rows) as a plain decimal string without trailing zeros.
pub fn format_units(units: i128) -> String {
    let magnitude = units.unsigned_abs();
    // What one call costs fits into 64 bits, which are divided much faster.
    let (whole, mut fraction) = match u64::try_from(magnitude) {
        Ok(small) => (u128::from(small / UNITS_PER_USD as u64), small % UNITS_PER_USD as u64),
        Err(_) => (magnitude / UNITS_PER_USD as u128, (magnitude % UNITS_PER_USD as u128) as u64),
    };
    let mut text = String::with_capacity(24);
    if units < 0 {
        text.push('-');
    }
    text.push_str(itoa::Buffer::new().format(whole));
    if fraction > 0 {
        let mut digits = [b'0'; SCALE];
        for digit in digits.iter_mut().rev() {
            *digit += (fraction % 10) as u8;
            fraction /= 10;
        }
        text.push('.');
        text.push_str(std::str::from_utf8(&digits).unwrap_or_default().trim_end_matches('0'));
    }
    text
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_units(i128::from(self.0)))
    }
}

impl FromStr for Usd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
            return Err(MoneyError::NotADecimal);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > SCALE {
            return Err(MoneyError::TooPrecise);
        }
        if whole.len() > 12 {
            return Err(MoneyError::OutOfRange);
        }
        let mut units: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            units = units * 10 + i128::from(byte - b'0');
        }
        for _ in fraction.len()..SCALE {
            units *= 10;
        }
        let units = if negative { -units } else { units };
        i64::try_from(units).map(Self).map_err(|_| MoneyError::OutOfRange)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_strings_round_trip_exactly() {
        for text in ["0", "1", "0.25", "0.000000000001", "-3.5", "9000000", "123.000000000456"] {
            assert_eq!(text.parse::<Usd>().unwrap().to_string(), text);
        }
        assert_eq!("0.10".parse::<Usd>().unwrap().to_string(), "0.1");
    }

    #[test]
    fn what_cannot_be_held_exactly_is_refused() {
        assert_eq!("0.0000000000001".parse::<Usd>(), Err(MoneyError::TooPrecise));
        assert_eq!("10000000".parse::<Usd>(), Err(MoneyError::OutOfRange));
        for text in ["", ".", "1.", ".5", "1e-6", "+1", "one", "--1", "1.2.3"] {
            assert_eq!(text.parse::<Usd>(), Err(MoneyError::NotADecimal), "{text}");
        }
    }

    #[test]
    fn products_saturate() {
        assert_eq!(Usd::from_units(2).times(3).units(), 6);
        assert_eq!(Usd::from_units(i64::MAX).times(9).units(), i64::MAX);
    }
}
