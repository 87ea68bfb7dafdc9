//! Degraded mode: a store that cannot be written costs no client anything, and the ledger is exact once it can be again.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::support::{
    Client, Gateway, Process, Script, Setup, Signal, Upstream, completion, eventually, whole,
};

/// Calls before the trouble, during it, and after the gateway has said so.
const BEFORE: usize = 3;
const DURING: usize = 60;
const AFTER: usize = 10;

async fn upstream() -> Upstream {
    Upstream::start(|_| Script::new().send(whole(200, &completion("hi")))).await
}

/// Calls, none of which may fail.
async fn ask(client: &Client, calls: usize) {
    for _ in 0..calls {
        let answer = client.ask("up/m", json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A connection to the ledger's file from outside.
async fn opened(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("data/gateway.db")).connect().await.unwrap()
}

/// Why a process that ended could not start.
async fn error_line(process: &Process) -> String {
    eventually("an error", || async {
        process.log().lines().find(|line| line.starts_with("error")).map(str::to_owned)
    })
    .await
}

/// Waits until `/health/ready` says this of the store; it stays 200 throughout.
async fn store_is(gateway: &Gateway, word: &str) {
    for base in [&gateway.url, &gateway.ops] {
        eventually(&format!("the store is {word}"), || async {
            let response = reqwest::get(format!("{base}/health/ready")).await.unwrap();
            assert_eq!(response.status(), 200, "it serves, and says so");
            let body: Value = response.json().await.unwrap();
            assert_eq!((&body["status"], &body["checks"]["billing"]), (&json!("ready"), &json!("ok")));
            (body["checks"]["store"] == word).then_some(())
        })
        .await;
    }
}

/// The first line of the log whose message begins so.
async fn said(gateway: &Gateway, message: &str) -> Value {
    eventually(message, || async {
        let begins = |event: &Value| event["message"].as_str().is_some_and(|text| text.starts_with(message));
        gateway.process.events().into_iter().find(begins)
    })
    .await
}

/// The ledger has each of these calls once, and the totals say the same.
async fn exact(gateway: &Gateway, calls: usize) {
    let rows = gateway.ledger(calls).await;
    let mut ids: Vec<&str> = rows.iter().map(|row| row["call_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((rows.len(), ids.len()), (calls, calls));
    let usage = gateway.admin("GET", "/usage", None).await.1;
    let totals = (&usage["data"][0]["requests"], &usage["data"][0]["prompt_tokens"]);
    assert_eq!(totals, (&json!(calls), &json!(9 * calls)));
    gateway.counted("llm_gateway_unsettled_receipts", 0.0).await;
    gateway.counted("llm_gateway_store_up", 1.0).await;
}

/// A store that fails under traffic: what the operator sees, and what goes on.
async fn fails(gateway: &Gateway, client: &Client, why: &str) {
    ask(client, DURING).await;
    store_is(gateway, "degraded").await;
    ask(client, AFTER).await;
    let told = said(gateway, "receipts are kept, the store fails: ").await;
    let text = told["message"].as_str().unwrap();
    assert!(told["level"] == "ERROR" && text.contains(why), "{told}");
    gateway.counted("llm_gateway_store_up", 0.0).await;
    gateway.counted("llm_gateway_unsettled_receipts", (DURING + AFTER) as f64).await;
    // Keys can be read and not be changed.
    let (status, refused) = gateway.admin("POST", "/keys", Some(json!({"name": "late"}))).await;
    assert_eq!((status, &refused["error"]["code"]), (503, &json!("overloaded")), "{refused}");
    let (status, keys) = gateway.admin("GET", "/keys", None).await;
    assert_eq!((status, keys["data"].as_array().map(Vec::len)), (200, Some(1)), "{keys}");
}

/// What must be once the store can be written again.
async fn recovers(gateway: &Gateway, client: &Client) {
    exact(gateway, BEFORE + DURING + AFTER).await;
    store_is(gateway, "ok").await;
    said(gateway, "the store takes receipts again").await;
    ask(client, 1).await;
    exact(gateway, BEFORE + DURING + AFTER + 1).await;
    let mut outside = opened(gateway.folder()).await;
    let checked: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut outside).await.unwrap();
    assert_eq!(checked, "ok");
}

#[tokio::test]
async fn while_another_process_holds_the_ledger_locked_calls_go_on_and_are_settled_afterwards() {
    let upstream = upstream().await;
    let mut gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    ask(&client, BEFORE).await;
    gateway.ledger(BEFORE).await;
    let mut outside = opened(gateway.folder()).await;
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    fails(&gateway, &client, "database is locked").await;
    lock.rollback().await.unwrap();
    recovers(&gateway, &client).await;
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
}

/// Bounds the files that a process writes, as a disk does that is full: to so many bytes, or not at all.
fn bound_files(gateway: &Gateway, bytes: &str) {
    // The soft limit alone, so that it can be taken back.
    let limits = [format!("--pid={}", gateway.process.id()), format!("--fsize={bytes}:")];
    let status = std::process::Command::new("prlimit").args(limits).status().expect("prlimit runs");
    assert!(status.success());
}

/// Leaves the store room for a page and a half: a transaction is cut off in its middle.
fn fill(gateway: &Gateway) {
    let written =
        std::fs::metadata(gateway.folder().join("data/gateway.db-wal")).map_or(0, |file| file.len());
    bound_files(gateway, &(written + 6_000).to_string());
}

/// A gateway that has settled some calls, on a disk that is full since.
async fn full() -> (Upstream, Gateway, Client) {
    let upstream = upstream().await;
    let gateway = Setup::with_upstream(&upstream).start().await;
    let client = gateway.client().await;
    ask(&client, BEFORE).await;
    gateway.ledger(BEFORE).await;
    fill(&gateway);
    (upstream, gateway, client)
}

#[tokio::test]
async fn on_a_full_disk_calls_go_on_and_are_settled_once_there_is_room() {
    let (_upstream, mut gateway, client) = full().await;
    fails(&gateway, &client, "disk").await;
    bound_files(&gateway, "unlimited");
    recovers(&gateway, &client).await;
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
}

#[tokio::test]
async fn a_crash_on_a_full_disk_damages_nothing_and_loses_nothing() {
    let (_upstream, gateway, client) = full().await;
    ask(&client, DURING).await;
    store_is(&gateway, "degraded").await;
    let gateway = gateway.crash_and_restart().await;
    exact(&gateway, BEFORE + DURING).await;
    let client = Client::new(&gateway.url, &client.key);
    ask(&client, 1).await;
    exact(&gateway, BEFORE + DURING + 1).await;
}

#[tokio::test]
async fn what_waits_at_the_end_is_settled_if_there_is_room_in_time_and_else_by_the_next_start() {
    for in_time in [true, false] {
        let (_upstream, mut gateway, client) = full().await;
        ask(&client, DURING).await;
        store_is(&gateway, "degraded").await;
        gateway.process.signal(Signal::Terminate);
        if in_time {
            said(&gateway, "stopping: ").await;
            bound_files(&gateway, "unlimited");
        }
        let code = gateway.process.ended().await.code();
        let log = gateway.process.log();
        assert_eq!(code, Some(0), "nothing is lost: {log}");
        let kept = gateway.process.events().into_iter().find(|event| {
            event["receipts"] == DURING
                && event["message"] == "receipts stay in the journal: the next start settles them"
        });
        assert_eq!(kept.is_some(), !in_time, "{log}");
        let gateway = gateway.restart().await;
        exact(&gateway, BEFORE + DURING).await;
    }
}

#[tokio::test]
async fn a_start_on_a_full_disk_is_one_clear_line() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "").unwrap();
    let arguments = ["serve", "--config", "gateway.yaml"];
    let mut process = Process::start_after("ulimit -f 0", &arguments, folder.path(), &[]);
    assert_eq!(process.ended().await.code(), Some(1));
    let line = error_line(&process).await;
    assert!(line.contains("cannot use the store ") && line.contains("disk is full"), "{line}");
}

#[tokio::test]
async fn a_start_while_another_process_holds_the_ledger_locked_is_one_clear_line() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "").unwrap();
    let made = Process::run(&["keys", "create", "first", "--config", "gateway.yaml"], folder.path(), &[]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let mut outside = opened(folder.path()).await;
    let _lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let mut process = Process::start(&["serve", "--config", "gateway.yaml"], folder.path(), &[]);
    assert_eq!(process.ended().await.code(), Some(1));
    let line = error_line(&process).await;
    let mend = "another process holds it locked. Stop that process and try again.";
    assert!(line.contains("cannot use the store ") && line.ends_with(mend), "{line}");
}

#[test]
fn a_data_folder_in_which_nothing_can_be_made_is_one_clear_line() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "").unwrap();
    // Not even root makes files there.
    let variables = [
        ("LLM_GATEWAY__SERVER__LISTEN", "127.0.0.1:0"),
        ("LLM_GATEWAY__OPS__LISTEN", "127.0.0.1:0"),
        ("LLM_GATEWAY__DATA_DIR", "/proc/self"),
    ];
    let output = Process::run(&["serve", "--config", "gateway.yaml"], folder.path(), &variables);
    let lines: Vec<&str> = output.err.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!((output.code, lines.len()), (Some(1), 1), "{output:?}");
    let line = lines[0];
    let mend = "Make data_dir a folder that this user can write, or set another one.";
    assert!(line.contains("cannot use the store /proc/self/gateway.db: ") && line.ends_with(mend), "{line}");
}

#[tokio::test]
async fn nobody_waits_for_whoever_reads_the_log_and_no_line_is_lost_that_finds_room() {
    let up = upstream().await;
    let gateway = Setup::with_upstream(&up).start().await;
    let client = gateway.client().await;
    gateway.process.leave_unread(true);
    // A pipe holds 64 KB, some 120 lines.
    ask(&client, 300).await;
    gateway.process.leave_unread(false);
    let calls = || gateway.process.events().iter().filter(|event| event["message"] == "request").count();
    eventually("every call has its line", || std::future::ready((calls() == 300).then_some(()))).await;
    assert_eq!(gateway.metric("llm_gateway_log_dropped_lines_total").await, 0.0);
}
