//! Keys and groups that the configuration declares: made to be what it says, in one transaction.
//!
//! A key that is declared no more is revoked, and one that comes back lives again under its old id. A project that is
//! declared no more stays without limits while live keys belong to it.

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;

use super::super::error::StoreError;
use super::super::group::{GroupKind, GroupRecord, GroupSpec, Managed, check_group};
use super::super::key::Digest;
use super::super::rows::{Declared, DeclaredKey, KeyRecord};
use super::super::{By, KEYS_MAX};
use super::change::Tx;
use super::{SqliteStore, groups, keys, unavailable};
use crate::error::Error;

pub(super) async fn declare(store: &SqliteStore, declared: Declared, by: By) -> Result<(), StoreError> {
    for (kind, name, spec) in &declared.groups {
        check_group(*kind, name, spec)?;
    }
    for key in &declared.keys {
        key.spec.check()?;
    }
    let mut tx = store.begin().await?;
    for (kind, name, spec) in &declared.groups {
        declare_group(&mut tx, *kind, name, spec, &by).await?;
    }
    declare_keys(&mut tx, &declared.keys, &by).await?;
    for before in groups::declared(&mut tx).await? {
        let stays =
            declared.groups.iter().any(|(kind, name, _)| (*kind, name) == (before.kind, &before.name));
        if !stays {
            end_group(&mut tx, &before, &by).await?;
        }
    }
    tx.commit().await.map_err(unavailable)
}

async fn declare_group(
    tx: &mut Tx,
    kind: GroupKind,
    name: &str,
    spec: &GroupSpec,
    by: &By,
) -> Result<(), StoreError> {
    let before = groups::find(tx, kind, name).await?.filter(|before| before.deleted_ms.is_none());
    let Some(before) = before else {
        groups::add(tx, kind, name.to_owned(), spec.clone(), Managed::Config, by).await?;
        return Ok(());
    };
    // One that a key's creation made has nothing to lose.
    if before.managed == Managed::Api && before.spec != GroupSpec::default() {
        return Err(Error::Conflict(format!(
            "`{name}` is declared in the configuration, but operators made it through the API. Take it away in one \
             of the two places."
        ))
        .into());
    }
    let after = GroupRecord { spec: spec.clone(), managed: Managed::Config, ..before.clone() };
    if after != before {
        groups::put(tx, "update", by, Some(&before), after).await?;
    }
    Ok(())
}

async fn end_group(tx: &mut Tx, before: &GroupRecord, by: &By) -> Result<(), StoreError> {
    let used = before.kind == GroupKind::Project && groups::live_keys(tx, &before.name).await? > 0;
    if used {
        let after = GroupRecord { spec: GroupSpec::default(), managed: Managed::Api, ..before.clone() };
        groups::put(tx, "update", by, Some(before), after).await?;
    } else {
        groups::end(tx, before, by).await?;
    }
    Ok(())
}

async fn declare_keys(tx: &mut Tx, declared: &[DeclaredKey], by: &By) -> Result<(), StoreError> {
    let there: Vec<KeyRecord> = sqlx::query("SELECT * FROM keys WHERE managed = ? ORDER BY id")
        .bind(Managed::Config.as_str())
        .fetch_all(&mut **tx)
        .await
        .map_err(unavailable)?
        .iter()
        .map(|row: &SqliteRow| keys::record(row))
        .collect::<Result<_, _>>()?;
    for before in &there {
        let stays = declared.iter().find(|key| key.key_id() == before.id);
        if stays.is_none_or(|key| key.digest != before.digest) {
            // Texts may move from one declared key to another, and no two keys may ever share one.
            vacate(tx, &before.id).await?;
        }
        if stays.is_none() && before.revoked_ms.is_none() {
            let after =
                KeyRecord { digest: nobody(&before.id), revoked_ms: Some(by.now_ms), ..before.clone() };
            keys::put(tx, "key.revoke", by, Some(before), after).await?;
        }
    }
    for key in declared {
        let id = key.key_id();
        declare_key(tx, key, there.iter().find(|before| before.id == id), by).await?;
    }
    if keys::live_count(tx).await? > KEYS_MAX {
        return Err(Error::Conflict(format!("There would be more than {KEYS_MAX} live keys.")).into());
    }
    Ok(())
}

async fn declare_key(
    tx: &mut Tx,
    declared: &DeclaredKey,
    before: Option<&KeyRecord>,
    by: &By,
) -> Result<(), StoreError> {
    let after = KeyRecord {
        id: declared.key_id(),
        digest: declared.digest,
        prefix: declared.prefix.clone(),
        spec: declared.spec.clone(),
        managed: Managed::Config,
        created_ms: before.map_or(by.now_ms, |before| before.created_ms),
        revoked_ms: None,
        revision: before.map_or(0, |before| before.revision),
    };
    if before == Some(&after) {
        return Ok(());
    }
    let taken: Option<String> = sqlx::query_scalar("SELECT id FROM keys WHERE digest = ? AND id <> ?")
        .bind(after.digest.as_slice())
        .bind(&after.id)
        .fetch_optional(&mut **tx)
        .await
        .map_err(unavailable)?;
    if let Some(other) = taken {
        let text = format!("keys.{}: this text is that of the key {other} already.", declared.id);
        return Err(Error::Conflict(text).into());
    }
    let action = match before {
        None => "key.create",
        Some(before) if before.revoked_ms.is_some() => "key.restore",
        Some(_) => "key.update",
    };
    groups::know_project(tx, &after.spec, by).await?;
    keys::put(tx, action, by, before, after).await?;
    Ok(())
}

/// Gives a key's text free.
async fn vacate(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    sqlx::query("UPDATE keys SET digest = ? WHERE id = ?")
        .bind(nobody(id).as_slice())
        .bind(id)
        .execute(&mut **tx)
        .await
        .map_err(unavailable)?;
    Ok(())
}

/// The digest of no key's text: no text that has the form of one begins like this.
fn nobody(id: &str) -> Digest {
    Sha256::digest(format!("ended {id}")).into()
}
