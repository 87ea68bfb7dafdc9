//! GET /v1/models and /v1/models/{id}: the catalogue that the caller's key may use, in OpenAI's shape and more.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::call_meter::CallMeter;
use super::door;
use super::front::Front;
use super::reply::{Builder, error_response};
use crate::catalog::{Capabilities, Model, Offer, Price};
use crate::error::Error;
use crate::money::{Usd, format_units};
use crate::store::KeyEntry;

/// Route pattern of the list.
pub const LIST: &str = "/v1/models";
/// Route pattern of one model; ids may hold slashes.
pub const ONE: &str = "/v1/models/{id:.*}";

/// GET /v1/models
pub async fn list(request: HttpRequest, front: Data<Front>) -> HttpResponse {
    respond(&request, &front, LIST, |key| {
        let models: Vec<Value> =
            front.router.catalog().models().filter_map(|model| describe(model, &front, key)).collect();
        let aliases = front.router.aliases().map(alias);
        let data: Vec<Value> = std::iter::once(alias("auto")).chain(aliases).chain(models).collect();
        Ok(json!({"object": "list", "data": data}))
    })
}

/// GET /v1/models/{id}
pub async fn one(request: HttpRequest, id: Path<String>, front: Data<Front>) -> HttpResponse {
    respond(&request, &front, ONE, |key| {
        let router = &front.router;
        if *id == "auto" || router.aliases().any(|name| name == *id) {
            return Ok(alias(&id));
        }
        let model = router.catalog().model(&id).cloned().or_else(|| pinned(&id, &front));
        let found = model.and_then(|model| describe(&model, &front, key));
        found.ok_or_else(|| Error::ModelNotFound { model: id.chars().take(256).collect(), suggestion: None })
    })
}

/// Authenticates, answers, and counts.
fn respond(
    request: &HttpRequest,
    front: &Front,
    route: &'static str,
    answer: impl FnOnce(&KeyEntry) -> Result<Value, Error>,
) -> HttpResponse {
    let id = door::request_id(request.headers());
    let mut meter = CallMeter::start(&front.outbox, &front.gauges.in_flight, route, Arc::clone(&id));
    let key = door::authenticate(request.headers(), &front.keys, door::now_ms());
    if let Ok(key) = &key {
        meter.caller(&key.caller.key_id);
    }
    let answered = key.and_then(|key| answer(&key));
    match answered {
        Ok(value) => {
            meter.completed();
            Builder::new(StatusCode::OK).header("x-request-id", &id).finish_with(value.to_string())
        }
        Err(error) => {
            meter.failed(&error);
            error_response(&error, Some(&id))
        }
    }
}

/// `provider/name` as a model with that one offer.
fn pinned(id: &str, front: &Front) -> Option<Arc<Model>> {
    let (provider, name) = id.split_once('/')?;
    let upstream = front.router.upstreams().iter().find(|upstream| &*upstream.id == provider)?;
    let offer = front.router.catalog().offer(&upstream.catalog, name)?;
    Some(Arc::new(Model { id: Arc::from(id), auto: false, offers: vec![Arc::clone(offer)] }))
}

/// An alias or `auto`: a name of the gateway's own.
fn alias(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "llm-gateway"})
}

/// One model, if the key may use it at a provider that can be reached.
fn describe(model: &Model, front: &Front, key: &KeyEntry) -> Option<Value> {
    let mut providers = Vec::new();
    let mut offers: Vec<&Arc<Offer>> = Vec::new();
    for offer in &model.offers {
        let upstreams = front.router.upstreams().iter();
        for upstream in
            upstreams.filter(|upstream| upstream.catalog == offer.provider && upstream.credentialed)
        {
            if key.may_use(&offer.model, &upstream.id) {
                providers.push(provider(&upstream.id, offer));
                offers.push(offer);
            }
        }
    }
    let cheapest = offers.iter().min_by_key(|offer| {
        offer.price.as_ref().and_then(|price| price.blended()).map_or(i64::MAX, Usd::units)
    })?;
    let all = offers
        .iter()
        .flat_map(|offer| offer.capabilities.iter())
        .fold(Capabilities::NONE, Capabilities::with);
    Some(json!({
        "id": &*model.id,
        "object": "model",
        "created": 0,
        "owned_by": &*cheapest.provider,
        "context_length": offers.iter().filter_map(|offer| offer.context_window).max(),
        "max_output_tokens": offers.iter().filter_map(|offer| offer.max_output).max(),
        "pricing": cheapest.price.as_ref().map(|price| pricing(price)),
        "capabilities": names(all),
        "providers": providers,
    }))
}

/// One provider of a model.
fn provider(id: &str, offer: &Offer) -> Value {
    json!({
        "id": id,
        "model": format!("{id}/{}", offer.model),
        "upstream_model": &*offer.upstream,
        "context_length": offer.context_window,
        "max_output_tokens": offer.max_output,
        "pricing": offer.price.as_ref().map(|price| pricing(price)),
        "capabilities": names(offer.capabilities),
        "retires": offer.retires.as_deref(),
    })
}

fn names(capabilities: Capabilities) -> Vec<&'static str> {
    capabilities.iter().map(crate::catalog::Capability::name).collect()
}

/// USD per token (and per request or search) as decimal strings, under the names that clients know.
fn pricing(price: &Price) -> Value {
    let rates = &price.rates;
    let mut out = Map::new();
    let mut add = |name: &str, value: Option<Usd>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), Value::String(format_units(i128::from(value.units()))));
        }
    };
    add("prompt", rates.input);
    add("completion", rates.output);
    add("input_cache_read", rates.cache_read);
    add("input_cache_write", rates.cache_write_5m);
    add("input_cache_write_1h", rates.cache_write_1h);
    add("internal_reasoning", rates.reasoning);
    add("audio", rates.audio_input);
    add("image", rates.image_input);
    add("request", price.per_request);
    add("web_search", price.web_search);
    Value::Object(out)
}
