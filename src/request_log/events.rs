//! A stream: what it says is in pieces, so the rules look at the pieces of one text together.
//!
//! A text is everything at one place of the deltas: the content of a choice, its reasoning, the arguments of a call. What
//! is found in it is replaced in the event where it begins and taken out of those that follow. Events that hold nothing
//! of it stay byte for byte.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::rules::{Found, Rules};

/// Fields that say the same in every event, and are no pieces of a text.
const WORDS: [&str; 6] = ["finish_reason", "format", "id", "role", "status", "type"];

/// The events that are kept, and those of the margin behind them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Masked {
    pub(super) text: String,
    /// Where those that are kept end.
    pub(super) limit: usize,
    pub(super) count: u32,
}

/// One event: where it was, and what it says if that is JSON.
struct Event {
    range: Range<usize>,
    data: Option<Value>,
    touched: bool,
}

/// A piece of a text: which event, where in it.
struct Piece {
    event: usize,
    pointer: String,
    text: String,
}

/// Masks what deltas say together; `None` for what is no stream. Of one that was cut whole events are kept: those within
/// `limit`.
pub(super) fn masked(text: &str, limit: usize, cut: bool, rules: &Rules) -> Option<Masked> {
    if !text.starts_with("data: ") {
        return None;
    }
    let mut events = split(text, rules);
    let whole =
        |event: &&Event| event.range.end <= limit && text.get(event.range.clone()).is_some_and(is_whole);
    let kept = if cut { events.iter().take_while(whole).count() } else { events.len() };
    let mut count = 0;
    for (_, pieces) in texts(&events) {
        count += mask(&mut events, &pieces, kept, rules);
    }
    let mut out = String::with_capacity(text.len());
    for event in events.iter().take(kept) {
        match event.data.as_ref().filter(|_| event.touched) {
            Some(data) => out.push_str(&format!("data: {data}\n\n")),
            None => out.push_str(text.get(event.range.clone()).unwrap_or_default()),
        }
    }
    Some(Masked { limit: out.len(), text: out, count })
}

fn is_whole(event: &str) -> bool {
    event.ends_with("\n\n")
}

fn split(text: &str, rules: &Rules) -> Vec<Event> {
    let mut at = 0;
    let events = text.split_inclusive("\n\n").map(|event| {
        let range = at..at + event.len();
        at = range.end;
        let data = event.strip_prefix("data: ").filter(|_| !rules.is_empty());
        Event { range, data: data.and_then(|data| serde_json::from_str(data).ok()), touched: false }
    });
    events.collect()
}

/// The pieces of each text, by the place of the text.
fn texts(events: &[Event]) -> BTreeMap<String, Vec<Piece>> {
    let mut texts = BTreeMap::new();
    for (event, said) in events.iter().enumerate() {
        let choices = said.data.as_ref().and_then(|data| data.get("choices"));
        if let Some(choices) = choices {
            gather(choices, event, "choices", "/choices".to_owned(), &mut texts);
        }
    }
    // What is whole in one event is found there.
    texts.retain(|_, pieces| pieces.len() > 1);
    texts
}

/// Notes every text below a value. Elements of a list are told apart by their `index`, where they have one.
fn gather(
    value: &Value,
    event: usize,
    place: &str,
    pointer: String,
    texts: &mut BTreeMap<String, Vec<Piece>>,
) {
    match value {
        Value::String(text) => {
            texts.entry(place.to_owned()).or_default().push(Piece { event, pointer, text: text.clone() });
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let index = item.get("index").and_then(Value::as_u64).unwrap_or(at as u64);
                gather(item, event, &format!("{place}[{index}]"), format!("{pointer}/{at}"), texts);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(name, _)| !WORDS.contains(&name.as_str())) {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                gather(field, event, &format!("{place}.{name}"), format!("{pointer}/{escaped}"), texts);
            }
        }
        _ => {}
    }
}

/// Masks one text in the events that are kept; gives how many parts.
fn mask(events: &mut [Event], pieces: &[Piece], kept: usize, rules: &Rules) -> u32 {
    let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let found = rules.find(&whole);
    let (mut start, mut count) = (0, 0);
    for piece in pieces {
        let range = start..start + piece.text.len();
        start = range.end;
        let begun = found.iter().filter(|found| range.contains(&found.range.start)).count();
        let touched =
            found.iter().any(|found| found.range.start < range.end && range.start < found.range.end);
        let Some(event) = events.get_mut(piece.event).filter(|_| touched && piece.event < kept) else {
            continue;
        };
        count += u32::try_from(begun).unwrap_or(u32::MAX);
        let place = event.data.as_mut().and_then(|data| data.pointer_mut(&piece.pointer));
        if let Some(place) = place {
            *place = Value::from(without(&piece.text, &range, &found));
            event.touched = true;
        }
    }
    count
}

/// A piece with what was found in its text replaced where it begins, and gone where it goes on.
fn without(piece: &str, range: &Range<usize>, found: &[Found]) -> String {
    let (mut out, mut at) = (String::new(), range.start);
    for Found { range: masked, instead } in found {
        let from = masked.start.clamp(at, range.end);
        out.push_str(piece.get(at - range.start..from - range.start).unwrap_or_default());
        if range.contains(&masked.start) {
            out.push_str(instead);
        }
        at = masked.end.clamp(from, range.end);
    }
    out.push_str(piece.get(at - range.start..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Kept, Rules, keep};

    fn event(content: &str) -> String {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
    }

    fn kept(raw: &str, max: usize) -> Kept {
        let rules = Rules::new(&["email".to_owned(), "card".to_owned()], []);
        keep(raw.as_bytes(), raw.len(), max, &rules)
    }

    #[test]
    fn what_is_split_over_events_is_found_and_other_events_stay_as_they_were() {
        let done = "data: [DONE]\n\n";
        let raw: String = ["Hi, ", "write to a.", "b@", "ex", "ample.org", " now"].map(event).concat() + done;
        let expected: String =
            ["Hi, ", "write to [redacted:email]", "", "", "", " now"].map(event).concat() + done;
        assert_eq!(kept(&raw, 9_999), Kept { body: expected, truncated: false, redacted: 1 });
    }

    #[test]
    fn texts_of_other_choices_and_calls_are_apart() {
        let of =
            |index: u8, content: &str| event(content).replace("\"index\":0", &format!("\"index\":{index}"));
        let raw = of(0, "a@") + &of(1, "b@") + &of(0, "x.org") + &of(1, "nothing");
        let expected = of(0, "[redacted:email]") + &of(1, "b@") + &of(0, "") + &of(1, "nothing");
        assert_eq!(kept(&raw, 9_999), Kept { body: expected, truncated: false, redacted: 1 });
    }

    #[test]
    fn what_every_event_repeats_is_no_text() {
        let role = event("x").replace("{\"content\"", "{\"role\":\"assistant\",\"content\"");
        let raw = role.repeat(200);
        let rules = Rules::new(&["base64".to_owned()], []);
        assert_eq!(keep(raw.as_bytes(), raw.len(), raw.len(), &rules).body, raw);
    }

    #[test]
    fn a_stream_that_is_cut_keeps_whole_events_and_no_half_of_what_is_masked() {
        let pieces = ["call 4111", " 1111 ", "1111 ", "1111", " ok"].map(event);
        let raw: String = pieces.concat();
        let kept_whole = |count: usize| pieces[..count].concat().len();
        for (max, redacted) in [(kept_whole(1) + 20, 1), (kept_whole(2), 1), (kept_whole(4) + 10, 1)] {
            let kept = kept(&raw, max);
            assert_eq!((kept.truncated, kept.redacted), (true, redacted), "{kept:?}");
            assert!(kept.body.contains("call [redacted:card]") && !kept.body.contains("1111"), "{kept:?}");
            assert!(kept.body.ends_with("\n\n") && kept.body.len() <= max, "{kept:?}");
        }
        assert_eq!(kept(&raw, 10).body, "", "not one event fits");
    }
}
