//! A process of the binary under test: its standard error is kept line by line, and it never outlives its test.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::eventually;

/// A running process.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    unread: Arc<(Mutex<bool>, Condvar)>,
    reader: std::thread::JoinHandle<()>,
}

/// What a command that ran to its end left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A signal to send.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What a supervisor sends.
    Terminate,
    /// What asks for a reload.
    Hangup,
}

impl Process {
    /// The binary with a clean environment, so that no credential of this machine can change a test.
    fn command(arguments: &[&str], folder: &Path, variables: &[(String, String)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-gateway"));
        command.args(arguments).current_dir(folder).env_clear();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run(arguments: &[&str], folder: &Path, variables: &[(&str, &str)]) -> Output {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: Vec<_> = variables.iter().map(owned).collect();
        let mut command = Self::command(arguments, folder, &variables);
        let output = command.stdin(Stdio::null()).output().expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Output { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts the binary.
    pub fn start(arguments: &[&str], folder: &Path, variables: &[(String, String)]) -> Self {
        Self::spawn(Self::command(arguments, folder, variables))
    }

    /// Starts a shell that runs `first`, of its own commands only, and then becomes the binary.
    pub fn start_after(
        first: &str,
        arguments: &[&str],
        folder: &Path,
        variables: &[(String, String)],
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_llm-gateway")]);
        command.args(arguments).current_dir(folder).env_clear();
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("piped");
        let unread = Arc::<(Mutex<bool>, Condvar)>::default();
        let (kept, paused) = (Arc::clone(&lines), Arc::clone(&unread));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let (paused, on) = &*paused;
                let paused = paused.lock().expect("no test panics while it holds this");
                drop(on.wait_while(paused, |paused| *paused));
                kept.lock().expect("no test panics while it holds the lines").push(line);
            }
        });
        Self { child, lines, unread, reader }
    }

    /// Stops reading what it says, or goes on.
    pub fn leave_unread(&self, unread: bool) {
        *self.unread.0.lock().expect("no test panics while it holds this") = unread;
        self.unread.1.notify_all();
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it said so far.
    pub fn log(&self) -> String {
        self.lines.lock().expect("no test panics while it holds the lines").join("\n")
    }

    /// Its log lines that are JSON objects.
    pub fn events(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a log line with this message; panics when the process ends before.
    pub async fn logged(&mut self, message: &str) -> Value {
        let lines = Arc::clone(&self.lines);
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        loop {
            assert!(tokio::time::Instant::now() < deadline, "not said in time: {message:?}");
            let found = lines.lock().expect("lines").iter().find_map(|line| {
                let event: Value = serde_json::from_str(line).ok()?;
                (event.get("message").and_then(Value::as_str) == Some(message)).then_some(event)
            });
            if let Some(event) = found {
                return event;
            }
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("the process ended with {status} before it said {message:?}:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Interrupt => "-INT",
            Signal::Terminate => "-TERM",
            Signal::Hangup => "-HUP",
        };
        let status = Command::new("kill").args([name, &self.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end, and until all that it said is read.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = || std::future::ready(child.try_wait().expect("a child can be asked"));
        let status = eventually("the process ends", ended).await;
        let read = || std::future::ready(self.reader.is_finished().then_some(()));
        eventually("its last words are read", read).await;
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
