//! Money and totals: exact to the last digit, and GET /usage says what the ledger's rows say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Gateway, Request, Script, Setup, Upstream, chunk, completion, question, stream_head,
    whole,
};

/// Rates in USD per million tokens; with six digits after the point each is a whole number of 1e-12 USD per token.
const CATALOG: &str = r#"{"version":1,"source":"the test's own","license":"none","models":[
{"id":"fine","offers":[{"provider":"up","upstream":"fine-v1","price":{"rates":{"input":"0.123457","output":"1.000003","cache_read":"0.012341","reasoning":"2.500009"},"per_request":"0.000000000007"}}]},
{"id":"dear","offers":[{"provider":"up","upstream":"dear-v1","price":{"rates":{"input":"75.000001","output":"600.000007"},"above":[{"above":1000,"rates":{"input":"150.000003"}}]}}]},
{"id":"free","offers":[{"provider":"up","upstream":"free-v1","price":{"rates":{"input":"0","output":"0"}}}]}
]}"#;

/// Usage as the last user message asks for it: `prompt cached completion reasoning`.
fn usage_of(request: &Request) -> [i128; 4] {
    let body = request.json();
    let text = body["messages"][0]["content"].as_str().unwrap();
    let numbers: Vec<i128> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

async fn metered() -> (Upstream, Gateway) {
    let upstream = Upstream::start(|request: &Request| {
        let [prompt, cached, completion_tokens, reasoning] = usage_of(request);
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": completion_tokens, "total_tokens": prompt + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning}
        });
        if request.json()["model"] == "broken" {
            return Script::new().send(whole(500, &json!({"error": {"message": "broken"}})));
        }
        if request.json()["stream"] != true {
            let mut body = completion("hi");
            body["usage"] = usage;
            return Script::new().send(whole(200, &body));
        }
        let head = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"});
        let with = |name: &str, value: Value, usage: Value| {
            let mut event = head.clone();
            event[name] = value;
            event["usage"] = usage;
            chunk(format!("data: {event}\n\n"))
        };
        let delta = json!([{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]);
        Script::new()
            .send(stream_head())
            .send(with("choices", delta, Value::Null))
            .send(with("choices", json!([]), usage))
            .send(chunk("data: [DONE]\n\n"))
            .send(chunk(""))
    })
    .await;
    let setup = Setup::with_upstream(&upstream).config("catalog: { file: catalog.json }\n");
    let gateway = setup.file("catalog.json", CATALOG).start().await;
    (upstream, gateway)
}

/// What a call costs in units of 1e-12 USD, by the catalogue above and whole numbers alone.
fn oracle(model: &str, [prompt, cached, completion, reasoning]: [i128; 4]) -> i128 {
    match model {
        "fine" => {
            (prompt - cached) * 123_457
                + cached * 12_341
                + (completion - reasoning) * 1_000_003
                + reasoning * 2_500_009
                + 7
        }
        "dear" if prompt > 1000 => prompt * 150_000_003 + completion * 600_000_007,
        "dear" => prompt * 75_000_001 + completion * 600_000_007,
        _ => 0,
    }
}

/// A decimal text in units of 1e-12; no float is involved.
fn units(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 12 && !text.contains(['e', 'E', '-', '+']), "not a plain decimal: {text}");
    let digits = format!("{whole}{fraction:0<12}");
    digits.parse().unwrap_or_else(|_| panic!("not a decimal: {text}"))
}

/// The digits after `"cost":` in an answer, as they were sent.
fn cost_sent(answer: &Answer) -> i128 {
    let text = answer.text();
    let at = text.find("\"cost\":").unwrap_or_else(|| panic!("no cost in {text}")) + 7;
    units(text[at..].split([',', '}']).next().unwrap().trim())
}

async fn ask(client: &Client, model: &str, usage: [i128; 4], stream: bool, tags: &str) -> Answer {
    let mut body = question(model, json!({"stream": stream}));
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body["messages"][0]["content"] = json!(usage.map(|number| number.to_string()).join(" "));
    let mut request = client.request(&body);
    if !tags.is_empty() {
        request = request.header("x-gateway-tags", tags);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn every_cost_is_exact_in_the_answer_the_ledger_and_the_totals() {
    let (_upstream, gateway) = metered().await;
    let client = gateway.client().await;
    let mut usages = vec![
        [1, 0, 0, 0],
        [1, 1, 1, 1],
        [1000, 0, 1, 0],
        [1001, 0, 1, 0],
        [999_983, 777_777, 99_991, 33_331],
    ];
    // Numbers without a pattern, the same in every run.
    let mut seed = 42_i128;
    let mut next = |below: i128| {
        seed = (seed * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 62);
        (seed >> 20) % below
    };
    for _ in 0..12 {
        let (prompt, completion) = (next(2_000_000) + 1, next(200_000) + 1);
        usages.push([prompt, next(prompt), completion, next(completion)]);
    }
    let mut expected = Vec::new();
    for (at, usage) in usages.into_iter().enumerate() {
        for model in ["fine", "dear", "free"] {
            let answer = ask(&client, model, usage, at % 2 == 1, "").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let cost = oracle(model, usage);
            assert_eq!(cost_sent(&answer), cost, "{model} {usage:?}");
            expected.push((answer.header("x-request-id").to_owned(), cost));
        }
    }
    let rows = gateway.ledger(expected.len()).await;
    assert_eq!(rows.len(), expected.len());
    for (id, cost) in &expected {
        let row = rows.iter().find(|row| row["request_id"] == id.as_str()).unwrap();
        assert_eq!(units(row["cost_usd"].as_str().unwrap()), *cost, "{row}");
        assert_eq!((&row["unpriced"], &row["estimated"]), (&json!(false), &json!(false)));
    }
    let total: i128 = expected.iter().map(|(_, cost)| cost).sum();
    let usage = gateway.admin("GET", "/usage", None).await.1;
    assert_eq!(units(usage["data"][0]["cost_usd"].as_str().unwrap()), total);
}

const COUNTS: [&str; 5] =
    ["prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens"];

/// Groups of a row under one word of `group_by`: one, or one per tag.
fn groups(row: &Value, word: &str) -> Vec<Value> {
    let time = row["time"].as_str().unwrap();
    match word {
        "key" => vec![row["key_id"].clone()],
        "hour" => vec![json!(format!("{}:00:00.000Z", &time[..13]))],
        "day" => vec![json!(format!("{}T00:00:00.000Z", &time[..10]))],
        "tag" => {
            let tags = row["tags"].as_object().unwrap();
            let texts: Vec<_> = tags
                .iter()
                .map(|(name, value)| json!(format!("{name}={}", value.as_str().unwrap())))
                .collect();
            if texts.is_empty() { vec![Value::Null] } else { texts }
        }
        _ => vec![row[word].clone()],
    }
}

/// Every combination of a row's groups.
fn places(row: &Value, words: &[&str]) -> Vec<String> {
    let mut places = vec![String::new()];
    for word in words {
        let groups = groups(row, word);
        places = places
            .iter()
            .flat_map(|place| groups.iter().map(move |group| format!("{place}|{group}")))
            .collect();
    }
    places
}

/// Totals by group, added up from the rows.
fn summed(rows: &[Value], words: &[&str]) -> BTreeMap<String, Vec<i128>> {
    let mut sums: BTreeMap<String, Vec<i128>> = BTreeMap::new();
    for row in rows {
        for place in places(row, words) {
            let sum = sums.entry(place).or_insert_with(|| vec![0; COUNTS.len() + 4]);
            sum[0] += 1;
            sum[1] += i128::from(row["outcome"] == "failed");
            sum[2] += i128::from(row["unpriced"] == true);
            sum[3] += row["cost_usd"].as_str().map_or(0, units);
            for (at, name) in COUNTS.iter().enumerate() {
                sum[4 + at] += i128::from(row[*name].as_u64().unwrap_or(0));
            }
        }
    }
    sums
}

/// The same from an answer of GET /usage.
fn told(answer: &Value, words: &[&str]) -> BTreeMap<String, Vec<i128>> {
    let number = |group: &Value, name: &str| {
        i128::from(group[name].as_u64().unwrap_or_else(|| panic!("{name} in {group}")))
    };
    let data = answer["data"].as_array().unwrap();
    data.iter()
        .map(|group| {
            let place: String = words.iter().map(|word| format!("|{}", group[*word])).collect();
            let mut sum: Vec<i128> =
                ["requests", "errors", "unpriced"].iter().map(|name| number(group, name)).collect();
            sum.push(units(group["cost_usd"].as_str().unwrap()));
            sum.extend(COUNTS.iter().map(|name| number(group, name)));
            (place, sum)
        })
        .collect()
}

#[tokio::test]
async fn totals_by_every_group_equal_the_rows_of_the_ledger() {
    let (_upstream, gateway) = metered().await;
    let web = gateway.client_with(json!({"name": "web", "project": "web", "tags": {"stage": "test"}})).await;
    let plain = gateway.client().await;
    for (at, model) in
        ["fine", "dear", "free", "up/unknown-to-the-catalogue", "up/broken"].into_iter().enumerate()
    {
        for (client, tags) in [(&web, "team=a,feature=x"), (&web, "team=b"), (&plain, ""), (&plain, "team=a")]
        {
            let step = i128::try_from(at).unwrap();
            ask(client, model, [100 + step, 10 + step, 50 + step, 5 + step], at % 2 == 0, tags).await;
        }
    }
    let rows = gateway.ledger(20).await;
    assert_eq!(rows.len(), 20);
    // On full hours the sums kept by the hour answer; else the ledger itself. Both must say the same.
    let first = rows.iter().map(|row| row["time"].as_str().unwrap()).min().unwrap();
    let day = format!("{}T00:00:00Z", &first[..10]);
    for words in [
        "",
        "key",
        "project",
        "model",
        "provider",
        "tag",
        "hour",
        "day",
        "key,model",
        "project,provider,hour",
        "tag,key",
        "day,project,key,model,provider,hour",
        "key,project,model,provider,tag,hour,day",
    ] {
        let list: Vec<&str> = words.split(',').filter(|word| !word.is_empty()).collect();
        let expected = summed(&rows, &list);
        for range in [
            String::new(),
            format!("&from={day}&to=2099-01-01T00:00:00Z"),
            format!("&from={first}&to=2099-01-01T00:00:00.001Z"),
        ] {
            let (status, usage) =
                gateway.admin("GET", &format!("/usage?group_by={words}{range}"), None).await;
            assert_eq!(status, 200, "{usage}");
            assert_eq!(told(&usage, &list), expected, "group_by={words}{range}");
        }
    }
    let nothing = gateway
        .admin("GET", "/usage?group_by=key&from=2001-01-01T00:00:00Z&to=2002-01-01T00:00:00Z", None)
        .await
        .1;
    assert_eq!(nothing["data"], json!([]));
}
