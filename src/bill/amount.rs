//! Amounts as bills write them: decimals with more digits than the ledger's money has, summed exactly.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use crate::money::UNITS_PER_USD;

/// Digits after the decimal point.
const SCALE: usize = 24;

/// Units of the ledger's money (1e-12 USD) are so many of 1e-24.
const PER_UNIT: i128 = UNITS_PER_USD as i128;

/// US dollars in units of 1e-24: up to 100 trillion of them, in either direction. Sums stop at the bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

impl Amount {
    /// From units of 1e-12 USD.
    pub const fn from_units(units: i128) -> Self {
        Self(units.saturating_mul(PER_UNIT))
    }

    /// Without its sign.
    #[must_use]
    pub const fn magnitude(self) -> Self {
        Self(self.0.saturating_abs())
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = PER_UNIT.unsigned_abs() * PER_UNIT.unsigned_abs();
        let (whole, fraction) = (self.0.unsigned_abs() / one, self.0.unsigned_abs() % one);
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = format!("{fraction:024}");
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        f.pad(&format!("{sign}{whole}{point}{digits}"))
    }
}

impl FromStr for Amount {
    type Err = &'static str;

    /// Reads `[-]digits[.digits][e[+-]digits]`, as programs write numbers. Nothing is rounded.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const NONE: &str = "not a decimal number such as 0.25";
        const FINE: &str = "more than 24 digits after the decimal point";
        const LARGE: &str = "too large an amount";
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| NONE)?),
            None => (text, 0),
        };
        let (negative, digits) =
            mantissa.strip_prefix('-').map_or((false, mantissa), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || digits.ends_with('.') || !all_digits(whole) || !all_digits(fraction) {
            return Err(NONE);
        }
        let fraction = fraction.trim_end_matches('0');
        let mut value: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let more = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(byte - b'0')));
            value = more.ok_or(LARGE)?;
        }
        // How often the number is to be multiplied by ten to count units.
        let scale = i64::try_from(SCALE).unwrap_or(0) + i64::from(exponent);
        let shift = scale - i64::try_from(fraction.len()).map_err(|_| FINE)?;
        for _ in 0..shift.min(64) {
            value = value.checked_mul(10).ok_or(LARGE)?;
        }
        for _ in shift.max(-64)..0 {
            if value % 10 != 0 {
                return Err(FINE);
            }
            value /= 10;
        }
        Ok(Self(if negative { -value } else { value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_written_and_none_is_rounded() {
        for (text, shown) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("12", "12"),
            ("0.25", "0.25"),
            ("-1.50", "-1.5"),
            ("0.003835980000000000000000000000", "0.00383598"),
            ("0.0000000000001", "0.0000000000001"),
            ("1.5e-05", "0.000015"),
            ("2E3", "2000"),
            ("120e-1", "12"),
            ("0.060000000000000001", "0.060000000000000001"),
            ("0e99", "0"),
        ] {
            assert_eq!(
                text.parse::<Amount>().map(|amount| amount.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for text in
            ["", ".", "1.", ".5", "+1", "1,5", "$1", "--1", "1e", "1e1.5", "NaN", "1 ", "0x1", "1.2.3"]
        {
            assert_eq!(text.parse::<Amount>(), Err("not a decimal number such as 0.25"), "{text:?}");
        }
        assert!("1e-25".parse::<Amount>().unwrap_err().contains("24 digits"));
        assert!("1e99999999999".parse::<Amount>().is_err());
        for text in ["1e30", "999999999999999999", "1e2000000000"] {
            assert_eq!(text.parse::<Amount>(), Err("too large an amount"), "{text}");
        }
        assert_eq!(Amount::from_units(1_500_000_000_000), "1.5".parse().unwrap());
    }

    proptest::proptest! {
        #[test]
        fn every_amount_is_read_as_it_is_shown(units in -(1_i128 << 100)..1_i128 << 100) {
            proptest::prop_assert_eq!(Amount(units).to_string().parse(), Ok(Amount(units)));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[-+0-9.eE]{0,40}") {
            let _ = text.parse::<Amount>();
        }
    }
}
