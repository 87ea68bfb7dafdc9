//! The lease scripts as plain Rust: what a simulated fleet talks to, and what the real scripts are compared with.
//!
//! It depends on nothing of the crate, so that tests of the library and of the binary share it.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::BTreeMap;

/// What one tick carries; see `scripts/lease.lua`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    pub seq: i64,
    pub known: i64,
    pub acked: i64,
    pub have: i64,
    pub spent: i64,
    pub settled: i64,
    pub want: i64,
    pub need: i64,
    pub limit: i64,
}

/// The delays that the script is told, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub alive: i64,
    pub ripe: i64,
    pub job: i64,
    pub due: i64,
    pub forget: i64,
}

/// What the script answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub status: &'static str,
    pub generation: i64,
    pub have: i64,
    pub left: i64,
    pub live: i64,
    pub scarce: bool,
    pub token: String,
    pub spent: i64,
    /// What may be left beyond what is left.
    pub doubt: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub seq: i64,
    pub have: i64,
    pub spent: i64,
    pub settled: i64,
    pub beat: i64,
    pub gone: i64,
}

impl Entry {
    /// Beyond what is settled.
    fn held(&self) -> i64 {
        (self.have.max(self.spent) - self.settled).max(0)
    }
}

/// The hash of one budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    pub generation: i64,
    pub open: bool,
    pub run: String,
    pub base: i64,
    pub doubt: i64,
    pub due: i64,
    pub ripe: i64,
    pub until: i64,
    pub token: String,
    pub snap: i64,
    pub quiet: i64,
    pub due_in: i64,
    pub hungry: i64,
    pub replicas: BTreeMap<String, Entry>,
}

impl Hash {
    pub fn tick(&mut self, name: &str, tick: Tick, delays: Delays, run: &str, now: i64) -> Told {
        let before = self.replicas.get(name).copied();
        if before.is_some_and(|entry| tick.seq <= entry.seq) {
            return Told {
                status: "stale",
                generation: 0,
                have: 0,
                left: 0,
                live: 0,
                scarce: false,
                token: String::new(),
                spent: 0,
                doubt: 0,
            };
        }
        let lost = self.generation == tick.known && before.is_some_and(|entry| entry.seq < tick.acked);
        if self.generation == 0 || self.generation < tick.known || self.run != run || lost {
            self.generation = now.max(tick.known + 1).max(self.generation + 1);
            (self.open, self.ripe, self.until) = (false, now + delays.ripe, 0);
            run.clone_into(&mut self.run);
            self.token.clear();
        } else if self.open && before.is_none() && tick.settled > 0 {
            self.due = now;
            self.doubt += tick.settled;
        }
        let Tick { seq, have, spent, settled, .. } = tick;
        self.replicas.insert(name.to_owned(), Entry { seq, have, spent, settled, beat: now, gone: 0 });
        let doubt = self.doubt(delays, now);
        let token = self.job(name, tick.seq, delays, now);
        let live = self.replicas.values().filter(|entry| now - entry.beat < delays.alive).count();
        let live = i64::try_from(live).expect("few");
        let left = if self.open { self.grant(name, tick, (live, doubt), delays, now) } else { 0 };
        Told {
            status: if self.open { "open" } else { "building" },
            generation: self.generation,
            have: self.replicas[name].have,
            left,
            live,
            scarce: !reached(self.hungry, delays.alive, now),
            token,
            spent: self.base + self.replicas.values().map(|entry| entry.spent).sum::<i64>(),
            doubt,
        }
    }

    /// What counts twice, perhaps, or was held by replicas that are gone and perhaps never spent.
    fn doubt(&self, delays: Delays, now: i64) -> i64 {
        let lately = |entry: &Entry| (delays.alive..12 * delays.alive).contains(&(now - entry.beat));
        let gone = self.replicas.values().filter(|entry| entry.gone > 0 || lately(entry));
        self.doubt + gone.map(Entry::held).sum::<i64>()
    }

    /// What is spent or in hands.
    pub fn committed(&self) -> i64 {
        self.base + self.replicas.values().map(|entry| entry.have.max(entry.spent)).sum::<i64>()
    }

    fn grant(&mut self, name: &str, tick: Tick, (live, doubt): (i64, i64), delays: Delays, now: i64) -> i64 {
        let left = (tick.limit - self.committed()).max(0);
        let mut granted = tick.want.min(left / (2 * live));
        if granted < tick.need {
            if tick.need <= left {
                granted = tick.need;
            } else {
                self.hungry = now + delays.alive;
                let open = tick.need <= left + doubt;
                self.due = self.due.min(now + if open { delays.alive / 5 } else { delays.alive });
            }
        }
        self.replicas.get_mut(name).expect("just put").have += granted;
        left - granted
    }

    fn job(&mut self, name: &str, seq: i64, delays: Delays, now: i64) -> String {
        let open = self.open;
        let over = |entry: &Entry| {
            let silent = now - entry.beat;
            let closed = entry.held() == 0 || !open;
            entry.gone > 0 || silent >= delays.forget || (silent >= delays.alive && closed)
        };
        let ready =
            if self.open { reached(self.due, delays.due, now) } else { reached(self.ripe, delays.ripe, now) };
        if !ready || !reached(self.until, delays.job, now) {
            return String::new();
        }
        self.token = format!("{}.{name}.{seq}", self.generation);
        self.until = now + delays.job;
        self.due_in = delays.due;
        self.snap = self.replicas.values().filter(|entry| !over(entry)).map(|entry| entry.settled).sum();
        let quiet = |entry: &&Entry| !over(entry) && now - entry.beat >= 12 * delays.alive;
        self.quiet = self.replicas.values().filter(quiet).map(Entry::held).sum();
        self.replicas.values_mut().filter(|entry| over(entry)).for_each(|entry| entry.gone = 2);
        self.token.clone()
    }

    pub fn seed(&mut self, token: &str, sum: i64, now: i64) -> bool {
        if token.is_empty() || token != self.token {
            return false;
        }
        self.base = (sum - self.snap).max(0);
        self.replicas.retain(|_, entry| entry.gone != 2);
        let held = self.replicas.values().map(|entry| entry.have.max(entry.spent)).sum::<i64>();
        self.doubt = (held - self.snap - self.quiet).max(0);
        let left = self.replicas.values().any(|entry| entry.gone == 1);
        (self.open, self.until, self.due) = (true, 0, now + if left { 0 } else { self.due_in });
        self.token.clear();
        true
    }

    pub fn departed(&mut self, boot: &str) -> i64 {
        let mut found = 0;
        for (name, entry) in &mut self.replicas {
            if name.split('.').next() == Some(boot) {
                entry.gone = 1;
                found += 1;
            }
        }
        if found > 0 {
            self.due = 0;
        }
        found
    }
}

fn reached(moment: i64, delay: i64, now: i64) -> bool {
    now >= moment || moment - now > delay
}
