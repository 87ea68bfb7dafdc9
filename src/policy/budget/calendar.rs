//! The calendar: when the period of a budget began and when it ends, in the operator's time zone.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::Period;

/// A period of a budget: from its first millisecond to before its last, since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond.
    pub start_ms: i64,
    /// The first millisecond after it.
    pub end_ms: i64,
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self { start_ms: 0, end_ms: i64::MAX };

    /// True for a moment within.
    pub const fn holds(&self, ms: i64) -> bool {
        self.start_ms <= ms && ms < self.end_ms
    }
}

/// Where days begin.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: TimeZone::UTC }
    }
}

impl Calendar {
    /// The calendar of a time zone by its IANA name, e.g. `Europe/Berlin`; `None` when there is no such zone.
    pub fn of(zone: &str) -> Option<Self> {
        TimeZone::get(zone).ok().map(|zone| Self { zone })
    }

    /// The period that a moment lies in. A moment that no calendar can hold lies in all of time.
    pub fn window(&self, period: Period, now_ms: i64) -> Window {
        self.bounds(period, now_ms).unwrap_or(Window::ALWAYS)
    }

    fn bounds(&self, period: Period, now_ms: i64) -> Option<Window> {
        let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(self.zone.clone());
        let today = now.date();
        let (first, next) = match period {
            Period::Total => return Some(Window::ALWAYS),
            Period::Day => (today, today.checked_add(1.day()).ok()?),
            Period::Week => {
                let since = i64::from(today.weekday().since(Weekday::Monday));
                let first = today.checked_sub(since.days()).ok()?;
                (first, first.checked_add(7.days()).ok()?)
            }
            Period::Month => {
                let first = today.first_of_month();
                (first, first.checked_add(1.month()).ok()?)
            }
        };
        let ms = |zoned: Zoned| zoned.timestamp().as_millisecond();
        let midnight = |day: jiff::civil::Date| day.to_zoned(self.zone.clone()).ok().map(ms);
        Some(Window { start_ms: midnight(first)?, end_ms: midnight(next)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc3339::{format_ms, parse_ms};

    fn window(zone: &str, period: Period, now: &str) -> (String, String) {
        let window = Calendar::of(zone).unwrap().window(period, parse_ms(now).unwrap());
        (format_ms(window.start_ms), format_ms(window.end_ms))
    }

    #[test]
    fn a_period_begins_at_midnight_of_its_zone() {
        for (zone, period, now, start, end) in [
            ("UTC", Period::Day, "2026-11-26T23:59:59Z", "2026-11-26T00:00:00", "2026-11-27T00:00:00"),
            ("UTC", Period::Week, "2026-11-29T12:00:00Z", "2026-11-23T00:00:00", "2026-11-30T00:00:00"),
            ("UTC", Period::Week, "2026-11-30T00:00:00Z", "2026-11-30T00:00:00", "2026-12-07T00:00:00"),
            ("UTC", Period::Month, "2026-12-31T23:00:00Z", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
            (
                "Europe/Berlin",
                Period::Month,
                "2026-12-31T23:00:00Z",
                "2026-12-31T23:00:00",
                "2027-01-31T23:00:00",
            ),
            (
                "Asia/Kolkata",
                Period::Day,
                "2026-11-26T18:29:59Z",
                "2026-11-25T18:30:00",
                "2026-11-26T18:30:00",
            ),
            // The clocks go back: 25 hours.
            (
                "Europe/Berlin",
                Period::Day,
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00",
                "2026-10-25T23:00:00",
            ),
            // There is no midnight on this day: it begins at one.
            (
                "America/Sao_Paulo",
                Period::Day,
                "2018-11-04T12:00:00Z",
                "2018-11-04T03:00:00",
                "2018-11-05T02:00:00",
            ),
        ] {
            let (from, to) = window(zone, period, now);
            assert!(from.starts_with(start) && to.starts_with(end), "{zone} {period:?} {now}: {from} {to}");
        }
    }

    #[test]
    fn a_total_is_one_period_and_a_zone_that_is_none_is_refused() {
        assert_eq!(Calendar::default().window(Period::Total, 5), Window::ALWAYS);
        assert!(Calendar::of("Mars/Olympus").is_none());
    }

    proptest::proptest! {
        #[test]
        fn windows_follow_each_other_without_a_gap(ms in 0_i64..4_000_000_000_000, zone in 0_usize..4) {
            let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][zone];
            let calendar = Calendar::of(zone).unwrap();
            for period in [Period::Day, Period::Week, Period::Month] {
                let window = calendar.window(period, ms);
                proptest::prop_assert!(window.holds(ms));
                proptest::prop_assert_eq!(calendar.window(period, window.end_ms).start_ms, window.end_ms);
                proptest::prop_assert_eq!(calendar.window(period, window.start_ms), window);
            }
        }
    }
}
