//! A gateway process of its own for a test, on free ports, in a temporary folder.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Process, Signal};
use super::{Client, Upstream};

/// The admin key of every gateway under test.
pub const ADMIN_KEY: &str = "admin-key-of-the-tests";

/// The part of a provider's row that keeps its breaker closed.
pub const NO_BREAKER: &str = "breaker: { consecutive_failures: 1000000, failure_rate: 0 }";

/// What a gateway is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    config: String,
    variables: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

impl Setup {
    /// From the text of a configuration file; listeners, data folder and admin key are set by variables.
    pub fn new(config: impl Into<String>) -> Self {
        Self { config: config.into(), ..Self::default() }
    }

    /// A provider `up` at `upstream`, and nothing else. It may fail as often as a test likes: its breaker stays
    /// closed.
    pub fn with_upstream(upstream: &Upstream) -> Self {
        Self::new(format!("providers:\n  up: {{ base_url: '{}', {NO_BREAKER} }}\n", upstream.base_url()))
    }

    /// Adds an environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds lines to the configuration file.
    pub fn config(mut self, more: &str) -> Self {
        self.config.push_str(more);
        self
    }

    /// Puts a file beside the configuration file.
    pub fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Gateway {
        Gateway::start_in(TempDir::new().expect("a temporary folder"), self).await
    }
}

/// A running gateway.
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// `http://127.0.0.1:PORT` of the public listener.
    pub url: String,
    /// `http://127.0.0.1:PORT` of the ops listener.
    pub ops: String,
    folder: TempDir,
    setup: Setup,
}

impl Gateway {
    /// A gateway with a provider `up` at `upstream`.
    pub async fn before(upstream: &Upstream) -> Self {
        Setup::with_upstream(upstream).start().await
    }

    /// Starts in a folder, which may hold what an earlier gateway left.
    async fn start_in(folder: TempDir, setup: Setup) -> Self {
        std::fs::write(folder.path().join("gateway.yaml"), &setup.config).expect("the folder can be written");
        for (name, content) in &setup.files {
            std::fs::write(folder.path().join(name), content).expect("the folder can be written");
        }
        let mut variables = vec![
            ("LLM_GATEWAY__SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("LLM_GATEWAY__OPS__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("LLM_GATEWAY__ADMIN_KEY".to_owned(), ADMIN_KEY.to_owned()),
            ("LLM_GATEWAY__SERVER__WORKERS".to_owned(), "1".to_owned()),
            // Nobody balances calls over it: what a test stops, stops.
            ("LLM_GATEWAY__SERVER__DRAIN_DELAY".to_owned(), "1ms".to_owned()),
            // What a test asks of routing must not depend on chance.
            ("LLM_GATEWAY__ROUTING__EXPLORATION".to_owned(), "0".to_owned()),
        ];
        variables.extend(setup.variables.clone());
        let mut process = Process::start(&["serve", "--config", "gateway.yaml"], folder.path(), &variables);
        let ready = process.logged("ready").await;
        let address = |name: &str| {
            format!("http://{}", ready.get(name).and_then(Value::as_str).expect("ready names its addresses"))
        };
        Self { url: address("listen"), ops: address("ops"), process, folder, setup }
    }

    /// Ends the process as a crash would and starts another in the same folder.
    pub async fn crash_and_restart(mut self) -> Self {
        self.process.kill();
        Self::start_in(self.folder, self.setup).await
    }

    /// Starts another gateway in the folder of this one, which has ended.
    pub async fn restart(mut self) -> Self {
        self.process.ended().await;
        Self::start_in(self.folder, self.setup).await
    }

    /// Ends the process in order and starts another in the same folder.
    pub async fn stop_and_restart(mut self) -> Self {
        assert_eq!(self.stop().await, Some(0), "{}", self.process.log());
        self.restart().await
    }

    /// Sends SIGTERM, waits for the end, gives the exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.process.signal(Signal::Terminate);
        self.process.ended().await.code()
    }

    /// Its folder: configuration file and `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with a fresh key without limits.
    pub async fn client(&self) -> Client {
        self.client_with(json!({"name": "test"})).await
    }

    /// A client with a key made from this specification.
    pub async fn client_with(&self, spec: Value) -> Client {
        let made = self.admin("POST", "/keys", Some(spec)).await;
        let key = made.1.get("key").and_then(Value::as_str).unwrap_or_else(|| panic!("no key in {made:?}"));
        Client::new(&self.url, key)
    }

    /// One management call; gives status and body.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = reqwest::Client::new()
            .request(method, format!("{}/admin/v1{path}", self.ops))
            .bearer_auth(ADMIN_KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the ops listener answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The ledger's newest rows, once there are at least `count` of them.
    pub async fn ledger(&self, count: usize) -> Vec<Value> {
        super::eventually("the ledger has its rows", || async {
            let (_, page) = self.admin("GET", "/requests?limit=100", None).await;
            let rows = page.get("data")?.as_array()?.clone();
            (rows.len() >= count).then_some(rows)
        })
        .await
    }

    /// The rows of the call that got this answer, once there are `count` of them.
    pub async fn rows_of(&self, answer: &super::Answer, count: usize) -> Vec<Value> {
        let id = answer.header("x-request-id");
        super::eventually("the call is booked", || async {
            let (_, page) = self.admin("GET", "/requests?limit=100", None).await;
            let mut rows = page.get("data")?.as_array()?.clone();
            rows.retain(|row| row["request_id"] == id);
            (rows.len() >= count).then_some(rows)
        })
        .await
    }

    /// All rows of the ledger, once there are at least `count` of them.
    pub async fn whole_ledger(&self, count: usize) -> Vec<Value> {
        super::eventually("the ledger has its rows", || async {
            let (mut rows, mut cursor) = (Vec::new(), String::new());
            loop {
                let (_, page) = self.admin("GET", &format!("/requests?limit=1000{cursor}"), None).await;
                rows.extend(page.get("data")?.as_array()?.iter().cloned());
                match page.get("next_cursor").and_then(Value::as_str) {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return (rows.len() >= count).then_some(rows),
                }
            }
        })
        .await
    }

    /// Checks what must hold after anything: it lives, no call is in flight, nothing is set aside, nothing panicked, and so many attempts
    /// are booked, each once. Gives their rows.
    pub async fn sound(&self, attempts: usize) -> Vec<Value> {
        self.idle().await;
        let rows = self.whole_ledger(attempts).await;
        let of = |row: &Value| format!("{} {}", row["request_id"], row["attempt"]);
        let booked: std::collections::HashSet<String> = rows.iter().map(of).collect();
        assert_eq!((rows.len(), booked.len()), (attempts, attempts), "rows, and attempts among them");
        let live = reqwest::get(format!("{}/health/live", self.url)).await.expect("it lives");
        assert_eq!(live.status(), 200);
        self.counted("llm_gateway_reserved_usd", 0.0).await;
        assert!(!self.process.log().contains("panic"), "{}", self.process.log());
        rows
    }

    /// The text of /metrics.
    pub async fn metrics(&self) -> String {
        let response = reqwest::get(format!("{}/metrics", self.ops)).await.expect("metrics answer");
        response.text().await.expect("text")
    }

    /// The value of one series, written as in the exposition, 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// Waits until a series has this value: numbers reach the exposition in batches.
    pub async fn counted(&self, series: &str, value: f64) {
        super::eventually(&format!("{series} is {value}"), || async {
            (self.metric(series).await == value).then_some(())
        })
        .await;
    }

    /// Waits until no call is in flight.
    pub async fn idle(&self) {
        super::eventually("no call is in flight", || async {
            (self.metric("llm_gateway_in_flight_requests").await == 0.0).then_some(())
        })
        .await;
    }
}
