//! How a group is shown: the same in the API and in the audit trail.

use serde_json::{Map, Value, json};

use super::budget_json::budget_json;
use super::group::{GroupKind, GroupRecord, tags_of};
use crate::rfc3339::format_ms;

/// A group as JSON. A set of tags shows its tags; only a project has a markup and a request log.
pub fn group_json(record: &GroupRecord) -> Value {
    let spec = &record.spec;
    let mut shown = json!({
        "name": record.name,
        "created_at": format_ms(record.created_ms),
        "expires_at": spec.expires_ms.map(format_ms),
        "deleted_at": record.deleted_ms.map(format_ms),
        "models": { "allow": spec.models.allow, "deny": spec.models.deny },
        "rpm": spec.limits.rpm,
        "tpm": spec.limits.tpm,
        "concurrency": spec.limits.concurrency,
        "budget": spec.budget.as_ref().map(budget_json),
        "managed_by": record.managed.as_str(),
    });
    let own = match record.kind {
        GroupKind::Project => json!({
            "markup_percent": spec.markup.map(|markup| markup.to_string()),
            "request_log": spec.request_log.as_str(),
        }),
        GroupKind::Tags => {
            let tags = tags_of(&record.name).into_iter().map(|(name, value)| (name, Value::from(value)));
            json!({ "tags": tags.collect::<Map<_, _>>() })
        }
    };
    if let (Some(fields), Value::Object(own)) = (shown.as_object_mut(), own) {
        fields.extend(own);
    }
    shown
}
