//! Tools, and the choice among them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::block::is_marked;
use super::controls::{self, Controls};
use super::form::Form;
use super::schema;
use crate::chat::Trait;
use crate::chat::conversation::{Tool, ToolChoice};
use crate::error::Error;
use crate::wire::encode::{ANSWER_TOOL, ANSWER_TOOL_PURPOSE, Job, Notes, unsupported};

/// The API's own search; a function of the client's cannot have the same name.
const WEB_SEARCH: &str = "web_search";

/// One of `tools`.
#[derive(Serialize)]
#[serde(untagged)]
pub enum ToolOut<'a> {
    Function {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Cow<'a, RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Raw(&'a RawValue),
    Search(Value),
}

/// `tool_choice`.
#[derive(Serialize)]
pub struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

impl<'a> ToolOut<'a> {
    /// Where its cache mark is.
    pub fn mark(&mut self) -> Option<&mut Option<&'a RawValue>> {
        match self {
            Self::Function { cache_control, .. } => Some(cache_control),
            Self::Raw(_) | Self::Search(_) => None,
        }
    }

    /// It carries a mark that stays as the client wrote it.
    pub fn is_marked_for_good(&self) -> bool {
        matches!(self, Self::Raw(raw) if is_marked(raw))
    }

    fn function(name: &'a str, description: Option<&'a str>, input_schema: Cow<'a, RawValue>) -> Self {
        Self::Function { name, description, input_schema, strict: None, cache_control: None }
    }
}

/// The tools, in the client's order.
pub fn tools<'a>(job: &Job<'a>, form: &Form<'a>, notes: &mut Notes) -> Result<Vec<ToolOut<'a>>, Error> {
    let given = &job.conversation.tools;
    let mut out = Vec::with_capacity(given.len() + 2);
    for (at, tool) in given.iter().enumerate() {
        out.push(match tool {
            Tool::Function { name, description, parameters, strict, cache_control } => {
                let (input_schema, strict) = if *strict == Some(true) {
                    held(job, at, *parameters, notes)?
                } else {
                    (of_object(*parameters)?, None)
                };
                let description = description.as_deref();
                let cache_control = *cache_control;
                ToolOut::Function { name, description, input_schema, strict, cache_control }
            }
            // The vendor's own tools carry the day of their version.
            Tool::Other { kind, raw } if kind.contains("_20") => ToolOut::Raw(raw),
            Tool::Other { .. } => {
                let advice = "describe it as a function";
                return Err(unsupported(&format!("tools[{at}].type"), job.model, advice));
            }
        });
    }
    if let Some(options) = job.conversation.field("web_search_options") {
        let taken = |tool: &Tool<'_>| matches!(tool, Tool::Function { name, .. } if *name == WEB_SEARCH);
        if given.iter().any(taken) {
            notes.drop_param("web_search_options");
        } else {
            out.push(ToolOut::Search(web_search(options, notes)));
        }
    }
    if let Form::StandIn(schema) = form {
        let purpose = Some(ANSWER_TOOL_PURPOSE);
        out.push(ToolOut::function(ANSWER_TOOL, purpose, of_object(Some(schema))?));
    }
    if out.is_empty() {
        out = called_before(job)?;
    }
    Ok(out)
}

/// Tools that were called earlier in the conversation and are not offered any more: the API refuses calls of tools that
/// it is not told of.
fn called_before<'a>(job: &Job<'a>) -> Result<Vec<ToolOut<'a>>, Error> {
    let mut names: Vec<&str> = Vec::new();
    for call in job.conversation.messages.iter().flat_map(|message| &message.tool_calls) {
        if !names.contains(&call.name.as_ref()) {
            names.push(&call.name);
        }
    }
    names.into_iter().map(|name| Ok(ToolOut::function(name, None, of_object(None)?))).collect()
}

/// A schema to which the model is held, where the model takes schemas at all.
fn held<'a>(
    job: &Job<'a>,
    at: usize,
    parameters: Option<&'a RawValue>,
    notes: &mut Notes,
) -> Result<(Cow<'a, RawValue>, Option<bool>), Error> {
    let Some(parameters) = parameters.filter(|_| controls::takes_schema(job)) else {
        notes.drop_param(format!("tools[{at}].function.strict"));
        return Ok((of_object(parameters)?, None));
    };
    let fitted = schema::fit(parameters);
    if fitted.loosened {
        notes.drop_param(format!("tools[{at}].function.parameters"));
    }
    Ok((fitted.schema, Some(true)))
}

/// The schema of a function's arguments; the API wants that of an object, said so.
fn of_object(given: Option<&RawValue>) -> Result<Cow<'_, RawValue>, Error> {
    let mut members: Map<String, Value> = match given {
        None => Map::new(),
        Some(schema) => match serde_json::from_str(schema.get()) {
            Ok(members) => members,
            Err(_) => return Ok(Cow::Borrowed(schema)),
        },
    };
    if let (Some(schema), true) = (given, members.contains_key("type")) {
        return Ok(Cow::Borrowed(schema));
    }
    members.insert("type".to_owned(), json!("object"));
    members.entry("properties").or_insert_with(|| json!({}));
    serde_json::value::to_raw_value(&members).map(Cow::Owned).map_err(|_| Error::Internal)
}

fn web_search(options: &RawValue, notes: &mut Notes) -> Value {
    let options: Value = serde_json::from_str(options.get()).unwrap_or_default();
    if options.get("search_context_size").is_some_and(|size| !size.is_null() && size != "medium") {
        notes.drop_param("web_search_options.search_context_size");
    }
    let mut tool = json!({"type": "web_search_20250305", "name": WEB_SEARCH});
    let place = options.pointer("/user_location/approximate").or_else(|| options.get("user_location"));
    if let (Some(Value::Object(place)), Some(tool)) = (place, tool.as_object_mut()) {
        let mut place = place.clone();
        place.insert("type".to_owned(), json!("approximate"));
        tool.insert("user_location".to_owned(), Value::Object(place));
    }
    tool
}

/// The choice among the tools that are sent.
pub fn choice<'a>(
    job: &Job<'a>,
    controls: &Controls<'_>,
    form: &Form<'_>,
    no_tools: bool,
    notes: &mut Notes,
) -> Option<Choice<'a>> {
    if no_tools {
        return None;
    }
    let wanted = &job.conversation.tool_choice;
    let parallel = job.conversation.parallel_tool_calls.map(|parallel| !parallel);
    let make = |kind, name| Some(Choice { r#type: kind, name, disable_parallel_tool_use: parallel });
    let none = Some(Choice { r#type: "none", name: None, disable_parallel_tool_use: None });
    if matches!(form, Form::StandIn(_)) {
        // The client's own tools may be called first: any of them, or the one that answers.
        let alone = job.conversation.tools.is_empty() || *wanted == ToolChoice::None;
        return if alone { make("tool", Some(ANSWER_TOOL)) } else { make("any", None) };
    }
    if job.conversation.tools.is_empty() && job.conversation.field("web_search_options").is_none() {
        // Tools of earlier turns alone: nobody offers them now.
        return none;
    }
    let unforced = controls.thinks() || job.facts.traits.has(Trait::FreeToolsOnly);
    match wanted {
        wanted if wanted.forces() && unforced => {
            notes.drop_param("tool_choice");
            make("auto", None)
        }
        ToolChoice::Unset => parallel.and_then(|_| make("auto", None)),
        ToolChoice::Auto => make("auto", None),
        ToolChoice::Required => make("any", None),
        ToolChoice::Function(name) => make("tool", Some(name)),
        ToolChoice::None => none,
    }
}
