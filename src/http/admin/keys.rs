//! Handlers of keys. Every change is in force in this process before the reply goes out.

use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;
use tokio::time::timeout;

use super::super::reply::Fault;
use super::query::Params;
use super::{key_body, now_ms, store_fault, views};
use crate::error::Error;
use crate::store::{By, KeyRecord, KeyTable, Store, key_json, key_json_with_text};

/// Largest body of a management request, bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// How long an admin may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

type Reply = Result<HttpResponse, Fault>;

pub(super) async fn list(
    request: HttpRequest,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let (cursor, limit) = (params.text("cursor"), params.limit()?);
    params.finish()?;
    let page = store.keys(cursor.as_deref(), limit).await.map_err(store_fault)?;
    Ok(HttpResponse::Ok().json(views::list(&page, |record| shown(record, &table))))
}

pub(super) async fn get(
    id: web::Path<String>,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let record = store.key(&id).await.map_err(store_fault)?;
    Ok(HttpResponse::Ok().json(shown(&record, &table)))
}

pub(super) async fn create(
    request: HttpRequest,
    body: web::Payload,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let body = read_json(&request, body, BODY_MAX).await?;
    let by = by(&request);
    let spec = key_body::read_spec(&body, by.now_ms)?;
    let (record, key) = store.create_key(spec, by).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Created().json(with_status(key_json_with_text(&record, &key), &record, &table)))
}

pub(super) async fn update(
    request: HttpRequest,
    id: web::Path<String>,
    body: web::Payload,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let body = read_json(&request, body, BODY_MAX).await?;
    let patch = key_body::read_patch(&body)?;
    let record = store.update_key(&id, patch, by(&request)).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Ok().json(shown(&record, &table)))
}

pub(super) async fn revoke(
    request: HttpRequest,
    id: web::Path<String>,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let record = store.revoke_key(&id, by(&request)).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Ok().json(shown(&record, &table)))
}

pub(super) async fn rotate(
    request: HttpRequest,
    id: web::Path<String>,
    store: web::Data<dyn Store>,
    table: web::Data<KeyTable>,
) -> Reply {
    let (record, key) = store.rotate_key(&id, by(&request)).await.map_err(store_fault)?;
    put_in_force(&table, &**store).await;
    Ok(HttpResponse::Ok().json(with_status(key_json_with_text(&record, &key), &record, &table)))
}

fn shown(record: &KeyRecord, table: &KeyTable) -> Value {
    with_status(key_json(record), record, table)
}

/// A key as it is shown, with how its budget stands.
fn with_status(shown: Value, record: &KeyRecord, table: &KeyTable) -> Value {
    let now_ms = now_ms();
    let standing = table.find(&record.id, now_ms).and_then(|entry| entry.purse.standing(now_ms));
    views::with_status(shown, standing)
}

/// The change is stored; should the table fail to see it now, the next poll will.
pub(super) async fn put_in_force(table: &KeyTable, store: &dyn Store) {
    table.has_changed();
    // What calls that run still cost is not in the ledger yet; the poll reads it again.
    if let Err(error) = table.refresh_and_seed(store, 0).await {
        tracing::warn!(%error, "a change of keys is stored, but not yet in force here");
    }
}

/// There is one admin key, so the address is what tells admins apart.
pub(super) fn by(request: &HttpRequest) -> By {
    let actor = request.peer_addr().map_or_else(|| "admin".to_owned(), |peer| format!("admin@{}", peer.ip()));
    By { actor, now_ms: now_ms() }
}

/// Reads a JSON body up to `limit` bytes.
pub(super) async fn read_json(
    request: &HttpRequest,
    body: web::Payload,
    limit: usize,
) -> Result<web::Bytes, Error> {
    let content_type =
        request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let text = "Send the body as JSON, with the header `Content-Type: application/json`.";
        return Err(Error::UnsupportedMediaType(text.to_owned()));
    }
    let read = timeout(BODY_TIMEOUT, body.to_bytes_limited(limit)).await;
    let read = read.map_err(|_| Error::RequestTimeout)?.map_err(|_| Error::BodyTooLarge(limit as u64))?;
    read.map_err(|_| Error::invalid_code("The body broke off. Send it again.", None, "invalid_body"))
}
