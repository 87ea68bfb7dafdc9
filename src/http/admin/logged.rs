//! Handlers of one request: its attempts, and its bodies where they are stored.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use ulid::Ulid;

use super::super::reply::Fault;
use super::keys::by;
use super::query::Params;
use super::{store_fault, views};
use crate::error::Error;
use crate::request_log::Kept;
use crate::rfc3339::format_ms;
use crate::store::{LedgerRow, LoggedCall, PAGE_MAX, RequestFilter, Store};

/// Calls of one request id that are looked at: clients choose these ids, and may choose the same again.
const CALLS_MAX: u32 = 100;
/// Calls whose bodies are deleted at a time.
const DELETED_MAX: u32 = 1_000;

type Reply = Result<HttpResponse, Fault>;

/// One request, by its `x-request-id` or the id of its call; the newest where several had this id, and the others' ids.
pub(super) async fn get(request: HttpRequest, id: web::Path<String>, store: web::Data<dyn Store>) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    let filter = RequestFilter { of: Some(id.clone()), ..RequestFilter::default() };
    let attempts = store.requests(&filter, None, PAGE_MAX).await.map_err(store_fault)?.data;
    let logged = store.logged_calls(&id, CALLS_MAX).await.map_err(store_fault)?;
    let mut calls = newest_first(&attempts, &logged);
    if calls.is_empty() {
        return Err(Fault(no_request()));
    }
    let call_id = calls.remove(0);
    let bodies = if logged.iter().any(|(logged, _)| *logged == call_id) {
        store.read_logged(call_id, by(&request)).await.map_err(store_fault)?
    } else {
        None
    };
    let mut attempts: Vec<&LedgerRow> = attempts.iter().filter(|row| row.call_id == call_id).collect();
    attempts.sort_by_key(|row| row.attempt);
    calls.truncate(CALLS_MAX as usize);
    Ok(HttpResponse::Ok().json(view(call_id, &attempts, bodies.as_ref(), &calls)))
}

/// Deletes the stored bodies of a request; its ledger rows stay.
pub(super) async fn delete(
    request: HttpRequest,
    id: web::Path<String>,
    store: web::Data<dyn Store>,
) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    let deleted = store.delete_logged(&id, DELETED_MAX, by(&request)).await.map_err(store_fault)?;
    if deleted == 0 {
        return Err(Fault(Error::NotFound(
            "There are no stored bodies of a request with this id.".to_owned(),
        )));
    }
    let complete = deleted < u64::from(DELETED_MAX);
    Ok(HttpResponse::Ok().json(json!({"deleted": deleted, "complete": complete})))
}

/// The calls that are meant, each once, by when they were last heard of.
fn newest_first(attempts: &[LedgerRow], logged: &[(Ulid, i64)]) -> Vec<Ulid> {
    let booked = attempts.iter().map(|row| (row.time_ms, row.call_id));
    let mut calls: Vec<(i64, Ulid)> = booked.chain(logged.iter().map(|(id, ms)| (*ms, *id))).collect();
    calls.sort_unstable_by(|a, b| b.cmp(a));
    let mut found = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (_, call_id) in calls {
        if seen.insert(call_id) {
            found.push(call_id);
        }
    }
    found
}

fn view(call_id: Ulid, attempts: &[&LedgerRow], bodies: Option<&LoggedCall>, others: &[Ulid]) -> Value {
    let last = attempts.last();
    let text = |of_bodies: fn(&LoggedCall) -> &str, of_row: fn(&LedgerRow) -> &str| {
        bodies.map(of_bodies).or_else(|| last.map(|row| of_row(row)))
    };
    let project =
        bodies.map_or_else(|| last.and_then(|row| row.project.as_deref()), |call| call.project.as_deref());
    json!({
        "request_id": text(|call| &call.request_id, |row| &row.request_id),
        "call_id": call_id.to_string(),
        "key_id": text(|call| &call.key_id, |row| &row.key_id),
        "project": project,
        "time": bodies.map(|call| call.time_ms).or_else(|| last.map(|row| row.time_ms)).map(format_ms),
        "status": bodies.map(|call| call.status),
        "outcome": bodies.map(|call| &call.outcome),
        "error": bodies.and_then(|call| call.error.as_ref()),
        "stream": bodies.map(|call| call.stream).or_else(|| last.map(|row| row.stream)),
        "attempts": attempts.iter().map(|row| views::request(row)).collect::<Vec<_>>(),
        "request": bodies.and_then(|call| call.request.as_ref()).map(body),
        "response": bodies.and_then(|call| call.response.as_ref()).map(body),
        "other_calls": others.iter().map(Ulid::to_string).collect::<Vec<_>>(),
    })
}

fn body(kept: &Kept) -> Value {
    json!({"body": kept.body, "truncated": kept.truncated, "redacted": kept.redacted})
}

fn no_request() -> Error {
    let message = "There is no request with this id. Give its `x-request-id`, or the `call_id` of a ledger row; what was \
        sent a moment ago may be on its way here.";
    Error::NotFound(message.to_owned())
}
