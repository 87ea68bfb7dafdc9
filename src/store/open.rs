//! Which store, and in what state its schema is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::StoreError;
use super::{PostgresStore, SqliteStore, Store};
use crate::config::Settings;

/// How long a start waits for a store that cannot be reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(500);

/// How many schema changes were applied before, and how many are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Before; 0 for a store that was empty.
    pub from: i64,
    /// Now.
    pub to: i64,
}

/// Opens the store that the settings choose: PostgreSQL where `database.url` is given, else SQLite in `data_dir`.
///
/// # Errors
/// [`StoreError::Unavailable`] when it cannot be reached, [`StoreError::Unusable`] when it is not usable as it is.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let (store, schema) = opened(settings).await?;
    if schema.from != schema.to {
        tracing::info!(from = schema.from, to = schema.to, "the schema of the store was brought up to date");
    }
    Ok(store)
}

/// As [`open`], but waits for up to 30 s for a store that cannot be reached, and says so in the log.
///
/// # Errors
/// As [`open`].
pub async fn open_patiently(settings: &Settings) -> Result<Arc<dyn Store>, StoreError> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        match open(settings).await {
            Err(StoreError::Unavailable(why)) if Instant::now() + PAUSE < deadline => {
                if !said {
                    tracing::warn!("waiting {PATIENCE:?} at most for the store: {why}");
                    said = true;
                }
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Brings the schema up to date, whatever `database.migrate` says.
///
/// # Errors
/// As [`open`].
pub async fn migrate(settings: &Settings) -> Result<Migrated, StoreError> {
    let mut settings = settings.clone();
    settings.database.migrate = true;
    let (store, schema) = opened(&settings).await?;
    store.close().await;
    Ok(schema)
}

async fn opened(settings: &Settings) -> Result<(Arc<dyn Store>, Migrated), StoreError> {
    let database = &settings.database;
    if database.url.is_some() {
        let (store, schema) = PostgresStore::open(database).await?;
        return Ok((Arc::new(store), schema));
    }
    let (store, schema) = SqliteStore::open_with(&settings.data_dir, database.migrate).await?;
    Ok((Arc::new(store), schema))
}

/// How many schema changes a store lacks that has `version` of the `known` ones; an error says why it cannot be used.
pub(super) fn check_schema(version: i64, known: usize, migrate: bool) -> Result<usize, String> {
    let lacking = usize::try_from(version).ok().and_then(|version| known.checked_sub(version));
    match lacking {
        None => Err(format!(
            "its schema is version {version}, this binary knows {known}. Use the newer binary that wrote it, or another \
             store."
        )),
        Some(1..) if !migrate => Err(format!(
            "its schema is version {version}, this binary needs {known}. Run `llm-gateway migrate`, or set \
             database.migrate to true."
        )),
        Some(lacking) => Ok(lacking),
    }
}
