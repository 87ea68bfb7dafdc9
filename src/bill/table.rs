//! The outcome of a comparison as a table for people.

use std::fmt::Write as _;

use super::{Amount, Measure, Report, Sums};
use crate::rfc3339::format_ms;

/// `2030-01-31`.
pub fn day_text(day_ms: i64) -> String {
    format_ms(day_ms).chars().take(10).collect()
}

/// Differences, then totals, then what it comes to.
pub fn render(report: &Report) -> String {
    let head = ["day", "model", "what", "bill", "ledger", "bill - ledger", ""];
    let mut rows = vec![head.map(str::to_owned)];
    for difference in &report.differences {
        for measure in &difference.measures {
            let model = printable(&difference.model);
            rows.push(row(
                day_text(difference.day_ms),
                model,
                *measure,
                &difference.bill,
                &difference.ledger,
            ));
        }
    }
    for measure in &report.measures {
        rows.push(row("total".to_owned(), String::new(), *measure, &report.bill, &report.ledger));
    }
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers stand to the right.
            let _ = if (3..6).contains(&at) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:width$}  ")
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let (compared, differing) = (report.compared, report.differences.len());
    let _ = match differing {
        0 => writeln!(text, "equal: {compared} days and models compared"),
        _ => writeln!(text, "{differing} of {compared} days and models differ"),
    };
    text
}

fn row(day: String, model: String, measure: Measure, bill: &Sums, ledger: &Sums) -> [String; 7] {
    let [billed, booked, apart] = match measure {
        Measure::Input => counts(bill.input, ledger.input),
        Measure::Output => counts(bill.output, ledger.output),
        Measure::Cost => amounts(bill.cost, ledger.cost),
    };
    let note = match ledger.unpriced {
        0 => String::new(),
        count if measure == Measure::Cost => format!("{count} attempts in the ledger without a price"),
        _ => String::new(),
    };
    [day, model, measure.name().to_owned(), billed, booked, apart, note]
}

fn counts(bill: i128, ledger: i128) -> [String; 3] {
    [bill, ledger, bill.saturating_sub(ledger)].map(|count| count.to_string())
}

fn amounts(bill: Amount, ledger: Amount) -> [String; 3] {
    [bill, ledger, bill - ledger].map(|amount| amount.to_string())
}

/// A name from a file, with nothing in it that a terminal obeys.
fn printable(name: &str) -> String {
    name.chars().take(80).map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{DAY_MS, Tolerance, Totals, compare};
    use super::*;

    #[test]
    fn a_table_has_the_differences_the_totals_and_the_outcome() {
        let sums =
            |input, cost: &str, unpriced| Sums { input, output: 3, cost: cost.parse().unwrap(), unpriced };
        let day = 20_724 * DAY_MS;
        let bill: Totals = [((day, "a\u{1b}[2J".to_owned()), sums(10, "0.5", 0))].into();
        let ledger: Totals = [
            ((day, "a\u{1b}[2J".to_owned()), sums(9, "0.25", 2)),
            ((day + DAY_MS, "b".to_owned()), sums(0, "0", 0)),
        ]
        .into();
        let report = compare(&bill, &ledger, &Measure::ALL.into(), Tolerance::default());
        let expected = "\
day         model  what           bill  ledger  bill - ledger
2026-09-28  a?[2J  input_tokens     10       9              1
2026-09-28  a?[2J  cost_usd        0.5    0.25           0.25  2 attempts in the ledger without a price
2026-09-29  b      output_tokens     0       3             -3
total              input_tokens     10       9              1
total              output_tokens     3       6             -3
total              cost_usd        0.5    0.25           0.25  2 attempts in the ledger without a price
2 of 2 days and models differ
";
        assert_eq!(render(&report), expected);
        let same = compare(&bill, &bill, &Measure::ALL[2..].iter().copied().collect(), Tolerance::default());
        assert_eq!(
            render(&same),
            "day    model  what      bill  ledger  bill - ledger\ntotal         cost_usd   0.5     0.5              0\n\
             equal: 1 days and models compared\n"
        );
    }
}
