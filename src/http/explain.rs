//! An explanation as JSON: candidates with what their place depends on, the plan, the request that would go upstream.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::reply::error_body;
use crate::dispatch::{Explained, Shown};
use crate::error::Error;
use crate::policy::route::{Considered, Figures, Hedge, Verdict};

/// Longest body that is shown, bytes.
const BODY_SHOWN_MAX: usize = 256 * 1024;

/// Renders an explanation.
pub fn render(model: &str, explained: &Explained) -> Value {
    let now = Instant::now();
    let Explained { explanation, request } = explained;
    let candidates: Vec<Value> =
        explanation.considered.iter().map(|considered| candidate(considered, now)).collect();
    let (plan, hedge, refusal) = match &explanation.plan {
        Ok(plan) => {
            let target = |target: &crate::policy::route::Target| {
                json!({
                    "provider": &*target.provider,
                    "model": &*target.model,
                    "upstream_model": &*target.upstream,
                })
            };
            let hedge = plan.hedge.map(|hedge| match hedge {
                Hedge::P95 => json!("after the 95th percentile of its times to the first token"),
                Hedge::After(after) => json!({"after_ms": ms(after)}),
            });
            (plan.targets.iter().map(target).collect::<Vec<_>>(), hedge, Value::Null)
        }
        Err(error) => (Vec::new(), None, error_value(error)),
    };
    json!({
        "object": "llm_gateway.explanation",
        "requested_model": model,
        "candidates": candidates,
        "plan": plan,
        "hedge": hedge,
        "refusal": refusal,
        "request": request.as_ref().map(|request| match request {
            Ok(shown) => upstream_request(shown),
            Err(error) => json!({"error": error_value(error)}),
        }),
    })
}

fn candidate(considered: &Considered, now: Instant) -> Value {
    let Considered { provider, model, upstream, verdict } = considered;
    let mut shown = json!({
        "provider": &**provider,
        "model": &**model,
        "upstream_model": &**upstream,
    });
    let more = match verdict {
        Verdict::Refused(why) => json!({"refused": why}),
        Verdict::Candidate(figures) => figures_value(figures, now),
    };
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

fn figures_value(figures: &Figures, now: Instant) -> Value {
    let Figures { score, price, ejected, fits, reading, load, credentials: (usable, all) } = figures;
    let left = reading.ejected_until.map(|until| until.saturating_duration_since(now));
    json!({
        "refused": null,
        "score": score,
        "price_usd_per_token": price.map(|price| price.to_string()),
        "ejected": ejected,
        "ejected_for_ms": left.filter(|left| !left.is_zero()).map(ms),
        "breaker": reading.state.as_str(),
        "has_room": fits,
        "success_rate": reading.success_rate,
        "ttft_ms": reading.ttft_ms,
        "tokens_per_s": reading.tokens_per_s,
        "attempts": reading.attempts,
        "in_flight": load.in_flight,
        "in_flight_limit": load.limit,
        "queued": load.queued,
        "credentials_usable": usable,
        "credentials": all,
    })
}

fn upstream_request(shown: &Shown) -> Value {
    let Shown { head, body, dropped } = shown;
    // As values it takes many times the room.
    let small = (body.len() <= BODY_SHOWN_MAX).then_some(body);
    let shown_body = small.and_then(|body| serde_json::from_slice::<Value>(body).ok());
    let headers: serde_json::Map<String, Value> =
        head.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "method": "POST",
        "url": head.url,
        "headers": headers,
        "body": shown_body.unwrap_or(Value::Null),
        "body_bytes": body.len(),
        "dropped_params": dropped,
    })
}

/// An error as the client of the request itself would get it.
fn error_value(error: &Error) -> Value {
    let body: Value = serde_json::from_slice(&error_body(error, None)).unwrap_or_default();
    let mut error_value = body.get("error").cloned().unwrap_or_default();
    if let Some(fields) = error_value.as_object_mut() {
        fields.insert("status".to_owned(), error.class().status.into());
    }
    error_value
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
