//! Whom a call has yet to ask: first those with room, then, waiting, those that were full.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::actors::messages::Assignee;
use crate::error::Error;

/// The targets of a call that are left.
pub struct Queue {
    /// Not asked yet, in order.
    targets: VecDeque<Assignee>,
    /// Full when they were looked at, in order.
    full: VecDeque<Assignee>,
    /// Attempts made at the target in front with other credentials.
    again: usize,
    /// The provider that was last found full.
    passed: Option<Arc<str>>,
    /// Why the targets that could not be asked could not.
    refusal: Option<Error>,
}

impl Queue {
    /// All of them.
    pub fn new(targets: Vec<Assignee>) -> Self {
        Self { targets: targets.into(), full: VecDeque::new(), again: 0, passed: None, refusal: None }
    }

    /// Nobody is left.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.full.is_empty()
    }

    /// The next target that seems to have room; those without wait for their turn at the end.
    pub fn pop_with_room(&mut self) -> Option<Assignee> {
        while let Some(assignee) = self.targets.pop_front() {
            // A look from outside: the gate has the last word.
            let load = assignee.account.gate.load(&assignee.provider.admission);
            if load.queued == 0 && load.in_flight < load.limit {
                return Some(assignee);
            }
            self.full(assignee);
        }
        None
    }

    /// The next of those that were full.
    pub fn pop_full(&mut self) -> Option<Assignee> {
        self.full.pop_front()
    }

    /// Another time.
    pub fn put_back(&mut self, assignee: Assignee) {
        self.targets.push_front(assignee);
    }

    /// Another time, of those that were full.
    pub fn full_first(&mut self, assignee: Assignee) {
        self.full.push_front(assignee);
    }

    /// It has no room.
    pub fn full(&mut self, assignee: Assignee) {
        self.passed = Some(Arc::clone(&assignee.provider.id));
        self.full.push_back(assignee);
    }

    /// The provider that was found full since this was last asked, the latest of them.
    pub fn passed(&mut self) -> Option<Arc<str>> {
        self.passed.take()
    }

    /// An attempt failed: what the credential alone is to blame for is tried again with another one. True when it is.
    pub fn again(&mut self, assignee: Assignee, error: &Error) -> bool {
        let credential = matches!(error, Error::UpstreamRateLimited { .. } | Error::UpstreamAuth(_));
        let now = std::time::Instant::now();
        let (_, credentials) = assignee.account.usable(&assignee.target.upstream, now);
        let again = credential && self.again + 1 < credentials;
        if again {
            self.again += 1;
            self.targets.push_front(assignee);
        } else {
            self.again = 0;
        }
        again
    }

    /// A target could not be asked. The reason that goes soonest is kept, else the latest.
    pub fn refused(&mut self, error: Error) {
        let sooner = match (self.refusal.as_ref().and_then(Error::retry_after), error.retry_after()) {
            (Some(known), Some(wait)) => wait < known,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if sooner {
            self.refusal = Some(error);
        }
    }

    /// Why those that could not be asked could not.
    pub fn refusal(&mut self) -> Option<Error> {
        self.refusal.take()
    }

    /// Lets all of them go: the call has its answer.
    pub fn let_go(&mut self) {
        self.targets.clear();
        self.full.clear();
    }
}
