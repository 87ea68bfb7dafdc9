//! How a key is shown: the same in the API, on the command line and in the audit trail. Never its digest.

use serde_json::{Map, Value, json};

use super::budget_json::budget_json;
use super::key::FreshKey;
use super::rows::KeyRecord;
use crate::chat::Routing;
use crate::rfc3339::format_ms;

/// A key as JSON, without its text.
pub fn key_json(record: &KeyRecord) -> Value {
    let spec = &record.spec;
    let tags: Map<String, Value> =
        spec.tags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "id": record.id,
        "prefix": record.prefix,
        "name": spec.name,
        "project": spec.project,
        "created_at": format_ms(record.created_ms),
        "expires_at": spec.expires_ms.map(format_ms),
        "revoked_at": record.revoked_ms.map(format_ms),
        "models": { "allow": spec.models.allow, "deny": spec.models.deny },
        "rpm": spec.limits.rpm,
        "tpm": spec.limits.tpm,
        "concurrency": spec.limits.concurrency,
        "budget": spec.budget.as_ref().map(budget_json),
        "markup_percent": spec.markup.map(|markup| markup.to_string()),
        "share": spec.handling.share,
        "max_priority": spec.handling.max_priority.as_str(),
        "routing": spec.handling.routing.map(Routing::as_str),
        "explain": spec.handling.explain,
        "tags": tags,
        "managed_by": record.managed.as_str(),
    })
}

/// A key as JSON with its text, which is shown this once.
pub fn key_json_with_text(record: &KeyRecord, key: &FreshKey) -> Value {
    let mut shown = key_json(record);
    if let Some(fields) = shown.as_object_mut() {
        fields.shift_insert(1, "key".to_owned(), Value::from(key.expose()));
    }
    shown
}
