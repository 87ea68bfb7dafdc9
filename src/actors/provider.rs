//! The Provider actor: one configured upstream account on one cell. It admits attempts (a place, a credential, the
//! breaker's word) and feeds what they find into what all cells share of the account; the exchanges run as tasks of
//! the thread, never in the actor's own context.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::watch;

use super::messages::{AttemptFinished, Cut, Enqueue, Execute, Preview, Verdict};
use crate::config::OnCancel;
use crate::error::{self, Error};
use crate::policy::account::Account;
use crate::policy::admission::{Permit, Shed, Ticket};
use crate::policy::health::{Reading, State};
use crate::policy::pool::{News, Pool, Unavailable, Wanted};
use crate::policy::tally::Retry;
use crate::receipt::Receipt;
use crate::upstream::{Attempt, Finished, Held, Link, Meter, Previewed, Sinks, run};

/// Messages that wait at most; a sender waits beyond it. One message is one attempt or the end of one.
pub const MAILBOX: usize = 1024;
/// What a caller is told to wait for a process that ends: another one is there by then.
const ENDING_RETRY: Duration = Duration::from_secs(1);

/// What a provider actor is made from; kept by the supervisor so that it can make it again.
#[derive(Clone)]
pub struct Factory {
    /// The account's client on this cell.
    pub link: Rc<Link>,
    /// What all cells share of it.
    pub account: Arc<Account>,
    /// Its credentials, in the order of the row that `link` was made from: a reload may give the account others.
    pub pool: Arc<Pool>,
    /// Takes receipts.
    pub receipt: Rc<dyn Fn(Receipt)>,
    /// Milliseconds since the epoch.
    pub now_ms: fn() -> i64,
}

/// One upstream account on one cell.
pub struct Provider {
    factory: Factory,
    /// State of the generator that the credentials' weights draw from.
    random: u64,
    /// Turns true when exchanges must end; each of them holds a receiver.
    cut: watch::Sender<bool>,
}

impl Factory {
    /// Starts the actor on this thread.
    pub fn start(&self) -> Addr<Provider> {
        let random = (self.now_ms)().unsigned_abs() | 1;
        Provider { factory: self.clone(), random, cut: watch::Sender::new(false) }.start()
    }
}

impl Actor for Provider {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Provider {
    /// Refuses while the process ends.
    fn takes_calls(&self) -> Result<(), Error> {
        if *self.cut.borrow() {
            let message = "The gateway is shutting down.".to_owned();
            return Err(Error::Shed { why: error::Shed::Draining, message, retry_after: ENDING_RETRY });
        }
        Ok(())
    }

    /// A place, the breaker's word and a credential, or why the attempt is not run.
    fn hold(&mut self, attempt: &Attempt, permit: Permit, now: Instant) -> Result<Held, Error> {
        let provider = &self.factory.link.provider;
        let pass = attempt.target.health.admit(now, attempt.target.ignore_soft);
        let pass = pass.map_err(|wait| ejected(&provider.id, wait))?;
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wanted = Wanted {
            model: &attempt.target.upstream,
            tokens: attempt.tokens,
            session: attempt.session,
            random: self.random >> 16,
        };
        let credential = self.factory.pool.take(&wanted, now).map_err(|none| match none {
            Unavailable::Limited(wait) => Error::UpstreamRateLimited {
                message: format!("{} limits the gateway's requests.", provider.id),
                retry_after: Some(wait),
            },
            Unavailable::TooLarge => Error::invalid_code(
                format!("This request alone may use more tokens than {} allows in a minute.", provider.id),
                None,
                "request_exceeds_limit",
            ),
            Unavailable::Refused(_) => Error::UpstreamAuth(format!(
                "{} refused the gateway's credential or account and is not asked until it is tried again.",
                provider.id
            )),
        });
        match credential {
            Ok(credential) => Ok(Held { permit, credential, pass, money: attempt.money.clone() }),
            Err(error) => {
                attempt.target.health.unused(pass);
                Err(error)
            }
        }
    }

    /// Runs an attempt as a task of this thread.
    fn run(&self, mut attempt: Box<Attempt>, held: Held, ctx: &Context<Self>) {
        attempt.out.credential = held.credential.index;
        let address = ctx.address();
        let sinks = Sinks {
            receipt: Rc::clone(&self.factory.receipt),
            // The mailbox's bound is not asked: at most one of these comes per admitted attempt.
            finished: Rc::new(move |finished| address.do_send(AttemptFinished(finished))),
            now_ms: self.factory.now_ms,
        };
        let call = Arc::clone(&attempt.call);
        let target = attempt.target.clone();
        let mut meter = Meter::start(call, target, attempt.number, &attempt.out.body, Some(held), sinks);
        if self.factory.link.provider.on_cancel == OnCancel::Free {
            meter.free_if_cancelled();
        }
        // Boxed before anything else is made of it: a task is moved several times until it runs, and once when it ends.
        let exchange = Box::pin(run(Rc::clone(&self.factory.link), attempt, meter));
        let mut cut = self.cut.subscribe();
        actix_rt::spawn(async move {
            // An exchange that waits for a client who does not read ends here; its meter books what there was.
            // Should this actor end first, the exchange goes on.
            tokio::select! {
                biased;
                () = exchange => {}
                Ok(_) = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}

/// The breaker's word.
fn ejected(provider: &str, retry_after: Duration) -> Error {
    let message = format!("{provider} is not asked for this model just now: it failed too often.");
    Error::Overloaded { message, retry_after }
}

impl Handler<Execute> for Provider {
    type Result = Result<Verdict, Error>;

    fn handle(&mut self, message: Execute, ctx: &mut Context<Self>) -> Result<Verdict, Error> {
        let Execute { attempt, permit } = message;
        self.takes_calls()?;
        let account = &self.factory.account;
        let now = Instant::now();
        let Some(permit) = permit.or_else(|| account.gate.try_enter(&account.admission())) else {
            return Ok(Verdict::Full);
        };
        let held = self.hold(&attempt, permit, now)?;
        self.run(attempt, held, ctx);
        Ok(Verdict::Running)
    }
}

impl Handler<Enqueue> for Provider {
    type Result = Result<Ticket, Error>;

    fn handle(&mut self, message: Enqueue, _: &mut Context<Self>) -> Result<Ticket, Error> {
        let Enqueue { target, share, deadline } = message;
        self.takes_calls()?;
        let Factory { link, account, .. } = &self.factory;
        let (provider, now) = (&link.provider, Instant::now());
        // Nobody waits for a place that the breaker would not let it take.
        if let Some(wait) = target.health.barred_for(now, target.ignore_soft) {
            return Err(ejected(&provider.id, wait));
        }
        account.gate.enqueue(&share, &account.admission(), now, deadline).map_err(|shed| {
            let Shed { retry_after } = shed;
            let message = format!("{} has as many requests from here as it takes.", provider.id);
            Error::Shed { why: error::Shed::QueueFull, message, retry_after }
        })
    }
}

impl Handler<Preview> for Provider {
    type Result = Result<Previewed, Error>;

    fn handle(&mut self, Preview(out): Preview, _: &mut Context<Self>) -> Result<Previewed, Error> {
        let shown = self.factory.link.preview(&out);
        shown.map_err(|error| Error::upstream(format!("{error}."), "upstream_unreachable"))
    }
}

impl Handler<Cut> for Provider {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Cut, _: &mut Context<Self>) -> ResponseFuture<()> {
        self.cut.send_replace(true);
        let cut = self.cut.clone();
        Box::pin(async move { cut.closed().await })
    }
}

impl Handler<AttemptFinished> for Provider {
    type Result = ();

    fn handle(&mut self, AttemptFinished(finished): AttemptFinished, _: &mut Context<Self>) {
        let Finished { target, credential, seen, resent } = finished;
        let Factory { link, account, .. } = &self.factory;
        let (provider, now) = (&link.provider, Instant::now());
        if target.health.record(&seen, &provider.breaker, now) {
            let Reading { state, why, .. } = target.health.reading(now);
            tracing::warn!(provider = %provider.id, model = %target.model, ?state, "breaker");
            if state == State::Open {
                account.tally.ejected(why);
            }
        }
        if resent {
            account.tally.retried(Retry::StaleConnection);
        }
        account.gate.observe(&seen, &account.admission(), now);
        let Some((credential, probe)) = credential else { return };
        match credential.observe(&target.upstream, seen.sign, probe, now) {
            None => {}
            Some(News::Refused) => tracing::error!(
                provider = %provider.id, credential = %credential.name,
                "the provider refuses this credential, or its account is out of credit"
            ),
            Some(News::Back) => {
                tracing::info!(provider = %provider.id, credential = %credential.name, "the credential works again");
            }
        }
    }
}

#[cfg(test)]
mod tests;
