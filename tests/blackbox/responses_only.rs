//! Models that only the Responses API serves are asked there, by themselves: the client need not know.

use serde_json::json;

use crate::support::{Setup, StrictUpstream};

/// What the stub knows, as if one of them were served by the Responses API alone.
const CATALOG: &str = r#"{"version":1,"models":[
    {"id":"echo","offers":[{"provider":"openai","upstream":"echo","capabilities":[],"traits":["responses_only"]},
        {"provider":"plain","upstream":"echo","capabilities":[],"traits":["responses_only"]}]},
    {"id":"reasoning","offers":[{"provider":"openai","upstream":"reasoning","capabilities":["reasoning"]}]}]}"#;

#[tokio::test]
async fn a_model_goes_where_it_is_served() {
    let upstream = StrictUpstream::start();
    let url = upstream.url();
    let config = format!(
        "providers:\n  openai: {{ base_url: '{url}/v1', api_key: 'k' }}\n  plain: {{ base_url: '{url}/v1' }}\n\
         catalog: {{ file: catalog.json }}\n"
    );
    let gateway = Setup::new(config).file("catalog.json", CATALOG).start().await;
    let client = gateway.client().await;
    // The row of `plain` does not say that its vendor has the Responses API.
    for (model, there) in [("openai/echo", true), ("openai/reasoning", false), ("plain/echo", false)] {
        for stream in [false, true] {
            let answer = client
                .chat(&json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}))
                .await;
            assert_eq!(answer.status, 200, "{model}: {}", answer.text());
            let body = upstream.last_body().await;
            assert_eq!(
                (body.get("input").is_some(), body.get("messages").is_some()),
                (there, !there),
                "{body}"
            );
            if there {
                // It is known not to reason, so nothing is asked for that it would refuse.
                assert_eq!((&body["store"], body.get("include")), (&json!(false), None));
            }
        }
    }
}
