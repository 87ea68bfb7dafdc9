//! One who reads an answer: the client that was first, those who joined, those who came later.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::Instant;

use super::super::call_meter::CallMeter;
use super::super::names;
use super::super::reply::quota_headers;
use super::super::stream::{self, PING};
use super::leading::is_last_event;
use super::{changed, too_late};
use crate::actors::gauges::InFlightGuard;
use crate::error::Error;
use crate::policy::idempotency::{Answer, Head, Over, Read, Reader};
use crate::policy::quota::{QuotaPermit, Snapshot};

/// Bytes of a kept answer that are handed over at a time.
const PIECE: usize = 64 * 1024;

/// Where the bytes come from.
enum Source {
    Log(Reader),
    /// What is left of a kept answer.
    Kept(Bytes),
}

/// One who is about to be answered with what another was, or is.
pub struct Following {
    source: Source,
    head: Arc<Head>,
    /// Another was first.
    replayed: bool,
    /// The store does not know of it.
    local: bool,
    permit: Option<QuotaPermit>,
    deadline: Instant,
}

/// What each one's head has of its own.
pub struct Own<'a> {
    /// Id of this request.
    pub request_id: &'a str,
    /// What is left of its key's limits.
    pub quota: Snapshot,
    /// Silence after which a ping goes out.
    pub ping_interval: Duration,
}

/// Who notes how it went.
pub enum Told {
    /// The call's own meter.
    Meter(Box<CallMeter>),
    /// The meter is with the one who writes; this one counts as in flight.
    Writer(Option<InFlightGuard>),
}

/// Waits for the head of an answer; `None` when it comes to nothing.
///
/// # Errors
/// It does not begin before the deadline.
pub(super) async fn begun(
    mut reader: Reader,
    deadline: Instant,
) -> Result<Option<(Reader, Arc<Head>)>, Error> {
    loop {
        if let Some(head) = reader.head() {
            return Ok(Some((reader, head)));
        }
        if reader.over().is_some() {
            return Ok(None);
        }
        if !changed(&mut reader, deadline).await {
            return Err(too_late());
        }
    }
}

impl Following {
    /// One who joined.
    pub(super) fn join(reader: Reader, head: Arc<Head>, permit: QuotaPermit, deadline: Instant) -> Self {
        let source = Source::Log(reader);
        Self { source, head, replayed: true, local: false, permit: Some(permit), deadline }
    }

    /// One who came later.
    pub(super) fn replay(answer: Arc<Answer>, permit: QuotaPermit, deadline: Instant) -> Self {
        let (source, head) = (Source::Kept(answer.body.clone()), Arc::clone(&answer.head));
        Self { source, head, replayed: true, local: false, permit: Some(permit), deadline }
    }

    /// The one who was first.
    pub(super) fn first(reader: Reader, head: Arc<Head>, local: bool, deadline: Instant) -> Self {
        Self { source: Source::Log(reader), head, replayed: false, local, permit: None, deadline }
    }

    /// True when the answer may be on its way still.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.source, Source::Log(_))
    }

    /// The response to one who follows; its call costs nothing.
    pub fn answer(self, mut meter: CallMeter, own: &Own<'_>) -> HttpResponse {
        meter.first_content();
        if self.head.length.is_some() {
            meter.answered(self.head.status);
        } else {
            meter.committed();
        }
        self.respond(Told::Meter(Box::new(meter)), own)
    }

    /// The response.
    pub(super) fn respond(self, told: Told, own: &Own<'_>) -> HttpResponse {
        let Self { source, head, replayed, local, permit, deadline } = self;
        let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut builder = HttpResponse::build(status);
        for (name, value) in &head.headers {
            add(&mut builder, HeaderName::from_bytes(name.as_bytes()).ok(), value);
        }
        quota_headers(own.quota, |name, value| {
            builder.append_header((name, value));
        });
        let mut ours = |name: &HeaderName, value: &str| add(&mut builder, Some(name.clone()), value);
        ours(&names::REQUEST_ID, own.request_id);
        if replayed {
            ours(&names::IDEMPOTENT_REPLAY, "true");
            ours(&names::ORIGINAL_REQUEST_ID, &head.request_id);
        }
        if local {
            ours(&names::IDEMPOTENCY, "local");
        }
        let body = Body {
            source,
            told,
            pings: head.length.is_none().then_some(own.ping_interval),
            deadline,
            // The head of a stream without a word goes out with a ping.
            greeted: false,
            over: false,
            _permit: permit,
        };
        match head.length {
            Some(length) => builder.body(SizedStream::new(length, body.pieces())),
            None => builder.streaming(body.pieces()),
        }
    }
}

/// Adds a header that was sent once before, or one of ours.
fn add(builder: &mut HttpResponseBuilder, name: Option<HeaderName>, value: &str) {
    if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        builder.append_header((name, value));
    }
}

/// A body being sent.
struct Body {
    source: Source,
    told: Told,
    /// Pings, for streams: how often, in silence.
    pings: Option<Duration>,
    deadline: Instant,
    greeted: bool,
    over: bool,
    _permit: Option<QuotaPermit>,
}

type Piece = Result<Bytes, actix_web::Error>;

impl Body {
    fn pieces(self) -> impl Stream<Item = Piece> {
        unfold(self, |mut body| async move { body.next().await.map(|piece| (piece, body)) })
    }

    async fn next(&mut self) -> Option<Piece> {
        loop {
            if self.over {
                return None;
            }
            let reader = match &mut self.source {
                Source::Kept(rest) => {
                    let piece = rest.split_to(rest.len().min(PIECE));
                    self.over = rest.is_empty();
                    if self.over {
                        self.told.completed(self.pings.is_some());
                    }
                    self.told.said(&piece);
                    return (!piece.is_empty()).then_some(Ok(piece));
                }
                Source::Log(reader) => reader,
            };
            match reader.read() {
                Read::Bytes(bytes) => {
                    self.greeted = true;
                    self.told.said(&bytes);
                    if self.pings.is_some() && is_last_event(&bytes) {
                        self.told.completed(true);
                    }
                    return Some(Ok(bytes));
                }
                Read::Over(Over::Complete | Over::Failed) => {
                    self.over = true;
                    self.told.ended(self.pings.is_some());
                    return None;
                }
                Read::Over(Over::Aborted) => return Some(self.fail(&Error::Internal)),
                Read::Behind => return Some(self.fail(&behind())),
                Read::Nothing => {}
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Some(self.fail(&too_late()));
            }
            let until = match self.pings {
                Some(_) if !std::mem::replace(&mut self.greeted, true) => return Some(Ok(PING)),
                Some(interval) => self.deadline.min(now + interval),
                None => self.deadline,
            };
            if !changed(reader, until).await && until < self.deadline {
                return Some(Ok(PING));
            }
        }
    }

    /// The last piece of one who does not get to the end: a stream says so, anything else breaks off.
    fn fail(&mut self, error: &Error) -> Piece {
        self.over = true;
        self.told.failed(error);
        if self.pings.is_some() {
            let event = stream::error_event(error, None);
            self.told.said(&event);
            return Ok(event);
        }
        Err(actix_web::error::ErrorInternalServerError("the answer broke off"))
    }
}

/// What one is told whom the others have left behind.
fn behind() -> Error {
    let message = "This client reads too slowly to go on with the request that it joined; send it again.";
    Error::Overloaded { message: message.to_owned(), retry_after: Duration::from_secs(1) }
}

impl Told {
    /// A stream was handed over to its last event.
    fn completed(&mut self, stream: bool) {
        if let (Self::Meter(meter), true) = (self, stream) {
            meter.completed();
        }
    }

    /// This one is sent these bytes. What the first one is sent its writer has told.
    fn said(&mut self, bytes: &[u8]) {
        if let Self::Meter(meter) = self {
            meter.said(bytes);
        }
    }

    /// There is nothing more; a stream that was not completed has said why.
    fn ended(&mut self, stream: bool) {
        if let (Self::Meter(meter), true) = (self, stream) {
            meter.broke_off();
        }
    }

    fn failed(&mut self, error: &Error) {
        match self {
            Self::Meter(meter) => meter.failed(error),
            Self::Writer(guard) => drop(guard.take()),
        }
    }
}
