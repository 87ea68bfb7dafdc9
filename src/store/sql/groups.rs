//! Projects and sets of tags.

use std::num::NonZeroU32;

use super::super::By;
use super::super::budget_json::budget_json;
use super::super::error::StoreError;
use super::super::group::{
    GROUPS_LIMIT, GroupKind, GroupPatch, GroupRecord, GroupSpec, Managed, check_group,
};
use super::super::group_json::group_json;
use super::super::rows::Page;
use super::super::spec::{KeySpec, ModelRules};
use super::Backend;
use super::change::{declared_elsewhere, next_revision, note, only};
use super::keys::{budget, limits, markup};
use super::pages::{bad_cursor, json_list, list_json, page, page_size};
use super::query::{Query, Row, Tx};
use crate::error::Error;
use crate::request_log::Logged;

/// Columns of a group, in the order in which [`write`] gives their values.
const COLUMNS: &str = "kind, name, expires_ms, models_allow, models_deny, rpm, tpm, concurrency, budget, markup, \
    managed, created_ms, deleted_ms, revision, request_log";

/// Longest cursor, bytes: eight tags of the largest size.
const CURSOR_MAX: usize = 2048;

pub async fn create(
    store: &dyn Backend,
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
    tx.commit().await?;
    Ok(record)
}

pub async fn get(store: &dyn Backend, kind: GroupKind, name: &str) -> Result<GroupRecord, StoreError> {
    let query = select("WHERE kind = $1 AND name = $2 AND deleted_ms IS NULL").bind(kind.as_str()).bind(name);
    store.read(query).await?.first().map_or_else(|| Err(no_group(kind)), record)
}

pub async fn list(
    store: &dyn Backend,
    kind: GroupKind,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<GroupRecord>, StoreError> {
    if cursor.is_some_and(|name| name.is_empty() || name.len() > CURSOR_MAX) {
        return Err(bad_cursor());
    }
    let (size, fetch) = page_size(limit);
    let condition = "WHERE kind = $1 AND name > $2 AND deleted_ms IS NULL ORDER BY name LIMIT $3";
    let query = select(condition).bind(kind.as_str()).bind(cursor.unwrap_or("")).bind(fetch);
    let rows = store.read(query).await?;
    let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    Ok(page(records, size, |record| record.name.clone()))
}

pub async fn update(
    store: &dyn Backend,
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
    tx.commit().await?;
    Ok(after)
}

pub async fn delete(
    store: &dyn Backend,
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
    tx.commit().await?;
    Ok(after)
}

pub async fn changed_since(
    store: &dyn Backend,
    revision: i64,
    limit: u32,
) -> Result<Vec<GroupRecord>, StoreError> {
    let query = select("WHERE revision > $1 ORDER BY revision LIMIT $2").bind(revision).bind(limit);
    store.read(query).await?.iter().map(record).collect()
}

/// Makes sure that there is the project of a key.
pub async fn know_project(tx: &mut Tx, spec: &KeySpec, by: &By) -> Result<(), StoreError> {
    let Some(project) = &spec.project else { return Ok(()) };
    let known = find(tx, GroupKind::Project, project).await?;
    if known.is_none_or(|known| known.deleted_ms.is_some()) {
        add(tx, GroupKind::Project, project.clone(), GroupSpec::default(), Managed::Api, by).await?;
    }
    Ok(())
}

/// Makes a group that is not there, or not any more.
pub async fn add(
    tx: &mut Tx,
    kind: GroupKind,
    name: String,
    spec: GroupSpec,
    managed: Managed,
    by: &By,
) -> Result<GroupRecord, StoreError> {
    let query = Query::new("SELECT count(*) AS live FROM groups WHERE deleted_ms IS NULL");
    let live = only(tx.run(query).await?, "live")?;
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
pub async fn end(tx: &mut Tx, before: &GroupRecord, by: &By) -> Result<GroupRecord, StoreError> {
    let after = GroupRecord { deleted_ms: Some(by.now_ms), ..before.clone() };
    put(tx, "delete", by, Some(before), after).await
}

/// Live keys of a project.
pub async fn live_keys(tx: &mut Tx, project: &str) -> Result<i64, StoreError> {
    let query = Query::new("SELECT count(*) AS live FROM keys WHERE project = $1 AND revoked_ms IS NULL");
    only(tx.run(query.bind(project)).await?, "live")
}

/// The group of this name, a deleted one included.
pub async fn find(tx: &mut Tx, kind: GroupKind, name: &str) -> Result<Option<GroupRecord>, StoreError> {
    let query = select("WHERE kind = $1 AND name = $2").bind(kind.as_str()).bind(name);
    tx.run(query).await?.first().map(record).transpose()
}

/// Groups that the configuration declares.
pub async fn declared(tx: &mut Tx) -> Result<Vec<GroupRecord>, StoreError> {
    let query = select("WHERE managed = $1 AND deleted_ms IS NULL ORDER BY kind, name");
    tx.run(query.bind(Managed::Config.as_str())).await?.iter().map(record).collect()
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
pub async fn put(
    tx: &mut Tx,
    verb: &str,
    by: &By,
    before: Option<&GroupRecord>,
    mut after: GroupRecord,
) -> Result<GroupRecord, StoreError> {
    after.revision = next_revision(tx).await?;
    if after.kind == GroupKind::Project {
        let query =
            Query::new("INSERT INTO projects (name, created_ms) VALUES ($1, $2) ON CONFLICT DO NOTHING");
        tx.run(query.bind(&after.name).bind(after.created_ms)).await?;
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
    let changing = COLUMNS.split(", ").filter(|name| !["kind", "name"].contains(name));
    let set: Vec<String> = changing.map(|name| format!("{name} = excluded.{name}")).collect();
    let places: Vec<String> = (1..=COLUMNS.split(", ").count()).map(|number| format!("${number}")).collect();
    let text = format!(
        "INSERT INTO groups ({COLUMNS}) VALUES ({}) ON CONFLICT (kind, name) DO UPDATE SET {}",
        places.join(", "),
        set.join(", "),
    );
    let query = Query::new(text)
        .bind(record.kind.as_str())
        .bind(&record.name)
        .bind(spec.expires_ms)
        .bind(list_json(&spec.models.allow))
        .bind(list_json(&spec.models.deny))
        .bind(number(spec.limits.rpm))
        .bind(number(spec.limits.tpm))
        .bind(number(spec.limits.concurrency))
        .bind(spec.budget.as_ref().map(|budget| budget_json(budget).to_string()))
        .bind(spec.markup.map(|markup| i64::from(markup.basis_points())))
        .bind(record.managed.as_str())
        .bind(record.created_ms)
        .bind(record.deleted_ms)
        .bind(record.revision)
        .bind(spec.request_log.as_str());
    tx.run(query).await.map(drop)
}

/// Groups under a condition.
fn select(condition: &str) -> Query {
    Query::new(format!("SELECT {COLUMNS} FROM groups {condition}"))
}

fn record(row: &Row) -> Result<GroupRecord, StoreError> {
    let kind: String = row.get("kind")?;
    let broken = || StoreError::Unavailable("the store holds a group of a kind that is unknown".to_owned());
    Ok(GroupRecord {
        kind: GroupKind::parse(&kind).ok_or_else(broken)?,
        name: row.get("name")?,
        spec: GroupSpec {
            expires_ms: row.get("expires_ms")?,
            models: ModelRules {
                allow: json_list(&row.get::<String>("models_allow")?)?,
                deny: json_list(&row.get::<String>("models_deny")?)?,
            },
            limits: limits(row)?,
            budget: budget(row.get("budget")?)?,
            markup: markup(row.get("markup")?),
            // A word that a newer binary wrote: nothing is stored that nobody here understands.
            request_log: Logged::parse(&row.get::<String>("request_log")?).unwrap_or_default(),
        },
        managed: Managed::parse(&row.get::<String>("managed")?),
        created_ms: row.get("created_ms")?,
        deleted_ms: row.get("deleted_ms")?,
        revision: row.get("revision")?,
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
