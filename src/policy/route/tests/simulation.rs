//! The router against providers that are made up: whom calls reach when latencies shift, providers fail or capacities
//! are too small, beside an oracle that knows each of them. Simulated time, seeded, deterministic.
//!
//! What runs is the policy itself: a plan per call, then what the dispatch and the provider actor do with it (room,
//! retry budget, breaker, credential, queue), without a thread, a message or a socket.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::config::Provider;
use crate::policy::account::Accounts;
use crate::policy::admission::{Permit, Priority, Share, Ticket};
use crate::policy::hash::mixed;
use crate::policy::health::{Observation, Pass, Sign};
use crate::policy::pool::{Chosen, Wanted};

mod scenarios;

/// How long a failure and a refusal for overload take, milliseconds.
const FAILURE_MS: u64 = 50;
const REFUSAL_MS: u64 = 5;

/// What a provider is like at a moment.
#[derive(Clone, Copy)]
struct Manner {
    /// Mean time to the first content; a single one is up to a fifth off.
    ttft_ms: u64,
    /// From there to the end.
    writes_ms: u64,
    /// Of 1000 attempts.
    fails: u64,
    /// Attempts at a time; more are refused.
    capacity: usize,
}

const WELL: Manner = Manner { ttft_ms: 200, writes_ms: 300, fails: 0, capacity: usize::MAX };

/// What is simulated.
struct World<'a> {
    /// Price of a million tokens, per provider.
    prices: &'a [&'a str],
    length_ms: u64,
    /// Calls per second at a moment.
    rate: &'a dyn Fn(u64) -> u64,
    /// What a provider is like at a moment.
    manner: &'a dyn Fn(usize, u64) -> Manner,
    mode: Routing,
    /// Sessions that take turns; 0: calls are strangers to each other.
    sessions: u64,
    rule: AdmissionRule,
    /// What a provider says that has as many attempts as it takes.
    refusal: Sign,
}

/// A call on its way.
struct Call {
    began_ms: u64,
    session: Option<u64>,
    targets: VecDeque<Target>,
    full: VecDeque<Target>,
    attempts: u32,
    paid: bool,
}

/// A call that is over.
struct Done {
    began_ms: u64,
    ended_ms: u64,
    session: Option<u64>,
    /// Who answered.
    provider: Option<usize>,
    /// From the call's beginning to the first content, and what the oracle would have had.
    ttft_ms: u64,
    oracle_ms: u64,
}

/// An attempt under way.
struct Attempt {
    call: Call,
    target: Target,
    provider: usize,
    began_ms: u64,
    pass: Pass,
    permit: Permit,
    credential: Chosen,
    sign: Sign,
    ttft_ms: u64,
    oracle_ms: u64,
}

/// A call in the queue of a provider.
struct Waiting {
    call: Call,
    target: Target,
    ticket: Ticket,
    until_ms: u64,
}

/// What an attempt was, and when.
struct Tried {
    at_ms: u64,
    provider: usize,
    good: bool,
}

#[derive(Default)]
struct Figures {
    calls: Vec<Done>,
    attempts: Vec<Tried>,
}

impl Figures {
    /// Calls that began within these milliseconds.
    fn within(&self, span: std::ops::Range<u64>) -> impl Iterator<Item = &Done> {
        self.calls.iter().filter(move |call| span.contains(&call.began_ms))
    }

    /// The part of calls that this provider answered.
    fn share(&self, provider: usize, span: std::ops::Range<u64>) -> f64 {
        let (mut own, mut all) = (0_u32, 0_u32);
        for call in self.within(span) {
            own += u32::from(call.provider == Some(provider));
            all += 1;
        }
        f64::from(own) / f64::from(all)
    }

    /// The part of calls that were answered.
    fn success(&self) -> f64 {
        let good = self.calls.iter().filter(|call| call.provider.is_some()).count();
        good as f64 / self.calls.len() as f64
    }

    /// Attempts per call.
    fn attempts_per_call(&self) -> f64 {
        self.attempts.len() as f64 / self.calls.len() as f64
    }

    /// Attempts at a provider within these milliseconds, and how many of them went well.
    fn tried(&self, provider: usize, span: std::ops::Range<u64>) -> (usize, usize) {
        let own = self.attempts.iter().filter(|one| one.provider == provider && span.contains(&one.at_ms));
        own.fold((0, 0), |(all, good), one| (all + 1, good + usize::from(one.good)))
    }

    /// The time within which 95 of 100 answers began, and that of the oracle.
    fn p95_ttft(&self, span: std::ops::Range<u64>) -> (u64, u64) {
        let p95 = |of: fn(&Done) -> u64| {
            let answered = self.within(span.clone()).filter(|call| call.provider.is_some());
            let mut times: Vec<u64> = answered.map(of).collect();
            times.sort_unstable();
            times[times.len() * 95 / 100]
        };
        (p95(|call| call.ttft_ms), p95(|call| call.oracle_ms))
    }
}

/// The simulation: the policy's state, and what is under way.
struct Run<'a> {
    world: &'a World<'a>,
    rows: Vec<Arc<Provider>>,
    accounts: Accounts,
    router: Router,
    start: Instant,
    random: u64,
    /// By when they end, then by their number.
    running: BTreeMap<(u64, u64), Attempt>,
    waiting: Vec<Waiting>,
    figures: Figures,
}

/// Runs a world to its end.
fn simulate(world: &World<'_>) -> Figures {
    let mut run = Run::new(world);
    let mut ms = 0;
    while ms < world.length_ms || !run.running.is_empty() || !run.waiting.is_empty() {
        run.end(ms);
        run.serve_tickets(ms);
        let rate = if ms < world.length_ms { (world.rate)(ms) } else { 0 };
        let due = u64::from(run.draw() % 1_000 < rate % 1_000);
        (0..rate / 1_000 + due).for_each(|_| run.begin(ms));
        ms += 1;
    }
    run.figures
}

impl<'a> Run<'a> {
    fn new(world: &'a World<'a>) -> Self {
        let start = Instant::now();
        let name = |at: usize| format!("p{at}");
        let row = |at| Provider { admission: world.rule, ..crate::config::testing::row(&name(at), 1) };
        let rows: Vec<Arc<Provider>> = (0..world.prices.len()).map(|at| Arc::new(row(at))).collect();
        let accounts = Accounts::default();
        let upstream = |row: &Arc<Provider>| Upstream {
            id: Arc::clone(&row.id),
            catalog: Arc::clone(&row.id),
            credentialed: true,
            env: Vec::new(),
            account: accounts.of(row, start),
            rule: row.admission,
        };
        let upstreams = rows.iter().map(upstream).collect();
        let offers: Vec<serde_json::Value> = (world.prices.iter().enumerate())
            .map(|(at, price)| {
                serde_json::json!({"provider": name(at), "upstream": "m", "capabilities": [],
                    "price": {"rates": {"input": price, "output": price}}})
            })
            .collect();
        let catalog = serde_json::json!({"version": 1, "models": [{"id": "m", "offers": offers}]});
        let catalog = Arc::new(Catalog::parse(catalog.to_string().as_bytes()).unwrap());
        let router = Router::new(catalog, upstreams, BTreeMap::new(), None, BTreeMap::new(), false)
            // As the gateway has it unless somebody says otherwise.
            .tuned(Tuning { mode: world.mode, exploration: 10 }, BTreeMap::new());
        let (running, waiting) = (BTreeMap::new(), Vec::new());
        Self {
            world,
            rows,
            accounts,
            router,
            start,
            random: 0,
            running,
            waiting,
            figures: Figures::default(),
        }
    }

    fn draw(&mut self) -> u64 {
        self.random += 1;
        mixed(self.random)
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn place(&self, target: &Target) -> usize {
        self.rows.iter().position(|row| row.id == target.provider).unwrap()
    }

    fn account(&self, target: &Target) -> Arc<Account> {
        self.accounts.of(&self.rows[self.place(target)], self.start)
    }

    /// A call comes in: the supervisor's part.
    fn begin(&mut self, ms: u64) {
        let random = self.draw();
        let session = (self.world.sessions > 0).then(|| {
            let number = self.draw() % self.world.sessions;
            session_hash("key", &number.to_string())
        });
        let now = Now { today: "2026-02-01", at: self.at(ms), random, allowed: &|_, _| true, notes: None };
        let plan = self.router.plan(&Ask { session, ..ask("m") }, &now).unwrap();
        self.accounts.budget.earn();
        let (targets, full) = (plan.targets.into(), VecDeque::new());
        self.go_on(Call { began_ms: ms, session, targets, full, attempts: 0, paid: false }, ms);
    }

    /// The dispatch's part: the next target with room, else a place in the queue of one that is full.
    fn go_on(&mut self, mut call: Call, ms: u64) {
        loop {
            while let Some(target) = call.targets.pop_front() {
                let load = self.account(&target).gate.load(&self.world.rule);
                if load.queued > 0 || load.in_flight >= load.limit {
                    call.full.push_back(target);
                    continue;
                }
                match self.ask(call, target, None, ms) {
                    Some(back) => call = back,
                    None => return,
                }
            }
            let Some(target) = call.full.pop_front() else { return self.over(call, ms, None, 0, 0) };
            let share = Share { key: Arc::from("key"), weight: 1, priority: Priority::Normal };
            let (rule, now) = (&self.world.rule, self.at(ms));
            let gate = Arc::clone(&self.account(&target).gate);
            if let Ok(ticket) = gate.enqueue(&share, rule, now, now + rule.queue_timeout) {
                let until_ms = ms + rule.queue_timeout.as_millis() as u64;
                return self.waiting.push(Waiting { call, target, ticket, until_ms });
            }
        }
    }

    /// The provider actor's part. The call comes back if it is not run and may go on.
    fn ask(&mut self, mut call: Call, target: Target, permit: Option<Permit>, ms: u64) -> Option<Call> {
        let (now, account) = (self.at(ms), self.account(&target));
        call.paid = call.paid || call.attempts == 0 || self.accounts.budget.spend(&account.floor, now);
        if !call.paid {
            self.over(call, ms, None, 0, 0);
            return None;
        }
        let Some(permit) = permit.or_else(|| account.gate.try_enter(&self.world.rule)) else {
            call.full.push_back(target);
            return Some(call);
        };
        let Ok(pass) = target.health.admit(now, target.ignore_soft) else { return Some(call) };
        let wanted = Wanted { model: "m", tokens: 1, session: call.session, random: self.draw() };
        let Ok(credential) = account.pool().take(&wanted, now) else {
            target.health.unused(pass);
            return Some(call);
        };
        (call.attempts, call.paid) = (call.attempts + 1, false);
        self.run(call, target, (pass, permit, credential), ms);
        None
    }

    /// The provider itself.
    fn run(&mut self, call: Call, target: Target, held: (Pass, Permit, Chosen), ms: u64) {
        let (provider, jitter, fate) = (self.place(&target), 80 + self.draw() % 41, self.draw() % 1_000);
        let taken = |one: &&Attempt| one.provider == provider && one.sign != self.world.refusal;
        let busy = self.running.values().filter(taken).count();
        let Manner { ttft_ms, writes_ms, fails, capacity } = (self.world.manner)(provider, ms);
        let (sign, lasts_ms) = if busy >= capacity {
            (self.world.refusal, REFUSAL_MS)
        } else if fate < fails {
            (Sign::Failed, FAILURE_MS)
        } else {
            (Sign::Good, ttft_ms * jitter / 100 + writes_ms)
        };
        let known = (0..self.rows.len()).map(|one| (self.world.manner)(one, ms).ttft_ms);
        let oracle_ms = known.min().unwrap_or(0) * jitter / 100;
        self.figures.attempts.push(Tried { at_ms: ms, provider, good: sign == Sign::Good });
        let (number, (pass, permit, credential)) = (self.draw(), held);
        let ttft_ms = ttft_ms * jitter / 100;
        let attempt = Attempt {
            call,
            target,
            provider,
            began_ms: ms,
            pass,
            permit,
            credential,
            sign,
            ttft_ms,
            oracle_ms,
        };
        self.running.insert((ms + lasts_ms, number), attempt);
    }

    /// Attempts end: what they say goes to health, gate and credential; a call that failed goes on.
    fn end(&mut self, ms: u64) {
        while let Some(first) = self.running.first_entry().filter(|first| first.key().0 <= ms) {
            let Attempt {
                call,
                target,
                provider,
                began_ms,
                pass,
                permit,
                credential,
                sign,
                ttft_ms,
                oracle_ms,
            } = first.remove();
            let good = sign == Sign::Good;
            let seen = Observation {
                sign,
                ttft: good.then_some(Duration::from_millis(ttft_ms)),
                duration: Duration::from_millis(ms - began_ms),
                output_tokens: good.then_some(100),
                probe: pass.probe,
            };
            let now = self.at(ms);
            target.health.record(&seen, &self.rows[provider].breaker, now);
            self.account(&target).gate.observe(&seen, &self.world.rule, now);
            credential.credential.observe("m", sign, credential.probe, now);
            drop((permit, credential));
            if good {
                let ttft_ms = began_ms + ttft_ms - call.began_ms;
                self.over(call, ms, Some(provider), ttft_ms, oracle_ms);
            } else {
                self.go_on(call, ms);
            }
        }
    }

    /// Calls whose turn has come, or whose patience is over.
    fn serve_tickets(&mut self, ms: u64) {
        for mut one in std::mem::take(&mut self.waiting) {
            match one.ticket.try_recv() {
                Ok(permit) => {
                    if let Some(call) = self.ask(one.call, one.target, Some(permit), ms) {
                        self.go_on(call, ms);
                    }
                }
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) if ms < one.until_ms => {
                    self.waiting.push(one);
                }
                Err(_) => self.go_on(one.call, ms),
            }
        }
    }

    fn over(&mut self, call: Call, ended_ms: u64, provider: Option<usize>, ttft_ms: u64, oracle_ms: u64) {
        let Call { began_ms, session, .. } = call;
        self.figures.calls.push(Done { began_ms, ended_ms, session, provider, ttft_ms, oracle_ms });
    }
}
