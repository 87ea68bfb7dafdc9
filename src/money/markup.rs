//! Markup: what a caller is charged on top of what the provider charges, or below it.

use std::fmt;

use super::{UNITS_PER_USD, Usd};

/// Hundredths of a percent on top of the provider's price; negative for a discount. Bounds: [`Markup::MIN`] to
/// [`Markup::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Markup(i32);

impl Markup {
    /// Nothing is charged.
    pub const MIN: i32 = -10_000;
    /// Eleven times the price.
    pub const MAX: i32 = 100_000;

    /// From hundredths of a percent; `None` beyond the bounds.
    pub fn from_basis_points(points: i32) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&points).then_some(Self(points))
    }

    /// In hundredths of a percent.
    pub const fn basis_points(self) -> i32 {
        self.0
    }

    /// Reads a percentage with up to two digits after the point, such as `12.5` or `-10`.
    pub fn parse(percent: &str) -> Option<Self> {
        let scaled: Usd = percent.parse().ok()?;
        let units = scaled.units();
        let unit = UNITS_PER_USD / 100;
        (units % unit == 0)
            .then(|| i32::try_from(units / unit).ok())
            .flatten()
            .and_then(Self::from_basis_points)
    }

    /// What is charged for what cost this much: rounded to the nearest 1e-12 USD, halves away from zero. Saturates.
    pub fn charged(self, cost: Usd) -> Usd {
        if self.0 == 0 {
            return cost;
        }
        let product = i128::from(cost.units()) * i128::from(10_000 + self.0);
        let half = if product < 0 { -5_000 } else { 5_000 };
        let units = (product + half) / 10_000;
        Usd::from_units(i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl fmt::Display for Markup {
    /// As a percentage, in the shortest form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = i64::from(self.0) * (UNITS_PER_USD / 100);
        fmt::Display::fmt(&Usd::from_units(units), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_read_and_written_exactly() {
        for text in ["0", "12.5", "-10", "0.01", "1000", "-100"] {
            assert_eq!(Markup::parse(text).unwrap().to_string(), text);
        }
        for text in ["0.001", "1000.01", "-100.01", "x", ""] {
            assert_eq!(Markup::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_charged_is_rounded_once() {
        let charged =
            |points, cost| Markup::from_basis_points(points).unwrap().charged(Usd::from_units(cost)).units();
        assert_eq!(charged(0, 7), 7);
        assert_eq!(charged(1_250, 1_000), 1_125);
        assert_eq!(charged(5_000, 1), 2);
        assert_eq!(charged(4_999, 1), 1);
        assert_eq!(charged(-5_000, 1), 1);
        assert_eq!(charged(-10_000, 99), 0);
        assert_eq!(charged(100_000, i64::MAX), i64::MAX);
    }
}
