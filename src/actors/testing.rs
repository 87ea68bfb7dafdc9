//! What the tests of this folder share: receipts, call records, and an actor that records batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::live::Current;
use super::standing::Standings;
use crate::catalog::{Price, Rates};
use crate::chat::Usage;
use crate::config::{Outside, assemble};
use crate::money::Usd;
use crate::policy::account::Accounts;
use crate::policy::health::{Observation, Sign};
use crate::policy::route::Router;
use crate::receipt::{Batch, Caller, Outcome, Receipt};
use crate::store::KeyTable;
use crate::upstream::Keyring;

/// A completed attempt with 10 + 5 tokens at 1 and 2 units each, cost not yet computed.
pub fn receipt(attempt: u16) -> Receipt {
    let rates =
        Rates { input: Some(Usd::from_units(1)), output: Some(Usd::from_units(2)), ..Rates::default() };
    Receipt {
        call_id: ulid::Ulid::from_parts(1, 1),
        attempt,
        request_id: Arc::from("req"),
        time_ms: 0,
        caller: Caller { key_id: Arc::from("key_1"), project: None },
        tags: Arc::from([]),
        requested_model: Arc::from("m"),
        provider: Arc::from("p"),
        model: Arc::from("m"),
        known_model: true,
        upstream_model: Arc::from("m-1"),
        status: 200,
        reached: true,
        outcome: Outcome::Completed,
        error: None,
        stream: false,
        ttft_ms: Some(20),
        duration_ms: 30,
        usage: Some(Usage { prompt: 10, completion: 5, total: 15, ..Usage::default() }),
        unmetered: None,
        estimated: false,
        cost: None,
        charged: None,
        markup: crate::money::Markup::default(),
        tag_sets: Arc::from([]),
        held: None,
        price: Some(Arc::new(Price { rates, ..Price::default() })),
        service_tier: None,
        place: None,
        span: None,
    }
}

/// What is in force without any configuration.
pub fn current() -> Current {
    let outside = Outside { env: &|_| None, file: &|_| Err("no files here".to_owned()) };
    let settings = assemble(None, [], &outside).unwrap().settings;
    let none = BTreeMap::default;
    let router = Router::new(Arc::default(), Vec::new(), none(), None, BTreeMap::default(), false);
    let tls = crate::upstream::tls_config().unwrap();
    Current { settings, router: Arc::new(router), tls, keyring: Keyring::default() }
}

/// How a provider `p` stands whose model `m` was asked once.
pub fn standings() -> Standings {
    let (mut current, accounts, now) = (current(), Arc::<Accounts>::default(), Instant::now());
    let row = Arc::new(crate::config::testing::row("p", 1));
    let seen = Observation {
        sign: Sign::Good,
        ttft: None,
        duration: Duration::from_millis(30),
        output_tokens: None,
        probe: None,
    };
    accounts.of(&row, now).target(&Arc::from("m")).record(&seen, &row.breaker, now);
    current.settings.providers.insert("p".to_owned(), row);
    Standings::new(Arc::new(ArcSwap::from_pointee(current)), accounts)
}

/// A table without keys.
pub fn keys() -> Arc<KeyTable> {
    Arc::new(KeyTable::new(Arc::default()))
}

/// Passes on every batch it gets; takes the next only when the last was taken, if its channel is that small.
pub struct Recorder(pub mpsc::Sender<Arc<Batch>>);

impl Recorder {
    /// A recorder on a thread of its own, with a mailbox for one and a channel for one.
    pub fn narrow() -> (Recipient<Arc<Batch>>, mpsc::Receiver<Arc<Batch>>) {
        let (sender, receiver) = mpsc::channel(1);
        let arbiter = Arbiter::new();
        (Self::start_in_arbiter(&arbiter.handle(), |_| Self(sender)).recipient(), receiver)
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1);
    }
}

impl Handler<Arc<Batch>> for Recorder {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, batch: Arc<Batch>, _: &mut Self::Context) -> Self::Result {
        let sender = self.0.clone();
        // Atomic: the mailbox stands still until the test has taken the batch before.
        AtomicResponse::new(Box::pin(async move { drop(sender.send(batch).await) }.into_actor(self)))
    }
}
