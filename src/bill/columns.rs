//! The columns of a bill, by the names that exports give them, and what one row says.

use std::collections::BTreeSet;

use super::{Amount, DAY_MS, Measure, NO_MODEL, Sums};
use crate::rfc3339::parse_ms;

/// When: the first of these that is there.
const DATE: &[&str] = &["date", "day", "usage_date_utc", "start_time_iso", "start_time", "starting_at"];

/// Of which model.
const MODEL: &[&str] = &["model", "model_version", LINE_ITEM];

/// Holds the model and, behind a comma, what of it is charged for.
const LINE_ITEM: &str = "line_item";

/// Input tokens are the sum of these kinds, each under the first of its names. Some vendors leave cached tokens out
/// of the first and tell them apart.
const INPUT: &[&[&str]] = &[
    &["input_tokens", "prompt_tokens", "uncached_input_tokens", "usage_input_tokens_no_cache"],
    &[
        "cache_creation_input_tokens",
        "cache_creation.ephemeral_5m_input_tokens",
        "usage_input_tokens_cache_write_5m",
    ],
    &["cache_creation.ephemeral_1h_input_tokens", "usage_input_tokens_cache_write_1h"],
    &["cache_read_input_tokens", "usage_input_tokens_cache_read"],
];

/// Output tokens.
const OUTPUT: &[&[&str]] = &[&["output_tokens", "completion_tokens", "usage_output_tokens"]];

/// Money, in US dollars.
const COST: &[&str] = &["cost_usd", "amount_value", "amount.value"];

/// What the money is in.
const CURRENCY: &[&str] = &["amount_currency", "amount.currency", "currency"];

/// What is wrong with a row, and in which column; none when no single one is to blame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub column: Option<String>,
    pub message: String,
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub day_ms: i64,
    pub model: String,
    pub sums: Sums,
}

/// A name as it is compared: in small letters, blanks as underscores.
pub(super) fn name(header: &str) -> String {
    header.trim().to_lowercase().replace(' ', "_")
}

/// A column that is read, and so may be there once only.
pub(super) fn is_read(name: &str) -> bool {
    let kinds = INPUT.iter().chain(OUTPUT).flat_map(|kind| kind.iter());
    [DATE, MODEL, COST, CURRENCY].into_iter().flatten().chain(kinds).any(|known| *known == name)
}

/// What can be compared, by the columns that are there.
pub(super) fn measures(has: &dyn Fn(&str) -> bool) -> Result<BTreeSet<Measure>, Trouble> {
    let any = |names: &[&str]| names.iter().any(|name| has(name));
    let missing = |what: &str, names: &[&str]| Trouble {
        column: None,
        message: format!("no column for {what}; it would be called one of: {}", names.join(", ")),
    };
    if !any(DATE) {
        return Err(missing("the day", DATE));
    }
    let told = [
        (Measure::Input, INPUT.iter().any(|kind| any(kind))),
        (Measure::Output, OUTPUT.iter().any(|kind| any(kind))),
        (Measure::Cost, any(COST)),
    ];
    let measures: BTreeSet<_> =
        told.into_iter().filter_map(|(measure, there)| there.then_some(measure)).collect();
    if measures.is_empty() {
        let names = ["input_tokens", "output_tokens", "cost_usd"];
        return Err(missing("tokens or money", &names));
    }
    Ok(measures)
}

/// Reads a row; `None` when it says nothing, as rows of days without use do.
pub(super) fn entry<'a>(value: &dyn Fn(&str) -> Option<&'a str>) -> Result<Option<Entry>, Trouble> {
    let mut told = false;
    let mut tokens = |kinds: &[&[&'static str]]| -> Result<i128, Trouble> {
        let mut sum = 0_i128;
        for (column, text) in kinds.iter().filter_map(|kind| filled(value, kind)) {
            told = true;
            let count = text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
            let count = count.ok_or_else(|| wrong(column, text, "a whole number of tokens"))?;
            sum = sum.saturating_add(i128::from(count));
        }
        Ok(sum)
    };
    let (input, output) = (tokens(INPUT)?, tokens(OUTPUT)?);
    let mut cost = Amount::default();
    if let Some((column, text)) = filled(value, COST) {
        told = true;
        cost = text.parse().map_err(|why| wrong(column, text, why))?;
        if let Some((column, text)) =
            filled(value, CURRENCY).filter(|(_, text)| !text.eq_ignore_ascii_case("usd"))
        {
            return Err(wrong(column, text, "USD, and nothing is converted"));
        }
    }
    let model = filled(value, MODEL).map(|(column, text)| match text.split_once(',') {
        Some((model, _)) if column == LINE_ITEM => model.trim(),
        _ => text,
    });
    if !told && model.is_none() {
        return Ok(None);
    }
    let (column, text) = filled(value, DATE).ok_or_else(|| {
        let there = DATE.iter().find(|name| value(name).is_some());
        Trouble { column: there.map(|name| (*name).to_owned()), message: "the day is missing".to_owned() }
    })?;
    let ms = time_ms(text).ok_or_else(|| wrong(column, text, "a day such as 2030-01-31, or a time"))?;
    let day_ms = ms.div_euclid(DAY_MS) * DAY_MS;
    let sums = Sums { input, output, cost, unpriced: 0 };
    Ok(Some(Entry { day_ms, model: model.unwrap_or(NO_MODEL).to_owned(), sums }))
}

/// The first of these columns that says something.
fn filled<'a>(
    value: &dyn Fn(&str) -> Option<&'a str>,
    names: &[&'static str],
) -> Option<(&'static str, &'a str)> {
    names.iter().find_map(|name| Some((*name, value(name)?.trim())).filter(|(_, text)| !text.is_empty()))
}

fn wrong(column: &str, text: &str, wanted: &str) -> Trouble {
    let shown: String = text.chars().take(40).collect();
    let message = if wanted.starts_with("not ") || wanted.starts_with("more ") || wanted.starts_with("too ") {
        format!("`{shown}` is {wanted}")
    } else {
        format!("`{shown}` is not {wanted}")
    };
    Trouble { column: Some(column.to_owned()), message }
}

/// A day, a time with or without an offset (then UTC), or seconds since the epoch.
pub(super) fn time_ms(text: &str) -> Option<i64> {
    if (9..=11).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1000);
    }
    let time = text.replacen(' ', "T", 1);
    let (as_day, as_utc) = (format!("{time}T00:00:00Z"), format!("{time}Z"));
    [time.as_str(), &as_day, &as_utc].into_iter().find_map(parse_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_exports_write_them() {
        let day = |text| time_ms(text).map(|ms| ms.div_euclid(DAY_MS));
        for text in [
            "2026-09-28",
            "2026-09-28T00:00:00Z",
            "2026-09-28T23:59:59.999+00:00",
            "2026-09-28T00:00:00",
            "2026-09-28 12:00:00",
            "2026-09-29T01:00:00+02:00",
            "1790553600",
        ] {
            assert_eq!(day(text), Some(20_724), "{text}");
        }
        for text in
            ["", "2026-9-28", "28.09.2026", "2026-02-30", "yesterday", "17905536", "2026-09-28T25:00:00"]
        {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
