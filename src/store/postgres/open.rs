//! Connecting: options, deadlines, migrations under a lock, and errors that say what to do.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::time::timeout;

use super::super::error::StoreError;
use super::super::open::{Migrated, check_schema};
use crate::config::DatabaseSettings;

/// Schema changes in order; the number of those applied is in `schema_version`.
const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_key_handling.sql"),
    include_str!("migrations/0003_ledger_by_project.sql"),
    include_str!("migrations/0004_money.sql"),
    include_str!("migrations/0005_idempotency.sql"),
    include_str!("migrations/0006_daily_usage.sql"),
    include_str!("migrations/0007_request_log.sql"),
];
/// The lock under which the schema is changed: one replica of any number does it.
const MIGRATION_LOCK: i64 = 0x6c67_775f_6d69_6772;
/// How long changing the schema may take, the wait for another replica that does it included.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(600);
/// How long a caller waits for a connection, a new one included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection may take to show that it is alive.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was idle for longer shows that it is alive before it is used.
const FRESH: Duration = Duration::from_secs(1);
/// What the server bounds: a statement, and a transaction whose client is gone. Milliseconds. And plans are made for the
/// values at hand: one for any project would read all projects' rows to find those of a rare one.
const SESSION: &str = "SET statement_timeout = 10000; SET idle_in_transaction_session_timeout = 15000; \
    SET plan_cache_mode = force_custom_plan";

/// Checks and changes the schema over one connection, then makes the pool. It connects when it is used.
pub(super) async fn open(database: &DatabaseSettings) -> Result<(PgPool, Migrated), StoreError> {
    let url = database.url.as_ref().map_or("", |url| url.expose());
    let options = PgConnectOptions::from_str(url)
        // Not the parser's words: they may hold a part of the address, and so of a password.
        .map_err(|_| {
            StoreError::Unusable(
                "database.url cannot be read; write postgres://user:password@host:5432/name and percent-encode what is \
                 special in a password"
                    .to_owned(),
            )
        })?
        .application_name("llm-gateway")
        .disable_statement_logging();
    let described = |error| describe(&options, error);
    let mut connection = timeout(ACQUIRE_TIMEOUT, options.connect())
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(described)?;
    let migrated = timeout(MIGRATION_DEADLINE, migrate(&mut connection, database.migrate)).await;
    let migrated =
        migrated.unwrap_or(Err(Failed::Sql(sqlx::Error::PoolTimedOut))).map_err(|failed| match failed {
            Failed::Sql(error) => described(error),
            Failed::Schema(text) => {
                StoreError::Unusable(format!("cannot use the store {}: {text}", place(&options)))
            }
        })?;
    // It is closed either way; how it went changes nothing.
    let _ = timeout(PING_TIMEOUT, connection.close()).await;
    Ok((pool(database.max_connections).connect_lazy_with(options), migrated))
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
        })
        .before_acquire(|connection, idle| {
            Box::pin(async move { if idle.idle_for < FRESH { Ok(true) } else { answers(connection).await } })
        })
        // A statement that was given up may wait for a server that hangs, and would keep its place in the pool.
        .after_release(|connection, _| Box::pin(answers(connection)))
}

/// An error when the connection does not show that it is alive; the pool then closes it.
async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    timeout(PING_TIMEOUT, connection.ping()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
}

/// Why the schema is not as it should be.
enum Failed {
    Sql(sqlx::Error),
    Schema(String),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// Applies the schema changes that the database lacks, all or none of them.
async fn migrate(connection: &mut PgConnection, allowed: bool) -> Result<Migrated, Failed> {
    let check = |version| check_schema(version, MIGRATIONS.len(), allowed).map_err(Failed::Schema);
    let seen = version(connection).await?;
    if check(seen)? == 0 {
        return Ok(Migrated { from: seen, to: seen });
    }
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *tx).await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS schema_version (one bigint PRIMARY KEY CHECK (one = 1), version bigint NOT NULL); \
         INSERT INTO schema_version VALUES (1, 0) ON CONFLICT DO NOTHING",
    )
    .execute(&mut *tx)
    .await?;
    // Another replica may have been first.
    let from = sqlx::query_scalar("SELECT version FROM schema_version").fetch_one(&mut *tx).await?;
    let lacking = check(from)?;
    for migration in MIGRATIONS.iter().skip(MIGRATIONS.len() - lacking) {
        sqlx::raw_sql(*migration).execute(&mut *tx).await?;
    }
    let to = from + lacking as i64;
    sqlx::query("UPDATE schema_version SET version = $1").bind(to).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Migrated { from, to })
}

/// Number of schema changes that were applied; 0 for a database that never was ours.
async fn version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let known = "SELECT to_regclass('schema_version') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(known).fetch_one(&mut *connection).await? {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT version FROM schema_version").fetch_one(connection).await
}

/// Where it is, without credentials.
fn place(options: &PgConnectOptions) -> String {
    let name = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(folder) => format!("{name} in {}", folder.display()),
        None => format!("{name} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// An error at opening: what will not change by waiting, and what may.
fn describe(options: &PgConnectOptions, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|database| database.code()).unwrap_or_default();
    // What is wrong with a certificate comes as the handshake's broken data.
    let tls = match &error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        error => matches!(error, sqlx::Error::Tls(_)),
    };
    let mend = match &error {
        _ if tls => Some("See `sslmode` in database.url."),
        _ if code.starts_with("28") => Some("See user and password in database.url."),
        _ if code == "3D000" => Some("Make it with CREATE DATABASE."),
        _ if code == "42501" => Some("Give the user of database.url the right to create tables there."),
        sqlx::Error::Configuration(_) => Some("See database.url."),
        _ => None,
    };
    let place = place(options);
    match mend {
        Some(mend) => {
            StoreError::Unusable(format!("cannot use the store {place}: {}. {mend}", words(&error)))
        }
        None => StoreError::Unavailable(format!("cannot reach the store {place}: {}", words(&error))),
    }
}

/// The server's or the system's words on one line, without bound values.
pub(super) fn words(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::PoolTimedOut => "it does not answer, or all connections to it are busy".to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    text.replace(['\n', '\r'], " ")
}
