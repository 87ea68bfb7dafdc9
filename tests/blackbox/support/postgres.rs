//! A PostgreSQL of the test's own: a private cluster in a temporary folder, which ends with the process that started it.
//!
//! A shell stands between: it starts and stops the server as it is told on its standard input, and when that closes,
//! because the test ended or was killed, it stops the server and removes the folder.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// The user's password, in every address. A log that holds it has told a secret.
pub const PASSWORD: &str = "canary-of-the-database";
/// How long the server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Whom the server runs as where the test is root, which it refuses to be. Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// `$0` is the folder, the rest the server's command.
const KEEPER: &str = r#"
while read -r word; do
  case $word in
    start) "$@" </dev/null >>"$0/log" 2>&1 & server=$! ;;
    stop) kill -INT "$server"; wait "$server"; : >"$0/stopped" ;;
  esac
done
kill -QUIT "$server"; wait "$server"; rm -rf "$0"
"#;

/// A running cluster.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    databases: AtomicU32,
    keeper: Mutex<Keeper>,
}

struct Keeper {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Cluster {
    /// The one that all tests of a process share, each with databases of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One more, for a test that stops it.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("llm-gateway-pg-").tempdir().expect("a folder").keep();
        let data = folder.join("data");
        let password = folder.join("password");
        fs::write(&password, PASSWORD).expect("the folder can be written");
        give(&folder);
        give(&password);
        let mut initdb = command("initdb");
        initdb.args(["--auth=scram-sha-256", "--username=gateway", "--encoding=UTF8", "--locale=C.UTF-8"]);
        initdb.arg("--pwfile").arg(&password).arg("--pgdata").arg(&data);
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut keeper = as_nobody(Command::new("sh"));
        keeper.args(["-c", KEEPER]).arg(&folder).arg(binary("postgres")).arg("-D").arg(&data);
        keeper.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200", "-c", "fsync=on"]);
        keeper.arg("-c").arg(format!("port={port}"));
        keeper.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut process = keeper.spawn().expect("sh runs");
        let orders = process.stdin.take();
        let keeper = Mutex::new(Keeper { process, orders });
        let cluster = Self { folder, port, databases: AtomicU32::new(0), keeper };
        cluster.resume_service();
        cluster
    }

    /// Address of a database on it, without parameters.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://gateway:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection to one of its databases.
    pub async fn connection(&self, url: &str) -> PgConnection {
        PgConnection::connect(url).await.expect("the server is there")
    }

    /// Makes an empty database and gives its address.
    pub async fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connection(&self.url("postgres")).await;
        let make = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut connection).await.expect("a database");
        self.url(&name)
    }

    /// Starts the server, and waits until it serves.
    pub fn resume_service(&self) {
        let log = self.folder.join("log");
        let starts = || fs::read_to_string(&log).unwrap_or_default().matches("ready to accept").count();
        let before = starts();
        self.order("start");
        self.wait("the server serves", || starts() > before);
    }

    /// Stops the server, connections with it.
    pub fn stop_service(&self) {
        let stopped = self.folder.join("stopped");
        self.order("stop");
        self.wait("the server stops", || stopped.exists());
        fs::remove_file(stopped).expect("the folder can be written");
    }

    /// Stops or continues every process of the server, as a machine that hangs: `STOP` or `CONT`.
    pub fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("it runs");
        let pid = pid.lines().next().expect("a process id").to_owned();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
        let mut kill = Command::new("kill");
        kill.arg(format!("-{signal}")).arg(pid).args(children.split_whitespace());
        assert!(kill.status().expect("kill runs").success());
    }

    /// Has it offer TLS with this certificate and key, PEM.
    pub async fn offer_tls(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.folder.join("data").join(name);
            fs::write(&path, text).expect("the folder can be written");
            give(&path);
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&path, owner_only).expect("it is ours");
        }
        let mut connection = self.connection(&self.url("postgres")).await;
        sqlx::raw_sql("ALTER SYSTEM SET ssl = on").execute(&mut connection).await.expect("it may");
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut connection).await.expect("it may");
    }

    fn order(&self, word: &str) {
        let mut keeper = self.keeper.lock().expect("no test panics while it holds the keeper");
        let orders = keeper.orders.as_mut().expect("open until the end");
        writeln!(orders, "{word}").expect("the keeper reads");
    }

    #[allow(clippy::disallowed_methods, reason = "no cell's thread: whoever starts a server waits for it")]
    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(keeper) = self.keeper.get_mut() {
            // The end of its orders.
            keeper.orders = None;
            let _ = keeper.process.wait();
        }
    }
}

/// A program of PostgreSQL's: Debian keeps them apart, by version.
fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| PathBuf::from(name))
}

fn command(name: &str) -> Command {
    as_nobody(Command::new(binary(name)))
}

/// A process that is not root.
fn as_nobody(mut command: Command) -> Command {
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    // Nobody may read the folder that root works in.
    command.current_dir("/");
    command
}

/// Gives a file to whom the server runs as.
fn give(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
