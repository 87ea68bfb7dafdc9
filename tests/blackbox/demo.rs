//! `llm-gateway demo`: what it prints works when pasted, and nothing is left of it at the end.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A demo under test; killed when dropped.
struct Demo {
    child: Child,
    text: String,
    output: BufReader<std::process::ChildStdout>,
    /// Where its folder is; outlives it, lest its removal hide that the demo's own did not happen.
    _temp: tempfile::TempDir,
}

impl Demo {
    /// Starts one and reads what it prints until it is ready.
    fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
            .args(["demo", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .env("TMPDIR", temp.path())
            .env("LLM_GATEWAY__NONSENSE", "a demo reads no environment")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut demo = Self { child, text: String::new(), output, _temp: temp };
        demo.read_until("Ready. Ctrl-C stops it.\n");
        demo
    }

    /// Reads on until what it printed ends with this.
    fn read_until(&mut self, end: &str) {
        while !self.text.ends_with(end) {
            let read = self.output.read_line(&mut self.text).unwrap();
            assert!(read > 0, "it ended before it said {end:?}: {}", self.text);
        }
    }

    /// The printed commands, in order.
    fn commands(&self) -> Vec<&str> {
        self.text.lines().filter(|line| line.trim_start().starts_with("curl ")).collect()
    }

    /// A printed value.
    fn value(&self, name: &str) -> &str {
        let row = self.text.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name));
        row.unwrap().split_whitespace().next().unwrap()
    }

    /// Asks for a chat completion.
    async fn chat(&self, body: Value) -> reqwest::Response {
        let request = reqwest::Client::new()
            .post(format!("{}/chat/completions", self.value("API ")))
            .bearer_auth(self.value("API key"))
            .header("content-type", "application/json")
            .timeout(PATIENCE)
            .body(body.to_string());
        request.send().await.unwrap()
    }

    /// A chat completion that is an answer.
    async fn answer(&self, model: &str, content: &str) -> Value {
        let body = json!({"model": model, "messages": [{"role": "user", "content": content}]});
        let response = self.chat(body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Waits for its end; gives the exit code and what it wrote to standard error.
    fn ended(&mut self) -> (Option<i32>, String) {
        // End of file on standard output is the end of the process: no need to ask again and again.
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command as a user pastes it; gives what it prints.
fn paste(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_printed_commands_work_and_nothing_is_left_after_ctrl_c() {
    let mut demo = Demo::start();
    let [plain, stream, usage] = demo.commands()[..] else { panic!("{}", demo.text) };
    let answer: Value = serde_json::from_str(&paste(plain)).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello from the demo");
    assert_eq!(answer["model"], "stub/echo");
    assert!(answer["usage"]["cost"].as_f64().unwrap() > 0.0, "{answer}");

    let streamed = paste(stream);
    let events: Vec<&str> = streamed.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let last: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
    assert_eq!(last["usage"]["completion_tokens"], 20);

    let metrics = reqwest::get(demo.value("metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("# TYPE"), "{metrics}");
    // Receipts are settled in batches: the ledger is asked until both are in it.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report: Value = serde_json::from_str(&paste(usage)).unwrap();
        if report["data"].as_array().unwrap().len() == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{report}");
        tokio::task::yield_now().await;
    }

    let folder = PathBuf::from(demo.value("folder"));
    assert!(folder.join("admin.key").exists());
    demo.interrupt();
    assert_eq!(demo.ended(), (Some(0), String::new()));
    assert!(!folder.exists());
}

#[tokio::test]
async fn plain_names_aliases_and_automatic_routing_work() {
    let demo = Demo::start();
    for (model, used, free) in
        [("auto", "free", true), ("free", "free", true), ("fast", "echo", false), ("echo", "echo", false)]
    {
        let answer = demo.answer(model, "hi").await;
        assert_eq!(answer["choices"][0]["message"]["content"], "hi", "{model}");
        assert_eq!(answer["metadata"]["used_model"], used, "{model}");
        assert_eq!(answer["usage"]["cost"].as_f64(), Some(if free { 0.0 } else { 0.000_005 }), "{answer}");
    }
    let thought = demo.answer("stub/think", "hi").await;
    assert!(thought["choices"][0]["message"]["reasoning"].is_string(), "{thought}");
    let smart = demo.answer("smart", "hi").await;
    assert!(smart["choices"][0]["message"]["reasoning"].is_string(), "{smart}");
    let told = demo.answer("stub/echo", "/length hi").await;
    assert_eq!(told["choices"][0]["finish_reason"], "length");
    let limited =
        demo.chat(json!({"model": "stub/error:status=429,retry_after=2", "messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(limited.status(), 429);
}

#[tokio::test]
async fn ctrl_c_lets_a_running_stream_finish() {
    let mut demo = Demo::start();
    let messages = json!([{"role": "user", "content": "hi"}]);
    let response =
        demo.chat(json!({"model": "stub/drip:events=15,ms=100", "messages": messages, "stream": true})).await;
    let mut stream = response.bytes_stream();
    let mut text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    demo.interrupt();
    while let Some(bytes) = stream.next().await {
        text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
    }
    assert!(text.contains("\"15 \"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(demo.ended().0, Some(0));
}

#[tokio::test]
async fn a_second_ctrl_c_cuts_what_still_runs() {
    let mut demo = Demo::start();
    let messages = json!([{"role": "user", "content": "hi"}]);
    let drip = json!({"model": "stub/drip:events=600,ms=1000", "messages": messages, "stream": true});
    let mut stream = demo.chat(drip).await.bytes_stream();
    let mut text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    demo.interrupt();
    // The first signal must have been taken: two at once would be one.
    demo.read_until("once more cuts them.\n");
    demo.interrupt();
    while let Some(bytes) = stream.next().await {
        text.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
    }
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
    assert_eq!(demo.ended().0, Some(0));
}

#[test]
fn a_taken_port_is_told_in_one_line_that_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--ops-listen"), ("--ops-listen", "--listen")] {
        let output = Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
            .args(["demo", flag, &address, other, "127.0.0.1:0"])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{told}");
        assert!(told.starts_with(&format!("error: {flag} {address} cannot be opened")), "{told}");
        assert!(output.stdout.is_empty());
    }
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_stub_alone_prints_its_address_and_tells_what_it_saw() {
    let child = Command::new(env!("CARGO_BIN_EXE_llm-gateway"))
        .args(["stub", "--workers", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut output = BufReader::new(child.0.stdout.take().unwrap());
    let mut base = String::new();
    output.read_line(&mut base).unwrap();
    let base = base.trim_end().strip_prefix("stub provider on ").unwrap();
    let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let ask = |model: &str, stream: bool| {
        let body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "one two three four"}]});
        client.post(format!("{base}/chat/completions")).bearer_auth("secret").body(body.to_string()).send()
    };
    let plain: Value =
        serde_json::from_str(&ask("echo", false).await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(plain["choices"][0]["message"]["content"], "one two three four");
    // Broken off: the client must notice, and what was sent before must have arrived.
    let mut cut = ask("truncate:after=2", true).await.unwrap();
    let mut text = Vec::new();
    let error = loop {
        match cut.chunk().await {
            Ok(Some(bytes)) => text.extend_from_slice(&bytes),
            Ok(None) => panic!("a clean end"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(String::from_utf8(text).unwrap().matches("data: ").count(), 3);
    assert!(ask("truncate", false).await.unwrap().bytes().await.is_err());
    let limited = ask("error:status=429,retry_after=2", false).await.unwrap();
    assert_eq!((limited.status().as_u16(), limited.headers()["retry-after"].to_str().unwrap()), (429, "2"));
    let seen = client.get(format!("{}/stub/requests", base.trim_end_matches("/v1"))).send().await.unwrap();
    let seen: Value = seen.json().await.unwrap();
    assert_eq!(
        (&seen["count"], &seen["last"]["body"]["model"]),
        (&json!(4), &json!("error:status=429,retry_after=2"))
    );
    assert_eq!(seen["last"]["headers"]["authorization"], "present");
    assert!(Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_fault_that_is_asked_for_is_given_each_time() {
    let demo = Demo::start();
    for _ in 0..12 {
        let answer = demo
            .chat(json!({"model": "stub/error:status=500", "messages": [{"role": "user", "content": "hi"}]}))
            .await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 502, "a breaker answered: {text}");
    }
}
