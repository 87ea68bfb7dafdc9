//! Recorded traffic: what vendors once sent is replayed through the running gateway, and what the client gets is
//! compared with what a correct answer holds; what reaches the upstream is compared with what was recorded.

mod case;
mod compare;
mod family;
mod replay;
mod seen;
mod touches;

use std::collections::BTreeMap;
use std::rc::Rc;

use case::Case;
use family::Family;
use llm_gateway::config::Rows;
use replay::{Chunking, Replay};
use seen::Seen;
use serde_json::Value;

use crate::support::{Answer, Client, Gateway, Request, Setup};

/// A gateway with every vendor of the recordings behind it, each with its shipped row.
struct Stage {
    replay: Replay,
    client: Client,
    rows: Rows,
    chunking: Chunking,
    _gateway: Gateway,
}

impl Stage {
    /// `more`: further keys of each provider, by its id.
    async fn set(cases: &[Case], chunking: Chunking, more: &dyn Fn(&str) -> String) -> Self {
        let replay = Replay::start().await;
        let mut providers: Vec<&str> = cases.iter().map(|case| case.provider.as_str()).collect();
        providers.dedup();
        let mut config = "providers:\n".to_owned();
        for id in providers {
            let url = replay.base_url(id);
            let more = more(id);
            config.push_str(&format!("  {id}: {{ base_url: '{url}', api_key: credential, {more} }}\n"));
        }
        let gateway = Setup::new(config).start().await;
        let client = gateway.client().await;
        Self { replay, client, rows: Rows::shipped().expect("the shipped rows"), chunking, _gateway: gateway }
    }

    /// Plays one case; gives what is wrong.
    async fn play(&self, case: &Case) -> Vec<String> {
        // The recorded clients mostly ask for usage; two of the four runs see to it that all do.
        let ask = case.streamed() && matches!(self.chunking, Chunking::Event | Chunking::Byte);
        self.replay.set_up(case, self.chunking);
        let sent = case.client_body(ask);
        let answer = Answer::of(self.client.raw(sent)).await;
        let usage_asked = ask || case.asks_for_usage();
        let requests = self.replay.requests(case);
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let seen = Seen::of(&answer, case, usage_asked);
            let mut wrong = compare::differences(&answer, &seen, case);
            let quirks = self.rows.providers.get(&case.provider).map(|row| row["quirks"].clone());
            wrong.extend(match case.family.as_str() {
                "openai-chat" => check_requests(case, &requests, &quirks.unwrap_or_default(), &answer, ask),
                _ => family::check_requests(case, &requests, &answer),
            });
            wrong
        }));
        read.unwrap_or_else(|_| vec![format!("cannot be read: {}", answer.text())])
    }
}

/// A request that the API itself refuses is answered at the door, in the API's words.
const REFUSED_AT_THE_DOOR: [&str; 1] = ["openai/envoy-chat-no-messages"];

/// The request that reached the upstream is the recorded one but for the documented touches.
fn check_requests(
    case: &Case,
    requests: &[Request],
    quirks: &Value,
    answer: &Answer,
    ask: bool,
) -> Vec<String> {
    let [request] = requests else {
        if requests.is_empty() && REFUSED_AT_THE_DOOR.contains(&case.id.as_str()) {
            return Vec::new();
        }
        return vec![format!("{} requests reached the upstream: {}", requests.len(), answer.text())];
    };
    let mut wrong = Vec::new();
    let path = format!("/v1/{}/chat/completions", case.provider);
    if request.head.split(' ').nth(1) != Some(&path) {
        wrong.push(format!("asked at {}", request.head));
    }
    let (name, value) = if case.provider == "azure" {
        ("api-key", "credential")
    } else {
        ("authorization", "Bearer credential")
    };
    if request.header(name) != Some(value) {
        wrong.push(format!("the credential is missing: {}", request.head));
    }
    let recorded = case.request();
    let (mut touched, dropped) = touches::touched(&recorded, quirks);
    if ask && quirks["stream_options"] != false {
        touched["stream_options"]["include_usage"] = Value::Bool(true);
    }
    let body = std::str::from_utf8(&request.body).expect("UTF-8");
    let as_recorded = !ask || case.asks_for_usage();
    if touched == recorded && as_recorded && body != case.recorded {
        wrong.push(format!("nothing was to be touched, but the bytes differ: {body}"));
    }
    let arrived = request.json();
    for name in arrived.as_object().into_iter().flatten().map(|(name, _)| name).chain(touched.keys()) {
        if touched.get(name) != arrived.get(name) {
            let (theirs, ours) = (touched.get(name), arrived.get(name));
            wrong.push(format!("{name} should reach the upstream as {theirs:?}, but it is {ours:?}"));
        }
    }
    let arrived: BTreeMap<String, &str> = case::raw_members(body).into_iter().collect();
    for (name, written) in case::raw_members(&case.recorded) {
        if touched.get(&name) == recorded.get(&name) && arrived.get(&name) != Some(&written) {
            wrong.push(format!("{name} is not touched, but its bytes differ"));
        }
    }
    let mut named: Vec<&str> =
        answer.header("x-gateway-dropped-params").split(", ").filter(|n| !n.is_empty()).collect();
    let mut dropped: Vec<&str> = dropped.iter().map(String::as_str).collect();
    named.sort_unstable();
    dropped.sort_unstable();
    if answer.status == 200 && named != dropped {
        wrong.push(format!("dropped {dropped:?}, named {named:?}"));
    }
    wrong
}

/// Replays every case. The vendors take turns, each with one case at a time.
async fn replay_all(family: &Family, chunking: Chunking) {
    let cases = family.cases();
    let stage = Rc::new(Stage::set(&cases, chunking, &|id| family.keys(id)).await);
    let mut by_provider: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases {
        by_provider.entry(case.provider.clone()).or_default().push(case);
    }
    let queues = by_provider.into_values().map(|queue| {
        let stage = Rc::clone(&stage);
        async move {
            let mut failures = Vec::new();
            for case in queue {
                let wrong = stage.play(&case).await;
                if !wrong.is_empty() {
                    failures.push(format!("{}\n    {}", case.id, wrong.join("\n    ")));
                }
            }
            failures
        }
    });
    let failures: Vec<String> = futures_util::future::join_all(queues).await.into_iter().flatten().collect();
    assert!(
        failures.is_empty(),
        "{} cases of {} fail with chunking {chunking:?}:\n{}",
        failures.len(),
        family.name,
        failures.join("\n")
    );
}

/// Every format, each under every way of cutting its answers up.
macro_rules! replayed {
    ($($name:ident: $family:expr, $chunking:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            replay_all(&$family, $chunking).await;
        }
    )*};
}

replayed! {
    every_recorded_chat_is_answered_as_expected_when_it_comes_whole: family::OPENAI_CHAT, Chunking::Whole;
    every_recorded_chat_is_answered_as_expected_event_by_event: family::OPENAI_CHAT, Chunking::Event;
    every_recorded_chat_is_answered_as_expected_byte_by_byte: family::OPENAI_CHAT, Chunking::Byte;
    every_recorded_chat_is_answered_as_expected_cut_anywhere: family::OPENAI_CHAT, Chunking::Random;
    every_recorded_anthropic_case_is_answered_as_expected_when_it_comes_whole: family::ANTHROPIC, Chunking::Whole;
    every_recorded_anthropic_case_is_answered_as_expected_event_by_event: family::ANTHROPIC, Chunking::Event;
    every_recorded_anthropic_case_is_answered_as_expected_byte_by_byte: family::ANTHROPIC, Chunking::Byte;
    every_recorded_anthropic_case_is_answered_as_expected_cut_anywhere: family::ANTHROPIC, Chunking::Random;
    every_recorded_bedrock_case_is_answered_as_expected_when_it_comes_whole: family::BEDROCK, Chunking::Whole;
    every_recorded_bedrock_case_is_answered_as_expected_event_by_event: family::BEDROCK, Chunking::Event;
    every_recorded_bedrock_case_is_answered_as_expected_byte_by_byte: family::BEDROCK, Chunking::Byte;
    every_recorded_bedrock_case_is_answered_as_expected_cut_anywhere: family::BEDROCK, Chunking::Random;
    every_recorded_gemini_case_is_answered_as_expected_when_it_comes_whole: family::GEMINI, Chunking::Whole;
    every_recorded_gemini_case_is_answered_as_expected_event_by_event: family::GEMINI, Chunking::Event;
    every_recorded_gemini_case_is_answered_as_expected_byte_by_byte: family::GEMINI, Chunking::Byte;
    every_recorded_gemini_case_is_answered_as_expected_cut_anywhere: family::GEMINI, Chunking::Random;
    every_recorded_cohere_case_is_answered_as_expected_when_it_comes_whole: family::COHERE, Chunking::Whole;
    every_recorded_cohere_case_is_answered_as_expected_event_by_event: family::COHERE, Chunking::Event;
    every_recorded_cohere_case_is_answered_as_expected_byte_by_byte: family::COHERE, Chunking::Byte;
    every_recorded_cohere_case_is_answered_as_expected_cut_anywhere: family::COHERE, Chunking::Random;
    every_recorded_response_is_answered_as_expected_when_it_comes_whole: family::RESPONSES, Chunking::Whole;
    every_recorded_response_is_answered_as_expected_event_by_event: family::RESPONSES, Chunking::Event;
    every_recorded_response_is_answered_as_expected_byte_by_byte: family::RESPONSES, Chunking::Byte;
    every_recorded_response_is_answered_as_expected_cut_anywhere: family::RESPONSES, Chunking::Random;
}

/// What a model can do is data: it must not stand in the way of what vendors took.
#[tokio::test]
async fn the_shipped_catalogue_lets_every_request_through_that_a_vendor_took() {
    let cases: Vec<Case> =
        family::OPENAI_CHAT.cases().into_iter().filter(|case| case.expected["kind"] == "chat").collect();
    let stage = Stage::set(&cases, Chunking::Whole, &|_| "wire: openai".to_owned()).await;
    let mut refused = Vec::new();
    for case in &cases {
        stage.replay.set_up(case, Chunking::Whole);
        let answer = Answer::of(stage.client.raw(case.client_body(false))).await;
        if stage.replay.requests(case).len() != 1 {
            refused.push(format!("{} ({}): {}", case.id, case.asked(), answer.text()));
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
}
