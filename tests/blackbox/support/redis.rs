//! A private Redis on a free port. It ends with the test, and with the test process even if that is killed.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Starts the server, says its process id, and kills it once standard input ends: with this process.
const WATCHED: &str = "redis-server \"$@\" >redis.log 2>&1 & echo $!; read -r _; kill -9 $!; wait $!";

/// A running server and its folder.
pub struct Redis {
    port: u16,
    folder: TempDir,
    /// What comes before all others: the configuration file of a sentinel.
    first: Vec<String>,
    arguments: Vec<String>,
    /// What redis-cli needs to know.
    cli: Vec<String>,
    process: Option<(Child, u32)>,
}

impl Redis {
    /// A server that keeps nothing on disk unless it is told to.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with these settings, e.g. `["--requirepass", "pw"]`.
    pub async fn with(arguments: &[&str]) -> Self {
        Self::set_up(&[], arguments, &[], &[]).await
    }

    /// A server that speaks nothing but TLS, with this certificate and key, PEM.
    pub async fn with_tls(certificate: &str, key: &str) -> Self {
        let files = [("cert.pem", certificate), ("key.pem", key)];
        let arguments = ["--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no"];
        let certificates =
            ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"];
        Self::set_up(&[], &[&arguments[..], &certificates].concat(), &files, &["--tls", "--insecure"]).await
    }

    /// A sentinel of the master `main` at this port, one of as many as agree that it is gone.
    pub async fn sentinel(master: u16, quorum: u32) -> Self {
        let config = format!(
            "sentinel monitor main 127.0.0.1 {master} {quorum}\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n"
        );
        Self::set_up(&["sentinel.conf", "--sentinel"], &[], &[("sentinel.conf", &config)], &[]).await
    }

    async fn set_up(first: &[&str], arguments: &[&str], files: &[(&str, &str)], cli: &[&str]) -> Self {
        // Somebody else may take the port in between: then another is tried.
        for _ in 0..5 {
            let port =
                TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
            let folder = TempDir::new().expect("a temporary folder");
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).expect("the folder can be written");
            }
            let words =
                |words: &[&str]| words.iter().map(|it| it.replace("PORT", &port.to_string())).collect();
            let (first, arguments, cli) = (words(first), words(arguments), words(cli));
            let mut redis = Self { port, folder, first, arguments, cli, process: None };
            redis.launch();
            if redis.answers().await {
                return redis;
            }
        }
        panic!("redis-server does not start; is it installed?");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it as a crash would; what it did not save is gone.
    pub fn kill(&mut self) {
        if let Some((mut shell, _)) = self.process.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }

    /// Starts it again on the same port, with what it saved.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..20 {
            self.launch();
            if self.answers().await {
                return;
            }
            self.kill();
        }
        panic!("redis-server does not start again");
    }

    /// Writes a snapshot; [`Redis::restart`] begins with the last one.
    pub async fn save(&self) {
        self.command(&["SAVE"]).await;
    }

    /// Forgets everything.
    pub async fn flush(&self) {
        self.command(&["FLUSHALL"]).await;
    }

    /// Stops its process in the middle of whatever it does; it keeps its connections and answers nobody.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Makes it a replica of another, and waits until it has what that has.
    pub async fn follow(&self, master: &Self) {
        self.command(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]).await;
        super::eventually("the replica is in step", || async {
            self.command(&["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
        })
        .await;
    }

    /// Makes a replica a master.
    pub async fn promote(&self) {
        self.command(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Runs a command; gives its answer as text.
    pub async fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let words: Vec<String> =
            self.cli.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect();
        let run = move || {
            let output =
                Command::new("redis-cli").args(["-p", &port]).args(words).output().expect("redis-cli runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        tokio::task::spawn_blocking(run).await.expect("redis-cli ends")
    }

    fn launch(&mut self) {
        let port = self.port.to_string();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", WATCHED, "sh"])
            .args(&self.first)
            .args(["--port", &port, "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let mut line = String::new();
        let said = BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut line);
        assert!(said.is_ok_and(|bytes| bytes > 0), "the shell says which process it started");
        self.process = Some((shell, line.trim().parse().expect("a process id")));
    }

    /// True once it answers; false when it ends first.
    async fn answers(&mut self) -> bool {
        for _ in 0..500 {
            // It is not here yet, or it wants a password: it lives.
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return self.is_running();
            }
            if !self.is_running() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn is_running(&self) -> bool {
        let running = |id: u32| Command::new("kill").args(["-0", &id.to_string()]).status();
        self.process.as_ref().is_some_and(|(_, id)| running(*id).is_ok_and(|status| status.success()))
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().expect("it runs").1.to_string();
        let status = Command::new("kill").args([name, &id]).status().expect("kill runs");
        assert!(status.success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
