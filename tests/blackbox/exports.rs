//! Exports of the ledger and of usage: every row, as a spreadsheet takes it, and never a part that looks whole.

use futures_util::StreamExt as _;
use llm_gateway::csv::Reader;
use serde_json::{Map, Value, json};

use crate::support::{
    ADMIN_KEY, Answer, Gateway, PATIENCE, Request, Script, Setup, Upstream, completion, question, raw,
    receipt, seed, whole,
};

async fn start() -> (Upstream, Gateway) {
    let answer = |request: &Request| match request.json()["model"].as_str() {
        Some("broken") => Script::new().send(whole(500, &json!({"error": {"message": "broken"}}))),
        _ => Script::new().send(whole(200, &completion("hi"))),
    };
    let upstream = Upstream::start(answer).await;
    let gateway = Gateway::before(&upstream).await;
    (upstream, gateway)
}

fn get(gateway: &Gateway, path: &str) -> reqwest::RequestBuilder {
    reqwest::Client::new().get(format!("{}/admin/v1{path}", gateway.ops)).bearer_auth(ADMIN_KEY)
}

/// The records of a table, its first one apart.
fn table(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = Reader::new(text.as_bytes());
    let head = reader.next().unwrap().unwrap().cells;
    let mut rows = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        assert_eq!(record.cells.len(), head.len(), "{record:?}");
        rows.push(record.cells);
    }
    (head, rows)
}

/// What a cell must hold for a member of the JSON answer.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        Value::Object(members) if members.is_empty() => String::new(),
        other => other.to_string(),
    }
}

fn assert_table(text: &str, rows: &[Value]) {
    let (head, table) = table(text);
    assert_eq!(table.len(), rows.len(), "{text}");
    for (cells, row) in table.iter().zip(rows) {
        let members: &Map<String, Value> = row.as_object().unwrap();
        assert_eq!(head, members.keys().cloned().collect::<Vec<_>>());
        assert_eq!(*cells, members.values().map(cell).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_export_holds_what_the_json_answer_holds_and_no_formula() {
    let (_upstream, gateway) = start().await;
    let client = gateway.client_with(json!({"name": "a", "project": "=1+1"})).await;
    for (model, id) in [("=cmd|' /C calc'!A0", "-1"), ("@sum,\"x\"", "b"), ("plain", "c"), ("broken", "d")] {
        let body = question(&format!("up/{model}"), json!({}));
        let request =
            client.request(&body).header("x-request-id", id).header("x-gateway-tags", "team=@x,a=b");
        Answer::of(request).await;
    }
    let rows = gateway.ledger(4).await;
    assert!(rows.iter().any(|row| row["model"] == "=cmd|' /C calc'!A0"), "{rows:?}");
    let csv = Answer::of(get(&gateway, "/requests?format=csv")).await;
    assert_eq!((csv.status, csv.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"requests.csv\"");
    assert_eq!(csv.header("cache-control"), "no-store");
    assert_table(csv.text(), &rows);
    assert!(
        csv.text().contains(",'=cmd|' /C calc'!A0,") && csv.text().lines().all(|line| !line.starts_with('-'))
    );
    assert_eq!(csv.text().matches("\r\n").count(), 5);
    // The header asks for the same; a parameter goes before it.
    let accepted = Answer::of(get(&gateway, "/requests").header("accept", "text/csv")).await;
    assert_eq!(accepted.text(), csv.text());
    let json = Answer::of(get(&gateway, "/requests?format=json").header("accept", "text/csv")).await;
    assert_eq!(json.json()["data"], json!(rows));
    let lines = Answer::of(get(&gateway, "/requests?format=jsonl")).await;
    assert_eq!(lines.header("content-type"), "application/jsonl");
    let objects: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects, rows);
    // The filter holds, and nothing at all is a table, too.
    let failed = Answer::of(get(&gateway, "/requests?format=csv&outcome=failed")).await;
    let of_failed: Vec<Value> = rows.iter().filter(|row| row["outcome"] == "failed").cloned().collect();
    assert_eq!(of_failed.len(), 1);
    assert_table(failed.text(), &of_failed);
    let none = Answer::of(get(&gateway, "/requests?format=csv&key=none")).await;
    assert_eq!(table(none.text()), (table(csv.text()).0, Vec::new()));
    let none = Answer::of(get(&gateway, "/requests?format=jsonl&key=none")).await;
    assert_eq!((none.status, none.text(), none.broken), (200, "", false));
}

#[tokio::test]
async fn totals_are_exported_by_the_same_groups() {
    let (_upstream, gateway) = start().await;
    let client = gateway.client_with(json!({"name": "a", "project": "+web"})).await;
    for model in ["up/a", "up/b", "up/a"] {
        assert_eq!(client.ask(model, json!({})).await.status, 200);
    }
    gateway.ledger(3).await;
    for query in ["", "group_by=model", "group_by=day,project,tag", "group_by=key&to=2001-01-01T00:00:00Z"] {
        let usage = gateway.admin("GET", &format!("/usage?{query}"), None).await.1;
        let csv = Answer::of(get(&gateway, &format!("/usage?{query}&format=csv"))).await;
        assert_eq!(csv.status, 200, "{query}");
        assert_table(csv.text(), usage["data"].as_array().unwrap());
        let named = csv.header("content-disposition");
        assert!(named.starts_with("attachment; filename=\"usage-") && named.ends_with("Z.csv\""), "{named}");
        let lines = Answer::of(get(&gateway, &format!("/usage?{query}&format=jsonl"))).await;
        let rows: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json!(rows), usage["data"], "{query}");
    }
}

#[tokio::test]
async fn what_an_export_cannot_do_is_refused_before_it_begins() {
    let (_upstream, gateway) = start().await;
    for (query, param) in [
        ("/requests?format=xml", "format"),
        ("/requests?format=csv&limit=5", "limit"),
        ("/requests?format=jsonl&cursor=x", "cursor"),
        ("/requests?format=csv&colour=red", "colour"),
        ("/requests?format=csv&from=now", "from"),
        ("/usage?format=pdf", "format"),
        ("/usage?format=csv&group_by=colour", "group_by"),
    ] {
        let answer = Answer::of(get(&gateway, query)).await;
        assert_eq!((answer.status, answer.param().as_str()), (400, param), "{query}: {}", answer.text());
        assert_eq!(answer.header("content-disposition"), "", "{query}");
    }
    // Where the end of a body is the end of the connection, a part would look like the whole.
    let head = format!(
        "GET /admin/v1/requests?format=csv HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\r\n"
    );
    let old = raw(&gateway.ops, head.as_bytes()).await;
    assert_eq!(old.status, 400, "{old:?}");
    let nobody = reqwest::get(format!("{}/admin/v1/requests?format=csv", gateway.ops)).await.unwrap();
    assert_eq!(nobody.status(), 401);
}

/// A ledger whose export is far larger than what sockets hold: so many rows of more than 1.5 KiB each.
async fn large(gateway: &Gateway, rows: usize) {
    let model = "m".repeat(1000);
    let time = |at: usize| 1_700_000_000_000 + i64::try_from(at).unwrap();
    let receipts: Vec<_> = (0..rows).map(|at| receipt(time(at), &model, 1, 1, Some("0.1"))).collect();
    seed(gateway.folder(), &receipts).await;
}

/// The most memory that the process ever had, KiB.
fn peak_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_large_export_is_whole_and_takes_the_memory_of_a_page() {
    const ROWS: usize = 24_500;
    let (_upstream, gateway) = start().await;
    large(&gateway, ROWS).await;
    // What the store and the routes need once.
    Answer::of(get(&gateway, "/requests?limit=1000")).await;
    let before = peak_kib(&gateway);
    let response = get(&gateway, "/requests?format=csv").send().await.unwrap();
    let mut body = response.bytes_stream();
    let mut text = body.next().await.unwrap().unwrap().to_vec();
    // The client takes nothing for a while, in which others are served.
    for _ in 0..20 {
        assert_eq!(gateway.admin("GET", "/requests?limit=1000", None).await.0, 200);
    }
    while let Some(piece) = tokio::time::timeout(PATIENCE, body.next()).await.unwrap() {
        text.extend_from_slice(&piece.unwrap());
    }
    let grown = peak_kib(&gateway) - before;
    assert!(text.len() > 35 << 20, "{} bytes", text.len());
    // Of which the pages that others were given take the most.
    assert!(grown < 30 << 10, "{grown} KiB more for {} bytes", text.len());
    let (head, rows) = table(std::str::from_utf8(&text).unwrap());
    let at = head.iter().position(|name| name == "call_id").unwrap();
    let ids: std::collections::HashSet<&String> = rows.iter().map(|row| &row[at]).collect();
    assert_eq!((rows.len(), ids.len()), (ROWS, ROWS), "each row once");
    let time = head.iter().position(|name| name == "time").unwrap();
    assert!(rows.windows(2).all(|pair| pair[0][time] > pair[1][time]), "newest first");
}

#[tokio::test]
async fn an_export_that_fails_midway_does_not_look_complete() {
    const ROWS: usize = 12_000;
    for format in ["csv", "jsonl"] {
        let (_upstream, mut gateway) = start().await;
        large(&gateway, ROWS).await;
        let response = get(&gateway, &format!("/requests?format={format}")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.bytes_stream();
        let mut text = body.next().await.unwrap().unwrap().to_vec();
        // The store fails while the client holds back: most of the rows are not read yet.
        let address = format!("sqlite://{}", gateway.folder().join("data/gateway.db").display());
        let store = sqlx::SqlitePool::connect(&address).await.unwrap();
        sqlx::query("ALTER TABLE ledger RENAME TO gone").execute(&store).await.unwrap();
        store.close().await;
        let mut broken = false;
        while let Some(piece) = tokio::time::timeout(PATIENCE, body.next()).await.unwrap() {
            match piece {
                Ok(bytes) => text.extend_from_slice(&bytes),
                Err(_) => broken = true,
            }
        }
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        assert!(broken, "{format}: {lines} lines came as if they were all");
        assert!(lines < ROWS, "{format}: {lines}");
        gateway.process.logged("an export was broken off").await;
        // Before the head is out, a failure has a status.
        assert_eq!(Answer::of(get(&gateway, &format!("/requests?format={format}"))).await.status, 503);
        assert!(!gateway.process.log().contains("panic"));
    }
}

#[tokio::test]
async fn a_client_that_leaves_an_export_leaves_the_gateway_well() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let mut gateway = Setup::with_upstream(&upstream).start().await;
    large(&gateway, 6_000).await;
    for _ in 0..10 {
        let response = get(&gateway, "/requests?format=csv").send().await.unwrap();
        drop(response);
    }
    let whole = Answer::of(get(&gateway, "/requests?format=csv")).await;
    assert_eq!((whole.broken, table(whole.text()).1.len()), (false, 6_000));
    assert_eq!(gateway.stop().await, Some(0), "{}", gateway.process.log());
}
