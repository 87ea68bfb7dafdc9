//! Tools and the choice among them.

use serde::Serialize;
use serde_json::value::RawValue;

use super::Given;
use crate::chat::conversation::{Tool, ToolChoice};
use crate::error::Error;
use crate::wire::encode::Notes;

/// Parameters of a function that takes none: the vendor wants a schema all the same.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// The fields that tools make.
#[derive(Default)]
pub struct Tools<'a> {
    pub list: Vec<Out<'a>>,
    pub choice: Option<&'static str>,
    pub strict: Option<&'a RawValue>,
}

#[derive(Serialize)]
pub struct Out<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: &'a RawValue,
}

/// Writes `tools`, `tool_choice` and `strict_tools`.
///
/// The vendor can force a call but not a function: where the client names one, it alone is offered.
pub fn write<'a>(given: Given<'a>, notes: &mut Notes) -> Result<Tools<'a>, Error> {
    let conversation = given.0.conversation;
    if conversation.parallel_tool_calls == Some(false) {
        notes.drop_param("parallel_tool_calls");
    }
    if !given.takes("tools") {
        return Ok(Tools::default());
    }
    let choice = given.raw("tool_choice").map_or(&ToolChoice::Unset, |_| &conversation.tool_choice);
    let mut list = Vec::with_capacity(conversation.tools.len());
    let mut stricts = Vec::new();
    for (at, tool) in conversation.tools.iter().enumerate() {
        let Tool::Function { name, description, parameters, strict, cache_control } = tool else {
            notes.drop_param(format!("tools[{at}]"));
            continue;
        };
        if matches!(choice, ToolChoice::Function(named) if named != name) {
            continue;
        }
        if cache_control.is_some() {
            notes.drop_param("cache_control");
        }
        list.push(Out {
            r#type: "function",
            function: Function {
                name,
                description: description.as_deref(),
                parameters: match parameters {
                    Some(parameters) => parameters,
                    None => serde_json::from_str(NO_PARAMETERS).map_err(|_| Error::Internal)?,
                },
            },
        });
        stricts.push((at, *strict == Some(true)));
    }
    if let (ToolChoice::Function(named), []) = (choice, list.as_slice()) {
        let message = format!("`tool_choice` names the function `{named}`, which is not in `tools`.");
        return Err(Error::invalid(message, "tool_choice"));
    }
    let unknown = *choice == ToolChoice::Unset && given.raw("tool_choice").is_some();
    if unknown || list.is_empty() && choice.forces() {
        notes.drop_param("tool_choice");
    }
    let choice = match choice {
        _ if list.is_empty() => None,
        ToolChoice::None => Some("NONE"),
        ToolChoice::Required | ToolChoice::Function(_) => Some("REQUIRED"),
        ToolChoice::Unset | ToolChoice::Auto => None,
    };
    Ok(Tools { strict: strict(given, &stricts, notes)?, list, choice })
}

/// `strict_tools` is for all tools or none: where only some ask for it, those are named.
fn strict<'a>(
    given: Given<'a>,
    stricts: &[(usize, bool)],
    notes: &mut Notes,
) -> Result<Option<&'a RawValue>, Error> {
    if let Some(raw) = given.raw("strict_tools") {
        return Ok(Some(raw));
    }
    let asked = || stricts.iter().filter(|(_, strict)| *strict);
    if asked().next().is_none() {
        return Ok(None);
    }
    if stricts.iter().all(|(_, strict)| *strict) {
        return serde_json::from_str("true").map(Some).map_err(|_| Error::Internal);
    }
    for (at, _) in asked() {
        notes.drop_param(format!("tools[{at}].function.strict"));
    }
    Ok(None)
}
