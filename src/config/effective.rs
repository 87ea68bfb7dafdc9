//! The configuration as it holds, for `check` and GET /admin/v1/config: defaults included, secrets masked.

use std::collections::BTreeMap;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::api_keys::ApiKey;
use super::governance;
use super::request_log;
use super::resolve::Wanted;
use super::schema::{self, Kind};
use super::secret;
use super::settings::{AuthStyle, BreakerRule, OnCancel, Provider, Settings};
use super::timeouts;
use crate::chat::Routing;

/// Renders `settings`, in the shape of the file they came from.
pub fn render(tree: &Value, settings: &Settings, wanted: &BTreeMap<String, Wanted>) -> Value {
    let mut shown = Map::new();
    for key in schema::keys().filter(|key| !key.path.contains(['*', '#'])) {
        let given =
            key.path.split('.').try_fold(tree, |at, name| at.get(name)).filter(|value| !value.is_null());
        let value = given.map(|value| masked(key.kind, value)).or_else(|| key.default.map(Value::from));
        let Some(value) = value else { continue };
        put(&mut shown, key.path, value);
    }
    let providers: Map<String, Value> = settings
        .providers
        .iter()
        .map(|(id, provider)| {
            (id.clone(), provider_shown(provider, wanted.get(id).map(|wanted| &wanted.row)))
        })
        .collect();
    shown.insert("providers".to_owned(), Value::Object(providers));
    let targets = |alias: &super::settings::Alias| -> Vec<Value> {
        alias.targets.iter().map(|target| json!({"model": target.model, "weight": target.weight})).collect()
    };
    let models: Map<String, Value> = settings
        .aliases
        .iter()
        .map(|(name, alias)| {
            let shown = json!({
                "targets": targets(alias),
                "routing": alias.routing.map(Routing::as_str),
                "hedge": alias.hedge,
                "hedge_after": (!alias.hedge_after.is_zero()).then(|| ms(alias.hedge_after)),
            });
            (name.clone(), shown)
        })
        .collect();
    shown.insert("models".to_owned(), Value::Object(models));
    governance::shown(tree, &mut shown);
    let telemetry = &settings.telemetry;
    put(&mut shown, "telemetry.service_name", telemetry.service_name.clone().into());
    put(&mut shown, "telemetry.resource", json!(telemetry.resource));
    let names = telemetry.headers.keys().map(|name| (name.clone(), "***".into()));
    put(&mut shown, "telemetry.otlp.headers", Value::Object(names.collect()));
    put(&mut shown, "telemetry.otlp.endpoint", json!(telemetry.endpoint));
    request_log::shown(tree, &mut shown);
    Value::Object(shown)
}

/// Puts a value where a path leads.
fn put(table: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        Some((section, rest)) => {
            let section = table.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(section) = section {
                put(section, rest, value);
            }
        }
        None => {
            table.insert(path.to_owned(), value);
        }
    }
}

fn masked(kind: Kind, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Secret | Kind::Header, Value::String(reference)) => secret::shown(reference).into(),
        (Kind::Secret | Kind::Header, _) => "***".into(),
        _ => value.clone(),
    }
}

pub fn ms(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn breaker(rule: &BreakerRule) -> Value {
    json!({
        "consecutive_failures": rule.consecutive_failures,
        "failure_rate": rule.failure_rate,
        "slow_call": (!rule.slow_call.is_zero()).then(|| ms(rule.slow_call)),
        "slow_rate": rule.slow_rate,
        "minimum_calls": rule.minimum_calls,
        "cool_down": ms(rule.cool_down),
        "cool_down_max": ms(rule.cool_down_max),
    })
}

/// Names and limits of several keys; of one there is nothing to tell.
fn keys_shown(provider: &Provider) -> Option<Vec<Value>> {
    let shown = |key: &ApiKey| {
        json!({
            "name": &*key.name, "key": "***", "weight": key.weight,
            "rpm": key.rpm, "tpm": key.tpm, "concurrency": key.concurrency,
        })
    };
    (!provider.api_keys.is_empty()).then(|| provider.api_keys.iter().map(shown).collect())
}

fn provider_shown(provider: &Provider, row: Option<&Value>) -> Value {
    let given_key = row.and_then(|row| row.get("api_key")).and_then(Value::as_str).map(secret::shown);
    let identity = row.and_then(|row| row.get("credentials")).and_then(Value::as_str);
    let api_key = match (given_key, provider.key(0)) {
        (_, Some(_)) if !provider.api_keys.is_empty() => format!("{} keys", provider.api_keys.len()),
        (Some(reference), Some(_)) => reference.to_owned(),
        (_, None) if provider.identity.is_some() => identity.unwrap_or("from the environment").to_owned(),
        (None, Some(_)) if provider.env.is_empty() => "from the environment".to_owned(),
        (None, Some(_)) => format!("from {}", provider.env.join(" or ")),
        (_, None) if provider.auth == AuthStyle::None => "none needed".to_owned(),
        (Some(reference), None) => format!("{reference} (not set)"),
        (None, None) => format!("{} (not set)", provider.env.join(" or ")),
    };
    let auth = match &provider.auth {
        AuthStyle::Bearer => "bearer".to_owned(),
        AuthStyle::Header(name) => format!("header:{name}"),
        AuthStyle::None => "none".to_owned(),
        AuthStyle::Aws => "aws".to_owned(),
        AuthStyle::Google => "google".to_owned(),
        AuthStyle::Entra => "entra".to_owned(),
    };
    let headers: Map<String, Value> =
        provider.headers.keys().map(|name| (name.clone(), "***".into())).collect();
    json!({
        "wire": provider.wire(),
        "base_url": provider.base_url,
        "auth": auth,
        "api_key": api_key,
        "api_keys": keys_shown(provider),
        "catalog": provider.catalog.as_ref(),
        "headers": headers,
        "max_in_flight": provider.admission.ceiling,
        "min_in_flight": provider.admission.floor,
        "adaptive_limit": provider.admission.adaptive,
        "queue": { "length": provider.admission.queue, "timeout": ms(provider.admission.queue_timeout) },
        "breaker": breaker(&provider.breaker),
        "on_cancel": provider.on_cancel.as_str(),
        "cancel_drain": match provider.on_cancel {
            OnCancel::Drain(most) => Some(ms(most)),
            _ => None,
        },
        "warm_connections": provider.tending.warm_connections,
        "probe": provider.tending.probe.as_ref().map(|probe| {
            json!({"path": probe.path, "interval": ms(probe.interval), "timeout": ms(probe.timeout)})
        }),
        "timeouts": timeouts::shown(&provider.timeouts),
        "model_timeouts": timeouts::models_shown(&provider.model_timeouts),
        "quirks": row.and_then(|row| row.get("quirks")).cloned().unwrap_or_else(|| json!({})),
    })
}
