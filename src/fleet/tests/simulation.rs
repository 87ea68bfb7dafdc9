//! A simulated fleet on a simulated Redis: thousands of seeded schedules of crashes, repeated, lost and late messages,
//! flushes, old snapshots and failovers. What is sold never exceeds the limit and the stated bound; in the end
//! everything comes back.

use std::collections::VecDeque;

use super::super::lease::{Answer, Lease, Report, Use};
use super::super::testing::{Delays, Hash, Tick, Told};

const DELAYS: Delays = Delays { alive: 5_000, ripe: 1_500, job: 5_000, due: 20_000, forget: 3_600_000 };
const LIMIT: i64 = 20_000;

/// A seeded source of chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % below
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }

    fn amount(&mut self, most: i64) -> i64 {
        i64::try_from(self.roll(most.unsigned_abs())).expect("small") + 1
    }
}

/// One process: its purse, its lease, what it has not settled.
struct Replica {
    name: String,
    lease: Lease,
    ceiling: i64,
    spent: i64,
    ledgered: i64,
    /// Calls that run: what each reserved.
    calls: Vec<i64>,
    wanted: i64,
    /// Spent and not in the ledger: when it will be, and how much.
    unsettled: VecDeque<(i64, i64)>,
    alive: bool,
    departed: bool,
    /// Until then it cannot reach Redis.
    cut_until: i64,
    /// A report that was sent and arrives once more.
    repeated: Option<Report>,
}

impl Replica {
    fn new(name: String) -> Self {
        Self {
            name,
            lease: Lease::default(),
            ceiling: 0,
            spent: 0,
            ledgered: 0,
            calls: Vec::new(),
            wanted: 0,
            unsettled: VecDeque::new(),
            alive: true,
            departed: false,
            cut_until: 0,
            repeated: None,
        }
    }

    fn reserved(&self) -> i64 {
        self.calls.iter().sum()
    }

    fn used(&mut self) -> Use {
        Use { spent: self.spent, reserved: self.reserved(), wanted: std::mem::take(&mut self.wanted) }
    }

    fn reserve(&mut self, amount: i64) {
        if self.spent + self.reserved() + amount <= self.ceiling {
            self.calls.push(amount);
        } else {
            self.wanted = self.wanted.max(amount);
        }
    }

    fn settle(&mut self, dice: &mut Dice, now: i64) {
        if self.calls.is_empty() {
            return;
        }
        let reserved =
            self.calls.swap_remove(usize::try_from(dice.roll(self.calls.len() as u64)).expect("small"));
        let actual = if dice.one_in(4) { 0 } else { dice.amount(reserved) };
        self.spent += actual;
        if actual > 0 {
            self.unsettled.push_back((now + 300, actual));
        }
    }
}

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Faults {
    /// Nothing.
    None,
    /// What Redis keeps: it is flushed, put back, fails over; and messages come twice.
    Redis,
    /// That, and messages are lost, replicas crash or are cut off, jobs are not done.
    All,
}

struct Fleet {
    dice: Dice,
    now: i64,
    run: u64,
    redis: Hash,
    snapshots: VecDeque<Hash>,
    replicas: Vec<Replica>,
    ledger: i64,
    /// A job that a replica was given, and what the ledger said: read later than given, told later still.
    job: Option<(String, Option<i64>)>,
    rebuilt: u64,
    /// What nobody had told when a rebuild was finished: the bound.
    untold: i64,
    faults: Faults,
    born: usize,
    /// How often somebody was told that the budget is spent.
    refusals: u64,
}

impl Fleet {
    fn new(seed: u64, replicas: usize, faults: Faults) -> Self {
        let mut fleet = Self {
            dice: Dice(seed),
            now: 1_000_000,
            run: 1,
            redis: Hash::default(),
            snapshots: VecDeque::new(),
            replicas: Vec::new(),
            ledger: 0,
            job: None,
            rebuilt: 0,
            untold: 0,
            faults,
            born: 0,
            refusals: 0,
        };
        (0..replicas).for_each(|_| fleet.join());
        fleet
    }

    fn join(&mut self) {
        self.born += 1;
        self.replicas.push(Replica::new(format!("boot{}", self.born)));
    }

    /// What was spent, and what runs, whoever knows of it.
    fn sold(&self) -> i64 {
        self.replicas.iter().map(|replica| replica.spent + replica.reserved()).sum()
    }

    /// What could be spent yet.
    fn could_be_sold(&self) -> i64 {
        let ceiling = |replica: &Replica| {
            if replica.alive { replica.ceiling.max(replica.spent) } else { replica.spent }
        };
        self.replicas.iter().map(ceiling).sum()
    }

    fn settle_ledger(&mut self) {
        for replica in &mut self.replicas {
            // What a dead one had not settled comes when its journal is read again.
            while let Some((_, amount)) = replica.unsettled.pop_front_if(|(at, _)| *at <= self.now) {
                replica.ledgered += amount;
                self.ledger += amount;
            }
        }
    }

    fn tick(&mut self, at: usize) {
        let now = self.now;
        let replica = &mut self.replicas[at];
        if !replica.alive || replica.cut_until > now {
            return;
        }
        let used = replica.used();
        // Receipts are in the ledger after 300 ms.
        replica.lease.observe(used, now - 301, now);
        if let Some(ceiling) = replica.lease.lower(used, now) {
            replica.ceiling = replica.lease.keep(ceiling, used);
        }
        if !replica.lease.is_due(used, now) {
            return;
        }
        let report = replica.lease.report(used, now);
        let lost = (self.faults == Faults::All).then(|| self.dice.roll(12));
        let late = std::mem::take(&mut self.replicas[at].repeated);
        if lost == Some(0) {
            return;
        }
        let told = self.send(at, &report);
        self.check_refusal(&report, &told);
        if self.faults != Faults::None && self.dice.one_in(6) {
            self.replicas[at].repeated = Some(report);
        }
        if let Some(late) = late {
            let before = self.redis.clone();
            if self.send(at, &late).status == "stale" {
                assert_eq!(self.redis, before, "a report that comes again changes nothing");
            }
        }
        if lost == Some(1) || told.status == "stale" {
            return;
        }
        let answer = Answer {
            generation: told.generation,
            have: told.have,
            left: told.left,
            live: told.live,
            scarce: told.scarce,
            open: told.status == "open",
        };
        let replica = &mut self.replicas[at];
        replica.ceiling = replica.lease.answered(&report, answer, self.now);
        if !told.token.is_empty() {
            self.job = Some((told.token, None));
        }
    }

    /// Nobody is told that the budget is spent who could have what it needs, were everything known.
    fn check_refusal(&mut self, report: &Report, told: &Told) {
        let most = told.have - report.have + told.left + told.doubt;
        if told.status != "open" || report.need <= most {
            return;
        }
        // Of one that died lately nobody knows that yet; of one that died long ago it is not known what it left.
        let may = |replica: &Replica| {
            let entry = self.redis.replicas.get(&replica.name);
            let known = DELAYS.alive..12 * DELAYS.alive;
            let unsure =
                entry.is_some_and(|entry| entry.gone == 0 && !known.contains(&(self.now - entry.beat)));
            if replica.alive || unsure { replica.ceiling.max(replica.spent) } else { replica.spent }
        };
        let sold: i64 = self.replicas.iter().map(may).sum();
        // What was granted in an answer that is lost is nobody's until it is told again.
        let granted: i64 = self.replicas.iter().map(|replica| self.not_heard_of(replica)).sum();
        assert!(
            report.need > LIMIT - sold - granted,
            "{report:?} {told:?} with {sold} and {granted} of {LIMIT}"
        );
        self.refusals += 1;
    }

    /// What Redis counts as held by a replica beyond what that knows of.
    fn not_heard_of(&self, replica: &Replica) -> i64 {
        let known = self.redis.replicas.get(&replica.name).map_or(0, |entry| entry.have.max(entry.spent));
        (known - replica.ceiling.max(replica.spent)).max(0)
    }

    fn send(&mut self, at: usize, report: &Report) -> Told {
        let Report { seq, generation: known, acked, have, spent, settled, want, need } = *report;
        let tick = Tick { seq, known, acked, have, spent, settled, want, need, limit: LIMIT };
        let run = self.run.to_string();
        self.redis.tick(&self.replicas[at].name.clone(), tick, DELAYS, &run, self.now)
    }

    /// Whoever has a job reads the ledger and tells it, in two steps.
    fn work(&mut self) {
        match self.job.take() {
            Some((token, None)) => self.job = Some((token, Some(self.ledger))),
            Some((token, Some(sum))) => {
                let rebuilt = !self.redis.open;
                if self.redis.seed(&token, sum, self.now) && rebuilt {
                    self.rebuilt += 1;
                    self.untold = self.untold.max(self.not_announced());
                }
            }
            None => {}
        }
    }

    /// What replicas hold or have not settled, beyond what the hash that was just rebuilt knows of.
    fn not_announced(&self) -> i64 {
        let beyond = |replica: &Replica| {
            let may = if replica.alive { replica.ceiling.max(replica.spent) } else { replica.spent };
            let entry = self.redis.replicas.get(&replica.name);
            let known = entry.map_or(0, |entry| entry.have.max(entry.spent));
            let known = known.max(replica.ledgered);
            (may - known).max(0)
        };
        let missed: i64 = self.replicas.iter().map(beyond).sum();
        self.untold + missed
    }

    fn misfortune(&mut self) {
        let count = self.replicas.len() as u64;
        let at = usize::try_from(self.dice.roll(count)).expect("small");
        let all = self.faults == Faults::All;
        match self.dice.roll(9) {
            0 if all => {
                // A crash; its calls end with it. Another process comes, and reads its journal later.
                self.replicas[at].alive = false;
                self.replicas[at].calls.clear();
                let later = self.now + 10_000;
                self.replicas[at].unsettled.iter_mut().for_each(|(when, _)| *when = later);
                self.join();
            }
            1 => self.redis = Hash::default(),
            2 => {
                // The last writes are lost: a failover, or an old snapshot.
                let steps =
                    usize::try_from(self.dice.roll(self.snapshots.len().max(1) as u64)).expect("small");
                if let Some(old) = self.snapshots.get(steps).cloned() {
                    self.redis = old;
                    self.run += 1;
                }
            }
            3 if all => self.job = None,
            4 if all => self.replicas[at].cut_until = self.now + self.dice.amount(8_000),
            _ => {}
        }
    }

    fn step(&mut self) {
        self.now += self.dice.amount(200);
        self.settle_ledger();
        let busy = self.now / 7_000 % 3 != 0;
        for at in 0..self.replicas.len() {
            if self.replicas[at].alive {
                if busy && self.dice.one_in(2) {
                    let amount = self.dice.amount(400);
                    self.replicas[at].reserve(amount);
                }
                if self.dice.one_in(2) {
                    let now = self.now;
                    self.replicas[at].settle(&mut self.dice, now);
                }
            }
            if self.dice.one_in(2) {
                self.tick(at);
            }
        }
        self.work();
        for at in 0..self.replicas.len() {
            let replica = &self.replicas[at];
            if !replica.alive && !replica.departed && replica.unsettled.is_empty() {
                let name = replica.name.clone();
                self.replicas[at].departed = true;
                self.redis.departed(&name);
            }
        }
        self.snapshots.push_front(self.redis.clone());
        self.snapshots.truncate(300);
        if self.faults != Faults::None && self.dice.one_in(60) {
            self.misfortune();
        }
    }

    /// Nothing more goes wrong and nobody calls: everything must come back.
    fn quiesce(&mut self) {
        self.faults = Faults::None;
        for replica in &mut self.replicas {
            replica.calls.clear();
            replica.wanted = 0;
            replica.cut_until = 0;
        }
        for _ in 0..700 {
            self.now += 250;
            self.settle_ledger();
            (0..self.replicas.len()).for_each(|at| self.tick(at));
            self.work();
        }
        // Somebody looks once more, so that what the others gave back is counted.
        let spent: i64 = self.replicas.iter().map(|replica| replica.spent).sum();
        assert_eq!(self.ledger, spent, "all is settled");
        for replica in self.replicas.iter().filter(|replica| replica.alive) {
            assert_eq!(replica.ceiling, replica.spent, "{} gave back what it does not use", replica.name);
        }
        // Word of a replica that is gone may be lost with the writes that a failover loses: then it is forgotten.
        self.now += DELAYS.forget;
        self.join();
        let last = self.replicas.len() - 1;
        for _ in 0..200 {
            self.now += 250;
            self.replicas[last].wanted = 1_000_000_000;
            (0..=last).for_each(|at| self.tick(at));
            self.work();
        }
        assert_eq!(self.redis.committed(), spent, "nothing is held that nobody has");
    }
}

#[test]
fn a_fleet_without_faults_spends_its_budget_and_never_more() {
    for seed in 0..300 {
        let mut fleet = Fleet::new(seed, 1 + usize::try_from(seed % 5).expect("small"), Faults::None);
        for _ in 0..1_500 {
            fleet.step();
            assert!(fleet.could_be_sold() <= LIMIT, "seed {seed}: {} may be sold", fleet.could_be_sold());
        }
        assert_eq!((fleet.untold, fleet.rebuilt), (0, 1), "seed {seed}");
        let spent: i64 = fleet.replicas.iter().map(|replica| replica.spent).sum();
        assert!(spent > LIMIT - 4_000, "seed {seed}: only {spent} of {LIMIT} could be spent");
        fleet.quiesce();
    }
}

#[test]
fn whatever_redis_forgets_nothing_is_sold_twice_while_the_replicas_live() {
    let mut rebuilt = 0;
    for seed in 0..1_000 {
        let mut fleet = Fleet::new(seed, 2 + usize::try_from(seed % 4).expect("small"), Faults::Redis);
        for _ in 0..400 {
            fleet.step();
            assert!(fleet.could_be_sold() <= LIMIT, "seed {seed}: {} may be sold", fleet.could_be_sold());
        }
        assert_eq!(fleet.untold, 0, "seed {seed}: everybody told what it holds");
        rebuilt += fleet.rebuilt;
        fleet.quiesce();
    }
    assert!(rebuilt > 2_000, "{rebuilt} rebuilds");
}

#[test]
fn whatever_happens_no_more_is_sold_than_the_limit_and_what_nobody_could_tell() {
    let (mut rebuilt, mut bounded, mut exact) = (0, 0, 0);
    for seed in 0..3_000 {
        let mut fleet = Fleet::new(seed, 2 + usize::try_from(seed % 4).expect("small"), Faults::All);
        for _ in 0..400 {
            fleet.step();
            let most = LIMIT + fleet.untold;
            assert!(fleet.sold() <= most, "seed {seed}: {} sold, at most {most}", fleet.sold());
        }
        rebuilt += fleet.rebuilt;
        bounded += u64::from(fleet.untold > 0);
        exact += u64::from(fleet.untold == 0);
        fleet.quiesce();
    }
    assert!(rebuilt > 6_000 && bounded > 100 && exact > 500, "{rebuilt} rebuilds, {bounded}, {exact}");
}
