//! What the exporter's thread does: takes batches, keeps spans, sends.

use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::Job;
use super::counts::{Dropped, ExportCounts, Signal};
use super::delivery::{Parcel, deliver};
use super::meters::Meters;
use super::spans::Spans;
use crate::actors::live::Live;
use crate::receipt::{Batch, Receipt};
use crate::telemetry::otlp::{Resource, Server, attempt, call};
use crate::upstream::Collector;

/// Spans in one request at most, and their bytes: one that is longer goes alone.
const PARCEL: usize = 512;
const PARCEL_BYTES: usize = 4 << 20;
/// How long the first of a parcel waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// The thread's state.
pub struct Sending {
    live: Live,
    collector: Rc<Collector>,
    resource: Resource,
    counts: ExportCounts,
    handed: mpsc::Receiver<Job>,
    spans: Spans,
    meters: Meters,
    interval: Duration,
    /// When metrics are sent next.
    metrics_at: Instant,
    delivering: Option<Pin<Box<dyn Future<Output = ()>>>>,
    hurry: watch::Sender<bool>,
}

/// What there was to wait for.
enum Happened {
    Job(Option<Job>),
    Delivered,
    Due,
}

impl Sending {
    /// Towards the collector that is configured, if there is one.
    pub fn new(live: Live, counts: ExportCounts, handed: mpsc::Receiver<Job>) -> Option<Self> {
        let current = live.load_full();
        let settings = &current.settings.telemetry;
        let interval = settings.metrics_interval;
        Some(Self {
            collector: Rc::new(Collector::new(settings, &current.tls)?),
            resource: Resource::new(settings, &ulid::Ulid::generate().to_string()),
            counts,
            handed,
            spans: Spans::default(),
            meters: Meters::new(now_ns()),
            interval,
            metrics_at: Instant::now() + interval,
            delivering: None,
            hurry: watch::channel(false).0,
            live,
        })
    }

    /// Until nobody hands over anything any more.
    pub async fn run(mut self) {
        loop {
            match self.happened().await {
                Happened::Job(None) => return,
                Happened::Job(Some(Job::Batch(batch))) => self.take(&batch),
                Happened::Job(Some(Job::Flush(done))) => return self.flush(done).await,
                Happened::Delivered => self.delivering = None,
                Happened::Due => self.deliver(),
            }
        }
    }

    async fn happened(&mut self) -> Happened {
        let due = self.due();
        let delivered = async {
            match &mut self.delivering {
                Some(delivering) => delivering.await,
                None => pending().await,
            }
        };
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            job = self.handed.recv() => Happened::Job(job),
            () = delivered => Happened::Delivered,
            () = due => Happened::Due,
        }
    }

    /// When something is to be sent; nothing is while something else is under way.
    fn due(&self) -> Option<Instant> {
        if self.delivering.is_some() {
            return None;
        }
        let metrics = (!self.interval.is_zero()).then_some(self.metrics_at);
        let spans = self.spans.since().map(|since| {
            let is_full = self.spans.len() >= PARCEL || self.spans.bytes() >= PARCEL_BYTES;
            if is_full { Instant::now() } else { since + LINGER }
        });
        [metrics, spans].into_iter().flatten().min()
    }

    /// Makes spans and counts.
    fn take(&mut self, batch: &Batch) {
        for record in &batch.calls {
            self.meters.call(record);
            if let Some(facts) = &record.span {
                let rules = Arc::clone(&self.live.load().settings.request_log.rules);
                let has_room = self.spans.has_room();
                self.keep(has_room.then(|| call(record, facts, &rules)));
            }
        }
        for receipt in &batch.receipts {
            self.meters.attempt(receipt);
            if let Some(facts) = &receipt.span {
                let server = self.server(receipt);
                self.keep(Some(attempt(receipt, facts, server.as_ref())));
            }
        }
    }

    /// Keeps a span; `None` is one that was not even made, for want of room.
    fn keep(&mut self, span: Option<String>) {
        if !span.is_some_and(|span| self.spans.push(span)) {
            self.counts.dropped(Signal::Traces, Dropped::Queue, 1);
        }
    }

    /// Where an attempt went, as far as the configuration in force says.
    fn server(&self, receipt: &Receipt) -> Option<Server> {
        let current = self.live.load();
        Server::of(&current.settings.providers.get(&*receipt.provider)?.base_url)
    }

    /// Starts sending what is due: metrics once it is their time, else spans.
    fn deliver(&mut self) {
        let metrics_due = !self.interval.is_zero() && Instant::now() >= self.metrics_at;
        let parcel = if metrics_due { self.points() } else { None };
        if let Some(parcel) = parcel.or_else(|| self.parcel()) {
            let (collector, counts) = (Rc::clone(&self.collector), self.counts.clone());
            self.delivering = Some(Box::pin(deliver(collector, parcel, counts, self.hurry.subscribe())));
        }
    }

    fn parcel(&mut self) -> Option<Parcel> {
        let spans = self.spans.take(PARCEL, PARCEL_BYTES);
        let body = self.resource.traces(spans.iter().map(String::as_str));
        (!spans.is_empty()).then(|| Parcel {
            signal: Signal::Traces,
            items: spans.len() as u64,
            body: Bytes::from(body),
        })
    }

    fn points(&mut self) -> Option<Parcel> {
        self.metrics_at = Instant::now() + self.interval;
        let (metrics, items) = self.meters.written(now_ns());
        (items > 0).then(|| Parcel {
            signal: Signal::Metrics,
            items,
            body: Bytes::from(self.resource.metrics(metrics.iter().map(String::as_str))),
        })
    }

    /// Sends everything, each parcel once; the asking end knows how long that may take.
    async fn flush(mut self, done: oneshot::Sender<()>) {
        let _ = self.hurry.send(true);
        if let Some(delivering) = self.delivering.take() {
            delivering.await;
        }
        let points = if self.interval.is_zero() { None } else { self.points() };
        let mut next = points;
        while let Some(parcel) = next.take().or_else(|| self.parcel()) {
            let collector = Rc::clone(&self.collector);
            deliver(collector, parcel, self.counts.clone(), self.hurry.subscribe()).await;
        }
        let _ = done.send(());
    }
}

/// Nanoseconds since the Unix epoch.
fn now_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
