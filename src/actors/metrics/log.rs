//! Numbers of the request log: calls whose bodies were stored, and those whose were lost.

use prometheus::{Counter, IntCounter, Registry};

use super::names::Metric;
use super::registered;
use crate::actors::gauges::{LogCounts, NotLogged};

/// The series.
pub(super) struct Shown {
    stored: Counter,
    dropped: Vec<(NotLogged, IntCounter)>,
}

impl Shown {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let by_reason = registered::int_counter(registry, Metric::NotLogged)?;
        let dropped = NotLogged::ALL.map(|(why, label)| {
            by_reason.get_metric_with_label_values(&[label]).map(|counter| (why, counter))
        });
        Ok(Self {
            stored: registered::counter(registry, Metric::Logged)?,
            dropped: dropped.into_iter().collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn update(&self, counts: &LogCounts) {
        self.stored.inc_by(counts.get_stored() as f64 - self.stored.get());
        for (why, counter) in &self.dropped {
            counter.inc_by(counts.get_dropped(*why).saturating_sub(counter.get()));
        }
    }
}
