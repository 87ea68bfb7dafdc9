//! Usage that upstreams report, do not report, or report wrongly; and what it costs.

use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, Request, Script, Setup, Upstream, chunk, completion, event, stream_head, text_event,
    whole,
};

const CATALOG: &str = r#"{"version":1,"models":[{"id":"priced","offers":[
  {"provider":"up","upstream":"priced","capabilities":[],"price":{"rates":{"input":"3","output":"15"}}}]}]}"#;

/// An upstream that reports the usage that the request holds under `report`.
fn reporting(request: &Request) -> Script {
    let body = request.json();
    let report = body.get("report");
    if body["stream"] != true {
        let mut reply = completion("one two three four five");
        match report {
            Some(usage) => reply["usage"] = usage.clone(),
            None => drop(reply.as_object_mut().unwrap().shift_remove("usage")),
        }
        return Script::new().send(whole(200, &reply));
    }
    let usage = report.map_or(String::new(), |usage| {
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage})
        )
    });
    let end = format!("{}{usage}data: [DONE]\n\n", event("{}", "\"stop\""));
    Script::new()
        .send(stream_head())
        .send(chunk(text_event("one two three four five") + &end))
        .send(chunk(""))
}

/// `usage` of an answer, streamed or not.
fn usage(answer: &Answer) -> Value {
    if answer.header("content-type").starts_with("text/event-stream") {
        return answer.chunks().pop().unwrap()["usage"].clone();
    }
    answer.json()["usage"].clone()
}

async fn gateway() -> (Upstream, Gateway) {
    let upstream = Upstream::start(reporting).await;
    let setup = Setup::with_upstream(&upstream)
        .config("catalog: { file: catalog.json }\n")
        .file("catalog.json", CATALOG);
    let gateway = setup.start().await;
    (upstream, gateway)
}

fn ask(report: Option<&Value>, stream: bool) -> Value {
    let mut more = json!({"stream": stream});
    if stream {
        more["stream_options"] = json!({"include_usage": true});
    }
    if let Some(report) = report {
        more["report"] = report.clone();
    }
    more
}

#[tokio::test]
async fn usage_that_is_missing_or_cannot_be_true_is_estimated_and_flagged() {
    let (_upstream, gateway) = gateway().await;
    let client = gateway.client().await;
    let reports = [
        None,
        Some(Value::Null),
        Some(json!({})),
        Some(json!("9")),
        Some(json!({"prompt_tokens": null, "completion_tokens": null, "total_tokens": null})),
        Some(json!({"prompt_tokens": -9, "completion_tokens": 3, "total_tokens": -6})),
        Some(json!({"prompt_tokens": 9, "completion_tokens": -3, "total_tokens": 6})),
        Some(json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 4})),
        Some(json!({"prompt_tokens": 9.5, "completion_tokens": 3})),
        Some(json!({"prompt_tokens": 9})),
        Some(json!({"prompt_tokens": 1e300, "completion_tokens": 3})),
    ];
    for report in &reports {
        for stream in [false, true] {
            let answer = client.ask("up/priced", ask(report.as_ref(), stream)).await;
            assert_eq!(answer.status, 200, "{report:?} {}", answer.text());
            let usage = usage(&answer);
            assert_eq!(
                (&usage["estimated"], &usage["completion_tokens"]),
                (&json!(true), &json!(5)),
                "{report:?} {usage}"
            );
            let prompt = usage["prompt_tokens"].as_u64().unwrap();
            assert!((1..100).contains(&prompt) && usage["total_tokens"] == prompt + 5, "{usage}");
            assert!(usage["cost"].as_f64().unwrap() > 0.0, "{usage}");
        }
    }
    let rows = gateway.ledger(2 * reports.len()).await;
    assert!(rows.iter().all(|row| row["estimated"] == true && row["completion_tokens"] == 5), "{rows:?}");
    assert!(rows.iter().all(|row| row["outcome"] == "completed"));
}

#[tokio::test]
async fn zero_is_a_number_and_not_missing() {
    let (_upstream, gateway) = gateway().await;
    let client = gateway.client().await;
    let report = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    for stream in [false, true] {
        let answer = client.ask("up/priced", ask(Some(&report), stream)).await;
        let usage = usage(&answer);
        assert_eq!((&usage["total_tokens"], usage.get("estimated")), (&json!(0), None), "{usage}");
        assert_eq!(usage["cost"].as_f64(), Some(0.0));
    }
    let rows = gateway.ledger(2).await;
    assert!(rows.iter().all(|row| row["prompt_tokens"] == 0 && row["estimated"] == false), "{rows:?}");
}

#[tokio::test]
async fn the_cost_in_the_answer_is_the_cost_in_the_ledger() {
    let (_upstream, gateway) = gateway().await;
    let client = gateway.client().await;
    let report =
        json!({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18, "vendor": {"x": 1.50}});
    for (stream, report) in [(false, Some(&report)), (true, Some(&report)), (false, None), (true, None)] {
        let answer = client.ask("up/priced", ask(report, stream)).await;
        let text = answer.text();
        let at = text.rfind("\"cost\":").unwrap() + 7;
        let cost: String = text[at..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        if report.is_some() {
            // 7 x 3 + 11 x 15 per million tokens.
            assert_eq!(cost, "0.000186");
            assert_eq!(usage(&answer)["vendor"], json!({"x": 1.5}));
        }
        let id = answer.header("x-request-id").to_owned();
        let booked = crate::support::eventually("the call is booked", || async {
            let rows = gateway.ledger(1).await;
            rows.into_iter().find(|row| row["request_id"] == id.as_str())
        })
        .await;
        assert_eq!(booked["cost_usd"], cost.as_str(), "{stream} {report:?}");
    }
}

#[tokio::test]
async fn a_price_that_is_not_known_leaves_the_cost_out() {
    let (_upstream, gateway) = gateway().await;
    let report = json!({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18});
    let answer = gateway.client().await.ask("up/unheard-of", ask(Some(&report), false)).await;
    assert_eq!(usage(&answer), report);
    assert_eq!(gateway.ledger(1).await[0]["cost_usd"], Value::Null);
}
