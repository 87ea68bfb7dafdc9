//! When a provider that refuses says to come back: `Retry-After`, or the reset of a limit that is used up. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// What limits are of.
const LIMITS: [&str; 6] =
    ["requests", "tokens", "input-tokens", "output-tokens", "req-minute", "tokens-minute"];
/// Plain numbers from here on are seconds since the epoch, and milliseconds from a thousand times as much on.
const EPOCH_SECONDS: f64 = 1e9;
const EPOCH_MILLISECONDS: f64 = 1e12;

/// `retry-after-ms`, else `Retry-After` in seconds or as a date, else, of a refusal for a limit (429), the latest reset of
/// the limits that are used up. A wait of nothing is none.
pub fn retry_after<'h>(
    header: &dyn Fn(&str) -> Option<&'h str>,
    limited: bool,
    now: SystemTime,
) -> Option<Duration> {
    let seconds =
        |text: &str| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let precise = header("retry-after-ms").and_then(seconds).map(|thousandfold| thousandfold / 1000);
    let plain = || header("retry-after").and_then(|given| seconds(given).or_else(|| until(given, now)));
    let reset = || latest_reset(header, now).filter(|_| limited);
    precise.or_else(plain).or_else(reset).filter(|wait| !wait.is_zero())
}

/// OpenAI's headers and those that many took over, Anthropic's, and the plain ones.
fn latest_reset<'h>(header: &dyn Fn(&str) -> Option<&'h str>, now: SystemTime) -> Option<Duration> {
    let of = |remaining: &str, reset: &str| {
        let used_up = header(remaining)?.parse::<f64>().ok()? <= 0.0;
        // Less than nothing means that there is no such limit.
        let is_limit = header(remaining) != Some("-1");
        if used_up && is_limit { wait(header(reset)?, now) } else { None }
    };
    let named = LIMITS.iter().flat_map(|limit| {
        [
            of(&format!("x-ratelimit-remaining-{limit}"), &format!("x-ratelimit-reset-{limit}")),
            of(
                &format!("anthropic-ratelimit-{limit}-remaining"),
                &format!("anthropic-ratelimit-{limit}-reset"),
            ),
        ]
    });
    named.chain([of("x-ratelimit-remaining", "x-ratelimit-reset")]).flatten().max()
}

/// `6m0s`, `20ms`, `1.5`, a date, or a moment since the epoch.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let since_epoch = now.duration_since(UNIX_EPOCH).ok()?;
    match text.parse::<f64>() {
        Ok(number) if number >= EPOCH_SECONDS => {
            let scale = if number >= EPOCH_MILLISECONDS { 1000.0 } else { 1.0 };
            Duration::try_from_secs_f64(number / scale).ok()?.checked_sub(since_epoch)
        }
        Ok(number) => Duration::try_from_secs_f64(number).ok(),
        Err(_) => units(text).or_else(|| until(text, now)),
    }
}

/// Numbers with their units, one after the other.
fn units(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let length = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at_checked(length)?;
        let number: f64 = number.parse().ok()?;
        let (scale, unit) = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)]
            .into_iter()
            .find_map(|(unit, scale)| after.starts_with(unit).then_some((scale, unit)))?;
        total += number * scale;
        rest = after.get(unit.len()..)?;
    }
    Duration::try_from_secs_f64(total).ok()
}

/// Time until a date; `None` when it is past, or no date.
fn until(date: &str, now: SystemTime) -> Option<Duration> {
    let at = OffsetDateTime::parse(date, &Rfc2822).or_else(|_| OffsetDateTime::parse(date, &Rfc3339)).ok()?;
    SystemTime::from(at).duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(headers: &[(&'static str, &'static str)]) -> Option<u64> {
        // 2026-01-01T00:00:00Z.
        let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        retry_after(&header, true, now).map(|wait| u64::try_from(wait.as_millis()).unwrap())
    }

    #[test]
    fn retry_after_has_the_first_word() {
        let used_up = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "9s")];
        for (given, ms) in [
            (("retry-after", "2"), 2_000),
            (("retry-after", "0.5"), 500),
            (("retry-after-ms", "1500"), 1_500),
            (("retry-after", "Thu, 01 Jan 2026 00:00:07 GMT"), 7_000),
        ] {
            assert_eq!(told(&[given, used_up[0], used_up[1]]), Some(ms), "{given:?}");
        }
        assert_eq!(told(&[("retry-after", "soon"), used_up[0], used_up[1]]), Some(9_000));
    }

    #[test]
    fn else_the_latest_reset_of_the_limits_that_are_used_up() {
        for (reset, ms) in [
            ("6m0s", Some(360_000)),
            ("20ms", Some(20)),
            ("1h2m3.5s", Some(3_723_500)),
            ("12", Some(12_000)),
            ("1767225605", Some(5_000)),
            ("1767225605500", Some(5_500)),
            ("2026-01-01T00:00:04Z", Some(4_000)),
            ("2025-01-01T00:00:04Z", None),
            ("s", None),
            ("5x", None),
            ("-3", None),
            ("", None),
            ("0s", None),
        ] {
            let headers = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", reset)];
            assert_eq!(told(&headers), ms, "{reset:?}");
        }
        let both = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "3s"),
        ];
        assert_eq!(told(&both), Some(3_000));
        let anthropic = [
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-01-01T00:01:00Z"),
        ];
        assert_eq!(told(&anthropic), Some(60_000));
        assert_eq!(
            told(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1767225660")]),
            Some(60_000)
        );
    }

    #[test]
    fn limits_that_are_not_used_up_or_are_none_say_nothing() {
        assert_eq!(
            told(&[("x-ratelimit-remaining-requests", "7"), ("x-ratelimit-reset-requests", "9s")]),
            None
        );
        assert_eq!(told(&[("x-ratelimit-remaining-tokens", "-1"), ("x-ratelimit-reset-tokens", "9s")]), None);
        assert_eq!(told(&[("x-ratelimit-reset-requests", "9s")]), None);
        assert_eq!(told(&[("retry-after", "0")]), None);
        // What is overloaded is not so until a credential's limit is reset.
        let used_up = |name: &str| {
            Some(if name.contains("remaining") { "0" } else { "9s" }).filter(|_| name.contains("ratelimit"))
        };
        assert_eq!(retry_after(&used_up, false, UNIX_EPOCH), None);
        assert_eq!(retry_after(&used_up, true, UNIX_EPOCH), Some(Duration::from_secs(9)));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(remaining in "(0|-1|.{0,9})", reset in ".{0,30}") {
            let header = |name: &str| match name {
                "x-ratelimit-remaining-tokens" => Some(remaining.as_str()),
                "x-ratelimit-reset-tokens" | "retry-after" => Some(reset.as_str()),
                _ => None,
            };
            let _ = retry_after(&header, true, SystemTime::now());
        }
    }
}
