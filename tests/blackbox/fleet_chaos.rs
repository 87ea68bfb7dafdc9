//! Three gateways behind a balancer, on one PostgreSQL and one Redis, under load while replicas are killed and Redis is
//! killed, flushed, put back to an old snapshot and failed over. The judge is the upstream's own bill.
//!
//! `CHAOS_CALLS` sets the number of calls; numbers of the run are on standard error.

mod judge;
mod load;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::postgres::Cluster;
use crate::support::{Redis, Replicas, Setup, Switch};
use load::{Load, Payer};

/// A call of 1 and 100 tokens costs 0.001001 USD, and reserves a little more.
const CATALOG: &str = r#"{"version":1,"models":[{"id":"priced","offers":[
  {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"1","output":"10"}}}]}]}"#;
/// What an average call costs, 1e-6 USD: see [`load`].
const USUAL: u64 = 506;
/// Calls between two faults.
const APART: u64 = 600;

fn calls() -> u64 {
    std::env::var("CHAOS_CALLS").map_or(6_000, |calls| calls.parse().expect("a number of calls"))
}

/// How Redis comes to forget.
enum Loss {
    /// FLUSHALL.
    Flush,
    /// It is killed, and begins with its last snapshot.
    Snapshot,
    /// That, and it is gone for a while.
    Outage,
}

/// The fleet and everything that it stands on.
struct Fleet {
    replicas: Replicas,
    /// Which of the two servers is in use, and the other one.
    redis: [Redis; 2],
    switch: Switch,
    database: String,
    kills: u64,
    chance: u64,
}

impl Fleet {
    async fn before(load: &Load) -> Self {
        let redis = [Redis::start().await, Redis::start().await];
        let switch = Switch::to(redis[0].port()).await;
        let database = Cluster::shared().database().await;
        let config = format!(
            "redis: {{ url: 'redis://127.0.0.1:{}' }}\ncatalog: {{ file: catalog.json }}\n",
            switch.port
        );
        let setup = Setup::with_upstream(&load.upstream).config(&config).file("catalog.json", CATALOG);
        let setup = setup.variable("DATABASE_URL", &database);
        let setup = setup.variable("LLM_GATEWAY__DATABASE__URL", "env:DATABASE_URL");
        let replicas = Replicas::start(3, &setup).await;
        let chance = 88_172_645_463_325_252;
        Self { replicas, redis, switch, database, kills: 0, chance }
    }

    /// Any sequence does that looks like chance and is the same every time.
    fn any(&mut self) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % 3) as usize
    }

    async fn kill(&mut self) {
        self.kills += 1;
        let place = self.any();
        self.replicas.crash(place).await;
    }

    /// Redis loses everything, or what came after its last snapshot.
    async fn redis_forgets(&mut self, how: Loss) {
        match how {
            Loss::Flush => self.redis[0].flush().await,
            Loss::Snapshot => self.redis[0].restart().await,
            Loss::Outage => {
                self.redis[0].kill();
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                self.redis[0].restart().await;
            }
        }
    }

    /// A replica of Redis that has not heard the last writes takes over.
    async fn redis_fails_over(&mut self, load: &Load) {
        self.redis[1].follow(&self.redis[0]).await;
        self.redis[1].promote().await;
        load.goes_on(APART / 7).await;
        self.redis.swap(0, 1);
        self.switch.turn(self.redis[0].port());
    }

    /// One fault after the other until the calls are made.
    async fn suffer(&mut self, load: &Load) {
        let mut turn = 0;
        while load.goes_on(APART).await {
            match turn % 9 {
                0 => self.redis[0].save().await,
                1 => self.redis_forgets(Loss::Snapshot).await,
                3 => self.redis_forgets(Loss::Flush).await,
                4 => self.redis_fails_over(load).await,
                6 => self.redis_forgets(Loss::Outage).await,
                _ => self.kill().await,
            }
            if turn % 4 == 0 {
                // Beside what is done to Redis.
                self.kill().await;
            }
            turn += 1;
        }
    }
}

#[tokio::test]
async fn a_fleet_under_fire_books_what_was_charged_once_and_spends_no_budget_beyond_its_bound() {
    let total = calls();
    let mut load = Load::new(total).await;
    let mut fleet = Fleet::before(&load).await;
    let micros = |micros: u64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let (short, team) = (total / 100 * USUAL, total / 8 * USUAL);
    let budget = |limit: String| json!({"limit_usd": limit, "period": "total"});
    let project = json!({"name": "team", "budget": budget(micros(team))});
    let (status, made) = fleet.replicas.at(0).admin("POST", "/projects", Some(project)).await;
    assert_eq!(status, 201, "{made}");
    for (payer, limit, spec) in [
        (Payer::Free, 0, json!({"name": "free"})),
        (Payer::Ample, 1_000_000_000, json!({"name": "ample", "budget": budget("1000".into())})),
        (Payer::Short, short, json!({"name": "short", "budget": budget(micros(short))})),
        (Payer::Team, team, json!({"name": "team-a", "project": "team"})),
        (Payer::Team, team, json!({"name": "team-b", "project": "team"})),
    ] {
        let (key, id) = fleet.replicas.key(spec).await;
        load.add(payer, limit, key, id);
    }
    let started = Instant::now();
    let clients = load.start(&fleet.replicas.balancer.url);
    fleet.suffer(&load).await;
    for client in clients {
        client.await.expect("a client comes to its end");
    }
    let took = started.elapsed();
    fleet.replicas.settled().await;
    let booked = judge::ledger(&load, &fleet.database, fleet.kills).await;
    judge::budgets(&load, booked);
    judge::rest(&load, &fleet).await;
    eprintln!("{total} calls in {took:?}, {} kills, {}", fleet.kills, load.summary());
}
