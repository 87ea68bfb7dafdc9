//! What the actors of a cell say to each other.

use std::sync::Arc;

use actix::prelude::*;

use super::live::Current;
use super::provider::Provider;
use crate::error::Error;
use crate::policy::account::{Account, Accounts};
use crate::policy::admission::{Permit, Share, Ticket};
use crate::policy::route::{Ask, Explanation, Hedge, Target};
use crate::store::Member;
use crate::upstream::{Attempt, Finished, Outgoing, Previewed};

/// Dispatch -> Supervisor: who may answer this? A pure decision.
#[derive(Debug, Message)]
#[rtype(result = "Result<Assigned, Error>")]
pub struct Assign {
    /// What routing needs to know.
    pub ask: Ask,
    /// The caller's key: what it may use.
    pub key: Member,
}

/// Targets in order, each with a live address.
#[derive(Debug)]
pub struct Assigned {
    /// At least one.
    pub targets: Vec<Assignee>,
    /// The provider prefix of the model string, if it had one.
    pub requested_provider: Option<Arc<str>>,
    /// When a second target is asked beside the first.
    pub hedge: Option<Hedge>,
    /// What the process may spend on further attempts.
    pub accounts: Arc<Accounts>,
}

/// One target, and how to reach it.
#[derive(Clone, Debug)]
pub struct Assignee {
    /// Whom to ask for what.
    pub target: Target,
    /// The row.
    pub provider: Arc<crate::config::Provider>,
    /// What all cells share of it.
    pub account: Arc<Account>,
    /// Its actor on this cell.
    pub address: Addr<Provider>,
}

/// Dispatch -> Provider: run this attempt. The answer is the admission verdict, at once; bytes ride the channel.
#[derive(Debug, Message)]
#[rtype(result = "Result<Verdict, Error>")]
pub struct Execute {
    /// What to run.
    pub attempt: Box<Attempt>,
    /// A place that was waited for.
    pub permit: Option<Permit>,
}

/// Dispatch -> Supervisor: who would answer this, and why? A pure decision; nothing is asked of anybody.
#[derive(Debug, Message)]
#[rtype(result = "Explained")]
pub struct Explain {
    /// What routing needs to know.
    pub ask: Ask,
    /// The caller's key; `None`: one that may use everything.
    pub key: Option<Member>,
}

/// A decision and why.
#[derive(Debug)]
pub struct Explained {
    /// The decision.
    pub explanation: Explanation,
    /// Whom the first attempt would go to.
    pub first: Option<Assignee>,
}

/// Dispatch -> Provider: what would be sent? Nothing is.
#[derive(Debug, Message)]
#[rtype(result = "Result<Previewed, Error>")]
pub struct Preview(pub Outgoing);

/// What becomes of an attempt that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Running,
    /// The provider has as many attempts as it takes: wait, or ask another.
    Full,
}

/// Dispatch -> Provider: a place in the queue for those that it has no room for. The answer is the place, or the
/// refusal, at once; the permit comes through the ticket.
#[derive(Debug, Message)]
#[rtype(result = "Result<Ticket, Error>")]
pub struct Enqueue {
    /// What it waits to ask.
    pub target: Target,
    /// Who waits.
    pub share: Share,
    /// It waits until then.
    pub deadline: std::time::Instant,
}

/// Exchange guard -> its Provider: an admitted attempt ended. Sent exactly once per admitted attempt.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AttemptFinished(pub Finished);

/// Gateway -> Supervisor: what is in force from here on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reload(pub Arc<Current>);

/// Supervisor -> Provider: end every exchange that still runs; answered when each has booked its receipt.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Cut;

/// Gateway -> Supervisor: end what still runs and hand every receipt of this cell to Billing; answered when it
/// has them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;
