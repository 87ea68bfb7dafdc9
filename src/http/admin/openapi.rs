//! GET /openapi.json: the management API, described for machines. The routes are a table, the rest is built.

use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

use crate::store::SHARE_MAX;

/// Method, path, summary, query parameters, whether it takes a key's fields, success status.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str], bool, &'static str);

const PAGE: &[&str] = &["cursor", "limit"];
const ROWS: &[&str] = &[
    "cursor",
    "limit",
    "key",
    "project",
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
    ("get", "/keys", "Keys, newest first", PAGE, false, "200"),
    ("post", "/keys", "Make a key; its text is in this answer and never again", &[], true, "201"),
    ("get", "/keys/{id}", "One key", &[], false, "200"),
    ("patch", "/keys/{id}", "Change a key: what is left out stays, null takes a limit away", &[], true, "200"),
    ("delete", "/keys/{id}", "Revoke a key for good", &[], false, "200"),
    ("post", "/keys/{id}/rotate", "Give a key a new text; the old one ends at once", &[], false, "200"),
    ("get", "/usage", "Totals of requests, tokens and cost", &["from", "to", "group_by", "format"], false, "200"),
    ("get", "/requests", "Ledger rows, newest first: a page, or all of them with `format=csv` or `jsonl`", ROWS, false, "200"),
    ("get", "/audit", "Changes by operators, newest first", PAGE, false, "200"),
    ("get", "/providers", "Configured providers", &[], false, "200"),
    ("get", "/config", "The effective configuration, secrets masked", &[], false, "200"),
    ("post", "/explain", "How a chat request would be routed and what would go upstream; nothing is sent", &["key"], false, "200"),
    ("post", "/config/reload", "Read the configuration again; with anything wrong the old one stays", &[], false, "200"),
    ("get", "/models", "The catalogue: offers, prices in USD per token and where they came from", PAGE, false, "200"),
    ("get", "/openapi.json", "This document", &[], false, "200"),
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
            "schemas": {"KeyFields": key_fields(), "Error": error()},
        },
    })
}

fn operation(&(_, path, summary, query, takes_key, status): &Row) -> Value {
    let parameter = |name: &&str, place: &str, required: bool| json!({"name": name, "in": place, "required": required, "schema": {"type": "string"}});
    let in_path = path.contains("{id}").then(|| parameter(&"id", "path", true));
    let parameters: Vec<_> =
        in_path.into_iter().chain(query.iter().map(|name| parameter(name, "query", false))).collect();
    let reply = |schema: Value, text: &str| json!({"description": text, "content": {"application/json": {"schema": schema}}});
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {
            status: reply(json!({"type": "object"}), "Done"),
            "default": reply(json!({"$ref": "#/components/schemas/Error"}), "Refused"),
        },
    });
    if takes_key && let Value::Object(fields) = &mut operation {
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/KeyFields"}}});
        fields.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    operation
}

/// What a key is made from. `name` is needed when it is made.
fn key_fields() -> Value {
    let limit = json!({"type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX});
    let globs = json!({"type": ["array", "null"], "items": {"type": "string"}});
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": {"type": "string"},
            "project": {"type": ["string", "null"]},
            "expires_at": {"type": ["string", "null"], "format": "date-time"},
            "models": {"type": ["object", "null"], "properties": {"allow": globs, "deny": globs}},
            "rpm": limit,
            "tpm": limit,
            "concurrency": limit,
            "share": {"type": ["integer", "null"], "minimum": 1, "maximum": SHARE_MAX},
            "max_priority": {"enum": ["low", "normal", "high", null]},
            "routing": {"enum": ["balanced", "price", "latency", "throughput", null]},
            "explain": {"type": ["boolean", "null"]},
            "tags": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        },
    })
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
