//! A clock that jumps: the gateway measures what it waits for by another one, and books what was done all the same.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    Gateway, Live, Script, Setup, Upstream, chunk, completion, ending, question, stream_head, text_event,
    whole,
};

/// The library that moves a process's clock; `scripts/test` installs it.
fn library() -> PathBuf {
    let found = Command::new("sh")
        .args(["-c", "ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 2>/dev/null | head -n 1"])
        .output()
        .unwrap();
    let path = String::from_utf8(found.stdout).unwrap();
    assert!(!path.trim().is_empty(), "libfaketime is missing: on Debian, apt-get install faketime");
    PathBuf::from(path.trim())
}

/// A gateway whose wall clock is set by a file.
async fn start(up: &Upstream) -> (tempfile::TempDir, Gateway) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    std::fs::write(&file, "+0").unwrap();
    let gateway = Setup::with_upstream(up)
        .variable("LD_PRELOAD", library().to_str().unwrap())
        .variable("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
        .variable("FAKETIME_NO_CACHE", "1")
        // Waiting is measured by a clock that does not jump.
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .variable("DONT_FAKE_MONOTONIC", "1")
        .start()
        .await;
    (folder, gateway)
}

#[tokio::test]
async fn a_clock_that_jumps_forth_and_back_costs_no_call_and_no_row() {
    let let_go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&let_go);
    let up = Upstream::start(move |request| match request.json()["stream"] == true {
        true => Script::new()
            .send(stream_head())
            .send(chunk(text_event("one ")))
            .until(&gate)
            .send(chunk(text_event("two") + &ending()))
            .send(chunk("")),
        false => Script::new().send(whole(200, &completion("hi"))),
    })
    .await;
    let (folder, gateway) = start(&up).await;
    let client = gateway.client_with(json!({"name": "limited", "rpm": 1000, "tpm": 1_000_000})).await;
    let mut streams = Vec::new();
    for offset in ["+0", "+3d", "-30d", "+400d", "+0"] {
        std::fs::write(folder.path().join("clock"), offset).unwrap();
        let mut stream = Live::open(client.request(&question("up/m", json!({"stream": true})))).await;
        stream.until("\n\n").await;
        streams.push(stream);
        for _ in 0..5 {
            let answer = client.ask("up/m", json!({})).await;
            assert_eq!(answer.status, 200, "{offset}: {}", answer.text());
        }
    }
    let_go.add_permits(streams.len());
    for mut stream in streams {
        stream.until("[DONE]\n\n").await;
    }
    let rows = gateway.sound(30).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed"), "{rows:?}");
    // Each row has the time that the clock said; durations are no matter of it.
    let days: std::collections::BTreeSet<&str> =
        rows.iter().map(|row| &row["time"].as_str().unwrap()[..10]).collect();
    assert!(days.len() >= 4, "the clock did not jump: {days:?}");
    assert!(rows.iter().all(|row| row["duration_ms"].as_u64().is_some_and(|ms| ms < 60_000)), "{rows:?}");
}
