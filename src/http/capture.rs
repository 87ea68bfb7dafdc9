//! What of a call is to be stored in the request log: gathered while it runs, handed over when it ends, however that is.

use std::sync::Arc;

use bytes::Bytes;
use ulid::Ulid;

use super::door;
use crate::actors::recorder::{Recorder, Taken};
use crate::receipt::{CallRecord, Caller};
use crate::request_log::{Bodies, Logged, MARGIN, Raw};

/// What is stored of one call.
pub struct Capture {
    recorder: Recorder,
    logged: Logged,
    max_body: usize,
    time_ms: i64,
    call_id: Option<Ulid>,
    caller: Caller,
    request: Bytes,
    response: Raw,
}

impl Capture {
    /// Of a call that sent this; `max_body` bytes are kept of each body.
    pub fn new(
        recorder: &Recorder,
        logged: Logged,
        max_body: usize,
        caller: &Caller,
        request: &Bytes,
    ) -> Self {
        Self {
            recorder: recorder.clone(),
            logged,
            max_body,
            time_ms: door::now_ms(),
            call_id: None,
            caller: caller.clone(),
            request: if logged.requests() { request.clone() } else { Bytes::new() },
            response: Raw::default(),
        }
    }

    /// The id under which the call's attempts are in the ledger.
    pub fn call(&mut self, call_id: Ulid) {
        self.call_id = Some(call_id);
    }

    /// The client was sent this.
    pub fn said(&mut self, bytes: &[u8]) {
        if self.logged.responses() {
            let room = self.max_body.saturating_add(MARGIN).saturating_sub(self.response.bytes.len());
            self.response.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            self.response.length = self.response.length.saturating_add(bytes.len());
        }
    }

    /// Hands it over, and to the call's span what that may show of it.
    pub fn finish(self, request_id: &Arc<str>, record: &mut CallRecord) {
        let kept = self.max_body.saturating_add(MARGIN);
        // A copy: a part of the body would hold all of it, and the buffer that it came in.
        let request = || Raw {
            bytes: self.request.get(..kept).unwrap_or(&self.request).to_vec(),
            length: self.request.len(),
        };
        let request = self.logged.requests().then(request);
        let response = self.logged.responses().then_some(self.response);
        let bodies = Arc::new(Bodies { request, response, max: self.max_body });
        if let Some(span) = &mut record.span {
            span.content = self.recorder.shown(&bodies);
        }
        self.recorder.take(Taken {
            call_id: self.call_id.unwrap_or_else(Ulid::generate),
            request_id: Arc::clone(request_id),
            time_ms: self.time_ms,
            caller: self.caller,
            status: record.status,
            outcome: record.outcome.as_str(),
            error: record.error,
            stream: record.stream,
            bodies,
        });
    }
}
