//! Handlers of what the process runs by: configuration, providers, catalogue.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::Addr;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::super::reply::Fault;
use super::query::Params;
use super::standings;
use super::status::Overview;
use crate::actors::live::{Current, Live, NotReloaded, Reloaded, Reloads};
use crate::actors::standing::Standings;
use crate::actors::supervisor::Supervisor;
use crate::catalog::{Capability, Model, Offer};
use crate::config::Problem;
use crate::error::Error;
use crate::policy::vault::Vault;

type Reply = Result<HttpResponse, Fault>;

/// What the process runs by, and how it is asked to read that again.
pub struct Shown {
    /// What is in force.
    pub live: Live,
    /// How providers do.
    pub standings: Standings,
    /// Asks for a reload.
    pub reloads: Reloads,
    /// The cells, any of which can decide as all do.
    pub cells: Arc<Mutex<Vec<Addr<Supervisor>>>>,
    /// Reasoning of earlier answers.
    pub vault: Arc<Vault>,
    /// Its numbers.
    pub overview: Overview,
}

/// Reads the configuration again.
pub(super) async fn reload(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    match shown.reloads.reload().await {
        Ok(Reloaded { changed, start_only, warnings }) => Ok(HttpResponse::Ok()
            .json(json!({"changed": changed, "start_only": start_only, "warnings": warnings}))),
        Err(NotReloaded::Wrong(problems)) => {
            let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
            let message = format!(
                "The configuration was not taken; the old one stays in force. {}",
                problems.join(" \u{2022} ")
            );
            Err(Fault(Error::invalid_code(message, None, "invalid_configuration")))
        }
        Err(NotReloaded::Busy(why)) => {
            let message = format!("Nothing was reloaded: {why}. Try again.");
            Err(Fault(Error::Overloaded { message, retry_after: Duration::from_secs(1) }))
        }
        Err(NotReloaded::Never(why)) => Err(Fault(Error::Conflict(format!("Nothing was reloaded: {why}.")))),
        Err(NotReloaded::Late) => {
            let message = "The reload takes too long; the log says how it ends.";
            Err(Fault(Error::Timeout(message.to_owned())))
        }
    }
}

/// The effective configuration.
pub(super) async fn config(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    Ok(HttpResponse::Ok().json(&shown.live.load().settings.effective))
}

/// Configured providers by id.
pub(super) async fn providers(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    Params::parse(request.query_string())?.finish()?;
    let current = shown.live.load_full();
    let (effective, now) = (&current.settings.effective, Instant::now());
    let standings = shown.standings.providers(now);
    let data: Vec<_> = standings.iter().map(|one| standings::provider(one, effective, now)).collect();
    Ok(HttpResponse::Ok().json(json!({"data": data, "next_cursor": null})))
}

/// The catalogue by canonical name, with prices in USD per token and where they came from.
pub(super) async fn models(request: HttpRequest, shown: web::Data<Shown>) -> Reply {
    let mut params = Params::parse(request.query_string())?;
    let (cursor, limit) = (params.text("cursor"), params.limit()?);
    params.finish()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = |model: &&Arc<Model>| cursor.as_deref().is_none_or(|cursor| *model.id > *cursor);
    let current = shown.live.load_full();
    let mut page: Vec<_> =
        current.router.catalog().models().filter(after).take(limit.saturating_add(1)).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next_cursor = page.last().filter(|_| more).map(|model| &*model.id);
    let data: Vec<_> = page.iter().map(|model| model_view(model, &current)).collect();
    Ok(HttpResponse::Ok().json(json!({"data": data, "next_cursor": next_cursor})))
}

fn model_view(model: &Model, current: &Current) -> Value {
    let offers: Vec<_> = model.offers.iter().map(|offer| offer_view(offer, current)).collect();
    json!({"id": &*model.id, "auto": model.auto, "offers": offers})
}

fn offer_view(offer: &Offer, current: &Current) -> Value {
    let configured =
        current.settings.providers.values().filter(|provider| provider.catalog == offer.provider);
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
        "source": current.router.catalog().source(),
    })
}
