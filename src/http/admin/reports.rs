//! Handlers of what happened: usage, requests, audit trail.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::super::reply::Fault;
use super::export::{self, Format};
use super::query::Params;
use super::{now_ms, store_fault, views};
use crate::error::Error;
use crate::rfc3339::{HOUR_MS, format_ms};
use crate::store::{RequestFilter, Store};

type Reply = Result<HttpResponse, Fault>;

/// Totals from `from` to before `to`; left out, the last 24 hours up to the end of the running one. The reply
/// says which time it is about.
pub(super) async fn usage(request: HttpRequest, store: web::Data<dyn Store>) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let format = Format::asked(&mut params, request.headers())?;
    let end_of_hour = (now_ms() / HOUR_MS + 1) * HOUR_MS;
    let to_ms = params.time("to")?.unwrap_or(end_of_hour);
    let from_ms = params.time("from")?.unwrap_or((to_ms - 24 * HOUR_MS).max(0));
    let groups = params.groups()?;
    params.finish()?;
    if from_ms >= to_ms {
        return Err(Error::invalid("`from` must lie before `to`.", "from").into());
    }
    let rows = store.usage(from_ms, to_ms, &groups).await.map_err(store_fault)?;
    if format != Format::Json {
        return Ok(export::usage(&rows, &groups, format, from_ms, to_ms));
    }
    let data: Vec<_> = rows.iter().map(|row| views::usage(row, &groups)).collect();
    let reply = json!({
        "data": data,
        "next_cursor": null,
        "from": format_ms(from_ms),
        "to": format_ms(to_ms),
    });
    Ok(HttpResponse::Ok().json(reply))
}

/// Ledger rows, newest first: a page of them as JSON, all of them in the other formats.
pub(super) async fn requests(request: HttpRequest, store: web::Data<dyn Store>) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let format = Format::asked(&mut params, request.headers())?;
    let filter = RequestFilter {
        key: params.text("key"),
        project: params.text("project"),
        tag: params.text("tag"),
        model: params.text("model"),
        provider: params.text("provider"),
        status: params.status("status")?,
        outcome: params.word("outcome", &["completed", "failed", "cancelled"])?,
        request_id: params.text("request_id"),
        of: None,
        from_ms: params.time("from")?,
        to_ms: params.time("to")?,
    };
    if format != Format::Json {
        params.finish_for_export()?;
        return export::requests(request.version(), store.into_inner(), filter, format).await;
    }
    let (cursor, limit) = (params.text("cursor"), params.limit()?);
    params.finish()?;
    let page = store.requests(&filter, cursor.as_deref(), limit).await.map_err(store_fault)?;
    Ok(HttpResponse::Ok().json(views::list(&page, views::request)))
}

/// The audit trail, newest first.
pub(super) async fn audit(request: HttpRequest, store: web::Data<dyn Store>) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let (cursor, limit) = (params.text("cursor"), params.limit()?);
    params.finish()?;
    let page = store.audit(cursor.as_deref(), limit).await.map_err(store_fault)?;
    Ok(HttpResponse::Ok().json(views::list(&page, views::audit)))
}
