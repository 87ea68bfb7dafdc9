//! What the gateway adds to an answer: who answered, under which names, after which attempts.

use serde::Serialize;

/// One attempt as the client sees it in `metadata.attempts`.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptNote {
    /// Provider id.
    pub provider: String,
    /// Canonical model, or the upstream name.
    pub model: String,
    /// HTTP status of the upstream, 0 when no head arrived.
    pub status: u16,
    /// Error code, absent for the attempt that answered.
    pub error: Option<String>,
    /// Milliseconds from sending to the end of the attempt (to the answer, for the one that answered).
    pub latency_ms: u64,
}

/// Identity of one answer.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// `model` of the answer: `provider/canonical`.
    pub model: String,
    /// Exactly what the client sent as `model`.
    pub requested_model: String,
    /// The provider prefix of the model string, if it had one.
    pub requested_provider: Option<String>,
    /// Canonical id of the model that answers, or the upstream name when the catalogue does not know it.
    pub used_model: String,
    /// Who answers.
    pub used_provider: String,
    /// The name sent upstream.
    pub underlying_used_model: String,
    /// Same id as in headers, logs and ledger.
    pub request_id: String,
    /// Attempts that failed before this one.
    pub earlier: Vec<AttemptNote>,
    /// `id` for answers that come without one.
    pub fallback_id: String,
    /// `created` for answers that come without one, seconds since the epoch.
    pub created_s: i64,
    /// Why the gateway ended the answer before its end; goes into the metadata.
    pub cut: Option<Cut>,
}

/// Why the gateway itself ended an answer before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// The code of an error that says the same, e.g. `budget_exceeded`.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// The `metadata` object.
#[derive(Serialize)]
struct Metadata<'a> {
    requested_model: &'a str,
    requested_provider: Option<&'a str>,
    used_model: &'a str,
    used_provider: &'a str,
    underlying_used_model: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<&'a AttemptNote>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Cut>,
}

impl Envelope {
    /// The `metadata` object as JSON; `latency_ms` is that of the answering attempt.
    pub fn metadata(&self, latency_ms: u64) -> Vec<u8> {
        let answered = AttemptNote {
            provider: self.used_provider.clone(),
            model: self.used_model.clone(),
            status: 200,
            error: None,
            latency_ms,
        };
        self.render(Some(&answered))
    }

    /// The `metadata` object of an error, after all attempts.
    pub fn failure_metadata(&self) -> Vec<u8> {
        self.render(None)
    }

    fn render(&self, answered: Option<&AttemptNote>) -> Vec<u8> {
        let mut attempts: Vec<&AttemptNote> = self.earlier.iter().collect();
        attempts.extend(answered);
        if attempts.len() < 2 {
            attempts.clear();
        }
        let metadata = Metadata {
            requested_model: &self.requested_model,
            requested_provider: self.requested_provider.as_deref(),
            used_model: &self.used_model,
            used_provider: &self.used_provider,
            underlying_used_model: &self.underlying_used_model,
            request_id: &self.request_id,
            attempts,
            error: self.cut.as_ref(),
        };
        serde_json::to_vec(&metadata).unwrap_or_else(|_| b"{}".to_vec())
    }
}
