//! The meter of one client request: a guard that makes exactly one call record and one log line, also on cancel
//! and panic.
//!
//! The fields of the line are stable, since people search by them: request_id, trace_id (of a recorded call, or as the
//! client sent it), key_id, project, route, requested_model (cut), provider, model, status, outcome, error, stream,
//! attempts, prompt_tokens, completion_tokens, estimated, charged_usd, duration_us, overhead_us, ttft_us. What is not
//! known is left out. Nothing that the client wrote is among them but its request id and trace id, which were checked
//! at the door, and the model's name, which is cut and escaped.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix_web::HttpRequest;
use bytes::Bytes;

use super::capture::Capture;
use super::door;
use crate::actors::gauges::{InFlight, InFlightGuard};
use crate::actors::outbox::Outbox;
use crate::actors::recorder::Recorder;
use crate::error::Error;
use crate::receipt::{CallRecord, CallSpan, Caller, Outcome, Told, shown_model};
use crate::request_log::Logged;
use crate::trace::{Sampler, hex};
use crate::upstream::{Call, Traced};

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
    method: &'static str,
    project: Option<Arc<str>>,
    requested_model: Option<Arc<str>>,
    traced: Option<Traced>,
    call: Option<Arc<Call>>,
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
                told: Told::default(),
                span: None,
            },
            method: "_OTHER",
            project: None,
            requested_model: None,
            traced: None,
            call: None,
            in_flight: Some(in_flight.enter()),
            capture: None,
        }
    }

    /// Which trace it belongs to is decided, once.
    pub fn traced(&mut self, request: &HttpRequest, sampler: Option<Sampler>) {
        self.traced = door::traced(request.headers(), sampler);
        self.method = match request.method().as_str() {
            "POST" => "POST",
            "GET" => "GET",
            // The standard's word for the others.
            _ => "_OTHER",
        };
    }

    /// Bodies of the call are stored.
    pub fn log(&mut self, recorder: &Recorder, logged: Logged, max: usize, caller: &Caller, request: &Bytes) {
        self.capture = Some(Box::new(Capture::new(recorder, logged, max, caller, request)));
    }

    /// The client is sent this.
    pub fn said(&mut self, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.said(bytes);
        }
    }

    /// The id that its client sees.
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// The trace it belongs to, if any.
    pub fn trace(&self) -> Option<&Traced> {
        self.traced.as_ref()
    }

    /// The caller is known.
    pub fn caller(&mut self, caller: &Caller) {
        self.record.key_id = Some(Arc::clone(&caller.key_id));
        self.project.clone_from(&caller.project);
    }

    /// What is asked for, and whether as a stream; gives the model's name to be shared.
    pub fn asks(&mut self, model: &str, stream: bool) -> Arc<str> {
        self.record.stream = stream;
        Arc::clone(self.requested_model.insert(Arc::from(model)))
    }

    /// The call that it became.
    pub fn call(&mut self, call: &Arc<Call>) {
        if let Some(capture) = &mut self.capture {
            capture.call(call.call_id);
        }
        self.call = Some(Arc::clone(call));
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

impl CallMeter {
    /// What the span of a recorded call needs.
    fn span(&self) -> Option<Box<CallSpan>> {
        let trace = self.traced.as_ref()?.trace;
        trace.is_recorded().then(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let shown = |model: &Arc<str>| match shown_model(model) {
                Cow::Borrowed(_) => Arc::clone(model),
                Cow::Owned(cut) => Arc::from(cut),
            };
            Box::new(CallSpan {
                ids: trace.ids(),
                request_id: Arc::clone(&self.request_id),
                method: self.method,
                project: self.project.clone(),
                requested_model: self.requested_model.as_ref().map(shown),
                ended: Instant::now(),
                ended_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
                content: None,
            })
        })
    }

    /// The line of the call.
    fn line(&self) {
        let CallRecord { route, status, error, outcome, stream, attempts, told, .. } = &self.record;
        let CallRecord { duration_us, overhead_us, ttft_us, .. } = self.record;
        let trace_id = self.traced.as_ref().map(|traced| hex(traced.trace.ids().trace_id));
        let by = told.by.as_ref();
        let requested = self.requested_model.as_deref().map(shown_model);
        let model = by.map(|by| shown_model(&by.model));
        // The message as a field, since as a format it would be formatted.
        tracing::info!(
            message = "request", request_id = %self.request_id, trace_id, key_id = self.record.key_id.as_deref(),
            project = self.project.as_deref(), route, requested_model = requested.as_deref(),
            provider = by.map(|by| &*by.provider), model = model.as_deref(), status,
            outcome = outcome.as_str(), error, stream, attempts,
            prompt_tokens = told.tokens.map(|(prompt, _)| prompt),
            completion_tokens = told.tokens.map(|(_, completion)| completion),
            estimated = told.estimated.then_some(true), charged_usd = told.charged.map(display),
            duration_us, overhead_us, ttft_us,
        );
    }
}

impl Drop for CallMeter {
    fn drop(&mut self) {
        self.record.duration_us = micros(self.started.elapsed());
        // Taken: nothing that the call holds, permits above all, is held by its meter from here on.
        if let Some(call) = self.call.take() {
            self.record.told = call.telling.take();
        }
        self.record.span = self.span();
        self.line();
        if let Some(capture) = self.capture.take() {
            capture.finish(&self.request_id, &mut self.record);
        }
        let (told, span) = (std::mem::take(&mut self.record.told), self.record.span.take());
        self.outbox.call(CallRecord { told, span, ..self.record.clone() });
    }
}
