//! The exposition, read by Prometheus's own tools.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Gateway, Request, Script, Setup, Upstream, completion, eventually, question, whole,
};

/// Prices in USD per million tokens.
const CATALOG: &str = r#"{"version":1,"source":"the test's own","license":"none","models":[
{"id":"known","offers":[{"provider":"up","upstream":"known-v1","price":{"rates":{"input":"1000000","output":"2000000"}}}]}]}"#;

async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::start(|request: &Request| match request.json()["model"].as_str().unwrap() {
        "broken" => Script::new().send(whole(500, &json!({"error": {"message": "broken"}}))),
        _ => Script::new().send(whole(200, &completion("hi"))),
    })
    .await;
    let setup = Setup::with_upstream(&upstream).config("catalog: { file: catalog.json }\n");
    let gateway = setup.file("catalog.json", CATALOG).start().await;
    (upstream, gateway)
}

/// A bit of everything that is counted.
async fn some_of_everything(gateway: &Gateway) -> Client {
    let client = gateway.client().await;
    for (model, status) in
        [("known", 200), ("known", 200), ("up/other", 200), ("up/broken", 502), ("nobody", 404)]
    {
        assert_eq!(client.ask(model, json!({})).await.status, status, "{model}");
    }
    client.get("/v1/models").await;
    assert_eq!(Client::new(&gateway.url, "lgw_wrong").ask("known", json!({})).await.status, 401);
    client
}

/// Names of the series, labels included, without their values.
fn series(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_exposition() {
    let (_upstream, gateway) = start().await;
    some_of_everything(&gateway).await;
    gateway.counted(r#"llm_gateway_requests_total{error="invalid_api_key",route="/v1/chat/completions",status="401"}"#, 1.0).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (package prometheus)");
    promtool.stdin.take().unwrap().write_all(gateway.metrics().await.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn the_metrics_are_those_of_the_reference() {
    let (_upstream, gateway) = start().await;
    some_of_everything(&gateway).await;
    gateway
        .counted(
            r#"llm_gateway_requests_total{error="not_found",route="/v1/chat/completions",status="404"}"#,
            0.0,
        )
        .await;
    gateway.counted(r#"llm_gateway_cost_usd_total{model="known",provider="up"}"#, 30.0).await;
    let text = gateway.metrics().await;
    let exposed: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let reference = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let documented: BTreeSet<_> = reference
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            Some((cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim()))
        })
        .collect();
    assert_eq!(exposed, documented);
}

#[tokio::test]
async fn counters_equal_what_was_done() {
    let (_upstream, gateway) = start().await;
    some_of_everything(&gateway).await;
    let route = r#"route="/v1/chat/completions""#;
    for (name, value) in [
        (format!(r#"llm_gateway_requests_total{{error="none",{route},status="200"}}"#), 3.0),
        (format!(r#"llm_gateway_requests_total{{error="upstream_error",{route},status="502"}}"#), 1.0),
        (format!(r#"llm_gateway_requests_total{{error="model_not_found",{route},status="404"}}"#), 1.0),
        (format!(r#"llm_gateway_requests_total{{error="invalid_api_key",{route},status="401"}}"#), 1.0),
        (r#"llm_gateway_requests_total{error="none",route="/v1/models",status="200"}"#.to_owned(), 1.0),
        (format!(r#"llm_gateway_request_duration_seconds_count{{{route},stream="false"}}"#), 6.0),
        (r#"llm_gateway_attempts_total{error="none",model="known",outcome="completed",provider="up"}"#.to_owned(), 2.0),
        (r#"llm_gateway_attempts_total{error="none",model="other",outcome="completed",provider="up"}"#.to_owned(), 1.0),
        (r#"llm_gateway_attempts_total{error="upstream_error",model="other",outcome="failed",provider="up"}"#.to_owned(), 1.0),
        (r#"llm_gateway_tokens_total{kind="prompt",model="known",provider="up"}"#.to_owned(), 18.0),
        (r#"llm_gateway_tokens_total{kind="completion",model="known",provider="up"}"#.to_owned(), 6.0),
        (r#"llm_gateway_cost_usd_total{model="known",provider="up"}"#.to_owned(), 30.0),
        (r#"llm_gateway_unpriced_attempts_total{provider="up"}"#.to_owned(), 1.0),
        (r#"llm_gateway_upstream_duration_seconds_count{model="known",outcome="completed",provider="up"}"#.to_owned(), 2.0),
        (r#"llm_gateway_upstream_duration_seconds_count{model="other",outcome="completed",provider="up"}"#.to_owned(), 1.0),
        (r#"llm_gateway_time_to_first_token_seconds_count{model="known",provider="up"}"#.to_owned(), 2.0),
        ("llm_gateway_in_flight_requests".to_owned(), 0.0),
        ("llm_gateway_unsettled_receipts".to_owned(), 0.0),
        ("llm_gateway_store_up".to_owned(), 1.0),
    ] {
        gateway.counted(&name, value).await;
    }
}

#[tokio::test]
async fn ten_thousand_model_names_add_no_series() {
    let (_upstream, gateway) = start().await;
    let client = some_of_everything(&gateway).await;
    // A name that an upstream takes and one that nobody knows, so that every kind of series is there already.
    client.ask("up/first", json!({})).await;
    gateway
        .counted(
            r#"llm_gateway_attempts_total{error="none",model="other",outcome="completed",provider="up"}"#,
            2.0,
        )
        .await;
    gateway.counted(r#"llm_gateway_requests_total{error="model_not_found",route="/v1/chat/completions",status="404"}"#, 1.0).await;
    let before = series(&gateway.metrics().await);
    let tasks = (0..10_u32).map(|task| {
        let client = client.clone();
        tokio::spawn(async move {
            for call in 0..1000_u32 {
                let number = task * 1000 + call;
                // One in ten reaches the upstream, under a name that the catalogue has never seen.
                let model =
                    if number % 10 == 0 { format!("up/model-{number}") } else { format!("model-{number}") };
                let request = client.request(&question(&model, json!({})));
                let answer = request.header("x-gateway-tags", format!("t={number}")).send().await.unwrap();
                assert!(matches!(answer.status().as_u16(), 200 | 404), "{model}: {}", answer.status());
                answer.bytes().await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    gateway
        .counted(
            r#"llm_gateway_attempts_total{error="none",model="other",outcome="completed",provider="up"}"#,
            1002.0,
        )
        .await;
    gateway.counted(r#"llm_gateway_requests_total{error="model_not_found",route="/v1/chat/completions",status="404"}"#, 9001.0).await;
    let after = series(&gateway.metrics().await);
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// A Prometheus server that scrapes a gateway; ends with the test.
struct Prometheus {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts one on a free port; should another process take the port first, on the next.
    async fn scraping(target: &str) -> Self {
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = tempfile::TempDir::new().unwrap();
            let config = format!(
                "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - {{ job_name: gateway, static_configs: [ {{ targets: ['{target}'] }} ] }}\n"
            );
            std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
            let child = Command::new("prometheus")
                .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("prometheus is installed");
            let mut server = Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder };
            if server.comes_up().await {
                return server;
            }
        }
        panic!("prometheus does not start");
    }

    /// Waits until it answers; false when it ended instead.
    async fn comes_up(&mut self) -> bool {
        for _ in 0..1000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let answer = reqwest::get(format!("{}/-/ready", self.url)).await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// The value of a query with one result.
    async fn query(&self, query: &str) -> Option<String> {
        let answer =
            reqwest::Client::new().get(format!("{}/api/v1/query", self.url)).query(&[("query", query)]);
        let answer: Value = answer.send().await.ok()?.json().await.ok()?;
        Some(answer.pointer("/data/result/0/value/1")?.as_str()?.to_owned())
    }
}

#[tokio::test]
async fn a_prometheus_server_scrapes_the_gateway() {
    let (_upstream, gateway) = start().await;
    some_of_everything(&gateway).await;
    let prometheus = Prometheus::scraping(gateway.ops.strip_prefix("http://").unwrap()).await;
    for (query, value) in [
        ("up", "1"),
        ("sum(llm_gateway_requests_total)", "7"),
        (r#"llm_gateway_requests_total{status="502"}"#, "1"),
        ("sum(llm_gateway_request_duration_seconds_count)", "7"),
    ] {
        eventually(&format!("{query} is {value}"), || async {
            (prometheus.query(query).await.as_deref() == Some(value)).then_some(())
        })
        .await;
    }
}
