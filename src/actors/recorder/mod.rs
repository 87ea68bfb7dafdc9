//! The request log's way to the store: calls hand over their bodies, a thread of its own masks and stores them.
//!
//! Invariants: handing over neither blocks nor waits; what waits is bounded in number and bytes, and what finds no room is
//! dropped and counted. A call that is not logged never comes here.

mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::Arbiter;
use tokio::sync::{mpsc, oneshot};
use ulid::Ulid;

use self::writer::Writer;
use crate::actors::gauges::{LogCounts, NotLogged};
use crate::actors::live::Live;
use crate::receipt::Caller;
use crate::store::Store;

/// Calls that wait at most.
const CALLS_MAX: usize = 1_024;
/// Bytes of bodies that wait at most.
const BYTES_MAX: usize = 64 << 20;

/// The beginning of a body, and how long it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw {
    /// As much as is kept and the rules look at.
    pub bytes: Vec<u8>,
    /// Its whole length.
    pub length: usize,
}

/// What a call leaves at its end.
#[derive(Clone, Debug)]
pub struct Taken {
    /// That of its ledger rows; one of its own for a call that made no attempt.
    pub call_id: Ulid,
    /// `x-request-id`.
    pub request_id: Arc<str>,
    /// When it began, milliseconds since the epoch.
    pub time_ms: i64,
    /// Who asked.
    pub caller: Caller,
    /// HTTP status that the client was sent.
    pub status: u16,
    /// `completed`, `failed` or `cancelled`.
    pub outcome: &'static str,
    /// Metric label of the error.
    pub error: Option<&'static str>,
    /// True for a streaming request.
    pub stream: bool,
    /// Bytes that are kept of a body.
    pub max_body: usize,
    /// What the client sent, if that is kept.
    pub request: Option<Raw>,
    /// What it was sent, if that is kept.
    pub response: Option<Raw>,
}

impl Taken {
    fn bytes(&self) -> usize {
        [&self.request, &self.response].into_iter().flatten().map(|raw| raw.bytes.capacity()).sum()
    }
}

/// Something for the thread.
enum Job {
    Store(Box<Taken>, Room),
    Flush(oneshot::Sender<()>),
}

/// Bytes that wait: given back when dropped.
struct Room {
    waiting: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Where calls hand over. Cloning shares it.
#[derive(Clone)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
    waiting: Arc<AtomicUsize>,
    counts: LogCounts,
}

impl Recorder {
    /// Starts the thread. Must run inside an actix system.
    pub fn launch(store: Arc<dyn Store>, live: Live, counts: LogCounts) -> Self {
        let (jobs, handed) = mpsc::channel(CALLS_MAX);
        Arbiter::new().spawn(Writer::new(store, live, counts.clone(), handed).run());
        Self { jobs, waiting: Arc::default(), counts }
    }

    /// Hands over what a call leaves, unless too much waits already.
    pub fn take(&self, taken: Taken) {
        let bytes = taken.bytes();
        let fits = |waiting: usize| waiting.checked_add(bytes).filter(|sum| *sum <= BYTES_MAX);
        let room = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let room = room.map(|_| Room { waiting: Arc::clone(&self.waiting), bytes });
        let sent = room.is_ok_and(|room| self.jobs.try_send(Job::Store(Box::new(taken), room)).is_ok());
        if !sent {
            self.counts.dropped(NotLogged::Queue, 1);
        }
    }

    /// Waits until everything that was handed over is stored or lost, `patience` at most.
    pub async fn flush(&self, patience: Duration) {
        let (done, told) = oneshot::channel();
        let flushed = async {
            if self.jobs.send(Job::Flush(done)).await.is_ok() {
                let _ = told.await;
            }
        };
        let _ = tokio::time::timeout(patience, flushed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: usize) -> Taken {
        Taken {
            call_id: Ulid::generate(),
            request_id: "req-1".into(),
            time_ms: 0,
            caller: Caller { key_id: "key_a".into(), project: None },
            status: 200,
            outcome: "completed",
            error: None,
            stream: false,
            max_body: bytes,
            request: Some(Raw { bytes: vec![0; bytes], length: bytes }),
            response: None,
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_and_room_comes_back() {
        let (jobs, mut handed) = mpsc::channel(CALLS_MAX);
        let recorder = Recorder { jobs, waiting: Arc::default(), counts: LogCounts::default() };
        let dropped = || recorder.counts.get_dropped(NotLogged::Queue);
        // By bytes.
        (0..3).for_each(|_| recorder.take(taken(BYTES_MAX / 2)));
        assert_eq!(dropped(), 1);
        drop((handed.try_recv().ok(), handed.try_recv().ok()));
        assert_eq!(recorder.waiting.load(Ordering::Relaxed), 0);
        // By number: one that is turned away gives its bytes back.
        (0..CALLS_MAX + 5).for_each(|_| recorder.take(taken(10)));
        assert_eq!((dropped(), recorder.waiting.load(Ordering::Relaxed)), (6, CALLS_MAX * 10));
        drop(handed);
        assert_eq!(recorder.waiting.load(Ordering::Relaxed), 0);
        recorder.take(taken(10));
        assert_eq!((dropped(), recorder.waiting.load(Ordering::Relaxed)), (7, 0));
    }
}
