//! The way of a call from target to target, as it is counted: failovers, attempts made again, hedges.

use std::sync::Arc;

use super::Dispatch;
use crate::actors::messages::Assignee;
use crate::error::Error;
use crate::policy::account::Account;
use crate::policy::tally::{Hedged, Retry};

/// Why a call goes on from a target that was not sent anything.
const REFUSED: &str = "refused";

/// Whom a call comes from.
pub enum Left {
    /// A provider, for this reason.
    Provider(Arc<str>, &'static str),
    /// The same target, with another credential.
    Credential(Retry),
}

impl Left {
    /// What an attempt that failed leaves; `again`: its target is asked once more, with another credential.
    pub fn after(provider: &Arc<str>, error: &Error, again: bool) -> Self {
        match error {
            Error::UpstreamAuth(_) if again => Self::Credential(Retry::Refused),
            _ if again => Self::Credential(Retry::RateLimited),
            _ => Self::Provider(Arc::clone(provider), error.class().label),
        }
    }
}

impl Dispatch {
    /// An attempt runs at this target, or would if the target had not refused it.
    pub(super) fn arrived(&mut self, assignee: &Assignee) {
        let full = self.queue.passed();
        match self.left.take() {
            Some(Left::Credential(retry)) => assignee.account.tally.retried(retry),
            Some(Left::Provider(from, why)) => self.went(&from, &assignee.provider.id, why),
            // Others before it had no room.
            None => full.into_iter().for_each(|from| self.went(&from, &assignee.provider.id, REFUSED)),
        }
    }

    /// A provider was asked, or waited for, in vain: nothing was sent.
    pub(super) fn turned_away(&mut self, provider: &Arc<str>) {
        if let Some(Left::Provider(from, why)) = self.left.take() {
            self.went(&from, provider, why);
        }
        self.left = Some(Left::Provider(Arc::clone(provider), REFUSED));
    }

    fn went(&self, from: &Arc<str>, to: &Arc<str>, why: &'static str) {
        // Whoever was full is asked after all, once there is room.
        if why != REFUSED || from != to {
            self.accounts.failovers.count(from, to, why);
            let call = &self.order.call;
            if call.traced.as_ref().is_some_and(|traced| traced.trace.is_recorded()) {
                call.telling.failed_over(from, to, why);
            }
        }
    }
}

/// An attempt beside a slow one, until it is known what became of it: lost, unless it is said to have won.
pub struct Race {
    account: Arc<Account>,
    end: Hedged,
}

impl Race {
    /// It runs.
    pub fn begin(account: &Arc<Account>) -> Self {
        account.tally.hedged(Hedged::Started);
        Self { account: Arc::clone(account), end: Hedged::Lost }
    }

    /// Its answer is used.
    pub fn won(mut self) {
        self.end = Hedged::Won;
    }
}

impl Drop for Race {
    fn drop(&mut self) {
        self.account.tally.hedged(self.end);
    }
}
