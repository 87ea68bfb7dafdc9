//! Keys, projects and sets of tags that the configuration declares: in force, read-only, and gone when they are taken out.

use serde_json::{Value, json};

use crate::keys::well_formed_of;
use crate::support::{Client, Gateway, Process, Script, Setup, Upstream, completion, whole};

async fn answering() -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion("hi")))).await
}

/// One that is asked only when told to reload, and the text of its configuration without what is declared.
async fn start(declares: &str) -> (Upstream, Gateway, String) {
    let upstream = answering().await;
    let base = format!("providers:\n  up: {{ base_url: '{}' }}\n", upstream.base_url());
    let setup = Setup::new(format!("{base}{declares}"));
    let gateway = setup.variable("LLM_GATEWAY__SERVER__CONFIG_WATCH", "false").start().await;
    (upstream, gateway, base)
}

/// Reloads with this configuration; status and answer.
async fn reload(gateway: &Gateway, text: &str) -> (u16, Value) {
    std::fs::write(gateway.folder().join("gateway.yaml"), text).unwrap();
    gateway.admin("POST", "/config/reload", None).await
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    Client::new(&gateway.url, key).ask("up/m", json!({})).await.status
}

#[tokio::test]
async fn what_is_declared_is_in_force_and_read_only() {
    let key = well_formed_of("Xy1");
    let declares = format!(
        "keys: {{ ci: {{ secret: {key}, project: web, rpm: 50, models: {{ deny: ['up/dear'] }}, tags: {{ team: x }} }} }}
projects: {{ web: {{ budget: {{ limit_usd: 25, period: month }} }} }}
tag_sets: [ {{ tags: {{ team: x }}, concurrency: 3 }} ]
"
    );
    let (_upstream, gateway, _) = start(&declares).await;
    assert_eq!(status(&gateway, &key).await, 200);
    assert_eq!(Client::new(&gateway.url, &key).ask("up/dear", json!({})).await.status, 403);
    let (_, shown) = gateway.admin("GET", "/keys/key_ci", None).await;
    assert_eq!(
        [&shown["name"], &shown["managed_by"], &shown["rpm"], &shown["prefix"]],
        [&json!("ci"), &json!("config"), &json!(50), &json!(&key[..8])]
    );
    let (_, project) = gateway.admin("GET", "/projects/web", None).await;
    assert_eq!(
        (&project["managed_by"], &project["budget_status"]["left_usd"]),
        (&json!("config"), &json!("25"))
    );
    assert_eq!(gateway.admin("GET", "/tag-sets/team=x", None).await.1["concurrency"], 3);
    for (method, path, says) in [
        ("PATCH", "/keys/key_ci", "keys.ci"),
        ("DELETE", "/keys/key_ci", "keys.ci"),
        ("POST", "/keys/key_ci/rotate", "keys.ci"),
        ("PATCH", "/projects/web", "projects.web"),
        ("DELETE", "/projects/web", "projects.web"),
        ("PATCH", "/tag-sets/team=x", "tag_sets"),
        ("DELETE", "/tag-sets/team=x", "tag_sets"),
    ] {
        let body = (method == "PATCH").then(|| json!({"rpm": 1}));
        let (status, error) = gateway.admin(method, path, body).await;
        assert_eq!(
            (status, &error["error"]["type"]),
            (409, &json!("conflict_error")),
            "{method} {path}: {error}"
        );
        assert!(error["error"]["message"].as_str().unwrap().contains(says), "{error}");
    }
    assert_eq!(status(&gateway, &key).await, 200);
    let (_, config) = gateway.admin("GET", "/config", None).await;
    assert_eq!((&config["keys"]["ci"]["secret"], &config["keys"]["ci"]["rpm"]), (&json!("***"), &json!(50)));
    assert!(!config.to_string().contains(&key[4..]) && !gateway.process.log().contains(&key[4..]));
    let audit = gateway.admin("GET", "/audit", None).await.1;
    let rows = audit["data"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{audit}");
    assert!(rows.iter().all(|row| row["actor"] == "config"), "{audit}");
}

#[tokio::test]
async fn a_reload_makes_changes_and_ends_what_is_declared_and_it_may_come_back() {
    let (key, other) = (well_formed_of("Xy1"), well_formed_of("Zz2"));
    let declares = format!("keys: {{ ci: {{ secret: {key} }} }}\nprojects: {{ web: {{ rpm: 5 }} }}\n");
    let (_upstream, gateway, base) = start(&declares).await;
    assert_eq!(status(&gateway, &key).await, 200);
    let changed = format!("{base}keys: {{ ci: {{ secret: {other} }} }}\nprojects: {{ web: {{ rpm: 6 }} }}\n");
    let (code, report) = reload(&gateway, &changed).await;
    assert_eq!(code, 200, "{report}");
    let named: Vec<&str> = report["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(named, ["projects.web.rpm", "keys.ci"], "a secret is not shown, its key is named");
    assert_eq!((status(&gateway, &key).await, status(&gateway, &other).await), (401, 200));
    assert_eq!(gateway.admin("GET", "/projects/web", None).await.1["rpm"], 6);
    assert_eq!(reload(&gateway, &base).await.0, 200);
    assert_eq!(status(&gateway, &other).await, 401);
    assert_eq!(gateway.admin("GET", "/projects/web", None).await.0, 404);
    assert!(gateway.admin("GET", "/keys/key_ci", None).await.1["revoked_at"].is_string());
    assert_eq!(reload(&gateway, &changed).await.0, 200);
    assert_eq!(status(&gateway, &other).await, 200);
    // Taken out while the gateway was down.
    std::fs::write(gateway.folder().join("gateway.yaml"), &changed).unwrap();
    let mut gateway = gateway;
    assert_eq!(gateway.stop().await, Some(0));
    let gateway = gateway.restart().await;
    assert_eq!((status(&gateway, &key).await, status(&gateway, &other).await), (200, 401));
}

#[tokio::test]
async fn a_declaration_that_cannot_be_taken_changes_nothing() {
    let key = well_formed_of("Xy1");
    let (_upstream, gateway, base) = start(&format!("keys: {{ ci: {{ secret: {key} }} }}\n")).await;
    let project = json!({"name": "web", "rpm": 9});
    assert_eq!(gateway.admin("POST", "/projects", Some(project)).await.0, 201);
    for (declares, says) in [
        ("projects: { web: { rpm: 1 } }\n".to_owned(), "web"),
        ("keys: { ci: { secret: nothing } }\n".to_owned(), "keys.ci.secret"),
        (
            "projects: { p: { budget: { limit_usd: 0, period: day } } }\n".to_owned(),
            "projects.p.budget.limit_usd",
        ),
        (format!("keys: {{ a: {{ secret: {key} }}, b: {{ secret: {key} }} }}\n"), "keys.b"),
    ] {
        let (code, error) = reload(&gateway, &format!("{base}strict: true\n{declares}")).await;
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(code, 400, "{error}");
        assert!(message.contains(says) && !message.contains(&key[4..]), "{says}: {message}");
        assert_eq!(status(&gateway, &key).await, 200);
        assert_eq!(gateway.admin("GET", "/config", None).await.1["strict"], "false");
    }
    assert_eq!(gateway.admin("GET", "/projects/web", None).await.1["rpm"], 9);
}

#[test]
fn check_names_what_is_wrong_with_a_declaration() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = "keys: { a: { secret: 'env:NOT_SET_ANYWHERE' } }\nbudgets: { time_zone: Mars/Olympus }\n";
    std::fs::write(folder.path().join("gateway.yaml"), text).unwrap();
    let output = Process::run(&["check", "--config", "gateway.yaml"], folder.path(), &[]);
    let said = format!("{}{}", output.out, output.err);
    assert!(said.contains("keys.a.secret") && said.contains("NOT_SET_ANYWHERE"), "{said}");
    std::fs::write(folder.path().join("gateway.yaml"), "budgets: { time_zone: Mars/Olympus }\n").unwrap();
    let output = Process::run(&["check", "--config", "gateway.yaml"], folder.path(), &[]);
    let said = format!("{}{}", output.out, output.err);
    assert_eq!(output.code, Some(2), "{said}");
    assert!(said.contains("budgets.time_zone"), "{said}");
}
