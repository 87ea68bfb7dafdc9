//! Three gateways that share a store and a Redis: limits hold over all of them, and a change of keys is seen at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_gateway::fleet::address::Address;
use llm_gateway::fleet::{Fleet as Sharer, OnLoss, Setup as Sharing, Sum, Sums};
use llm_gateway::policy::budget::Window;
use llm_gateway::policy::quota::{KeyQuota, Limits};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Gateway, Redis, Script, Setup, Upstream, completion, eventually, whole};

/// Replicas of one gateway.
struct Fleet {
    redis: Redis,
    gateways: Vec<Gateway>,
    _upstream: Upstream,
    _store: TempDir,
}

impl Fleet {
    async fn of(replicas: usize, more: &str) -> Self {
        let redis = Redis::start().await;
        let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
        let store = TempDir::new().expect("a temporary folder");
        let mut gateways = Vec::new();
        for _ in 0..replicas {
            let config = format!("redis: {{ url: '{}'{more} }}\n", redis.url());
            let setup = Setup::with_upstream(&upstream).config(&config);
            let folder = store.path().display().to_string();
            gateways.push(setup.variable("LLM_GATEWAY__DATA_DIR", &folder).start().await);
        }
        let fleet = Self { redis, gateways, _upstream: upstream, _store: store };
        fleet.counted(replicas).await;
        fleet
    }

    /// Waits until everybody knows how many there are.
    async fn counted(&self, replicas: usize) {
        eventually("the replicas have found each other", || async {
            let live = self.redis.command(&["ZCARD", "llmgw:replicas"]).await;
            (live.trim() == replicas.to_string()).then_some(())
        })
        .await;
        // Each hears of it with its next beat.
        for gateway in &self.gateways {
            gateway.counted("llm_gateway_fleet_replicas", replicas as f64).await;
        }
    }

    /// A client of each replica, with one key.
    async fn clients(&self, spec: Value) -> Vec<Client> {
        let (status, made) = self.gateways[0].admin("POST", "/keys", Some(spec)).await;
        assert!(status < 300, "{made}");
        let key = made["key"].as_str().expect("a key").to_owned();
        let clients: Vec<Client> = self.gateways.iter().map(|it| Client::new(&it.url, &key)).collect();
        for client in &clients {
            eventually("the key is known", || async {
                (client.get("/v1/models").await.status == 200).then_some(())
            })
            .await;
        }
        clients
    }
}

#[tokio::test]
async fn a_low_limit_is_exact_over_three_replicas() {
    let fleet = Fleet::of(3, "").await;
    let clients = fleet.clients(json!({"name": "low", "rpm": 10})).await;
    let started = Instant::now();
    let mut admitted = 0;
    for round in 0..10 {
        for client in &clients {
            let answer = client.ask("up/m", json!({})).await;
            assert!(matches!(answer.status, 200 | 429), "{round}: {}", answer.text());
            admitted += u64::from(answer.status == 200);
            if answer.status == 429 {
                assert!(!answer.header("retry-after").is_empty());
            }
        }
    }
    let refilled = started.elapsed().as_secs() / 6;
    assert!((10..=10 + refilled).contains(&admitted), "{admitted} admitted, {refilled} flowed back");
}

#[tokio::test]
async fn a_high_limit_is_kept_within_two_percent_with_few_round_trips() {
    let fleet = Fleet::of(3, "").await;
    let clients = fleet.clients(json!({"name": "high", "rpm": 3_000})).await;
    let started = Instant::now();
    let calls = clients.iter().flat_map(|client| std::iter::repeat_n(client, 8)).map(|client| async {
        let (mut admitted, mut refused) = (0_u64, 0_u64);
        while refused < 5 && started.elapsed() < Duration::from_secs(60) {
            match client.ask("up/m", json!({})).await.status {
                200 => admitted += 1,
                429 => {
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => panic!("{other}"),
            }
        }
        admitted
    });
    let admitted: u64 = futures_util::future::join_all(calls).await.into_iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    let most = 3_000.0 * (1.0 + seconds / 60.0) * 1.02;
    assert!(
        admitted >= 2_940 && (admitted as f64) < most,
        "{admitted} admitted in {seconds} s, at most {most}"
    );
    let mut trips = 0.0;
    for gateway in &fleet.gateways {
        trips += gateway.metric("llm_gateway_redis_round_trips_total").await;
    }
    // The gate is on 1,000 calls per second; what ticks and beats cost weighs more at fewer.
    let ticks = seconds * 3.0 * 8.0;
    assert!(
        trips - ticks < 0.05 * admitted as f64,
        "{trips} round trips for {admitted} calls in {seconds} s"
    );
}

/// A key's quota as one replica sees it, and how often it is called per second in the whole fleet.
struct Load {
    scope: String,
    rpm: u32,
    per_second: u64,
}

#[tokio::test]
async fn a_thousand_calls_a_second_ask_redis_less_than_once_in_twenty() {
    let redis = Redis::start().await;
    let fleets: Vec<Sharer> = (0..3)
        .map(|at| {
            let fleet = Sharer::new(Sharing {
                address: Address::parse(&redis.url()).unwrap(),
                timeout: Duration::from_secs(1),
                on_loss: OnLoss::Deny,
                prefix: "t".to_owned(),
                boot: format!("boot{at}"),
            });
            let running = fleet.clone();
            tokio::spawn(async move { running.run(&NoLedger).await });
            fleet
        })
        .collect();
    for fleet in &fleets {
        eventually("they know each other", || std::future::ready((fleet.replicas() == 3).then_some(())))
            .await;
    }
    // Few keys make most of the calls, as everywhere.
    let loads: Vec<Load> = [(10, 12_000, 90), (20, 400, 4), (20, 60, 1)]
        .into_iter()
        .flat_map(|(keys, rpm, per_second)| {
            (0..keys).map(move |key| Load { scope: format!("{rpm}-{key}"), rpm, per_second })
        })
        .collect();
    let quotas: Vec<Vec<Arc<KeyQuota>>> = loads
        .iter()
        .map(|load| {
            let limits = Limits { rpm: NonZeroU32::new(load.rpm), tpm: None, concurrency: None };
            fleets.iter().map(|_| Arc::new(KeyQuota::new(limits, Instant::now()))).collect()
        })
        .collect();
    let run = |seconds: u64| {
        let fleets = &fleets;
        let callers = loads.iter().zip(&quotas).map(move |(load, quotas)| async move {
            let mut beats = tokio::time::interval(Duration::from_micros(1_000_000 / load.per_second));
            for call in 0..load.per_second * seconds {
                beats.tick().await;
                let at = usize::try_from(call % 3).unwrap();
                let admitted = fleets[at].admit(&load.scope, &quotas[at], 10).await;
                assert!(admitted.is_ok(), "{} is within its limit: {admitted:?}", load.scope);
            }
            load.per_second * seconds
        });
        futures_util::future::join_all(callers.collect::<Vec<_>>())
    };
    // Its first call on each replica asks for every key.
    run(2).await;
    let before: u64 = fleets.iter().map(|fleet| fleet.traffic().round_trips).sum();
    let calls: u64 = run(5).await.into_iter().sum();
    let trips = fleets.iter().map(|fleet| fleet.traffic().round_trips).sum::<u64>() - before;
    assert!(trips * 20 < calls, "{trips} round trips for {calls} calls");
}

/// Quotas need no ledger.
struct NoLedger;

impl Sums for NoLedger {
    fn spent<'a>(&'a self, _payer: &'a str, _window: Window) -> Sum<'a> {
        Box::pin(async { None })
    }

    fn settled_ms(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn without_redis_each_replica_admits_its_share_and_nothing_waits() {
    let mut fleet = Fleet::of(3, "").await;
    let clients = fleet.clients(json!({"name": "share", "rpm": 30})).await;
    fleet.redis.kill();
    let (mut admitted, mut slowest) = (0, Duration::ZERO);
    for _ in 0..20 {
        for client in &clients {
            let asked = Instant::now();
            admitted += u64::from(client.ask("up/m", json!({})).await.status == 200);
            slowest = slowest.max(asked.elapsed());
        }
    }
    assert!((29..=33).contains(&admitted), "{admitted}: not three times the limit");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    fleet.redis.restart().await;
    for gateway in &fleet.gateways {
        gateway.counted("llm_gateway_redis_up", 1.0).await;
    }
    let answer = clients[0].ask("up/m", json!({})).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-limit-requests")), (200, "30"));
}

#[tokio::test]
async fn without_redis_nothing_is_admitted_where_that_is_asked_for() {
    let mut fleet = Fleet::of(1, ", on_loss: deny").await;
    let clients = fleet.clients(json!({"name": "deny", "rpm": 30})).await;
    let free = fleet.gateways[0].client().await;
    fleet.redis.kill();
    let refused = clients[0].ask("up/m", json!({})).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"), "{}", refused.text());
    assert_eq!(free.ask("up/m", json!({})).await.status, 200, "a key without limits needs no Redis");
}

#[tokio::test]
async fn a_redis_that_answers_nobody_holds_no_request_up() {
    let fleet = Fleet::of(1, "").await;
    let clients = fleet.clients(json!({"name": "slow", "rpm": 1_000})).await;
    fleet.redis.pause();
    let mut waits = Vec::new();
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(clients[0].ask("up/m", json!({})).await.status, 200);
        waits.push(asked.elapsed());
    }
    fleet.redis.resume();
    waits.sort();
    assert!(waits[19] < Duration::from_millis(500), "{waits:?}");
    assert!(waits[10] < Duration::from_millis(50), "after some, nobody waits at all: {waits:?}");
    fleet.gateways[0].counted("llm_gateway_redis_up", 1.0).await;
}

#[tokio::test]
async fn a_key_that_is_revoked_on_one_replica_is_refused_by_the_others_at_once() {
    let fleet = Fleet::of(2, "").await;
    let clients = fleet.clients(json!({"name": "gone"})).await;
    let mut fastest = Duration::MAX;
    // Polling alone would take two seconds less whatever passed of them.
    for _ in 0..3 {
        let (_, made) = fleet.gateways[0].admin("POST", "/keys", Some(json!({"name": "new"}))).await;
        let client = Client::new(&fleet.gateways[1].url, made["key"].as_str().unwrap());
        let asked = Instant::now();
        eventually("the key is known", || async {
            (client.get("/v1/models").await.status == 200).then_some(())
        })
        .await;
        fastest = fastest.min(asked.elapsed());
        let path = format!("/keys/{}", made["id"].as_str().unwrap());
        assert_eq!(fleet.gateways[0].admin("DELETE", &path, None).await.0, 200);
        eventually("it is refused", || async {
            (client.get("/v1/models").await.status == 401).then_some(())
        })
        .await;
    }
    assert!(fastest < Duration::from_millis(500), "{fastest:?}");
    assert_eq!(clients[1].get("/v1/models").await.status, 200);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_being_shown() {
    let folder = TempDir::new().unwrap();
    let config = "redis: { url: 'redis://:hunter2@' }\n";
    std::fs::write(folder.path().join("gateway.yaml"), config).unwrap();
    let output = crate::support::Process::run(&["serve", "--config", "gateway.yaml"], folder.path(), &[]);
    assert_ne!(output.code, Some(0));
    assert!(output.err.contains("redis.url") && !output.err.contains("hunter2"), "{}", output.err);
}
