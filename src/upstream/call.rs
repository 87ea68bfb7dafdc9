//! The facts of one client request that every attempt shares, and what the call holds while it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::telling::Telling;
use crate::chat::conversation::{Detail, Message};
use crate::money::Markup;
use crate::policy::budget::Purse;
use crate::policy::quota::QuotaPermit;
use crate::policy::vault::Vault;
use crate::receipt::Caller;
use crate::trace::Trace;
use crate::wire::translate::Minted;

/// Who pays for a call, and how much of its cost.
#[derive(Clone, Debug)]
pub struct Paying {
    /// What is charged on top of the cost.
    pub markup: Markup,
    /// Names of the sets of tags that it belongs to.
    pub tag_sets: Arc<[Arc<str>]>,
    /// The purses that pay.
    pub purses: Arc<[Arc<Purse>]>,
}

impl Default for Paying {
    fn default() -> Self {
        Self { markup: Markup::default(), tag_sets: Arc::from([]), purses: Arc::from([]) }
    }
}

/// One client request. Shared by the HTTP side and the exchanges: its quota is settled when the last of them is
/// done with it, so also on cancel and panic.
#[derive(Debug)]
pub struct Call {
    /// Unique id, made at the door.
    pub call_id: ulid::Ulid,
    /// The id the client sees.
    pub request_id: Arc<str>,
    /// Who asked.
    pub caller: Caller,
    /// Tags of the request.
    pub tags: Arc<[(String, String)]>,
    /// Who pays.
    pub paying: Paying,
    /// The model string as sent.
    pub requested_model: Arc<str>,
    /// A streaming request.
    pub stream: bool,
    /// The client asked for usage in the stream.
    pub include_usage: bool,
    /// Choices asked for.
    pub n: u32,
    /// The trace it belongs to, if any.
    pub traced: Option<Traced>,
    /// What its attempts tell of it.
    pub telling: Telling,
    vault: Arc<Vault>,
    /// Tokens used by its attempts so far.
    used: AtomicU64,
    quota: Vec<QuotaPermit>,
}

/// What a call is made from.
#[derive(Debug)]
pub struct CallFacts {
    /// The id the client sees.
    pub request_id: Arc<str>,
    /// Who asked.
    pub caller: Caller,
    /// Tags of the request.
    pub tags: Arc<[(String, String)]>,
    /// Who pays.
    pub paying: Paying,
    /// The model string as sent.
    pub requested_model: Arc<str>,
    /// A streaming request.
    pub stream: bool,
    /// The client asked for usage in the stream.
    pub include_usage: bool,
    /// Choices asked for.
    pub n: u32,
    /// Reasoning of earlier answers.
    pub vault: Arc<Vault>,
    /// The trace it belongs to, if any.
    pub traced: Option<Traced>,
}

/// The trace of a call, and what others of it want passed on.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The trace.
    pub trace: Trace,
    /// The `tracestate` that came with it.
    pub state: Option<Arc<str>>,
}

impl Traced {
    /// The headers of an attempt.
    pub fn headers(&self, number: u16, headers: &mut Vec<(&'static str, String)>) {
        headers.push(("traceparent", self.trace.traceparent(number)));
        headers.extend(self.state.as_ref().map(|state| ("tracestate", state.to_string())));
    }
}

impl Call {
    /// A call that was admitted under `quota`.
    pub fn new(facts: CallFacts, quota: Vec<QuotaPermit>) -> Arc<Self> {
        Self::with(facts, quota)
    }

    /// One that will not be made, and uses up nothing.
    pub fn unmade(facts: CallFacts) -> Arc<Self> {
        Self::with(facts, Vec::new())
    }

    fn with(facts: CallFacts, quota: Vec<QuotaPermit>) -> Arc<Self> {
        let CallFacts { request_id, caller, tags, paying, requested_model, stream, .. } = facts;
        let CallFacts { include_usage, n, vault, traced, .. } = facts;
        Arc::new(Self {
            call_id: ulid::Ulid::generate(),
            request_id,
            caller,
            tags,
            paying,
            requested_model,
            stream,
            include_usage,
            n,
            traced,
            telling: Telling::default(),
            vault,
            used: AtomicU64::new(0),
            quota,
        })
    }

    /// Who shares reasoning: the caller's project, or the key alone.
    fn tenant(&self) -> &str {
        self.caller.project.as_deref().unwrap_or(&self.caller.key_id)
    }

    /// Keeps reasoning that `provider` minted, in case the client does not bring it back.
    pub fn remember(&self, provider: &str, minted: Option<Minted>) {
        if let Some(minted) = minted {
            self.vault.remember(self.tenant(), provider, minted, Instant::now());
        }
    }

    /// Reasoning that `provider` minted with this message.
    pub fn recall(&self, provider: &str, message: &Message<'_>) -> Vec<Detail<'static>> {
        self.vault.recall(self.tenant(), provider, message, Instant::now())
    }

    /// Counts the tokens of an attempt.
    pub fn used(&self, tokens: u64) {
        self.used.fetch_add(tokens, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        for quota in self.quota.drain(..) {
            quota.settle(self.used.load(Ordering::Relaxed));
        }
    }
}
