//! One replica's share of one budget in one period: how much to hold, when to ask for more, when to give back.
//!
//! A state machine without I/O or clock. The money itself is reserved and settled in the purse of the budget
//! ([`crate::policy::budget::Purse`]), which this only tells how much it may spend. Amounts are whole 1e-9 USD, since
//! a script of Redis counts exactly up to 2^53 only: what is spent is rounded up, what may be spent down.
//!
//! Invariants: `have` never exceeds what Redis was told or has granted, but for a share taken while it is gone; it is
//! lowered here, and in the purse, before Redis hears of it; reports are absolute and numbered, so that one that is
//! repeated, lost or late changes nothing twice.

use crate::money::Usd;

/// Units of a [`Usd`] in a 1e-9 USD.
const UNITS_PER_NANO: i64 = 1_000;
/// The largest amount that leases count: 9 million USD, which a number of Lua still holds exactly.
const NANOS_MAX: i64 = 9_000_000_000_000_000;
/// What is held beyond what is in use lasts this long at the rate it was used lately.
const AHEAD_MS: i64 = 2_000;
/// A budget that nobody used for so long gives back all that is not in use.
const IDLE_MS: i64 = 10_000;
/// A share held for calls to come is at most this part of what is left, over the replicas.
const AHEAD_PART: i64 = 16;
/// How often what changed is told when nothing is wanted, and how often a lease in hand is told again.
const REPORT_MS: i64 = 1_000;

/// An amount in whole 1e-9 USD, rounded up.
pub fn nanos_up(amount: Usd) -> i64 {
    let units = amount.units();
    let up = i64::from(units.rem_euclid(UNITS_PER_NANO) != 0);
    (units.div_euclid(UNITS_PER_NANO) + up).min(NANOS_MAX)
}

/// An amount in whole 1e-9 USD, rounded down.
pub fn nanos_down(amount: Usd) -> i64 {
    amount.units().div_euclid(UNITS_PER_NANO).min(NANOS_MAX)
}

/// The reverse.
pub fn from_nanos(nanos: i64) -> Usd {
    Usd::from_units(nanos.saturating_mul(UNITS_PER_NANO))
}

/// What a purse says of itself, in 1e-9 USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Spent here since the purse began to count.
    pub spent: i64,
    /// Held by calls that run.
    pub reserved: i64,
    /// The largest reservation refused since the last time; zero: none.
    pub wanted: i64,
}

impl Use {
    fn total(self) -> i64 {
        self.spent.saturating_add(self.reserved)
    }
}

/// What is sent to Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Grows with every report.
    pub seq: i64,
    /// The newest generation known; zero: none.
    pub generation: i64,
    /// The last number that was answered.
    pub acked: i64,
    /// What this replica may spend in all.
    pub have: i64,
    /// What it has spent.
    pub spent: i64,
    /// What of it is surely in the ledger.
    pub settled: i64,
    /// More that would be good to have.
    pub want: i64,
    /// More that a refused call needs at once.
    pub need: i64,
}

/// What Redis answered to the newest report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The generation of what it keeps.
    pub generation: i64,
    /// What this replica may spend in all.
    pub have: i64,
    /// What nobody holds; zero while it is being rebuilt.
    pub left: i64,
    /// Replicas that use the budget.
    pub live: i64,
    /// Somebody got less than a call needs.
    pub scarce: bool,
    /// It grants; it is not being rebuilt.
    pub open: bool,
}

/// The lease of one replica.
#[derive(Clone, Debug, Default)]
pub struct Lease {
    have: i64,
    seq: i64,
    acked: i64,
    generation: i64,
    /// Used per second lately.
    burn: i64,
    /// What a call reserves, about.
    usual: i64,
    /// When use was last looked at, and what it was.
    seen: Option<(i64, Use)>,
    /// When it last changed.
    changed_ms: i64,
    /// When a report was last answered, and of what.
    told: Option<(i64, i64, i64)>,
    settled: i64,
    /// Spent at a moment that the ledger has not reached yet.
    unsettled: Option<(i64, i64)>,
    last: Answer,
    share: i64,
}

impl Lease {
    /// What this replica may spend in all since the purse began to count.
    pub fn have(&self) -> i64 {
        self.have
    }

    /// What nobody held when Redis last answered.
    pub fn left(&self) -> i64 {
        self.last.left
    }

    /// True when more can be had: Redis knows the budget and is not rebuilding it.
    pub fn is_open(&self) -> bool {
        self.last.open
    }

    /// Taken without Redis since it last answered.
    pub fn share(&self) -> i64 {
        self.share
    }

    /// Looks at the use of the purse. `settled_ms`: receipts booked before are in the ledger.
    pub fn observe(&mut self, used: Use, settled_ms: i64, now_ms: i64) {
        if let Some((then, before)) = self.seen {
            let passed = now_ms.saturating_sub(then);
            let more =
                used.total().saturating_sub(before.total()).max(used.spent.saturating_sub(before.spent));
            if used.total() != before.total() || used.spent != before.spent || used.wanted > 0 {
                self.changed_ms = now_ms;
            }
            if passed > 0 {
                let rate = more.max(0).saturating_mul(1_000) / passed;
                self.burn = self.burn.midpoint(rate);
                self.seen = Some((now_ms, used));
            }
        } else {
            self.changed_ms = now_ms;
            self.seen = Some((now_ms, used));
        }
        self.usual = if used.wanted > 0 { used.wanted.max(self.usual / 2) } else { self.usual };
        if let Some((then, spent)) = self.unsettled
            && settled_ms > then
        {
            self.settled = self.settled.max(spent);
            self.unsettled = None;
        }
        if self.unsettled.is_none() && used.spent > self.settled {
            self.unsettled = Some((now_ms, used.spent));
        }
    }

    /// What should be held: what is in use, and what is used soon.
    fn target(&self, used: Use, now_ms: i64) -> i64 {
        let idle = now_ms.saturating_sub(self.changed_ms) >= IDLE_MS;
        if idle || self.last.scarce {
            return used.total();
        }
        let ahead = (self.burn.saturating_mul(AHEAD_MS) / 1_000).max(self.usual.saturating_mul(2));
        // What all replicas hold for calls to come is a small part of what is left.
        let free = self.last.left.saturating_add(self.have.saturating_sub(used.total()).max(0));
        let most = free / (AHEAD_PART * self.last.live.max(1));
        used.total().saturating_add(ahead.min(most))
    }

    /// What may be given back: a lower ceiling for the purse. It must be in force there before [`Lease::keep`].
    pub fn lower(&self, used: Use, now_ms: i64) -> Option<i64> {
        let target = self.target(used, now_ms);
        let over = self.have.saturating_sub(target);
        // Twice as much as is useful is kept: it would be asked for again soon.
        let slack = target.saturating_sub(used.total());
        (over > slack).then_some(target)
    }

    /// The lower ceiling is in force, and `used` was looked at after that: what was reserved meanwhile is kept.
    pub fn keep(&mut self, ceiling: i64, used: Use) -> i64 {
        self.have = ceiling.max(used.total()).min(self.have);
        self.have
    }

    /// Everything that was spent is in the ledger.
    pub fn settle_all(&mut self, used: Use) {
        self.settled = self.settled.max(used.spent);
    }

    /// True when there is something to tell or to ask for.
    pub fn is_due(&self, used: Use, now_ms: i64) -> bool {
        let target = self.target(used, now_ms);
        let short = target.saturating_sub(self.have);
        let hand = self.have.saturating_sub(used.total());
        // Half of what is held ahead is gone.
        if used.wanted > 0 || (short > 0 && short > hand) || self.lower(used, now_ms).is_some() {
            return true;
        }
        let Some((then, have, settled)) = self.told else {
            // Before its first use: so that the first call finds a lease that can be had.
            return true;
        };
        if !self.last.open {
            return true;
        }
        let open = self.have > self.settled || used.spent > self.settled;
        let changed = have != self.have || settled != self.settled;
        (open || changed) && now_ms.saturating_sub(then) >= REPORT_MS
    }

    /// The next report. Every earlier one counts as lost from here on: its answer must not be taken.
    pub fn report(&mut self, used: Use, now_ms: i64) -> Report {
        self.seq += 1;
        let free = self.have.saturating_sub(used.total()).max(0);
        let target = self.target(used, now_ms);
        Report {
            seq: self.seq,
            generation: self.generation,
            acked: self.acked,
            have: self.have,
            spent: used.spent,
            settled: self.settled.min(used.spent),
            want: target.saturating_sub(self.have).max(0),
            need: used.wanted.saturating_sub(free).max(0),
        }
    }

    /// The answer to a report; gives the ceiling for the purse. The answer to an earlier one changes nothing.
    pub fn answered(&mut self, report: &Report, answer: Answer, now_ms: i64) -> i64 {
        if report.seq == self.seq {
            self.acked = report.seq;
            self.generation = answer.generation;
            self.have = self.have.max(answer.have);
            self.told = Some((now_ms, self.have, report.settled));
            self.last = answer;
            self.share = 0;
        }
        self.have
    }

    /// Redis is gone: takes this replica's part of what was left, once; gives the ceiling for the purse.
    pub fn take_share(&mut self) -> i64 {
        if self.share == 0 {
            self.share = self.last.left / self.last.live.max(1);
            self.have = self.have.saturating_add(self.share);
        }
        self.have
    }
}
