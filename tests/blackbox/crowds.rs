//! Many at once: what a full provider, a greedy key, a hung upstream and idle connections make of everybody else's
//! calls. The figures are printed; the bounds on the clock are wide, since tests share their machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{
    Answer, BlackHole, Client, Gateway, Live, NO_BREAKER, PATIENCE, Request, Script, Setup, Upstream, chunk,
    completion, ending, eventually, question, stream_head, text_event, whole,
};

/// Attempts that the small provider takes at a time, and how long each takes.
const PLACES: usize = 10;
const SERVICE: Duration = Duration::from_millis(250);

fn answer(text: &str) -> Script {
    Script::new().send(whole(200, &completion(text)))
}

/// A provider that takes [`PLACES`] attempts at a time, with a short queue before it.
async fn small() -> (Upstream, Gateway) {
    let up = Upstream::always(Script::new().wait(SERVICE).send(whole(200, &completion("hi")))).await;
    let row = format!("max_in_flight: {PLACES}, queue: {{ length: 20 }}");
    let config = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    (up, gateway)
}

/// A call that ended.
struct Ended {
    answer: Answer,
    took: Duration,
}

async fn timed(request: reqwest::RequestBuilder) -> Ended {
    let started = Instant::now();
    let answer = Answer::of(request).await;
    Ended { answer, took: started.elapsed() }
}

/// Calls at a steady pace, whatever becomes of those before; and how long it took to make them.
async fn offered(client: &Client, every: Duration, count: usize) -> (Vec<Ended>, Duration) {
    let (mut calls, started) = (JoinSet::new(), Instant::now());
    let mut pace = tokio::time::interval(every);
    for _ in 0..count {
        pace.tick().await;
        calls.spawn(timed(client.request(&question("up/m", json!({})))));
    }
    let took = started.elapsed();
    (calls.join_all().await, took)
}

/// So many calls, this many at a time.
async fn in_turn(client: &Client, model: &str, count: usize, at_a_time: usize) -> Vec<Ended> {
    let worker = |number: usize| async move {
        let mut ended = Vec::new();
        for _ in (number..count).step_by(at_a_time) {
            ended.push(timed(client.request(&question(model, json!({})))).await);
        }
        ended
    };
    join_all((0..at_a_time).map(worker)).await.into_iter().flatten().collect()
}

/// The time within which 99 of 100 ended.
fn p99<'a>(ended: impl IntoIterator<Item = &'a Ended>) -> Duration {
    let mut took: Vec<Duration> = ended.into_iter().map(|one| one.took).collect();
    took.sort();
    took.get((took.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

/// Answered, or shed in words and with the time to come back.
fn answered(one: &Ended) -> bool {
    let answer = &one.answer;
    if answer.status != 200 {
        assert!([429, 503].contains(&answer.status), "{} {}", answer.status, answer.text());
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait >= 1), "{}", answer.text());
    }
    answer.status == 200
}

#[tokio::test]
async fn ten_times_more_than_a_provider_takes_leaves_it_at_its_full_rate_and_the_rest_is_shed_at_once() {
    const CALLS: usize = 1_600;
    let (up, gateway) = small().await;
    let client = gateway.client().await;
    let started = Instant::now();
    let alone = in_turn(&client, "up/m", 80, PLACES).await;
    assert!(alone.iter().all(answered));
    let capacity = 80.0 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let (ended, offering) = offered(&client, Duration::from_secs_f64(0.1 / capacity), CALLS).await;
    let window = started.elapsed();
    let (good, shed): (Vec<_>, Vec<_>) = ended.iter().partition(|one| answered(one));
    let goodput = good.len() as f64 / window.as_secs_f64();
    println!(
        "capacity {capacity:.1}/s; offered {:.0}/s: goodput {goodput:.1}/s ({:.0} %), {} shed, p99 of shedding {:?}",
        CALLS as f64 / offering.as_secs_f64(),
        100.0 * goodput / capacity,
        shed.len(),
        p99(shed.iter().copied()),
    );
    assert!(goodput >= 0.9 * capacity, "{goodput} of {capacity}");
    assert!(shed.len() > CALLS / 2 && p99(shed.iter().copied()) < Duration::from_secs(1));
    assert_eq!(up.requests().len(), 80 + good.len());
    gateway.sound(80 + good.len()).await;
}

#[tokio::test]
async fn a_key_that_asks_fifty_times_as_much_costs_another_none_of_its_calls() {
    const CALLS: usize = 100;
    let (up, gateway) = small().await;
    let (greedy, modest) = (gateway.client().await, gateway.client().await);
    let ((crowd, _), (few, _)) = tokio::join!(
        offered(&greedy, Duration::from_millis(2), 50 * CALLS),
        offered(&modest, Duration::from_millis(100), CALLS),
    );
    let good = |ended: &[Ended]| ended.iter().filter(|one| answered(one)).count();
    let (theirs, ours) = (good(&crowd), good(&few));
    println!("modest: {ours} of {CALLS}, p99 {:?}; greedy: {theirs} of {}", p99(&few), crowd.len());
    assert!(ours >= CALLS * 99 / 100, "{ours}");
    // There was not room for both.
    assert!(theirs < crowd.len() / 2, "{theirs}");
    assert_eq!(up.requests().len(), theirs + ours);
    gateway.sound(theirs + ours).await;
}

#[tokio::test]
async fn three_hundred_streams_at_once_all_run_and_all_finish() {
    const STREAMS: usize = 300;
    let gate = Arc::new(Semaphore::new(0));
    let script = Script::new()
        .send(stream_head())
        .send(chunk(text_event("one ")))
        .until(&gate)
        .send(chunk(text_event("two") + &ending()))
        .send(chunk(""));
    let up = Upstream::always(script).await;
    let gateway = Gateway::before(&up).await;
    let client = gateway.client().await;
    let ask = || tokio::spawn(Answer::of(client.request(&question("up/m", json!({"stream": true})))));
    let running: Vec<_> = (0..STREAMS).map(|_| ask()).collect();
    // None is in the way of another.
    up.reached(STREAMS).await;
    assert_eq!(up.open_connections(), STREAMS);
    gate.add_permits(STREAMS);
    for answer in running {
        let answer = answer.await.unwrap();
        let told = (answer.status, answer.content(), answer.done(), answer.broken);
        assert_eq!(told, (200, "one two".to_owned(), true, false), "{}", answer.text());
    }
    let rows = gateway.sound(STREAMS).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed" && row["completion_tokens"] == 3));
}

/// Files that this process may have open.
fn files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

/// A connection of a client that says nothing, or nothing any more.
async fn idle(gateway: &Gateway, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.url.strip_prefix("http://").unwrap()).await.unwrap();
    if number.is_multiple_of(2) {
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut said = [0; 15];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut said)).await.unwrap().unwrap();
        assert_eq!(&said, b"HTTP/1.1 200 OK");
    }
    stream
}

#[tokio::test]
async fn thousands_of_idle_connections_disturb_nobody() {
    let up = Upstream::always(answer("hi")).await;
    let patient = Setup::with_upstream(&up).variable("LLM_GATEWAY__SERVER__HEAD_TIMEOUT", "60s");
    let gateway = patient.start().await;
    let client = gateway.client().await;
    let before = in_turn(&client, "up/m", 200, 4).await;
    let count = 2_000.min(files_max() / 4);
    let crowd = join_all((0..count).map(|number| idle(&gateway, number))).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", gateway.process.id())).unwrap().count();
    eventually("all are accepted", || std::future::ready((descriptors() > count).then_some(()))).await;
    let during = in_turn(&client, "up/m", 200, 4).await;
    println!("p99 of a call {:?}, beside {count} idle connections {:?}", p99(&before), p99(&during));
    assert!(during.iter().all(|one| one.answer.status == 200));
    assert!(p99(&during) < Duration::from_secs(1));
    drop(crowd);
    eventually("all are let go", || std::future::ready((descriptors() < count / 2).then_some(()))).await;
    gateway.sound(400).await;
}

#[tokio::test]
async fn a_hung_provider_and_one_that_accepts_nobody_leave_the_others_as_they_are() {
    const HANGING: usize = 200;
    let (hung, hole) = (Upstream::always(Script::new().until_closed()).await, BlackHole::open());
    let well = Upstream::always(answer("hi")).await;
    let row = |id: &str, base_url: String| format!("  {id}: {{ base_url: '{base_url}', {{MORE}} }}\n");
    let config = row("hung", hung.base_url()) + &row("hole", hole.base_url()) + &row("up", well.base_url());
    let config = config.replace("{MORE}", "timeouts: { connect: 60s }");
    let gateway = Setup::new(format!("providers:\n{config}")).start().await;
    let client = gateway.client().await;
    let mut hanging = JoinSet::new();
    for number in 0..2 * HANGING {
        let model = if number.is_multiple_of(2) { "hung/m" } else { "hole/m" };
        hanging.spawn(Answer::of(client.request(&question(model, json!({"stream": number % 4 < 2})))));
    }
    hung.reached(HANGING).await;
    gateway.counted("llm_gateway_in_flight_requests", 400.0).await;
    let ended = in_turn(&client, "up/m", 400, 8).await;
    println!("beside {} calls that hang: p99 {:?}", 2 * HANGING, p99(&ended));
    assert!(ended.iter().all(|one| one.answer.status == 200 && one.took < Duration::from_secs(5)));
    assert_eq!((hanging.len(), hanging.try_join_next().is_none()), (2 * HANGING, true));
    hanging.shutdown().await;
    hung.all_closed().await;
    // What never had a connection is no row.
    gateway.sound(400 + HANGING).await;
}

/// Says by its name how far it comes: not to its head, or to its first content, or on and on.
fn stages(request: &Request) -> Script {
    let head = || Script::new().send(stream_head());
    match request.json()["model"].as_str().unwrap() {
        "headless" => Script::new().until_closed(),
        "silent" => head().send(chunk(text_event("a"))).until_closed(),
        _ => {
            let word =
                |script: Script, _| script.send(chunk(text_event("a "))).wait(Duration::from_millis(50));
            (0..400).fold(head(), word)
        }
    }
}

#[tokio::test]
async fn clients_that_leave_at_any_stage_leave_their_places_to_others() {
    const EACH: usize = 50;
    let up = Upstream::start(stages).await;
    let row = format!("max_in_flight: {}, adaptive_limit: false, queue: {{ timeout: 60s }}", 4 * EACH);
    let config = format!("providers:\n  up: {{ base_url: '{}', {row} }}\n", up.base_url());
    let gateway = Setup::new(config).start().await;
    let client = gateway.client().await;
    for _ in 0..2 {
        // Of those that wait one may get a place from somebody who leaves, before it leaves itself.
        let before = up.requests().len();
        let ask = |model: &str, stream| client.request(&question(model, json!({"stream": stream})));
        let mut calls = JoinSet::new();
        for (model, stream) in [("up/headless", false), ("up/headless", true)] {
            (0..EACH).for_each(|_| drop(calls.spawn(Answer::of(ask(model, stream)))));
        }
        let opened = ["up/silent", "up/flowing"].map(|model| (0..EACH).map(move |_| model));
        let lives = join_all(opened.into_iter().flatten().map(|model| Live::open(ask(model, true)))).await;
        // Every place is taken: each was given back by who left before.
        up.reached(before + 4 * EACH).await;
        (0..EACH).for_each(|_| drop(calls.spawn(Answer::of(ask("up/headless", false)))));
        gateway.counted("llm_gateway_in_flight_requests", (5 * EACH) as f64).await;
        assert_eq!(up.requests().len(), before + 4 * EACH);
        assert!(lives.iter().all(|live| live.response.status() == 200));
        let leaving = tokio::spawn(async move { calls.shutdown().await });
        drop(lives);
        leaving.await.unwrap();
        gateway.idle().await;
        up.all_closed().await;
        let rows = gateway.sound(up.requests().len()).await;
        assert!(rows.iter().all(|row| row["outcome"] == "cancelled"), "{rows:?}");
    }
}

#[tokio::test]
async fn one_target_of_three_that_fails_every_second_call_costs_no_client_its_answer() {
    const CALLS: usize = 2_000;
    let flaky = Upstream::start(|request: &Request| match request.number % 2 {
        0 => Script::new().send(whole(500, &json!({"error": {"message": "because"}}))),
        _ => answer("hi"),
    })
    .await;
    let (one, two) = (Upstream::always(answer("hi")).await, Upstream::always(answer("hi")).await);
    let ups = [&flaky, &one, &two];
    for (rule, breaker) in [("the usual breaker", ""), ("no breaker", NO_BREAKER)] {
        let before: usize = ups.iter().map(|up| up.requests().len()).sum();
        let rows: String = ["a", "b", "c"]
            .iter()
            .zip(ups)
            .map(|(id, up)| format!("  {id}: {{ base_url: '{}', {breaker} }}\n", up.base_url()))
            .collect();
        let alias = "models:\n  any: { targets: [ { model: a/m }, { model: b/m }, { model: c/m } ] }\n";
        let gateway = Setup::new(format!("providers:\n{rows}{alias}")).start().await;
        let client = gateway.client().await;
        let ended = in_turn(&client, "any", CALLS, 16).await;
        let good = ended.iter().filter(|one| one.answer.status == 200).count();
        let asked = ups.iter().map(|up| up.requests().len()).sum::<usize>() - before;
        println!(
            "{rule}: {good} of {CALLS} answered, {asked} upstream calls, {:.3} a call",
            asked as f64 / 2e3
        );
        assert_eq!((ended.len(), good), (CALLS, CALLS));
        assert!(asked <= CALLS * 12 / 10, "{asked}");
        gateway.sound(asked).await;
    }
}
