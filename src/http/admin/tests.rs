//! Management as an admin meets it, over actix's test harness and a real store.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{App, test};
use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::*;
use crate::actors::live::Reloads;
use crate::store::SqliteStore;
use crate::store::testing::{TempFolder, by, named, receipt, store};

const ADMIN_KEY: &str = "admin-key-for-tests";

async fn admin() -> (TempFolder, SqliteStore, Admin) {
    let (folder, store) = store().await;
    let table = Arc::new(KeyTable::new(Arc::default()));
    let live = Arc::new(ArcSwap::from_pointee(crate::actors::testing::current()));
    let gauges = crate::actors::gauges::Gauges::default();
    let standings = crate::actors::testing::standings();
    let metrics =
        crate::actors::metrics::Metrics::launch(gauges.clone(), standings.clone(), Arc::clone(&table))
            .unwrap();
    let overview = Overview {
        metrics: metrics.recipient(),
        readiness: Arc::new(crate::http::readiness::Readiness::new(gauges.clone())),
        gauges,
        public: Arc::default(),
        started: std::time::Instant::now(),
    };
    let shown = Shown {
        overview,
        live,
        standings,
        reloads: Reloads::channel().0,
        cells: Arc::default(),
        vault: Arc::new(crate::policy::vault::Vault::new(0, std::time::Duration::ZERO)),
    };
    let admin = Admin::new(Arc::new(store.clone()), table, &Secret::new(ADMIN_KEY), shown).unwrap();
    (folder, store, admin)
}

/// One request with these headers; status, body and the `Allow` header.
async fn call(
    admin: &Admin,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value, Option<String>) {
    let app = test::init_service(App::new().configure(|cfg| configure(cfg, admin))).await;
    let mut request = test::TestRequest::with_uri(path).method(method).set_payload(body.to_owned());
    for (name, value) in headers {
        request = request.insert_header((*name, *value));
    }
    let reply = test::call_service(&app, request.to_request()).await;
    let status = reply.status().as_u16();
    let allow = reply.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
    let body = test::read_body(reply).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null), allow)
}

/// The same as the admin, with a JSON body.
async fn ask(admin: &Admin, method: Method, path: &str, body: &str) -> (u16, Value) {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json; charset=utf-8")];
    let (status, body, _) = call(admin, method, path, &headers, body).await;
    (status, body)
}

#[actix_web::test]
async fn nothing_under_admin_answers_without_the_admin_key() {
    let (_folder, store, admin) = admin().await;
    let (record, tenant) = store.create_key(named("tenant"), by(1)).await.unwrap();
    let tenant = format!("Bearer {}", tenant.expose());
    let id = record.id;
    let paths = [
        "/admin",
        "/admin/",
        "/admin/v1",
        "/admin/v1/keys",
        "/admin/v1/keys/",
        "/admin/v1//keys",
        "/admin/v1/KEYS",
        "/admin/v1%2fkeys",
        "/%61dmin/v1/keys",
        "/admin/v1/usage",
        "/admin/v1/requests",
        "/admin/v1/audit",
        "/admin/v1/nothing",
        "/admin/../admin/v1/keys",
    ]
    .map(str::to_owned);
    let of_key = [format!("/admin/v1/keys/{id}"), format!("/admin/v1/keys/{id}/rotate")];
    for path in paths.iter().chain(&of_key) {
        for method in
            [Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS]
        {
            for headers in [
                vec![],
                vec![("authorization", "Bearer ")],
                vec![("authorization", "Bearer wrong")],
                vec![("authorization", ADMIN_KEY)],
                vec![("authorization", "Basic admin-key-for-tests")],
                vec![("authorization", tenant.as_str())],
                vec![("x-api-key", ADMIN_KEY)],
                vec![("cookie", "authorization=Bearer admin-key-for-tests"), ("host", "localhost")],
            ] {
                let (status, _, _) = call(&admin, method.clone(), path, &headers, "{}").await;
                assert_eq!(status, 401, "{method} {path} {headers:?}");
            }
        }
    }
    assert!(store.key(&id).await.unwrap().revoked_ms.is_none());
    assert_eq!(store.keys(None, 10).await.unwrap().data.len(), 1);
}

#[actix_web::test]
async fn near_paths_outside_admin_are_not_there() {
    let (_folder, _store, admin) = admin().await;
    for path in ["/administrator", "//admin/v1/keys", "/Admin/v1/keys", "/admin%2fv1/keys"] {
        assert_eq!(ask(&admin, Method::GET, path, "").await.0, 404, "{path}");
    }
}

#[actix_web::test]
async fn the_admin_gets_404_and_405_in_our_shape() {
    let (_folder, _store, admin) = admin().await;
    let (status, body) = ask(&admin, Method::GET, "/admin/v1/nothing", "").await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
    let bearer = format!("bearer {ADMIN_KEY}");
    for (method, path, allowed) in [
        (Method::PUT, "/admin/v1/keys", "GET, POST"),
        (Method::POST, "/admin/v1/keys/key_1", "GET, PATCH, DELETE"),
        (Method::GET, "/admin/v1/keys/key_1/rotate", "POST"),
        (Method::DELETE, "/admin/v1/audit", "GET"),
    ] {
        let (status, _, allow) = call(&admin, method, path, &[("authorization", &bearer)], "").await;
        assert_eq!((status, allow.as_deref()), (405, Some(allowed)), "{path}");
    }
}

#[actix_web::test]
async fn a_blank_admin_key_is_refused() {
    for blank in ["", "  \t"] {
        AdminKey::new(&Secret::new(blank)).unwrap_err();
    }
}

#[actix_web::test]
async fn a_key_lives_from_creation_to_revocation() {
    let (_folder, store, admin) = admin().await;
    let body = r#"{"name":"search","project":"p","rpm":60,"models":{"allow":["gpt-*"]},"tags":{"team":"x"}}"#;
    let (status, made) = ask(&admin, Method::POST, "/admin/v1/keys", body).await;
    assert_eq!(status, 201);
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(made["prefix"], text[..8]);
    let entry = admin.table.authenticate(text, now_ms()).unwrap();
    assert_eq!((entry.name.as_str(), entry.caller.project.as_deref()), ("search", Some("p")));

    let path = format!("/admin/v1/keys/{id}");
    let (status, shown) = ask(&admin, Method::GET, &path, "").await;
    assert_eq!((status, &shown["rpm"], &shown["tags"]["team"]), (200, &json!(60), &json!("x")));
    assert!(shown.get("key").is_none());
    let (_, listed) = ask(&admin, Method::GET, "/admin/v1/keys", "").await;
    assert_eq!(listed, json!({ "data": [shown], "next_cursor": null }));

    let (status, patched) = ask(&admin, Method::PATCH, &path, r#"{"rpm":null,"tpm":5,"project":null}"#).await;
    assert_eq!((status, &patched["rpm"], &patched["tpm"]), (200, &Value::Null, &json!(5)));
    assert_eq!((&patched["name"], &patched["project"]), (&json!("search"), &Value::Null));

    let (status, rotated) = ask(&admin, Method::POST, &format!("{path}/rotate"), "").await;
    let new_text = rotated["key"].as_str().unwrap();
    assert_eq!((status, rotated["id"].as_str()), (200, Some(id)));
    admin.table.authenticate(text, now_ms()).unwrap_err();
    admin.table.authenticate(new_text, now_ms()).unwrap();

    let (status, revoked) = ask(&admin, Method::DELETE, &path, "").await;
    assert_eq!((status, revoked["revoked_at"].is_string()), (200, true));
    admin.table.authenticate(new_text, now_ms()).unwrap_err();
    assert_eq!(ask(&admin, Method::PATCH, &path, r#"{"name":"b"}"#).await.0, 409);

    let (_, trail) = ask(&admin, Method::GET, "/admin/v1/audit?limit=2", "").await;
    assert_eq!(trail["data"][0]["action"], "key.revoke");
    assert_eq!(trail["data"][1]["after"]["prefix"], new_text[..8]);
    assert!(trail["next_cursor"].is_string());
    assert!(!trail.to_string().contains(&text[4..]) && !trail.to_string().contains(&new_text[4..]));
    drop(store);
}

#[actix_web::test]
async fn a_bad_body_is_refused_before_anything_is_made() {
    let (_folder, store, admin) = admin().await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    for (content_type, body, expected) in [
        ("application/json", r#"{"name":"a","budget":{"limit_usd":"0","period":"day"}}"#, 400),
        ("application/json", r#"{"name":"a","admin":true}"#, 400),
        ("application/json", "{", 400),
        ("application/json", r#"{"name":"a","models":{"allow":["two words"]}}"#, 400),
        ("application/json", &long, 413),
        ("text/plain", r#"{"name":"a"}"#, 415),
        ("application/x-www-form-urlencoded", "name=a", 415),
    ] {
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
        let (status, reply, _) = call(&admin, Method::POST, "/admin/v1/keys", &headers, body).await;
        assert_eq!(status, expected, "{reply}");
        assert!(reply["error"]["message"].is_string());
    }
    assert!(store.keys(None, 10).await.unwrap().data.is_empty());
}

#[actix_web::test]
async fn usage_and_requests_show_the_ledger() {
    let (_folder, store, admin) = admin().await;
    let hour = 3_600_000;
    let mut dear = receipt(2 * hour);
    dear.cost = Some("1.5".parse().unwrap());
    dear.tags = [("team".to_owned(), "x".to_owned())].into();
    let mut unpriced = receipt(hour);
    unpriced.cost = None;
    unpriced.status = 0;
    store.settle(&[dear, unpriced]).await.unwrap();

    let path = "/admin/v1/usage?from=1970-01-01T00:00:00Z&to=1970-01-02T00:00:00Z&group_by=key,hour";
    let (status, usage) = ask(&admin, Method::GET, path, "").await;
    assert_eq!((status, &usage["from"]), (200, &json!("1970-01-01T00:00:00.000Z")));
    let second = &usage["data"][1];
    assert_eq!((&second["key"], &second["hour"]), (&json!("key_a"), &json!("1970-01-01T02:00:00.000Z")));
    assert_eq!((&second["cost_usd"], &second["requests"]), (&json!("1.5"), &json!(1)));
    assert_eq!((&usage["data"][0]["cost_usd"], &usage["data"][0]["unpriced"]), (&json!("0"), &json!(1)));

    let (_, rows) = ask(&admin, Method::GET, "/admin/v1/requests?limit=1", "").await;
    let row = &rows["data"][0];
    assert_eq!(
        (&row["cost_usd"], &row["tags"], &row["status"]),
        (&json!("1.5"), &json!({"team": "x"}), &json!(200))
    );
    assert_eq!((&row["time"], &row["prompt_tokens"]), (&json!("1970-01-01T02:00:00.000Z"), &json!(10)));
    let next = format!("/admin/v1/requests?limit=1&cursor={}", rows["next_cursor"].as_str().unwrap());
    let (_, rows) = ask(&admin, Method::GET, &next, "").await;
    assert_eq!((&rows["data"][0]["cost_usd"], &rows["data"][0]["status"]), (&Value::Null, &Value::Null));
    assert_eq!(rows["next_cursor"], Value::Null);

    for bad in [
        "usage?from=x",
        "usage?from=2030-01-01T00:00:00Z&to=2029-01-01T00:00:00Z",
        "usage?key=a",
        "requests?cursor=zzz",
        "requests?outcome=good",
        "audit?cursor=-1",
        "keys?limit=0",
    ] {
        assert_eq!(ask(&admin, Method::GET, &format!("/admin/v1/{bad}"), "").await.0, 400, "{bad}");
    }
}

#[actix_web::test]
async fn a_store_that_fails_is_reported_without_its_words() {
    let (_folder, store, admin) = admin().await;
    store.close().await;
    let (status, body) = ask(&admin, Method::GET, "/admin/v1/keys", "").await;
    assert_eq!(status, 503);
    assert!(!body.to_string().contains("pool"), "{body}");
}
