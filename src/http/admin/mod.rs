//! Management under `/admin/v1`, on the ops listener: every route in one table.
//!
//! Invariant: nothing under `/admin` answers without the admin key, not even that a path does not exist.

mod auth;
mod explain;
mod export;
mod fields;
mod groups;
mod key_body;
mod keys;
mod logged;
mod openapi;
mod query;
mod reports;
mod rules;
mod shown;
mod standings;
mod status;
#[cfg(test)]
mod tests;
mod views;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{HttpResponse, Resource, web};

use super::reply::Fault;
use crate::config::Secret;
use crate::error::Error;
use crate::store::{GroupKind, KeyTable, Store, StoreError};
pub use auth::AdminKey;
pub use shown::Shown;
pub use status::Overview;

/// What management works on.
#[derive(Clone)]
pub struct Admin {
    /// Where keys, ledger and audit trail are.
    pub store: Arc<dyn Store>,
    /// The keys in memory: changes made here are in force at once.
    pub table: Arc<KeyTable>,
    /// The key of the admin.
    pub key: AdminKey,
    /// What the process runs by.
    pub shown: Arc<Shown>,
}

impl Admin {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the admin key is blank.
    pub fn new(
        store: Arc<dyn Store>,
        table: Arc<KeyTable>,
        key: &Secret,
        shown: Shown,
    ) -> Result<Self, Error> {
        Ok(Self { store, table, key: AdminKey::new(key)?, shown: Arc::new(shown) })
    }
}

/// Adds every management route.
pub fn configure(cfg: &mut web::ServiceConfig, admin: &Admin) {
    let (get, post, patch, delete) = (web::get, web::post, web::patch, web::delete);
    #[rustfmt::skip]
    let routes = web::scope("/admin")
        .service(at("/v1/keys", "GET, POST").route(get().to(keys::list)).route(post().to(keys::create)))
        .service(at("/v1/keys/{id}", "GET, PATCH, DELETE")
            .route(get().to(keys::get)).route(patch().to(keys::update)).route(delete().to(keys::revoke)))
        .service(at("/v1/keys/{id}/rotate", "POST").route(post().to(keys::rotate)))
        .service(at("/v1/usage", "GET").route(get().to(reports::usage)))
        .service(at("/v1/requests", "GET").route(get().to(reports::requests)))
        .service(at("/v1/requests/{id}", "GET").route(get().to(logged::get)))
        .service(at("/v1/requests/{id}/log", "DELETE").route(delete().to(logged::delete)))
        .service(at("/v1/audit", "GET").route(get().to(reports::audit)))
        .service(at("/v1/providers", "GET").route(get().to(shown::providers)))
        .service(at("/v1/status", "GET").route(get().to(status::status)))
        .service(at("/v1/config", "GET").route(get().to(shown::config)))
        .service(at("/v1/models", "GET").route(get().to(shown::models)))
        .service(at("/v1/openapi.json", "GET").route(get().to(openapi::document)))
        .service(at("/v1/explain", "POST").route(post().to(explain::question)))
        .service(at("/v1/config/reload", "POST").route(post().to(shown::reload)))
        .service(many(at("/v1/projects", "GET, POST"), GroupKind::Project))
        .service(one(at("/v1/projects/{name}", "GET, PATCH, DELETE"), GroupKind::Project))
        .service(many(at("/v1/tag-sets", "GET, POST"), GroupKind::Tags))
        .service(one(at("/v1/tag-sets/{name}", "GET, PATCH, DELETE"), GroupKind::Tags))
        .default_service(web::to(unknown_path));
    let routes = routes
        .app_data(web::Data::from(Arc::clone(&admin.store)))
        .app_data(web::Data::from(Arc::clone(&admin.table)))
        .app_data(web::Data::new(admin.key.clone()))
        .app_data(web::Data::from(Arc::clone(&admin.shown)))
        .wrap(from_fn(auth::require_admin))
        // Keys and ledger rows belong in no cache.
        .wrap(DefaultHeaders::new().add((CACHE_CONTROL, HeaderValue::from_static("no-store"))));
    cfg.service(routes);
}

/// A path, and what is said of methods that it does not have.
fn at(path: &str, allow: &'static str) -> Resource {
    let refuse = move || async move { Err::<HttpResponse, _>(Fault(Error::MethodNotAllowed { allow })) };
    Resource::new(path).default_service(web::to(refuse))
}

/// All groups of a kind.
fn many(resource: Resource, kind: GroupKind) -> Resource {
    resource
        .route(web::get().to(move |request, store, table| groups::list(kind, request, store, table)))
        .route(
            web::post()
                .to(move |request, body, store, table| groups::create(kind, request, body, store, table)),
        )
}

/// One group of a kind.
fn one(resource: Resource, kind: GroupKind) -> Resource {
    resource
        .route(web::get().to(move |name, store, table| groups::get(kind, name, store, table)))
        .route(web::patch().to(move |request, name, body, store, table| {
            groups::update(kind, request, name, body, store, table)
        }))
        .route(
            web::delete()
                .to(move |request, name, store, table| groups::delete(kind, request, name, store, table)),
        )
}

async fn unknown_path() -> Result<HttpResponse, Fault> {
    Err(Fault(Error::NotFound(
        "There is no such management path. See the README for those there are.".to_owned(),
    )))
}

/// What the client is told of a failure of the store; the log is told the rest, here and only here.
fn store_fault(error: StoreError) -> Fault {
    if !matches!(error, StoreError::Refused(_)) {
        tracing::error!(%error, "management request failed");
    }
    Fault(error.into())
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
