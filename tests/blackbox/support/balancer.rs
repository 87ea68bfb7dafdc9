//! A real balancer, HAProxy, before several gateways: it asks each for its health, sends calls to those that are ready,
//! and tries another when one does not take a connection. It ends with the test, and with the test process.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// Starts it, and kills it once standard input ends: with this process.
const WATCHED: &str = "haproxy -db -q -f haproxy.cfg & read -r _; kill -9 $!; wait $!";

/// As an operator would set it up, but quicker in noticing. A call that was sent is never sent again: it may have been
/// charged.
const CONFIG: &str = "
global
  maxconn 4000
  nbthread 1
defaults
  mode http
  timeout connect 2s
  timeout client 120s
  timeout server 120s
  timeout queue 10s
  retries 3
  retry-on conn-failure
  option redispatch 1
  default-server check inter 100ms fastinter 50ms downinter 50ms fall 1 rise 1
";

/// A running balancer.
pub struct Balancer {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    shell: Child,
    _folder: TempDir,
}

impl Balancer {
    /// Before gateways on these ports of 127.0.0.1, which need not be there yet.
    pub async fn before(ports: &[u16]) -> Self {
        let port = free_port();
        let mut config =
            format!("{CONFIG}frontend calls\n  bind 127.0.0.1:{port}\n  default_backend replicas\n");
        config.push_str("backend replicas\n  balance roundrobin\n  option httpchk GET /health/ready\n");
        for (at, port) in ports.iter().enumerate() {
            let _ = writeln!(config, "  server replica{at} 127.0.0.1:{port}");
        }
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::write(folder.path().join("haproxy.cfg"), config).expect("the folder can be written");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", WATCHED]).current_dir(folder.path()).stdin(Stdio::piped());
        let shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell starts");
        let balancer = Self { url: format!("http://127.0.0.1:{port}"), shell, _folder: folder };
        balancer.passes_on().await;
        balancer
    }

    /// Waits until it has found a gateway that is ready.
    async fn passes_on(&self) {
        super::eventually("haproxy passes calls on; is it installed?", || async {
            let answer = reqwest::get(format!("{}/health/ready", self.url)).await;
            answer.is_ok_and(|answer| answer.status() == 200).then_some(())
        })
        .await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A port that is free, for a server that must have the same one again after a restart. It is below those that the system
/// gives to connections: none of them can take it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 10_000).expect("small");
    for _ in 0..1_000 {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
