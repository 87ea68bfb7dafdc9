//! Instruments without labels, or with labels of a fixed few values, in a registry.

use prometheus::core::Collector;
use prometheus::{Counter, Gauge, GaugeVec, IntCounterVec, Opts, Registry};

use super::names::Metric;

type Result<T> = std::result::Result<T, prometheus::Error>;

/// Name and help of the table's row.
fn opts(metric: Metric) -> Opts {
    Opts::new(metric.spec().name, metric.spec().help)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Whole numbers that only grow, with labels.
///
/// # Errors
/// The registry refuses: a name twice, or not a name.
pub fn int_counter(registry: &Registry, metric: Metric) -> Result<IntCounterVec> {
    register(registry, IntCounterVec::new(opts(metric), metric.spec().labels)?)
}

/// A gauge without labels.
///
/// # Errors
/// As [`int_counter`].
pub fn gauge(registry: &Registry, metric: Metric) -> Result<Gauge> {
    register(registry, Gauge::with_opts(opts(metric))?)
}

/// A gauge with labels.
///
/// # Errors
/// As [`int_counter`].
pub fn labelled_gauge(registry: &Registry, metric: Metric) -> Result<GaugeVec> {
    register(registry, GaugeVec::new(opts(metric), metric.spec().labels)?)
}

/// A counter of fractions without labels.
///
/// # Errors
/// As [`int_counter`].
pub fn counter(registry: &Registry, metric: Metric) -> Result<Counter> {
    register(registry, Counter::with_opts(opts(metric))?)
}
