//! GET /status: the process at a glance, for eyes. The last minute is Metrics' count; the rest are shared numbers.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::Recipient;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::super::readiness::Readiness;
use super::super::reply::Fault;
use super::query::Params;
use super::shown::Shown;
use crate::actors::gauges::Gauges;
use crate::actors::metrics::{Lately, Look, WINDOW_S};
use crate::error::Error;
use crate::journal::Standing;
use crate::money::format_units;

/// How long Metrics may take.
const DEADLINE: Duration = Duration::from_secs(1);
/// Seconds of the shorter rate.
const SHORT_S: usize = 10;

/// Where the numbers come from.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Who knows the last minute.
    pub metrics: Recipient<Look>,
    /// Process-wide numbers.
    pub gauges: Gauges,
    /// Whether calls are taken.
    pub readiness: Arc<Readiness>,
    /// Where clients come in, once they can.
    pub public: Arc<OnceLock<SocketAddr>>,
    /// When the process started.
    pub started: Instant,
}

/// The handler.
pub(super) async fn status(request: HttpRequest, shown: web::Data<Shown>) -> Result<HttpResponse, Fault> {
    Params::parse(request.query_string())?.finish()?;
    let overview = &shown.overview;
    let asked = actix_rt::time::timeout(DEADLINE, overview.metrics.send(Look)).await;
    let Ok(Ok(lately)) = asked else {
        let message = "The metrics actor does not answer. Try again; if that stays so, restart the gateway.";
        return Err(Fault(Error::Overloaded {
            message: message.to_owned(),
            retry_after: Duration::from_secs(1),
        }));
    };
    Ok(HttpResponse::Ok().json(view(overview, &lately)))
}

fn view(overview: &Overview, lately: &Lately) -> Value {
    let Overview { gauges, readiness, public, started, .. } = overview;
    let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum::<u64>();
    let (calls, failed) = (sum(&lately.calls), sum(&lately.failed));
    let short = sum(lately.calls.get(lately.calls.len().saturating_sub(SHORT_S)..).unwrap_or_default());
    let quantiles = |[p50, p95]: [Option<u64>; 2]| json!({"p50": p50.map(ms), "p95": p95.map(ms)});
    let up = |up: bool| if up { "ok" } else { "degraded" };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "stage": readiness.stage().as_str(),
        "uptime_s": started.elapsed().as_secs(),
        "listen": public.get().map(SocketAddr::to_string),
        "in_flight": gauges.in_flight.get(),
        "calls_per_s": {"last_10s": short as f64 / SHORT_S as f64, "last_60s": calls as f64 / WINDOW_S as f64},
        "error_rate": (calls > 0).then(|| failed as f64 / calls as f64),
        "duration_ms": quantiles(lately.duration_us),
        "ttft_ms": quantiles(lately.first_token_us),
        "charged_usd_last_60s": format_units(lately.charged_units),
        "series": {"calls": lately.calls, "failed": lately.failed},
        "unsettled_receipts": gauges.unsettled_receipts(),
        "journal": match gauges.journal.standing() {
            Standing::Ok => "ok",
            Standing::Full => "full",
            Standing::Failing => "failing",
        },
        "journal_lag_s": gauges.journal_lag_s(),
        "store": up(readiness.store_up()),
        "memory": up(readiness.memory_up()),
        "redis": gauges.fleet.get().map(|fleet| up(fleet.is_up())),
    })
}

/// Milliseconds with one place.
fn ms(us: u64) -> f64 {
    (us as f64 / 100.0).round() / 10.0
}
