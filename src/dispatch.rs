//! The attempt loop of one call: assign, execute, wait for content or the next target, then pass on.
//!
//! Failover happens before the first content-bearing event and never after it. Invariants: at most one exchange is
//! running, or two where the call is hedged, until one of them has content; dropping the dispatch drops their
//! receivers, which cancels them; every attempt after the first is paid for out of the retry budget.

mod asking;
mod encoding;
mod explain;
mod images;
mod paying;
mod queue;
mod running;
mod way;

use std::rc::Rc;
use std::sync::Arc;

use actix::Addr;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use self::asking::{Asked, Waiting};
pub use self::explain::{Explained, Question, Shown, explain};
use self::images::Images;
pub use self::paying::asked;
use self::queue::Queue;
use self::running::Running;
use self::way::{Left, Race};
use crate::actors::cells::CellLoad;
use crate::actors::mailbox::Mailbox;
use crate::actors::messages::{Assign, Assigned};
use crate::actors::supervisor::{self, Supervisor};
use crate::chat::ChatRequest;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::policy::account::Accounts;
use crate::policy::admission::Share;
use crate::policy::budget::Size;
use crate::policy::route::{Ask, Hedge};
use crate::store::Member;
use crate::timer::Timer;
use crate::upstream::{Call, Failure, Fetcher, ReplyEvent};
use crate::wire::envelope::{AttemptNote, Envelope};

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
    /// What is asked of a model, for what it costs.
    pub asked: Size,
    /// Milliseconds since the epoch.
    pub now_ms: fn() -> i64,
    /// Who shares the budgets, and what they are called there.
    pub fleet: Option<(Fleet, Arc<[Arc<str>]>)>,
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
    queue: Queue,
    /// A place in the queue of a provider that was full.
    waiting: Option<Waiting>,
    /// Whom it comes from, once an attempt failed or was refused.
    left: Option<Left>,
    /// Messages to providers, counted.
    providers: Mailbox,
    accounts: Arc<Accounts>,
    /// A further attempt is paid for and was not made yet.
    paid: bool,
    hedge: Option<Hedge>,
    /// The attempt whose answer is passed on, once it has content.
    lead: Option<Box<Running>>,
    /// The one beside it, in a race to the first content.
    rival: Option<Box<Running>>,
    /// For whoever waits for events.
    timer: Timer,
    images: Images,
    /// Who answers, or was asked last.
    envelope: Arc<Envelope>,
    dropped: Vec<String>,
    attempts: u16,
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

/// Which of the attempts that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Lead,
    Rival,
}

/// What there was to wait for.
enum Happened {
    Event(Side, Option<ReplyEvent>),
    HedgeDue,
    Silence,
}

impl Dispatch {
    /// Asks the supervisor for targets.
    ///
    /// # Errors
    /// The refusal; nothing was sent anywhere.
    pub async fn assign(
        supervisor: &Addr<Supervisor>,
        load: &CellLoad,
        (key, ask): (Member, Ask),
        (deadline, mut timer): (Instant, Timer),
        order: impl FnOnce() -> Result<Order, Error>,
    ) -> Result<Box<Self>, Error> {
        let waits = load.supervisor.enter(supervisor::MAILBOX);
        let assigned = timer.by(deadline, supervisor.send(Assign { ask, key })).await;
        drop(waits);
        let Ok(assigned) = assigned else {
            return Err(Error::Timeout(
                "The gateway could not route the request in time; try again.".to_owned(),
            ));
        };
        let assigned = assigned.map_err(|_| Error::Internal)??;
        let Assigned { targets, requested_provider, hedge, accounts } = assigned;
        let order = order()?;
        let envelope = Envelope {
            requested_model: order.request.model.clone(),
            requested_provider: requested_provider.map(|id| id.to_string()),
            request_id: order.call.request_id.to_string(),
            fallback_id: order.fallback_id.clone(),
            created_s: order.created_s,
            ..Envelope::default()
        };
        Ok(Box::new(Self {
            order,
            queue: Queue::new(targets),
            waiting: None,
            left: None,
            providers: load.providers.clone(),
            accounts,
            paid: false,
            hedge,
            lead: None,
            rival: None,
            timer,
            images: Images::Unasked,
            envelope: Arc::new(envelope),
            dropped: Vec::new(),
            attempts: 0,
            content_sent: false,
            ended: false,
            sent_upstream: None,
            last: None,
        }))
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
            if self.lead.is_none() {
                match Box::pin(self.begin(patience_ends)).await {
                    Ok(true) => continue,
                    Ok(false) => return Some(Step::Silence),
                    Err(error) => return Some(self.end(Step::Failed(error))),
                }
            }
            let (side, event) = match self.wait(patience_ends).await {
                Happened::Silence => return Some(Step::Silence),
                Happened::HedgeDue => {
                    Box::pin(self.start_rival()).await;
                    continue;
                }
                Happened::Event(side, event) => (side, event),
            };
            let step = match event {
                Some(ReplyEvent::Whole(body)) => {
                    self.won(side);
                    Some(self.end(Step::Whole(body)))
                }
                Some(ReplyEvent::End) => {
                    self.won(side);
                    Some(self.end(Step::End))
                }
                Some(ReplyEvent::Chunk { bytes, content, .. }) => self.chunk(side, bytes, content),
                Some(ReplyEvent::Failed(failure)) => self.failed(side, failure),
                // The exchange ended without a word: it panicked.
                None => self.failed(side, Failure { error: Error::Internal, status: 0, latency_ms: 0 }),
            };
            if step.is_some() {
                return step;
            }
        }
        None
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self, patience_ends: Instant) -> Happened {
        let (lead, rival) = (self.lead.as_mut(), self.rival.as_mut());
        let hedge_at = lead.as_ref().and_then(|lead| lead.hedge_at).filter(|_| rival.is_none());
        let Some(lead) = lead else { return Happened::Silence };
        if rival.is_none() && hedge_at.is_none() {
            return match self.timer.by(patience_ends, lead.events.recv()).await {
                Ok(event) => Happened::Event(Side::Lead, event),
                Err(_) => Happened::Silence,
            };
        }
        let beside = async {
            match rival {
                Some(rival) => rival.events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = lead.events.recv() => Happened::Event(Side::Lead, event),
            event = beside => Happened::Event(Side::Rival, event),
            () = sleep_until(hedge_at.unwrap_or(patience_ends)), if hedge_at.is_some() => Happened::HedgeDue,
            () = sleep_until(patience_ends) => Happened::Silence,
        }
    }

    fn end(&mut self, step: Step) -> Step {
        self.ended = true;
        (self.lead, self.rival) = (None, None);
        self.images.let_go();
        step
    }

    fn side(&mut self, side: Side) -> Option<&mut Running> {
        match side {
            Side::Lead => self.lead.as_deref_mut(),
            Side::Rival => self.rival.as_deref_mut(),
        }
    }

    /// This one answers: the other, if there is one, is cancelled and booked as such.
    fn won(&mut self, side: Side) {
        if side == Side::Rival {
            self.lead = self.rival.take();
        }
        self.rival = None;
        if let Some(lead) = &mut self.lead {
            lead.hedge_at = None;
            lead.race.take().into_iter().for_each(Race::won);
            self.order.call.telling.answered_by(&lead.assignee.target);
            if !Arc::ptr_eq(&self.envelope, &lead.envelope) {
                let earlier = std::mem::take(&mut Arc::make_mut(&mut self.envelope).earlier);
                self.envelope = Arc::new(Envelope { earlier, ..Envelope::clone(&lead.envelope) });
            }
            self.dropped = std::mem::take(&mut lead.dropped);
        }
    }

    /// Holds bytes back until there is content among them.
    fn chunk(&mut self, side: Side, bytes: Bytes, content: bool) -> Option<Step> {
        if self.content_sent {
            return Some(Step::Chunk(bytes));
        }
        let bytes = self.side(side)?.held(bytes, content)?;
        self.content_sent = true;
        self.won(side);
        self.images.let_go();
        self.queue.let_go();
        Some(Step::Chunk(bytes))
    }

    /// Notes a failed attempt; the last word when nothing else can be tried.
    fn failed(&mut self, side: Side, failure: Failure) -> Option<Step> {
        let ended = match side {
            Side::Lead => std::mem::replace(&mut self.lead, self.rival.take()),
            Side::Rival => self.rival.take(),
        };
        let Failure { error, status, latency_ms } = failure;
        let class = error.class();
        let envelope = ended.as_ref().map_or(&self.envelope, |ended| &ended.envelope);
        // Not the text of the error: it may hold the upstream's words, and those the prompt or a credential.
        tracing::warn!(
            request_id = %self.order.call.request_id, provider = %envelope.used_provider, status,
            error = class.label, latency_ms, attempt = self.attempts, "attempt failed"
        );
        let note = AttemptNote {
            provider: envelope.used_provider.clone(),
            model: envelope.used_model.clone(),
            status,
            error: Some(error.code().unwrap_or(class.label).to_owned()),
            latency_ms,
        };
        Arc::make_mut(&mut self.envelope).earlier.push(note);
        if self.lead.is_some() {
            // The other one of two still runs, and may be well.
            self.last = Some(error);
            return None;
        }
        let may_go_on = class.failover || matches!(error, Error::Internal);
        if self.content_sent || !may_go_on || Instant::now() >= self.order.deadline {
            return Some(self.end(Step::Failed(error)));
        }
        if let Some(ended) = ended {
            let provider = Arc::clone(&ended.assignee.provider.id);
            let again = self.queue.again(ended.assignee, &error);
            self.left = Some(Left::after(&provider, &error, again));
        }
        if self.queue.is_empty() {
            return Some(self.end(Step::Failed(error)));
        }
        self.last = Some(error);
        None
    }

    /// Asks a second target beside the first, if one can be asked at once.
    async fn start_rival(&mut self) {
        let Some(lead) = &mut self.lead else { return };
        // Once, whatever comes of it.
        lead.hedge_at = None;
        let Some(assignee) = self.queue.pop_with_room() else { return };
        if !self.ready(&assignee, Instant::now()).await || !self.pay(&assignee) {
            self.queue.put_back(assignee);
            return;
        }
        // An answer of the second one tells of the first.
        Arc::make_mut(&mut self.envelope).earlier.extend(self.lead.as_deref().map(Running::hedged));
        let asked = self.ask(assignee, None).await;
        Arc::make_mut(&mut self.envelope).earlier.pop();
        match asked {
            Ok(Asked::Running(mut rival)) => {
                rival.race = Some(Race::begin(&rival.assignee.account));
                self.rival = Some(rival);
            }
            Ok(Asked::Full(assignee)) => self.queue.full(assignee),
            Err(error) => self.queue.refused(error),
        }
    }
}
