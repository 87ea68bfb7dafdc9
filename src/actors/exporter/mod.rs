//! The exporter: a thread of its own that makes spans and histograms of what ended, and sends them to a collector.
//!
//! Why here and not where it happens: receipts and call records cross to Metrics in batches anyway. A call's own thread
//! formats nothing and waits for nobody.
//!
//! Invariants: one request to the collector runs at a time; what waits is bounded, and what finds no room is dropped and
//! counted; a collector that is slow or gone costs no call anything.

pub mod counts;
mod delivery;
mod meters;
mod sending;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use tokio::sync::{mpsc, oneshot};

use self::counts::{Dropped, ExportCounts, Signal};
use self::sending::Sending;
use crate::actors::live::Live;
use crate::receipt::Batch;

/// Batches that wait at most.
const BATCHES_MAX: usize = 256;

/// Something for the thread.
enum Job {
    Batch(Arc<Batch>),
    Flush(oneshot::Sender<()>),
}

/// Where batches are handed over. Cloning shares it.
#[derive(Clone)]
pub struct Exporter {
    jobs: mpsc::Sender<Job>,
    counts: ExportCounts,
}

impl Exporter {
    /// Starts the thread, if there is a collector. Must run inside an actix system.
    pub fn launch(live: &Live, counts: ExportCounts) -> Option<Self> {
        live.load().settings.telemetry.endpoint.as_ref()?;
        let (jobs, handed) = mpsc::channel(BATCHES_MAX);
        let (live, own) = (Arc::clone(live), counts.clone());
        // The client is made where it is used.
        Arbiter::new().spawn_fn(move || {
            if let Some(sending) = Sending::new(live, own, handed) {
                actix_rt::spawn(sending.run());
            }
        });
        Some(Self { jobs, counts })
    }

    /// Hands over what ended, unless too much waits already.
    pub fn take(&self, batch: &Arc<Batch>) {
        if self.jobs.try_send(Job::Batch(Arc::clone(batch))).is_ok() {
            return;
        }
        let attempts = batch.receipts.iter().filter(|receipt| receipt.span.is_some()).count();
        let calls = batch.calls.iter().filter(|call| call.span.is_some()).count();
        self.counts.dropped(Signal::Traces, Dropped::Queue, (attempts + calls) as u64);
        let counted = batch.receipts.len() + batch.calls.len();
        self.counts.dropped(Signal::Metrics, Dropped::Queue, counted as u64);
    }

    /// Waits until everything that was handed over is sent or lost, `patience` at most.
    pub async fn flush(&self, patience: Duration) {
        let (done, told) = oneshot::channel();
        let flushed = async {
            if self.jobs.send(Job::Flush(done)).await.is_ok() {
                let _ = told.await;
            }
        };
        if tokio::time::timeout(patience, flushed).await.is_err() {
            tracing::warn!("the collector did not take all traces and metrics before the end");
        }
    }
}
