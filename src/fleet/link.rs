//! The connection to Redis: made and made again in the background, never waited for by a call.
//!
//! Invariants: a call takes no longer than the timeout it was given, and no time at all while there is no connection; an
//! answer that comes later is dropped; three timeouts in a row, or any broken connection, end the connection, and the
//! next one counts only once it answers within the timeout. What is said of a failure never holds the address.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, Value,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::address::{Address, Place};
use super::script::{ALL, Call};

/// How long a connection may take to be made, its login included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// The first and the longest wait between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A channel in which nothing is said for so long is listened to anew: its connection may be dead.
const LISTEN_FOR: Duration = Duration::from_secs(60);
/// Calls in a row without an answer in time, after which a connection is given up.
const PATIENCE: u32 = 3;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no connection.
    Down,
    /// No answer in time. What was asked may have been done, and may be done yet.
    Late,
    /// Redis refused, or the connection broke.
    Failed,
}

/// What the link has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Calls and batches sent: each is one round trip.
    pub round_trips: u64,
    /// Of them without a usable answer.
    pub lost: u64,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }
    }
}

struct State {
    address: Address,
    timeout: Duration,
    connection: ArcSwapOption<Connection>,
    broken: Notify,
    late: AtomicU32,
    /// Counts clients of a cluster's nodes.
    turn: AtomicU32,
    round_trips: AtomicU64,
    lost: AtomicU64,
}

/// A connection to Redis, shared by everybody who calls it.
#[derive(Clone)]
pub struct Link(Arc<State>);

impl Link {
    /// Not connected before [`Link::run`] runs. `timeout`: the longest that a call takes.
    pub fn new(address: Address, timeout: Duration) -> Self {
        Self(Arc::new(State {
            address,
            timeout,
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            late: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            round_trips: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }))
    }

    /// True while there is a connection.
    pub fn is_up(&self) -> bool {
        self.0.connection.load().is_some()
    }

    /// What it has done.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            round_trips: self.0.round_trips.load(Ordering::Relaxed),
            lost: self.0.lost.load(Ordering::Relaxed),
        }
    }

    /// Connects, for ever. Failures are logged when they begin and when they end.
    pub async fn run(&self) {
        let (mut wait, mut failing) = (BACKOFF.0, false);
        loop {
            match timeout(CONNECT_DEADLINE, self.connect()).await {
                Ok(Ok(connection)) => {
                    if failing {
                        tracing::info!("Redis answers again");
                    }
                    (wait, failing) = (BACKOFF.0, false);
                    self.0.late.store(0, Ordering::Relaxed);
                    self.0.connection.store(Some(Arc::new(connection)));
                    self.0.broken.notified().await;
                    self.0.connection.store(None);
                }
                outcome => {
                    if !failing {
                        failing = true;
                        let why = match &outcome {
                            Ok(Err(error)) => told(error),
                            _ => "no answer in time",
                        };
                        tracing::warn!(why, "Redis cannot be reached; living on what is in hand");
                    }
                    wait = (wait * 2).min(BACKOFF.1);
                }
            }
            sleep(wait).await;
        }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// When there is no usable answer in time.
    pub async fn call(&self, call: &Call) -> Result<Value, Lost> {
        self.call_within(self.0.timeout, call).await
    }

    /// Runs a script for a request that has waited already: `limit` is what is left.
    ///
    /// # Errors
    /// When there is no usable answer in time.
    pub async fn call_within(&self, limit: Duration, call: &Call) -> Result<Value, Lost> {
        let mut connection = self.connection()?;
        self.timed(limit.min(self.0.timeout), async { run(&mut connection, call).await }).await
    }

    /// Runs scripts together, in one round trip where one server has all keys; each has an answer of its own.
    pub async fn batch(&self, calls: &[Call]) -> Vec<Result<Value, Lost>> {
        let all = |lost: Lost| calls.iter().map(|_| Err(lost)).collect();
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(lost) => return all(lost),
        };
        // Commands that are sent without waiting share the packets of one connection.
        let each = calls.iter().map(|call| {
            let mut connection = connection.clone();
            async move { Ok::<_, RedisError>(run(&mut connection, call).await) }
        });
        let together = async { Ok(futures_util::future::join_all(each).await) };
        match self.timed(self.0.timeout, together).await {
            Ok(answers) => {
                let answers = answers.into_iter().map(|answer| {
                    let answer = answer.and_then(|it| it);
                    answer.map_err(|error| self.failed(&error))
                });
                answers.collect()
            }
            Err(lost) => all(lost),
        }
    }

    /// Tells everybody who listens to a channel.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn publish(&self, channel: &str) -> Result<(), Lost> {
        let mut connection = self.connection()?;
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg("1");
        self.timed(self.0.timeout, async { connection.send(&command).await }).await.map(drop)
    }

    /// Calls `told` when the channel begins to be heard, and at each word in it; returns when it ends, or after a long silence.
    pub async fn listen(&self, channel: &str, told: impl Fn()) {
        use futures_util::StreamExt as _;
        let Ok(Ok(client)) = timeout(CONNECT_DEADLINE, self.client()).await else { return };
        let Ok(Ok(mut heard)) = timeout(CONNECT_DEADLINE, client.get_async_pubsub()).await else { return };
        let Ok(Ok(())) = timeout(CONNECT_DEADLINE, heard.subscribe(channel)).await else { return };
        // Something may have been said before.
        told();
        let mut words = heard.on_message();
        while let Ok(Some(_)) = timeout(LISTEN_FOR, words.next()).await {
            told();
        }
    }

    fn connection(&self) -> Result<Connection, Lost> {
        self.0.connection.load().as_deref().cloned().ok_or(Lost::Down)
    }

    async fn timed<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Lost> {
        self.0.round_trips.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(limit, answer).await;
        let answer = match answer {
            Ok(Ok(answer)) => {
                self.0.late.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            Ok(Err(error)) => self.failed(&error),
            Err(_) => {
                if self.0.late.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE {
                    self.0.broken.notify_one();
                }
                Lost::Late
            }
        };
        self.0.lost.fetch_add(1, Ordering::Relaxed);
        Err(answer)
    }

    /// A server that refuses as a replica, or is not ready, is not the right one: the next connection may find it.
    fn failed(&self, error: &RedisError) -> Lost {
        let elsewhere = matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "NOREPLICAS"));
        if elsewhere || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
        {
            self.0.broken.notify_one();
        }
        tracing::debug!(why = told(error), "Redis refused a call");
        Lost::Failed
    }

    /// A client of the server that has the data; in a cluster of any node, which does for channels.
    async fn client(&self) -> RedisResult<Client> {
        let certificates = self.0.address.certificates();
        let open = |info: ConnectionInfo| match certificates.clone() {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        match &self.0.address.place {
            Place::One(info) => open(info.clone()),
            Place::Cluster(nodes) => {
                let none = || RedisError::from((redis::ErrorKind::InvalidClientConfig, "no node"));
                // Another one each time: the last one may be gone.
                let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) as usize;
                open(nodes.iter().cycle().nth(turn % nodes.len().max(1)).cloned().ok_or_else(none)?)
            }
            Place::Sentinel(sentinels, master, server) => {
                let addresses = sentinels.iter().map(|info| info.addr().clone());
                let settings = server.redis_settings();
                let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
                    .set_client_to_redis_db(settings.db());
                if let ConnectionAddr::TcpTls { .. } = server.addr() {
                    builder = builder.set_client_to_redis_tls_mode(redis::TlsMode::Secure);
                }
                if let Some(name) = settings.username() {
                    builder = builder.set_client_to_redis_username(name);
                }
                if let Some(password) = settings.password() {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some(certificates) = certificates {
                    builder = builder.set_client_to_redis_certificates(certificates.clone());
                    builder = builder.set_client_to_sentinel_certificates(certificates);
                }
                builder.build()?.async_get_client().await
            }
        }
    }

    /// A connection that has the scripts and answers within the timeout.
    async fn connect(&self) -> RedisResult<Connection> {
        let limit = Some(CONNECT_DEADLINE);
        let mut connection = match &self.0.address.place {
            Place::Cluster(nodes) => {
                let mut builder = ClusterClientBuilder::new(nodes.clone()).retries(1);
                if let Some(certificates) = self.0.address.certificates() {
                    builder = builder.certs(certificates);
                }
                let client = builder
                    .connection_timeout(CONNECT_DEADLINE)
                    .response_timeout(CONNECT_DEADLINE)
                    .build()?;
                Connection::Cluster(client.get_async_connection().await?)
            }
            _ => {
                let config =
                    AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
                let client = self.client().await?;
                Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        for script in ALL {
            let mut command = redis::cmd("SCRIPT");
            connection.send(command.arg("LOAD").arg(script.text())).await?;
        }
        let late = |_| RedisError::from((redis::ErrorKind::Io, "slower than redis.timeout"));
        timeout(self.0.timeout, connection.send(&redis::cmd("PING"))).await.map_err(late)??;
        Ok(connection)
    }
}

/// Runs a script by its digest; by its text where the server does not know it.
async fn run(connection: &mut Connection, call: &Call) -> RedisResult<Value> {
    match connection.send(&call.by_digest()).await {
        Err(error) if error.code() == Some("NOSCRIPT") => connection.send(&call.by_text()).await,
        answer => answer,
    }
}

/// The kind of a failure, in words: a detail could name the address.
fn told(error: &RedisError) -> &str {
    error.code().unwrap_or_else(|| error.category())
}
