//! The form that an answer must have: by the API's own means, through a tool that stands in, or asked for in words.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::controls::{self, Controls};
use super::schema;
use crate::chat::Trait;
use crate::chat::conversation::ResponseFormat;
use crate::wire::encode::{Job, Notes};

/// How the form is seen to.
pub enum Form<'a> {
    /// Any form will do.
    Free,
    /// The API holds the model to a schema.
    Native(Format<'a>),
    /// A tool with this schema, whose arguments are the answer.
    StandIn(&'a RawValue),
    /// Asked for in the system prompt: nothing holds the model to it.
    Told(String),
}

/// A schema as the form of the answer.
#[derive(Clone, Debug, Serialize)]
pub struct Format<'a> {
    pub r#type: &'static str,
    pub schema: Cow<'a, RawValue>,
}

const IN_WORDS: &str = "Answer with one JSON object and nothing else: no other words, no code fence.";

/// Settles it. What is not held is named as dropped.
pub fn settle<'a>(job: &Job<'a>, controls: &Controls<'_>, notes: &mut Notes) -> Form<'a> {
    let schema = match &job.conversation.response_format {
        ResponseFormat::Text => return Form::Free,
        ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None, .. } => {
            notes.drop_param("response_format");
            return Form::Told(IN_WORDS.to_owned());
        }
        ResponseFormat::JsonSchema { schema: Some(schema), .. } => schema,
    };
    if controls::takes_schema(job) {
        let fitted = schema::fit(schema);
        if fitted.loosened {
            notes.drop_param("response_format.json_schema.schema");
        }
        return Form::Native(Format { r#type: "json_schema", schema: fitted.schema });
    }
    // A tool cannot be forced on a model that thinks first.
    if controls.thinks() || job.facts.traits.has(Trait::FreeToolsOnly) {
        notes.drop_param("response_format");
        return Form::Told(format!("{IN_WORDS} It must fit this JSON schema: {}", schema.get()));
    }
    if job.conversation.tool_choice.forces() && !job.conversation.tools.is_empty() {
        // The answer is to be a call of the client's own tool, which has a form already.
        return Form::Free;
    }
    Form::StandIn(schema)
}
