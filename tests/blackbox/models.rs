//! Model strings and GET /v1/models, over HTTP.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Script, Setup, Upstream, completion, whole};

/// Providers `openai` and `together` (and an account `second` of OpenAI's) at one upstream that answers everything.
async fn gateway(upstream: &Upstream) -> Gateway {
    let url = upstream.base_url();
    Setup::new(format!(
        "providers:\n  openai: {{ base_url: '{url}', api_key: a }}\n  second: {{ base_url: '{url}', api_key: b, catalog: openai }}\n  together: {{ base_url: '{url}', api_key: c }}\n"
    ))
    .config("models:\n  fast: { targets: [{ model: openai/gpt-4o-mini }] }\n")
    .start()
    .await
}

async fn upstream() -> Upstream {
    Upstream::always(Script::new().send(whole(200, &completion("hi")))).await
}

async fn ids(client: &Client) -> Vec<String> {
    let answer = client.get("/v1/models").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data = answer.json()["data"].as_array().cloned().unwrap_or_default();
    data.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn models_have_openais_shape_and_more() {
    let upstream = upstream().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client().await;
    let list = client.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let data = list["data"].as_array().unwrap();
    let find = |id: &str| data.iter().find(|one| one["id"] == id).cloned().unwrap_or(Value::Null);
    assert_eq!(find("fast")["owned_by"], "llm-gateway");
    assert_eq!(find("auto")["object"], "model");
    let mini = find("gpt-5-mini");
    assert!(mini["created"].is_u64() && mini["object"] == "model" && mini["owned_by"].is_string(), "{mini}");
    assert_eq!(mini["pricing"]["prompt"], "0.00000025");
    assert!(mini["context_length"].is_u64() && mini["max_output_tokens"].is_u64(), "{mini}");
    assert!(mini["capabilities"].as_array().unwrap().contains(&json!("tools")), "{mini}");
    let providers: Vec<&Value> = mini["providers"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(providers, ["openai", "second"]);
    // Nobody here serves it, and nobody does any more.
    assert_eq!((find("claude-haiku-4-5"), find("gpt-4-32k")), (Value::Null, Value::Null));
    assert_eq!(client.get("/v1/models/gpt-5-mini").await.json(), mini);
}

#[tokio::test]
async fn one_model_is_found_by_every_form_of_its_name() {
    let upstream = upstream().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client().await;
    for (path, id) in [
        ("gpt-5-mini", "gpt-5-mini"),
        ("openai/gpt-5-mini", "openai/gpt-5-mini"),
        ("openai%2Fgpt-5-mini", "openai/gpt-5-mini"),
        ("together/Qwen/Qwen2.5-7B-Instruct-Turbo", "together/Qwen/Qwen2.5-7B-Instruct-Turbo"),
        ("together%2FQwen%2fQwen2.5-7B-Instruct-Turbo", "together/Qwen/Qwen2.5-7B-Instruct-Turbo"),
        ("fast", "fast"),
        ("auto", "auto"),
    ] {
        let answer = client.get(&format!("/v1/models/{path}")).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(id)), "{path}: {}", answer.text());
    }
    for path in ["gpt-5-minni", "claude-haiku-4-5", "nobody/x", "openai%2F", "%FF", "together/gpt-5-mini", ""]
    {
        let answer = client.get(&format!("/v1/models/{path}")).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let near = client.get("/v1/models/gpt-5-minni").await;
    assert_eq!(near.code(), "model_not_found");
    assert!(near.text().contains("Did you mean `gpt-5-mini`?"), "{}", near.text());
}

#[tokio::test]
async fn a_key_sees_and_uses_only_what_its_globs_allow() {
    let upstream = upstream().await;
    let gateway = gateway(&upstream).await;
    let models = json!({"allow": ["gpt-5-*"], "deny": ["second/*", "*-nano*"]});
    let client = gateway.client_with(json!({"name": "narrow", "models": models})).await;
    let seen = ids(&client).await;
    assert!(seen.contains(&"gpt-5-mini".to_owned()) && seen.contains(&"auto".to_owned()), "{seen:?}");
    let strange: Vec<&String> = seen
        .iter()
        .filter(|id| *id != "auto" && (!id.starts_with("gpt-5-") || id.contains("-nano")))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    let mini = client.get("/v1/models/gpt-5-mini").await.json();
    assert_eq!(mini["providers"].as_array().unwrap().len(), 1);
    for id in ["gpt-4o", "fast", "second/gpt-5-mini", "gpt-5-nano"] {
        assert_eq!(client.get(&format!("/v1/models/{id}")).await.status, 404, "{id}");
        let refused = client.ask(id, json!({})).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "permission_denied"), "{id}");
    }
    assert_eq!(client.ask("gpt-5-mini", json!({})).await.status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn model_strings_reach_the_upstream_under_its_own_name() {
    let upstream = upstream().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client().await;
    for (model, sent, used, prefix) in [
        ("gpt-5-mini", "gpt-5-mini", "openai/gpt-5-mini", Value::Null),
        ("openai/gpt-5-mini", "gpt-5-mini", "openai/gpt-5-mini", json!("openai")),
        ("second/gpt-5-mini", "gpt-5-mini", "second/gpt-5-mini", json!("second")),
        ("together/qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct-Turbo", "together/qwen2.5-7b", json!("together")),
        (
            "together/Qwen/Qwen2.5-7B-Instruct-Turbo",
            "Qwen/Qwen2.5-7B-Instruct-Turbo",
            "together/qwen2.5-7b",
            json!("together"),
        ),
        ("together/maker/new:free", "maker/new:free", "together/maker/new:free", json!("together")),
        ("fast", "gpt-4o-mini", "openai/gpt-4o-mini", Value::Null),
    ] {
        let answer = client.ask(model, json!({})).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&upstream.last().json()["model"], &body["model"]),
            (&json!(sent), &json!(used)),
            "{model}"
        );
        assert_eq!(body["metadata"]["requested_model"], model);
        assert_eq!(body["metadata"]["requested_provider"], prefix, "{model}");
    }
}

#[tokio::test]
async fn what_no_model_can_take_is_refused_before_anything_is_sent() {
    let upstream = upstream().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client().await;
    for (model, more, status, code, words) in [
        ("gpt-4o", json!({"reasoning_effort": "low"}), 400, "unsupported_capability", "reasoning"),
        ("openai/gpt-4o", json!({"reasoning_effort": "low"}), 400, "unsupported_capability", "`gpt-4o`"),
        ("gpt-4o", json!({"max_tokens": 16_385}), 400, "", "16384"),
        ("gpt-4o", json!({"free_models_only": true}), 400, "", "`auto`"),
        ("auto", json!({"free_models_only": true}), 400, "no_free_model", "free"),
        ("auto", json!({"max_tokens": 99_999_999}), 400, "context_length_exceeded", "room"),
        ("claude-haiku-4-5", json!({}), 503, "no_credentials", "ANTHROPIC_API_KEY"),
        ("anthropic/claude-haiku-4-5", json!({}), 503, "no_credentials", "ANTHROPIC_API_KEY"),
        ("gpt-4-32k", json!({}), 410, "model_retired", "retired"),
        ("GPT-4o", json!({}), 404, "model_not_found", "Did you mean `gpt-4o`?"),
    ] {
        let answer = client.ask(model, more.clone()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{model} {more}: {}",
            answer.text()
        );
        assert!(answer.text().contains(words), "{model} {more}: {}", answer.text());
    }
    assert_eq!(upstream.requests().len(), 0);
    // Not asked to reason is no need to be able to.
    assert_eq!(client.ask("gpt-4o", json!({"reasoning_effort": "none"})).await.status, 200);
}
