//! Tools, the choice among them, and the form of the answer.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::chat::Conversation;
use crate::chat::conversation::{ResponseFormat, Str, Tool, ToolChoice};

/// Parameters of a function that takes none: the API wants a schema.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// A tool.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToolOut<'a> {
    /// A function of the client's.
    Function(Function<'a>),
    /// A tool of the client's that takes text.
    Custom(Custom<'a>),
    /// The vendor's search of the web.
    Search(Search<'a>),
    /// A tool of the vendor's, in its own words.
    AsWritten(&'a RawValue),
}

/// A function. `strict` is always said: left out, this API takes it for true and chat completions for false.
#[derive(Debug, Serialize)]
pub struct Function<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Option<&'a RawValue>,
    strict: bool,
}

/// A custom tool.
#[derive(Debug, Serialize, Deserialize)]
pub struct Custom<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Str<'a>,
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    description: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

/// What a custom tool takes: a grammar's two members stand beside its type here, and under `grammar` in chat.
#[derive(Debug, Serialize, Deserialize)]
struct Format<'a> {
    #[serde(rename = "type", borrow)]
    kind: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    syntax: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    definition: Option<Str<'a>>,
    #[serde(borrow, skip_serializing)]
    grammar: Option<Grammar<'a>>,
}

#[derive(Debug, Deserialize)]
struct Grammar<'a> {
    #[serde(borrow)]
    syntax: Option<Str<'a>>,
    #[serde(borrow)]
    definition: Option<Str<'a>>,
}

/// The vendor's search, as `web_search_options` asks for it.
#[derive(Debug, Serialize)]
pub struct Search<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_context_size: Option<Str<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_location: Option<Location<'a>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Location<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Str<'a>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    country: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    region: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    city: Option<Str<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    timezone: Option<Str<'a>>,
}

/// The tools of a request; `search`: whether `web_search_options` counts.
pub fn tools<'a>(conversation: &'a Conversation<'a>, search: bool) -> Vec<ToolOut<'a>> {
    let mut tools: Vec<ToolOut<'a>> = conversation.tools.iter().map(tool).collect();
    let has_own =
        |tool: &Tool<'_>| matches!(tool, Tool::Other { kind, .. } if kind.starts_with("web_search"));
    if search && !conversation.tools.iter().any(has_own) {
        tools.extend(conversation.field("web_search_options").map(web_search).map(ToolOut::Search));
    }
    tools
}

fn tool<'a>(tool: &'a Tool<'a>) -> ToolOut<'a> {
    match tool {
        Tool::Function { name, description, parameters, strict, .. } => ToolOut::Function(Function {
            r#type: "function",
            name,
            description: description.as_deref(),
            parameters: parameters.or_else(|| serde_json::from_str(NO_PARAMETERS).ok()),
            strict: strict.unwrap_or(false),
        }),
        Tool::Other { kind, raw } if kind == "custom" => {
            custom(raw).map_or(ToolOut::AsWritten(raw), ToolOut::Custom)
        }
        Tool::Other { raw, .. } => ToolOut::AsWritten(raw),
    }
}

/// A custom tool in chat's words; `None` for one that is in this API's own.
fn custom(raw: &RawValue) -> Option<Custom<'_>> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        custom: Custom<'a>,
    }
    let Outer { mut custom } = serde_json::from_str(raw.get()).ok()?;
    custom.kind = "custom".into();
    if let Some(format) = &mut custom.format
        && let Some(grammar) = format.grammar.take()
    {
        format.syntax = grammar.syntax;
        format.definition = grammar.definition;
    }
    Some(custom)
}

fn web_search(options: &RawValue) -> Search<'_> {
    #[derive(Deserialize)]
    struct Place<'a> {
        #[serde(borrow)]
        approximate: Option<Location<'a>>,
    }
    #[derive(Deserialize)]
    struct Options<'a> {
        #[serde(borrow)]
        search_context_size: Option<Str<'a>>,
        #[serde(borrow)]
        user_location: Option<Place<'a>>,
    }
    let read: Option<Options<'_>> = serde_json::from_str(options.get()).ok();
    let (size, place) = read.map_or((None, None), |read| (read.search_context_size, read.user_location));
    let location = place.and_then(|place| place.approximate);
    Search {
        r#type: "web_search",
        search_context_size: size,
        user_location: location.map(|location| Location { kind: "approximate".into(), ..location }),
    }
}

/// `tool_choice`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Choice<'a> {
    /// `auto`, `none`, `required`.
    Word(&'static str),
    /// A tool of the client's.
    Named {
        /// `function` or `custom`.
        r#type: &'static str,
        /// Its name.
        name: Str<'a>,
    },
    /// Some of the tools.
    Allowed(Allowed<'a>),
    /// Anything else, in the API's own words.
    AsWritten(&'a RawValue),
}

/// A choice among some of the tools.
#[derive(Debug, Serialize)]
pub struct Allowed<'a> {
    r#type: &'static str,
    mode: Str<'a>,
    tools: Vec<Choice<'a>>,
}

/// The choice of a request.
pub fn choice<'a>(conversation: &'a Conversation<'a>) -> Option<Choice<'a>> {
    match &conversation.tool_choice {
        ToolChoice::Unset => conversation.field("tool_choice").map(other_choice),
        ToolChoice::Auto => Some(Choice::Word("auto")),
        ToolChoice::None => Some(Choice::Word("none")),
        ToolChoice::Required => Some(Choice::Word("required")),
        ToolChoice::Function(name) => {
            Some(Choice::Named { r#type: "function", name: Str::from(name.as_ref()) })
        }
    }
}

#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    name: Str<'a>,
}

fn other_choice(raw: &RawValue) -> Choice<'_> {
    #[derive(Deserialize)]
    struct AllowedTools<'a> {
        #[serde(borrow)]
        mode: Str<'a>,
        #[serde(borrow)]
        tools: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow)]
        function: Option<Name<'a>>,
        #[serde(borrow)]
        custom: Option<Name<'a>>,
        #[serde(borrow)]
        allowed_tools: Option<AllowedTools<'a>>,
    }
    match serde_json::from_str(raw.get()) {
        Ok(Written { function: Some(Name { name }), .. }) => Choice::Named { r#type: "function", name },
        Ok(Written { custom: Some(Name { name }), .. }) => Choice::Named { r#type: "custom", name },
        Ok(Written { allowed_tools: Some(AllowedTools { mode, tools }), .. }) => Choice::Allowed(Allowed {
            r#type: "allowed_tools",
            mode,
            // One level: what is allowed are tools, not choices of their own.
            tools: tools.into_iter().map(allowed).collect(),
        }),
        _ => Choice::AsWritten(raw),
    }
}

fn allowed(raw: &RawValue) -> Choice<'_> {
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow)]
        function: Option<Name<'a>>,
        #[serde(borrow)]
        custom: Option<Name<'a>>,
    }
    match serde_json::from_str(raw.get()) {
        Ok(Written { function: Some(Name { name }), .. }) => Choice::Named { r#type: "function", name },
        Ok(Written { custom: Some(Name { name }), .. }) => Choice::Named { r#type: "custom", name },
        _ => Choice::AsWritten(raw),
    }
}

/// `text`: what the answer must look like, and how much of it there shall be.
#[derive(Debug, Serialize)]
pub struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Form<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<Str<'a>>,
}

/// The form of the answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Form<'a> {
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        schema: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

/// The form of a request's answer; `None` when nothing is asked of it.
pub fn text<'a>(format: &'a ResponseFormat<'a>, verbosity: Option<Str<'a>>) -> Option<Text<'a>> {
    let format = match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(Form::JsonObject),
        ResponseFormat::JsonSchema { name, description, schema, strict } => Some(Form::JsonSchema {
            // The name is asked for, and its only use is to tell the model.
            name: name.as_deref().unwrap_or("response"),
            description: description.as_deref(),
            schema: schema.or_else(|| serde_json::from_str(r#"{"type":"object"}"#).ok()),
            strict: *strict,
        }),
    };
    (format.is_some() || verbosity.is_some()).then_some(Text { format, verbosity })
}
