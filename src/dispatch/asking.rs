//! Asking the next target: room, images, encoding, the provider's verdict.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Dispatch;
use super::encoding::encode;
use super::running::Running;
use crate::actors::messages::{Assignee, Enqueue, Execute, Verdict};
use crate::actors::provider;
use crate::config::Route;
use crate::error::{Error, Shed};
use crate::policy::admission::{Permit, Ticket};
use crate::policy::budget::Hold;
use crate::policy::route::{Hedge, Target};
use crate::upstream::{Attempt, Outgoing, ReplyEvent};
use crate::wire::WireFormat;
use crate::wire::envelope::Envelope;

/// Events between an exchange and its dispatch at most; beyond it the upstream is not read.
const CHANNEL: usize = 8;
/// Hundredths of the time left within which a stream must begin, where another target could be asked.
const SHARE_STREAM: u32 = 60;
/// The same for a whole answer, which takes as long as it is.
const SHARE_WHOLE: u32 = 75;
/// What a caller is told to wait that waited in vain.
const QUEUE_RETRY: Duration = Duration::from_secs(1);

/// What becomes of a target that is asked.
pub enum Asked {
    /// It runs.
    Running(Box<Running>),
    /// There is no room.
    Full(Assignee),
}

/// A place in a provider's queue.
pub struct Waiting {
    assignee: Assignee,
    ticket: Ticket,
    since: Instant,
    ends: Instant,
}

impl Dispatch {
    /// Starts the next attempt; false when that takes longer than `patience_ends`. Ask again then.
    ///
    /// # Errors
    /// Nobody is left, or nobody may be asked.
    pub(super) async fn begin(&mut self, patience_ends: Instant) -> Result<bool, Error> {
        loop {
            let (assignee, permit) = match self.candidate(patience_ends).await {
                Ok(Some(candidate)) => candidate,
                Ok(None) => return Ok(false),
                Err(error) => return Err(error),
            };
            if permit.is_none() && !self.ready(&assignee, patience_ends).await {
                self.queue.put_back(assignee);
                return Ok(false);
            }
            if !self.pay(&assignee) {
                tracing::debug!(request_id = %self.order.call.request_id, "retry budget spent");
                return Err(self.last_word());
            }
            let provider = Arc::clone(&assignee.provider.id);
            match self.ask(assignee, permit).await {
                Ok(Asked::Running(lead)) => {
                    self.arrived(&lead.assignee);
                    self.lead = Some(lead);
                    return Ok(true);
                }
                Ok(Asked::Full(assignee)) => self.queue.full(assignee),
                Err(error @ Error::Timeout(_)) => return Err(self.last.take().unwrap_or(error)),
                Err(error) => {
                    self.turned_away(&provider);
                    self.queue.refused(error);
                }
            }
        }
    }

    /// Whom to ask next: one with room, else one that was waited for. `None` when patience ends first.
    async fn candidate(
        &mut self,
        patience_ends: Instant,
    ) -> Result<Option<(Assignee, Option<Permit>)>, Error> {
        loop {
            if self.waiting.is_none() {
                if let Some(assignee) = self.queue.pop_with_room() {
                    return Ok(Some((assignee, None)));
                }
                let Some(assignee) = self.queue.pop_full() else { return Err(self.last_word()) };
                // Its images are there before its turn comes, so that a place is not held for them.
                if !self.ready(&assignee, patience_ends).await {
                    self.queue.full_first(assignee);
                    return Ok(None);
                }
                let provider = Arc::clone(&assignee.provider.id);
                match self.enqueue(assignee).await {
                    Ok(waiting) => self.waiting = Some(waiting),
                    Err(error) => {
                        self.turned_away(&provider);
                        self.queue.refused(error);
                    }
                }
            }
            let Some(waiting) = &mut self.waiting else { continue };
            let ends = waiting.ends;
            match timeout_at(ends.min(patience_ends), &mut waiting.ticket).await {
                Err(_) if patience_ends < ends => return Ok(None),
                Ok(Ok(permit)) => {
                    if let Some(Waiting { assignee, since, .. }) = self.waiting.take() {
                        assignee.account.tally.queue_waited(since.elapsed());
                        return Ok(Some((assignee, Some(permit))));
                    }
                }
                // Its time is over, or another's turn came before it.
                Err(_) | Ok(Err(_)) => {
                    if let Some(Waiting { assignee, .. }) = self.waiting.take() {
                        assignee.account.tally.queue_timed_out();
                        self.turned_away(&assignee.provider.id);
                        let message =
                            format!("{} has as many requests from here as it takes.", assignee.provider.id);
                        let why = Shed::QueueTimeout;
                        self.queue.refused(Error::Shed { why, message, retry_after: QUEUE_RETRY });
                    }
                }
            }
        }
    }

    /// Takes a place in the queue of a provider that is full.
    async fn enqueue(&self, assignee: Assignee) -> Result<Waiting, Error> {
        let since = Instant::now();
        let ends = self.order.deadline.min(since + assignee.provider.admission.queue_timeout);
        let message = Enqueue {
            target: assignee.target.clone(),
            share: self.order.share.clone(),
            deadline: ends.into_std(),
        };
        let waits = self.providers.enter(provider::MAILBOX);
        let placed = timeout_at(self.order.deadline, assignee.address.send(message)).await;
        drop(waits);
        let Ok(placed) = placed else {
            return Err(Error::Timeout(
                "The gateway could not ask a provider in time; try again.".to_owned(),
            ));
        };
        let ticket = placed.map_err(|_| Error::Internal)??;
        Ok(Waiting { assignee, ticket, since, ends })
    }

    /// What a call says that has nobody left to ask: what an upstream said is worth more than that a further one
    /// could not be asked.
    fn last_word(&mut self) -> Error {
        self.last.take().or_else(|| self.queue.refusal()).unwrap_or(Error::Internal)
    }

    /// Pays for a further attempt; the first one is free.
    pub(super) fn pay(&mut self, assignee: &Assignee) -> bool {
        let floor = &assignee.account.floor;
        self.paid =
            self.paid || self.attempts == 0 || self.accounts.budget.spend(floor, std::time::Instant::now());
        if !self.paid {
            assignee.account.tally.unpaid();
        }
        self.paid
    }

    /// Hands a target its attempt.
    ///
    /// # Errors
    /// It cannot be asked this, or not now.
    pub(super) async fn ask(&mut self, assignee: Assignee, permit: Option<Permit>) -> Result<Asked, Error> {
        let Assignee { target, provider, address, .. } = &assignee;
        let envelope = Arc::new(self.described(target));
        let route = provider.route(&target.upstream, target.facts());
        if self.inlines_images(route.wire)
            && let Some(error) = self.images.refusal()
        {
            return Err(error);
        }
        let encoding = encode(self.order.source(), route.wire, target, provider, self.images.media());
        // A large body waits for a thread that may block.
        let Ok(encoded) = self.timer.by(self.order.deadline, encoding).await else {
            return Err(Error::Timeout("The request could not be translated in time; try again.".to_owned()));
        };
        let encoded = encoded?;
        let money = self.set_aside(target).await?;
        let (attempt, events) =
            self.attempt(&assignee, route, &envelope, (encoded.headers, encoded.body), money);
        self.sent_upstream.get_or_insert_with(std::time::Instant::now);
        let waits = self.providers.enter(provider::MAILBOX);
        let asked = address.send(Execute { attempt, permit });
        let verdict = self.timer.by(self.order.deadline, asked).await;
        drop(waits);
        let Ok(verdict) = verdict else {
            return Err(Error::Timeout(
                "The gateway could not ask a provider in time; try again.".to_owned(),
            ));
        };
        match verdict.map_err(|_| Error::Internal)?? {
            Verdict::Full => Ok(Asked::Full(assignee)),
            Verdict::Running => {
                self.attempts += 1;
                self.paid = false;
                let hedge_at = self.hedge_at(target);
                self.envelope = Arc::clone(&envelope);
                self.dropped.clone_from(&encoded.dropped);
                let (dropped, withheld) = (encoded.dropped, BytesMut::new());
                Ok(Asked::Running(Box::new(Running {
                    events,
                    assignee,
                    envelope,
                    dropped,
                    hedge_at,
                    withheld,
                    since: Instant::now(),
                    race: None,
                })))
            }
        }
    }

    /// The attempt, and where what it brings comes out.
    fn attempt(
        &self,
        assignee: &Assignee,
        route: &Route,
        envelope: &Arc<Envelope>,
        (mut headers, body): (Vec<(&'static str, String)>, Bytes),
        money: Option<Arc<Hold>>,
    ) -> (Box<Attempt>, mpsc::Receiver<ReplyEvent>) {
        let (stream, target) = (self.order.request.stream, &assignee.target);
        let path = route.path(&target.upstream, stream);
        let (events, running) = mpsc::channel(CHANNEL);
        if let Some(traced) = &self.order.call.traced {
            traced.headers(self.attempts + 1, &mut headers);
        }
        let attempt = Box::new(Attempt {
            call: Arc::clone(&self.order.call),
            target: target.clone(),
            number: self.attempts + 1,
            out: Outgoing { wire: route.wire, stream, path, credential: 0, headers, body },
            envelope: Arc::clone(envelope),
            deadline: self.order.deadline,
            content_deadline: self.content_deadline(),
            timeouts: assignee.provider.timeouts_of(&target.upstream),
            session: self.order.session,
            tokens: self.order.tokens,
            asked: self.order.asked,
            money,
            lender: self.lender(),
            events,
        });
        (attempt, running)
    }

    /// When the answer must have begun: not all of the time is one target's while there is another.
    fn content_deadline(&self) -> Instant {
        let deadline = self.order.deadline;
        if self.queue.is_empty() {
            return deadline;
        }
        let share = if self.order.request.stream { SHARE_STREAM } else { SHARE_WHOLE };
        let now = Instant::now();
        now + deadline.saturating_duration_since(now) * share / 100
    }

    /// When a second target is asked beside this one.
    fn hedge_at(&self, target: &Target) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        let now = Instant::now();
        let patience = match self.hedge? {
            Hedge::After(patience) => patience,
            // It is the beginning of streams that is known; a whole answer takes as long as it is.
            Hedge::P95 if !self.order.request.stream => return None,
            Hedge::P95 => target.health.p95_ttft(now.into_std())?,
        };
        Some(now + patience)
    }

    /// True when nothing must be waited for before a target is asked.
    pub(super) async fn ready(&mut self, assignee: &Assignee, patience_ends: Instant) -> bool {
        let Assignee { target, provider, .. } = assignee;
        let wire = provider.route(&target.upstream, target.facts()).wire;
        !self.inlines_images(wire) || self.images.settled(&self.order, wire, patience_ends).await
    }

    /// True when images that are given by address must be fetched for this format.
    fn inlines_images(&self, wire: WireFormat) -> bool {
        wire.inlines_images() && self.order.request.uses.images
    }

    /// The envelope with a target's names.
    fn described(&self, target: &Target) -> Envelope {
        let known = &*self.envelope;
        let (provider, model) = (&*target.provider, &*target.model);
        Envelope {
            model: [provider, "/", model].concat(),
            used_model: model.to_owned(),
            used_provider: provider.to_owned(),
            underlying_used_model: target.upstream.to_string(),
            requested_model: known.requested_model.clone(),
            requested_provider: known.requested_provider.clone(),
            request_id: known.request_id.clone(),
            earlier: known.earlier.clone(),
            fallback_id: known.fallback_id.clone(),
            created_s: known.created_s,
            cut: known.cut.clone(),
        }
    }
}
