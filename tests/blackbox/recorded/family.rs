//! The formats that were recorded: how a vendor of each is configured, and what must reach it.

use serde_json::Value;

use super::case::Case;
use crate::support::{Answer, Request};

/// One format.
pub struct Family {
    /// Its name in `meta.json`.
    pub name: &'static str,
    /// How many cases there are: none is lost in silence.
    cases: usize,
    /// Its word in a provider's row.
    wire: &'static str,
    /// Further keys of a provider's row, by its id.
    keys: &'static [(&'static str, &'static str)],
}

pub const OPENAI_CHAT: Family = Family { name: "openai-chat", cases: 331, wire: "openai", keys: &[] };
pub const ANTHROPIC: Family = Family {
    name: "anthropic",
    cases: 94,
    wire: "anthropic",
    keys: &[
        (
            "vertex-anthropic",
            "path: '/models/{model}:rawPredict', stream_path: '/models/{model}:streamRawPredict', \
             quirks: { body_version: vertex-2023-10-16 }",
        ),
        (
            "bedrock-invoke",
            "path: '/model/{model}/invoke', stream_path: '/model/{model}/invoke-with-response-stream', \
             quirks: { body_version: bedrock-2023-05-31, stream_field: false }",
        ),
    ],
};
pub const BEDROCK: Family =
    Family { name: "bedrock-converse", cases: 56, wire: "bedrock-converse", keys: &[] };
pub const GEMINI: Family = Family { name: "gemini", cases: 109, wire: "gemini", keys: &[] };
pub const COHERE: Family = Family { name: "cohere", cases: 32, wire: "cohere", keys: &[] };

pub const RESPONSES: Family = Family { name: "responses", cases: 69, wire: "responses", keys: &[] };

impl Family {
    /// Its cases.
    pub fn cases(&self) -> Vec<Case> {
        let cases = Case::of(self.name);
        assert_eq!(cases.len(), self.cases, "cases of {}", self.name);
        cases
    }

    /// Keys of a provider's row. The catalogue is kept out: what it knows of a model is another suite's concern.
    pub fn keys(&self, id: &str) -> String {
        let own = self.keys.iter().find(|(provider, _)| *provider == id).map_or("", |(_, keys)| keys);
        let comma = if own.is_empty() { "" } else { ", " };
        // The chat rows keep their own way of sending the credential.
        let auth = if self.wire == "openai" { "" } else { "auth: bearer, " };
        format!("wire: {}, {auth}catalog: none-of-these{comma}{own}", self.wire)
    }
}

/// What reached the upstream of a format that is translated.
pub fn check_requests(case: &Case, requests: &[Request], answer: &Answer) -> Vec<String> {
    let [request] = requests else {
        return vec![format!("{} requests reached the upstream: {}", requests.len(), answer.text())];
    };
    let mut wrong = Vec::new();
    if request.header("authorization") != Some("Bearer credential") {
        wrong.push(format!("the credential is missing: {}", request.head));
    }
    if !request.json().is_object() {
        wrong.push("the request is no object".to_owned());
    }
    let _: Option<&Value> = case.native.as_ref();
    wrong
}
