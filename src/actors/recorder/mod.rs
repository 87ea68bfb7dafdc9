//! The request log's way to the store: calls hand over their bodies, a thread of its own masks and stores them.
//!
//! Invariants: handing over neither blocks nor waits; what waits is bounded in number and bytes, and what finds no room is
//! dropped and counted. A call that is not logged never comes here. Where spans show bodies they share these: there is no
//! second copy, and one that finds no room says so.

mod writer;

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use tokio::sync::{mpsc, oneshot};
use ulid::Ulid;

use self::writer::Writer;
use crate::actors::gauges::{LogCounts, NotLogged};
use crate::actors::live::Live;
use crate::receipt::{Caller, Content};
use crate::request_log::{Bodies, Room, Waiting};
use crate::store::Store;

/// Calls that wait at most.
const CALLS_MAX: usize = 1_024;
/// Bytes of bodies that wait at most.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of bodies that wait at most for their spans to be made, all cells together.
const SHOWN_MAX: usize = 16 << 20;

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
    /// What is kept of it. Its span may hold the same.
    pub bodies: Arc<Bodies>,
}

/// Something for the thread.
enum Job {
    Store(Box<Taken>, Room),
    Flush(oneshot::Sender<()>),
}

/// Where calls hand over. Cloning shares it.
#[derive(Clone)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
    waiting: Waiting,
    /// Bodies that wait for their spans to be made; `None`: spans show none.
    shown: Option<Waiting>,
    counts: LogCounts,
}

impl Recorder {
    /// Starts the thread. Must run inside an actix system.
    pub fn launch(store: Arc<dyn Store>, live: Live, counts: LogCounts) -> Self {
        let (jobs, handed) = mpsc::channel(CALLS_MAX);
        let shows = {
            let telemetry = &live.load().settings.telemetry;
            telemetry.content && telemetry.endpoint.is_some()
        };
        Arbiter::new().spawn(Writer::new(store, live, counts.clone(), handed).run());
        let shown = shows.then(|| Waiting::new(SHOWN_MAX));
        Self { jobs, waiting: Waiting::new(BYTES_MAX), shown, counts }
    }

    /// Hands over what a call leaves, unless too much waits already.
    pub fn take(&self, taken: Taken) {
        let room = self.waiting.take(taken.bodies.bytes());
        let sent = room.is_some_and(|room| self.jobs.try_send(Job::Store(Box::new(taken), room)).is_ok());
        if !sent {
            self.counts.dropped(NotLogged::Queue, 1);
        }
    }

    /// What the span of a recorded call shows of it, where spans show anything.
    pub fn shown(&self, bodies: &Arc<Bodies>) -> Option<Content> {
        let room = self.shown.as_ref()?.take(bodies.bytes());
        Some(room.map_or(Content::NoRoom, |room| Content::Gathered(Arc::clone(bodies), Arc::new(room))))
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
    use crate::request_log::Raw;

    fn bodies(bytes: usize) -> Bodies {
        Bodies { request: Some(Raw { bytes: vec![0; bytes], length: bytes }), response: None, max: bytes }
    }

    fn recorder(shown: Option<Waiting>) -> (Recorder, mpsc::Receiver<Job>) {
        let (jobs, handed) = mpsc::channel(CALLS_MAX);
        let counts = LogCounts::default();
        (Recorder { jobs, waiting: Waiting::new(BYTES_MAX), shown, counts }, handed)
    }

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
            bodies: Arc::new(bodies(bytes)),
        }
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_and_room_comes_back() {
        let (recorder, mut handed) = recorder(None);
        let dropped = || recorder.counts.get_dropped(NotLogged::Queue);
        // By bytes.
        (0..3).for_each(|_| recorder.take(taken(BYTES_MAX / 2)));
        assert_eq!(dropped(), 1);
        drop((handed.try_recv().ok(), handed.try_recv().ok()));
        assert_eq!(recorder.waiting.now(), 0);
        // By number: one that is turned away gives its bytes back.
        (0..CALLS_MAX + 5).for_each(|_| recorder.take(taken(10)));
        assert_eq!((dropped(), recorder.waiting.now()), (6, CALLS_MAX * 10));
        drop(handed);
        assert_eq!(recorder.waiting.now(), 0);
        recorder.take(taken(10));
        assert_eq!((dropped(), recorder.waiting.now()), (7, 0));
    }
    #[test]
    fn spans_share_bodies_while_there_is_room_and_say_so_when_there_is_none() {
        let one = Arc::new(bodies(SHOWN_MAX / 2 + 1));
        assert!(recorder(None).0.shown(&one).is_none());
        let (recorder, _handed) = recorder(Some(Waiting::new(SHOWN_MAX)));
        let first = recorder.shown(&one);
        assert!(matches!(&first, Some(Content::Gathered(shared, _)) if Arc::ptr_eq(shared, &one)));
        assert!(matches!(recorder.shown(&one), Some(Content::NoRoom)));
        // A copy of the record holds the same room.
        let copy = first.clone();
        drop(first);
        assert!(matches!(recorder.shown(&one), Some(Content::NoRoom)));
        drop(copy);
        assert!(matches!(recorder.shown(&one), Some(Content::Gathered(..))));
    }
}
