//! Metrics: the process-wide actor that turns receipts and call records into Prometheus series.
//!
//! Why an actor on a thread of its own: a scrape formats thousands of lines, and no call should wait for it.
//! Gauges are not sent here: they are shared atomics, read at each scrape. Series with labels are written by
//! `exposition`, the others are in a registry.
//!
//! Invariants: the number of series is bounded whatever clients send; every metric is a row of [`names`].

mod busy;
mod exports;
mod exposition;
mod journal;
mod keys;
pub mod labels;
mod log;
pub mod names;
mod process;
mod recent;
mod registered;
mod series;
mod shared;
mod shown;
mod spending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use prometheus::{Counter, Gauge, IntCounter, Registry, TextEncoder};

use self::busy::Busy;
use self::keys::Keys;
use self::names::Metric;
use self::process::Process;
pub use self::process::resident;
use self::recent::Recent;
pub use self::recent::{Lately, WINDOW_S};
use self::series::Series;
use self::shared::Shared;
use self::shown::Shown;
use self::spending::{Spending, usd};
use crate::actors::exporter::Exporter;
use crate::actors::gauges::{Gauges, Idempotent};
use crate::actors::standing::Standings;
use crate::receipt::Batch;
use crate::store::KeyTable;

/// Batches and scrapes that wait for Metrics at most; Billing counts and logs what finds no room.
pub const MAILBOX: usize = 1_024;

/// `Content-Type` of a scrape.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Counts what ended, and renders it.
pub struct Metrics {
    registry: Registry,
    keys: Arc<KeyTable>,
    series: Series,
    by_key: Keys,
    spending: Spending,
    busy: Busy,
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
    log: log::Shown,
    exports: exports::Shown,
    /// Who gets every batch after it was counted here.
    exporter: Option<Exporter>,
    cpu: Counter,
    memory: Gauge,
    threads: Gauge,
    fds: Gauge,
    fds_max: Gauge,
    reserved: Gauge,
    scrape: Gauge,
    /// Bytes of the last scrape: the next one is about as long.
    length: usize,
    recent: Recent,
    started: Instant,
}

impl Metrics {
    /// Everything registered, nothing counted yet. The process counts as started now.
    ///
    /// # Errors
    /// The table of names is inconsistent, which a test rules out.
    pub fn new(gauges: Gauges, standings: Standings, keys: Arc<KeyTable>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |metric| registered::gauge(&registry, metric);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge(Metric::ProcessStart)?.set(started.as_secs_f64());
        let build = registered::labelled_gauge(&registry, Metric::BuildInfo)?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1.0);
        let idempotent = registered::int_counter(&registry, Metric::Idempotent)?;
        let idempotent = Idempotent::ALL.map(|(what, label)| {
            idempotent.get_metric_with_label_values(&[label]).map(|counter| (what, counter))
        });
        Ok(Self {
            idempotent: idempotent.into_iter().collect::<Result<_, _>>()?,
            keys,
            series: Series::new(),
            by_key: Keys::new(),
            spending: Spending::new(),
            busy: Busy::new(),
            in_flight: gauge(Metric::InFlight)?,
            unsettled: gauge(Metric::Unsettled)?,
            store_up: gauge(Metric::StoreUp)?,
            shared: Shared::new(&registry)?,
            memory_tight: gauge(Metric::MemoryTight)?,
            journal: journal::Shown::new(&registry)?,
            config: gauge(Metric::ConfigReloaded)?,
            config_at: gauge(Metric::ConfigReloadedAt)?,
            providers: Shown::new(standings),
            alerts: registered::counter(&registry, Metric::BudgetAlerts)?,
            webhook_failures: registered::counter(&registry, Metric::WebhookFailures)?,
            log: log::Shown::new(&registry)?,
            exports: exports::Shown::new(&registry)?,
            exporter: None,
            cpu: registered::counter(&registry, Metric::ProcessCpu)?,
            memory: gauge(Metric::ProcessMemory)?,
            fds: gauge(Metric::ProcessFds)?,
            fds_max: gauge(Metric::ProcessFdsMax)?,
            threads: gauge(Metric::ProcessThreads)?,
            reserved: gauge(Metric::Reserved)?,
            scrape: gauge(Metric::ScrapeDuration)?,
            registry,
            gauges,
            length: 0,
            recent: Recent::new(),
            started: Instant::now(),
        })
    }

    /// Every batch goes on to this exporter.
    pub fn before(self, exporter: Option<Exporter>) -> Self {
        Self { exporter, ..self }
    }

    /// Starts the actor on a thread of its own. Must run inside an actix system.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn launch(
        gauges: Gauges,
        standings: Standings,
        keys: Arc<KeyTable>,
    ) -> Result<Addr<Self>, prometheus::Error> {
        Ok(Self::new(gauges, standings, keys)?.run())
    }

    /// The same, of what was made before.
    pub fn run(self) -> Addr<Self> {
        let arbiter = Arbiter::new();
        Self::start_in_arbiter(&arbiter.handle(), move |_| self)
    }

    /// Counts one batch.
    pub fn count(&mut self, batch: &Batch) {
        let now_s = self.started.elapsed().as_secs();
        for call in &batch.calls {
            self.recent.call(call, now_s);
            self.series.call(call);
            self.by_key.call(call);
        }
        for receipt in &batch.receipts {
            self.recent.attempt(receipt, now_s);
            self.series.attempt(receipt);
            self.by_key.attempt(receipt);
        }
    }

    /// The exposition, text format 0.0.4.
    ///
    /// # Errors
    /// What the registry's encoder said.
    pub fn render(&mut self) -> Result<String, String> {
        let started = Instant::now();
        self.update(started);
        let mut out = String::with_capacity(self.length + self.length / 8);
        let registered = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out);
        registered.map_err(|error| error.to_string())?;
        self.series.write(&mut out);
        self.by_key.write(&mut out);
        self.spending.write(&mut out);
        self.providers.write(&mut out);
        self.busy.write(&mut out);
        self.length = out.len();
        self.scrape.set(started.elapsed().as_secs_f64());
        Ok(out)
    }

    /// Takes over what is not sent here.
    fn update(&mut self, now: Instant) {
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
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        self.by_key.update(&self.keys);
        self.spending.update(&self.keys, now, now_ms);
        self.reserved.set(usd(self.keys.reserved()));
        self.log.update(&self.gauges.logged);
        self.exports.update(&self.gauges.exported);
        self.providers.update(now);
        self.busy.update(&self.gauges);
        if let Some(process) = Process::read() {
            self.cpu.reset();
            self.cpu.inc_by(process.cpu_seconds);
            self.memory.set(process.resident_bytes as f64);
            self.threads.set(process.threads as f64);
            self.fds.set(process.open_fds as f64);
            self.fds_max.set(process.max_fds.map_or(f64::INFINITY, |max| max as f64));
        }
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
        self.gauges.metrics.taken();
        self.count(&batch);
        if let Some(exporter) = &self.exporter {
            exporter.take(&batch);
        }
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
