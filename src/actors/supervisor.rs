//! The Supervisor actor of one cell: decides who may answer, and keeps a live Provider actor for each account.
//!
//! An actor that panicked is gone for good, mailbox and all; what survives is the factory. The supervisor looks
//! at the address before it hands it out and starts another actor if need be.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::WeakAddr;
use actix::prelude::*;

use super::live::Current;
use super::messages::{Assign, Assigned, Assignee, Cut, Drain, Explain, Explained, Reload};
use super::outbox::Outbox;
use super::provider::{Factory, Provider};
use super::tending::tend;
use crate::error::Error;
use crate::policy::account::Accounts;
use crate::policy::route::{Now, Plan, Router, Target};
use crate::upstream::Link;

/// Messages that wait at most; a sender waits beyond it.
pub const MAILBOX: usize = 4096;
/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// A provider of this cell.
struct Slot {
    factory: Factory,
    address: Addr<Provider>,
    /// The provider is tended for as long as this is there.
    _tended: Rc<()>,
}

/// The decision maker of one cell.
pub struct Supervisor {
    router: Arc<Router>,
    accounts: Arc<Accounts>,
    slots: HashMap<Arc<str>, Slot>,
    /// Actors that a reload replaced and that end with their last exchange.
    retired: Vec<WeakAddr<Provider>>,
    outbox: Rc<Outbox>,
    now_ms: fn() -> i64,
    /// Today, and the day number it was made for.
    today: (i64, String),
    /// State of the generator that weights and exploration draw from.
    random: u64,
}

impl Supervisor {
    /// A supervisor for these providers; the actors start with it.
    pub fn new(
        router: Arc<Router>,
        accounts: Arc<Accounts>,
        links: Vec<Rc<Link>>,
        outbox: Rc<Outbox>,
        now_ms: fn() -> i64,
    ) -> Self {
        let mut supervisor = Self {
            router,
            accounts,
            slots: HashMap::new(),
            retired: Vec::new(),
            outbox,
            now_ms,
            today: (i64::MIN, String::new()),
            random: now_ms().unsigned_abs() | 1,
        };
        supervisor.fill(links);
        supervisor
    }

    fn fill(&mut self, links: Vec<Rc<Link>>) {
        for link in links {
            let id = Arc::clone(&link.provider.id);
            let outbox = Rc::clone(&self.outbox);
            let receipt = Rc::new(move |receipt| outbox.receipt(receipt));
            let account = self.accounts.of(&link.provider, Instant::now());
            let pool = account.pool_of(&link.provider, Instant::now());
            let factory = Factory { pool, link, account, receipt, now_ms: self.now_ms };
            let (address, tended) = (factory.start(), Rc::new(()));
            actix_rt::spawn(tend(factory.clone(), Rc::downgrade(&tended)));
            self.slots.insert(id, Slot { factory, address, _tended: tended });
        }
    }

    /// Takes over what is in force now. A provider whose row is the same keeps its actor and its connections; the
    /// actors of the others end with their last exchange.
    fn reload(&mut self, current: &Current) {
        let mut old = std::mem::take(&mut self.slots);
        let mut links = Vec::new();
        for provider in current.settings.providers.values() {
            match old.remove(&provider.id) {
                Some(slot) if slot.factory.link.provider == *provider => {
                    self.slots.insert(Arc::clone(&provider.id), slot);
                    continue;
                }
                Some(slot) => self.retired.push(slot.address.downgrade()),
                None => {}
            }
            match current.link(provider) {
                Ok(link) => links.push(link),
                // Checked before; a row that cannot be used takes no request.
                Err(error) => tracing::error!(%error, "provider left out"),
            }
        }
        self.retired.extend(old.into_values().map(|slot| slot.address.downgrade()));
        self.retired.retain(|address| address.upgrade().is_some());
        self.router = Arc::clone(&current.router);
        self.fill(links);
    }

    /// A target with a live address.
    fn assignee(&mut self, target: Target) -> Option<Assignee> {
        let id = &target.provider;
        let slot = self.slots.get_mut(id)?;
        if !slot.address.connected() {
            tracing::error!(provider = %id, "the provider actor is gone; starting another");
            slot.address = slot.factory.start();
        }
        let Factory { link, account, .. } = &slot.factory;
        let (provider, account) = (Arc::clone(&link.provider), Arc::clone(account));
        Some(Assignee { target, provider, account, address: slot.address.clone() })
    }

    /// Today, `YYYY-MM-DD`.
    fn refresh_today(&mut self) {
        let now_ms = (self.now_ms)();
        let day = now_ms.div_euclid(DAY_MS);
        if day != self.today.0 {
            let text = crate::rfc3339::format_ms(now_ms);
            self.today = (day, text.get(..10).unwrap_or("").to_owned());
        }
    }

    /// The next pseudo-random number (xorshift64*): for weights, not for secrets.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Assign> for Supervisor {
    type Result = Result<Assigned, Error>;

    fn handle(&mut self, Assign { ask, key }: Assign, _: &mut Context<Self>) -> Result<Assigned, Error> {
        self.refresh_today();
        let random = self.next_random();
        let allowed = |model: &str, provider: &str| key.may_use(model, provider);
        let now = Now { today: &self.today.1, at: Instant::now(), random, allowed: &allowed, notes: None };
        let plan = self.router.plan(&ask, &now)?;
        let Plan { targets, requested_provider, hedge } = plan;
        let targets: Vec<_> = targets.into_iter().filter_map(|target| self.assignee(target)).collect();
        if targets.is_empty() {
            return Err(Error::Internal);
        }
        self.accounts.budget.earn();
        Ok(Assigned { targets, requested_provider, hedge, accounts: Arc::clone(&self.accounts) })
    }
}

impl Handler<Explain> for Supervisor {
    type Result = MessageResult<Explain>;

    fn handle(&mut self, Explain { ask, key }: Explain, _: &mut Context<Self>) -> Self::Result {
        self.refresh_today();
        let random = self.next_random();
        let allowed =
            |model: &str, provider: &str| key.as_ref().is_none_or(|key| key.may_use(model, provider));
        let now = Now { today: &self.today.1, at: Instant::now(), random, allowed: &allowed, notes: None };
        let explanation = self.router.explain(&ask, &now);
        let first = explanation.plan.as_ref().ok().and_then(|plan| plan.targets.first().cloned());
        MessageResult(Explained { explanation, first: first.and_then(|target| self.assignee(target)) })
    }
}

impl Handler<Reload> for Supervisor {
    type Result = ();

    fn handle(&mut self, Reload(current): Reload, _: &mut Context<Self>) {
        self.reload(&current);
    }
}

impl Handler<Drain> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> ResponseFuture<()> {
        let outbox = Rc::clone(&self.outbox);
        let retired = self.retired.iter().filter_map(WeakAddr::upgrade);
        let providers: Vec<_> = self.slots.values().map(|slot| slot.address.clone()).chain(retired).collect();
        Box::pin(async move {
            for provider in providers {
                // An actor that is gone has left its exchanges to themselves.
                let _ = provider.send(Cut).await;
            }
            if let Err(receipts) = outbox.flush().await {
                tracing::error!(receipts, "receipts could not be handed to billing");
            }
        })
    }
}
