//! Comparing sums by day and model.

use std::collections::{BTreeMap, BTreeSet};

use super::{ALL_MODELS, Amount};

/// Sums of one day and model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Input tokens, cached ones included.
    pub input: i128,
    /// Output tokens, reasoning included.
    pub output: i128,
    /// Money.
    pub cost: Amount,
    /// Attempts whose cost the ledger does not know.
    pub unpriced: u64,
}

impl Sums {
    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cost += other.cost;
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
    }
}

/// Sums by start of the day (milliseconds since the epoch, UTC) and model.
pub type Totals = BTreeMap<(i64, String), Sums>;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Input tokens.
    Input,
    /// Output tokens.
    Output,
    /// Money.
    Cost,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Cost];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input_tokens",
            Self::Output => "output_tokens",
            Self::Cost => "cost_usd",
        }
    }
}

/// How far apart two sums of one day and model may be and still count as equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// Money.
    pub cost: Amount,
    /// Tokens.
    pub tokens: u64,
}

/// A day and model of which bill and ledger do not say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Start of the day, milliseconds since the epoch.
    pub day_ms: i64,
    /// The model.
    pub model: String,
    /// In what they differ; never empty.
    pub measures: Vec<Measure>,
    /// What the bill says; nothing when it has no such row.
    pub bill: Sums,
    /// What the ledger says, likewise.
    pub ledger: Sums,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was compared.
    pub measures: Vec<Measure>,
    /// Differences by day and model.
    pub differences: Vec<Difference>,
    /// Days and models that were compared.
    pub compared: usize,
    /// The bill in all.
    pub bill: Sums,
    /// The ledger in all.
    pub ledger: Sums,
}

/// Holds a bill against the ledger, in what the bill tells.
pub fn compare(bill: &Totals, ledger: &Totals, measures: &BTreeSet<Measure>, within: Tolerance) -> Report {
    let mut report = Report { measures: measures.iter().copied().collect(), ..Report::default() };
    let places: BTreeSet<_> = bill.keys().chain(ledger.keys()).collect();
    for place in places {
        let of = |totals: &Totals| totals.get(place).copied().unwrap_or_default();
        let (billed, booked) = (of(bill), of(ledger));
        report.compared += 1;
        report.bill.add(&billed);
        report.ledger.add(&booked);
        let differing = |measure: &Measure| !equal(*measure, &billed, &booked, within);
        let measures: Vec<_> = measures.iter().copied().filter(differing).collect();
        if !measures.is_empty() {
            let (day_ms, model) = place.clone();
            report.differences.push(Difference { day_ms, model, measures, bill: billed, ledger: booked });
        }
    }
    report
}

fn equal(measure: Measure, bill: &Sums, ledger: &Sums, within: Tolerance) -> bool {
    let tokens = |a: i128, b: i128| a.abs_diff(b) <= u128::from(within.tokens);
    match measure {
        Measure::Input => tokens(bill.input, ledger.input),
        Measure::Output => tokens(bill.output, ledger.output),
        Measure::Cost => (bill.cost - ledger.cost).magnitude() <= within.cost,
    }
}

/// The same sums by day alone.
pub fn without_models(totals: &Totals) -> Totals {
    let mut days = Totals::new();
    for ((day_ms, _), sums) in totals {
        days.entry((*day_ms, ALL_MODELS.to_owned())).or_default().add(sums);
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(rows: &[(i64, &str, i128, i128, &str)]) -> Totals {
        let mut totals = Totals::new();
        for (day, model, input, output, cost) in rows {
            let sums = Sums { input: *input, output: *output, cost: cost.parse().unwrap(), unpriced: 0 };
            totals.entry((*day, (*model).to_owned())).or_default().add(&sums);
        }
        totals
    }

    /// Differences as `day model measures`.
    fn found(bill: &Totals, ledger: &Totals, measures: &[Measure], cost: &str, tokens: u64) -> Vec<String> {
        let within = Tolerance { cost: cost.parse().unwrap(), tokens };
        let report = compare(bill, ledger, &measures.iter().copied().collect(), within);
        let names = |difference: &Difference| {
            difference.measures.iter().map(|measure| measure.name()).collect::<Vec<_>>().join("+")
        };
        let line = |of: &Difference| format!("{} {} {}", of.day_ms, of.model, names(of));
        report.differences.iter().map(line).collect()
    }

    /// The rows that the bills of the next tests are held against, as changed.
    type Rows = [(i64, &'static str, i128, i128, &'static str); 3];
    const LEDGER: Rows = [(0, "a", 10, 5, "0.5"), (0, "b", 1, 1, "0.1"), (1, "a", 10, 5, "0.5")];

    fn differing(bill: Rows, measures: &[Measure], cost: &str, tokens: u64) -> Vec<String> {
        found(&totals(&bill), &totals(&LEDGER), measures, cost, tokens)
    }

    #[test]
    fn what_differs_is_found_by_day_and_model_and_nothing_else() {
        let differing = |bill: Rows| differing(bill, &Measure::ALL, "0", 0);
        assert_eq!(differing(LEDGER), [""; 0]);
        let same_total_of_other_days = [(0, "a", 11, 5, "0.5"), (0, "b", 1, 1, "0.1"), (1, "a", 9, 5, "0.5")];
        assert_eq!(differing(same_total_of_other_days), ["0 a input_tokens", "1 a input_tokens"]);
        let rows_of_one_side_only = [(0, "a", 10, 5, "0.5"), (1, "a", 10, 5, "0.5"), (1, "c", 0, 0, "0.2")];
        assert_eq!(
            differing(rows_of_one_side_only),
            ["0 b input_tokens+output_tokens+cost_usd", "1 c cost_usd"]
        );
        let one_unit_of_the_finest_digit =
            [(0, "a", 10, 5, "0.500000000000000000000001"), (0, "b", 1, 1, "0.1"), (1, "a", 10, 5, "0.5")];
        assert_eq!(differing(one_unit_of_the_finest_digit), ["0 a cost_usd"]);
    }

    #[test]
    fn a_tolerance_takes_a_difference_up_to_its_own_size() {
        let all = &Measure::ALL;
        let cost = [(0, "a", 10, 5, "0.51"), (0, "b", 1, 1, "0.09"), (1, "a", 10, 5, "0.4899")];
        assert_eq!(differing(cost, all, "0.01", 0), ["1 a cost_usd"]);
        let tokens = [(0, "a", 12, 3, "0.5"), (0, "b", 1, 4, "0.1"), (1, "a", 10, 5, "0.5")];
        assert_eq!(differing(tokens, all, "0", 2), ["0 b output_tokens"]);
    }

    #[test]
    fn what_the_bill_does_not_tell_is_not_compared() {
        let no_tokens = [(0, "a", 0, 0, "0.5"), (0, "b", 0, 0, "0.1"), (1, "a", 0, 0, "0.5")];
        assert_eq!(differing(no_tokens, &Measure::ALL[2..], "0", 0), [""; 0]);
        let no_cost = [(0, "a", 10, 5, "0"), (0, "b", 1, 1, "0"), (1, "a", 10, 5, "0")];
        assert_eq!(differing(no_cost, &Measure::ALL[..2], "0", 0), [""; 0]);
    }

    #[test]
    fn totals_are_of_both_sides_and_of_everything() {
        let (bill, ledger) = (totals(&[(0, "a", 1, 2, "0.1")]), totals(&[(1, "a", 4, 8, "0.2")]));
        let report = compare(&bill, &ledger, &Measure::ALL.into(), Tolerance::default());
        assert_eq!((report.compared, report.bill.input, report.ledger.output), (2, 1, 8));
        assert_eq!(
            (report.bill.cost.to_string(), report.ledger.cost.to_string()),
            ("0.1".into(), "0.2".into())
        );
    }

    #[test]
    fn days_are_summed_over_their_models() {
        let days =
            without_models(&totals(&[(0, "a", 1, 2, "0.1"), (0, "b", 3, 4, "0.2"), (1, "a", 5, 6, "0.3")]));
        assert_eq!(days, totals(&[(0, ALL_MODELS, 4, 6, "0.3"), (1, ALL_MODELS, 5, 6, "0.3")]));
    }
}
