//! Projects and sets of tags.

use std::num::NonZeroU32;

use sqlx::sqlite::SqliteRow;

use super::super::By;
use super::super::budget_json::budget_json;
use super::super::error::StoreError;
use super::super::group::{
    GROUPS_LIMIT, GroupKind, GroupPatch, GroupRecord, GroupSpec, Managed, check_group,
};
use super::super::group_json::group_json;
use super::super::rows::Page;
use super::super::spec::{KeySpec, ModelRules};
use super::change::{Tx, declared_elsewhere, next_revision, note};
use super::keys::{budget, limits, markup};
use super::{SqliteStore, bad_cursor, column, json_list, list_json, page, page_size, unavailable};
use crate::error::Error;
use crate::money::Markup;

/// Longest cursor, bytes: eight tags of the largest size.
const CURSOR_MAX: usize = 2048;

pub(super) async fn create(
    store: &SqliteStore,
    kind: GroupKind,
    name: String,
    spec: GroupSpec,
    by: By,
) -> Result<GroupRecord, StoreError> {
    check_group(kind, &name, &spec)?;
    let mut tx = store.begin().await?;
    let before = find(&mut tx, kind, &name).await?;
    if before.as_ref().is_some_and(|before| before.deleted_ms.is_none()) {
        let text = format!("There is a {} of this name already. Change it with PATCH.", word(kind));
        return Err(Error::Conflict(text).into());
    }
    let record = add(&mut tx, kind, name, spec, Managed::Api, &by).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(record)
}

pub(super) async fn get(store: &SqliteStore, kind: GroupKind, name: &str) -> Result<GroupRecord, StoreError> {
    let row = sqlx::query("SELECT * FROM groups WHERE kind = ? AND name = ? AND deleted_ms IS NULL")
        .bind(kind.as_str())
        .bind(name)
        .fetch_optional(&store.readers);
    row.await.map_err(unavailable)?.map_or_else(|| Err(no_group(kind)), |row| record(&row))
}

pub(super) async fn list(
    store: &SqliteStore,
    kind: GroupKind,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<GroupRecord>, StoreError> {
    if cursor.is_some_and(|name| name.is_empty() || name.len() > CURSOR_MAX) {
        return Err(bad_cursor());
    }
    let (size, fetch) = page_size(limit);
    let rows = sqlx::query(
        "SELECT * FROM groups WHERE kind = ? AND name > ? AND deleted_ms IS NULL ORDER BY name LIMIT ?",
    )
    .bind(kind.as_str())
    .bind(cursor.unwrap_or(""))
    .bind(fetch)
    .fetch_all(&store.readers)
    .await
    .map_err(unavailable)?;
    let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    Ok(page(records, size, |record| record.name.clone()))
}

pub(super) async fn update(
    store: &SqliteStore,
    kind: GroupKind,
    name: &str,
    patch: GroupPatch,
    by: By,
) -> Result<GroupRecord, StoreError> {
    let mut tx = store.begin().await?;
    let before = changeable(&mut tx, kind, name).await?;
    let mut after = before.clone();
    after.spec = patch.apply(after.spec);
    check_group(kind, name, &after.spec)?;
    if after.spec == before.spec {
        return Ok(before);
    }
    let after = put(&mut tx, "update", &by, Some(&before), after).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(after)
}

pub(super) async fn delete(
    store: &SqliteStore,
    kind: GroupKind,
    name: &str,
    by: By,
) -> Result<GroupRecord, StoreError> {
    let mut tx = store.begin().await?;
    let before = changeable(&mut tx, kind, name).await?;
    let keys = if kind == GroupKind::Project { live_keys(&mut tx, name).await? } else { 0 };
    if keys > 0 {
        let text = format!(
            "{keys} live keys belong to this project. Revoke them or move them to another one first."
        );
        return Err(Error::Conflict(text).into());
    }
    let after = end(&mut tx, &before, &by).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(after)
}

pub(super) async fn changed_since(
    store: &SqliteStore,
    revision: i64,
    limit: u32,
) -> Result<Vec<GroupRecord>, StoreError> {
    let rows = sqlx::query("SELECT * FROM groups WHERE revision > ? ORDER BY revision LIMIT ?")
        .bind(revision)
        .bind(i64::from(limit))
        .fetch_all(&store.readers)
        .await
        .map_err(unavailable)?;
    rows.iter().map(record).collect()
}

/// Makes sure that there is the project of a key.
pub(super) async fn know_project(tx: &mut Tx, spec: &KeySpec, by: &By) -> Result<(), StoreError> {
    let Some(project) = &spec.project else { return Ok(()) };
    let known = find(tx, GroupKind::Project, project).await?;
    if known.is_none_or(|known| known.deleted_ms.is_some()) {
        add(tx, GroupKind::Project, project.clone(), GroupSpec::default(), Managed::Api, by).await?;
    }
    Ok(())
}

/// Makes a group that is not there, or not any more.
pub(super) async fn add(
    tx: &mut Tx,
    kind: GroupKind,
    name: String,
    spec: GroupSpec,
    managed: Managed,
    by: &By,
) -> Result<GroupRecord, StoreError> {
    let live: i64 = sqlx::query_scalar("SELECT count(*) FROM groups WHERE deleted_ms IS NULL")
        .fetch_one(&mut **tx)
        .await
        .map_err(unavailable)?;
    if live >= GROUPS_LIMIT {
        let text = format!(
            "There are {GROUPS_LIMIT} projects and sets of tags, which is the limit. Delete some that are not used."
        );
        return Err(Error::Conflict(text).into());
    }
    let (created_ms, deleted_ms, revision) = (by.now_ms, None, 0);
    let record = GroupRecord { kind, name, spec, managed, created_ms, deleted_ms, revision };
    put(tx, "create", by, None, record).await
}

/// Ends a group.
pub(super) async fn end(tx: &mut Tx, before: &GroupRecord, by: &By) -> Result<GroupRecord, StoreError> {
    let after = GroupRecord { deleted_ms: Some(by.now_ms), ..before.clone() };
    put(tx, "delete", by, Some(before), after).await
}

/// Live keys of a project.
pub(super) async fn live_keys(tx: &mut Tx, project: &str) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT count(*) FROM keys WHERE project = ? AND revoked_ms IS NULL")
        .bind(project)
        .fetch_one(&mut **tx)
        .await
        .map_err(unavailable)
}

/// The group of this name, a deleted one included.
pub(super) async fn find(
    tx: &mut Tx,
    kind: GroupKind,
    name: &str,
) -> Result<Option<GroupRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM groups WHERE kind = ? AND name = ?")
        .bind(kind.as_str())
        .bind(name)
        .fetch_optional(&mut **tx);
    row.await.map_err(unavailable)?.map(|row| record(&row)).transpose()
}

/// Groups that the configuration declares.
pub(super) async fn declared(tx: &mut Tx) -> Result<Vec<GroupRecord>, StoreError> {
    let rows =
        sqlx::query("SELECT * FROM groups WHERE managed = ? AND deleted_ms IS NULL ORDER BY kind, name")
            .bind(Managed::Config.as_str())
            .fetch_all(&mut **tx)
            .await
            .map_err(unavailable)?;
    rows.iter().map(record).collect()
}

/// A group that the API may change.
async fn changeable(tx: &mut Tx, kind: GroupKind, name: &str) -> Result<GroupRecord, StoreError> {
    let found = find(tx, kind, name).await?.filter(|found| found.deleted_ms.is_none());
    let found = found.ok_or_else(|| no_group(kind))?;
    match (found.managed, kind) {
        (Managed::Api, _) => Ok(found),
        (Managed::Config, GroupKind::Project) => {
            Err(declared_elsewhere("This project", &format!("projects.{name}")))
        }
        (Managed::Config, GroupKind::Tags) => Err(declared_elsewhere("This set of tags", "tag_sets")),
    }
}

/// Writes a changed group and its audit row.
pub(super) async fn put(
    tx: &mut Tx,
    verb: &str,
    by: &By,
    before: Option<&GroupRecord>,
    mut after: GroupRecord,
) -> Result<GroupRecord, StoreError> {
    after.revision = next_revision(tx).await?;
    if after.kind == GroupKind::Project {
        sqlx::query("INSERT INTO projects (name, created_ms) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(&after.name)
            .bind(after.created_ms)
            .execute(&mut **tx)
            .await
            .map_err(unavailable)?;
    }
    write(tx, &after).await?;
    let action = match after.kind {
        GroupKind::Project => format!("project.{verb}"),
        GroupKind::Tags => format!("tag_set.{verb}"),
    };
    note(tx, &action, &after.name, by, before.map(group_json), group_json(&after)).await?;
    Ok(after)
}

async fn write(tx: &mut Tx, record: &GroupRecord) -> Result<(), StoreError> {
    let spec = &record.spec;
    let number = |limit: Option<NonZeroU32>| limit.map(|limit| i64::from(limit.get()));
    sqlx::query(
        "INSERT INTO groups (kind, name, expires_ms, models_allow, models_deny, rpm, tpm, concurrency, budget, \
         markup, managed, created_ms, deleted_ms, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (kind, name) DO UPDATE SET expires_ms = excluded.expires_ms, \
         models_allow = excluded.models_allow, models_deny = excluded.models_deny, rpm = excluded.rpm, \
         tpm = excluded.tpm, concurrency = excluded.concurrency, budget = excluded.budget, \
         markup = excluded.markup, managed = excluded.managed, created_ms = excluded.created_ms, \
         deleted_ms = excluded.deleted_ms, revision = excluded.revision",
    )
    .bind(record.kind.as_str())
    .bind(&record.name)
    .bind(spec.expires_ms)
    .bind(list_json(&spec.models.allow))
    .bind(list_json(&spec.models.deny))
    .bind(number(spec.limits.rpm))
    .bind(number(spec.limits.tpm))
    .bind(number(spec.limits.concurrency))
    .bind(spec.budget.as_ref().map(|budget| budget_json(budget).to_string()))
    .bind(spec.markup.map(Markup::basis_points))
    .bind(record.managed.as_str())
    .bind(record.created_ms)
    .bind(record.deleted_ms)
    .bind(record.revision)
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

fn record(row: &SqliteRow) -> Result<GroupRecord, StoreError> {
    let kind: String = column(row, "kind")?;
    let broken = || StoreError::Unavailable("the store holds a group of a kind that is unknown".to_owned());
    Ok(GroupRecord {
        kind: GroupKind::parse(&kind).ok_or_else(broken)?,
        name: column(row, "name")?,
        spec: GroupSpec {
            expires_ms: column(row, "expires_ms")?,
            models: ModelRules {
                allow: json_list(column(row, "models_allow")?)?,
                deny: json_list(column(row, "models_deny")?)?,
            },
            limits: limits(row)?,
            budget: budget(column(row, "budget")?)?,
            markup: markup(column(row, "markup")?),
        },
        managed: Managed::parse(column(row, "managed")?),
        created_ms: column(row, "created_ms")?,
        deleted_ms: column(row, "deleted_ms")?,
        revision: column(row, "revision")?,
    })
}

fn no_group(kind: GroupKind) -> StoreError {
    Error::NotFound(format!("There is no {} of this name.", word(kind))).into()
}

fn word(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::Project => "project",
        GroupKind::Tags => "set of tags",
    }
}
