//! The thread of the request log: masks what was handed over, stores it in batches, removes what is old or too much.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Job, Taken};
use crate::actors::gauges::{LogCounts, NotLogged};
use crate::actors::live::Live;
use crate::config::RequestLogSettings;
use crate::request_log::{Kept, Raw, Room, Rules, keep};
use crate::store::{LoggedCall, Patience, Store};

/// How long calls are gathered before they are stored: whoever hands over meanwhile wakes nobody.
const GATHER: Duration = Duration::from_millis(50);
/// Calls and bytes of bodies that are stored at a time: the ledger waits for the same writer.
const BATCH_CALLS: usize = 64;
const BATCH_BYTES: u64 = 1 << 20;
/// How often what is old is removed: a tenth of the time that it is kept, within these bounds.
const PURGE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// Rows that are removed at a time, and how often in a row.
const PURGE_ROWS: u32 = 200;
const PURGE_BATCHES: usize = 50;
/// Parts of the bound that are written before it is looked at again.
const PURGE_PARTS: u64 = 16;
/// What it means that the store fails.
const LOST: &str = "the request log cannot be written; what is to be stored meanwhile is lost";

/// The thread's task.
pub(super) struct Writer {
    store: Arc<dyn Store>,
    live: Live,
    counts: LogCounts,
    handed: mpsc::Receiver<Job>,
    /// Bytes stored since it was last looked for what is too much.
    written: u64,
    purged: Instant,
    patience: Patience,
}

/// What is to be stored together.
#[derive(Default)]
struct Gathered {
    calls: Vec<LoggedCall>,
    bytes: u64,
    /// Held until it is stored: what waits here waits, too.
    rooms: Vec<Room>,
}

impl Writer {
    pub(super) fn new(
        store: Arc<dyn Store>,
        live: Live,
        counts: LogCounts,
        handed: mpsc::Receiver<Job>,
    ) -> Self {
        Self {
            store,
            live,
            counts,
            handed,
            written: 0,
            purged: Instant::now(),
            patience: Patience::new(LOST),
        }
    }

    /// Runs for as long as the process.
    pub(super) async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH_CALLS);
        loop {
            let due = self.purged + self.interval();
            tokio::select! {
                biased;
                () = sleep_until(due) => self.purge().await,
                count = self.handed.recv_many(&mut jobs, BATCH_CALLS) => {
                    if count == 0 {
                        return;
                    }
                    let told = self.write(std::mem::take(&mut jobs)).await;
                    // A whole batch was there: the next one may be, too, and whoever hands over while it waits loses.
                    if told.is_empty() && count < BATCH_CALLS {
                        sleep(GATHER).await;
                    }
                    // Who waits for all of it may be gone.
                    for told in told {
                        let _ = told.send(());
                    }
                }
            }
            if self.written > self.settings(|log| log.max_bytes) / PURGE_PARTS {
                self.purge().await;
            }
        }
    }

    fn settings<T>(&self, read: impl Fn(&RequestLogSettings) -> T) -> T {
        read(&self.live.load().settings.request_log)
    }

    fn interval(&self) -> Duration {
        let (least, most) = PURGE;
        self.settings(|log| (log.retention / 10).clamp(least, most))
    }

    /// Masks and stores; gives those who wait for the end of it.
    async fn write(&mut self, jobs: Vec<Job>) -> Vec<oneshot::Sender<()>> {
        let mut told = Vec::new();
        let mut gathered = Gathered::default();
        for job in jobs {
            match job {
                Job::Flush(done) => told.push(done),
                Job::Store(taken, room) => {
                    let rules = self.settings(|log| Arc::clone(&log.rules));
                    gathered.add(logged(*taken, &rules), room);
                }
            }
            if gathered.bytes >= BATCH_BYTES {
                self.put(std::mem::take(&mut gathered)).await;
            }
        }
        self.put(gathered).await;
        told
    }

    async fn put(&mut self, gathered: Gathered) {
        let Gathered { calls, bytes, rooms } = gathered;
        if calls.is_empty() {
            return;
        }
        match self.patience.wait(self.store.log_calls(&calls)).await {
            Some(()) => {
                self.counts.stored(calls.len());
                self.written += bytes;
            }
            None => self.counts.dropped(NotLogged::Store, calls.len()),
        }
        drop(rooms);
    }

    async fn purge(&mut self) {
        self.written = 0;
        self.remove().await;
        // From its end on: a store that is slow has time for what calls leave, too.
        self.purged = Instant::now();
    }

    async fn remove(&mut self) {
        let (retention, bytes_max) = self.settings(|log| (log.retention, log.max_bytes));
        let before_ms = now_ms().saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        for _ in 0..PURGE_BATCHES {
            let removed = self.patience.wait(self.store.purge_logged(before_ms, bytes_max, PURGE_ROWS)).await;
            if removed.is_none_or(|rows| rows < u64::from(PURGE_ROWS)) {
                return;
            }
        }
    }
}

impl Gathered {
    fn add(&mut self, call: LoggedCall, room: Room) {
        self.bytes += call.bytes();
        self.calls.push(call);
        self.rooms.push(room);
    }
}

/// What is stored of a call.
fn logged(taken: Taken, rules: &Rules) -> LoggedCall {
    let bodies = &taken.bodies;
    let kept = |raw: &Raw| -> Kept { keep(&raw.bytes, raw.length, bodies.max, rules) };
    LoggedCall {
        call_id: taken.call_id,
        request_id: taken.request_id.to_string(),
        time_ms: taken.time_ms,
        key_id: taken.caller.key_id.to_string(),
        project: taken.caller.project.map(|project| project.to_string()),
        status: taken.status,
        outcome: taken.outcome.to_owned(),
        error: taken.error.map(str::to_owned),
        stream: taken.stream,
        request: bodies.request.as_ref().map(kept),
        response: bodies.response.as_ref().map(kept),
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
