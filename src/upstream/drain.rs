//! Reading response bodies within bounds: of size, of silence.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::client::Answer;
use crate::error::Error;
use crate::timer::{Late, Timer};

/// After its terminal event a stream gets this long to end, so that its connection can be used again.
const TAIL: Duration = Duration::from_millis(50);

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// 504 after `idle` of silence, 502 when the connection breaks.
pub async fn next_piece(
    response: &mut impl Answer,
    timer: &mut Timer,
    idle: Duration,
    provider: &str,
) -> Result<Option<Bytes>, Error> {
    match timer.within(idle, response.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(_))) => Err(Error::upstream(
            format!("{provider} broke off in the middle of its answer."),
            "stream_truncated",
        )),
        Err(Late) => Err(Error::Timeout(format!("{provider} fell silent in the middle of its answer."))),
    }
}

/// A whole body, at most `limit` bytes, silent for at most `idle`, its declared length proven.
///
/// # Errors
/// As [`next_piece`]; 502 when it is too large or shorter than it said.
pub async fn whole(
    response: &mut impl Answer,
    timer: &mut Timer,
    (idle, limit): (Duration, usize),
    provider: &str,
) -> Result<Bytes, Error> {
    let declared = response.announced();
    let mut body = BytesMut::new();
    let mut first = None;
    while let Some(piece) = next_piece(response, timer, idle, provider).await? {
        if body.len() + piece.len() + first.as_ref().map_or(0, Bytes::len) > limit {
            let message = format!("{provider} sent an answer larger than {limit} bytes.");
            return Err(Error::upstream(message, "upstream_invalid_response"));
        }
        // One piece is the usual case and is not copied.
        match (&first, body.is_empty()) {
            (None, true) => first = Some(piece),
            (Some(_), _) => {
                body.extend_from_slice(&first.take().unwrap_or_default());
                body.extend_from_slice(&piece);
            }
            (None, false) => body.extend_from_slice(&piece),
        }
    }
    let body = first.unwrap_or_else(|| body.freeze());
    // The client reports a body that was cut short as a clean end: its length must be proven.
    if declared.is_some_and(|declared| body.len() < declared) {
        let message = format!("{provider} sent less of its answer than it announced.");
        return Err(Error::upstream(message, "stream_truncated"));
    }
    Ok(body)
}

/// Lets a finished stream end, so that its connection returns to the pool.
pub async fn tail(mut response: impl Answer, timer: &mut Timer) {
    let _ = timer.within(TAIL, async { while let Some(Ok(_)) = response.next().await {} }).await;
}
