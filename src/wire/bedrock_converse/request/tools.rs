//! Tools, the choice among them, and the form of the answer, which is a tool where the model knows no other way.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Given;
use super::message::{CachePoint, cache_point};
use super::thinking::Thinking;
use crate::chat::Trait;
use crate::chat::conversation::{ResponseFormat, Tool, ToolChoice};
use crate::wire::encode::{ANSWER_TOOL, ANSWER_TOOL_PURPOSE, Notes};

/// A function that takes nothing.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// What a request says of tools and forms.
#[derive(Default)]
pub struct Out<'a> {
    pub config: Option<Config<'a>>,
    pub output: Option<OutputConfig<'a>>,
}

/// `toolConfig`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config<'a> {
    tools: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Entry<'a> {
    ToolSpec {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Schema<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    CachePoint(CachePoint<'a>),
    #[serde(rename = "toolSpec")]
    SpecAsGiven(&'a RawValue),
    #[serde(rename = "systemTool")]
    SystemAsGiven(&'a RawValue),
    #[serde(rename = "cachePoint")]
    CacheAsGiven(&'a RawValue),
}

#[derive(Serialize)]
struct Schema<'a> {
    json: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'a> {
    Auto {},
    Any {},
    Tool { name: &'a str },
}

/// `outputConfig`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConfig<'a> {
    text_format: TextFormat<'a>,
}

#[derive(Serialize)]
struct TextFormat<'a> {
    r#type: &'static str,
    structure: Structure<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Structure<'a> {
    JsonSchema {
        /// JSON in a string.
        schema: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
    },
}

/// Writes tools and forms.
pub fn write<'a>(given: Given<'a>, thinking: &Thinking, notes: &mut Notes) -> Out<'a> {
    let conversation = given.0.conversation;
    let history = conversation.has_tool_turns();
    let offered = given.takes("tools") && !conversation.tools.is_empty();
    let barred = conversation.tool_choice == ToolChoice::None;
    let mut tools = Vec::new();
    // A history of calls needs tools to be defined; otherwise no tools are the surest way to have none called.
    if offered && (!barred || history) {
        for (at, tool) in conversation.tools.iter().enumerate() {
            entry(at, tool, given, notes, &mut tools);
        }
        if barred {
            notes.drop_param("tool_choice");
        }
    }
    if tools.is_empty() && history {
        tools = remembered(given);
    }
    let called = if offered && !barred { &conversation.tool_choice } else { &ToolChoice::Unset };
    let free = given.has(Trait::FreeToolsOnly) || given.is_any(&given.0.quirks.free_tools_models);
    let forcible = !free && !thinking.is_claudes();
    if called.forces() && !forcible && given.takes("tool_choice") {
        notes.drop_param("tool_choice");
    }
    let mut choice = match called {
        _ if !given.takes("tool_choice") => None,
        ToolChoice::Auto if !free => Some(Choice::Auto {}),
        ToolChoice::Required if forcible => Some(Choice::Any {}),
        ToolChoice::Function(name) if forcible => Some(Choice::Tool { name }),
        _ => None,
    };
    if offered && conversation.parallel_tool_calls == Some(false) && given.takes("parallel_tool_calls") {
        notes.drop_param("parallel_tool_calls");
    }
    let mut output = None;
    match form(given) {
        Form::Free => {}
        Form::Native(config) => output = Some(config),
        // The answer will be a call, which has the form of its own tool.
        Form::Tool { .. } if called.forces() && forcible => {}
        Form::Tool { schema, description } if forcible => {
            // Of tools that may not be called none is a choice.
            let alone = tools.is_empty() || !offered || barred;
            tools.push(spec(ANSWER_TOOL, Some(description), schema, None));
            choice = Some(if alone { Choice::Tool { name: ANSWER_TOOL } } else { Choice::Any {} });
        }
        Form::Tool { .. } | Form::Unknown => notes.drop_param("response_format"),
    }
    let config = (!tools.is_empty()).then_some(Config { tools, tool_choice: choice });
    Out { config, output }
}

fn spec<'a>(
    name: &'a str,
    description: Option<&'a str>,
    json: &'a RawValue,
    strict: Option<bool>,
) -> Entry<'a> {
    let description = description.filter(|text| !text.trim().is_empty());
    Entry::ToolSpec { name, description, input_schema: Schema { json }, strict }
}

fn no_parameters<'a>() -> &'a RawValue {
    serde_json::from_str(NO_PARAMETERS).unwrap_or(RawValue::NULL)
}

/// One tool, and its cache mark.
fn entry<'a>(at: usize, tool: &'a Tool<'a>, given: Given<'a>, notes: &mut Notes, out: &mut Vec<Entry<'a>>) {
    match tool {
        Tool::Function { name, description, parameters, strict, cache_control } => {
            let schema = parameters.filter(|schema: &&'a RawValue| schema.get().trim() != "{}");
            let native = given.takes_schema();
            if *strict == Some(true) && !native {
                notes.drop_param(format!("tools[{at}].function.strict"));
            }
            let strict = strict.filter(|strict| *strict && native);
            out.push(spec(name, description.as_deref(), schema.unwrap_or_else(no_parameters), strict));
            if given.is_any(&given.0.quirks.uncached_tools_models) && cache_control.is_some() {
                notes.drop_param("cache_control");
            } else {
                out.extend(cache_point(*cache_control, given, notes).map(Entry::CachePoint));
            }
        }
        Tool::Other { raw, .. } => match own(raw) {
            Some(entry) => out.push(entry),
            None => notes.drop_param(format!("tools[{at}]")),
        },
    }
}

/// A tool in the vendor's own words.
fn own(raw: &RawValue) -> Option<Entry<'_>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own<'a> {
        #[serde(borrow)]
        tool_spec: Option<&'a RawValue>,
        #[serde(borrow)]
        system_tool: Option<&'a RawValue>,
        #[serde(borrow)]
        cache_point: Option<&'a RawValue>,
    }
    let own: Own<'_> = serde_json::from_str(raw.get()).ok()?;
    own.tool_spec
        .map(Entry::SpecAsGiven)
        .or(own.system_tool.map(Entry::SystemAsGiven))
        .or(own.cache_point.map(Entry::CacheAsGiven))
}

/// Tools that were called earlier and are no longer offered: a history of calls is refused without any.
fn remembered(given: Given<'_>) -> Vec<Entry<'_>> {
    let mut names: Vec<&str> = Vec::new();
    for call in given.0.conversation.messages.iter().flat_map(|message| &message.tool_calls) {
        if !names.contains(&call.name.as_ref()) {
            names.push(&call.name);
        }
    }
    names.into_iter().map(|name| spec(name, None, no_parameters(), None)).collect()
}

/// The form that the answer must have.
enum Form<'a> {
    /// Any.
    Free,
    /// One that the model can be told.
    Native(OutputConfig<'a>),
    /// One that a tool stands in for.
    Tool { schema: &'a RawValue, description: &'a str },
    /// One that cannot be told.
    Unknown,
}

fn form(given: Given<'_>) -> Form<'_> {
    if !given.takes("response_format") {
        return Form::Free;
    }
    match &given.0.conversation.response_format {
        ResponseFormat::Text => Form::Free,
        ResponseFormat::JsonSchema { name, description, schema: Some(schema), .. } => {
            let description = description.as_deref().filter(|text| !text.trim().is_empty());
            if given.takes_schema() {
                let name = name.as_deref();
                let structure = Structure::JsonSchema { schema: schema.get(), name, description };
                return Form::Native(OutputConfig {
                    text_format: TextFormat { r#type: "json_schema", structure },
                });
            }
            Form::Tool { schema, description: description.unwrap_or(ANSWER_TOOL_PURPOSE) }
        }
        ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. } => Form::Unknown,
    }
}
