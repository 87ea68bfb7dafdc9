//! Metrics: the process-wide actor that turns receipts and call records into Prometheus series.
//!
//! Why an actor on a thread of its own: a scrape formats thousands of lines, and no call should wait for it.
//! Gauges are not sent here: they are shared atomics, read at each scrape.
//!
//! Invariants: the number of series is bounded whatever clients send; every metric is a row of [`names`].

mod journal;
pub mod labels;
pub mod names;
mod process;
mod recent;
mod series;
mod shared;
mod shown;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use prometheus::{Counter, Gauge, IntCounter, Registry, TextEncoder};
use tracing::error;

use self::names::Metric;
use self::process::Process;
pub use self::process::resident;
use self::recent::Recent;
pub use self::recent::{Lately, WINDOW_S};
use self::series::Series;
use self::shared::Shared;
use self::shown::Shown;
use crate::actors::gauges::{Gauges, Idempotent};
use crate::actors::standing::Standings;
use crate::receipt::Batch;

/// Batches and scrapes that wait for Metrics at most; Billing counts and logs what finds no room.
pub const MAILBOX: usize = 1_024;

/// `Content-Type` of a scrape.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Counts what ended, and renders it.
pub struct Metrics {
    registry: Registry,
    series: Series,
    gauges: Gauges,
    in_flight: Gauge,
    unsettled: Gauge,
    store_up: Gauge,
    shared: Shared,
    memory_tight: Gauge,
    journal: journal::Shown,
    config: Gauge,
    config_at: Gauge,
    idempotent: Vec<(Idempotent, IntCounter)>,
    providers: Shown,
    alerts: Counter,
    webhook_failures: Counter,
    cpu: Counter,
    memory: Gauge,
    fds: Gauge,
    fds_max: Gauge,
    recent: Recent,
    started: Instant,
    failures: u64,
}

impl Metrics {
    /// Everything registered, nothing counted yet. The process counts as started now.
    ///
    /// # Errors
    /// The table of names is inconsistent, which a test rules out.
    pub fn new(gauges: Gauges, standings: Standings) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |metric| series::gauge(&registry, metric);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge(Metric::ProcessStart)?.set(started.as_secs_f64());
        let build = series::labelled_gauge(&registry, Metric::BuildInfo)?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1.0);
        let idempotent = series::int_counter(&registry, Metric::Idempotent)?;
        let idempotent = Idempotent::ALL.map(|(what, label)| {
            idempotent.get_metric_with_label_values(&[label]).map(|counter| (what, counter))
        });
        Ok(Self {
            idempotent: idempotent.into_iter().collect::<Result<_, _>>()?,
            series: Series::new(&registry)?,
            in_flight: gauge(Metric::InFlight)?,
            unsettled: gauge(Metric::Unsettled)?,
            store_up: gauge(Metric::StoreUp)?,
            shared: Shared::new(&registry)?,
            memory_tight: gauge(Metric::MemoryTight)?,
            journal: journal::Shown::new(&registry)?,
            config: gauge(Metric::ConfigReloaded)?,
            config_at: gauge(Metric::ConfigReloadedAt)?,
            providers: Shown::new(standings, &registry)?,
            alerts: series::counter(&registry, Metric::BudgetAlerts)?,
            webhook_failures: series::counter(&registry, Metric::WebhookFailures)?,
            cpu: series::counter(&registry, Metric::ProcessCpu)?,
            memory: gauge(Metric::ProcessMemory)?,
            fds: gauge(Metric::ProcessFds)?,
            fds_max: gauge(Metric::ProcessFdsMax)?,
            registry,
            gauges,
            recent: Recent::new(),
            started: Instant::now(),
            failures: 0,
        })
    }

    /// Starts the actor on a thread of its own. Must run inside an actix system.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn launch(gauges: Gauges, standings: Standings) -> Result<Addr<Self>, prometheus::Error> {
        let metrics = Self::new(gauges, standings)?;
        let arbiter = Arbiter::new();
        Ok(Self::start_in_arbiter(&arbiter.handle(), move |_| metrics))
    }

    /// Counts one batch.
    fn count(&mut self, batch: &Batch) {
        let now_s = self.started.elapsed().as_secs();
        batch.calls.iter().for_each(|call| self.recent.call(call, now_s));
        batch.receipts.iter().for_each(|receipt| self.recent.attempt(receipt, now_s));
        let calls = batch.calls.iter().map(|call| self.series.call(call)).filter_map(Result::err).last();
        let attempts =
            batch.receipts.iter().map(|receipt| self.series.attempt(receipt)).filter_map(Result::err).last();
        if let Some(error) = calls.or(attempts) {
            self.failures += 1;
            if self.failures.is_power_of_two() {
                error!(batches = self.failures, "metrics could not count everything: {error}");
            }
        }
    }

    /// The exposition, text format 0.0.4.
    fn render(&self) -> Result<String, String> {
        self.in_flight.set(self.gauges.in_flight.get() as f64);
        self.unsettled.set(self.gauges.unsettled_receipts() as f64);
        self.journal.update(&self.gauges);
        self.store_up.set(f64::from(u8::from(self.gauges.store_up.get())));
        self.shared.update(&self.gauges.fleet);
        self.memory_tight.set(f64::from(u8::from(self.gauges.memory.is_tight())));
        self.config.set(f64::from(u8::from(self.gauges.config.well())));
        self.config_at.set(self.gauges.config.since_s() as f64);
        for (what, counter) in &self.idempotent {
            counter.inc_by(self.gauges.idempotency.get(*what).saturating_sub(counter.get()));
        }
        let (told, failed) = self.gauges.alerts.get();
        for (counter, count) in [(&self.alerts, told), (&self.webhook_failures, failed)] {
            counter.inc_by(count as f64 - counter.get());
        }
        self.providers.update(Instant::now());
        if let Some(process) = Process::read() {
            self.cpu.reset();
            self.cpu.inc_by(process.cpu_seconds);
            self.memory.set(process.resident_bytes as f64);
            self.fds.set(process.open_fds as f64);
            self.fds_max.set(process.max_fds.map_or(f64::INFINITY, |max| max as f64));
        }
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(|error| error.to_string())
    }
}

impl Actor for Metrics {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Arc<Batch>> for Metrics {
    type Result = ();

    fn handle(&mut self, batch: Arc<Batch>, _: &mut Self::Context) {
        self.count(&batch);
    }
}

/// Asks for the exposition; fails with what the encoder said.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<String, String>")]
pub struct Scrape;

impl Handler<Scrape> for Metrics {
    type Result = Result<String, String>;

    fn handle(&mut self, _: Scrape, _: &mut Self::Context) -> Self::Result {
        self.render()
    }
}

/// Asks what ended in the last minute.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Lately")]
pub struct Look;

impl Handler<Look> for Metrics {
    type Result = MessageResult<Look>;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.recent.lately(self.started.elapsed().as_secs()))
    }
}
