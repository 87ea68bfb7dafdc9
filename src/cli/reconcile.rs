//! `llm-gateway reconcile`: holds a provider's bill against the ledger, by day (UTC) and model.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;

use crate::bill::{
    self, Amount, Bill, DAY_MS, NO_MODEL, Sums, Tolerance, Totals, canonical, compare, day_text, render,
    without_models,
};
use crate::catalog::Catalog;
use crate::rfc3339::parse_ms;
use crate::store::{GroupBy, GroupValue, Store, UsageRow};

/// Exit code when bill and ledger differ.
pub const EXIT_DIFFERENT: u8 = 1;
/// Exit code when there is nothing to compare: a bad file, no ledger.
pub const EXIT_BAD: u8 = 2;

/// Days compared at most: each is one question to the store.
const DAYS_MAX: i64 = 3_660;

/// Which bill, and how strictly.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Arguments {
    /// Provider that sent the bill, as the configuration calls it
    #[arg(long, value_name = "ID")]
    pub provider: String,
    /// The bill: CSV with a header row, or JSON lines
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// First day, UTC, e.g. 2030-01-01 [default: the first of the bill]
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: Option<i64>,
    /// Day after the last, UTC [default: the one after the last of the bill]
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub to: Option<i64>,
    /// USD by which the cost of a day and model may differ
    #[arg(long, value_name = "USD", default_value = "0", value_parser = usd)]
    pub tolerance: Amount,
    /// Tokens by which the counts of a day and model may differ
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub token_tolerance: u64,
}

fn day(text: &str) -> Result<i64, String> {
    let ms = parse_ms(&format!("{text}T00:00:00Z")).or_else(|| parse_ms(text));
    ms.filter(|ms| ms % DAY_MS == 0).ok_or_else(|| "not a day in UTC such as 2030-01-31".to_owned())
}

fn usd(text: &str) -> Result<Amount, String> {
    let amount: Amount = text.parse()?;
    if amount < Amount::default() { Err("less than nothing".to_owned()) } else { Ok(amount) }
}

/// Reads the bill and chooses its days: those asked for, else all that it is about.
///
/// # Errors
/// One line: what is wrong with the file, by line and column, or with the days.
pub fn read_bill(arguments: &Arguments) -> Result<(Bill, i64, i64), String> {
    let name = arguments.file.display();
    let file = File::open(&arguments.file).map_err(|error| format!("{name} cannot be read: {error}"))?;
    let mut bill = bill::read(BufReader::new(file)).map_err(|error| format!("{name}: {error}"))?;
    let first = bill.totals.keys().next().map(|(day, _)| *day);
    let last = bill.totals.keys().next_back().map(|(day, _)| *day + DAY_MS);
    let (Some(from), Some(to)) = (arguments.from.or(first), arguments.to.or(last)) else {
        return Err(format!("{name}: no row says anything; --from and --to say what it is about"));
    };
    if from >= to {
        return Err(format!("--from ({}) must lie before --to ({})", day_text(from), day_text(to)));
    }
    if (to - from) / DAY_MS > DAYS_MAX {
        return Err(format!("more than {DAYS_MAX} days from {} to {}", day_text(from), day_text(to)));
    }
    bill.totals.retain(|(day, _), _| (from..to).contains(day));
    Ok((bill, from, to))
}

/// Compares with the ledger; gives what to print and whether they are equal.
///
/// # Errors
/// One line when the store does not answer.
pub async fn run(
    arguments: &Arguments,
    (bill, from_ms, to_ms): (Bill, i64, i64),
    store: &dyn Store,
    catalog: (&Catalog, &str),
) -> Result<(String, bool), String> {
    let booked = ledger(&arguments.provider, from_ms, to_ms, store).await?;
    let (billed, booked) = if bill.by_model {
        let renamed = rename(bill.totals, &booked, catalog);
        (renamed, booked)
    } else {
        (without_models(&bill.totals), without_models(&booked))
    };
    let within = Tolerance { cost: arguments.tolerance, tokens: arguments.token_tolerance };
    let report = compare(&billed, &booked, &bill.measures, within);
    let (first, last) = (day_text(from_ms), day_text(to_ms - DAY_MS));
    let head = format!("{}, {first} to {last} (UTC)\n", arguments.provider);
    Ok((head + &render(&report), report.differences.is_empty()))
}

/// What the ledger says of a provider, day by day, so that no question has too many groups.
async fn ledger(provider: &str, from_ms: i64, to_ms: i64, store: &dyn Store) -> Result<Totals, String> {
    let mut totals = Totals::new();
    let groups = [GroupBy::Provider, GroupBy::Model];
    let mut day_ms = from_ms;
    while day_ms < to_ms {
        let rows = store.usage(day_ms, day_ms + DAY_MS, &groups).await.map_err(|error| error.to_string())?;
        for row in rows {
            let [GroupValue::Name(Some(who)), GroupValue::Name(model)] = row.groups.as_slice() else {
                continue;
            };
            if who == provider {
                let model = model.clone().unwrap_or_else(|| NO_MODEL.to_owned());
                totals.entry((day_ms, model)).or_default().add(&sums(&row));
            }
        }
        day_ms += DAY_MS;
    }
    // Attempts that neither used nor cost anything are on no bill.
    totals.retain(|_, sums| *sums != Sums::default());
    Ok(totals)
}

fn sums(row: &UsageRow) -> Sums {
    Sums {
        input: row.tokens.prompt.into(),
        output: row.tokens.completion.into(),
        cost: Amount::from_units(row.cost_units),
        unpriced: row.unpriced,
    }
}

/// The bill's sums under the ledger's names of models.
fn rename(totals: Totals, booked: &Totals, (catalog, listed_as): (&Catalog, &str)) -> Totals {
    let models: BTreeSet<&str> = booked.keys().map(|(_, model)| model.as_str()).collect();
    let known = |name: &str| {
        let offer = catalog.offer(listed_as, name).map(|offer| offer.model.to_string());
        offer.or_else(|| models.contains(name).then(|| name.to_owned()))
    };
    let mut renamed = Totals::new();
    for ((day_ms, model), sums) in totals {
        renamed.entry((day_ms, canonical(&model, &known))).or_default().add(&sums);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_tolerances_are_read() {
        assert_eq!(day("2026-09-28"), Ok(20_724 * DAY_MS));
        assert_eq!(day("2026-09-28T00:00:00Z"), Ok(20_724 * DAY_MS));
        for text in ["2026-09-28T01:00:00Z", "28.9.2026", ""] {
            assert!(day(text).is_err(), "{text}");
        }
        assert_eq!(usd("0.01").map(|amount| amount.to_string()), Ok("0.01".to_owned()));
        assert!(usd("-1").is_err() && usd("x").is_err());
    }
}
