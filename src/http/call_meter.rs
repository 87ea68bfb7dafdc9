//! The meter of one client request: a guard that makes exactly one call record and one log line, also on cancel
//! and panic.
//!
//! The fields of the line are stable, since people search by them: request_id, key_id, route, status, outcome,
//! error, stream, attempts, duration_us, overhead_us, ttft_us. Nothing that the client wrote is among them but
//! its request id, which was checked at the door.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ulid::Ulid;

use super::capture::Capture;
use crate::actors::gauges::{InFlight, InFlightGuard};
use crate::actors::outbox::Outbox;
use crate::actors::recorder::Recorder;
use crate::error::Error;
use crate::receipt::{CallRecord, Caller, Outcome};
use crate::request_log::Logged;

/// Status of a call whose client left before it was answered (as nginx logs it; never sent).
const CLIENT_CLOSED: u16 = 499;

/// Error of a call that joined one which failed: what failed is in the line of that one.
const JOINED_FAILED: &str = "joined_failed";

/// The guard of one call.
pub struct CallMeter {
    outbox: Rc<Outbox>,
    started: Instant,
    request_id: Arc<str>,
    record: CallRecord,
    in_flight: Option<InFlightGuard>,
    /// What is stored of the call, if anything is.
    capture: Option<Box<Capture>>,
}

impl CallMeter {
    /// Starts the clock of a request on a route.
    pub fn start(
        outbox: &Rc<Outbox>,
        in_flight: &InFlight,
        route: &'static str,
        request_id: Arc<str>,
    ) -> Self {
        Self {
            outbox: Rc::clone(outbox),
            started: Instant::now(),
            request_id,
            record: CallRecord {
                route,
                status: CLIENT_CLOSED,
                error: Some("cancelled"),
                outcome: Outcome::Cancelled,
                stream: false,
                attempts: 0,
                duration_us: 0,
                overhead_us: 0,
                ttft_us: None,
                key_id: None,
                shed: None,
            },
            in_flight: Some(in_flight.enter()),
            capture: None,
        }
    }

    /// The caller is known.
    pub fn caller(&mut self, key_id: &Arc<str>) {
        self.record.key_id = Some(Arc::clone(key_id));
    }

    /// Bodies of the call are stored.
    pub fn log(&mut self, recorder: &Recorder, logged: Logged, max: usize, caller: &Caller, request: &Bytes) {
        self.capture = Some(Box::new(Capture::new(recorder, logged, max, caller, request)));
    }

    /// The call has this id in the ledger.
    pub fn call(&mut self, call_id: Ulid) {
        if let Some(capture) = &mut self.capture {
            capture.call(call_id);
        }
    }

    /// The client is sent this.
    pub fn said(&mut self, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.said(bytes);
        }
    }

    /// It is a streaming request.
    pub fn streams(&mut self, stream: bool) {
        self.record.stream = stream;
    }

    /// The request went upstream at this moment, after that many attempts.
    pub fn sent_upstream(&mut self, at: Option<Instant>, attempts: u16) {
        self.record.attempts = attempts;
        if let Some(at) = at {
            self.record.overhead_us = micros(at.saturating_duration_since(self.started));
        }
    }

    /// Microseconds the gateway itself took before the request went upstream.
    pub fn overhead_us(&self) -> u64 {
        self.record.overhead_us
    }

    /// The first content went out.
    pub fn first_content(&mut self) {
        if self.record.ttft_us.is_none() {
            self.record.ttft_us = Some(micros(self.started.elapsed()));
        }
    }

    /// Hands the count of the call in flight over to whoever sends its answer.
    pub fn hand_over(&mut self) -> Option<InFlightGuard> {
        self.in_flight.take()
    }

    /// The call got the whole answer of another, whatever that was.
    pub fn answered(&mut self, status: u16) {
        self.completed();
        self.record.status = status;
        if status >= 400 {
            (self.record.outcome, self.record.error) = (Outcome::Failed, Some(JOINED_FAILED));
        }
    }

    /// The stream of another that it got is at its end; one that was not completed has failed.
    pub fn broke_off(&mut self) {
        if self.record.outcome != Outcome::Completed {
            (self.record.outcome, self.record.error) = (Outcome::Failed, Some(JOINED_FAILED));
        }
    }

    /// The response head said 200.
    pub fn committed(&mut self) {
        self.record.status = 200;
    }

    /// The answer was handed over to its end.
    pub fn completed(&mut self) {
        self.record.status = 200;
        self.record.outcome = Outcome::Completed;
        self.record.error = None;
    }

    /// The call failed; the status is that of the error unless a 200 went out before.
    pub fn failed(&mut self, error: &Error) {
        let class = error.class();
        if self.record.status == CLIENT_CLOSED {
            self.record.status = class.status;
        }
        self.record.outcome = Outcome::Failed;
        self.record.error = Some(class.label);
        if let Error::Shed { why, .. } = error {
            self.record.shed = Some(*why);
        }
    }
}

/// Whole microseconds.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for CallMeter {
    fn drop(&mut self) {
        self.record.duration_us = micros(self.started.elapsed());
        let CallRecord { route, status, error, outcome, stream, attempts, .. } = self.record;
        let CallRecord { duration_us, overhead_us, ttft_us, .. } = self.record;
        tracing::info!(
            request_id = %self.request_id, key_id = self.record.key_id.as_deref(), route, status,
            outcome = outcome.as_str(), error, stream, attempts, duration_us, overhead_us, ttft_us, "request"
        );
        if let Some(capture) = self.capture.take() {
            capture.finish(&self.request_id, &self.record);
        }
        self.outbox.call(self.record.clone());
    }
}
