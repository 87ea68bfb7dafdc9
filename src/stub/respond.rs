//! From a request's bytes to what is sent: pure but for the counter of the flaky behaviour.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, Words};
use super::behaviour::Behaviour;
use super::chunk::Facts;
use super::dialect::Asked;
use super::events::{Events, FLUSH, Step};
use super::fault::Fault;
use super::request::Request;

/// Largest answer that does not stream, bytes of text over all choices.
const WHOLE_MAX: usize = 128 << 20;
/// What log probabilities make of one byte of text, at worst.
const LOGPROBS_FACTOR: usize = 64;

/// What is sent.
pub enum Reply {
    /// A 200 with this body, after a wait.
    Whole(Duration, Vec<u8>),
    /// A 200 whose body is announced as so long and sent in steps.
    Sized(u64, Vec<Step>),
    /// A 200 whose body comes in steps of unknown length.
    Chunked(Vec<Step>),
    /// A stream of events, after a wait.
    Events(Duration, Box<Events>),
}

/// What one request is answered with; `number` counts requests.
///
/// # Errors
/// Mistakes of the request, and errors that were asked for.
pub fn respond(
    asked: &Asked<'_>,
    body: &[u8],
    number: u64,
    created: u64,
    flaky: &AtomicU64,
) -> Result<Reply, Fault> {
    let dialect = asked.dialect;
    let mut request = dialect.parse(asked, body)?;
    let behaviour = request.take_behaviour()?;
    match behaviour {
        Behaviour::Error { status, retry_after } => return Err(Fault::asked_for(status, retry_after)),
        Behaviour::Flaky(every) if (flaky.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every) => {
            return Err(Fault::asked_for(500, None));
        }
        _ => {}
    }
    let facts = Facts { id: format!("chatcmpl-stub{number:0>25}"), created, model: request.model.clone() };
    let answer = Answer::of(&request, behaviour);
    let delay = if let Behaviour::Slow(delay) = behaviour { delay } else { Duration::ZERO };
    if request.stream {
        return Ok(Reply::Events(delay, Box::new(Events::new(dialect, &request, behaviour, answer, &facts))));
    }
    check_size(&request, &answer)?;
    if matches!(behaviour, Behaviour::ErrorEvent(_)) {
        return Ok(Reply::Whole(delay, dialect.fault(&Fault::asked_for(500, None))));
    }
    let body = dialect.whole(&request, answer, &facts);
    Ok(match behaviour {
        Behaviour::Truncate(_) => {
            let length = body.len() as u64;
            let half = Bytes::from(body).slice(..usize::try_from(length / 2).unwrap_or(0));
            Reply::Sized(length, vec![Step::Send(half), Step::Wait(FLUSH), Step::Break])
        }
        Behaviour::Silent(wait) => Reply::Chunked(vec![Step::Wait(wait), Step::Send(body.into())]),
        Behaviour::Drip { events, pace, .. } => {
            let gaps = u32::try_from(events.saturating_sub(1)).unwrap_or(u32::MAX);
            Reply::Whole(pace.saturating_mul(gaps), body)
        }
        _ => Reply::Whole(delay, body),
    })
}

/// Choices multiply a text, which must stay within reason.
fn check_size(request: &Request, answer: &Answer) -> Result<(), Fault> {
    const NUMBER_BYTES: u64 = 8;
    let text = match &answer.words {
        Words::Text(text) => text.len(),
        Words::Drip { events, bytes } => {
            usize::try_from(events * bytes.unwrap_or(NUMBER_BYTES)).unwrap_or(usize::MAX)
        }
    };
    let factor = if request.logprobs { LOGPROBS_FACTOR } else { 1 };
    let all = text.saturating_mul(factor).saturating_mul(request.n as usize);
    if all <= WHOLE_MAX {
        return Ok(());
    }
    Err(Fault::invalid("The answer would be too large; ask for less, or for a stream."))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ask(model: &str, more: Value) -> Result<Reply, Fault> {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        respond(&Asked::chat(), body.to_string().as_bytes(), 5, 7, &AtomicU64::new(0))
    }

    #[test]
    fn behaviours_shape_the_whole_answer() {
        let Ok(Reply::Whole(wait, body)) = ask("slow:ms=9", json!({})) else { panic!() };
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((wait, body["id"].as_str().unwrap().len()), (Duration::from_millis(9), 9 + 29));
        let Ok(Reply::Whole(wait, _)) = ask("drip:events=3,ms=4", json!({})) else { panic!() };
        assert_eq!(wait, Duration::from_millis(8));
        let Ok(Reply::Sized(length, steps)) = ask("truncate", json!({})) else { panic!() };
        let Step::Send(half) = &steps[0] else { panic!() };
        assert!(!half.is_empty() && (half.len() as u64) < length && steps.last() == Some(&Step::Break));
        let Ok(Reply::Chunked(steps)) = ask("silent:ms=3", json!({})) else { panic!() };
        assert_eq!(steps[0], Step::Wait(Duration::from_millis(3)));
        let Ok(Reply::Whole(_, body)) = ask("error_event", json!({})) else { panic!() };
        assert!(body.starts_with(b"{\"error\":"));
        assert!(matches!(ask("echo", json!({"stream": true})), Ok(Reply::Events(Duration::ZERO, _))));
    }

    #[test]
    fn errors_that_were_asked_for_look_like_openais() {
        let fault = ask("error:status=429,retry_after=2", json!({})).err().unwrap();
        let body: Value = serde_json::from_slice(&fault.body()).unwrap();
        assert_eq!((fault.status, fault.retry_after), (429, Some(2)));
        assert_eq!(body["error"]["code"], "rate_limit_exceeded");
        assert!(body["error"]["message"].is_string() && body["error"]["param"].is_null());
    }

    #[test]
    fn every_second_flaky_request_fails() {
        let flaky = AtomicU64::new(0);
        let body = json!({"model": "flaky", "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let failed: Vec<bool> =
            (0..4).map(|at| respond(&Asked::chat(), body.as_bytes(), at, 0, &flaky).is_err()).collect();
        assert_eq!(failed, [false, true, false, true]);
    }

    #[test]
    fn choices_do_not_multiply_a_large_answer_without_bound() {
        assert!(ask("big:bytes=64", json!({"n": 128})).is_ok());
        assert_eq!(ask("big:bytes=60000000", json!({"n": 3})).err().unwrap().status, 400);
        assert_eq!(ask("big:bytes=60000000", json!({"logprobs": true})).err().unwrap().status, 400);
    }
}
