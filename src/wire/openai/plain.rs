//! The fast path of a stream: events that already are what the client shall get, recognised without rebuilding.

use std::borrow::Cow;
use std::ops::Range;

use super::choice::Choices;
use super::finish;
use crate::json::scan::Cursor;

/// One choice that needs no change as far as it alone tells.
#[derive(Default)]
struct ChoiceView<'a> {
    index: u32,
    delta: DeltaView<'a>,
    finish_reason: Option<Cow<'a, str>>,
}

/// A delta.
#[derive(Default)]
struct DeltaView<'a> {
    role: bool,
    content: Option<Cow<'a, str>>,
    refusal: Option<Cow<'a, str>>,
    reasoning: Option<Cow<'a, str>>,
    /// Two fragments of calls in one event are rare: the slow path numbers them.
    call: Option<CallView<'a>>,
    /// An image, audio, a call of the old kind.
    other: bool,
}

/// A fragment of a tool call; what is empty is not given.
#[derive(Default)]
struct CallView<'a> {
    index: Option<u32>,
    id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    arguments: Option<Cow<'a, str>>,
}

/// What an event's choices hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Something of the answer itself: text, reasoning, a tool call, an image, a finish reason.
    pub content: bool,
    /// A finish reason.
    pub finish: bool,
    /// Where the one text of the one choice stands within them, if there is nothing else to them. It has no escapes.
    pub text: Option<Range<usize>>,
}

/// Takes an event's `choices` as they are, if that is right. `None`: they need rewriting, nothing was noted.
pub fn accept(written: &str, choices: &mut Choices) -> Option<Seen> {
    if choices.think_tags() {
        return None;
    }
    // Almost always it is one choice, which needs no list.
    let (mut first, mut more) = (None, Vec::new());
    let mut cursor = Cursor::new(written);
    cursor.array(|cursor| {
        let view = choice(cursor)?;
        if !is_plain(&view, choices) {
            return None;
        }
        match first {
            None => first = Some(view),
            Some(_) => more.push(view),
        }
        Some(())
    })?;
    cursor.end()?;
    let mut seen = Seen::default();
    for view in first.iter().chain(&more) {
        note(view, choices, &mut seen);
    }
    if let (Some(view), true) = (&first, more.is_empty()) {
        seen.text = only_text(view, written);
    }
    Some(seen)
}

/// Where the text of a choice that is nothing but text stands within the list that is written.
fn only_text(view: &ChoiceView<'_>, written: &str) -> Option<Range<usize>> {
    let DeltaView { content, refusal, reasoning, call: None, other: false, .. } = &view.delta else {
        return None;
    };
    let mut texts = [content, refusal, reasoning].into_iter().flatten();
    let (Some(Cow::Borrowed(text)), None, None) = (texts.next(), texts.next(), &view.finish_reason) else {
        return None;
    };
    let start = (text.as_ptr() as usize).checked_sub(written.as_ptr() as usize)?;
    Some(start..start + text.len())
}

/// Fills a place that is still empty: a member that is given twice is nothing to pass on unseen.
fn fill<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = value;
    Some(())
}

/// Fills a place with a string, or with null.
fn fill_text<'a>(cursor: &mut Cursor<'a>, place: &mut Option<Cow<'a, str>>) -> Option<()> {
    let text = match cursor.string_or_null()? {
        Some(text) => Some(text.decode()?),
        None => None,
    };
    fill(place, text)
}

/// Reads one choice; `None` when something in it needs a look or a change.
fn choice<'a>(cursor: &mut Cursor<'a>) -> Option<ChoiceView<'a>> {
    let (mut index, mut delta, mut finish_reason) = (None, None, None);
    cursor.object(|cursor, name| match name.plain()? {
        "index" => fill(&mut index, Some(u32::try_from(cursor.whole()?).ok()?)),
        "delta" => fill(&mut delta, Some(delta_of(cursor)?)),
        "finish_reason" => fill_text(cursor, &mut finish_reason),
        "message" | "usage" | "error" => (!cursor.given()?).then_some(()),
        _ => cursor.skip(),
    })?;
    Some(ChoiceView { index: index?, delta: delta?, finish_reason })
}

/// Reads a delta.
fn delta_of<'a>(cursor: &mut Cursor<'a>) -> Option<DeltaView<'a>> {
    let mut view = DeltaView::default();
    cursor.object(|cursor, name| match name.plain()? {
        "role" if view.role => None,
        "role" => cursor.given().map(|given| view.role = given),
        "content" => fill_text(cursor, &mut view.content),
        "refusal" => fill_text(cursor, &mut view.refusal),
        "reasoning" => fill_text(cursor, &mut view.reasoning),
        "tool_calls" if cursor.null()? => Some(()),
        "tool_calls" => cursor.array(|cursor| {
            let call = call_of(cursor)?;
            fill(&mut view.call, Some(call))
        }),
        "images" | "audio" | "function_call" => cursor.given().map(|given| view.other |= given),
        "reasoning_content" | "reasoning_details" => (!cursor.given()?).then_some(()),
        _ => cursor.skip(),
    })?;
    Some(view)
}

/// Reads a fragment of a tool call.
fn call_of<'a>(cursor: &mut Cursor<'a>) -> Option<CallView<'a>> {
    let mut view = CallView::default();
    cursor.object(|cursor, name| match name.plain()? {
        "index" if cursor.null()? => Some(()),
        "index" => fill(&mut view.index, Some(u32::try_from(cursor.whole()?).ok()?)),
        "id" => fill_text(cursor, &mut view.id),
        "function" if cursor.null()? => Some(()),
        "function" => cursor.object(|cursor, name| match name.plain()? {
            "name" => fill_text(cursor, &mut view.name),
            "arguments" => fill_text(cursor, &mut view.arguments),
            _ => cursor.skip(),
        }),
        _ => cursor.skip(),
    })?;
    Some(view)
}

/// True when nothing of this choice needs a change.
fn is_plain(view: &ChoiceView<'_>, choices: &Choices) -> bool {
    let state = choices.get(view.index);
    let delta = &view.delta;
    let role = delta.role || state.is_some_and(|state| state.role_sent);
    let tools = delta.call.as_ref().is_none_or(|call| call_is_plain(call, state));
    let any_tool = delta.call.is_some() || state.is_some_and(|state| state.tools.any());
    let repeated = view.finish_reason.is_some() && state.is_some_and(|state| state.finished);
    let finish = view.finish_reason.as_ref().is_none_or(|word| finish::is_exact(word, any_tool)) && !repeated;
    role && tools && finish
}

fn call_is_plain(call: &CallView<'_>, state: Option<&super::choice::Choice>) -> bool {
    let id = call.id.as_deref().unwrap_or_default();
    let name = call.name.as_deref().unwrap_or_default();
    match state {
        Some(state) => state.tools.is_plain(call.index, id, name),
        None => call.index == Some(0) && !id.is_empty() && !name.is_empty(),
    }
}

/// Notes a choice that passes as it is.
fn note(view: &ChoiceView<'_>, choices: &mut Choices, seen: &mut Seen) {
    let delta = &view.delta;
    for text in [&delta.content, &delta.refusal, &delta.reasoning].into_iter().flatten() {
        seen.content |= !text.is_empty();
        choices.deliver(text);
    }
    seen.content |= delta.other || delta.call.is_some();
    if let Some(arguments) = delta.call.as_ref().and_then(|call| call.arguments.as_ref()) {
        choices.deliver(arguments);
    }
    let Some(state) = choices.get_or_open(view.index) else { return };
    state.role_sent = true;
    if let Some(call) = &delta.call {
        let id = call.id.as_deref().unwrap_or_default();
        state.tools.place(call.index, id, call.name.as_deref().unwrap_or_default());
    }
    if view.finish_reason.is_some() {
        state.finished = true;
        seen.content = true;
        seen.finish = true;
    }
}
