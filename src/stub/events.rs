//! The course of a stream: events, waits and the end, good or bad. Pure: whoever sends it keeps the time.

use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, Words};
use super::behaviour::Behaviour;
use super::chunk::Facts;
use super::dialect::{Dialect, Frames};
use super::fault::Fault;
use super::parts::Parts;
use super::request::Request;

/// What was written before a break must have left the process.
pub const FLUSH: Duration = Duration::from_millis(5);

/// What a sender does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends this.
    Send(Bytes),
    /// Waits.
    Wait(Duration),
    /// Closes the connection with the body unfinished.
    Break,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Silence(Duration),
    Role,
    Parts,
    Finish,
    Usage,
    Done,
    ErrorEvent,
    Flush,
    Break,
    Over,
}

/// A stream of answers.
pub struct Events {
    answer: Answer,
    parts: Parts,
    frames: Box<dyn Frames>,
    /// The events of this drip are all alike, from the second on.
    uniform: bool,
    /// Such an event, once it was made.
    alike: Option<Bytes>,
    choices: u32,
    include_usage: bool,
    pace: Duration,
    /// Parts after which it ends badly, and how.
    fault: Option<(u64, Phase)>,
    phase: Phase,
    at: u64,
    choice: u32,
    waited: bool,
}

impl Events {
    /// The course of `answer`.
    pub fn new(
        dialect: Dialect,
        request: &Request,
        behaviour: Behaviour,
        answer: Answer,
        facts: &Facts,
    ) -> Self {
        let (pace, fault, phase) = match behaviour {
            Behaviour::Drip { pace, .. } => (pace, None, Phase::Role),
            Behaviour::Truncate(after) => (Duration::ZERO, Some((after, Phase::Flush)), Phase::Role),
            Behaviour::ErrorEvent(after) => (Duration::ZERO, Some((after, Phase::ErrorEvent)), Phase::Role),
            Behaviour::Silent(wait) => (Duration::ZERO, None, Phase::Silence(wait)),
            _ => (Duration::ZERO, None, Phase::Role),
        };
        let frames = dialect.frames(request, &answer, facts);
        let uniform = dialect.repeats_itself()
            && matches!(answer.words, Words::Drip { bytes: Some(_), .. })
            && request.n == 1;
        Self {
            parts: Parts::of(&answer),
            uniform,
            alike: None,
            answer,
            frames,
            choices: request.n,
            include_usage: request.include_usage,
            pace,
            fault,
            phase,
            at: 0,
            choice: 0,
            waited: true,
        }
    }

    /// Makes one event for each choice in turn; true after the last of them.
    fn turn(&mut self) -> bool {
        self.choice += 1;
        if self.choice < self.choices {
            return false;
        }
        self.choice = 0;
        true
    }

    fn role(&mut self) -> Step {
        let event = self.frames.role(self.choice, &self.answer);
        if self.turn() {
            self.phase = Phase::Parts;
        }
        Step::Send(event)
    }

    /// The next part, or `None` when the phase has changed.
    fn part(&mut self) -> Option<Step> {
        if let Some((after, then)) = self.fault
            && self.at >= after
        {
            self.phase = then;
            return None;
        }
        let Some(part) = self.parts.get(self.at) else {
            self.phase = self.fault.map_or(Phase::Finish, |(_, then)| then);
            return None;
        };
        if !self.waited && !self.pace.is_zero() {
            self.waited = true;
            return Some(Step::Wait(self.pace));
        }
        let event = match &self.alike {
            Some(event) => event.clone(),
            None => {
                let event = self.frames.part(self.choice, &part, &self.answer);
                if self.uniform && self.at > 0 {
                    self.alike = Some(event.clone());
                }
                event
            }
        };
        if self.turn() {
            self.at += 1;
            self.waited = false;
        }
        Some(Step::Send(event))
    }

    fn finish(&mut self) -> Step {
        let event = self.frames.finish(self.choice, &self.answer);
        if self.turn() {
            self.phase = Phase::Usage;
        }
        Step::Send(event)
    }
}

impl Iterator for Events {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let step = self.step()?;
            // What a format says nothing of is no event.
            if !matches!(&step, Step::Send(bytes) if bytes.is_empty()) {
                return Some(step);
            }
        }
    }
}

impl Events {
    fn step(&mut self) -> Option<Step> {
        loop {
            match self.phase {
                Phase::Silence(wait) => {
                    self.phase = Phase::Role;
                    return Some(Step::Wait(wait));
                }
                Phase::Role => return Some(self.role()),
                Phase::Parts => {
                    if let Some(step) = self.part() {
                        return Some(step);
                    }
                }
                Phase::Finish => return Some(self.finish()),
                Phase::Usage => {
                    self.phase = Phase::Done;
                    if let Some(event) = self.frames.usage(&self.answer).filter(|_| self.include_usage) {
                        return Some(Step::Send(event));
                    }
                }
                Phase::Done => {
                    self.phase = Phase::Over;
                    return Some(Step::Send(self.frames.done()));
                }
                Phase::ErrorEvent => {
                    self.phase = Phase::Over;
                    return Some(Step::Send(self.frames.error(&Fault::asked_for(500, None))));
                }
                Phase::Flush => {
                    self.phase = Phase::Break;
                    return Some(Step::Wait(FLUSH));
                }
                Phase::Break => {
                    self.phase = Phase::Over;
                    return Some(Step::Break);
                }
                Phase::Over => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn steps(name: &str, more: Value) -> Vec<Step> {
        let mut body =
            json!({"model": name, "messages": [{"role": "user", "content": "one two three four"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut request = Request::parse(body.to_string().as_bytes()).unwrap();
        let behaviour = request.take_behaviour().unwrap();
        let answer = Answer::of(&request, behaviour);
        let facts = Facts { id: "chatcmpl-1".into(), created: 7, model: name.into() };
        Events::new(Dialect::Openai, &request, behaviour, answer, &facts).collect()
    }

    /// The events as JSON; `[DONE]` as a string.
    fn events(name: &str, more: Value) -> Vec<Value> {
        let sent = steps(name, more).into_iter().filter_map(|step| match step {
            Step::Send(bytes) => Some(bytes),
            _ => None,
        });
        sent.map(|bytes| {
            let text = std::str::from_utf8(&bytes).unwrap();
            let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
            if data == "[DONE]" { json!(data) } else { serde_json::from_str(data).unwrap() }
        })
        .collect()
    }

    fn joined(events: &[Value], pointer: &str) -> String {
        events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
    }

    #[test]
    fn an_echo_is_role_words_finish_usage_done() {
        let events = events("echo", json!({"stream_options": {"include_usage": true}}));
        assert_eq!(
            events[0]["choices"][0],
            json!({"index": 0, "delta": {"role": "assistant", "content": "", "refusal": null}, "logprobs": null, "finish_reason": null})
        );
        assert_eq!(joined(&events, "/choices/0/delta/content"), "one two three four");
        assert_eq!(
            events[5]["choices"][0],
            json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"})
        );
        assert_eq!((&events[5]["usage"], &events[6]["choices"]), (&Value::Null, &json!([])));
        assert_eq!(events[6]["usage"]["completion_tokens"], 4);
        assert_eq!(events[7..], [json!("[DONE]")]);
        assert_eq!(
            (&events[3]["id"], &events[3]["created"], &events[3]["model"]),
            (&json!("chatcmpl-1"), &json!(7), &json!("echo"))
        );
    }

    #[test]
    fn usage_comes_only_when_asked_for() {
        let events = events("echo", json!({}));
        assert!(events.iter().all(|event| event.get("usage").is_none()));
        assert_eq!(events.len(), 7);
    }

    #[test]
    fn arguments_come_in_fragments_after_id_and_name() {
        let parameters = json!({"type": "object", "properties": {"location": {"type": "string"}, "unit": {"enum": ["celsius"]}}});
        let tools =
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]});
        let events = events("tools", tools);
        let starts: Vec<_> =
            events.iter().filter(|e| e.pointer("/choices/0/delta/tool_calls/0/id").is_some()).collect();
        assert_eq!(starts.len(), 2);
        assert_eq!(starts[1]["choices"][0]["delta"]["tool_calls"][0]["index"], 1);
        let second: Vec<Value> = events
            .iter()
            .filter(|e| e.pointer("/choices/0/delta/tool_calls/0/index") == Some(&json!(1)))
            .cloned()
            .collect();
        assert!(second.len() > 2);
        let arguments = joined(&second, "/choices/0/delta/tool_calls/0/function/arguments");
        assert_eq!(arguments, r#"{"location":"text","unit":"celsius"}"#);
        assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn a_drip_waits_between_its_events_and_only_there() {
        let steps = steps("drip:events=3,ms=5,bytes=4", json!({}));
        let waits: Vec<usize> = (0..steps.len()).filter(|at| matches!(steps[*at], Step::Wait(_))).collect();
        assert_eq!(waits, [2, 4]);
        assert_eq!(steps[3], steps[5]);
        assert_eq!(joined(&events("drip:events=3,ms=0", json!({})), "/choices/0/delta/content"), "1 2 3 ");
    }

    #[test]
    fn bad_ends_have_no_terminal_event() {
        let cut = steps("truncate:after=2", json!({}));
        assert_eq!(cut.len(), 5);
        assert_eq!(cut[3..], [Step::Wait(FLUSH), Step::Break]);
        assert_eq!(steps("truncate:after=99", json!({})).last(), Some(&Step::Break));
        let told = events("error_event:after=1", json!({}));
        assert_eq!((told.len(), told[2]["error"]["type"].as_str()), (3, Some("server_error")));
        assert_eq!(steps("silent:ms=9", json!({}))[0], Step::Wait(Duration::from_millis(9)));
    }

    #[test]
    fn every_choice_is_whole_and_log_probabilities_ride_along() {
        let events = events("echo", json!({"n": 2, "logprobs": true}));
        for index in 0..2 {
            let own: Vec<Value> = events
                .iter()
                .filter(|e| e.pointer("/choices/0/index") == Some(&json!(index)))
                .cloned()
                .collect();
            assert_eq!(joined(&own, "/choices/0/delta/content"), "one two three four");
            assert_eq!(joined(&own, "/choices/0/logprobs/content/0/token"), "one two three four");
            assert_eq!(joined(&own, "/choices/0/finish_reason"), "stop");
        }
    }

    #[test]
    fn reasoning_and_pictures_have_their_own_fields() {
        let events = events("reasoning", json!({}));
        assert!(joined(&events, "/choices/0/delta/reasoning_content").starts_with("The user said"));
        assert_eq!(joined(&events, "/choices/0/delta/content"), "one two three four");
        let events = self::events("image", json!({}));
        assert!(
            joined(&events, "/choices/0/delta/images/0/image_url/url").starts_with("data:image/png;base64,")
        );
    }
}
