//! The fast path of a stream: events that already are what the client shall get, recognised without rebuilding.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::choice::Choices;
use super::finish;

/// A string that borrows from the event where it can.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One choice, as far as the fast path looks.
#[derive(Deserialize)]
struct ChoiceView<'a> {
    index: u32,
    #[serde(borrow)]
    delta: DeltaView<'a>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
    message: Option<IgnoredAny>,
    usage: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// A delta; a `content` that is not a string or null fails the parse, and so takes the slow path.
#[derive(Deserialize)]
struct DeltaView<'a> {
    role: Option<IgnoredAny>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<CallView<'a>>>,
    reasoning_content: Option<IgnoredAny>,
    reasoning_details: Option<IgnoredAny>,
    images: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
    function_call: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct CallView<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<FunctionView<'a>>,
}

#[derive(Deserialize)]
struct FunctionView<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

/// What an event's choices hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Something of the answer itself: text, reasoning, a tool call, an image, a finish reason.
    pub content: bool,
    /// A finish reason.
    pub finish: bool,
}

/// Takes an event's `choices` as they are, if that is right. `None`: they need rewriting, nothing was noted.
pub fn accept(written: &str, choices: &mut Choices) -> Option<Seen> {
    let views: Vec<ChoiceView<'_>> = serde_json::from_str(written).ok()?;
    if choices.think_tags() || !views.iter().all(|view| is_plain(view, choices)) {
        return None;
    }
    let mut seen = Seen::default();
    for view in &views {
        note(view, choices, &mut seen);
    }
    Some(seen)
}

/// True when nothing of this choice needs a change.
fn is_plain(view: &ChoiceView<'_>, choices: &Choices) -> bool {
    let state = choices.get(view.index);
    let delta = &view.delta;
    let untouched = view.message.is_none()
        && view.usage.is_none()
        && view.error.is_none()
        && delta.reasoning_content.is_none()
        && delta.reasoning_details.is_none();
    let role = delta.role.is_some() || state.is_some_and(|state| state.role_sent);
    let calls = delta.tool_calls.as_deref().unwrap_or_default();
    // Two fragments of new calls in one event are rare: the slow path numbers them.
    let tools = calls.len() <= 1 && calls.iter().all(|call| call_is_plain(call, state));
    let any_tool = !calls.is_empty() || state.is_some_and(|state| state.tools.any());
    let repeated = view.finish_reason.is_some() && state.is_some_and(|state| state.finished);
    let finish =
        view.finish_reason.as_ref().is_none_or(|word| finish::is_exact(&word.0, any_tool)) && !repeated;
    untouched && role && tools && finish
}

fn call_is_plain(call: &CallView<'_>, state: Option<&super::choice::Choice>) -> bool {
    let text =
        |text: &Option<Text<'_>>| text.as_ref().map_or(String::new(), |text| text.0.clone().into_owned());
    let id = text(&call.id);
    let name = call.function.as_ref().map_or(String::new(), |function| text(&function.name));
    match state {
        Some(state) => state.tools.is_plain(call.index, &id, &name),
        None => call.index == Some(0) && !id.is_empty() && !name.is_empty(),
    }
}

/// Notes a choice that passes as it is.
fn note(view: &ChoiceView<'_>, choices: &mut Choices, seen: &mut Seen) {
    let delta = &view.delta;
    for text in [&delta.content, &delta.refusal, &delta.reasoning].into_iter().flatten() {
        seen.content |= !text.0.is_empty();
        choices.deliver(&text.0);
    }
    seen.content |= delta.images.is_some() || delta.audio.is_some() || delta.function_call.is_some();
    for call in delta.tool_calls.as_deref().unwrap_or_default() {
        seen.content = true;
        if let Some(arguments) = call.function.as_ref().and_then(|function| function.arguments.as_ref()) {
            choices.deliver(&arguments.0);
        }
    }
    let Some(state) = choices.get_or_open(view.index) else { return };
    state.role_sent = true;
    for call in delta.tool_calls.as_deref().unwrap_or_default() {
        let id = call.id.as_ref().map_or("", |id| &id.0);
        let name = call.function.as_ref().and_then(|f| f.name.as_ref()).map_or("", |name| &name.0);
        state.tools.place(call.index, id, name);
    }
    if view.finish_reason.is_some() {
        state.finished = true;
        seen.content = true;
        seen.finish = true;
    }
}
