//! Times as the API writes them: RFC 3339 in UTC, from and to milliseconds since the Unix epoch.
//!
//! Pure: nobody asks a clock here. Written with three digits of milliseconds, always `Z`; read with any offset.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a quarter of an hour: days begin on one in every time zone.
pub const QUARTER_MS: i64 = HOUR_MS / 4;

/// Latest time that [`format_ms`] can write: 9999-12-31T23:59:59.999Z.
pub const MAX_MS: i64 = 253_402_300_799_999;

/// `2026-01-31T09:30:00.250Z` for milliseconds since the epoch; clamped to the years 1970 to 9999, which are
/// the only ones a stored time can lie in.
pub fn format_ms(ms: i64) -> String {
    let mut text = String::with_capacity(24);
    push_ms(ms, &mut text);
    text
}

/// Adds what [`format_ms`] gives to a text.
pub fn push_ms(ms: i64, to: &mut String) {
    let at = OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(ms.clamp(0, MAX_MS));
    let (year, month, day) = at.date().to_calendar_date();
    let (hour, minute, second, ms) = at.time().as_hms_milli();
    // Between 0 and 9999.
    let year = u16::try_from(year).unwrap_or_default();
    // Digit by digit, since every line of the log and every row of the ledger has one.
    let [c, y] = [(year / 100) as u8, (year % 100) as u8].map(digits);
    let [month, day] = [u8::from(month), day].map(digits);
    let [hour, minute, second] = [hour, minute, second].map(digits);
    let (ms, [_, last]) = (digits((ms / 10) as u8), digits((ms % 10) as u8));
    let text = [
        c[0], c[1], y[0], y[1], b'-', month[0], month[1], b'-', day[0], day[1], b'T', hour[0], hour[1], b':',
        minute[0], minute[1], b':', second[0], second[1], b'.', ms[0], ms[1], last, b'Z',
    ];
    to.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// The two digits of a number below 100.
fn digits(number: u8) -> [u8; 2] {
    [b'0' + number / 10, b'0' + number % 10]
}

/// Milliseconds since the epoch of an RFC 3339 time with any offset; finer digits are cut. `None` when it is not
/// one, or lies before 1970.
pub fn parse_ms(text: &str) -> Option<i64> {
    // Longer than any sane time: not worth a look.
    if text.len() > 64 {
        return None;
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let ms = i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
    (0..=MAX_MS).contains(&ms).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_read_and_written() {
        for (text, ms, canonical) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00.000Z"),
            ("2024-02-29T12:00:00.5Z", 1_709_208_000_500, "2024-02-29T12:00:00.500Z"),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999, "2000-02-29T23:59:59.999Z"),
            ("2026-01-31T10:30:00+01:00", 1_769_851_800_000, "2026-01-31T09:30:00.000Z"),
            ("2026-01-31t04:00:00-05:30", 1_769_851_800_000, "2026-01-31T09:30:00.000Z"),
            ("2026-01-31T09:30:00.0009Z", 1_769_851_800_000, "2026-01-31T09:30:00.000Z"),
            ("9999-12-31T23:59:59.999Z", MAX_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
            assert_eq!(format_ms(ms), canonical);
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "now",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-01-31",
            "2026-01-31T09:30:00",
            "2026-13-01T00:00:00Z",
            "2026-01-31T25:00:00Z",
            "1969-12-31T23:59:59Z",
            "1769851800",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
        assert_eq!(parse_ms(&"2".repeat(10_000)), None);
    }

    proptest::proptest! {
        #[test]
        fn every_millisecond_round_trips(ms in 0..=MAX_MS) {
            proptest::prop_assert_eq!(parse_ms(&format_ms(ms)), Some(ms));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,80}") {
            let _ = parse_ms(&text);
        }
    }
}
