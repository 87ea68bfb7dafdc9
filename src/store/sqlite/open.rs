//! Opening the file: permissions, pragmas, migrations, and errors that say what to do.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlitePool};

use super::super::error::StoreError;
use super::super::open::{Migrated, check_schema};
use super::SqliteStore;

/// Schema changes in order; the number of those applied is the file's `user_version`.
const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_key_handling.sql"),
    include_str!("migrations/0003_ledger_by_project.sql"),
    include_str!("migrations/0004_money.sql"),
    include_str!("migrations/0005_idempotency.sql"),
    include_str!("migrations/0006_daily_usage.sql"),
    include_str!("migrations/0007_request_log.sql"),
];
/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The primary code of SQLite's I/O errors; the bytes above it say which.
const IO_ERROR: u32 = 10;
/// Connections for reading: the admin page and the poll of keys, never the hot path.
const READERS: u32 = 2;

/// The writer's pool of one, and the readers'.
pub(super) async fn open(
    folder: &Path,
    may_migrate: bool,
) -> Result<(SqlitePool, SqlitePool, Migrated), StoreError> {
    let file = folder.join(SqliteStore::FILE_NAME);
    prepare(folder, &file).map_err(|error| {
        unusable(
            &file,
            &format!("{error}. Make data_dir a folder that this user can write, or set another one."),
        )
    })?;
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let pool = |connections: u32| {
        // Connections are kept for good: nothing on the other side of a file grows stale.
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            // SQLite itself rolls back where a disk is full or fails; the driver's own ROLLBACK then fails, and it takes
            // the connection to be in that transaction for ever. Another one is opened instead.
            .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .idle_timeout(None)
            .max_lifetime(None)
    };
    // What a statement may have to take back is kept in memory and not in a file: half a megabyte for a moment, and a tenth of
    // what settling costs.
    let options = options.pragma("temp_store", "MEMORY");
    // What is deleted is gone from the file, too: bodies and answers are deleted because nobody may read them any more.
    let options = options.pragma("secure_delete", "ON");
    // A large transaction fits into memory, and its pages are copied into the file once and not several times.
    let writing = options.clone().pragma("cache_size", "-8000").pragma("wal_autocheckpoint", "4000");
    let writer = pool(1).connect_with(writing).await.map_err(|error| describe(&file, error))?;
    let migrated = migrate(&writer, &file, may_migrate).await?;
    let readers = pool(READERS)
        .connect_with(options.pragma("query_only", "ON"))
        .await
        .map_err(|error| describe(&file, error))?;
    Ok((writer, readers, migrated))
}

/// Makes folder and file where missing, and takes everybody else's rights to the file away.
fn prepare(folder: &Path, file: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // SQLite gives its -wal and -shm files the rights of the database itself.
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    let mode = opened.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        opened.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Applies the schema changes that the file lacks, all or none of them.
async fn migrate(writer: &SqlitePool, file: &Path, allowed: bool) -> Result<Migrated, StoreError> {
    let describe = |error| describe(file, error);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(describe)?;
    let from: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(describe)?;
    let lacking = check_schema(from, MIGRATIONS.len(), allowed).map_err(|text| unusable(file, &text))?;
    for migration in MIGRATIONS.iter().skip(MIGRATIONS.len() - lacking) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(describe)?;
    }
    let to = from + lacking as i64;
    let mark = format!("PRAGMA user_version = {to}");
    sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(describe)?;
    transaction.commit().await.map_err(describe)?;
    Ok(Migrated { from, to })
}

fn unusable(file: &Path, text: &str) -> StoreError {
    StoreError::Unusable(format!("cannot use the store {}: {text}", file.display()))
}

/// SQLite's words at opening, made useful.
fn describe(file: &Path, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|database| database.code().map(|code| code.into_owned()));
    let text = match code.as_deref() {
        Some("26") => "it is not a database. Move the file away or set another data_dir.".to_owned(),
        Some("11") => "the file is damaged. Restore it from a copy or move it away.".to_owned(),
        Some("5" | "261") => "another process holds it locked. Stop that process and try again.".to_owned(),
        Some("8" | "1032" | "14") => {
            "it cannot be written. Check the rights of the file and its folder.".to_owned()
        }
        Some("13") => "the disk is full. Make room and start again.".to_owned(),
        Some(code) if code.parse().is_ok_and(|code: u32| code & 0xff == IO_ERROR) => format!(
            "{}. See whether the disk is full or failing.",
            error.as_database_error().map_or("disk I/O error", |database| database.message())
        ),
        _ => error.to_string().replace(['\n', '\r'], " "),
    };
    unusable(file, &text)
}
