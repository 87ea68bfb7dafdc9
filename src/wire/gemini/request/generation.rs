//! `generationConfig`: limits, sampling, the form of the answer.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{taken, thinking};
use crate::chat::conversation::ResponseFormat;
use crate::error::Error;
use crate::wire::encode::{Job, Notes};
use crate::wire::gemini::schema::{self, Schema};
use crate::wire::quirks::any_glob;

/// Seeds are 32 bits wide there.
const SEED_MODULUS: i64 = 1 << 31;

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Schema<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Schema<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_modalities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_config: Option<Speech>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Thinking<'a>>,
}

/// As the client steered it in Google's own words, or in OpenAI's.
#[derive(Serialize)]
#[serde(untagged)]
enum Thinking<'a> {
    Own(&'a RawValue),
    Mapped(thinking::Thinking),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Speech {
    voice_config: Voice,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Voice {
    prebuilt_voice_config: Prebuilt,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Prebuilt {
    voice_name: String,
}

/// How to generate.
///
/// # Errors
/// 400 for a schema that cannot be written out.
pub fn config<'a>(job: &Job<'a>, form: &ResponseFormat<'a>, notes: &mut Notes) -> Result<Config<'a>, Error> {
    let mut config = Config {
        temperature: taken(job, "temperature"),
        top_p: taken(job, "top_p"),
        top_k: taken(job, "top_k"),
        candidate_count: taken(job, "n"),
        max_output_tokens: taken(job, "max_completion_tokens").or_else(|| taken(job, "max_tokens")),
        seed: taken(job, "seed").and_then(|seed| seed.get().parse().ok()).map(folded),
        presence_penalty: taken(job, "presence_penalty"),
        frequency_penalty: taken(job, "frequency_penalty"),
        thinking_config: thinking(job, notes),
        ..Config::default()
    };
    if taken(job, "stop").is_some() {
        config.stop_sequences =
            job.conversation.stop.iter().map(AsRef::as_ref).filter(|stop| !stop.is_empty()).collect();
    }
    if taken(job, "logprobs").is_some_and(|wanted| wanted.get() == "true") {
        config.response_logprobs = Some(true);
        config.logprobs = taken(job, "top_logprobs").filter(|top| top.get() != "0");
    }
    modalities(job, &mut config, notes);
    match form {
        ResponseFormat::Text => {}
        ResponseFormat::JsonObject | ResponseFormat::JsonSchema { schema: None, .. } => {
            config.response_mime_type = Some("application/json");
        }
        ResponseFormat::JsonSchema { schema: Some(schema), .. } => {
            config.response_mime_type = Some("application/json");
            let path = "response_format.json_schema.schema";
            if any_glob(&job.quirks.openapi_schema_models, job.model) {
                config.response_schema = Some(schema::openapi(path, schema, job.model)?);
            } else {
                config.response_json_schema = Some(schema::json(path, schema, job.model)?);
            }
        }
    }
    Ok(config)
}

fn thinking<'a>(job: &Job<'a>, notes: &mut Notes) -> Option<Thinking<'a>> {
    match taken(job, "thinking_config") {
        Some(own) => Some(Thinking::Own(own)),
        None => thinking::config(job, notes).map(Thinking::Mapped),
    }
}

/// A seed of any size as one of 32 bits: the same one for the same seed.
fn folded(seed: i64) -> i64 {
    if i32::try_from(seed).is_ok() { seed } else { seed.rem_euclid(SEED_MODULUS) }
}

/// What the answer may consist of. A model that speaks does nothing else.
fn modalities<'a>(job: &Job<'a>, config: &mut Config<'a>, notes: &mut Notes) {
    #[derive(serde::Deserialize)]
    struct Audio {
        voice: Option<serde_json::Value>,
        format: Option<String>,
    }
    let read = |raw: &RawValue| serde_json::from_str::<Vec<String>>(raw.get()).ok();
    let kinds = taken(job, "modalities").and_then(read).unwrap_or_default();
    let speaks = kinds.iter().any(|kind| kind == "audio");
    let audio = taken(job, "audio");
    if speaks {
        config.response_modalities = vec!["AUDIO".to_owned()];
        let audio = audio.and_then(|raw| serde_json::from_str::<Audio>(raw.get()).ok());
        let voice = audio.as_ref().and_then(|audio| audio.voice.as_ref()?.as_str());
        config.speech_config = voice.map(|voice| Speech {
            voice_config: Voice { prebuilt_voice_config: Prebuilt { voice_name: voice.to_owned() } },
        });
        // Google sends linear PCM of 16 bits, whatever was asked for.
        if audio.and_then(|audio| audio.format).is_some_and(|format| format != "pcm16") {
            notes.drop_param("audio.format");
        }
        return;
    }
    if audio.is_some() {
        notes.drop_param("audio");
    }
    if kinds.iter().any(|kind| kind != "text") {
        config.response_modalities = kinds.iter().map(|kind| kind.to_uppercase()).collect();
    }
}
