//! Handlers of what the process runs by: configuration, providers, catalogue. Read at the start, never written.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::super::reply::Fault;
use super::query::Params;
use crate::catalog::{Capability, Catalog, Model, Offer};
use crate::config::{Provider, Settings};

type Reply = Result<HttpResponse, Fault>;

/// What does not change while the process runs.
#[derive(Debug, Default)]
pub struct Shown {
    config: Value,
    providers: Vec<Arc<Provider>>,
    catalog: Arc<Catalog>,
}

impl Shown {
    /// From the settings, whose effective form has its secrets masked already.
    pub fn of(settings: &Settings, catalog: Arc<Catalog>) -> Self {
        let providers = settings.providers.values().cloned().collect();
        Self { config: settings.effective.clone(), providers, catalog }
    }
}

/// The effective configuration.
pub(super) async fn config(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    Ok(HttpResponse::Ok().json(&shown.config))
}

/// Configured providers by id.
pub(super) async fn providers(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    let data: Vec<_> =
        shown.providers.iter().map(|provider| provider_view(provider, &shown.config)).collect();
    Ok(HttpResponse::Ok().json(json!({"data": data, "next_cursor": null})))
}

/// The catalogue by canonical name, with prices in USD per token and where they came from.
pub(super) async fn models(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let (cursor, limit) = (params.text("cursor"), params.limit()?);
    params.finish()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = |model: &&Arc<Model>| cursor.as_deref().is_none_or(|cursor| *model.id > *cursor);
    let mut page: Vec<_> = shown.catalog.models().filter(after).take(limit.saturating_add(1)).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next_cursor = page.last().filter(|_| more).map(|model| &*model.id);
    let data: Vec<_> = page.iter().map(|model| model_view(model, &shown)).collect();
    Ok(HttpResponse::Ok().json(json!({"data": data, "next_cursor": next_cursor})))
}

fn provider_view(provider: &Provider, config: &Value) -> Value {
    let credential = config.get("providers").and_then(|all| all.get(&*provider.id)?.get("api_key"));
    json!({
        "id": &*provider.id,
        "wire": provider.wire(),
        "base_url": provider.base_url,
        "catalog": &*provider.catalog,
        "credential": credential,
        "has_credential": provider.has_credential(),
        "max_in_flight": provider.admission.ceiling,
    })
}

fn model_view(model: &Model, shown: &Shown) -> Value {
    let offers: Vec<_> = model.offers.iter().map(|offer| offer_view(offer, shown)).collect();
    json!({"id": &*model.id, "auto": model.auto, "offers": offers})
}

fn offer_view(offer: &Offer, shown: &Shown) -> Value {
    let configured = shown.providers.iter().filter(|provider| provider.catalog == offer.provider);
    let names: Vec<_> = offer.capabilities.iter().map(Capability::name).collect();
    json!({
        "provider": &*offer.provider,
        "configured_as": configured.map(|provider| &*provider.id).collect::<Vec<_>>(),
        "upstream_model": &*offer.upstream,
        "context_window": offer.context_window,
        "max_output": offer.max_output,
        "capabilities": names,
        "retires": offer.retires.as_deref(),
        "price": offer.price.as_deref(),
        "source": shown.catalog.source(),
    })
}
