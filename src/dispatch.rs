//! The attempt loop of one call: assign, execute, wait for content or the next target, then pass on.
//!
//! Failover happens before the first content-bearing event and never after it. Invariant: at most one exchange
//! is running; dropping the dispatch drops its receiver, which cancels the exchange.

mod encoding;
mod images;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use self::encoding::encode;
use self::images::Images;
use crate::actors::messages::{Assign, Assigned, Assignee, Execute, Verdict};
use crate::actors::supervisor::Supervisor;
use crate::chat::ChatRequest;
use crate::config::Route;
use crate::error::Error;
use crate::policy::admission::Share;
use crate::policy::route::{Ask, Target};
use crate::store::KeyEntry;
use crate::upstream::{Attempt, Call, Failure, Fetcher, Outgoing, ReplyEvent};
use crate::wire::WireFormat;
use crate::wire::envelope::{AttemptNote, Envelope};

/// Events between an exchange and its dispatch at most; beyond it the upstream is not read.
const CHANNEL: usize = 8;
/// Bytes held back before the first content at most; beyond it they go out.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// A request ready to be tried at targets.
pub struct Order {
    /// Facts of the call.
    pub call: Arc<Call>,
    /// The client's bytes.
    pub body: Bytes,
    /// What was read from them.
    pub request: Arc<ChatRequest>,
    /// Refuse instead of dropping parameters.
    pub strict: bool,
    /// When the call must be over.
    pub deadline: Instant,
    /// Who waits for it, should it have to wait.
    pub share: Share,
    /// The session it belongs to, as a hash.
    pub session: Option<u64>,
    /// Tokens that it may use, prompt and completion.
    pub tokens: u64,
    /// `id` for answers that come without one.
    pub fallback_id: String,
    /// Seconds since the epoch.
    pub created_s: i64,
    /// Who fetches images; `None`: nobody may.
    pub fetcher: Option<Rc<Fetcher>>,
}

/// One call under way.
pub struct Dispatch {
    order: Order,
    targets: VecDeque<Assignee>,
    running: Option<mpsc::Receiver<ReplyEvent>>,
    images: Images,
    envelope: Envelope,
    dropped: Vec<String>,
    attempts: u16,
    held: BytesMut,
    content_sent: bool,
    ended: bool,
    sent_upstream: Option<std::time::Instant>,
    /// What the last failed attempt said.
    last: Option<Error>,
}

/// What the dispatch yields.
#[derive(Debug)]
pub enum Step {
    /// The whole body of a non-streaming answer.
    Whole(Bytes),
    /// Bytes of a stream; the first are content-bearing.
    Chunk(Bytes),
    /// The stream was delivered to its end.
    End,
    /// Nothing came for as long as the caller wanted to wait; ask again.
    Silence,
    /// All is lost.
    Failed(Error),
}

impl Dispatch {
    /// Asks the supervisor for targets.
    ///
    /// # Errors
    /// The refusal; nothing was sent anywhere.
    pub async fn assign(
        supervisor: &Addr<Supervisor>,
        key: Arc<KeyEntry>,
        ask: Ask,
        order: impl FnOnce() -> Result<Order, Error>,
    ) -> Result<Self, Error> {
        let assigned = supervisor.send(Assign { ask, key }).await.map_err(|_| Error::Internal)??;
        let Assigned { targets, requested_provider, .. } = assigned;
        let order = order()?;
        let envelope = Envelope {
            requested_model: order.request.model.clone(),
            requested_provider: requested_provider.map(|id| id.to_string()),
            request_id: order.call.request_id.to_string(),
            fallback_id: order.fallback_id.clone(),
            created_s: order.created_s,
            ..Envelope::default()
        };
        Ok(Self {
            order,
            targets: targets.into(),
            running: None,
            images: Images::Unasked,
            envelope,
            dropped: Vec::new(),
            attempts: 0,
            held: BytesMut::new(),
            content_sent: false,
            ended: false,
            sent_upstream: None,
            last: None,
        })
    }

    /// Who answers, or was tried last.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Parameters that the target could not take.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// A streaming request?
    pub fn streams(&self) -> bool {
        self.order.request.stream
    }

    /// Attempts made so far.
    pub fn attempts(&self) -> u16 {
        self.attempts
    }

    /// When the first attempt was handed to its provider.
    pub fn sent_upstream(&self) -> Option<std::time::Instant> {
        self.sent_upstream
    }

    /// True once something of the answer was yielded.
    pub fn content_sent(&self) -> bool {
        self.content_sent
    }

    /// The next thing for the client, or [`Step::Silence`] when there is none until `patience_ends`, whatever
    /// went on upstream meanwhile; `None` after the end.
    ///
    /// Not cancel-safe while a target is being asked: whoever drops this future drops the call.
    pub async fn next(&mut self, patience_ends: Instant) -> Option<Step> {
        while !self.ended {
            let Some(running) = self.running.as_mut() else {
                match self.execute(patience_ends).await {
                    Ok(true) => continue,
                    Ok(false) => return Some(Step::Silence),
                    Err(error) => return Some(self.end(Step::Failed(error))),
                }
            };
            let Ok(event) = timeout_at(patience_ends, running.recv()).await else {
                return Some(Step::Silence);
            };
            match event {
                Some(ReplyEvent::Whole(body)) => return Some(self.end(Step::Whole(body))),
                Some(ReplyEvent::End) => return Some(self.end(Step::End)),
                Some(ReplyEvent::Chunk { bytes, content }) => {
                    if let Some(step) = self.chunk(bytes, content) {
                        return Some(step);
                    }
                }
                Some(ReplyEvent::Failed(failure)) => {
                    if let Some(step) = self.failed(failure) {
                        return Some(step);
                    }
                }
                // The exchange ended without a word: it panicked.
                None => {
                    if let Some(step) =
                        self.failed(Failure { error: Error::Internal, status: 0, latency_ms: 0 })
                    {
                        return Some(step);
                    }
                }
            }
        }
        None
    }

    fn end(&mut self, step: Step) -> Step {
        self.ended = true;
        self.running = None;
        self.images.let_go();
        step
    }

    /// Holds bytes back until there is content among them.
    fn chunk(&mut self, bytes: Bytes, content: bool) -> Option<Step> {
        if self.content_sent {
            return Some(Step::Chunk(bytes));
        }
        if !content && self.held.len() + bytes.len() <= HELD_BYTES_MAX {
            self.held.extend_from_slice(&bytes);
            return None;
        }
        self.content_sent = true;
        self.images.let_go();
        if self.held.is_empty() {
            return Some(Step::Chunk(bytes));
        }
        self.held.extend_from_slice(&bytes);
        Some(Step::Chunk(self.held.split().freeze()))
    }

    /// Notes a failed attempt; the last word when nothing else can be tried.
    fn failed(&mut self, failure: Failure) -> Option<Step> {
        self.running = None;
        self.held.clear();
        let Failure { error, status, latency_ms } = failure;
        let class = error.class();
        // Not the text of the error: it may hold the upstream's words, and those the prompt or a credential.
        tracing::warn!(
            request_id = %self.order.call.request_id, provider = %self.envelope.used_provider, status,
            error = class.label, latency_ms, attempt = self.attempts, "attempt failed"
        );
        self.envelope.earlier.push(AttemptNote {
            provider: self.envelope.used_provider.clone(),
            model: self.envelope.used_model.clone(),
            status,
            error: Some(error.code().unwrap_or(class.label).to_owned()),
            latency_ms,
        });
        let may_go_on = class.failover || matches!(error, Error::Internal);
        if self.content_sent || !may_go_on || self.targets.is_empty() || Instant::now() >= self.order.deadline
        {
            return Some(self.end(Step::Failed(error)));
        }
        self.last = Some(error);
        None
    }

    /// Hands the next target its attempt; false when its images are still being fetched at `patience_ends`.
    async fn execute(&mut self, patience_ends: Instant) -> Result<bool, Error> {
        let mut refusal = None;
        while self.ready(patience_ends).await {
            let Some(Assignee { target, provider, address, .. }) = self.targets.pop_front() else {
                // What an upstream said is worth more than that a further one could not be asked.
                return Err(self.last.take().or(refusal).unwrap_or(Error::Internal));
            };
            self.describe(&target);
            let facts = target.facts();
            let route = provider.route(&target.upstream, facts);
            if self.inlines_images(route.wire)
                && let Some(error) = self.images.refusal()
            {
                refusal = Some(error);
                continue;
            }
            let media = self.images.media();
            let encoding = encode(&self.order, route.wire, &target, &provider, media);
            let encoded = match timeout_at(self.order.deadline, encoding).await {
                Ok(Ok(encoded)) => encoded,
                Ok(Err(error)) => {
                    refusal = Some(error);
                    continue;
                }
                // A large body waits for a thread that may block.
                Err(_) => {
                    let message = "The request could not be translated in time; try again.".to_owned();
                    return Err(self.last.take().unwrap_or(Error::Timeout(message)));
                }
            };
            let (attempt, running) = self.attempt(target, &route, encoded.headers, encoded.body);
            self.sent_upstream.get_or_insert_with(std::time::Instant::now);
            let Ok(verdict) = timeout_at(
                self.order.deadline,
                address.send(Execute { attempt, permit: None, wait_until: None }),
            )
            .await
            else {
                let message = "The gateway could not ask a provider in time; try again.".to_owned();
                return Err(self.last.take().unwrap_or(Error::Timeout(message)));
            };
            match verdict {
                Ok(Ok(Verdict::Queued(..))) => refusal = Some(Error::Internal),
                Ok(Ok(Verdict::Running)) => {
                    self.attempts += 1;
                    self.dropped = encoded.dropped;
                    self.running = Some(running);
                    return Ok(true);
                }
                Ok(Err(error)) => refusal = Some(error),
                Err(_) => refusal = Some(Error::Internal),
            }
        }
        Ok(false)
    }

    /// The next attempt, and where what it brings comes out.
    fn attempt(
        &self,
        target: Target,
        route: &Route,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> (Box<Attempt>, mpsc::Receiver<ReplyEvent>) {
        let stream = self.order.request.stream;
        let path = route.path(&target.upstream, stream);
        let (events, running) = mpsc::channel(CHANNEL);
        let attempt = Box::new(Attempt {
            call: Arc::clone(&self.order.call),
            target,
            number: self.attempts + 1,
            out: Outgoing { wire: route.wire, stream, path, credential: 0, headers, body },
            envelope: Box::new(self.envelope.clone()),
            deadline: self.order.deadline,
            content_deadline: self.order.deadline,
            session: self.order.session,
            share: self.order.share.clone(),
            tokens: self.order.tokens,
            events,
        });
        (attempt, running)
    }

    /// True when nothing must be waited for before the next target is asked.
    async fn ready(&mut self, patience_ends: Instant) -> bool {
        let Some(Assignee { target, provider, .. }) = self.targets.front() else { return true };
        let wire = provider.route(&target.upstream, target.facts()).wire;
        !self.inlines_images(wire) || self.images.settled(&self.order, wire, patience_ends).await
    }

    /// True when images that are given by address must be fetched for this format.
    fn inlines_images(&self, wire: WireFormat) -> bool {
        wire.inlines_images() && self.order.request.uses.images
    }

    /// Puts a target's names into the envelope.
    fn describe(&mut self, target: &Target) {
        self.envelope.model = format!("{}/{}", target.provider, target.model);
        self.envelope.used_model = target.model.to_string();
        self.envelope.used_provider = target.provider.to_string();
        self.envelope.underlying_used_model = target.upstream.to_string();
    }
}
