//! What upstreams do to a call: nobody there, lines that break, answers that are none, limits that move. The client
//! gets another target's answer or a plain word of what happened, and each attempt is booked once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Answer, BlackHole, Client, Event, Gateway, NO_BREAKER, PATIENCE, Request, Script, Setup, Upstream, chunk,
    completion, ending, event, stream_head, streamed, text_event, whole,
};

type Case = (&'static str, Script);

const JSON: &str = "content-type: application/json";
const SSE: &str = "content-type: text/event-stream";

fn answer(text: &str) -> Script {
    Script::new().send(whole(200, &completion(text)))
}

/// An answer of any head and body.
fn plain(head: &str, body: impl AsRef<str>) -> Script {
    Script::new().send(format!("HTTP/1.1 {head}\r\n\r\n{}", body.as_ref()))
}

/// A 200 of this type, whole.
fn sized(kind: &str, body: &str) -> Script {
    plain(&format!("200 OK\r\n{kind}\r\ncontent-length: {}", body.len()), body)
}

fn refusal(status: u16, headers: &str, code: &str) -> Script {
    let body = json!({"error": {"message": "because", "type": "their_type", "code": code}}).to_string();
    plain(&format!("{status} X\r\n{JSON}\r\n{headers}content-length: {}", body.len()), body)
}

/// A stream of which one content has been sent.
fn begun() -> Script {
    Script::new().send(stream_head()).send(chunk(text_event("a")))
}

/// A row of the configuration; more is its further keys.
fn row(id: &str, base_url: &str, more: &str) -> String {
    format!("  {id}: {{ base_url: '{base_url}', {more} }}\n")
}

/// `up`, which has one way to misbehave per case, and `next`, which answers.
struct Pair {
    up: Upstream,
    next: Upstream,
    gateway: Gateway,
    client: Client,
    stream: bool,
}

impl Pair {
    async fn new(cases: &[Case], stream: bool) -> Self {
        let up = Upstream::of(cases.iter().map(|(_, script)| script.clone()).collect()).await;
        let well = if stream { streamed("from the next") } else { answer("from the next") };
        let next = Upstream::always(well).await;
        let config = row("up", &up.base_url(), NO_BREAKER) + &row("next", &next.base_url(), "");
        let gateway = Setup::new(format!("providers:\n{config}")).start().await;
        let client = gateway.client().await;
        Self { up, next, gateway, client, stream }
    }

    async fn ask(&self, number: usize) -> Answer {
        let body = json!({"stream": self.stream, "fallbacks": ["next/m"]});
        self.client.ask(&format!("up/{number}"), body).await
    }
}

/// Every case leads to the next target, is asked once, and is booked once as failed; gives the rows of `up`.
async fn passed_over(cases: &[Case], stream: bool) -> Vec<Value> {
    let pair = Pair::new(cases, stream).await;
    for (number, (name, _)) in cases.iter().enumerate() {
        let answer = pair.ask(number).await;
        let told = (answer.status, answer.content(), answer.broken);
        assert_eq!(told, (200, "from the next".to_owned(), false), "{name}: {}", answer.text());
        assert!(!stream || answer.done(), "{name}");
        assert_eq!(
            (pair.up.requests().len(), pair.next.requests().len()),
            (number + 1, number + 1),
            "{name}"
        );
    }
    let rows = pair.gateway.sound(2 * cases.len()).await;
    let failed: Vec<Value> = rows.into_iter().filter(|row| row["provider"] == "up").collect();
    assert_eq!(failed.len(), cases.len());
    assert!(
        failed.iter().all(|row| row["outcome"] == "failed" && row["completion_tokens"] == 0),
        "{failed:?}"
    );
    failed
}

#[tokio::test]
async fn a_line_that_breaks_before_the_client_has_a_byte_is_the_next_targets_chance() {
    let body = completion("hello").to_string();
    let (length, half) = (body.len(), &body[..body.len() / 2]);
    let sized = || plain(&format!("200 OK\r\n{JSON}\r\ncontent-length: {length}"), half);
    let chunked = |body: String| plain(&format!("200 OK\r\n{JSON}\r\ntransfer-encoding: chunked"), body);
    let wholes = [
        ("reset before the head", Script::new().reset()),
        ("closed before the head", Script::new().close()),
        ("reset in the head", Script::new().send("HTTP/1.1 200 OK\r\ncontent-ty").reset()),
        ("reset in a body of known length", sized().reset()),
        ("closed in a body of known length", sized().close()),
        ("closed in a chunk", chunked(format!("{length:x}\r\n{half}")).close()),
        ("closed between chunks", chunked(format!("{:x}\r\n{half}\r\n", half.len())).close()),
        ("a body without a length, cut", plain(&format!("200 OK\r\n{JSON}"), half).close()),
    ];
    passed_over(&wholes, false).await;
    let head = || Script::new().send(stream_head());
    let role = event(r#"{"role":"assistant","content":""}"#, "null");
    let streams = [
        ("reset before the head", Script::new().reset()),
        ("closed in the head", Script::new().send("HTTP/1.1 200 OK\r\ncontent-ty").close()),
        ("reset after the head", head().reset()),
        ("closed in a chunk", head().send("ff\r\ndata: {\"ch").close()),
        ("reset after the role", head().send(chunk(&role)).reset()),
        ("shorter than announced", plain(&format!("200 OK\r\n{SSE}\r\ncontent-length: 999"), &role).close()),
        ("without a length, cut", plain(&format!("200 OK\r\n{SSE}"), &role).close()),
        ("without a length, empty", plain(&format!("200 OK\r\n{SSE}"), "").close()),
    ];
    passed_over(&streams, true).await;
}

#[tokio::test]
async fn what_is_no_answer_is_the_next_targets_chance_and_costs_nothing() {
    let html = "<html><body>captive portal</body></html>";
    let error = r#"{"error":{"message":"out of capacity","type":"server_error"}}"#;
    let limited = r#"{"error":{"message":"slow down","code":429}}"#;
    let cases = [
        ("HTML", sized("content-type: text/html", html)),
        ("HTML as JSON", sized(JSON, html)),
        ("an error in a 200", sized(JSON, error)),
        ("a limit in a 200", sized(JSON, limited)),
        ("no choices", sized(JSON, r#"{"choices":[]}"#)),
        ("204", plain("204 No Content", "")),
        ("a redirect", plain("302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0", "")),
    ];
    for stream in [false, true] {
        let rows = passed_over(&cases, stream).await;
        let free = |row: &Value| row["prompt_tokens"] == 0 && row["estimated"] == false;
        assert!(rows.iter().all(free), "{rows:?}");
    }
}

#[tokio::test]
async fn odd_heads_are_the_next_targets_chance() {
    let many: String = (0..1_000).map(|at| format!("x-header-{at}: value\r\n")).collect();
    let cases = [
        ("a thousand headers", plain(&format!("200 OK\r\n{many}content-length: 2"), "{}")),
        (
            "another protocol",
            plain("101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade", "").close(),
        ),
        ("early hints and no more", plain("103 Early Hints", "").close()),
        ("not HTTP", Script::new().send("SSH-2.0-OpenSSH_9.6\r\n\r\n").close()),
    ];
    for stream in [false, true] {
        passed_over(&cases, stream).await;
    }
}

/// Every case ends in one error event, asks nobody else, and is booked once as failed with what was delivered.
async fn ended_badly(cases: &[Case], codes: &[&str]) {
    let pair = Pair::new(cases, true).await;
    for (number, (name, _)) in cases.iter().enumerate() {
        let answer = pair.ask(number).await;
        assert_eq!((answer.status, answer.content().as_str()), (200, "a"), "{name}: {}", answer.text());
        assert!(!answer.text().contains("[DONE]") && !answer.broken, "{name}");
        let Some(Event::Json(last)) = answer.events().pop() else { panic!("{name}: {}", answer.text()) };
        let code = last["error"]["code"].as_str().unwrap_or("none");
        assert!(codes.contains(&code), "{name}: {last}");
    }
    assert_eq!(pair.next.requests().len(), 0);
    pair.up.all_closed().await;
    let rows = pair.gateway.sound(cases.len()).await;
    assert!(rows.iter().all(|row| row["outcome"] == "failed" && row["completion_tokens"] == 1), "{rows:?}");
}

#[tokio::test]
async fn a_line_that_breaks_after_the_first_content_is_an_error_event_and_nobody_else_is_asked() {
    let first = text_event("a");
    let short = format!("200 OK\r\n{SSE}\r\ncontent-length: {}", first.len() + ending().len());
    let cases = [
        ("reset", begun().reset()),
        ("reset in a chunk", begun().send("ff\r\ndata: {\"ch").reset()),
        ("shorter than announced", plain(&short, &first).close()),
        ("shorter than announced, by reset", plain(&short, &first).wait(Duration::from_millis(20)).reset()),
    ];
    ended_badly(&cases, &["stream_truncated", "upstream_disconnected"]).await;
}

#[tokio::test]
async fn an_event_or_a_line_of_ten_megabytes_after_the_first_content_is_cut_off() {
    let large = "x".repeat(10 << 20);
    let mut endless = begun();
    for _ in 0..64 {
        endless = endless.send(chunk("y".repeat(1 << 20)));
    }
    let cases = [
        ("one event", begun().send(chunk(text_event(&large) + &ending())).send(chunk(""))),
        ("a comment", begun().send(chunk(format!(": {large}"))).until_closed()),
        ("many data lines", begun().send(chunk("data: x\n".repeat(2 << 20))).until_closed()),
        ("a line without end", endless.until_closed()),
    ];
    ended_badly(&cases, &["upstream_invalid_response"]).await;
}

#[tokio::test]
async fn nonsense_in_a_stream_is_passed_over_or_an_error_and_never_a_panic() {
    // Passed over: what is no event, names no choice, or names one that can only be the first.
    let passed: [&[u8]; 7] = [
        b"data: {}\n\n",
        b"data: {\"choices\":[7]}\n\n",
        b"data: {\"choices\":[{\"index\":-1,\"delta\":{\"content\":{}}}]}\n\n",
        b"data: {\"choices\":[{\"index\":18446744073709551616,\"delta\":null}]}\n\n",
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":4294967296}]}}]}\n\n",
        b"\x00\x01\x02\n\n",
        b"nonsense\ndata\nid\n: \xff\n\n",
    ];
    let wrong: [&[u8]; 7] = [
        b"data: 5\n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b"data: \"text\"\n\n",
        b"data: {\"choices\":{}}\n\n",
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud800\"}}]}\n\n",
        b"data: \xff\xfe\x00\n\n",
    ];
    let pieces: Vec<&[u8]> = passed.into_iter().chain(wrong).collect();
    let script = |piece: &&[u8]| {
        let rest = begun().send(chunk(piece));
        ("nonsense", rest.send(chunk(text_event("b") + &ending())).send(chunk("")))
    };
    let cases: Vec<Case> = pieces.iter().map(script).collect();
    let pair = Pair::new(&cases, true).await;
    for (number, piece) in pieces.iter().enumerate() {
        let answer = pair.ask(number).await;
        let what = String::from_utf8_lossy(piece);
        assert!(answer.status == 200 && !answer.broken, "{what}");
        let error = answer.stream_error().map(|error| error["code"].clone());
        let told = (answer.content(), answer.done(), error);
        match number < passed.len() {
            true => assert_eq!(told, ("ab".to_owned(), true, None), "{what}: {}", answer.text()),
            false => {
                let code = Some(json!("upstream_invalid_response"));
                assert_eq!(told, ("a".to_owned(), false, code), "{what}: {}", answer.text());
            }
        }
    }
    pair.gateway.sound(pieces.len()).await;
}

#[tokio::test]
async fn a_line_that_goes_dead_is_a_time_out_and_booked_with_what_was_delivered() {
    let words = text_event("one ") + &text_event("two ") + &text_event("three");
    let up = Upstream::start(move |request: &Request| match request.json()["stream"] == true {
        true => Script::new().send(stream_head()).send(chunk(&words)).until_closed(),
        false => plain(&format!("200 OK\r\n{JSON}\r\ncontent-length: 999"), "{\"choices\":").until_closed(),
    })
    .await;
    let config = row("up", &up.base_url(), "timeouts: { idle: 300ms }");
    let setup = Setup::new(format!("providers:\n{config}"));
    let gateway = setup.variable("LLM_GATEWAY__SERVER__PING_INTERVAL", "50ms").start().await;
    let (client, started) = (gateway.client().await, Instant::now());
    let answer = client.ask("up/m", json!({"stream": true})).await;
    assert_eq!((answer.status, answer.content().as_str()), (200, "one two three"));
    assert_eq!(answer.stream_error().unwrap()["code"], "timeout");
    assert!(answer.text().contains(": ping\n\n") && !answer.text().contains("[DONE]"), "{}", answer.text());
    let answer = client.ask("up/m", json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"), "{}", answer.text());
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    up.all_closed().await;
    let rows = gateway.sound(2).await;
    let streamed = rows.iter().find(|row| row["stream"] == true).unwrap();
    assert_eq!((&streamed["completion_tokens"], &streamed["estimated"]), (&json!(3), &json!(true)));
}

#[tokio::test]
async fn nobody_there_is_told_within_a_second_and_soon_not_asked_at_all() {
    // A port that was free a moment ago, and a name that no resolver has.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let next = Upstream::always(answer("from the next")).await;
    let breaker = "breaker: { consecutive_failures: 3, cool_down: 60s }";
    let config = row("gone", &format!("http://{gone}/v1"), breaker)
        + &row("lost", "http://no-such-host.invalid/v1", breaker)
        + &row("next", &next.base_url(), "");
    let gateway = Setup::new(format!("providers:\n{config}")).start().await;
    let client = gateway.client().await;
    for (number, model) in ["gone/m", "lost/m"].into_iter().enumerate() {
        for _ in 0..3 {
            let started = Instant::now();
            let alone = client.ask(model, json!({})).await;
            assert_eq!((alone.status, alone.code().as_str()), (502, "upstream_unreachable"));
            assert!(started.elapsed() < Duration::from_secs(1), "{model}: {:?}", started.elapsed());
        }
        let barred = client.ask(model, json!({})).await;
        assert_eq!((barred.status, barred.code().as_str()), (503, "overloaded"), "{}", barred.text());
        let wait: u64 = barred.header("retry-after").parse().unwrap();
        assert!((50..=60).contains(&wait), "{wait}");
        let helped = client.ask(model, json!({"fallbacks": ["next/m"]})).await;
        let told = (helped.status, helped.content(), helped.header("x-gateway-attempts"));
        assert_eq!(told, (200, "from the next".to_owned(), "1"));
        gateway.sound(number + 1).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_never_accepted_is_given_up_and_the_next_target_asked() {
    let hole = BlackHole::open();
    let next = Upstream::start(|request: &Request| match request.json()["stream"] == true {
        true => streamed("from the next"),
        false => answer("from the next"),
    })
    .await;
    let config = row("hole", &hole.base_url(), &format!("timeouts: {{ connect: 200ms }}, {NO_BREAKER}"))
        + &row("next", &next.base_url(), "");
    let gateway = Setup::new(format!("providers:\n{config}")).start().await;
    let client = gateway.client().await;
    for stream in [false, true] {
        let started = Instant::now();
        let alone = client.ask("hole/m", json!({"stream": stream})).await;
        assert_eq!((alone.status, alone.code().as_str()), (504, "timeout"), "{}", alone.text());
        let took = started.elapsed();
        assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&took), "{took:?}");
        let helped = client.ask("hole/m", json!({"stream": stream, "fallbacks": ["next/m"]})).await;
        let told = (helped.status, helped.content(), helped.header("x-gateway-attempts"));
        assert_eq!(told, (200, "from the next".to_owned(), "2"), "{}", helped.text());
    }
    // What was never connected is no row.
    gateway.sound(2).await;
}

#[tokio::test]
async fn connections_that_close_as_they_are_used_again_cost_no_call_and_no_second_charge() {
    const CALLS: usize = 300;
    // It keeps connections alive by its word, and closes each just as the next call comes over it.
    let up = Upstream::start(|request: &Request| {
        let said = if request.json()["stream"] == true { streamed("hi") } else { answer("hi") };
        said.close_at_reuse(request.number.is_multiple_of(2))
    })
    .await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    let call = |number: usize| client.ask("up/m", json!({"stream": number.is_multiple_of(3)}));
    for turn in 0..CALLS / 3 {
        for answer in futures_util::future::join_all((turn * 3..turn * 3 + 3).map(call)).await {
            let told = (answer.status, answer.content(), answer.header("x-gateway-attempts"));
            assert_eq!(told, (200, "hi".to_owned(), "1"), "{}", answer.text());
        }
    }
    assert_eq!((up.requests().len(), up.connections()), (CALLS, CALLS));
    let rows = gateway.sound(CALLS).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed" && row["prompt_tokens"] == 9));
}

#[tokio::test]
async fn a_limit_that_moves_is_kept_and_the_calls_go_elsewhere_meanwhile() {
    for stream in [false, true] {
        let well = move |text: &str| if stream { streamed(text) } else { answer(text) };
        // The first, sixth and eleventh time that it is asked it has had enough for a second.
        let up = Upstream::start(move |request: &Request| match request.number % 5 {
            0 => refusal(429, "retry-after: 1\r\n", "limited"),
            _ => well("from the first"),
        })
        .await;
        let next = Upstream::always(well("from the next")).await;
        let config = row("up", &up.base_url(), "") + &row("next", &next.base_url(), "");
        let gateway = Setup::new(format!("providers:\n{config}")).start().await;
        let client = gateway.client().await;
        let mut calls = 0;
        let mut limited_at: Vec<Instant> = Vec::new();
        while limited_at.len() < 3 {
            let before = up.requests().len();
            let answer = client.ask("up/m", json!({"stream": stream, "fallbacks": ["next/m"]})).await;
            assert!(answer.status == 200 && (!stream || answer.done()), "{}", answer.text());
            calls += 1;
            if before.is_multiple_of(5) && up.requests().len() > before {
                assert_eq!(answer.header("x-gateway-attempts"), "2");
                limited_at.push(Instant::now());
            }
        }
        let alone = client.ask("up/m", json!({"stream": stream})).await;
        let told = (alone.status, alone.code(), alone.header("retry-after"));
        assert_eq!(told, (429, "upstream_rate_limited".to_owned(), "1"), "{}", alone.text());
        // It was asked again when its time was over and not before: nothing else was limited.
        assert_eq!(up.requests().len(), 11);
        let apart = limited_at.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(apart.into_iter().all(|apart| apart > Duration::from_millis(500)), "{limited_at:?}");
        gateway.sound(calls + 3).await;
    }
}

#[tokio::test]
async fn an_overloaded_provider_is_left_alone_for_as_long_as_it_says() {
    for status in [503, 529] {
        let up = Upstream::start(move |request: &Request| match request.number {
            0 => refusal(status, "retry-after: 2\r\n", "overloaded"),
            _ => answer("well again"),
        })
        .await;
        let gateway = Gateway::before(&up).await;
        let client = gateway.client().await;
        let told = client.ask("up/m", json!({})).await;
        assert_eq!((told.status, told.code().as_str()), (502, "upstream_overloaded"), "{}", told.text());
        let since = Instant::now();
        let mut shed = 0;
        while up.requests().len() == 1 {
            let answer = client.ask("up/m", json!({})).await;
            if answer.status == 200 {
                break;
            }
            assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{}", answer.text());
            assert!(["1", "2"].contains(&answer.header("retry-after")), "{}", answer.header("retry-after"));
            shed += 1;
        }
        assert!(since.elapsed() > Duration::from_secs(1) && shed > 1, "{:?} {shed}", since.elapsed());
        gateway.sound(2).await;
    }
}

#[tokio::test]
async fn with_every_provider_down_few_calls_reach_one_and_each_is_told_at_once() {
    const CALLS: usize = 600;
    let down = |status| Upstream::always(refusal(status, "", "down"));
    let ups = [down(503).await, down(529).await, down(503).await];
    for (breaker, most) in [("", CALLS / 5), (NO_BREAKER, CALLS * 12 / 10)] {
        let before: usize = ups.iter().map(|up| up.requests().len()).sum();
        let rows = ["a", "b", "c"].iter().zip(&ups).map(|(id, up)| row(id, &up.base_url(), breaker));
        let gateway = Setup::new(format!("providers:\n{}", rows.collect::<String>())).start().await;
        let client = gateway.client().await;
        let started = Instant::now();
        for _ in 0..CALLS / 10 {
            let call = |_| client.ask("a/m", json!({"fallbacks": ["b/m", "c/m"]}));
            for answer in futures_util::future::join_all((0..10).map(call)).await {
                assert!([502, 503].contains(&answer.status), "{}", answer.text());
                assert!(answer.status == 502 || !answer.header("retry-after").is_empty());
            }
        }
        let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 2;
        let asked = ups.iter().map(|up| up.requests().len()).sum::<usize>() - before;
        println!("every provider down, {CALLS} calls in {seconds} s: {asked} upstream");
        assert!(asked <= most + 30 * seconds, "{asked} in {seconds} s");
        gateway.sound(asked).await;
    }
}

#[tokio::test]
async fn a_credential_that_is_refused_is_taken_out_with_an_alarm_that_names_it() {
    for (status, code) in [(401, "invalid_api_key"), (402, "billing"), (429, "insufficient_quota")] {
        let up = Upstream::start(move |request: &Request| match request.header("authorization") {
            Some("Bearer secret-of-the-second") => answer("hi"),
            _ => refusal(status, "", code),
        })
        .await;
        let keys =
            "api_keys: [{ key: env:FIRST, name: first, weight: 1000 }, { key: env:SECOND, weight: 0 }]";
        let gateway = Setup::new(format!("providers:\n{}", row("up", &up.base_url(), keys)))
            .variable("FIRST", "secret-of-the-first")
            .variable("SECOND", "secret-of-the-second")
            .start()
            .await;
        let client = gateway.client().await;
        for _ in 0..5 {
            let answer = client.ask("up/m", json!({})).await;
            assert_eq!((answer.status, answer.content().as_str()), (200, "hi"), "{}", answer.text());
        }
        assert_eq!(up.requests().len(), 6);
        gateway.sound(6).await;
        let mut alarms = gateway.process.events();
        alarms.retain(|event| event["level"] == "ERROR");
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert_eq!((&alarms[0]["provider"], &alarms[0]["credential"]), (&json!("up"), &json!("first")));
        assert!(!gateway.process.log().contains("secret-of"));
    }
}

#[tokio::test]
async fn of_usage_that_is_told_twice_the_last_word_counts_in_answer_and_ledger() {
    let told = |prompt: u64, completion: u64| {
        let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 16});
        format!("data: {}\n\n", json!({"choices": [], "usage": usage}))
    };
    let text = text_event("a") + &told(9, 7) + &event("{}", "\"stop\"") + &told(11, 5) + "data: [DONE]\n\n";
    let up = Upstream::always(Script::new().send(stream_head()).send(chunk(text)).send(chunk(""))).await;
    let gateway = Gateway::before(&up).await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let answer = gateway.client().await.ask("up/m", options).await;
    let usage = answer.chunks().pop().unwrap()["usage"].clone();
    let row = gateway.sound(1).await.remove(0);
    let booked = [&row["prompt_tokens"], &row["completion_tokens"], &usage["total_tokens"]];
    assert_eq!((booked, &row["estimated"]), ([&json!(11), &json!(5), &json!(16)], &json!(false)), "{usage}");
}
