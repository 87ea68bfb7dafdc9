//! What generateContent answers with, as far as it is read.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{grounding, usage};
use crate::chat::conversation::Str;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response<'a> {
    #[serde(borrow)]
    pub candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    pub prompt_feedback: Option<Feedback<'a>>,
    pub usage_metadata: Option<usage::Metadata>,
    #[serde(borrow)]
    pub response_id: Option<Str<'a>>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feedback<'a> {
    #[serde(borrow)]
    pub block_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub block_reason_message: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate<'a> {
    pub index: Option<u32>,
    #[serde(borrow)]
    pub content: Option<Content<'a>>,
    #[serde(borrow)]
    pub finish_reason: Option<Str<'a>>,
    #[serde(borrow)]
    pub finish_message: Option<Str<'a>>,
    #[serde(borrow)]
    pub grounding_metadata: Option<grounding::Metadata<'a>>,
    #[serde(borrow)]
    pub citation_metadata: Option<grounding::Recited<'a>>,
    pub logprobs_result: Option<LogProbs>,
}

#[derive(Deserialize)]
pub struct Content<'a> {
    #[serde(borrow)]
    pub parts: Option<Vec<Part<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part<'a> {
    #[serde(borrow)]
    pub text: Option<Str<'a>>,
    pub thought: Option<bool>,
    #[serde(borrow)]
    pub thought_signature: Option<Str<'a>>,
    #[serde(borrow)]
    pub function_call: Option<FunctionCall<'a>>,
    #[serde(borrow)]
    pub inline_data: Option<Blob<'a>>,
    pub executable_code: Option<Value>,
    pub code_execution_result: Option<Value>,
    #[serde(borrow)]
    pub tool_call: Option<&'a RawValue>,
    #[serde(borrow)]
    pub tool_response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub struct FunctionCall<'a> {
    #[serde(borrow)]
    pub id: Option<Str<'a>>,
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    #[serde(borrow)]
    pub args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob<'a> {
    #[serde(borrow)]
    pub mime_type: Option<Str<'a>>,
    #[serde(borrow)]
    pub data: Option<Str<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogProbs {
    pub chosen_candidates: Option<Vec<LogProb>>,
    pub top_candidates: Option<Vec<TopProbs>>,
}

#[derive(Deserialize)]
pub struct TopProbs {
    pub candidates: Option<Vec<LogProb>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogProb {
    pub token: Option<String>,
    pub log_probability: Option<serde_json::Number>,
}

impl LogProbs {
    /// In OpenAI's shape.
    pub fn content(self) -> Vec<Value> {
        let mut tops = self.top_candidates.unwrap_or_default().into_iter();
        let chosen = self.chosen_candidates.unwrap_or_default().into_iter();
        let with_tops = chosen.map(|token| {
            let top = tops.next().and_then(|top| top.candidates).unwrap_or_default();
            let top: Vec<Value> = top.iter().map(LogProb::entry).collect();
            let mut entry = token.entry();
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("top_logprobs".to_owned(), Value::Array(top));
            }
            entry
        });
        with_tops.collect()
    }
}

impl LogProb {
    fn entry(&self) -> Value {
        let token = self.token.as_deref().unwrap_or_default();
        json!({"token": token, "logprob": self.log_probability, "bytes": token.as_bytes()})
    }
}
