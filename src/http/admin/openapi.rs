//! GET /openapi.json: the management API, described for machines. The routes are a table, the rest is built.

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

use crate::policy::budget::{ALERTS_MAX, Period};
use crate::request_log::Logged;
use crate::store::SHARE_MAX;

/// Method, path, summary, query parameters, schema of the body, success status.
type Row =
    (&'static str, &'static str, &'static str, &'static [&'static str], Option<&'static str>, &'static str);

const PAGE: &[&str] = &["cursor", "limit"];
const ROWS: &[&str] = &[
    "cursor",
    "limit",
    "key",
    "project",
    "tag",
    "model",
    "provider",
    "status",
    "outcome",
    "request_id",
    "from",
    "to",
    "format",
];

/// Every route of the management API.
#[rustfmt::skip]
pub(super) const ROUTES: &[Row] = &[
    ("get", "/keys", "Keys, newest first", PAGE, None, "200"),
    ("post", "/keys", "Make a key; its text is in this answer and never again", &[], Some("NewKey"), "201"),
    ("get", "/keys/{id}", "One key", &[], None, "200"),
    ("patch", "/keys/{id}", "Change a key: what is left out stays, null takes a limit away", &[], Some("KeyChanges"), "200"),
    ("delete", "/keys/{id}", "Revoke a key for good", &[], None, "200"),
    ("post", "/keys/{id}/rotate", "Give a key a new text; the old one ends at once", &[], None, "200"),
    ("get", "/projects", "Projects by name", PAGE, None, "200"),
    ("post", "/projects", "Make a project: limits that its keys share", &[], Some("NewProject"), "201"),
    ("get", "/projects/{name}", "One project", &[], None, "200"),
    ("patch", "/projects/{name}", "Change a project: what is left out stays, null takes a limit away", &[], Some("ProjectChanges"), "200"),
    ("delete", "/projects/{name}", "Delete a project that no live key belongs to", &[], None, "200"),
    ("get", "/tag-sets", "Sets of tags by name", PAGE, None, "200"),
    ("post", "/tag-sets", "Make limits that all calls with these tags share", &[], Some("NewTagSet"), "201"),
    ("get", "/tag-sets/{name}", "One set of tags; its name is `tag=value,tag=value`, percent-encoded", &[], None, "200"),
    ("patch", "/tag-sets/{name}", "Change a set of tags: what is left out stays, null takes a limit away", &[], Some("TagSetChanges"), "200"),
    ("delete", "/tag-sets/{name}", "Delete a set of tags", &[], None, "200"),
    ("get", "/usage", "Totals of requests, tokens and cost", &["from", "to", "group_by", "format"], None, "200"),
    ("get", "/requests", "Ledger rows, newest first: a page, or all of them with `format=csv` or `jsonl`", ROWS, None, "200"),
    ("get", "/requests/{id}", "One request by its `x-request-id` or call id: attempts, and bodies where they are stored; reading bodies is audited", &[], None, "200"),
    ("delete", "/requests/{id}/log", "Delete the stored bodies of a request; its ledger rows stay", &[], None, "200"),
    ("get", "/audit", "Changes by operators, newest first", PAGE, None, "200"),
    ("get", "/providers", "Configured providers", &[], None, "200"),
    ("get", "/status", "The process at a glance: the last minute, what is in flight, how store and Redis do", &[], None, "200"),
    ("get", "/config", "The effective configuration, secrets masked", &[], None, "200"),
    ("post", "/explain", "How a chat request would be routed and what would go upstream; nothing is sent", &["key"], Some("ChatRequest"), "200"),
    ("post", "/config/reload", "Read the configuration again; with anything wrong the old one stays", &[], None, "200"),
    ("get", "/models", "The catalogue: offers, prices in USD per token and where they came from", PAGE, None, "200"),
    ("get", "/openapi.json", "This document", &[], None, "200"),
];

/// The handler.
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().json(build())
}

fn build() -> Value {
    let mut paths = Map::new();
    for row in ROUTES {
        let path = paths.entry(row.1).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(row.0.to_owned(), operation(row));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "llm-gateway management", "version": env!("CARGO_PKG_VERSION")},
        "servers": [{"url": "/admin/v1"}],
        "security": [{"adminKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"adminKey": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

fn operation(&(_, path, summary, query, body, status): &Row) -> Value {
    let parameter = |name: &&str, place: &str, required: bool| json!({"name": name, "in": place, "required": required, "schema": {"type": "string"}});
    let in_path = ["id", "name"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let in_path = in_path.map(|name| parameter(&name, "path", true));
    let parameters: Vec<_> =
        in_path.chain(query.iter().map(|name| parameter(name, "query", false))).collect();
    let reply = |schema: Value, text: &str| json!({"description": text, "content": {"application/json": {"schema": schema}}});
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            status: reply(json!({"type": "object"}), "Done"),
            "default": reply(json!({"$ref": "#/components/schemas/Error"}), "Refused"),
        },
    });
    if let (Some(body), Value::Object(fields)) = (body, &mut operation) {
        let schema = format!("#/components/schemas/{body}");
        let content = json!({"application/json": {"schema": {"$ref": schema}}});
        fields.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    operation
}

/// The bodies, and an error.
fn schemas() -> Value {
    json!({
        "NewKey": object(key_fields(), &["name"]),
        "KeyChanges": object(key_fields(), &[]),
        "NewProject": object(with(rules(), json!({"name": {"type": "string"}, "markup_percent": markup(), "request_log": request_log()})), &["name"]),
        "ProjectChanges": object(with(rules(), json!({"markup_percent": markup(), "request_log": request_log()})), &[]),
        "NewTagSet": object(with(rules(), json!({"tags": tags("object")})), &["tags"]),
        "TagSetChanges": object(rules(), &[]),
        "ChatRequest": {"type": "object", "required": ["model", "messages"]},
        "Error": error(),
    })
}

/// An object with these fields and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

/// The fields of both.
fn with(mut fields: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    fields
}

/// What keys and groups have in common.
fn rules() -> Value {
    let limit = json!({"type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX});
    let globs = json!({"type": ["array", "null"], "items": {"type": "string"}});
    json!({
        "expires_at": {"type": ["string", "null"], "format": "date-time"},
        "models": {"type": ["object", "null"], "properties": {"allow": globs, "deny": globs}},
        "rpm": limit,
        "tpm": limit,
        "concurrency": limit,
        "budget": {
            "type": ["object", "null"],
            "additionalProperties": false,
            "required": ["limit_usd", "period"],
            "properties": {
                "limit_usd": {"type": ["string", "number"], "description": "USD, up to 12 digits after the point"},
                "period": {"enum": Period::WORDS},
                "soft": {"type": ["boolean", "null"], "description": "Tell, but refuse nothing"},
                "alerts": {
                    "type": ["array", "null"],
                    "maxItems": ALERTS_MAX,
                    "items": {"type": "integer", "minimum": 1, "maximum": 100},
                },
            },
        },
    })
}

fn request_log() -> Value {
    let words: Vec<_> = Logged::WORDS.into_iter().map(Some).chain([None]).collect();
    json!({"enum": words, "description": "Bodies that are stored; null is off"})
}

fn markup() -> Value {
    json!({"type": ["string", "number", "null"], "description": "Percentage on top of the provider's price"})
}

fn tags(kind: &str) -> Value {
    json!({"type": kind, "additionalProperties": {"type": "string"}})
}

/// What a key is made from.
fn key_fields() -> Value {
    let own = json!({
        "name": {"type": "string"},
        "project": {"type": ["string", "null"]},
        "markup_percent": markup(),
        "share": {"type": ["integer", "null"], "minimum": 1, "maximum": SHARE_MAX},
        "max_priority": {"enum": ["low", "normal", "high", null]},
        "routing": {"enum": ["balanced", "price", "latency", "throughput", null]},
        "explain": {"type": ["boolean", "null"]},
        "tags": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
    });
    with(rules(), own)
}

/// An error, as everywhere in the API.
fn error() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": text},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths with their methods, as the table of routes has them.
    fn served() -> Vec<(String, Vec<String>)> {
        let text = include_str!("mod.rs");
        let at = text.split("at(\"/v1").skip(1).filter_map(|rest| {
            let (path, rest) = rest.split_once('"')?;
            let methods = rest.split('"').nth(1)?.split(", ").map(str::to_lowercase);
            Some((path.to_owned(), methods.collect()))
        });
        at.collect()
    }

    #[test]
    fn every_route_that_is_served_is_described_and_no_other() {
        let served = served();
        assert!(served.len() > 12, "{served:?}");
        let count: usize = served.iter().map(|(_, methods)| methods.len()).sum();
        assert_eq!(count, ROUTES.len());
        for (path, methods) in &served {
            for method in methods {
                assert!(ROUTES.iter().any(|row| (row.0, row.1) == (method, path)), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_body_that_is_named_has_a_schema() {
        let schemas = schemas();
        for row in ROUTES.iter().filter(|row| row.4.is_some()) {
            assert!(schemas[row.4.unwrap()].is_object(), "{row:?}");
        }
        let taking = ROUTES.iter().filter(|row| matches!(row.0, "post" | "patch"));
        let without: Vec<_> = taking.filter(|row| row.4.is_none()).map(|row| row.1).collect();
        assert_eq!(without, ["/keys/{id}/rotate", "/config/reload"]);
    }
}
