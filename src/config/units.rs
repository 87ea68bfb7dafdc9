//! Numbers with units: `30s`, `500ms`, `32MiB`. A bare number is refused, because its unit would be a guess.

use std::time::Duration;

/// Shortest duration that may be configured.
pub const DURATION_MIN: Duration = Duration::from_millis(1);
/// Longest duration that may be configured: one day.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long something may be kept: from a second to ten years.
const LIFE_S: std::ops::RangeInclusive<u64> = 1..=3_650 * DAY_S;
const DAY_S: u64 = 24 * 60 * 60;

const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Reads a duration such as `500ms`, `30s`, `5m` or `2h`, from 1ms to 24h.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{}` is not a duration; write a number with its unit, e.g. 500ms, 30s, 5m or 2h",
            brief(text)
        )
    };
    let millis = with_unit(text, &DURATION_UNITS).ok_or_else(wrong)?;
    let value = Duration::from_millis(millis);
    if value < DURATION_MIN || value > DURATION_MAX {
        return Err(format!("`{}` is out of range; allowed are 1ms to 24h", brief(text)));
    }
    Ok(value)
}

/// Reads how long something is kept, such as `12h` or `30d`, from 1s to 3650d.
pub fn life(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", DAY_S)];
    let wrong = || {
        format!("`{}` does not say how long; write a number with its unit, e.g. 30m, 12h or 30d", brief(text))
    };
    let seconds = with_unit(text, &units).ok_or_else(wrong)?;
    if LIFE_S.contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(format!("`{}` is out of range; allowed are 1s to 3650d", brief(text)))
}

/// Reads a size in bytes such as `32MiB`, `20MB` or `256KiB`, within `min..=max` bytes.
pub fn size(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let wrong = || {
        format!("`{}` is not a size; write a number with its unit, e.g. 256KiB, 20MB or 32MiB", brief(text))
    };
    let bytes = with_unit(text, &SIZE_UNITS).ok_or_else(wrong)?;
    if bytes < min || bytes > max {
        return Err(format!(
            "`{}` is out of range; allowed are {} to {}",
            brief(text),
            size_text(min),
            size_text(max)
        ));
    }
    Ok(bytes)
}

/// A size for people, exact: the largest binary unit that divides it.
pub fn size_text(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// At most 40 characters of a wrong value, without control characters, for an error text.
pub fn brief(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    if text.chars().count() > 40 {
        short.push('…');
    }
    short
}

/// `<digits><unit>`, a space between them allowed; `None` when it is not that or too large.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_sane_bounds() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            (" 5 m ", Some(300_000)),
            ("24h", Some(86_400_000)),
            ("25h", None),
            ("0s", None),
            ("30", None),
            ("-1s", None),
            ("1.5s", None),
            ("s", None),
            ("99999999999999999999s", None),
            ("9999999999999999999h", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_stay_in_range() {
        for (text, expected) in [
            ("32MiB", Some(32 << 20)),
            ("20MB", Some(20_000_000)),
            ("256KiB", Some(256 << 10)),
            ("1023B", None),
            ("2GiB", None),
            ("32", None),
            ("32mib", None),
        ] {
            assert_eq!(size(text, 1 << 10, 1 << 30).ok(), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["1KiB", "32MiB", "1GiB", "1500B"] {
            assert_eq!(size(text, 0, u64::MAX).map(size_text), Ok(text.to_owned()));
        }
    }
}
