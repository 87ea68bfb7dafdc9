//! Gateways on PostgreSQL: they share keys and ledger, and a server that stops or hangs costs no client anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::postgres::{Cluster, PASSWORD};
use crate::support::{
    Client, Gateway, Process, Script, Setup, Signal, Upstream, completion, eventually, whole,
};

const URL: &str = "LLM_GATEWAY__DATABASE__URL";

async fn upstream() -> Upstream {
    Upstream::start(|_| Script::new().send(whole(200, &completion("hi")))).await
}

fn setup(upstream: &Upstream, url: &str) -> Setup {
    Setup::with_upstream(upstream).variable("DATABASE_URL", url).variable(URL, "env:DATABASE_URL")
}

/// What `/health/ready` says of the store; the gateway is ready whatever that is.
async fn store_is(gateway: &Gateway, word: &str) {
    eventually(&format!("the store is {word}"), || async {
        let response = reqwest::get(format!("{}/health/ready", gateway.url)).await.unwrap();
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.unwrap();
        (body["checks"]["store"] == word).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_on_postgres_serves_and_its_ledger_survives_it() {
    let upstream = upstream().await;
    let url = Cluster::shared().database().await;
    let gateway = setup(&upstream, &url).start().await;
    let client = gateway.client_with(json!({"name": "first", "project": "search"})).await;
    let answer = client.ask("up/m", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let row = &gateway.ledger(1).await[0];
    assert_eq!((&row["outcome"], &row["project"]), (&json!("completed"), &json!("search")), "{row}");
    assert!(!gateway.folder().join("data/gateway.db").exists());
    let (_, shown) = gateway.admin("GET", "/config", None).await;
    assert!(
        shown.to_string().contains("env:DATABASE_URL") && !shown.to_string().contains(PASSWORD),
        "{shown}"
    );
    let log = gateway.process.log();
    assert!(!log.contains(PASSWORD), "{log}");
    // The store is all there is: the next one starts in the same folder and finds it.
    let gateway = gateway.stop_and_restart().await;
    let client = Client::new(&gateway.url, &client.key);
    assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    gateway.sound(2).await;
    let usage = gateway.admin("GET", "/usage?group_by=project", None).await.1;
    assert_eq!(usage["data"][0]["requests"], 2, "{usage}");
}

#[tokio::test]
async fn a_key_made_or_revoked_through_one_replica_is_so_on_the_other_within_two_seconds() {
    let upstream = upstream().await;
    let url = Cluster::shared().database().await;
    let here = setup(&upstream, &url).start().await;
    let there = setup(&upstream, &url).start().await;
    let (_, made) = here.admin("POST", "/keys", Some(json!({"name": "shared"}))).await;
    let started = Instant::now();
    let client = Client::new(&there.url, made["key"].as_str().unwrap());
    let answered = AtomicUsize::new(0);
    let status_is = async |wanted: u16| {
        eventually(&format!("{wanted} on the other replica"), || async {
            let status = client.ask("up/m", json!({})).await.status;
            answered.fetch_add(usize::from(status == 200), Ordering::Relaxed);
            (status == wanted).then_some(())
        })
        .await;
    };
    status_is(200).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let revoked = Instant::now();
    let (status, _) = here.admin("DELETE", &format!("/keys/{}", made["id"].as_str().unwrap()), None).await;
    assert!(status < 300, "{status}");
    status_is(401).await;
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    // Both see the one ledger, which has what the other replica answered.
    let answered = answered.into_inner();
    for gateway in [&here, &there] {
        assert_eq!(gateway.whole_ledger(answered).await.len(), answered);
    }
}

/// Traffic that never stops; none of it may fail. Gives the number of calls.
struct Traffic {
    running: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<usize>,
}

impl Traffic {
    fn start(gateway: &Gateway, key: &str) -> Self {
        let (running, answered) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (client, on, count) =
            (Client::new(&gateway.url, key), Arc::clone(&running), Arc::clone(&answered));
        let task = tokio::spawn(async move {
            while on.load(Ordering::Relaxed) {
                let answer = client.ask("up/m", json!({})).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            count.load(Ordering::Relaxed)
        });
        Self { running, answered, task }
    }

    /// Waits until some more calls were answered.
    async fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually("calls are answered", || async {
            (self.answered.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }

    async fn end(self) -> usize {
        self.running.store(false, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// The server fails under traffic in this way, for so long, and comes back in that one.
async fn outlives(fails: fn(&Cluster), recovers: fn(&Cluster), lasting: Duration) {
    let upstream = upstream().await;
    let cluster = Arc::new(Cluster::start());
    let url = cluster.database().await;
    // Beside the traffic, which goes on meanwhile.
    let beside = |change: fn(&Cluster)| {
        let cluster = Arc::clone(&cluster);
        async move { tokio::task::spawn_blocking(move || change(&cluster)).await.unwrap() }
    };
    let mut gateway = setup(&upstream, &url).start().await;
    let client = gateway.client().await;
    let traffic = Traffic::start(&gateway, &client.key);
    traffic.goes_on().await;
    for _ in 0..2 {
        beside(fails).await;
        store_is(&gateway, "degraded").await;
        traffic.goes_on().await;
        tokio::time::sleep(lasting).await;
        let (status, refused) = gateway.admin("POST", "/keys", Some(json!({"name": "late"}))).await;
        assert_eq!((status, &refused["error"]["code"]), (503, &json!("overloaded")), "{refused}");
        beside(recovers).await;
        store_is(&gateway, "ok").await;
        traffic.goes_on().await;
    }
    let calls = traffic.end().await;
    let unsettled = || gateway.metric("llm_gateway_unsettled_receipts");
    let settling = Instant::now();
    while unsettled().await > 0.0 && settling.elapsed() < lasting {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gateway.sound(calls).await;
    if !lasting.is_zero() {
        eprintln!(
            "{calls} calls over two outages of {lasting:?}; settled {:?} after the end",
            settling.elapsed()
        );
    }
    let usage = gateway.admin("GET", "/usage", None).await.1;
    assert_eq!(usage["data"][0]["requests"], calls, "{usage}");
    let (status, _) = gateway.admin("POST", "/keys", Some(json!({"name": "again"}))).await;
    assert!(status < 300, "{status}");
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    assert!(!gateway.process.log().contains(PASSWORD), "{}", gateway.process.log());
}

#[tokio::test]
async fn a_server_that_stops_under_traffic_fails_no_call_and_the_ledger_is_exact_afterwards() {
    // How many seconds it is gone, for whoever has the time.
    let seconds = std::env::var("OUTAGE_SECONDS").map_or(0, |seconds| seconds.parse().expect("a number"));
    outlives(Cluster::stop_service, Cluster::resume_service, Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn a_server_that_hangs_under_traffic_fails_no_call_and_the_ledger_is_exact_afterwards() {
    outlives(|cluster| cluster.signal("STOP"), |cluster| cluster.signal("CONT"), Duration::ZERO).await;
}

#[tokio::test]
async fn a_start_waits_for_a_server_that_is_not_there_yet_and_can_be_ended_meanwhile() {
    let cluster = Cluster::start();
    let url = cluster.database().await;
    cluster.stop_service();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "").unwrap();
    let variables = [
        ("LLM_GATEWAY__SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("LLM_GATEWAY__OPS__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        (URL.to_owned(), url),
    ];
    let start = || Process::start(&["serve", "--config", "gateway.yaml"], folder.path(), &variables);
    let waits = async |process: &Process| {
        eventually("it says that it waits", || async {
            process.log().contains("waiting 30s at most for the store: cannot reach the store").then_some(())
        })
        .await;
    };
    let mut ended = start();
    waits(&ended).await;
    ended.signal(Signal::Terminate);
    assert_eq!(ended.ended().await.code(), Some(0), "{}", ended.log());
    let mut process = start();
    waits(&process).await;
    cluster.resume_service();
    process.logged("ready").await;
    assert!(!process.log().contains(PASSWORD), "{}", process.log());
}

#[tokio::test]
async fn the_command_line_migrates_and_makes_keys_where_the_address_says() {
    let url = Cluster::shared().database().await;
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "database: { migrate: false }").unwrap();
    let run = |arguments: &[&str]| {
        let arguments = [arguments, &["--config", "gateway.yaml"]].concat();
        let output = Process::run(&arguments, folder.path(), &[(URL, &url)]);
        assert!(!output.err.contains(PASSWORD) && !output.out.contains(PASSWORD), "{output:?}");
        output
    };
    let refused = run(&["keys", "list"]);
    assert!(refused.code == Some(1) && refused.err.contains("Run `llm-gateway migrate`"), "{refused:?}");
    let refused = run(&["serve"]);
    let line = refused.err.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(refused.code == Some(1) && line.contains("Run `llm-gateway migrate`"), "{refused:?}");
    assert!(run(&["migrate"]).out.starts_with("The schema was made: version "));
    assert!(run(&["migrate"]).out.contains(" already."));
    assert_eq!(run(&["keys", "create", "first"]).code, Some(0));
    assert!(run(&["keys", "list"]).out.contains("first"));
    assert!(!folder.path().join("data/gateway.db").exists());
}
