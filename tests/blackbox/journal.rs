//! The journal: no receipt is lost, whatever ends the process, and however long the store is away.

mod kills;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::support::{
    Answer, Client, Gateway, Process, Script, Setup, Upstream, completion, eventually, question, streamed,
    whole,
};

/// Answers whole or as a stream, as it is asked; nine tokens in and three out.
async fn upstream() -> Upstream {
    Upstream::start(|request| {
        if request.json()["stream"] == true {
            return streamed("hi");
        }
        Script::new().send(whole(200, &completion("hi")))
    })
    .await
}

/// Calls that all succeed.
async fn ask(client: &Client, calls: usize) {
    for number in 0..calls {
        let answer = client.ask("up/m", json!({"stream": number % 2 == 0})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Many calls at a time, all of which succeed.
async fn ask_many(client: &Client, calls: usize) {
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { ask(&client, calls.div_ceil(16)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// A connection to the ledger's file from outside.
async fn opened(folder: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(folder.join("data/gateway.db")).connect().await.unwrap()
}

/// The ledger has this many calls, each once, and the totals say the same.
async fn exact(gateway: &Gateway, calls: usize) {
    let rows = gateway.whole_ledger(calls).await;
    let mut ids: Vec<&str> = rows.iter().map(|row| row["call_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((rows.len(), ids.len()), (calls, calls));
    let usage = gateway.admin("GET", "/usage", None).await.1;
    let totals = (&usage["data"][0]["requests"], &usage["data"][0]["prompt_tokens"]);
    assert_eq!(totals, (&json!(calls), &json!(9 * calls)));
    gateway.counted("llm_gateway_unsettled_receipts", 0.0).await;
}

/// The files of the journal whose names end so.
fn files(gateway: &Gateway, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(gateway.folder().join("data/journal")).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_str().unwrap().ends_with(end));
    found.sort();
    found
}

/// The events of its log whose message begins so.
fn said(gateway: &Gateway, message: &str) -> Vec<Value> {
    let begins = |event: &Value| event["message"].as_str().is_some_and(|text| text.starts_with(message));
    gateway.process.events().into_iter().filter(begins).collect()
}

/// A gateway that was killed while the store took nothing, with this many receipts in its journal.
async fn killed(upstream: &Upstream, calls: usize) -> Gateway {
    let mut gateway = Gateway::before(upstream).await;
    let client = gateway.client().await;
    let mut outside = opened(gateway.folder()).await;
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    ask(&client, calls).await;
    // At once: what was answered is written.
    gateway.process.kill();
    lock.rollback().await.unwrap();
    gateway
}

/// Bounds the files that a process writes, as a disk does that is full: to so many bytes, or not at all.
fn bound_files(gateway: &Gateway, bytes: &str) {
    let limits = [format!("--pid={}", gateway.process.id()), format!("--fsize={bytes}:")];
    assert!(std::process::Command::new("prlimit").args(limits).status().expect("prlimit runs").success());
}

#[tokio::test]
async fn a_call_that_was_answered_is_booked_although_the_process_is_killed_at_once() {
    let upstream = upstream().await;
    for stream in [false, true] {
        let mut gateway = Gateway::before(&upstream).await;
        let client = gateway.client().await;
        let mut outside = opened(gateway.folder()).await;
        let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
        let answer = client.ask("up/m", json!({"stream": stream})).await;
        gateway.process.kill();
        assert_eq!((answer.status, answer.broken), (200, false));
        lock.rollback().await.unwrap();
        let gateway = gateway.restart().await;
        exact(&gateway, 1).await;
        let row = &gateway.ledger(1).await[0];
        assert_eq!((&row["outcome"], &row["completion_tokens"]), (&json!("completed"), &json!(3)), "{row}");
    }
}

#[tokio::test]
async fn usage_that_must_be_counted_yet_is_counted_after_a_kill_as_it_would_have_been_before() {
    let silent = |request: &crate::support::Request| {
        let mut reply = completion("one two three four five");
        reply.as_object_mut().unwrap().shift_remove("usage");
        if request.json()["stream"] != true {
            return Script::new().send(whole(200, &reply));
        }
        let end = crate::support::event("{}", "\"stop\"") + "data: [DONE]\n\n";
        let events = crate::support::text_event("one two three four five") + &end;
        Script::new()
            .send(crate::support::stream_head())
            .send(crate::support::chunk(events))
            .send(crate::support::chunk(""))
    };
    let upstream = Upstream::start(silent).await;
    let catalog = r#"{"version":1,"models":[{"id":"priced","offers":[
      {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"3","output":"15"}}}]}]}"#;
    let setup = Setup::with_upstream(&upstream)
        .config("catalog: { file: catalog.json }\n")
        .file("catalog.json", catalog);
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    assert_eq!(client.ask("up/priced", json!({"stream": true})).await.status, 200);
    let before = gateway.ledger(1).await[0].clone();
    let mut outside = opened(gateway.folder()).await;
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    assert_eq!(client.ask("up/priced", json!({"stream": true})).await.status, 200);
    gateway.process.kill();
    lock.rollback().await.unwrap();
    let gateway = gateway.restart().await;
    let after = gateway.ledger(2).await[0].clone();
    for name in ["prompt_tokens", "completion_tokens", "cost_usd", "estimated", "outcome"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert_eq!((&after["completion_tokens"], &after["estimated"]), (&json!(5), &json!(true)));
}

#[tokio::test]
async fn an_ordered_stop_leaves_nothing_in_the_journal() {
    let upstream = upstream().await;
    let mut gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    ask(&client, 20).await;
    assert!(!files(&gateway, ".seg").is_empty());
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    assert_eq!(files(&gateway, ""), Vec::<PathBuf>::new());
    exact(&gateway.restart().await, 20).await;
}

#[tokio::test]
async fn a_segment_that_is_idle_goes_away_once_it_is_settled() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    for round in 1..3 {
        ask(&client, 2).await;
        exact(&gateway, 2 * round).await;
        eventually("the segment is gone", || async { files(&gateway, ".seg").is_empty().then_some(()) })
            .await;
        gateway.counted("llm_gateway_journal_bytes", 0.0).await;
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_told_and_costs_nothing_that_was_whole() {
    use std::os::unix::fs::PermissionsExt as _;
    let upstream = upstream().await;
    let gateway = killed(&upstream, 10).await;
    let segments = files(&gateway, ".seg");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&segments[0]), mode(segments[0].parent().unwrap())), (0o600, 0o700));
    let bytes = std::fs::read(&segments[0]).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&segments[0]).unwrap();
    file.write_all(&bytes[..100]).unwrap();
    let gateway = gateway.restart().await;
    exact(&gateway, 10).await;
    let told = said(&gateway, "the journal ends in the middle of a record");
    assert_eq!((told.len(), &told[0]["bytes"]), (1, &json!(100)), "{told:?}");
    assert!(told[0]["file"].as_str().unwrap().ends_with(".seg"), "{told:?}");
    assert_eq!(files(&gateway, ".torn"), Vec::<PathBuf>::new());
    eventually("the segment is gone", || async { (!segments[0].exists()).then_some(()) }).await;
}

#[tokio::test]
async fn a_damaged_record_costs_itself_alone_and_its_file_is_kept() {
    let upstream = upstream().await;
    let gateway = killed(&upstream, 10).await;
    let segment = files(&gateway, ".seg").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segment, &bytes).unwrap();
    let gateway = gateway.restart().await;
    exact(&gateway, 9).await;
    assert_eq!(said(&gateway, "a part of the journal cannot be read").len(), 1);
    let kept = eventually("it is set aside", || async { files(&gateway, ".torn").pop() }).await;
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    // It is not read again.
    let gateway = gateway.crash_and_restart().await;
    exact(&gateway, 9).await;
    assert_eq!(files(&gateway, ".torn").len(), 1);
}

#[tokio::test]
async fn files_that_hold_no_receipts_harm_nothing_and_a_boot_without_its_lock_is_settled() {
    let upstream = upstream().await;
    let gateway = killed(&upstream, 10).await;
    let folder = gateway.folder().join("data/journal");
    for lock in files(&gateway, ".lock") {
        std::fs::remove_file(lock).unwrap();
    }
    let garbage: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(folder.join("01ARZ3NDEKTSV4RRFFQ69G5FAV-0-0.seg"), &garbage).unwrap();
    std::fs::write(folder.join("01ARZ3NDEKTSV4RRFFQ69G5FAV-0-1.seg"), b"").unwrap();
    std::fs::write(folder.join("stranger.seg"), &garbage).unwrap();
    std::fs::write(folder.join("README"), b"mine").unwrap();
    std::fs::create_dir(folder.join("01ARZ3NDEKTSV4RRFFQ69G5FAV-0-2.seg")).unwrap();
    let gateway = gateway.restart().await;
    exact(&gateway, 10).await;
    eventually("the garbage is set aside", || async { (files(&gateway, ".torn").len() == 1).then_some(()) })
        .await;
    assert!(folder.join("stranger.seg").exists() && folder.join("README").exists());
}

#[tokio::test]
async fn two_processes_in_one_folder_leave_each_other_alone_until_one_is_gone() {
    let upstream = upstream().await;
    let mut first = Gateway::before(&upstream).await;
    let client = first.client().await;
    ask(&client, 3).await;
    exact(&first, 3).await;
    // Its store takes nothing any more, its journal does.
    let written = std::fs::metadata(first.folder().join("data/gateway.db-wal")).map_or(0, |file| file.len());
    bound_files(&first, &(written + 6_000).to_string());
    ask(&client, 40).await;
    eventually("the store fails", || async {
        (!said(&first, "receipts are kept, the store fails").is_empty()).then_some(())
    })
    .await;
    let data = first.folder().join("data").to_str().unwrap().to_owned();
    let beside = || Setup::with_upstream(&upstream).variable("LLM_GATEWAY__DATA_DIR", &data);
    let second = beside().start().await;
    assert_eq!(said(&second, "another process is at work in this folder").len(), 1);
    let other = Client::new(&second.url, &client.key);
    ask(&other, 5).await;
    let settled = second.whole_ledger(8).await.len();
    assert_eq!(settled, 8, "nothing of the first one's");
    first.process.kill();
    let third = beside().start().await;
    exact(&third, 48).await;
    ask(&other, 1).await;
    exact(&second, 49).await;
}

#[tokio::test]
async fn while_the_store_is_away_memory_is_bounded_and_the_ledger_is_exact_afterwards() {
    let upstream = upstream().await;
    let more = "journal: { memory_receipts: 100, segment_bytes: 16KiB }\nserver: { workers: 2 }\n";
    let mut gateway = Setup::with_upstream(&upstream).config(more).start().await;
    let client = gateway.client().await;
    let mut outside = opened(gateway.folder()).await;
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    ask_many(&client, 1_600).await;
    gateway.counted("llm_gateway_unsettled_receipts", 1_600.0).await;
    // As many again are in the transaction that is tried.
    let held = gateway.metric("llm_gateway_receipts_in_memory").await;
    assert!(held <= 200.0, "{held}");
    assert!(gateway.metric("llm_gateway_journal_bytes").await > 16.0 * 1_024.0);
    eventually("the lag grows", || async {
        (gateway.metric("llm_gateway_journal_lag_seconds").await >= 2.0).then_some(())
    })
    .await;
    lock.rollback().await.unwrap();
    // What comes meanwhile finds its place, too.
    ask_many(&client, 320).await;
    exact(&gateway, 1_920).await;
    gateway.counted("llm_gateway_receipts_in_memory", 0.0).await;
    gateway.counted("llm_gateway_journal_lag_seconds", 0.0).await;
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
    assert_eq!(files(&gateway, ""), Vec::<PathBuf>::new());
}

/// `/health/ready` says this of the journal.
async fn journal_is(gateway: &Gateway, word: &str) {
    eventually(&format!("the journal is {word}"), || async {
        let body: Value =
            reqwest::get(format!("{}/health/ready", gateway.url)).await.unwrap().json().await.unwrap();
        (body["checks"]["journal"] == word).then_some(())
    })
    .await;
}

#[tokio::test]
async fn on_a_disk_that_takes_nothing_new_calls_are_refused_and_recovery_needs_nobody() {
    let upstream = upstream().await;
    let gateway = Gateway::before(&upstream).await;
    let client = gateway.client().await;
    ask(&client, 3).await;
    exact(&gateway, 3).await;
    bound_files(&gateway, "0");
    // Taken before anybody knew; its receipt waits in memory.
    ask(&client, 1).await;
    let refused = Answer::of(client.request(&question("up/m", json!({})))).await;
    assert_eq!(
        (refused.status, refused.code().as_str(), refused.header("retry-after")),
        (503, "overloaded", "1")
    );
    journal_is(&gateway, "degraded").await;
    assert_eq!(gateway.metric("llm_gateway_journal_state").await, 1.0);
    assert!(gateway.metric("llm_gateway_journal_failures_total").await >= 1.0);
    assert_eq!(said(&gateway, "the journal cannot be written").len(), 1);
    bound_files(&gateway, "unlimited");
    journal_is(&gateway, "ok").await;
    ask(&client, 2).await;
    exact(&gateway, 6).await;
    assert_eq!(said(&gateway, "the journal is written again").len(), 1);
}

#[tokio::test]
async fn where_the_operator_says_so_calls_go_on_without_a_journal_and_are_settled_from_memory() {
    let upstream = upstream().await;
    let setup = Setup::with_upstream(&upstream).config("journal: { on_full: continue_unjournalled }\n");
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    bound_files(&gateway, "0");
    ask(&client, 20).await;
    gateway.counted("llm_gateway_unjournalled_receipts_total", 20.0).await;
    journal_is(&gateway, "degraded").await;
    gateway.counted("llm_gateway_unsettled_receipts", 20.0).await;
    bound_files(&gateway, "unlimited");
    journal_is(&gateway, "ok").await;
    exact(&gateway, 20).await;
    ask(&client, 1).await;
    assert_eq!(gateway.metric("llm_gateway_unjournalled_receipts_total").await, 20.0);
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
}

#[tokio::test]
async fn what_was_in_memory_alone_at_the_end_is_told_as_lost() {
    let upstream = upstream().await;
    let setup = Setup::with_upstream(&upstream).config("journal: { on_full: continue_unjournalled }\n");
    let mut gateway = setup.start().await;
    let client = gateway.client().await;
    bound_files(&gateway, "0");
    ask(&client, 4).await;
    assert_eq!(gateway.stop().await, Some(1), "{}", gateway.process.log());
    let lost = said(&gateway, "receipts could not be settled");
    assert!(lost.iter().any(|event| event["unsettled"] == 4), "{lost:?}");
}

#[tokio::test]
async fn a_journal_at_its_bound_refuses_new_calls_until_it_is_settled() {
    let upstream = upstream().await;
    let setup =
        Setup::with_upstream(&upstream).config("journal: { max_bytes: 64KiB, segment_bytes: 4KiB }\n");
    let gateway = setup.start().await;
    let client = gateway.client().await;
    let mut outside = opened(gateway.folder()).await;
    let lock = outside.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    let mut taken = 0;
    while client.ask("up/m", json!({})).await.status == 200 {
        taken += 1;
        assert!(taken < 1_000, "64 KiB are full by then");
    }
    assert_eq!(gateway.metric("llm_gateway_journal_state").await, 2.0);
    assert!(gateway.metric("llm_gateway_journal_bytes").await <= 65_536.0);
    lock.rollback().await.unwrap();
    journal_is(&gateway, "ok").await;
    ask(&client, 3).await;
    exact(&gateway, taken + 3).await;
}

#[test]
fn a_journal_folder_in_which_nothing_can_be_made_is_one_clear_line() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), "").unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    // Not even root makes files there.
    std::os::unix::fs::symlink("/proc/self", folder.path().join("data/journal")).unwrap();
    let variables =
        [("LLM_GATEWAY__SERVER__LISTEN", "127.0.0.1:0"), ("LLM_GATEWAY__OPS__LISTEN", "127.0.0.1:0")];
    let output = Process::run(&["serve", "--config", "gateway.yaml"], folder.path(), &variables);
    let lines: Vec<&str> = output.err.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!((output.code, lines.len()), (Some(1), 1), "{output:?}");
    assert!(lines[0].contains("cannot use the journal ./data/journal: "), "{}", lines[0]);
}
