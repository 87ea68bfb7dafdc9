//! Encoding a request: the client's bytes with only the touched top-level members replaced.
//!
//! What is touched, and nothing else: the model's name, `stream_options` (usage is always asked for), null
//! fields (null means not given), the gateway's own fields, and what the vendor's row says.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chat::{ChatRequest, Effort, fields};
use crate::error::Error;
use crate::json::{self, Edit, Members};
use crate::wire::Quirks;
use crate::wire::encode::{Encoded, Order, refuse_dropped};
use crate::wire::quirks::{EffortStyle, MaxTokensField, ReasoningBack, any_glob};

/// One encoding under way.
struct Encoder<'a> {
    text: &'a str,
    request: &'a ChatRequest,
    model: &'a str,
    quirks: &'a Quirks,
    edits: Vec<Edit<'a>>,
    dropped: Vec<String>,
}

/// Encodes a request for the order's model.
///
/// # Errors
/// 400 when the target cannot take a parameter and `strict` says not to drop it, or it cannot be dropped.
pub fn encode_request(order: &Order<'_>) -> Result<Encoded, Error> {
    let Order { body, request, model, quirks, strict, .. } = *order;
    let text = std::str::from_utf8(body).map_err(|_| Error::Internal)?;
    let mut encoder =
        Encoder { text, request, model, quirks, edits: Vec::with_capacity(8), dropped: Vec::new() };
    encoder.own_fields();
    encoder.output_limit();
    encoder.sampling();
    encoder.effort();
    encoder.row_params();
    encoder.shapes()?;
    if request.n > 1 && !quirks.multiple_choices {
        let message =
            format!("`n` above 1 is not supported by the provider of `{model}`; ask once per choice.");
        return Err(Error::invalid_code(message, Some("n"), "unsupported_parameter"));
    }
    if strict {
        refuse_dropped(&encoder.dropped, model)?;
    }
    let Encoder { edits, dropped, .. } = encoder;
    if edits.is_empty() {
        return Ok(Encoded { body: body.clone(), dropped, headers: Vec::new() });
    }
    let mut out = Vec::with_capacity(body.len() + 128);
    request.members.splice(text, &edits, &mut out);
    Ok(Encoded { body: Bytes::from(out), dropped, headers: Vec::new() })
}

impl<'a> Encoder<'a> {
    fn given(&self, name: &str) -> Option<&'a str> {
        self.request.field(self.text, name)
    }

    fn set(&mut self, name: &'static str, value: &Value) {
        self.edits.push(Edit::Set(name, Cow::Owned(value.to_string().into_bytes())));
    }

    /// Leaves a parameter out and remembers its name.
    fn drop_param(&mut self, name: &'a str) {
        self.edits.push(Edit::Remove(name));
        self.dropped.push(name.to_owned());
    }

    /// Model, nulls, the gateway's own fields, usage.
    fn own_fields(&mut self) {
        let model = json::string(self.model);
        if self.given("model").map(str::as_bytes) != Some(&model) {
            self.edits.push(Edit::Set("model", Cow::Owned(model)));
        }
        self.edits.extend(self.request.nulls.iter().map(|name| Edit::Remove(name)));
        for field in fields::FIELDS.iter().filter(|field| field.ours) {
            if self.given(field.name).is_some() {
                self.edits.push(Edit::Remove(field.name));
            }
        }
        if !self.request.stream || self.request.include_usage && self.quirks.stream_options {
            return;
        }
        let options = self.given("stream_options");
        match (self.quirks.stream_options, options) {
            (false, Some(_)) => self.edits.push(Edit::Remove("stream_options")),
            (false, None) => {}
            (true, None) => self.set("stream_options", &json!({"include_usage": true})),
            (true, Some(options)) => {
                let members = Members::parse(options).unwrap_or_default();
                let mut out = Vec::with_capacity(options.len() + 24);
                members.splice(options, &[Edit::Set("include_usage", Cow::Borrowed(b"true"))], &mut out);
                self.edits.push(Edit::Set("stream_options", Cow::Owned(out)));
            }
        }
        // A null that is replaced must not be taken out as well.
        if self.quirks.stream_options {
            self.edits.retain(|edit| !matches!(edit, Edit::Remove("stream_options")));
        }
    }

    /// The output limit goes by the name the vendor knows.
    fn output_limit(&mut self) {
        let (theirs, other) = if any_glob(&self.quirks.max_completion_tokens_models, self.model) {
            ("max_completion_tokens", "max_tokens")
        } else {
            match self.quirks.max_tokens_field {
                MaxTokensField::AsSent => return,
                MaxTokensField::MaxTokens => ("max_tokens", "max_completion_tokens"),
                MaxTokensField::MaxCompletionTokens => ("max_completion_tokens", "max_tokens"),
            }
        };
        let Some(value) = self.given(other) else { return };
        if self.given(theirs).is_some() {
            self.edits.push(Edit::Remove(other));
        } else if self.request.members.has(self.text, theirs) {
            // Theirs is there, but null: it takes the value.
            self.edits.retain(|edit| !matches!(edit, Edit::Remove(name) if *name == theirs));
            self.edits.push(Edit::Set(theirs, Cow::Borrowed(value.as_bytes())));
            self.edits.push(Edit::Remove(other));
        } else {
            self.edits.push(Edit::Rename(other, theirs));
        }
    }

    /// Models with fixed sampling take no sampling parameters but the default.
    fn sampling(&mut self) {
        if !any_glob(&self.quirks.fixed_sampling_models, self.model) {
            return;
        }
        const PARAMS: [(&str, Option<f64>); 7] = [
            ("temperature", Some(1.0)),
            ("top_p", Some(1.0)),
            ("presence_penalty", Some(0.0)),
            ("frequency_penalty", Some(0.0)),
            ("logprobs", None),
            ("top_logprobs", None),
            ("logit_bias", None),
        ];
        for (name, default) in PARAMS {
            let Some(value) = self.given(name) else { continue };
            let is_default = default.is_some() && value.parse::<f64>().ok() == default || value == "false";
            if !is_default {
                self.drop_param(name);
            }
        }
    }

    /// `reasoning_effort` in the vendor's own control.
    fn effort(&mut self) {
        let (Some(effort), Some(word)) = (self.request.effort, self.given("reasoning_effort")) else {
            return;
        };
        let on = effort != Effort::None;
        let (name, value): (&'static str, Value) = match self.quirks.reasoning_effort {
            EffortStyle::Field => return,
            EffortStyle::None => return self.drop_param("reasoning_effort"),
            EffortStyle::ReasoningObject => {
                ("reasoning", json!({"effort": serde_json::from_str::<Value>(word).unwrap_or_default()}))
            }
            EffortStyle::ThinkingObject => {
                ("thinking", json!({"type": if on { "enabled" } else { "disabled" }}))
            }
            EffortStyle::EnableThinking => ("enable_thinking", json!(on)),
        };
        self.edits.push(Edit::Remove("reasoning_effort"));
        // The vendor's own field, given by the client, says it more exactly.
        if self.given(name).is_none() {
            self.set(name, &value);
        }
    }

    /// Parameters the row drops or renames.
    fn row_params(&mut self) {
        for name in &self.quirks.drop_params {
            if self.given(name).is_some() {
                self.drop_param(name);
            }
        }
        for (ours, theirs) in &self.quirks.rename_params {
            if self.given(ours).is_some() && self.given(theirs).is_none() {
                self.edits.push(Edit::Rename(ours, theirs));
            }
        }
    }

    /// `json_schema` with its `schema` alone; the schema's bytes stay.
    fn bare_schema(&mut self) {
        let Some(format) = self.given("response_format") else { return };
        let outer = Members::parse(format).unwrap_or_default();
        let Some(written) = outer.get(format, "json_schema") else { return };
        let inner = Members::parse(written).unwrap_or_default();
        let more = others(&inner, written, &["schema"]);
        if more.is_empty() {
            return;
        }
        let (mut bare, mut out) = (Vec::with_capacity(written.len()), Vec::with_capacity(format.len()));
        inner.splice(written, &more, &mut bare);
        outer.splice(format, &[Edit::Set("json_schema", Cow::Owned(bare))], &mut out);
        self.edits.push(Edit::Set("response_format", Cow::Owned(out)));
    }

    /// Values whose shape the vendor wants otherwise.
    fn shapes(&mut self) -> Result<(), Error> {
        if let Some(word) = &self.quirks.tool_choice_required
            && matches!(self.given("tool_choice"), Some("\"required\"" | "\"any\""))
        {
            self.edits.push(Edit::Set("tool_choice", Cow::Owned(json::string(word))));
        }
        if self.quirks.bare_json_schema && self.request.uses.json_schema {
            self.bare_schema();
        }
        let developer = self.request.developer_role && !self.quirks.developer_role;
        let reasoning = self.request.reasoning_back && self.quirks.reasoning_back != ReasoningBack::AsSent;
        if developer || reasoning {
            let messages = self.given("messages").unwrap_or("[]");
            let messages =
                patch_messages(messages, developer, self.quirks.reasoning_back).ok_or(Error::Internal)?;
            self.edits.push(Edit::Set("messages", Cow::Owned(messages)));
        }
        Ok(())
    }
}

/// The members of `text` but for those named in `keep`.
fn others<'m>(members: &'m Members, text: &'m str, keep: &[&str]) -> Vec<Edit<'m>> {
    members.iter(text).filter(|(name, _)| !keep.contains(name)).map(|(name, _)| Edit::Remove(name)).collect()
}

/// Copies the messages, changing roles and returned reasoning; every other byte stays.
fn patch_messages(messages: &str, developer: bool, reasoning: ReasoningBack) -> Option<Vec<u8>> {
    let list: Vec<&RawValue> = serde_json::from_str(messages).ok()?;
    let mut out = Vec::with_capacity(messages.len());
    let mut copied = 0;
    for raw in list {
        let text = raw.get();
        let start = (text.as_ptr() as usize).wrapping_sub(messages.as_ptr() as usize);
        let members = Members::parse(text).ok()?;
        let mut edits = Vec::new();
        let role: String = members.get(text, "role").and_then(|role| serde_json::from_str(role).ok())?;
        if developer && role == "developer" {
            edits.push(Edit::Set("role", Cow::Borrowed(b"\"system\"".as_slice())));
        }
        match reasoning {
            ReasoningBack::AsSent => {}
            ReasoningBack::Remove => {
                edits.extend([Edit::Remove("reasoning"), Edit::Remove("reasoning_details")]);
            }
            ReasoningBack::ReasoningContent => {
                edits.push(Edit::Remove("reasoning_details"));
                edits.push(if members.has(text, "reasoning_content") {
                    Edit::Remove("reasoning")
                } else {
                    Edit::Rename("reasoning", "reasoning_content")
                });
            }
        }
        out.extend_from_slice(messages.as_bytes().get(copied..start)?);
        members.splice(text, &edits, &mut out);
        copied = start + text.len();
    }
    out.extend_from_slice(messages.as_bytes().get(copied..)?);
    Some(out)
}

#[cfg(test)]
mod tests;
