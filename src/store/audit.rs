//! How a key is written into the audit trail: what an operator chose and what became of it, never its digest.

use serde_json::{Map, Value, json};

use super::rows::KeyRecord;
use crate::rfc3339::format_ms;

/// The JSON of a key for `before` and `after`.
pub(super) fn key_json(record: &KeyRecord) -> String {
    let spec = &record.spec;
    let tags: Map<String, Value> =
        spec.tags.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "prefix": record.prefix,
        "name": spec.name,
        "project": spec.project,
        "expires_at": spec.expires_ms.map(format_ms),
        "revoked_at": record.revoked_ms.map(format_ms),
        "models": { "allow": spec.models.allow, "deny": spec.models.deny },
        "rpm": spec.limits.rpm,
        "tpm": spec.limits.tpm,
        "concurrency": spec.limits.concurrency,
        "tags": tags,
    })
    .to_string()
}
