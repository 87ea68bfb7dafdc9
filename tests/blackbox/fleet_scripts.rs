//! The scripts in a real Redis: the lease script against its model, the quota script against tables.

#[path = "../../src/fleet/testing.rs"]
mod model;

use std::time::Duration;

use llm_gateway::fleet::address::Address;
use llm_gateway::fleet::link::Link;
use llm_gateway::fleet::script::{BEAT, Call, DEPARTED, LEASE, QUOTA, SEED, numbers, word};
use model::{Delays, Hash, Tick};
use redis::Value;

use crate::support::{PATIENCE, Redis, eventually};

/// A link that is up; its task ends with the runtime of the test.
async fn link(redis: &Redis) -> Link {
    let link = Link::new(Address::parse(&redis.url()).unwrap(), Duration::from_secs(5));
    let running = link.clone();
    tokio::spawn(async move { running.run().await });
    eventually("the link is up", || std::future::ready(link.is_up().then_some(()))).await;
    link
}

fn tick_call(key: &str, name: &str, tick: &Tick, delays: Delays) -> Call {
    let Tick { seq, known, acked, have, spent, settled, want, need, limit } = *tick;
    let Delays { alive, ripe, job, due, forget } = delays;
    let numbers =
        [seq, known, acked, have, spent, settled, want, need, limit, alive, ripe, job, due, forget, 600_000];
    numbers.into_iter().fold(Call::new(&LEASE, key.to_owned()).text(name), Call::number)
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % below.unsigned_abs()).unwrap()
    }
}

/// Makes `to` what `from` is, missing or not.
async fn copy(redis: &Redis, from: &str, to: &str) {
    redis.command(&["DEL", to]).await;
    redis.command(&["COPY", from, to]).await;
}

/// One sequence of random operations, on a hash in Redis and on the model.
struct Schedule<'a> {
    redis: &'a Redis,
    link: &'a Link,
    run: &'a str,
    seed: u64,
    dice: Dice,
    key: String,
    model: Hash,
    delays: Delays,
    seqs: [i64; 4],
    tokens: Vec<String>,
    saved: Option<Hash>,
    /// One, or so much that amounts reach the largest that a script counts exactly.
    scale: i64,
    granted: u64,
}

impl<'a> Schedule<'a> {
    fn new(redis: &'a Redis, link: &'a Link, run: &'a str, seed: u64) -> Self {
        let mut dice = Dice(seed);
        // Short ones, so that all of them pass within the test.
        let delays = Delays {
            alive: 1 + dice.roll(40),
            ripe: dice.roll(6),
            job: 1 + dice.roll(6),
            due: 1 + dice.roll(10),
            forget: 60 + dice.roll(60),
        };
        Self {
            redis,
            link,
            run,
            seed,
            dice,
            key: format!("t:{{{seed}}}"),
            model: Hash::default(),
            delays,
            seqs: [0; 4],
            tokens: vec![String::new()],
            saved: None,
            scale: if seed.is_multiple_of(2) { 1 } else { 2_000_000_000_000 },
            granted: 0,
        }
    }

    async fn step(&mut self) {
        match self.dice.roll(12) {
            0 | 5 => self.seed().await,
            1 => {
                let boot = format!("boot{}", self.dice.roll(5));
                let call = Call::new(&DEPARTED, self.key.clone()).text(&boot);
                let answer = numbers(&self.link.call(&call).await.unwrap());
                assert_eq!(answer, [self.model.departed(&boot)], "seed {}", self.seed);
            }
            2 if self.dice.roll(4) == 0 => {
                self.redis.command(&["DEL", &self.key]).await;
                self.model = Hash::default();
            }
            3 if self.dice.roll(2) == 0 => {
                copy(self.redis, &self.key, &format!("{}:old", self.key)).await;
                self.saved = Some(self.model.clone());
            }
            4 if self.saved.is_some() && self.dice.roll(2) == 0 => {
                copy(self.redis, &format!("{}:old", self.key), &self.key).await;
                self.model = self.saved.clone().unwrap();
            }
            _ => self.tick().await,
        }
    }

    /// Ends the job that runs, or one of before.
    async fn seed(&mut self) {
        let older = usize::try_from(self.dice.roll(i64::try_from(self.tokens.len()).unwrap())).unwrap();
        let token = if self.dice.roll(4) > 0 { &self.model.token } else { &self.tokens[older] }.clone();
        let sum = self.dice.roll(500) * self.scale;
        let call = Call::new(&SEED, self.key.clone()).text(&token).number(sum);
        let answer = numbers(&self.link.call(&call).await.unwrap());
        let done = self.model.seed(&token, sum, 0);
        assert_eq!(answer, [i64::from(done)], "seed {}: {:?}", self.seed, self.model);
        if done {
            let due = self.redis.command(&["HGET", &self.key, "due"]).await;
            self.model.due = due.trim().parse().unwrap();
        }
    }

    async fn tick(&mut self) {
        let at = usize::try_from(self.dice.roll(4)).unwrap();
        let name = format!("boot{at}.{}", at % 2);
        self.seqs[at] += i64::from(self.dice.roll(5) > 0);
        let spent = self.dice.roll(100) * self.scale;
        let tick = Tick {
            seq: self.seqs[at],
            known: match self.dice.roll(30) {
                0 => 0,
                1 => self.model.generation + 1,
                _ => self.model.generation,
            },
            acked: self.seqs[at] - 1 - self.dice.roll(2),
            have: spent + self.dice.roll(50) * self.scale,
            spent,
            settled: spent.min(self.dice.roll(100) * self.scale),
            want: self.dice.roll(80) * self.scale,
            need: (self.dice.roll(120) - 80).max(0) * self.scale,
            limit: 800 * self.scale,
        };
        let place = format!("seed {}: {tick:?} {:?} {:?}", self.seed, self.delays, self.model);
        let answer = self.link.call(&tick_call(&self.key, &name, &tick, self.delays)).await.unwrap();
        let said = numbers(&answer);
        let told = self.model.tick(&name, tick, self.delays, self.run, said[8]);
        let scarce = i64::from(told.scarce);
        let expected = [told.generation, told.have, told.left, told.live, scarce, 0, told.spent];
        assert_eq!(word(&answer, 0), told.status, "{place}");
        assert_eq!(said[1..8], expected, "{place}");
        assert_eq!((word(&answer, 6), said[9]), (told.token.clone(), told.doubt), "{place}");
        self.granted += u64::from(told.have > tick.have);
        self.tokens.push(told.token);
    }
}

#[tokio::test]
async fn the_lease_script_does_what_its_model_does() {
    let redis = Redis::start().await;
    let link = link(&redis).await;
    let info = redis.command(&["INFO", "server"]).await;
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim();
    let mut granted = 0;
    for seed in 1..=40 {
        let mut schedule = Schedule::new(&redis, &link, run, seed);
        for _ in 0..60 {
            schedule.step().await;
        }
        granted += schedule.granted;
    }
    assert!(granted > 50, "{granted} grants");
}

#[tokio::test]
async fn a_rebuild_is_one_replicas_job_however_many_race() {
    let redis = Redis::start().await;
    let link = link(&redis).await;
    let delays = Delays { alive: 5_000, ripe: 100, job: 5_000, due: 60_000, forget: 3_600_000 };
    let tick = |seq: i64, have: i64, want: i64| Tick { seq, have, want, limit: 1_000, ..Tick::default() };
    let (mut jobs, mut seq) = (Vec::new(), 0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while jobs.is_empty() {
        assert!(tokio::time::Instant::now() < deadline);
        seq += 1;
        let calls: Vec<Call> =
            (0..10).map(|at| tick_call("b:{x}", &format!("r{at}"), &tick(seq, 20, 100), delays)).collect();
        let alone = calls.iter().map(|call| link.call(call));
        for answer in futures_util::future::join_all(alone).await {
            let answer = answer.unwrap();
            assert_eq!(
                (word(&answer, 0).as_str(), numbers(&answer)[2]),
                ("building", 20),
                "nothing is granted yet"
            );
            jobs.extend(Some(word(&answer, 6)).filter(|token| !token.is_empty()));
        }
    }
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let seed = |token: &str| Call::new(&SEED, "b:{x}".to_owned()).text(token).number(300);
    assert_eq!(numbers(&link.call(&seed("another")).await.unwrap()), [0]);
    assert_eq!(numbers(&link.call(&seed(&jobs[0])).await.unwrap()), [1]);
    assert_eq!(numbers(&link.call(&seed(&jobs[0])).await.unwrap()), [0], "once");
    // 1000 - 300 spent - 10 x 20 held; a twentieth of it for each of ten.
    let answer = link.call(&tick_call("b:{x}", "r0", &tick(seq + 1, 20, 100), delays)).await.unwrap();
    assert_eq!((word(&answer, 0).as_str(), &numbers(&answer)[2..5]), ("open", &[45, 475, 10][..]));
}

/// `[admitted, requests had, tokens had]` of a call with these arguments.
async fn quota(link: &Link, key: &str, arguments: [i64; 7], minute: i64) -> Vec<i64> {
    let call = arguments.into_iter().fold(Call::new(&QUOTA, key.to_owned()), Call::number).number(minute);
    numbers(&link.call(&call).await.unwrap())
}

#[tokio::test]
async fn the_quota_script_admits_what_fits_and_counts_what_does_not() {
    let redis = Redis::start().await;
    let link = link(&redis).await;
    // Not across the end of a minute.
    let minute = eventually("a minute with some time left", || async {
        let time = redis.command(&["TIME"]).await;
        let second: i64 = time.lines().next().unwrap().trim().parse().unwrap();
        (second % 60 < 50).then_some(second / 60)
    })
    .await;
    // Arguments: rpm, must, want, tpm, must, want, debt.
    for (arguments, had, why) in [
        ([3, 1, 0, 100, 40, 0, 0], [1, 1, 40], "a call"),
        ([3, 1, 5, 100, 40, 5, 0], [1, 2, 45], "as much beyond it as is there"),
        ([3, 0, -1, 100, 0, -20, 0], [1, -1, -20], "what is given back"),
        ([3, 1, 0, 100, 35, 0, 0], [1, 1, 35], "is there again"),
        ([3, 1, 0, 100, 1, 0, 0], [0, 0, 0], "both or nothing"),
        ([3, 0, 0, 100, 101, 0, 0], [0, 0, 0], "more than the limit never fits"),
        ([3, 0, 0, 100, 0, 0, 250], [1, 0, 0], "what was used is counted"),
        ([3, 0, 0, 100, 1, 0, 0], [0, 0, 0], "and keeps others out"),
        ([0, 1, 1, 0, 1, 1, 0], [1, 0, 0], "no limit is kept, nothing is counted"),
    ] {
        let answer = quota(&link, "q:{a}", arguments, minute).await;
        assert_eq!(answer[..3], had, "{why}: {answer:?}");
    }
    // 250 beyond 100: the next minute pays off 100, and the one after it.
    let refused = quota(&link, "q:{b}", [1, 1, 0, 100, 0, 0, 350], 0).await;
    assert_eq!(refused[0], 1);
    let refused = quota(&link, "q:{b}", [1, 1, 0, 100, 1, 0, 0], 0).await;
    assert_eq!((refused[0], refused[3], refused[5]), (0, 0, 0), "{refused:?}");
    assert!((59_000..=60_000).contains(&refused[4]), "a request flows back in a minute: {refused:?}");
    assert_eq!(refused[6], refused[9] + 2 * 60_000, "{refused:?}");
}

#[tokio::test]
async fn replicas_are_counted_while_they_live() {
    let redis = Redis::start().await;
    let link = link(&redis).await;
    let beat = |name: &str, alive: i64, stay: i64| {
        Call::new(&BEAT, "replicas".to_owned()).text(name).number(alive).number(stay)
    };
    for (name, stay, expected) in [("a", 1, 1), ("b", 1, 2), ("a", 1, 2), ("c", 1, 3), ("b", 0, 2)] {
        assert_eq!(link.call(&beat(name, 60_000, stay)).await, Ok(Value::Int(expected)), "{name}");
    }
    eventually("the silent ones are gone", || async {
        (link.call(&beat("a", 20, 1)).await == Ok(Value::Int(1))).then_some(())
    })
    .await;
}
