//! Projects and sets of tags: what they share, how they are shown, who may change them.

use serde_json::{Value, json};

use crate::support::{Gateway, Script, Upstream, completion, whole};

async fn start() -> (Upstream, Gateway) {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let gateway = Gateway::before(&upstream).await;
    (upstream, gateway)
}

/// Actions and objects of the audit trail, newest first.
async fn trail(gateway: &Gateway) -> Vec<String> {
    let audit = gateway.admin("GET", "/audit", None).await.1;
    let rows = audit["data"].as_array().unwrap().iter();
    rows.map(|row| format!("{} {}", row["action"].as_str().unwrap(), row["object"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_project_is_made_listed_read_changed_and_deleted() {
    let (_upstream, gateway) = start().await;
    let spec = json!({
        "name": "web search", "expires_at": "2099-01-31T10:00:00Z", "models": {"allow": ["up/*"], "deny": []},
        "rpm": 100, "tpm": 1000, "concurrency": 4,
        "budget": {"limit_usd": 25.50, "period": "month", "alerts": [50, 90]}, "markup_percent": "12.5",
    });
    let (status, made) = gateway.admin("POST", "/projects", Some(spec.clone())).await;
    assert_eq!(status, 201, "{made}");
    for name in ["name", "models", "rpm", "tpm", "concurrency", "markup_percent"] {
        assert_eq!(made[name], spec[name], "{name}");
    }
    assert_eq!(
        made["budget"],
        json!({"limit_usd": "25.5", "period": "month", "soft": false, "alerts": [50, 90]})
    );
    assert_eq!((&made["managed_by"], &made["deleted_at"]), (&json!("api"), &Value::Null));
    let status_shown = &made["budget_status"];
    assert_eq!(
        [&status_shown["spent_usd"], &status_shown["reserved_usd"], &status_shown["left_usd"]],
        [&json!("0"), &json!("0"), &json!("25.5")]
    );
    assert!(status_shown["window_start"].as_str().unwrap().ends_with("-01T00:00:00.000Z"), "{status_shown}");
    let path = "/projects/web%20search";
    assert_eq!(gateway.admin("GET", path, None).await, (200, made.clone()));
    let list = gateway.admin("GET", "/projects", None).await.1;
    assert_eq!(list, json!({"data": [made], "next_cursor": null}));
    assert_eq!(gateway.admin("POST", "/projects", Some(json!({"name": "web search"}))).await.0, 409);

    let change = json!({"budget": null, "markup_percent": null, "rpm": null});
    let (status, changed) = gateway.admin("PATCH", path, Some(change)).await;
    assert_eq!(status, 200, "{changed}");
    for gone in ["budget", "markup_percent", "rpm", "budget_status"] {
        assert_eq!(changed[gone], Value::Null, "{gone}");
    }
    assert_eq!(changed["tpm"], 1000, "what is not named stays");
    assert_eq!(gateway.admin("DELETE", path, None).await.0, 200);
    assert_eq!(gateway.admin("GET", path, None).await.0, 404);
    assert_eq!(gateway.admin("PATCH", path, Some(json!({"rpm": 1}))).await.0, 404);
    let expected = ["delete", "update", "create"].map(|verb| format!("project.{verb} web search"));
    assert_eq!(trail(&gateway).await, expected);
}

#[tokio::test]
async fn a_project_that_keys_belong_to_is_not_deleted() {
    let (_upstream, gateway) = start().await;
    let key = gateway.admin("POST", "/keys", Some(json!({"name": "a", "project": "p/1"}))).await.1;
    let (status, shown) = gateway.admin("GET", "/projects/p%2F1", None).await;
    assert_eq!((status, &shown["name"], &shown["budget"]), (200, &json!("p/1"), &Value::Null));
    assert_eq!(gateway.admin("DELETE", "/projects/p%2F1", None).await.0, 409);
    gateway.admin("DELETE", &format!("/keys/{}", key["id"].as_str().unwrap()), None).await;
    assert_eq!(gateway.admin("DELETE", "/projects/p%2F1", None).await.0, 200);
}

#[tokio::test]
async fn a_set_of_tags_is_one_whatever_the_order_of_its_tags() {
    let (_upstream, gateway) = start().await;
    let spec = json!({
        "tags": {"team": "search", "feature": "summary"},
        "budget": {"limit_usd": "5", "period": "total", "soft": true}, "concurrency": 2,
    });
    let (status, made) = gateway.admin("POST", "/tag-sets", Some(spec)).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        (&made["name"], &made["tags"]["team"]),
        (&json!("feature=summary,team=search"), &json!("search"))
    );
    assert_eq!((made.get("markup_percent"), &made["budget"]["soft"]), (None, &json!(true)));
    assert_eq!(made["budget_status"]["window_end"], Value::Null, "a total never begins anew");
    for path in ["feature=summary,team=search", "team%3Dsearch%2Cfeature%3Dsummary"] {
        assert_eq!(
            gateway.admin("GET", &format!("/tag-sets/{path}"), None).await,
            (200, made.clone()),
            "{path}"
        );
    }
    let swapped = json!({"tags": {"feature": "summary", "team": "search"}});
    assert_eq!(gateway.admin("POST", "/tag-sets", Some(swapped)).await.0, 409);
    let markup = gateway
        .admin("PATCH", "/tag-sets/team=search,feature=summary", Some(json!({"markup_percent": 1})))
        .await;
    assert_eq!((markup.0, &markup.1["error"]["param"]), (400, &json!("markup_percent")));
    assert_eq!(gateway.admin("DELETE", "/tag-sets/team=search,feature=summary", None).await.0, 200);
    assert_eq!(trail(&gateway).await[0], "tag_set.delete feature=summary,team=search");
}

#[tokio::test]
async fn what_is_wrong_with_a_group_is_named_and_nothing_is_made() {
    let (_upstream, gateway) = start().await;
    for (path, body, param) in [
        ("/projects", json!({}), "name"),
        ("/projects", json!({"name": " "}), "name"),
        (
            "/projects",
            json!({"name": "p", "budget": {"limit_usd": "0", "period": "day"}}),
            "budget.limit_usd",
        ),
        (
            "/projects",
            json!({"name": "p", "budget": {"limit_usd": "1e3", "period": "day"}}),
            "budget.limit_usd",
        ),
        (
            "/projects",
            json!({"name": "p", "budget": {"limit_usd": "1", "period": "day", "alerts": [90, 80]}}),
            "budget.alerts",
        ),
        ("/projects", json!({"name": "p", "models": {"allow": ["two words"]}}), "models.allow[0]"),
        ("/projects", json!({"name": "p", "share": 2}), "share"),
        ("/tag-sets", json!({}), "tags"),
        ("/tag-sets", json!({"tags": {"a": "1,b=2"}}), "tags.a"),
        ("/tag-sets", json!({"tags": {"a": ""}}), "tags.a"),
    ] {
        let (status, error) = gateway.admin("POST", path, Some(body.clone())).await;
        assert_eq!((status, &error["error"]["param"]), (400, &json!(param)), "{body}: {error}");
    }
    for path in ["/projects", "/tag-sets"] {
        assert_eq!(gateway.admin("GET", path, None).await.1["data"], json!([]));
    }
    assert_eq!(gateway.admin("GET", "/projects?limit=0", None).await.0, 400);
}

#[tokio::test]
async fn groups_outlive_a_restart_and_lists_go_on_by_cursor() {
    let (_upstream, gateway) = start().await;
    for name in ["a", "b", "c"] {
        let spec = json!({"name": name, "budget": {"limit_usd": "1", "period": "day"}});
        assert_eq!(gateway.admin("POST", "/projects", Some(spec)).await.0, 201);
    }
    let gateway = gateway.crash_and_restart().await;
    let first = gateway.admin("GET", "/projects?limit=2", None).await.1;
    assert_eq!((first["data"].as_array().unwrap().len(), &first["next_cursor"]), (2, &json!("b")));
    let rest = gateway.admin("GET", "/projects?limit=2&cursor=b", None).await.1;
    assert_eq!((&rest["data"][0]["name"], &rest["next_cursor"]), (&json!("c"), &Value::Null));
    assert_eq!(rest["data"][0]["budget_status"]["left_usd"], "1");
}

#[tokio::test]
async fn the_ledger_is_filtered_by_project_and_by_tag() {
    let (_upstream, gateway) = start().await;
    for (name, project, team) in [("one", "p", "x"), ("two", "q", "y")] {
        let spec = json!({"name": name, "project": project, "tags": {"team": team}});
        let client = gateway.client_with(spec).await;
        assert_eq!(client.ask("up/m", json!({})).await.status, 200);
    }
    gateway.ledger(2).await;
    for query in ["project=p", "tag=team%3Dx"] {
        let page = gateway.admin("GET", &format!("/requests?{query}"), None).await.1;
        let rows = page["data"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["project"]), (1, &json!("p")), "{query}");
    }
    assert_eq!(gateway.admin("GET", "/requests?tag=team", None).await.1["data"], json!([]));
}

#[tokio::test]
async fn a_key_cannot_widen_itself_and_sees_nothing_of_others() {
    let (_upstream, gateway) = start().await;
    let spec = json!({"name": "a", "project": "p", "models": {"allow": ["up/cheap"]}, "tags": {"team": "x"}});
    let client = gateway.client_with(spec).await;
    let other = gateway.client_with(json!({"name": "b", "project": "q"})).await;
    assert_eq!(other.ask("up/other", json!({})).await.status, 200);
    // Nothing in a request is taken for the caller's own rules.
    for more in [
        json!({"project": "q"}),
        json!({"key_id": "key_b"}),
        json!({"budget": {"limit_usd": "1000"}}),
        json!({"models": {"allow": ["*"]}}),
    ] {
        assert_eq!(client.ask("up/dear", more.clone()).await.status, 403, "{more}");
    }
    for (name, value) in [
        ("x-gateway-project", "q"),
        ("x-project", "q"),
        ("x-gateway-key", "key_b"),
        ("x-gateway-priority", "high"),
        ("x-gateway-tags", "project=q,team=y"),
    ] {
        let body = json!({"model": "up/dear", "messages": [{"role": "user", "content": "x"}]});
        let answer = crate::support::Answer::of(client.request(&body).header(name, value)).await;
        assert!(matches!(answer.status, 400 | 403), "{name}: {}", answer.status);
    }
    // What the API shows a key is its own.
    for path in ["/v1/keys", "/v1/usage", "/v1/requests", "/v1/projects", "/v1/models/../keys"] {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
    let models = client.get("/v1/models").await.text().to_owned();
    assert!(!models.contains("other"), "{models}");
    let rows = gateway.ledger(1).await;
    assert!(rows.iter().all(|row| row["project"] == "q"), "{rows:?}");
}
