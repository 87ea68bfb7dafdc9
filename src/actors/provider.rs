//! The Provider actor: one configured upstream account on one cell. It admits attempts and holds the account's
//! connection pool; the exchanges run as tasks of the thread, never in the actor's own context.

use std::rc::Rc;

use actix::prelude::*;
use tokio::sync::watch;

use super::messages::{AttemptFinished, Cut, Execute};
use crate::error::Error;
use crate::receipt::{Outcome, Receipt};
use crate::upstream::{Finished, Link, Meter, Sinks, run};

/// Messages that wait at most; a sender waits beyond it. One message is one attempt or the end of one.
const MAILBOX: usize = 1024;
/// What a caller is told to wait when the provider is at its limit here.
const BUSY_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// What a provider actor is made from; kept by the supervisor so that it can make it again.
#[derive(Clone)]
pub struct Factory {
    /// The account's client on this cell.
    pub link: Rc<Link>,
    /// Takes receipts.
    pub receipt: Rc<dyn Fn(Receipt)>,
    /// Milliseconds since the epoch.
    pub now_ms: fn() -> i64,
}

/// One upstream account on one cell.
pub struct Provider {
    factory: Factory,
    /// Attempts admitted and not finished.
    in_flight: usize,
    /// Attempts that ended, by outcome: the seam for health.
    ended: [u64; 3],
    /// Turns true when exchanges must end; each of them holds a receiver.
    cut: watch::Sender<bool>,
}

impl Factory {
    /// Starts the actor on this thread.
    pub fn start(&self) -> Addr<Provider> {
        Provider { factory: self.clone(), in_flight: 0, ended: [0; 3], cut: watch::Sender::new(false) }
            .start()
    }
}

impl Actor for Provider {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Execute> for Provider {
    type Result = Result<(), Error>;

    fn handle(&mut self, Execute(attempt): Execute, ctx: &mut Context<Self>) -> Result<(), Error> {
        let provider = &self.factory.link.provider;
        if *self.cut.borrow() {
            let message = "The gateway is shutting down.".to_owned();
            return Err(Error::Overloaded { message, retry_after: BUSY_RETRY });
        }
        if self.in_flight >= provider.max_in_flight {
            let message =
                format!("{} is at its limit of {} requests here.", provider.id, provider.max_in_flight);
            return Err(Error::Overloaded { message, retry_after: BUSY_RETRY });
        }
        self.in_flight += 1;
        let address = ctx.address();
        let sinks = Sinks {
            receipt: Rc::clone(&self.factory.receipt),
            // The mailbox's bound is not asked: at most one of these comes per admitted attempt.
            finished: Rc::new(move |finished| address.do_send(AttemptFinished(finished))),
            now_ms: self.factory.now_ms,
        };
        let call = std::sync::Arc::clone(&attempt.call);
        let meter = Meter::start(call, attempt.target.clone(), attempt.number, &attempt.out.body, sinks);
        let exchange = run(Rc::clone(&self.factory.link), attempt, meter);
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
        Ok(())
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
        self.in_flight = self.in_flight.saturating_sub(1);
        let Finished { outcome, status, duration_ms, ttft_ms } = finished;
        let at = match outcome {
            Outcome::Completed => 0,
            Outcome::Failed => 1,
            Outcome::Cancelled => 2,
        };
        if let Some(count) = self.ended.get_mut(at) {
            *count += 1;
        }
        tracing::trace!(provider = %self.factory.link.provider.id, status, duration_ms, ttft_ms, "attempt finished");
    }
}

#[cfg(test)]
mod tests;
