//! The meter of one attempt: a guard that books exactly one receipt, whatever becomes of the attempt.
//!
//! It owns the stream decoder, so that what was delivered is known on cancel and on panic, too. Its fields are
//! private: an `async move` block that used one field would drop the guard early and bill nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::call::{Call, Paying};
use crate::catalog::ServiceTier;
use crate::chat::Usage;
use crate::error::Error;
use crate::money::Usd;
use crate::policy::admission::Permit;
use crate::policy::budget::{Exhausted, Hold, STEP_TOKENS, Size};
use crate::policy::health::{Observation, Pass, Sign};
use crate::policy::pool::{Chosen, Credential};
use crate::policy::route::Target;
use crate::receipt::{AttemptSpan, Outcome, Receipt, Settles, Unmetered};
use crate::wire::Decoder;

/// Largest request kept for counting tokens should the upstream not tell, bytes.
const REQUEST_KEPT_MAX: usize = 64 * 1024;

/// Bytes that make a token, roughly.
const BYTES_PER_TOKEN: usize = 4;

/// What an ended attempt means for its provider.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Who was asked.
    pub target: Target,
    /// With which credential, and whether that was its probe.
    pub credential: Option<(Arc<Credential>, bool)>,
    /// What it says of the target and the credential.
    pub seen: Observation,
    /// It was sent once more, on a fresh connection.
    pub resent: bool,
}

/// What an attempt holds while it lasts: its place at the provider, and under its credential's limits.
#[derive(Debug)]
pub struct Held {
    /// Its place at the provider.
    pub permit: Permit,
    /// The credential, and its place there.
    pub credential: Chosen,
    /// The breaker's word.
    pub pass: Pass,
    /// What was set aside for it.
    pub money: Option<Arc<Hold>>,
}

/// Money that a stream needs to go on, and cannot be had out of what is in hand.
#[derive(Debug)]
pub struct Short {
    /// How much.
    pub missing: Usd,
    /// Whose budget.
    pub exhausted: Exhausted,
}

/// Where a meter's findings go: closures, so that this layer need not know the actors.
#[derive(Clone)]
pub struct Sinks {
    /// Takes the receipt.
    pub receipt: Rc<dyn Fn(Receipt)>,
    /// Tells the provider.
    pub finished: Rc<dyn Fn(Finished)>,
    /// Milliseconds since the epoch.
    pub now_ms: fn() -> i64,
}

/// The guard of one attempt.
pub struct Meter {
    call: Arc<Call>,
    target: Target,
    number: u16,
    sinks: Sinks,
    started: Instant,
    request: Bytes,
    request_len: usize,
    status: u16,
    reached: Rc<Cell<bool>>,
    resent: bool,
    outcome: Outcome,
    error: Option<&'static str>,
    sign: Sign,
    told: Option<Duration>,
    blameless: bool,
    held: Option<Held>,
    ttft: Option<Duration>,
    usage: Option<Usage>,
    estimated: bool,
    service_tier: Option<Arc<str>>,
    decoder: Option<Decoder>,
    delivered: Option<String>,
    /// Bytes of the answer that the money set aside pays for.
    paid_bytes: usize,
    free_if_cancelled: bool,
    booked: bool,
}

impl Meter {
    /// Starts the clock of an attempt that is about to be sent.
    pub fn start(
        call: Arc<Call>,
        target: Target,
        number: u16,
        request: &Bytes,
        held: Option<Held>,
        sinks: Sinks,
    ) -> Self {
        let keep = request.len() <= REQUEST_KEPT_MAX;
        Self {
            call,
            target,
            number,
            sinks,
            started: Instant::now(),
            request: if keep { request.clone() } else { Bytes::new() },
            request_len: request.len(),
            status: 0,
            reached: Rc::default(),
            resent: false,
            // Until proven otherwise; a drop leaves it so.
            outcome: Outcome::Cancelled,
            error: Some("cancelled"),
            sign: Sign::Neutral,
            told: None,
            blameless: false,
            held,
            ttft: None,
            usage: None,
            estimated: false,
            service_tier: None,
            decoder: None,
            delivered: None,
            paid_bytes: 0,
            free_if_cancelled: false,
            booked: false,
        }
    }

    /// The provider charges nothing for an answer that was not waited for.
    pub fn free_if_cancelled(&mut self) {
        self.free_if_cancelled = true;
    }

    /// Milliseconds since the attempt was sent.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Hands the decoder over to the meter.
    pub fn decode_with(&mut self, decoder: Decoder) -> &mut Decoder {
        self.decoder.insert(decoder)
    }

    /// The decoder, once there is one.
    pub fn decoder(&mut self) -> Option<&mut Decoder> {
        self.decoder.as_mut()
    }

    /// Whether there is a connection that the request may have gone over. Who sends says so at once: an attempt that is
    /// cancelled while it connects has cost nothing, and is no row.
    pub fn reached(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.reached)
    }

    /// The pooled connection was closed: it is sent once more, on a fresh one.
    pub fn resent(&mut self) {
        self.resent = true;
    }

    /// The response head arrived.
    pub fn head(&mut self, status: u16) {
        self.status = status;
    }

    /// HTTP status of the upstream, 0 before its head.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first content arrived.
    pub fn first_content(&mut self) {
        if self.ttft.is_none() {
            self.ttft = Some(self.started.elapsed());
        }
    }

    /// How long the upstream says to wait.
    pub fn told(&mut self, wait: Option<Duration>) {
        self.told = wait;
    }

    /// Usage as the upstream reported it.
    pub fn reported(&mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    /// Usage as it was counted here.
    pub fn estimated(&mut self, usage: Usage) {
        self.usage = Some(usage);
        self.estimated = true;
    }

    /// The service tier that was served.
    pub fn service_tier(&mut self, tier: Option<&str>) {
        self.service_tier = tier.map(Arc::from);
    }

    /// The text of a whole reply whose usage is unknown.
    pub fn delivered(&mut self, text: String) {
        self.delivered = Some(text);
    }

    /// Cost of a usage at this target's price.
    fn cost(&self, usage: &Usage) -> Option<Usd> {
        let tier = self.service_tier.as_deref().and_then(ServiceTier::parse);
        self.target.offer.as_ref()?.price.as_ref()?.cost(usage, tier)
    }

    /// What the caller is charged for a usage.
    pub fn price(&self, usage: &Usage) -> Option<Usd> {
        self.cost(usage).map(|cost| self.call.paying.markup.charged(cost))
    }

    /// Sees to it that what was delivered is paid for, and a step more, as far as `asked` allows the answer to go on.
    ///
    /// # Errors
    /// What is missing, and the budget that does not allow it as far as is known here.
    pub fn afford(&mut self, asked: &Size) -> Result<(), Short> {
        let Some(decoder) = &self.decoder else { return Ok(()) };
        let (_, delivered) = decoder.delivered();
        let Some(money) = self.held.as_ref().and_then(|held| held.money.as_ref()) else { return Ok(()) };
        if delivered <= self.paid_bytes {
            return Ok(());
        }
        let so_far = (delivered / BYTES_PER_TOKEN) as u64;
        let most = asked.max_output.map_or(u64::MAX, |most| most.saturating_mul(u64::from(asked.n.max(1))));
        let tokens = (so_far + STEP_TOKENS).min(most).max(so_far);
        let told = decoder.reported().or_else(|| decoder.told());
        let usage = match told {
            Some(told) => Usage { completion: told.completion.max(tokens), ..told },
            None => Usage { prompt: asked.prompt, completion: tokens, ..Usage::default() },
        };
        let missing = self.price(&usage).unwrap_or_default().units().saturating_sub(money.reserved().units());
        if missing > 0 {
            let missing = Usd::from_units(missing);
            let extended = money.extend(missing, (self.sinks.now_ms)());
            extended.map_err(|exhausted| Short { missing, exhausted })?;
        }
        self.paid_bytes = usize::try_from(tokens).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN);
        Ok(())
    }

    /// What is set aside for it.
    pub fn money(&self) -> Option<Arc<Hold>> {
        self.held.as_ref()?.money.clone()
    }

    /// The gateway itself ended the answer, for this reason.
    pub fn cut(&mut self, error: &Error) {
        self.outcome = Outcome::Cancelled;
        self.error = Some(error.class().label);
    }

    /// Usage that was reported or told on the way.
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.usage.or_else(|| self.decoder.as_ref().and_then(Decoder::reported))
    }

    /// What was exchanged, for counting.
    pub fn unmetered(&self) -> Unmetered {
        let (delivered, delivered_len) = match (&self.delivered, &self.decoder) {
            (Some(text), _) => (text.clone(), text.len()),
            (None, Some(decoder)) => {
                let (text, length) = decoder.delivered();
                (text.to_owned(), length)
            }
            (None, None) => (String::new(), 0),
        };
        let told = self.decoder.as_ref().and_then(Decoder::told);
        let (request, request_len) = (self.request.clone(), self.request_len);
        Unmetered { request, request_len, delivered, delivered_len, told }
    }

    /// The answer was delivered to its end.
    pub fn completed(&mut self) {
        self.outcome = Outcome::Completed;
        self.error = None;
        self.sign = Sign::Good;
    }

    /// Whatever becomes of it says nothing of the target.
    pub fn blames_nobody(&mut self) {
        self.blameless = true;
    }

    /// The attempt failed.
    pub fn failed(&mut self, error: &Error, reached: bool) {
        self.outcome = Outcome::Failed;
        self.error = Some(error.class().label);
        self.sign = match (Sign::of(error), self.status) {
            _ if self.blameless => Sign::Neutral,
            // Nothing was asked: what proves the gateway could not be had.
            (Sign::Refused, 0) => Sign::Failed,
            // One model of several, or one region.
            (Sign::Refused, 403) => Sign::Forbidden,
            (Sign::Overloaded(_), _) => Sign::Overloaded(self.told),
            (sign, _) => sign,
        };
        self.reached.set(reached);
    }

    /// Tokens for the caller's quota: a rough count where the real one is not known yet.
    fn tokens(&self, usage: Option<&Usage>) -> u64 {
        match usage {
            Some(usage) => usage.prompt + usage.completion,
            None => {
                let delivered = self.decoder.as_ref().map_or(0, |decoder| decoder.delivered().1);
                ((self.request_len + delivered) / BYTES_PER_TOKEN) as u64
            }
        }
    }

    /// What the attempt cost: nothing, not even a fee per request, when it failed before anything was counted.
    fn charged(&self, usage: &Usage) -> Option<Usd> {
        let free = self.free_if_cancelled && self.outcome == Outcome::Cancelled;
        if free || (self.outcome != Outcome::Completed && *usage == Usage::default()) {
            return Some(Usd::ZERO);
        }
        self.cost(usage)
    }

    /// Settles what was set aside, unless the usage is still to be counted: then whoever counts does. The answer's
    /// length is noted for later bounds.
    fn pay(&self, usage: Option<&Usage>, charged: Option<Usd>, time_ms: i64) -> Option<Arc<dyn Settles>> {
        if let (Some(usage), Some(payer), Outcome::Completed) =
            (usage, self.call.paying.purses.first(), self.outcome)
        {
            payer.learned().note(&self.target.model, usage.completion);
        }
        let money = Arc::clone(self.held.as_ref()?.money.as_ref()?);
        if usage.is_none() && charged.is_none() {
            return Some(money);
        }
        money.settle(charged.unwrap_or_default(), time_ms);
        None
    }

    /// What the attempt says of its target.
    fn observation(&self, usage: Option<&Usage>) -> Observation {
        Observation {
            sign: self.sign,
            // A whole answer begins when it ends: that is no measure of how long one waits for a start.
            ttft: self.ttft.filter(|_| self.call.stream),
            duration: self.started.elapsed(),
            output_tokens: usage.map(|usage| usage.completion),
            probe: self.held.as_ref().and_then(|held| held.pass.probe),
        }
    }

    /// The usage to book, and whether it still has to be counted.
    fn settle_usage(&mut self) -> Option<Usage> {
        if let Some(usage) = self.usage {
            return Some(usage);
        }
        if let Some(usage) = self.decoder.as_ref().and_then(Decoder::reported) {
            return Some(usage);
        }
        // Nothing is charged for what never began: no head, or an error for an answer.
        let began = self.status == 200 && (self.decoder.is_some() || self.delivered.is_some());
        if began {
            self.estimated = true;
            return None;
        }
        Some(Usage::default())
    }
}

/// Whole microseconds.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Meter {
    /// What the span of a recorded call needs.
    fn span(&self) -> Option<Box<AttemptSpan>> {
        let trace = self.call.traced.as_ref()?.trace;
        trace.is_recorded().then(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Box::new(AttemptSpan {
                ids: trace.attempt(self.number),
                ended_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
                duration_us: micros(self.started.elapsed()),
                ttft_us: self.ttft.map(micros),
            })
        })
    }

    /// Books the receipt, now and not when this drops: an answer's receipt is there before its last byte is. What is
    /// noted later changes nothing.
    pub fn book(&mut self) {
        if std::mem::replace(&mut self.booked, true) {
            return;
        }
        let usage = self.settle_usage();
        let duration_ms = millis(self.started.elapsed());
        let tokens = self.tokens(usage.as_ref());
        self.call.used(tokens);
        if let Some(permit) = self.held.as_mut().and_then(|held| held.credential.permit.take()) {
            permit.settle(tokens);
        }
        let chosen = self.held.as_ref().map(|held| &held.credential);
        let credential = chosen.map(|chosen| (Arc::clone(&chosen.credential), chosen.probe));
        let (target, resent) = (self.target.clone(), self.resent);
        let finished = Finished { target, credential, seen: self.observation(usage.as_ref()), resent };
        let time_ms = (self.sinks.now_ms)();
        let mut cost = usage.as_ref().and_then(|usage| self.charged(usage));
        if self.free_if_cancelled && self.outcome == Outcome::Cancelled {
            cost = Some(Usd::ZERO);
        }
        let Paying { markup, tag_sets, .. } = &self.call.paying;
        let charged = cost.map(|cost| markup.charged(cost));
        let held = self.pay(usage.as_ref(), charged, time_ms);
        self.call.telling.booked(&self.target, usage.as_ref(), charged, self.estimated);
        let receipt = Receipt {
            call_id: self.call.call_id,
            attempt: self.number,
            request_id: Arc::clone(&self.call.request_id),
            time_ms,
            caller: self.call.caller.clone(),
            tags: Arc::clone(&self.call.tags),
            requested_model: Arc::clone(&self.call.requested_model),
            provider: Arc::clone(&self.target.provider),
            model: Arc::clone(&self.target.model),
            known_model: self.target.offer.is_some(),
            upstream_model: Arc::clone(&self.target.upstream),
            status: self.status,
            reached: self.reached.get(),
            outcome: self.outcome,
            error: self.error,
            stream: self.call.stream,
            ttft_ms: self.ttft.map(millis),
            duration_ms,
            unmetered: usage.is_none().then(|| self.unmetered()),
            charged,
            markup: *markup,
            tag_sets: Arc::clone(tag_sets),
            held,
            cost,
            usage,
            estimated: self.estimated,
            price: self.target.offer.as_ref().and_then(|offer| offer.price.clone()),
            service_tier: self.service_tier.clone(),
            place: None,
            span: self.span(),
        };
        (self.sinks.receipt)(receipt);
        // Before the places are free: who comes next must know what this attempt found.
        (self.sinks.finished)(finished);
        drop(self.held.take());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if std::thread::panicking() && self.outcome == Outcome::Cancelled {
            // Nobody cancelled: the gateway itself failed.
            self.failed(&Error::Internal, self.reached.get());
        }
        self.book();
    }
}

#[cfg(test)]
mod tests;
