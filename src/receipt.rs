//! Receipts: the fact of one attempt that reached an upstream, and of one call as the caller saw it.
//!
//! Exactly one [`Receipt`] is made per attempt whose request was written to an upstream, whatever became of it;
//! it is what the ledger, the bill and the metrics are made of. A [`CallRecord`] is made per client request,
//! also when no upstream was ever reached.

#[cfg(test)]
pub(crate) mod testing;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::chat::Usage;
use crate::error::Shed;
use crate::money::{Markup, Usd};
use crate::request_log::{Bodies, Room};
use crate::trace::Ids;

/// How an attempt (or a call) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answer was delivered to its proven end.
    Completed,
    /// The upstream, or the gateway, failed.
    Failed,
    /// The client went away, or the gateway cut the attempt.
    Cancelled,
}

impl Outcome {
    /// The word used in the ledger, the API and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Who asked: the parts of a key that receipts, logs and limits refer to. Never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Identifier of the key (not the key), e.g. `key_01J...`.
    pub key_id: Arc<str>,
    /// Project the key belongs to, if any.
    pub project: Option<Arc<str>>,
}

/// One attempt that reached an upstream. One row of the ledger.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Made at the door, unique per call: with `attempt` the identity of the row. Never the client's own id,
    /// which need not be unique.
    pub call_id: ulid::Ulid,
    /// Attempt number within the call, from 1.
    pub attempt: u16,
    /// The id that the client, the logs and the traces see (`x-request-id`).
    pub request_id: Arc<str>,
    /// When the attempt ended, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Who asked.
    pub caller: Caller,
    /// Tags from `x-gateway-tags`, at most 8.
    pub tags: Arc<[(String, String)]>,
    /// The model string exactly as the client sent it.
    pub requested_model: Arc<str>,
    /// Provider id.
    pub provider: Arc<str>,
    /// Canonical model id, or the upstream name when the catalogue does not know it.
    pub model: Arc<str>,
    /// True when `model` is in the catalogue: only then may it label a metric series.
    pub known_model: bool,
    /// The name sent upstream.
    pub upstream_model: Arc<str>,
    /// HTTP status the upstream answered, 0 when no head arrived.
    pub status: u16,
    /// False when no connection was made, so that nothing can have been charged: such an attempt is counted in
    /// metrics and is no row of the ledger.
    pub reached: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Metric label of the error, `None` for a completed attempt.
    pub error: Option<&'static str>,
    /// True for a streaming request.
    pub stream: bool,
    /// Milliseconds from sending to the first content-bearing event.
    pub ttft_ms: Option<u32>,
    /// Milliseconds from sending to the end of the attempt.
    pub duration_ms: u32,
    /// Token counts; `None` while unknown: Billing then counts [`Receipt::unmetered`] with a tokenizer.
    pub usage: Option<Usage>,
    /// What was exchanged, kept only while `usage` is `None`.
    pub unmetered: Option<Unmetered>,
    /// True when `usage` was counted here and not reported by the upstream.
    pub estimated: bool,
    /// Cost of the attempt; `None` when the price or the usage is unknown ("unpriced").
    pub cost: Option<Usd>,
    /// What the caller is charged: `cost` and its markup. `None` where `cost` is.
    pub charged: Option<Usd>,
    /// What is charged on top of the cost.
    pub markup: Markup,
    /// Names of the sets of tags that the call belongs to.
    pub tag_sets: Arc<[Arc<str>]>,
    /// What was set aside for it, while its cost is not known: whoever learns the cost settles it.
    pub held: Option<Arc<dyn Settles>>,
    /// The price that applies, for computing `cost` once an estimate is made.
    pub price: Option<Arc<crate::catalog::Price>>,
    /// Service tier the upstream said it served (`flex`, `priority`, ...), which may change the price.
    pub service_tier: Option<Arc<str>>,
    /// Where the journal holds it; `None` while it is in memory alone.
    pub place: Option<Place>,
    /// What its span needs beyond all this, if it is recorded.
    pub span: Option<Box<AttemptSpan>>,
}

/// What the span of a recorded attempt needs beyond its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptSpan {
    /// Whose span it is.
    pub ids: Ids,
    /// When the attempt ended, nanoseconds since the Unix epoch.
    pub ended_ns: u64,
    /// Microseconds from sending to the end.
    pub duration_us: u64,
    /// Microseconds from sending to the first content.
    pub ttft_us: Option<u64>,
}

/// Where in the journal a receipt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment, unique in this process.
    pub segment: u64,
    /// Where its record ends, bytes from the segment's beginning.
    pub end: u64,
}

impl Receipt {
    /// True when the attempt may have cost money and nobody can tell how much.
    pub fn is_unpriced(&self) -> bool {
        self.reached && self.cost.is_none() && (self.usage.is_some() || (200..300).contains(&self.status))
    }
}

/// Money that was set aside until it is known what an attempt costs. What is dropped unsettled is given back.
pub trait Settles: std::fmt::Debug + Send + Sync {
    /// Puts what was charged in its place; `time_ms` is that of the receipt.
    fn settle(&self, charged: Usd, time_ms: i64);
}

/// The text of an attempt whose usage the upstream never told.
#[derive(Clone, Debug, Default)]
pub struct Unmetered {
    /// The request body as sent upstream, or empty when it was too large to keep.
    pub request: bytes::Bytes,
    /// Length of the request body, bytes.
    pub request_len: usize,
    /// Text delivered so far, cut at a bound.
    pub delivered: String,
    /// Bytes of text delivered in all.
    pub delivered_len: usize,
    /// What the upstream told before the end: its prompt side is exact, its completion is what there was so far.
    pub told: Option<Usage>,
}

/// One client request on a public route, as the caller saw it.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// Route pattern, e.g. `/v1/chat/completions` (never the raw path).
    pub route: &'static str,
    /// HTTP status sent to the client.
    pub status: u16,
    /// Metric label of the error, if it failed.
    pub error: Option<&'static str>,
    /// How it ended.
    pub outcome: Outcome,
    /// True for a streaming request.
    pub stream: bool,
    /// Attempts that were made.
    pub attempts: u16,
    /// Microseconds from the request's arrival to the end of the answer.
    pub duration_us: u64,
    /// Microseconds spent in the gateway itself before the request was sent upstream.
    pub overhead_us: u64,
    /// Microseconds from arrival to the first byte of content sent to the client.
    pub ttft_us: Option<u64>,
    /// Identifier of the key that it came with, once that is known to be one.
    pub key_id: Option<Arc<str>>,
    /// For want of what it was refused, if it was.
    pub shed: Option<Shed>,
    /// Who answered, and what that took.
    pub told: Told,
    /// What its span needs beyond all this, if it is recorded.
    pub span: Option<Box<CallSpan>>,
}

/// What a call's attempts told of it by the time it ended. An attempt that the client did not wait for is booked later:
/// its tokens are in the ledger and not here.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Who answered, else who was asked last.
    pub by: Option<AnsweredBy>,
    /// Tokens of all attempts; `None` while those of one are not known.
    pub tokens: Option<(u64, u64)>,
    /// What the caller is charged for all of them; `None` where that is not known.
    pub charged: Option<Usd>,
    /// Some of the tokens were counted here and not reported by the upstream.
    pub estimated: bool,
    /// Its way from provider to provider; kept for recorded calls only.
    pub failovers: Vec<Failover>,
}

/// Who answered a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredBy {
    /// Provider id.
    pub provider: Arc<str>,
    /// Canonical model id, or the upstream name when the catalogue does not know it.
    pub model: Arc<str>,
    /// True when `model` is in the catalogue: only then may it label a metric series.
    pub known_model: bool,
}

/// A call went on to another provider.
#[derive(Clone, Debug)]
pub struct Failover {
    /// When.
    pub at: Instant,
    /// From whom.
    pub from: Arc<str>,
    /// To whom.
    pub to: Arc<str>,
    /// Metric label of the error.
    pub why: &'static str,
}

/// What the span of a recorded call needs beyond its record.
#[derive(Clone, Debug)]
pub struct CallSpan {
    /// Whose span it is.
    pub ids: Ids,
    /// The id that the client, the logs and the ledger see.
    pub request_id: Arc<str>,
    /// HTTP method of the request.
    pub method: &'static str,
    /// Project of the key, if any.
    pub project: Option<Arc<str>>,
    /// The model asked for, cut to [`MODEL_MAX`].
    pub requested_model: Option<Arc<str>>,
    /// When the call ended.
    pub ended: Instant,
    /// The same, nanoseconds since the Unix epoch.
    pub ended_ns: u64,
    /// What was asked and answered, where two consents say that it may be shown.
    pub content: Option<Content>,
}

/// Bodies for a span, not masked yet.
#[derive(Clone, Debug)]
pub enum Content {
    /// Those of the request log, and the room that they take until the span is made.
    Gathered(Arc<Bodies>, Arc<Room>),
    /// Too many waited already.
    NoRoom,
}

/// Longest model name of a client's that logs and traces show, bytes; a longer one is cut and ends with an ellipsis.
pub const MODEL_MAX: usize = 128;

/// A model name as logs and traces show it.
pub fn shown_model(name: &str) -> Cow<'_, str> {
    if name.len() <= MODEL_MAX {
        return Cow::Borrowed(name);
    }
    let cut = name.get(..name.floor_char_boundary(MODEL_MAX - '…'.len_utf8())).unwrap_or_default();
    Cow::Owned(format!("{cut}…"))
}

/// What a cell hands to Billing and Metrics at one time: many facts, one wake-up of another thread.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Attempts that ended.
    pub receipts: Vec<Receipt>,
    /// Calls that ended.
    pub calls: Vec<CallRecord>,
}
