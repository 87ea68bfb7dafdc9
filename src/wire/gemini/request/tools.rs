//! Tools: the client's functions and Google's own.

use serde::Serialize;
use serde_json::value::RawValue;

use super::taken;
use crate::chat::conversation::{Tool as Given, ToolChoice};
use crate::error::Error;
use crate::wire::encode::{Job, Notes};
use crate::wire::gemini::schema::{self, Schema};
use crate::wire::quirks::any_glob;

/// One entry of `tools`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Tool<'a> {
    FunctionDeclarations(Vec<Declaration<'a>>),
    GoogleSearch(Nothing),
    CodeExecution(Nothing),
    UrlContext(Nothing),
}

/// `{}`
#[derive(Serialize)]
pub struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Declaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Schema<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Schema<'a>>,
}

/// `toolConfig`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    function_calling_config: Option<Calling<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_server_side_tool_invocations: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

/// The tools that are offered, and where each of Google's own was asked for.
#[derive(Default)]
pub struct Offered<'a> {
    pub list: Vec<Tool<'a>>,
    asked: Vec<String>,
}

impl<'a> Offered<'a> {
    /// The client's functions are among them.
    pub fn functions(&self) -> bool {
        self.list.iter().any(|tool| matches!(tool, Tool::FunctionDeclarations(_)))
    }

    /// Google's own are among them.
    pub fn searches(&self) -> bool {
        self.list.iter().any(|tool| !matches!(tool, Tool::FunctionDeclarations(_)))
    }

    /// Keeps the functions only.
    pub fn leave_out_servers(&mut self, notes: &mut Notes) {
        self.list.retain(|tool| matches!(tool, Tool::FunctionDeclarations(_)));
        self.asked.drain(..).for_each(|place| notes.drop_param(place));
    }

    /// One of Google's own; a search is offered once.
    fn add(&mut self, tool: Tool<'a>, place: String) {
        self.asked.push(place);
        let search = |tool: &Tool<'_>| matches!(tool, Tool::GoogleSearch(_));
        if !(search(&tool) && self.list.iter().any(search)) {
            self.list.push(tool);
        }
    }
}

/// Reads what is offered.
///
/// # Errors
/// 400 for a schema that cannot be written out.
pub fn read<'a>(job: &Job<'a>, notes: &mut Notes) -> Result<Offered<'a>, Error> {
    let mut offered = Offered::default();
    let mut declarations = Vec::new();
    let mut own = Vec::new();
    if taken(job, "tools").is_some() {
        for (at, tool) in job.conversation.tools.iter().enumerate() {
            match tool {
                Given::Function { name, description, parameters, .. } => {
                    let path = format!("tools[{at}].function.parameters");
                    let (parameters, json) = schemas(&path, *parameters, job)?;
                    declarations.push(Declaration {
                        name,
                        description: description.as_deref(),
                        parameters,
                        parameters_json_schema: json,
                    });
                }
                Given::Other { kind, .. } => match googles(kind) {
                    Some(tool) => own.push((tool, format!("tools[{at}]"))),
                    None => notes.drop_param(format!("tools[{at}]")),
                },
            }
        }
    }
    if let Some(options) = taken(job, "web_search_options") {
        if options.get().contains("\"user_location\"") {
            notes.drop_param("web_search_options.user_location");
        }
        own.push((Tool::GoogleSearch(Nothing {}), "web_search_options".to_owned()));
    }
    if !declarations.is_empty() {
        offered.list.push(Tool::FunctionDeclarations(declarations));
    }
    for (tool, place) in own {
        offered.add(tool, place);
    }
    Ok(offered)
}

/// A function's schema in the dialect that takes it as it is: OpenAPI's where that is enough, JSON schema where the
/// model has it, else rewritten for OpenAPI.
fn schemas<'a>(
    path: &str,
    written: Option<&'a RawValue>,
    job: &Job<'_>,
) -> Result<(Option<Schema<'a>>, Option<Schema<'a>>), Error> {
    let Some(written) = written else { return Ok((None, None)) };
    if schema::is_openapi(written) {
        return Ok((Some(Schema::Raw(written)), None));
    }
    if any_glob(&job.quirks.openapi_schema_models, job.model) {
        // A function without parameters has no schema there.
        let none = schema::has_no_members(written);
        let rewritten = if none { None } else { Some(schema::openapi(path, written, job.model)?) };
        return Ok((rewritten, None));
    }
    Ok((None, Some(schema::json(path, written, job.model)?)))
}

/// A tool of Google's by OpenAI's name for it or its own.
fn googles(kind: &str) -> Option<Tool<'static>> {
    match kind {
        "google_search" => Some(Tool::GoogleSearch(Nothing {})),
        "code_execution" | "code_interpreter" => Some(Tool::CodeExecution(Nothing {})),
        "url_context" => Some(Tool::UrlContext(Nothing {})),
        _ if kind.starts_with("web_search") => Some(Tool::GoogleSearch(Nothing {})),
        _ => None,
    }
}

/// Which tools may or must be called.
pub fn config<'a>(job: &Job<'a>, offered: &Offered<'_>, notes: &mut Notes) -> Option<Config<'a>> {
    let conversation = job.conversation;
    if conversation.parallel_tool_calls == Some(false) && taken(job, "parallel_tool_calls").is_some() {
        notes.drop_param("parallel_tool_calls");
    }
    let choice = taken(job, "tool_choice").map_or(&ToolChoice::Unset, |_| &conversation.tool_choice);
    if taken(job, "tool_choice").is_some() && *choice == ToolChoice::Unset {
        notes.drop_param("tool_choice");
    }
    let calling = match choice {
        ToolChoice::Unset => None,
        ToolChoice::Auto => Some(("AUTO", None)),
        ToolChoice::None => Some(("NONE", None)),
        ToolChoice::Required => Some(("ANY", None)),
        ToolChoice::Function(name) => Some(("ANY", Some([name.as_ref()]))),
    };
    // Without functions the choice is refused.
    let calling = calling.filter(|_| offered.functions());
    let shown = job.quirks.show_server_tools && offered.functions() && offered.searches();
    if calling.is_none() && !shown {
        return None;
    }
    Some(Config {
        function_calling_config: calling
            .map(|(mode, allowed_function_names)| Calling { mode, allowed_function_names }),
        include_server_side_tool_invocations: shown.then_some(true),
    })
}
