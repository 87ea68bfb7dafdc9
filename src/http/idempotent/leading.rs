//! The one who is first: its answer is written into the log by a task of its thread, for as long as somebody reads.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use tokio::time::Instant;

use super::super::reply::error_response;
use super::super::stream::PING;
use super::following::{Following, Own, Told, begun};
use super::records::Record;
use crate::actors::gauges::InFlightGuard;
use crate::error::Error;
use crate::policy::idempotency::{Head, Lead, Reader};

/// What the first one waits beyond its deadline: whoever writes answers by then.
const GRACE: Duration = Duration::from_secs(5);
/// What a stream that is complete ends with, and no other.
const LAST_EVENT: &[u8] = b"data: [DONE]\n\n";
/// Headers that each one gets of its own, or that belong to a connection.
const NOT_SHARED: [&str; 3] = ["x-request-id", "content-length", "connection"];

/// The first with its key.
pub struct Leading {
    pub(super) lead: Box<Lead>,
    pub(super) reader: Reader,
    /// What the store knows of it.
    pub(super) record: Option<Record>,
    /// The store was to know and does not.
    pub(super) local: bool,
    pub(super) deadline: Instant,
}

/// Answers the first one: `answering` gives what it is answered, and runs for as long as somebody reads.
pub async fn lead(
    leading: Box<Leading>,
    guard: Option<InFlightGuard>,
    answering: impl Future<Output = HttpResponse> + 'static,
    own: &Own<'_>,
) -> HttpResponse {
    let Leading { lead, reader, record, local, deadline } = *leading;
    actix_web::rt::spawn(write(lead, record, Arc::from(own.request_id), answering));
    match begun(reader, deadline + GRACE).await {
        Ok(Some((reader, head))) => {
            let following = Following::first(reader, head, local, deadline + GRACE);
            following.respond(Told::Writer(guard), own)
        }
        // The task ended without a word: it panicked.
        Ok(None) => error_response(&Error::Internal, Some(own.request_id)),
        Err(error) => error_response(&error, Some(own.request_id)),
    }
}

/// True for the piece of a stream that completes it.
pub(super) fn is_last_event(piece: &[u8]) -> bool {
    piece.ends_with(LAST_EVENT)
}

/// Writes the answer, until it is over or nobody reads. What is dropped here on the way is the call itself.
async fn write(
    mut lead: Box<Lead>,
    record: Option<Record>,
    request_id: Arc<str>,
    answering: impl Future<Output = HttpResponse>,
) {
    let response = tokio::select! {
        biased;
        () = lead.aborted() => return,
        response = answering => response,
    };
    let head = head(&response, request_id);
    let (good, stream) = ((200..300).contains(&head.status), head.length.is_none());
    let mut left = head.length.unwrap_or(u64::MAX);
    // Told with the first piece: who sees a head and nothing else takes it for silence.
    let mut head = Some(head);
    let mut complete = good && !stream;
    let mut body = pin!(response.into_body());
    loop {
        let piece = tokio::select! {
            biased;
            () = lead.aborted() => return,
            piece = poll_fn(|cx| body.as_mut().poll_next(cx)) => piece,
        };
        match piece {
            // Each one who reads has silences of its own.
            Some(Ok(bytes)) if stream && bytes == PING => {
                head.take().into_iter().for_each(|head| lead.begin(head))
            }
            Some(Ok(bytes)) => {
                left = left.saturating_sub(bytes.len() as u64);
                // From here on it is all there: a client that leaves has taken it.
                let last = if stream { is_last_event(&bytes) } else { left == 0 };
                complete |= good && last;
                lead.push(&bytes, last);
                head.take().into_iter().for_each(|head| lead.begin(head));
                lead.room().await;
            }
            Some(Err(_)) => return,
            None => break,
        }
    }
    head.take().into_iter().for_each(|head| lead.begin(head));
    if !complete {
        drop(record);
        return lead.fail();
    }
    let answer = lead.finish(std::time::Instant::now());
    if let Some(record) = record {
        record.finish(answer);
    }
}

fn head(response: &HttpResponse, request_id: Arc<str>) -> Head {
    let shared = |name: &str| !NOT_SHARED.contains(&name) && !name.starts_with("x-ratelimit-");
    let text =
        |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
    let length = match response.body().size() {
        BodySize::None => Some(0),
        BodySize::Sized(length) => Some(length),
        BodySize::Stream => None,
    };
    Head {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .filter(|(name, _)| shared(name.as_str()))
            .filter_map(text)
            .collect(),
        length,
        request_id,
    }
}
