//! The journal's numbers, read at each scrape.

use prometheus::{Counter, Gauge, Registry};

use super::names::Metric;
use super::registered;
use crate::actors::gauges::Gauges;

/// The instruments.
pub struct Shown {
    bytes: Gauge,
    lag: Gauge,
    state: Gauge,
    in_memory: Gauge,
    failures: Counter,
    missed: Counter,
}

impl Shown {
    /// Registered, nothing known yet.
    ///
    /// # Errors
    /// The registry refuses: a name twice, or not a name.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            bytes: registered::gauge(registry, Metric::JournalBytes)?,
            lag: registered::gauge(registry, Metric::JournalLag)?,
            state: registered::gauge(registry, Metric::JournalState)?,
            in_memory: registered::gauge(registry, Metric::ReceiptsInMemory)?,
            failures: registered::counter(registry, Metric::JournalFailures)?,
            missed: registered::counter(registry, Metric::Unjournalled)?,
        })
    }

    /// Takes the numbers over.
    pub fn update(&self, gauges: &Gauges) {
        self.bytes.set(gauges.journal.bytes() as f64);
        self.lag.set(gauges.journal_lag_s() as f64);
        self.state.set(f64::from(gauges.journal.standing() as u8));
        self.in_memory.set(gauges.unsettled.get() as f64);
        for (counter, number) in
            [(&self.failures, gauges.journal.failures()), (&self.missed, gauges.journal.missed())]
        {
            counter.reset();
            counter.inc_by(number as f64);
        }
    }
}
