//! Paying for an attempt: what it may cost is set aside before it is sent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::Dispatch;
use crate::catalog::ServiceTier;
use crate::chat::ChatRequest;
use crate::error::Error;
use crate::fleet::{Fleet, Refusal, TICK};
use crate::money::Usd;
use crate::policy::budget::{Bound, Hold, Size};
use crate::policy::route::Target;
use crate::upstream::Lender;

/// Tokens that an image, a sound or a file in a prompt is taken for.
const ATTACHMENT_TOKENS: u64 = crate::policy::tokens::ATTACHMENT_TOKENS;

/// How long a stream pauses at most while nobody can tell whether it may go on. What Redis forgot is told again by all
/// replicas and read from the ledger within some 3 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a request asks of a model, for what it costs.
pub fn asked(request: &ChatRequest, body: &[u8]) -> Size {
    let attached = [request.uses.images, request.uses.audio, request.uses.files];
    let attachments = attached.into_iter().filter(|there| *there).count() as u64;
    let tier = request.members.bytes(body, "service_tier").and_then(|tier| std::str::from_utf8(tier).ok());
    Size {
        prompt: request.prompt_estimate + attachments * ATTACHMENT_TOKENS,
        max_output: request.max_output,
        n: request.n,
        tier: tier.and_then(|tier| ServiceTier::parse(tier.trim_matches('"'))),
    }
}

/// The leases of a fleet, for streams that go on.
struct Leases {
    fleet: Fleet,
    payers: Arc<[Arc<str>]>,
    now_ms: fn() -> i64,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leases").field(&self.payers).finish()
    }
}

impl Lender for Leases {
    fn extend<'a>(&'a self, money: &'a Hold, amount: Usd) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let attempt = || money.extend(amount, (self.now_ms)());
            let deadline = Instant::now() + PATIENCE;
            loop {
                match self.fleet.reserve_by_the_tick(&self.payers, attempt).await {
                    // What was said already cannot be taken back: a pause costs the client less than the rest.
                    Err(Refusal::Unknown(_)) if Instant::now() < deadline => sleep(TICK).await,
                    told => return told.map_err(Error::from),
                }
            }
        })
    }
}

impl Dispatch {
    /// Sets aside what an attempt at this target may cost. A stream makes do with its beginning, since it is ended where
    /// no more can be had.
    ///
    /// # Errors
    /// 402: a budget does not allow it.
    pub(super) async fn set_aside(&self, target: &Target) -> Result<Option<Arc<Hold>>, Error> {
        let paying = &self.order.call.paying;
        if paying.purses.is_empty() {
            return Ok(None);
        }
        let payer = paying.purses.first();
        let bound = Bound::of(target.offer.as_deref(), &self.order.asked, paying.markup, payer);
        let now_ms = (self.order.now_ms)();
        let held = match self.hold(bound.whole, now_ms).await {
            Err(_) if self.order.request.stream => self.hold(bound.start, now_ms).await,
            held => held,
        };
        Ok(Some(Arc::new(held?)))
    }

    /// Who lends a stream more, where a fleet shares the budgets.
    pub(super) fn lender(&self) -> Option<Arc<dyn Lender>> {
        let (fleet, payers) = self.order.fleet.clone().filter(|_| self.order.request.stream)?;
        Some(Arc::new(Leases { fleet, payers, now_ms: self.order.now_ms }))
    }

    /// Holds money; what is in hand may not suffice where a fleet shares the budgets, and then Redis is asked.
    async fn hold(&self, amount: Usd, now_ms: i64) -> Result<Hold, Error> {
        let purses = &self.order.call.paying.purses;
        let attempt = || Hold::reserve(purses, amount, now_ms);
        match &self.order.fleet {
            None => attempt().map_err(Error::from),
            Some((fleet, payers)) => fleet.reserve_by_the_tick(payers, attempt).await.map_err(Error::from),
        }
    }
}
