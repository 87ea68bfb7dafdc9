//! How rows look in the API: RFC 3339 times, money as decimal strings. Pure.

use serde_json::{Map, Value, json};

use crate::money::format_units;
use crate::policy::budget::{Standing, Window};
use crate::rfc3339::format_ms;
use crate::store::{AuditRow, GroupBy, GroupValue, LedgerRow, Page, TokenCounts, UsageRow};

/// `{"data": [...], "next_cursor": ...}`.
pub(super) fn list<T>(page: &Page<T>, view: impl Fn(&T) -> Value) -> Value {
    json!({ "data": page.data.iter().map(view).collect::<Vec<_>>(), "next_cursor": page.next_cursor })
}

/// What is shown of a key or group, with how its budget stands; null where there is none, or none in force yet.
pub(super) fn with_status(mut shown: Value, standing: Option<Standing>) -> Value {
    let status = standing.map(|Standing { window, spent, reserved, left, .. }| {
        let bounded = window != Window::ALWAYS;
        json!({
            "window_start": bounded.then(|| format_ms(window.start_ms)),
            "window_end": bounded.then(|| format_ms(window.end_ms)),
            "spent_usd": spent.to_string(),
            "reserved_usd": reserved.to_string(),
            "left_usd": left.to_string(),
        })
    });
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("budget_status".to_owned(), status.unwrap_or_default());
    }
    shown
}

/// A ledger row.
pub(super) fn request(row: &LedgerRow) -> Value {
    let tokens = |of: fn(&TokenCounts) -> u64| row.tokens.as_ref().map(of);
    json!({
        "request_id": row.request_id,
        "call_id": row.call_id.to_string(),
        "attempt": row.attempt,
        "time": format_ms(row.time_ms),
        "key_id": row.key_id,
        "project": row.project,
        "requested_model": row.requested_model,
        "provider": row.provider,
        "model": row.model,
        "upstream_model": row.upstream_model,
        "status": (row.status != 0).then_some(row.status),
        "outcome": row.outcome,
        "error": row.error,
        "stream": row.stream,
        "ttft_ms": row.ttft_ms,
        "duration_ms": row.duration_ms,
        "prompt_tokens": tokens(|tokens| tokens.prompt),
        "cached_tokens": tokens(|tokens| tokens.cached),
        "cache_write_tokens": tokens(|tokens| tokens.cache_write),
        "completion_tokens": tokens(|tokens| tokens.completion),
        "reasoning_tokens": tokens(|tokens| tokens.reasoning),
        "cost_usd": row.cost.map(|cost| cost.to_string()),
        "charged_usd": row.charged.map(|charged| charged.to_string()),
        "unpriced": row.cost.is_none(),
        "estimated": row.estimated,
        "tags": tags(&row.tags),
    })
}

/// One group's totals.
pub(super) fn usage(row: &UsageRow, groups: &[GroupBy]) -> Value {
    let mut view = Map::new();
    for (group, value) in groups.iter().zip(&row.groups) {
        let value = match value {
            GroupValue::Name(name) => json!(name),
            GroupValue::Time(ms) => Value::from(format_ms(*ms)),
        };
        view.insert(group.as_str().to_owned(), value);
    }
    for (name, count) in [
        ("requests", row.requests),
        ("errors", row.errors),
        ("unpriced", row.unpriced),
        ("prompt_tokens", row.tokens.prompt),
        ("cached_tokens", row.tokens.cached),
        ("cache_write_tokens", row.tokens.cache_write),
        ("completion_tokens", row.tokens.completion),
        ("reasoning_tokens", row.tokens.reasoning),
    ] {
        view.insert(name.to_owned(), Value::from(count));
    }
    view.insert("cost_usd".to_owned(), Value::from(format_units(row.cost_units)));
    view.insert("charged_usd".to_owned(), Value::from(format_units(row.charged_units)));
    Value::Object(view)
}

/// One change.
pub(super) fn audit(row: &AuditRow) -> Value {
    let state =
        |text: &Option<String>| text.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "id": row.id,
        "time": format_ms(row.time_ms),
        "actor": row.actor,
        "action": row.action,
        "object": row.object,
        "before": state(&row.before),
        "after": state(&row.after),
    })
}

/// Tags as an object; should a ledger row hold a name twice, the later value shows.
fn tags(tags: &[(String, String)]) -> Value {
    tags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}
