//! Budgets and quotas as they stand, those that are used most: set anew at each scrape.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use super::exposition::Family;
use super::labels::{TOLD_MAX, short};
use super::names::Metric;
use crate::money::{UNITS_PER_USD, Usd};
use crate::policy::budget::Standing;
use crate::policy::quota::Gauge;
use crate::store::{Holder, KeyTable};

/// Millionths in a whole: shares are compared as whole numbers.
const WHOLE: u64 = 1_000_000;

/// The series, and those who come into them.
pub struct Spending {
    limit: Family<f64>,
    spent: Family<f64>,
    reserved: Family<f64>,
    quota: Family<f64>,
}

/// The rows with the greatest shares. Its memory is bounded by twice as many.
struct Top<T> {
    /// By share, then by id, so that of many with the same share it is always the same ones.
    rows: Vec<(Reverse<u64>, Arc<str>, T)>,
}

impl<T> Top<T> {
    const fn new() -> Self {
        Self { rows: Vec::new() }
    }

    fn add(&mut self, share: u64, id: &Arc<str>, row: T) {
        self.rows.push((Reverse(share), Arc::clone(id), row));
        if self.rows.len() >= 4 * TOLD_MAX {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.rows.len() > TOLD_MAX {
            self.rows.select_nth_unstable_by(TOLD_MAX, |a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            self.rows.truncate(TOLD_MAX);
        }
    }

    fn finish(mut self) -> impl Iterator<Item = (u64, T)> {
        self.cut();
        self.rows.into_iter().map(|(Reverse(share), _, row)| (share, row))
    }
}

impl Spending {
    /// Without series yet.
    pub fn new() -> Self {
        Self {
            limit: Family::new(Metric::BudgetLimit),
            spent: Family::new(Metric::BudgetSpent),
            reserved: Family::new(Metric::BudgetReserved),
            quota: Family::new(Metric::QuotaUsed),
        }
    }

    /// Sets all of them.
    pub fn update(&mut self, table: &KeyTable, now: Instant, now_ms: i64) {
        for family in [&mut self.limit, &mut self.spent, &mut self.reserved, &mut self.quota] {
            family.clear();
        }
        let (mut budgets, mut quotas) = (Top::new(), Top::new());
        table.each_holder(|holder| {
            if let Some(standing) = holder.purse().standing(now_ms) {
                let share = share(standing.spent.units(), standing.budget.limit.units());
                budgets.add(share, holder.id(), (holder.clone(), standing));
            }
            for (limit, used) in used(&holder, now) {
                quotas.add(used, holder.id(), (holder.clone(), limit));
            }
        });
        for (_, (holder, Standing { budget, spent, reserved, .. })) in budgets.finish() {
            let labels = [holder.scope(), holder.id(), &*short(holder.name()), budget.period.as_str()];
            self.limit.set(&labels, usd(budget.limit));
            self.spent.set(&labels, usd(spent));
            self.reserved.set(&labels, usd(reserved));
        }
        for (used, (holder, limit)) in quotas.finish() {
            let labels = [holder.scope(), holder.id(), &*short(holder.name()), limit];
            self.quota.set(&labels, used as f64 / WHOLE as f64);
        }
    }

    /// Writes all of them.
    pub fn write(&mut self, out: &mut String) {
        [&mut self.limit, &mut self.spent, &mut self.reserved, &mut self.quota]
            .into_iter()
            .for_each(|family| family.write(out));
    }
}

/// The limits of a key or group, and the used share of each, in millionths.
fn used(holder: &Holder, now: Instant) -> impl Iterator<Item = (&'static str, u64)> {
    let quota = holder.quota();
    let limits = quota.limits();
    let limited = limits.rpm.is_some() || limits.tpm.is_some();
    // Where a fleet shares the quota, what the fleet said is what counts.
    let snapshot = if limited {
        quota.fleet_snapshot().unwrap_or_else(|| quota.snapshot(now))
    } else {
        Default::default()
    };
    let minute = |gauge: Gauge| {
        share(i64::from(gauge.limit - gauge.remaining.min(gauge.limit)), i64::from(gauge.limit))
    };
    let calls = limits.concurrency.map(|limit| share(i64::from(quota.in_flight()), i64::from(limit.get())));
    let shares = [
        ("rpm", snapshot.requests.map(minute)),
        ("tpm", snapshot.tokens.map(minute)),
        ("concurrency", calls),
    ];
    shares.into_iter().filter_map(|(limit, share)| Some((limit, share?)))
}

/// A part of a whole, in millionths; all of it where there is nothing to have a part of.
fn share(part: i64, whole: i64) -> u64 {
    let (part, whole) = (i128::from(part.max(0)), i128::from(whole.max(0)));
    let millionths = (part * i128::from(WHOLE)).checked_div(whole).unwrap_or(i128::from(WHOLE));
    u64::try_from(millionths).unwrap_or(u64::MAX)
}

/// For display only.
pub fn usd(amount: Usd) -> f64 {
    amount.units() as f64 / UNITS_PER_USD as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_shares_are_kept_however_many_there_are() {
        let (mut top, id) = (Top::new(), Arc::from("key"));
        (0..10_000_u64).for_each(|share| top.add(share * 7_919 % 10_000, &id, share));
        let mut shares: Vec<_> = top.finish().map(|(share, _)| share).collect();
        shares.sort_unstable();
        assert_eq!(shares, (9_900..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_share_of_nothing_is_all_of_it() {
        for (part, whole, expected) in
            [(1, 4, 250_000), (0, 4, 0), (5, 4, 1_250_000), (1, 0, WHOLE), (-1, 4, 0)]
        {
            assert_eq!(share(part, whole), expected, "{part} of {whole}");
        }
    }
}
