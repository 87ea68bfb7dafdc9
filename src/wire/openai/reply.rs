//! A whole reply: checked, tapped for usage, and sent on with only the touched members replaced.

use std::borrow::Cow;

use serde_json::Value;

use super::{error, finish, rewrite, usage};
use crate::json::scan::Cursor;
use crate::json::{self, Edit, Members};
use crate::money::Usd;
use crate::wire::usage::{Metered, UsageObject, render};
use crate::wire::{DecodeError, Envelope, Quirks};

/// A decoded reply, ready to be rendered once its usage and cost are settled.
#[derive(Debug)]
pub struct Reply {
    text: String,
    members: Members,
    /// Rebuilt `choices`, where a dialect needed it.
    choices: Option<Vec<u8>>,
    /// What the upstream reported; `None`: to be estimated.
    pub metered: Option<Metered>,
    /// The service tier that was served.
    pub service_tier: Option<String>,
}

impl Reply {
    /// Reads a reply. Tool calls that came without an id get one that begins with what is in `fallback_id`.
    ///
    /// # Errors
    /// What is not a chat completion: an error in a 200, HTML, nothing at all.
    pub fn decode(
        body: &[u8],
        quirks: &Quirks,
        think_tags: bool,
        fallback_id: &str,
    ) -> Result<Self, DecodeError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(DecodeError::Invalid("it answered with an empty body".to_owned()));
        }
        let unreadable = || DecodeError::Invalid("its answer is not a JSON object".to_owned());
        let text = std::str::from_utf8(body).map_err(|_| unreadable())?;
        let members = Members::parse(text).map_err(|_| unreadable())?;
        if members.get(text, "error").is_some_and(|written| !matches!(written, "null" | "\"\"")) {
            return Err(DecodeError::Fault(error::decode_error(200, body)));
        }
        let written = members.get(text, "choices").filter(|choices| choices.starts_with('['));
        let Some(written) = written else {
            if error::stands_alone(&members, text) {
                return Err(DecodeError::Fault(error::decode_error(200, body)));
            }
            return Err(DecodeError::Invalid("its answer has no choices".to_owned()));
        };
        let choices = match !think_tags && is_plain(written) {
            true => None,
            false => Some(rebuild(written, think_tags, fallback_id)?),
        };
        // Choices that are plain were looked through: they hold no usage.
        let metered = usage::find(&members, text, quirks, choices.is_some());
        let service_tier = members.get(text, "service_tier").and_then(|tier| serde_json::from_str(tier).ok());
        Ok(Self { choices, metered, service_tier, text: text.to_owned(), members })
    }

    /// The texts of the answer, for counting tokens where the upstream did not.
    pub fn delivered(&self) -> String {
        let written = match &self.choices {
            Some(rebuilt) => std::str::from_utf8(rebuilt).unwrap_or("[]"),
            None => self.members.get(&self.text, "choices").unwrap_or("[]"),
        };
        let choices: Vec<Value> = serde_json::from_str(written).unwrap_or_default();
        let messages = choices.iter().filter_map(|choice| choice.get("message")?.as_object());
        messages.flat_map(|message| rewrite::texts(message).map(str::to_owned)).collect::<Vec<_>>().join("\n")
    }

    /// The body for the client.
    pub fn render(
        &self,
        envelope: &Envelope,
        latency_ms: u64,
        usage: UsageObject,
        cost: Option<Usd>,
    ) -> Vec<u8> {
        let mut edits = vec![
            Edit::Set("model", Cow::Owned(json::string(&envelope.model))),
            Edit::Set("usage", Cow::Owned(render(usage, cost))),
            Edit::Set("metadata", Cow::Owned(envelope.metadata(latency_ms))),
        ];
        if let Some(choices) = &self.choices {
            edits.push(Edit::Set("choices", Cow::Borrowed(choices)));
        }
        let missing = |name: &str| {
            self.members.get(&self.text, name).is_none_or(|value| matches!(value, "null" | "\"\""))
        };
        if missing("id") {
            edits.push(Edit::Set("id", Cow::Owned(json::string(&envelope.fallback_id))));
        }
        if self.members.get(&self.text, "object") != Some("\"chat.completion\"") {
            edits.push(Edit::Set("object", Cow::Borrowed(b"\"chat.completion\"")));
        }
        if missing("created") {
            edits.push(Edit::Set("created", Cow::Owned(envelope.created_s.to_string().into_bytes())));
        }
        let mut out = Vec::with_capacity(self.text.len() + 512);
        self.members.splice(&self.text, &edits, &mut out);
        out
    }
}

/// True when the choices can go to the client as they are.
fn is_plain(written: &str) -> bool {
    let mut cursor = Cursor::new(written);
    let mut any = false;
    let read = cursor.array(|cursor| {
        any = true;
        choice_is_plain(cursor)
    });
    read.is_some() && any && cursor.end().is_some()
}

/// Passes over a choice, unless something in it needs a look or a change.
fn choice_is_plain(cursor: &mut Cursor<'_>) -> Option<()> {
    let (mut index, mut tools, mut finish_reason) = (false, None, None);
    cursor.object(|cursor, name| match name.plain()? {
        "index" if !index => {
            index = true;
            u32::try_from(cursor.whole()?).ok().map(drop)
        }
        "message" if tools.is_none() => message_is_plain(cursor).map(|any| tools = Some(any)),
        "finish_reason" if finish_reason.is_none() => {
            finish_reason = cursor.string_or_null()?;
            Some(())
        }
        "usage" | "error" => (!cursor.given()?).then_some(()),
        "index" | "message" | "finish_reason" => None, // Given twice: which one counts would depend on the reader.
        _ => cursor.skip(),
    })?;
    let tools = tools.filter(|_| index)?;
    match finish_reason {
        Some(word) if !finish::is_exact(&word.decode()?, tools) => None,
        _ => Some(()),
    }
}

/// Passes over a message, unless something in it needs a change: whether it calls tools.
fn message_is_plain(cursor: &mut Cursor<'_>) -> Option<bool> {
    let (mut role, mut content, mut tools) = (false, false, false);
    cursor.object(|cursor, name| match name.plain()? {
        "role" => {
            role = true;
            cursor.skip()
        }
        "content" if content => None,
        "content" => {
            content = true;
            // It is decoded where it may hold half a character, and else measured.
            cursor.string_or_null()?.map_or(Some(()), |text| text.length().map(drop))
        }
        "tool_calls" if cursor.null()? => Some(()),
        "tool_calls" => cursor.array(|cursor| {
            tools = true;
            call_is_plain(cursor)
        }),
        "reasoning_content" | "reasoning_details" => (!cursor.given()?).then_some(()),
        _ => cursor.skip(),
    })?;
    role.then_some(tools)
}

/// Passes over a tool call that has all it must have.
fn call_is_plain(cursor: &mut Cursor<'_>) -> Option<()> {
    let (mut id, mut kind, mut function) = (false, false, false);
    cursor.object(|cursor, name| match name.plain()? {
        "id" => {
            id = true;
            cursor.string()?.length().map(drop)
        }
        "type" => {
            kind = true;
            cursor.skip()
        }
        "function" => {
            function = true;
            let (mut name, mut arguments) = (false, false);
            cursor.object(|cursor, member| match member.plain()? {
                "name" => {
                    name = true;
                    cursor.string()?.length().map(drop)
                }
                "arguments" => {
                    arguments = true;
                    cursor.string()?.length().map(drop)
                }
                _ => cursor.skip(),
            })?;
            (name && arguments).then_some(())
        }
        _ => cursor.skip(),
    })?;
    (id && kind && function).then_some(())
}

/// Rebuilds the choices of a dialect.
fn rebuild(written: &str, think_tags: bool, fallback_id: &str) -> Result<Vec<u8>, DecodeError> {
    let made_up_id = format!("call_{}", fallback_id.trim_start_matches("chatcmpl-"));
    let unreadable = |_| DecodeError::Invalid("its choices cannot be read".to_owned());
    let mut choices: Vec<Value> = serde_json::from_str(written).map_err(unreadable)?;
    if choices.is_empty() {
        return Err(DecodeError::Invalid("its answer has no choices".to_owned()));
    }
    for (at, choice) in choices.iter_mut().enumerate() {
        if choice.get("error").is_some_and(|error| !error.is_null()) {
            return Err(DecodeError::Fault(error::from_value(0, choice)));
        }
        rewrite::reply_choice(choice, at, think_tags, &made_up_id);
        if let Some(choice) = choice.as_object_mut() {
            choice.shift_remove("usage");
        }
    }
    serde_json::to_vec(&choices).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_200_keeps_its_words() {
        for body in [
            r#"{"error":{"message":"m","status":400}}"#,
            r#"{"object":"error","message":"m","code":400}"#,
            r#"{"detail":"m","status":400}"#,
            r#"{"choices":[{"index":0,"error":{"message":"m","code":400}}]}"#,
        ] {
            let decoded = Reply::decode(body.as_bytes(), &Quirks::default(), false, "");
            assert!(
                matches!(&decoded, Err(DecodeError::Fault(fault)) if fault.message == "m" && fault.status == 400),
                "{body}: {decoded:?}"
            );
        }
        for body in ["", " \n", "<html>", "{}", "[]", r#"{"choices":[]}"#, r#"{"message":{"role":"x"}}"#] {
            let decoded = Reply::decode(body.as_bytes(), &Quirks::default(), false, "");
            assert!(matches!(decoded, Err(DecodeError::Invalid(_))), "{body}");
        }
    }
}
