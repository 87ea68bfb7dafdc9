//! One exchange: send, head, pump, cancel. Runs as a task of its cell's thread; speaks to the dispatch over a
//! bounded channel, whose pace is the backpressure and whose end is the cancel.

use std::cell::Cell;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use awc::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::auth::Proof;
use super::call::Call;
use super::client::Response;
use super::deadline::{Deadline, Deadlines, abandoned};
use super::drain;
use super::failure::{self, SendFailure};
use super::link::{Link, LinkError, Outgoing};
use super::meter::Meter;
use super::room::{Room, Waiting};
use super::told;
use crate::chat::Usage;
use crate::config::{OnCancel, Timeouts};
use crate::error::Error;
use crate::money::Usd;
use crate::policy::budget::{Hold, Size};
use crate::policy::route::Target;
use crate::policy::tokens;
use crate::timer::Timer;
use crate::wire::quirks::any_glob;
use crate::wire::usage::{UsageObject, estimated};
use crate::wire::{Cut, DecodeError, Decoder, Envelope, Fault, Fed, Reading, Reply};

/// Largest whole reply, bytes (replies may hold images).
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest error body that is read, bytes.
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// One try at one target.
#[derive(Debug)]
pub struct Attempt {
    /// The call it belongs to.
    pub call: Arc<Call>,
    /// Whom to ask.
    pub target: Target,
    /// From 1.
    pub number: u16,
    /// The encoded request and where it goes.
    pub out: Outgoing,
    /// What identifies the answer.
    pub envelope: Arc<Envelope>,
    /// When the call must be over.
    pub deadline: Instant,
    /// When there must be content, or the next target is asked.
    pub content_deadline: Instant,
    /// The deadlines of its model at its provider.
    pub timeouts: Timeouts,
    /// The session it belongs to.
    pub session: Option<u64>,
    /// Tokens that it may use, prompt and completion.
    pub tokens: u64,
    /// What is asked of the model, for what it costs.
    pub asked: Size,
    /// What was set aside for it.
    pub money: Option<Arc<Hold>>,
    /// Who sets more aside.
    pub lender: Option<Arc<dyn Lender>>,
    /// Where events go; dropping the receiver cancels the exchange.
    pub events: mpsc::Sender<ReplyEvent>,
}

/// Who sets more money aside where what is in hand does not suffice.
pub trait Lender: fmt::Debug + Send + Sync {
    /// Sets `amount` more aside, within a deadline of its own.
    ///
    /// # Errors
    /// It is not left, or that cannot be told.
    fn extend<'a>(&'a self, money: &'a Hold, amount: Usd) -> BoxFuture<'a, Result<(), Error>>;
}

/// What an exchange tells the dispatch, in order: chunks and an end, or one whole reply, or a failure.
#[derive(Debug)]
pub enum ReplyEvent {
    /// Bytes of the client's stream.
    Chunk {
        /// Whole events.
        bytes: Bytes,
        /// Something of the answer itself is in them.
        content: bool,
        /// The room that they take while they wait.
        room: Option<Waiting>,
    },
    /// The whole body of a non-streaming answer.
    Whole(Bytes),
    /// The stream was delivered to its end.
    End,
    /// It failed; what was sent before is all there is.
    Failed(Failure),
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the client is told if nothing else helps.
    pub error: Error,
    /// HTTP status of the upstream, 0 when no head arrived.
    pub status: u16,
    /// Milliseconds from sending to the failure.
    pub latency_ms: u64,
}

/// The receiver is gone: the client left, or the call was cut.
struct Cancelled;

/// How driving an exchange stopped short.
enum Stop {
    Cancelled,
    /// The time of the call is over, not the provider's.
    Late(String),
    Failed {
        error: Error,
        reached: bool,
    },
}

impl Stop {
    fn late(passed: &Deadline, provider: &str, reached: bool) -> Self {
        match passed {
            Deadline::Content => Self::Late(format!("{provider} did not begin to answer in time.")),
            Deadline::Call => Self::Late(format!("{provider} did not finish in time.")),
            Deadline::Total => {
                let error = Error::Timeout(format!("{provider} did not finish in time."));
                Self::Failed { error, reached }
            }
        }
    }
}

impl From<Cancelled> for Stop {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed { error, reached: true }
    }
}

/// Runs one attempt to its end, its failure or its cancel.
pub async fn run(link: Rc<Link>, attempt: Box<Attempt>, mut meter: Meter) {
    let deadlines = Deadlines {
        content: attempt.content_deadline,
        call: attempt.deadline,
        total: Instant::now() + attempt.timeouts.total,
    };
    let (mut proof, mut timer) = (Proof::default(), Timer::default());
    let (begun, reached) = (Cell::new(false), meter.reached());
    let stop = {
        let mut driven = pin!(drive(&link, &attempt, &mut meter, &mut proof, &begun, &mut timer));
        tokio::select! {
            biased;
            () = abandoned(&attempt.events, link.provider.on_cancel) => Err(Stop::Cancelled),
            result = &mut driven => result,
            late = deadlines.passed(&begun) => Err(Stop::late(&late, &link.provider.id, reached.get())),
        }
    };
    let (error, reached) = match stop {
        Ok(response) => {
            // Booked before its last byte was sent.
            drop(meter);
            if let Some(response) = response {
                drain::tail(response, &mut timer).await;
            }
            return;
        }
        Err(Stop::Cancelled) => return,
        Err(Stop::Late(message)) => {
            // A caller in a hurry must not bar the target for the others.
            meter.blames_nobody();
            (Error::Timeout(message), reached.get())
        }
        Err(Stop::Failed { error, reached }) => (error, reached),
    };
    meter.failed(&error, reached);
    let error = link.mask(error, &proof);
    let failure = Failure { error, status: meter.status(), latency_ms: meter.elapsed_ms() };
    drop(meter);
    // A receiver that is gone does not need to know.
    let _ = attempt.events.send(ReplyEvent::Failed(failure)).await;
}

/// Hands an event over. One that nobody waits for is dropped where the answer is read to its end all the same.
async fn deliver(link: &Link, attempt: &Attempt, event: ReplyEvent) -> Result<(), Cancelled> {
    match attempt.events.send(event).await {
        Err(_) if !matches!(link.provider.on_cancel, OnCancel::Drain(_)) => Err(Cancelled),
        _ => Ok(()),
    }
}

/// Books an answer that came to its end. Nobody waiting for it any more makes it a cancelled one, its usage exact.
fn book(attempt: &Attempt, meter: &mut Meter) {
    if !attempt.events.is_closed() {
        meter.completed();
    }
    meter.book();
}

/// Sends and reads; gives the response back when its connection may still be of use.
async fn drive(
    link: &Link,
    attempt: &Attempt,
    meter: &mut Meter,
    proof: &mut Proof,
    begun: &Cell<bool>,
    timer: &mut Timer,
) -> Result<Option<Response>, Stop> {
    if link.proves() {
        let proven = Box::pin(link.prove(&attempt.out)).await;
        *proof = proven.map_err(|error| Stop::Failed { error, reached: false })?;
    }
    let mut response = send(link, attempt, proof, meter, timer)
        .await
        .map_err(|failure| Stop::Failed { error: failure.error, reached: failure.reached })?;
    let status = response.status().as_u16();
    meter.head(status);
    if matches!(status, 401 | 403) {
        proof.refused();
    }
    if status != 200 {
        let (error, told) = Box::pin(refused(link, attempt, &mut response, status)).await;
        meter.told(told);
        return Err(error.into());
    }
    if !attempt.call.stream {
        whole(link, attempt, meter, &mut response, timer).await?;
        return Ok(None);
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    if !attempt.out.wire.streams_as(&kind) {
        return Err(Box::pin(not_a_stream(link, attempt, &mut response)).await.into());
    }
    let ended = pump(link, attempt, meter, &mut response, (&kind, begun), timer).await?;
    Ok(ended.then_some(response))
}

/// Sends the request, once more on a fresh connection when a pooled one turned out to be closed.
async fn send(
    link: &Link,
    attempt: &Attempt,
    proof: &Proof,
    meter: &mut Meter,
    timer: &mut Timer,
) -> Result<Response, SendFailure> {
    let provider = &link.provider;
    let limit = attempt.timeouts.connect + attempt.timeouts.head;
    let late = |_| SendFailure {
        error: Error::Timeout(format!("{} did not answer in time.", provider.id)),
        reached: true,
        maybe_stale: false,
    };
    let unsendable = |error: LinkError| SendFailure {
        error: Error::upstream(format!("{error}."), "upstream_unreachable"),
        reached: false,
        maybe_stale: false,
    };
    let sending = link.send(&attempt.out, proof, meter.reached(), attempt.timeouts.connect);
    let first = timer.within(limit, sending).await.map_err(late)?.map_err(unsendable)?;
    let failed = match first.result {
        Ok(response) => return Ok(response),
        Err(error) => failure::of_send(&error, &provider.id),
    };
    // A new connection that breaks was not stale: the upstream may have read the request, and charge for it.
    if !(failed.maybe_stale && first.pooled) {
        return Err(failed);
    }
    tracing::debug!(request_id = %attempt.call.request_id, provider = %provider.id, "pooled connection was closed; using a fresh one");
    meter.resent();
    let sending = Box::pin(link.send_fresh(&attempt.out, proof));
    let second = timer.within(limit, sending).await.map_err(late)?.map_err(unsendable)?;
    // The first connection was there: the upstream may have read the request, whatever became of the second.
    second.map_err(|error| SendFailure { reached: true, ..failure::of_send(&error, &provider.id) })
}

/// Reads an error answer, and how long it says to wait.
async fn refused(
    link: &Link,
    attempt: &Attempt,
    response: &mut Response,
    status: u16,
) -> (Error, Option<Duration>) {
    let provider = &link.provider;
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::trim);
    let retry_after = told::retry_after(&header, status == 429, SystemTime::now());
    let mut timer = Timer::default();
    let limits = (attempt.timeouts.idle, ERROR_BYTES_MAX);
    let body = drain::whole(response, &mut timer, limits, &provider.id).await;
    let fault = attempt.out.wire.decode_error(status, &body.unwrap_or_default());
    let told = retry_after.or(fault.retry_after);
    (Fault { retry_after: told, ..fault }.into_error(&provider.id), told)
}

/// A 200 with a JSON or HTML body where a stream was asked for: an error most of the time.
async fn not_a_stream(link: &Link, attempt: &Attempt, response: &mut Response) -> Error {
    let provider = &link.provider;
    let mut timer = Timer::default();
    let limits = (attempt.timeouts.idle, ERROR_BYTES_MAX);
    match drain::whole(response, &mut timer, limits, &provider.id).await {
        Err(error) => error,
        Ok(body) => match Reply::decode(attempt.out.wire, &body, reading(link, attempt), &attempt.envelope) {
            Err(wrong) => wrong.into_error(&provider.id),
            Ok(_) => Error::upstream(
                format!("{} answered a streaming request with a whole reply.", provider.id),
                "upstream_invalid_response",
            ),
        },
    }
}

/// A whole reply.
async fn whole(
    link: &Link,
    attempt: &Attempt,
    meter: &mut Meter,
    response: &mut Response,
    timer: &mut Timer,
) -> Result<(), Stop> {
    let provider = &link.provider;
    let limits = (attempt.timeouts.idle, REPLY_BYTES_MAX);
    let body = drain::whole(response, timer, limits, &provider.id).await?;
    let mut reply = Reply::decode(attempt.out.wire, &body, reading(link, attempt), &attempt.envelope)
        .map_err(|wrong| wrong.into_error(&provider.id))?;
    meter.first_content();
    meter.service_tier(reply.service_tier());
    let (usage, object) = match reply.take_metered() {
        Some(metered) => {
            meter.reported(metered.usage);
            (metered.usage, metered.object)
        }
        None => {
            meter.delivered(reply.delivered());
            let usage = count(meter).await?;
            (usage, estimated(&usage))
        }
    };
    attempt.call.remember(&attempt.target.provider, reply.minted());
    let rendered = reply.render(&attempt.envelope, meter.elapsed_ms(), object, meter.price(&usage));
    book(attempt, meter);
    Ok(deliver(link, attempt, ReplyEvent::Whole(Bytes::from(rendered))).await?)
}

/// A stream, event by event. False when it was ended here, and its connection is of no use any more.
async fn pump(
    link: &Link,
    attempt: &Attempt,
    meter: &mut Meter,
    response: &mut Response,
    (content_type, begun): (&str, &Cell<bool>),
    timer: &mut Timer,
) -> Result<bool, Stop> {
    let provider = &link.provider;
    meter.decode_with(Decoder::new(
        attempt.out.wire,
        reading(link, attempt),
        content_type,
        &attempt.envelope,
    ));
    let (mut patience, mut room) = (attempt.timeouts.first_event, Room::default());
    loop {
        let piece = drain::next_piece(response, timer, patience, &provider.id).await;
        let elapsed_ms = meter.elapsed_ms();
        let mut out = Vec::new();
        let decoder = meter.decoder().ok_or(Error::Internal)?;
        let mut refused = false;
        let mut readable = |wrong: DecodeError| {
            refused = matches!(wrong, DecodeError::Fault(_));
            wrong.into_error(&provider.id)
        };
        let fed: Result<Fed, Error> = match piece {
            Ok(Some(bytes)) => {
                decoder.feed(&bytes, &attempt.envelope, elapsed_ms, &mut out).map_err(&mut readable)
            }
            Ok(None) => decoder.end_of_input(&attempt.envelope, elapsed_ms, &mut out).map_err(&mut readable),
            // A connection that breaks after the last finish reason has done its work.
            Err(error) => decoder.end_of_input(&attempt.envelope, elapsed_ms, &mut out).map_err(|_| error),
        };
        // Also when what followed it in the same read went wrong: how bytes are cut must not matter.
        let content = decoder.has_content();
        if content {
            meter.first_content();
            begun.set(true);
            patience = attempt.timeouts.idle;
        } else if refused {
            // The upstream says itself that it did not answer: nothing to charge, nothing to estimate.
            meter.reported(Usage::default());
        }
        if !out.is_empty() {
            let room = tokio::select! {
                biased;
                waiting = room.take(out.len()) => waiting,
                () = attempt.events.closed() => None,
            };
            deliver(link, attempt, ReplyEvent::Chunk { bytes: Bytes::from(out), content, room }).await?;
        }
        if fed?.ended {
            return Box::pin(finish(link, attempt, meter)).await.map(|()| true);
        }
        if let Err(error) = pay_on(attempt, meter).await {
            return Box::pin(cut(link, attempt, meter, error)).await.map(|()| false);
        }
    }
}

/// Sees to it that what was delivered is paid for, out of what is in hand or from the lender.
async fn pay_on(attempt: &Attempt, meter: &mut Meter) -> Result<(), Error> {
    let Err(short) = meter.afford(&attempt.asked) else { return Ok(()) };
    let (Some(lender), Some(money)) = (&attempt.lender, meter.money()) else {
        return Err(short.exhausted.into());
    };
    lender.extend(&money, short.missing).await?;
    meter.afford(&attempt.asked).map_err(|short| short.exhausted.into())
}

/// Ends a stream that there is no money left for: cleanly, as an answer that became too long.
async fn cut(link: &Link, attempt: &Attempt, meter: &mut Meter, error: Error) -> Result<(), Stop> {
    let told = Cut { code: error.class().label, message: error.to_string() };
    let envelope = Envelope { cut: Some(told), ..Envelope::clone(&attempt.envelope) };
    let usage = match meter.usage_so_far() {
        Some(usage) => usage,
        None => count(meter).await?,
    };
    let (price, elapsed_ms) = (meter.price(&usage), meter.elapsed_ms());
    let mut out = Vec::new();
    let decoder = meter.decoder().ok_or(Error::Internal)?;
    decoder.cut(&envelope, elapsed_ms, &mut out);
    decoder.finish(&envelope, elapsed_ms, estimated(&usage), price, &mut out);
    meter.cut(&error);
    meter.book();
    deliver(link, attempt, ReplyEvent::Chunk { bytes: Bytes::from(out), content: false, room: None }).await?;
    Ok(deliver(link, attempt, ReplyEvent::End).await?)
}

/// What goes last: usage where asked for, the end marker.
async fn finish(link: &Link, attempt: &Attempt, meter: &mut Meter) -> Result<(), Stop> {
    let decoder = meter.decoder().ok_or(Error::Internal)?;
    attempt.call.remember(&attempt.target.provider, decoder.minted());
    let tier = decoder.service_tier().map(str::to_owned);
    let metered = decoder.take_metered();
    meter.service_tier(tier.as_deref());
    let (usage, object) = match metered {
        Some(metered) => {
            meter.reported(metered.usage);
            (metered.usage, metered.object)
        }
        // Nobody waits for the count: Billing makes it.
        None if !attempt.call.include_usage => (Usage::default(), UsageObject::default()),
        None => {
            let usage = count(meter).await?;
            (usage, estimated(&usage))
        }
    };
    let cost = meter.price(&usage);
    let elapsed_ms = meter.elapsed_ms();
    let mut out = Vec::new();
    let decoder = meter.decoder().ok_or(Error::Internal)?;
    decoder.finish(&attempt.envelope, elapsed_ms, object, cost, &mut out);
    book(attempt, meter);
    deliver(link, attempt, ReplyEvent::Chunk { bytes: Bytes::from(out), content: false, room: None }).await?;
    Ok(deliver(link, attempt, ReplyEvent::End).await?)
}

/// Counts what the upstream did not, away from the cell's thread.
async fn count(meter: &mut Meter) -> Result<Usage, Error> {
    let unmetered = meter.unmetered();
    let usage = tokio::task::spawn_blocking(move || tokens::estimate(&unmetered))
        .await
        .map_err(|_| Error::Internal)?;
    meter.estimated(usage);
    Ok(usage)
}

/// How the answer of an attempt is to be read.
fn reading<'a>(link: &'a Link, attempt: &Attempt) -> Reading<'a> {
    let quirks = &link.provider.quirks;
    Reading {
        quirks,
        think_tags: any_glob(&quirks.think_tags_models, &attempt.target.upstream),
        include_usage: attempt.call.include_usage,
        n: attempt.call.n,
    }
}
