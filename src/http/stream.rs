//! The body of a streaming answer: what the dispatch yields, pings in the silence, an error event at a bad end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::Instant;

use super::call_meter::CallMeter;
use super::reply::error_body;
use crate::dispatch::{Dispatch, Step};
use crate::error::Error;

/// A comment that keeps connections alive; sent at event boundaries only.
pub const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// What a call that is cut for a shutdown asks its client to wait, before it comes again.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// What a call that could not be waited for is told.
pub fn shutting_down() -> Error {
    let message = "The gateway is shutting down; send the request again.".to_owned();
    Error::Overloaded { message, retry_after: COME_AGAIN }
}

/// A body being sent.
pub struct Live {
    dispatch: Box<Dispatch>,
    meter: CallMeter,
    ping_interval: Duration,
    /// Turns true when the process can wait no longer.
    cut: watch::Receiver<bool>,
    first: Option<Bytes>,
    over: bool,
}

impl Live {
    /// The body: `first`, then everything that follows.
    pub fn new(
        dispatch: Box<Dispatch>,
        meter: CallMeter,
        ping_interval: Duration,
        cut: watch::Receiver<bool>,
        first: Bytes,
    ) -> Self {
        Self { dispatch, meter, ping_interval, cut, first: Some(first), over: false }
    }

    /// The bytes, as they come.
    pub fn events(self) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
        // Boxed: it is moved in and out for every event.
        unfold(Box::new(self), |mut live| async move { live.next().await.map(|bytes| (Ok(bytes), live)) })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            if first != PING {
                self.meter.said(&first);
            }
            return Some(first);
        }
        if self.over {
            return None;
        }
        let step = tokio::select! {
            biased;
            step = self.dispatch.next(Instant::now() + self.ping_interval) => step,
            _ = self.cut.wait_for(|cut| *cut) => Some(Step::Failed(shutting_down())),
        };
        match step {
            Some(Step::Chunk(bytes)) => {
                self.meter.first_content();
                self.meter.said(&bytes);
                Some(bytes)
            }
            Some(Step::Silence) => Some(PING),
            Some(Step::End) => {
                self.over = true;
                self.meter.completed();
                None
            }
            Some(Step::Failed(error)) => Some(self.fail(&error)),
            Some(Step::Whole(_)) | None => Some(self.fail(&Error::Internal)),
        }
    }

    /// The last event of a stream that failed: SDKs raise on it, while a silent end would look like success.
    fn fail(&mut self, error: &Error) -> Bytes {
        self.over = true;
        self.meter.failed(error);
        let event = error_event(error, Some(&self.dispatch.envelope().failure_metadata()));
        self.meter.said(&event);
        event
    }
}

/// An error as an event.
pub fn error_event(error: &Error, metadata: Option<&[u8]>) -> Bytes {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&error_body(error, metadata));
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}
