//! Keys and the audit trail of their changes.

use std::num::NonZeroU32;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use ulid::Ulid;

use super::super::budget_json::{budget_json, budget_of};
use super::super::error::StoreError;
use super::super::group::Managed;
use super::super::key::FreshKey;
use super::super::key_json::key_json;
use super::super::rows::{AuditRow, KeyRecord, Page};
use super::super::spec::{Handling, KeyPatch, KeySpec, ModelRules};
use super::super::{By, KEYS_MAX};
use super::change::{Tx, declared_elsewhere, next_revision, note};
use super::groups::know_project;
use super::{
    SqliteStore, bad_cursor, column, json_list, json_tags, list_json, page, page_size, tags_json, unavailable,
};
use crate::chat::Routing;
use crate::error::Error;
use crate::money::Markup;
use crate::policy::admission::Priority;
use crate::policy::budget::Budget;
use crate::policy::quota::Limits;

/// Begins every key id.
const ID_MARK: &str = "key_";
/// Longest id, bytes.
const ID_MAX: usize = 128;

pub(super) async fn create(
    store: &SqliteStore,
    spec: KeySpec,
    by: By,
) -> Result<(KeyRecord, FreshKey), StoreError> {
    spec.check()?;
    let key = fresh_key()?;
    let id = format!("{ID_MARK}{}", Ulid::from_datetime(time_of(by.now_ms)));
    let mut tx = store.begin().await?;
    if live_count(&mut tx).await? >= KEYS_MAX {
        let text =
            format!("There are {KEYS_MAX} live keys, which is the limit. Revoke some that are not used.");
        return Err(Error::Conflict(text).into());
    }
    know_project(&mut tx, &spec, &by).await?;
    let record = KeyRecord {
        id,
        digest: key.digest(),
        prefix: key.prefix().to_owned(),
        spec,
        managed: Managed::Api,
        created_ms: by.now_ms,
        revoked_ms: None,
        revision: 0,
    };
    let record = put(&mut tx, "key.create", &by, None, record).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok((record, key))
}

pub(super) async fn get(store: &SqliteStore, id: &str) -> Result<KeyRecord, StoreError> {
    let row = sqlx::query("SELECT * FROM keys WHERE id = ?").bind(id).fetch_optional(&store.readers);
    row.await.map_err(unavailable)?.map_or_else(|| Err(no_key()), |row| record(&row))
}

pub(super) async fn list(
    store: &SqliteStore,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<KeyRecord>, StoreError> {
    if cursor.is_some_and(|id| !is_id(id)) {
        return Err(bad_cursor());
    }
    let (size, fetch) = page_size(limit);
    let rows = sqlx::query("SELECT * FROM keys WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2")
        .bind(cursor)
        .bind(fetch)
        .fetch_all(&store.readers)
        .await
        .map_err(unavailable)?;
    let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    Ok(page(records, size, |record| record.id.clone()))
}

pub(super) async fn update(
    store: &SqliteStore,
    id: &str,
    patch: KeyPatch,
    by: By,
) -> Result<KeyRecord, StoreError> {
    let mut tx = store.begin().await?;
    let before = live(&mut tx, id).await?;
    let mut after = before.clone();
    after.spec = patch.apply(after.spec);
    after.spec.check()?;
    if after.spec == before.spec {
        return Ok(before);
    }
    know_project(&mut tx, &after.spec, &by).await?;
    change(tx, "key.update", &by, &before, after).await
}

pub(super) async fn revoke(store: &SqliteStore, id: &str, by: By) -> Result<KeyRecord, StoreError> {
    let mut tx = store.begin().await?;
    let before = find(&mut tx, id).await?;
    if before.revoked_ms.is_some() {
        return Ok(before);
    }
    not_declared(&before)?;
    let after = KeyRecord { revoked_ms: Some(by.now_ms), ..before.clone() };
    change(tx, "key.revoke", &by, &before, after).await
}

pub(super) async fn rotate(
    store: &SqliteStore,
    id: &str,
    by: By,
) -> Result<(KeyRecord, FreshKey), StoreError> {
    let key = fresh_key()?;
    let mut tx = store.begin().await?;
    let before = live(&mut tx, id).await?;
    let after = KeyRecord { digest: key.digest(), prefix: key.prefix().to_owned(), ..before.clone() };
    let record = change(tx, "key.rotate", &by, &before, after).await?;
    Ok((record, key))
}

pub(super) async fn changed_since(
    store: &SqliteStore,
    revision: i64,
    limit: u32,
) -> Result<Vec<KeyRecord>, StoreError> {
    let rows = sqlx::query("SELECT * FROM keys WHERE revision > ? ORDER BY revision LIMIT ?")
        .bind(revision)
        .bind(i64::from(limit))
        .fetch_all(&store.readers)
        .await
        .map_err(unavailable)?;
    rows.iter().map(record).collect()
}

pub(super) async fn audit_trail(
    store: &SqliteStore,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<AuditRow>, StoreError> {
    let before = match cursor.map(str::parse::<i64>) {
        None => i64::MAX,
        Some(Ok(id)) if id > 0 => id,
        Some(_) => return Err(bad_cursor()),
    };
    let (size, fetch) = page_size(limit);
    let rows = sqlx::query("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?")
        .bind(before)
        .bind(fetch)
        .fetch_all(&store.readers)
        .await
        .map_err(unavailable)?;
    let read = |row: &SqliteRow| {
        Ok(AuditRow {
            id: column(row, "id")?,
            time_ms: column(row, "time_ms")?,
            actor: column(row, "actor")?,
            action: column(row, "action")?,
            object: column(row, "object")?,
            before: column(row, "before")?,
            after: column(row, "after")?,
        })
    };
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(page(rows, size, |row| row.id.to_string()))
}

/// Writes a changed key and its audit row, and commits.
async fn change(
    mut tx: Tx,
    action: &str,
    by: &By,
    before: &KeyRecord,
    after: KeyRecord,
) -> Result<KeyRecord, StoreError> {
    let after = put(&mut tx, action, by, Some(before), after).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(after)
}

/// Writes a key as it is from now on, and the audit row.
pub(super) async fn put(
    tx: &mut Tx,
    action: &str,
    by: &By,
    before: Option<&KeyRecord>,
    mut after: KeyRecord,
) -> Result<KeyRecord, StoreError> {
    after.revision = next_revision(tx).await?;
    write(tx, &after).await?;
    note(tx, action, &after.id, by, before.map(key_json), key_json(&after)).await?;
    Ok(after)
}

/// Keys that are not revoked.
pub(super) async fn live_count(tx: &mut Tx) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT count(*) FROM keys WHERE revoked_ms IS NULL")
        .fetch_one(&mut **tx)
        .await
        .map_err(unavailable)
}

async fn write(tx: &mut Tx, record: &KeyRecord) -> Result<(), StoreError> {
    let spec = &record.spec;
    let number = |limit: Option<NonZeroU32>| limit.map(|limit| i64::from(limit.get()));
    sqlx::query(
        "INSERT INTO keys (id, digest, prefix, name, project, expires_ms, models_allow, models_deny, \
         rpm, tpm, concurrency, share, max_priority, routing, explain, tags, created_ms, revoked_ms, revision, \
         budget, markup, managed) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, prefix = excluded.prefix, \
         name = excluded.name, project = excluded.project, expires_ms = excluded.expires_ms, \
         models_allow = excluded.models_allow, models_deny = excluded.models_deny, rpm = excluded.rpm, \
         tpm = excluded.tpm, concurrency = excluded.concurrency, share = excluded.share, \
         max_priority = excluded.max_priority, routing = excluded.routing, explain = excluded.explain, \
         tags = excluded.tags, budget = excluded.budget, markup = excluded.markup, \
         managed = excluded.managed, \
         revoked_ms = excluded.revoked_ms, revision = excluded.revision",
    )
    .bind(&record.id)
    .bind(record.digest.as_slice())
    .bind(&record.prefix)
    .bind(&spec.name)
    .bind(&spec.project)
    .bind(spec.expires_ms)
    .bind(list_json(&spec.models.allow))
    .bind(list_json(&spec.models.deny))
    .bind(number(spec.limits.rpm))
    .bind(number(spec.limits.tpm))
    .bind(number(spec.limits.concurrency))
    .bind(i64::from(spec.handling.share))
    .bind(spec.handling.max_priority.as_str())
    .bind(spec.handling.routing.map(Routing::as_str))
    .bind(spec.handling.explain)
    .bind(tags_json(&spec.tags))
    .bind(record.created_ms)
    .bind(record.revoked_ms)
    .bind(record.revision)
    .bind(spec.budget.as_ref().map(|budget| budget_json(budget).to_string()))
    .bind(spec.markup.map(Markup::basis_points))
    .bind(record.managed.as_str())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn find(tx: &mut Tx, id: &str) -> Result<KeyRecord, StoreError> {
    let row = sqlx::query("SELECT * FROM keys WHERE id = ?").bind(id).fetch_optional(&mut **tx);
    row.await.map_err(unavailable)?.map_or_else(|| Err(no_key()), |row| record(&row))
}

/// A key that may still be changed.
async fn live(tx: &mut Tx, id: &str) -> Result<KeyRecord, StoreError> {
    let record = find(tx, id).await?;
    not_declared(&record)?;
    if record.revoked_ms.is_some() {
        return Err(Error::Conflict("This key is revoked for good. Create a new one.".to_owned()).into());
    }
    Ok(record)
}

/// A key that the configuration declares is changed there.
fn not_declared(record: &KeyRecord) -> Result<(), StoreError> {
    match record.managed {
        Managed::Api => Ok(()),
        Managed::Config => Err(declared_elsewhere("This key", &format!("keys.{}", record.spec.name))),
    }
}

/// True for what may be the id of a key: made here with a ULID, or from a name of the configuration.
fn is_id(text: &str) -> bool {
    let rest = text.strip_prefix(ID_MARK).unwrap_or_default();
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !rest.is_empty() && text.len() <= ID_MAX && rest.bytes().all(sane)
}

pub(super) fn record(row: &SqliteRow) -> Result<KeyRecord, StoreError> {
    let digest: &[u8] = row.try_get("digest").map_err(unavailable)?;
    let digest =
        digest.try_into().map_err(|_| StoreError::Unavailable("the store holds a broken digest".into()))?;
    Ok(KeyRecord {
        id: column(row, "id")?,
        digest,
        prefix: column(row, "prefix")?,
        spec: KeySpec {
            name: column(row, "name")?,
            project: column(row, "project")?,
            expires_ms: column(row, "expires_ms")?,
            models: ModelRules {
                allow: json_list(column(row, "models_allow")?)?,
                deny: json_list(column(row, "models_deny")?)?,
            },
            limits: limits(row)?,
            budget: budget(column(row, "budget")?)?,
            markup: markup(column(row, "markup")?),
            handling: handling(row)?,
            tags: json_tags(column(row, "tags")?)?,
        },
        managed: Managed::parse(column(row, "managed")?),
        created_ms: column(row, "created_ms")?,
        revoked_ms: column(row, "revoked_ms")?,
        revision: column(row, "revision")?,
    })
}

/// The limits of a key or a group.
pub(super) fn limits(row: &SqliteRow) -> Result<Limits, StoreError> {
    let limit = |name: &str| -> Result<Option<NonZeroU32>, StoreError> {
        let stored: Option<i64> = column(row, name)?;
        Ok(stored.and_then(|limit| u32::try_from(limit).ok()).and_then(NonZeroU32::new))
    };
    Ok(Limits { rpm: limit("rpm")?, tpm: limit("tpm")?, concurrency: limit("concurrency")? })
}

/// Words that this binary does not know count as the default: a newer one may have written them.
fn handling(row: &SqliteRow) -> Result<Handling, StoreError> {
    let share: i64 = column(row, "share")?;
    let (priority, routing): (String, Option<String>) =
        (column(row, "max_priority")?, column(row, "routing")?);
    Ok(Handling {
        share: u32::try_from(share).unwrap_or(1),
        max_priority: Priority::parse(&priority).unwrap_or_default(),
        routing: routing.as_deref().and_then(Routing::parse),
        explain: column(row, "explain")?,
    })
}

/// A budget that this binary cannot read is no reason to let a key spend without one.
pub(super) fn budget(text: Option<String>) -> Result<Option<Budget>, StoreError> {
    let Some(text) = text else { return Ok(None) };
    let read = serde_json::from_str(&text).ok().and_then(|value| budget_of(&value));
    let broken = || StoreError::Unavailable("the store holds a budget that cannot be read".to_owned());
    read.map(Some).ok_or_else(broken)
}

pub(super) fn markup(stored: Option<i64>) -> Option<Markup> {
    stored.and_then(|points| i32::try_from(points).ok()).and_then(Markup::from_basis_points)
}

fn fresh_key() -> Result<FreshKey, StoreError> {
    FreshKey::generate()
        .map_err(|error| StoreError::Unavailable(format!("the system gives no random bytes: {error}")))
}

fn no_key() -> StoreError {
    Error::NotFound("There is no key with this id.".to_owned()).into()
}

/// The time that goes into an id, so that ids sort by it.
fn time_of(ms: i64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}
