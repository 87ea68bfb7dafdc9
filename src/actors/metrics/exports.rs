//! What was sent to the collector, as it is scraped.

use prometheus::{IntCounter, Registry};

use super::names::Metric;
use super::registered;
use crate::actors::exporter::counts::{Dropped, ExportCounts, Signal};

/// The series.
pub struct Shown {
    exported: Vec<(Signal, IntCounter)>,
    dropped: Vec<(Signal, Dropped, IntCounter)>,
}

impl Shown {
    /// Registers them.
    ///
    /// # Errors
    /// The registry refuses.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let by_signal = registered::int_counter(registry, Metric::Exported)?;
        let by_reason = registered::int_counter(registry, Metric::ExportDropped)?;
        let (mut exported, mut dropped) = (Vec::new(), Vec::new());
        for (signal, label) in Signal::ALL {
            exported.push((signal, by_signal.get_metric_with_label_values(&[label])?));
            for (why, reason) in Dropped::ALL {
                dropped.push((signal, why, by_reason.get_metric_with_label_values(&[label, reason])?));
            }
        }
        Ok(Self { exported, dropped })
    }

    /// Takes the counts over.
    pub fn update(&self, counts: &ExportCounts) {
        for (signal, counter) in &self.exported {
            counter.inc_by(counts.get(*signal).saturating_sub(counter.get()));
        }
        for (signal, why, counter) in &self.dropped {
            counter.inc_by(counts.get_dropped(*signal, *why).saturating_sub(counter.get()));
        }
    }
}
