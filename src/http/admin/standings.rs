//! How a provider stands, as JSON: its row, how full it is, its credentials (masked), the health of its models.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::actors::standing::{ProviderStanding, TargetStanding};
use crate::policy::health::{Reading, State};
use crate::policy::pool::CredentialStanding;

/// One provider; `config` is the effective configuration, whose secrets are masked.
pub(super) fn provider(standing: &ProviderStanding, config: &Value, now: Instant) -> Value {
    let ProviderStanding { provider, probes_fail, load, credentials, targets, .. } = standing;
    let credential = config.get("providers").and_then(|all| all.get(&*provider.id)?.get("api_key"));
    let targets: Vec<Value> = targets.iter().map(|one| target(one, now)).collect();
    json!({
        "id": &*provider.id,
        "wire": provider.wire(),
        "base_url": provider.base_url,
        "catalog": &*provider.catalog,
        "credential": credential,
        "has_credential": provider.has_credential(),
        "max_in_flight": provider.admission.ceiling,
        "probe": probes_fail.map(|fail| if fail { "failing" } else { "well" }),
        "health": health(standing, now),
        "in_flight": load.in_flight,
        "in_flight_limit": load.limit,
        "queued": load.queued,
        "queue_limit": provider.admission.queue,
        "credentials": credentials.iter().map(self::credential).collect::<Vec<_>>(),
        "targets": targets,
    })
}

/// One word for all of it: `down` when nothing of it can be asked, `degraded` when not all can, `unknown` while
/// nothing was asked.
fn health(standing: &ProviderStanding, now: Instant) -> &'static str {
    let ProviderStanding { probes_fail, credentials, targets, .. } = standing;
    let refused = credentials.iter().filter(|one| one.refused_for.is_some()).count();
    let out = targets.iter().filter(|one| is_out(&one.reading, now)).count();
    if *probes_fail == Some(true) || refused == credentials.len() || (out > 0 && out == targets.len()) {
        "down"
    } else if refused + out > 0 || credentials.iter().any(|one| !one.resting.is_empty()) {
        "degraded"
    } else if targets.is_empty() {
        "unknown"
    } else {
        "healthy"
    }
}

fn is_out(reading: &Reading, now: Instant) -> bool {
    reading.state != State::Closed || reading.ejected_until.is_some_and(|until| now < until)
}

fn credential(standing: &CredentialStanding) -> Value {
    let CredentialStanding { name, weight, refused_for, resting, limits, in_flight } = standing;
    let state = match (refused_for, resting.is_empty()) {
        (Some(_), _) => "refused",
        (None, false) => "resting",
        (None, true) => "usable",
    };
    let resting: Vec<Value> =
        resting.iter().map(|(model, left)| json!({"model": model, "for_ms": ms(*left)})).collect();
    json!({
        "name": &**name,
        "state": state,
        "refused_for_ms": refused_for.map(ms),
        "resting": resting,
        "weight": weight,
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "concurrency": limits.concurrency,
        "in_flight": in_flight,
    })
}

fn target(standing: &TargetStanding, now: Instant) -> Value {
    let Reading { success_rate, ttft_ms, tokens_per_s, attempts, state, ejected_until, .. } =
        standing.reading;
    let left = ejected_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero());
    json!({
        "upstream_model": &*standing.model,
        "breaker": state.as_str(),
        "ejected_for_ms": left.map(ms),
        "success_rate": success_rate.map(thousandths),
        "ttft_ms": ttft_ms.map(thousandths),
        "tokens_per_s": tokens_per_s.map(thousandths),
        "attempts": thousandths(attempts),
    })
}

/// Three places are enough for eyes.
fn thousandths(number: f32) -> f64 {
    (f64::from(number) * 1000.0).round() / 1000.0
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
