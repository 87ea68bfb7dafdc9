//! Health on both listeners, metrics on the ops listener. The status page is beside it, in `status`.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{FromRequest, Handler, HttpResponse, Resource, web};
use serde_json::json;

use super::readiness::{Readiness, Stage};
use super::reply::error_response;
use crate::actors::metrics::{self, Scrape};
use crate::error::Error;

/// How long a scrape may take.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(1);

/// The routes of the ops listener that live here; `/admin` is configured beside it.
pub fn configure(cfg: &mut web::ServiceConfig, metrics: Recipient<Scrape>, readiness: Arc<Readiness>) {
    cfg.app_data(web::Data::new(metrics)).service(readable("/metrics", scrape));
    configure_health(cfg, readiness);
}

/// `/health/live` and `/health/ready`, for either listener.
pub fn configure_health(cfg: &mut web::ServiceConfig, readiness: Arc<Readiness>) {
    cfg.app_data(web::Data::from(readiness))
        .service(readable("/health/live", live))
        .service(readable("/health/ready", ready));
}

/// A path that can be read and nothing else.
fn readable<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output = HttpResponse> + Copy,
    Args: FromRequest + 'static,
{
    web::resource(path).route(web::get().to(handler)).route(web::head().to(handler)).default_service(web::to(
        || async { error_response(&Error::MethodNotAllowed { allow: "GET, HEAD" }, None) },
    ))
}

/// The exposition, from the Metrics actor.
async fn scrape(metrics: web::Data<Recipient<Scrape>>) -> HttpResponse {
    let refused = |message: String| {
        error_response(&Error::Overloaded { message, retry_after: Duration::from_secs(1) }, None)
    };
    match actix_rt::time::timeout(SCRAPE_DEADLINE, metrics.send(Scrape)).await {
        Ok(Ok(Ok(text))) => {
            HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(text)
        }
        Ok(Ok(Err(why))) => refused(format!("The metrics could not be rendered: {why}.")),
        Ok(Err(_)) => {
            refused("The metrics actor is gone. Restart the gateway to get metrics back.".to_owned())
        }
        Err(_) => refused("The metrics were not ready in time. Scrape again.".to_owned()),
    }
}

/// 200 while the process runs; looks at nothing else.
async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({"status": "live"}))
}

/// 200 when the process should be sent calls. A failing store is in the body and leaves the status alone.
async fn ready(readiness: web::Data<Readiness>) -> HttpResponse {
    let stage = readiness.stage();
    let mut reply =
        if stage == Stage::Ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    let word = |up| if up { "ok" } else { "degraded" };
    reply.insert_header((CACHE_CONTROL, "no-store")).json(json!({
        "status": stage.as_str(),
        "checks": {"store": word(readiness.store_up()), "billing": word(readiness.billing_up()), "memory": word(readiness.memory_up()), "journal": word(readiness.journal_up())},
    }))
}
