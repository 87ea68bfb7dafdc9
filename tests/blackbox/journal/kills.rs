//! Kills at random moments under load, judged by what clients got and by what the upstream charged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{Client, Request, Setup, Upstream, charged, question};

/// Kills, and clients that call meanwhile.
const KILLS: u64 = 50;
const CLIENTS: u64 = 12;

/// Tokens in and out that a call is charged for.
type Bill = Arc<Mutex<HashMap<String, (u64, u64)>>>;

/// Charges each call by its number, in its own bill first and then in the answer.
async fn upstream(bill: &Bill) -> Upstream {
    let bill = Arc::clone(bill);
    Upstream::start(move |request: &Request| {
        let body = request.json();
        let number = body["number"].as_u64().unwrap();
        let (prompt, completed) = (10 + number % 90, 1 + number % 70);
        bill.lock().unwrap().insert(format!("call-{number}"), (prompt, completed));
        charged(&body, number, prompt, completed)
    })
    .await
}

/// Makes one call; true when its whole answer came.
async fn call(client: &Client, number: u64) -> bool {
    let stream = number.is_multiple_of(2);
    let body = question("up/m", json!({"stream": stream, "number": number}));
    let request = client.request(&body).header("x-request-id", format!("call-{number}"));
    let Ok(response) = request.send().await else { return false };
    if response.status() != 200 {
        return false;
    }
    let leaves = number.is_multiple_of(5);
    let (mut text, mut pieces) = (Vec::new(), response.bytes_stream());
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return false };
        if leaves {
            return false;
        }
        text.extend_from_slice(&piece);
    }
    if stream { text.ends_with(b"data: [DONE]\n\n") } else { serde_json::from_slice::<Value>(&text).is_ok() }
}

#[tokio::test]
async fn fifty_kills_under_load_lose_no_answered_call_and_book_none_twice() {
    let bill = Bill::default();
    let upstream = upstream(&bill).await;
    let more = "server: { workers: 2 }\njournal: { segment_bytes: 32KiB }\n";
    let mut gateway = Setup::with_upstream(&upstream).config(more).start().await;
    let key = gateway.client().await.key;
    let (numbers, answered) = (Arc::new(AtomicU64::new(1)), Arc::new(Mutex::new(Vec::new())));
    // Any sequence does that looks like chance and is the same every time.
    let mut chance = 88_172_645_463_325_252_u64;
    for _ in 0..KILLS {
        let client = Client::new(&gateway.url, &key);
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (client, numbers, answered) =
                    (client.clone(), Arc::clone(&numbers), Arc::clone(&answered));
                tokio::spawn(async move {
                    loop {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        if call(&client, number).await {
                            answered.lock().unwrap().push(format!("call-{number}"));
                        }
                    }
                })
            })
            .collect();
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        tokio::time::sleep(Duration::from_micros(20_000 + chance % 180_000)).await;
        gateway.process.kill();
        // What arrived before the kill and was not read yet is an answer, too.
        tokio::time::sleep(Duration::from_millis(10)).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        gateway = gateway.crash_and_restart().await;
    }
    let answered = answered.lock().unwrap().clone();
    assert!(answered.len() > 50 * 10, "there was load: {}", answered.len());
    let rows = gateway.whole_ledger(answered.len()).await;
    judge(&rows, &answered, &bill.lock().unwrap());
    let usage = gateway.admin("GET", "/usage", None).await.1;
    let sum = |name: &str| rows.iter().map(|row| row[name].as_u64().unwrap()).sum::<u64>();
    for (total, expected) in [
        ("requests", rows.len() as u64),
        ("prompt_tokens", sum("prompt_tokens")),
        ("completion_tokens", sum("completion_tokens")),
    ] {
        assert_eq!(usage["data"][0][total], json!(expected), "{total}");
    }
}

/// Each answered call has one row; what is booked as completed is what was charged.
fn judge(rows: &[Value], answered: &[String], bill: &HashMap<String, (u64, u64)>) {
    let mut booked = HashMap::new();
    for row in rows {
        let id = row["request_id"].as_str().unwrap();
        assert!(booked.insert(id, row).is_none(), "booked twice: {row}");
        if row["outcome"] == "completed" {
            let tokens = (row["prompt_tokens"].as_u64().unwrap(), row["completion_tokens"].as_u64().unwrap());
            assert_eq!(tokens, bill[id], "{row}");
        }
    }
    let lost: Vec<_> = answered
        .iter()
        .filter(|id| booked.get(id.as_str()).is_none_or(|row| row["outcome"] != "completed"))
        .collect();
    assert!(lost.is_empty(), "answered and not booked as completed: {lost:?}");
}
